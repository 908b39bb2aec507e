//! `jitsiprovs status`: how all nodes are, side by side.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::{Serialize, Serializer};
use tinytemplate::TinyTemplate;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::node;
use crate::cli::args::{self, ListFormat};
use crate::cli::print::{self, Text, number, text};
use crate::serve::http::node::NodeStatus;
use crate::telemetry::visible::{EscapeStyle, escape};

/// How often nodes that differ are asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// What is known of one node.
#[derive(Debug, Serialize)]
struct Seen {
    url: String,
    #[serde(flatten, serialize_with = "or_nulls")]
    node: Option<NodeStatus>,
    /// How many changes behind the node that has most.
    lag: Option<i64>,
    /// Why it did not say.
    error: Option<String>,
}

/// A node that is silent has the same fields as others, so that no program needs
/// to know which may be missing.
fn or_nulls<S: Serializer>(node: &Option<NodeStatus>, serializer: S) -> Result<S::Ok, S::Error> {
    match node {
        Some(node) => node.serialize(serializer),
        None => {
            let fields = serde_json::to_value(NodeStatus::default()).map_err(serde::ser::Error::custom)?;
            let names = fields.as_object().into_iter().flat_map(serde_json::Map::keys);
            serializer.collect_map(names.map(|name| (name, ())))
        }
    }
}

/// What all of them come to.
#[derive(Debug, Serialize)]
struct ClusterReport {
    /// Whether all answered and none is behind.
    agree: bool,
    nodes: Vec<Seen>,
}

/// Asks every node until all are as far as the first one was at the beginning,
/// or `--max-lag` is over; prints what they said last. The code is 1 if they
/// differ then.
///
/// # Errors
/// When a URL is none.
pub async fn status(options: args::StatusArgs) -> anyhow::Result<ExitCode> {
    let args::StatusArgs { urls, max_lag, listed } = options;
    let targets: Vec<(String, String)> = urls
        .into_iter()
        .map(|url| Ok((url.clone(), node::authority(&url)?)))
        .collect::<anyhow::Result<_>>()?;
    let begun = Instant::now();
    let mut seen = ask(&targets).await;
    // Edits that go on meanwhile are not to be waited for.
    let mut goal = seen.iter().filter_map(snapshot).max();
    let mut asked: Vec<bool> = seen.iter().map(|seen| seen.node.is_some()).collect();
    while !agree(&seen, goal) && begun.elapsed() < Duration::from_secs(max_lag) {
        sleep(AGAIN).await;
        seen = ask(&targets).await;
        // What a node says that has not answered before counts as the beginning.
        for (seen, asked) in seen.iter().zip(&mut asked) {
            if seen.node.is_some() && !std::mem::replace(asked, true) {
                goal = goal.max(snapshot(seen));
            }
        }
    }
    let agree = agree(&seen, goal);
    let highest = seen.iter().filter_map(snapshot).max();
    for seen in &mut seen {
        seen.lag = highest.zip(snapshot(seen)).map(|(highest, own)| highest - own);
    }
    let report = ClusterReport { agree, nodes: seen };
    match listed.format {
        ListFormat::Table => print::write(render(&report, max_lag)?)?,
        ListFormat::Json => print::write(Text::json(&report)?)?,
    }
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn snapshot(seen: &Seen) -> Option<i64> {
    seen.node.as_ref()?.snapshot
}

/// Whether every node is as far as `goal`, and those that are equally far have
/// the same rows. Where there is no table of changes, the rows alone can tell;
/// without digests, how many they are.
fn agree(seen: &[Seen], goal: Option<i64>) -> bool {
    let nodes: Option<Vec<&NodeStatus>> = seen.iter().map(|seen| seen.node.as_ref()).collect();
    let Some(nodes) = nodes.filter(|nodes| nodes.iter().all(|node| node.version > 0)) else { return false };
    nodes.iter().enumerate().all(|(at, node)| {
        let same_rows =
            |other: &NodeStatus| match [&node.digest, &other.digest].iter().any(|one| one.is_empty()) {
                true => rows(node) == rows(other),
                false => node.digest == other.digest,
            };
        let is_same = |other: &&NodeStatus| node.snapshot != other.snapshot || same_rows(other);
        node.snapshot >= goal && nodes[..at].iter().all(is_same)
    })
}

fn rows(node: &NodeStatus) -> usize {
    node.users + node.rules + node.left_out
}

async fn ask(targets: &[(String, String)]) -> Vec<Seen> {
    let mut asked = JoinSet::new();
    for (at, (_, authority)) in targets.iter().enumerate() {
        let authority = authority.clone();
        asked.spawn(async move { (at, fetch(&authority).await) });
    }
    let mut answers: Vec<_> = asked.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    let seen = answers.into_iter().zip(targets).map(|((_, answer), (url, _))| {
        let (node, error) = match answer {
            Ok(node) => (Some(node), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Seen { url: url.clone(), node, lag: None, error }
    });
    seen.collect()
}

async fn fetch(authority: &str) -> anyhow::Result<NodeStatus> {
    let body = node::get(authority, "/status", None).await?;
    serde_json::from_slice(&body).context("its answer is not a node's")
}

/// What `status.txt` is made with.
#[derive(Serialize)]
struct Said {
    notes: Vec<String>,
    verdict: String,
}

fn render(report: &ClusterReport, max_lag: u64) -> anyhow::Result<Text> {
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
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    let count = |number: Option<i64>| number.map_or("-".into(), |number| number.to_string());
    for Seen { url, node, lag, error } in &report.nodes {
        let name = url.trim_start_matches("http://").trim_end_matches('/');
        let Some(node) = node else {
            rows.push([name, "no answer", "-", "-", "-", "-", "-", "-", "-", "-"].map(String::from).to_vec());
            notes.extend(error.as_ref().map(|error| format!("{name}: {error}")));
            continue;
        };
        let state = match &node.failing {
            Some(_) if node.state == "ready" => "database down",
            _ if node.is_from_state_file && node.state == "ready" => "state file",
            _ => &node.state,
        };
        notes.extend(node.failing.as_ref().map(|failing| {
            format!("{name}: the database cannot be read for {:.0} s: {}", failing.seconds, failing.why)
        }));
        if node.is_held_back {
            notes.push(format!("{name}: a newer snapshot is held back, since it would drop too much"));
        }
        if node.left_out > 0 {
            notes.push(format!("{name}: {} rows are not in use", node.left_out));
        }
        rows.push(vec![
            name.to_owned(),
            state.to_owned(),
            count(node.snapshot),
            count(*lag),
            format!("{:.1} s", node.age),
            node.tenants.to_string(),
            node.users.to_string(),
            node.rules.to_string(),
            node.digest.get(..8).unwrap_or("-").to_owned(),
            node.program.clone(),
        ]);
    }
    let silent = report.nodes.iter().filter(|seen| seen.node.is_none()).count();
    let ill = report.nodes.iter().filter_map(|seen| seen.node.as_ref());
    let ill = ill.filter(|node| node.failing.is_some() || node.state != "ready").count();
    let verdict = match (report.agree, silent, ill) {
        (true, _, 0) => "all nodes agree".to_owned(),
        (true, _, ill) => format!("all nodes agree, but {ill} will not follow what changes now"),
        (false, 0, _) => format!("the nodes differ for more than {max_lag} s"),
        (false, silent, _) => format!("{silent} of {} nodes do not answer", report.nodes.len()),
    };
    // A note is a line, whatever a node says.
    let notes = notes.iter().map(|note| escape(note, EscapeStyle::Braces).into_owned()).collect();
    let mut templates = TinyTemplate::new();
    templates.set_default_formatter(&tinytemplate::format_unescaped);
    templates.add_template("status", include_str!("status.txt"))?;
    let mut text = Text::table(&columns, rows);
    text.append(Text::lines(templates.render("status", &Said { notes, verdict })?.lines()));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(snapshot: Option<i64>, digest: &str) -> Seen {
        let node = NodeStatus {
            program: "0.1.0".into(),
            state: "ready".into(),
            snapshot,
            digest: digest.into(),
            version: 1,
            age: 0.25,
            is_from_state_file: false,
            tenants: 1,
            users: 2,
            rules: 3,
            left_out: 0,
            is_held_back: false,
            failing: None,
        };
        Seen { url: "http://10.0.0.1:9090".into(), node: Some(node), lag: None, error: None }
    }

    #[test]
    fn nodes_agree_when_all_are_as_far_as_the_first_and_equals_have_equal_rows() {
        for (nodes, goal, expected) in [
            (vec![seen(Some(7), "a"), seen(Some(7), "a")], Some(7), true),
            (vec![seen(Some(7), "a"), seen(Some(6), "b")], Some(7), false),
            // Edits went on: both have what there was at the beginning.
            (vec![seen(Some(9), "c"), seen(Some(8), "b")], Some(7), true),
            // The same place in the changes of different databases.
            (vec![seen(Some(7), "a"), seen(Some(7), "b")], Some(7), false),
            (vec![seen(None, "a"), seen(None, "a")], None, true),
            (vec![seen(None, "a"), seen(None, "b")], None, false),
            (vec![seen(Some(7), "a"), seen(None, "a")], Some(7), false),
            (vec![seen(Some(7), "a"), Seen { node: None, ..seen(None, "") }], Some(7), false),
        ] {
            assert_eq!(agree(&nodes, goal), expected, "{nodes:?}");
        }
    }

    #[test]
    fn a_silent_node_has_the_fields_of_others_and_nulls_in_them() {
        let value = |seen: &Seen| serde_json::to_value(seen).expect("plain data");
        let silent = Seen { node: None, error: Some("cannot connect".into()), ..seen(None, "") };
        let (known, silent) = (value(&seen(Some(7), "a")), value(&silent));
        let names = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(names(&known), names(&silent));
        assert!(names(&known).len() > 10 && known["users"] == 2, "{known}");
        for (name, field) in silent.as_object().expect("an object") {
            assert_eq!(field.is_null(), !["url", "error"].contains(&&**name), "{name}: {field}");
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_node_and_says_what_is_wrong() {
        let mut ill = seen(Some(6), "0123456789abcdef");
        ill.node.as_mut().expect("a node").failing =
            Some(crate::serve::http::node::SourceFailure { seconds: 12.3, why: "it is gone".into() });
        let silent = Seen { node: None, error: Some("cannot connect".into()), ..seen(None, "") };
        let nodes = vec![seen(Some(7), "0123456789abcdef"), ill, silent];
        let text = render(&ClusterReport { agree: false, nodes }, 5).expect("renders");
        let text = text.as_str();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("NODE"), "{text}");
        assert!(lines[1].contains("ready") && lines[2].contains("database down"), "{text}");
        assert!(lines[3].contains("no answer"), "{text}");
        assert!(text.contains("10.0.0.1:9090: the database cannot be read for 12 s: it is gone\n"), "{text}");
        assert!(text.ends_with("10.0.0.1:9090: cannot connect\n1 of 3 nodes do not answer\n"), "{text}");
    }
}
