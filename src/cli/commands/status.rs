//! `jitsiprovs status`: shows the state of all nodes in one table.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tinytemplate::TinyTemplate;

use crate::cli::args::{self, ListFormat, Listed};
use crate::cli::options::SetupOptions;
use crate::cli::print::{self, Text, number, text};
use crate::cli::source;
use crate::core::credential::PwdFmt;
use crate::core::model::Behind;
use crate::ops::nodes::{self, ClusterReport, NodeAnswer};
use crate::reload::{NodeState, NodeStatus};
use crate::telemetry::visible::{EscapeStyle, escape};

/// Asks the nodes until they agree or `--max-lag` is over, and prints their last answers. If
/// a database is named, compares the nodes with it. The exit code is 1 if nodes differ, or if
/// one has been behind the database or unable to read it for longer than `--max-lag`, or waits
/// for a confirmation.
///
/// # Errors
/// When a URL is not a node's URL, or the database cannot be read.
pub async fn status(options: args::StatusArgs) -> anyhow::Result<ExitCode> {
    let args::StatusArgs { urls, max_lag, access, database, listed } = options;
    let client = access.client()?;
    let source = match source::is_named(&database) {
        true => Some(source::open(database, SetupOptions::default(), PwdFmt::default(), None)?),
        false => None,
    };
    let mut report = nodes::compare(urls, Duration::from_secs(max_lag), &client).await?;
    if let Some(source) = source {
        for answer in &mut report.nodes {
            if let Some(snapshot) = answer.node.as_ref().and_then(|node| node.snapshot) {
                answer.behind = source.changes_after(snapshot).await?;
            }
        }
    }
    match listed.format {
        ListFormat::Table => print::write(render(&report, max_lag, listed)?)?,
        ListFormat::Json => print::write(Text::json(&report)?)?,
    }
    let is_ill = |answer: &NodeAnswer| is_late(answer, max_lag) || waits(answer);
    let is_well = report.agree && !report.nodes.iter().any(is_ill);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether a node waits until an operator confirms a loss or options.
fn waits(answer: &NodeAnswer) -> bool {
    answer.node.as_ref().is_some_and(|node| node.is_held_back || node.doubt.is_some())
}

/// Whether a node has been behind the database, or unable to read it, for more than `max_lag`
/// seconds.
fn is_late(answer: &NodeAnswer, max_lag: u64) -> bool {
    let failing = answer.node.as_ref().and_then(|node| node.failing.as_ref());
    let is_behind = |behind: Behind| behind.changes > 0 && behind.seconds > max_lag as i64;
    failing.is_some_and(|failing| failing.seconds > max_lag as f64) || answer.behind.is_some_and(is_behind)
}

/// The values for `status.txt`, which is shown below the table.
#[derive(Serialize)]
struct Summary {
    notes: Vec<String>,
    verdict: String,
}

fn render(report: &ClusterReport, max_lag: u64, listed: Listed) -> anyhow::Result<Text> {
    let columns = [
        text("NODE"),
        text("STATE"),
        number("SNAPSHOT"),
        number("LAG"),
        number("AGE"),
        number("TENANTS"),
        number("USERS"),
        number("RULES"),
        text("DIGEST"),
        text("PROGRAM"),
    ];
    let rows: Vec<_> = report.nodes.iter().map(row).collect();
    // Escaped, so that a note stays on one line even if a node sends line breaks.
    let notes = databases(report).into_iter().chain(report.nodes.iter().flat_map(notes));
    let notes = notes.map(|note| escape(&note, EscapeStyle::Braces).into_owned()).collect();
    let summary = Summary { notes, verdict: verdict(report, max_lag) };
    let mut templates = TinyTemplate::new();
    templates.set_default_formatter(&tinytemplate::format_unescaped);
    templates.add_template("status", include_str!("status.txt"))?;
    let mut text = Text::listed(&columns, rows, listed);
    text.append(Text::lines(templates.render("status", &summary)?.lines()));
    Ok(text)
}

fn name(answer: &NodeAnswer) -> &str {
    answer.url.trim_start_matches("http://").trim_end_matches('/')
}

fn row(answer: &NodeAnswer) -> Vec<String> {
    let name = name(answer).to_owned();
    let Some(node) = &answer.node else {
        let rest = ["no answer", "-", "-", "-", "-", "-", "-", "-", "-"];
        return [name].into_iter().chain(rest.map(String::from)).collect();
    };
    let count = |number: Option<i64>| number.map_or("-".into(), |number| number.to_string());
    vec![
        name,
        state(node).to_owned(),
        count(node.snapshot),
        count(answer.lag),
        format!("{:.1} s", node.age),
        node.tenants.to_string(),
        node.users.to_string(),
        node.rules.to_string(),
        node.digest.get(..8).unwrap_or("-").to_owned(),
        node.program.clone(),
    ]
}

fn state(node: &NodeStatus) -> &'static str {
    match node.state {
        NodeState::Ready if node.failing.is_some() => "database down",
        NodeState::Ready if node.is_from_state_file => "state file",
        NodeState::Ready if node.is_held_back => "loss withheld",
        NodeState::Ready if node.doubt.is_some() => "in doubt",
        state => state.name(),
    }
}

/// Details of a node that the table does not show.
fn notes(answer: &NodeAnswer) -> Vec<String> {
    let name = name(answer);
    let Some(node) = &answer.node else {
        return answer.error.iter().map(|error| format!("{name}: {error}")).collect();
    };
    let failing = node.failing.as_ref().map(|failing| {
        format!("{name}: the database has been unreadable for {:.0} s: {}", failing.seconds, failing.why)
    });
    let held_back = node.is_held_back.then(|| {
        let (users, rules) = (node.withheld_users, node.withheld_rules);
        let attributes = match node.withheld_attributes {
            0 => String::new(),
            some => format!(" and {some} attributes"),
        };
        format!(
            "{name}: {users} users and {rules} rules{attributes} are gone from the database and served as before: restore \
             them, or confirm the loss with `jitsiprovs confirm`"
        )
    });
    let doubt = node
        .doubt
        .as_ref()
        .map(|doubt| format!("{name}: {doubt}: correct them, or confirm them with `jitsiprovs confirm`"));
    let behind = answer.behind.filter(|behind| behind.changes > 0).map(|Behind { changes, seconds }| {
        format!("{name}: behind the database by {changes} changes, for {seconds} s")
    });
    let left_out = (node.left_out > 0).then(|| format!("{name}: {} rows are not in use", node.left_out));
    let state_file = node.is_state_file_failing.then(|| format!("{name}: its state file cannot be written"));
    let cold = node.cold_sign_ins.map(|cold| {
        format!("{name}: {cold:.0} first sign-ins a second are possible, because their hashes are slow")
    });
    [failing, held_back, doubt, behind, left_out, state_file, cold].into_iter().flatten().collect()
}

/// Which databases the nodes read: one line if it is the same.
fn databases(report: &ClusterReport) -> Vec<String> {
    let read = |answer: &NodeAnswer| {
        let database = answer.node.as_ref().map(|node| node.database.clone());
        database.filter(|database| !database.is_empty()).map(|database| (name(answer).to_owned(), database))
    };
    let read: Vec<_> = report.nodes.iter().filter_map(read).collect();
    match &*read {
        [] => Vec::new(),
        [(_, first), others @ ..] if others.iter().all(|(_, database)| database == first) => {
            vec![format!("database: {first}")]
        }
        differing => differing.iter().map(|(name, database)| format!("{name}: reads {database}")).collect(),
    }
}

fn verdict(report: &ClusterReport, max_lag: u64) -> String {
    let silent = report.nodes.iter().filter(|answer| answer.node.is_none()).count();
    let nodes = report.nodes.iter().filter_map(|answer| answer.node.as_ref());
    let is_stuck = |node: &&NodeStatus| node.failing.is_some() || node.state != NodeState::Ready;
    let late = report.nodes.iter().filter(|answer| is_late(answer, max_lag)).count();
    let waiting = report.nodes.iter().filter(|answer| waits(answer)).count();
    match (report.agree, silent, nodes.filter(is_stuck).count()) {
        (true, ..) if late > 0 => {
            format!("{late} of {} nodes are behind for more than {max_lag} s", report.nodes.len())
        }
        (true, ..) if waiting > 0 => {
            format!("all nodes agree, but {waiting} of them wait for a confirmation")
        }
        (true, _, 0) => "all nodes agree".to_owned(),
        (true, _, stuck) => format!("all nodes agree, but {stuck} of them cannot load changes now"),
        (false, 0, _) => format!("the nodes differ for more than {max_lag} s"),
        (false, silent, _) => format!("{silent} of {} nodes do not answer", report.nodes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::SourceFailure;

    fn answer(snapshot: i64) -> NodeAnswer {
        let node = NodeStatus {
            state: NodeState::Ready,
            snapshot: Some(snapshot),
            digest: "0123456789abcdef".into(),
            ..NodeStatus::default()
        };
        NodeAnswer {
            url: "http://10.0.0.1:9090".into(),
            node: Some(node),
            lag: None,
            behind: None,
            error: None,
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_node_and_says_what_is_wrong() {
        let mut ill = answer(6);
        ill.node.as_mut().expect("a node").failing =
            Some(SourceFailure { seconds: 12.3, why: "it is gone".into() });
        let silent = NodeAnswer { node: None, error: Some("cannot connect".into()), ..answer(7) };
        let nodes = vec![answer(7), ill, silent];
        let text = render(
            &ClusterReport { agree: false, nodes },
            5,
            Listed { format: ListFormat::Table, wide: true },
        )
        .expect("renders");
        let text = text.as_str();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("NODE"), "{text}");
        assert!(lines[1].contains("ready") && lines[2].contains("database down"), "{text}");
        assert!(lines[3].contains("no answer"), "{text}");
        assert!(
            text.contains("10.0.0.1:9090: the database has been unreadable for 12 s: it is gone\n"),
            "{text}"
        );
        assert!(text.ends_with("10.0.0.1:9090: cannot connect\n1 of 3 nodes do not answer\n"), "{text}");
    }
}
