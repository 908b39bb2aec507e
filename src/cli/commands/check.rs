//! `jitsiprovs check`: finds mistakes in users and rules.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::args::{self, ListFormat};
use crate::cli::config::TableAccess;
use crate::cli::print::{Text, counted};
use crate::cli::{edit_session, print};
use crate::core::problem::Severity;
use crate::ops::check::{self, CheckReport, CheckSettings, Finding};
use crate::serve::cold_sign_ins;
use crate::snapshot::{Snapshot, Writer};
use crate::source::Which;

/// How many findings of one kind are listed; further ones are only counted.
const SHOWN: usize = 10;

/// The output for programs.
#[derive(Serialize)]
struct Printed<'r> {
    findings: &'r [Finding],
    summary: CheckSummary,
}

#[derive(Serialize)]
struct CheckSummary {
    users: usize,
    rules: usize,
    tenants: usize,
    errors: usize,
    warnings: usize,
    hints: usize,
    /// Users whose stored password is a slow hash.
    slow_users: usize,
    /// How many of their first sign-ins this machine can answer a second.
    cold_sign_ins: Option<f64>,
}

/// Checks all rows and prints the findings. The exit code is 1 if there are errors or
/// warnings.
///
/// # Errors
/// When the rows cannot be read.
pub async fn check(options: args::CheckArgs) -> anyhow::Result<ExitCode> {
    let args::CheckArgs { ignore, verbose, listed, tables } = options;
    let TableAccess { source, snapshot: options, params: _ } = TableAccess::new(tables)?;
    let mut writer = Writer::new(options.clone());
    writer.begin_load();
    let mut draft = writer.draft_of_load();
    draft.keep_all_problems();
    // Rows are not kept, because a snapshot is smaller and has all that is needed.
    edit_session::scan(&*source, Which::All, |row| {
        draft.put(&row);
    })
    .await?;
    let (snapshot, problems) = draft.commit();
    drop(writer);
    let settings = CheckSettings { ignored: ignore, each_user: verbose };
    let report = check::check(&snapshot, problems.first, &options, &settings);
    let summary = CheckSummary::of(&report, &snapshot);
    match listed.format {
        ListFormat::Table => print::write(text(&report, &summary, if verbose { usize::MAX } else { SHOWN }))?,
        ListFormat::Json => print::write(Text::json(&Printed { findings: &report.findings, summary })?)?,
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl CheckSummary {
    fn of(report: &CheckReport, snapshot: &Snapshot) -> CheckSummary {
        let (counts, slow) = (snapshot.counts(), snapshot.slow_users());
        CheckSummary {
            users: counts.users,
            rules: counts.rules,
            tenants: counts.tenants,
            errors: report.count(Severity::Error),
            warnings: report.count(Severity::Warning),
            hints: report.count(Severity::Hint),
            slow_users: slow.as_ref().map_or(0, |slow| slow.users),
            cold_sign_ins: slow.map(|slow| cold_sign_ins::measure(&slow.hash)),
        }
    }
}

/// One line per finding, at most `shown` of each kind, and a line with the totals.
fn text(report: &CheckReport, summary: &CheckSummary, shown: usize) -> Text {
    let mut text = Text::default();
    for kind in report.findings.chunk_by(|one, other| one.code == other.code) {
        for Finding { severity, code, table, id, message } in kind.iter().take(shown) {
            let line = format_args!(": [{code}] {table} id {id}: {message}");
            text.push_styled(colour(*severity), severity.name(), line);
        }
        if kind.len() > shown {
            let Finding { severity, code, .. } = &kind[0];
            let more = kind.len() - shown;
            let line = format_args!(": [{code}] {more} more: --verbose names them");
            text.push_styled(colour(*severity), severity.name(), line);
        }
    }
    let CheckSummary { users, rules, tenants, errors, warnings, hints, slow_users, cold_sign_ins } = *summary;
    if let Some(cold) = cold_sign_ins {
        text.push(format_args!(
            "slow hashes: {} of {users}; on this machine, {cold:.0} of them can sign in for the first time a second",
            counted(slow_users, "user"),
        ));
    }
    text.push(format_args!(
        "{}, {} and {} in {} and {} of {}",
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(hints, "hint"),
        counted(users, "user"),
        counted(rules, "rule"),
        counted(tenants, "tenant"),
    ));
    text
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "31",
        Severity::Warning => "33",
        Severity::Hint => "36",
    }
}
