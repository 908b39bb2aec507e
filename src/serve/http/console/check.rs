//! What `check` finds in the snapshot that is served.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Semaphore;

use super::link;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use crate::core::model::Table;
use crate::ops::check::{self, CheckSettings, Finding};

/// How many findings of a kind are shown.
const SHOWN: usize = 10;

/// The latest check, and the turn for the next one.
pub(super) struct Checks {
    /// The version of the snapshot that was checked.
    latest: Mutex<Option<(u64, Arc<Vec<Kind>>)>>,
    turn: Semaphore,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks { latest: Mutex::default(), turn: Semaphore::new(1) }
    }
}

/// Findings of one kind.
#[derive(Clone, Serialize)]
struct Kind {
    severity: &'static str,
    code: &'static str,
    count: usize,
    more: usize,
    findings: Vec<FindingLine>,
}

#[derive(Clone, Serialize)]
struct FindingLine {
    table: &'static str,
    id: i64,
    /// Empty without a page.
    href: String,
    message: String,
}

#[derive(Serialize)]
struct CheckPage<'a> {
    version: u64,
    /// Whether the snapshot that is served was checked.
    is_done: bool,
    kinds: &'a [Kind],
}

impl Checks {
    /// The findings for a snapshot, if it was the latest one that was checked.
    fn of(&self, version: u64) -> Option<Arc<Vec<Kind>>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().filter(|(known, _)| *known == version).map(|(_, kinds)| kinds.clone())
    }
}

/// `/console/check`: shows the latest findings; a form asks for new ones.
pub(super) async fn check(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    // The findings name users and rules of all tenants.
    if visit.operator().tenants.is_some() {
        return Err(Refusal::Forbidden);
    }
    let (served, checks) = (visit.served()?, &visit.console.checks);
    if visit.is_post && checks.of(served.version).is_none() {
        let _turn = checks.turn.acquire().await.map_err(|_| Refusal::NotFound)?;
        if checks.of(served.version).is_none() {
            let (options, settings) = (&visit.console.conventions, CheckSettings::default());
            let problems = visit.state.reload.problems().first.clone();
            let checked = check::check(&served.snapshot, problems, options, &settings);
            let kinds = kinds(&checked.findings);
            *checks.latest.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((served.version, Arc::new(kinds)));
        }
    }
    let kinds = checks.of(served.version);
    let page = CheckPage {
        version: served.version,
        is_done: kinds.is_some(),
        kinds: kinds.as_ref().map_or(&[], |kinds| kinds.as_slice()),
    };
    Ok(page::show(visit, "check", text("layout", "check"), &page))
}

fn kinds(findings: &[Finding]) -> Vec<Kind> {
    let alike = findings.chunk_by(|one, other| one.code == other.code);
    let kind = |findings: &[Finding]| Kind {
        severity: findings[0].severity.name(),
        code: findings[0].code.name(),
        count: findings.len(),
        more: findings.len().saturating_sub(SHOWN),
        findings: findings.iter().take(SHOWN).map(line).collect(),
    };
    alike.map(kind).collect()
}

fn line(finding: &Finding) -> FindingLine {
    let href = match finding.table {
        Table::JitsiProperty => link::rule(finding.id),
        Table::UserAuth => link::user_row(finding.id),
        Table::UserAttribute => String::new(),
    };
    FindingLine { table: finding.table.name(), id: finding.id, href, message: finding.message.clone() }
}
