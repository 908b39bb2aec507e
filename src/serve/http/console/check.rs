//! What `check` finds in the snapshot that is served.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Semaphore;

use super::known::ago;
use super::link;
use super::moment;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use crate::core::model::Table;
use crate::core::problem::Severity;
use crate::ops::check::{self, CheckSettings, Finding};

/// How many findings of a kind are shown.
const SHOWN: usize = 10;

/// The latest check, and the turn for the next one.
pub(super) struct Checks {
    latest: Mutex<Option<Arc<Checked>>>,
    turn: Semaphore,
}

/// A check that was made.
struct Checked {
    /// The version of the snapshot that was checked.
    version: u64,
    /// In seconds since 1970.
    at: i64,
    kinds: Vec<Kind>,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks { latest: Mutex::default(), turn: Semaphore::new(1) }
    }
}

/// Findings of one kind.
#[derive(Serialize)]
struct Kind {
    severity: &'static str,
    code: &'static str,
    count: usize,
    more: usize,
    findings: Vec<FindingLine>,
}

#[derive(Serialize)]
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
    summary: Option<Summary>,
    kinds: &'a [Kind],
}

/// What the latest check has found, in numbers.
#[derive(Serialize)]
pub(super) struct Summary {
    counts: Vec<Count>,
    ago: String,
    /// Whether the snapshot that is served was checked.
    is_current: bool,
}

/// How many findings of a severity there are.
#[derive(Serialize)]
struct Count {
    what: &'static str,
    count: usize,
}

impl Checks {
    /// The latest check.
    fn latest(&self) -> Option<Arc<Checked>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the snapshot of this version is the latest one that was checked.
    fn has(&self, version: u64) -> bool {
        self.latest().is_some_and(|checked| checked.version == version)
    }
}

impl Checked {
    /// `served` is the version of the snapshot that is served.
    fn summary(&self, served: u64) -> Summary {
        let count = |severity: Severity| Count {
            what: text("overview", severity.name()),
            count: self
                .kinds
                .iter()
                .filter(|kind| kind.severity == severity.name())
                .map(|kind| kind.count)
                .sum(),
        };
        Summary {
            counts: [Severity::Error, Severity::Warning, Severity::Hint].map(count).into(),
            ago: ago(self.at),
            is_current: self.version == served,
        }
    }
}

/// What the latest check has found, without making one. `None` if there was none, or if the operator
/// may not see findings of all tenants.
pub(super) fn latest(visit: &Visit<'_>) -> Option<Summary> {
    let checked = visit.console.checks.latest().filter(|_| visit.operator().tenants.is_none())?;
    Some(checked.summary(visit.served().ok()?.version))
}

/// `/console/check`: shows the latest findings; a form asks for new ones.
pub(super) async fn check(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    // The findings name users and rules of all tenants.
    if visit.operator().tenants.is_some() {
        return Err(Refusal::Forbidden);
    }
    let (served, checks) = (visit.served()?, &visit.console.checks);
    if visit.is_post && !checks.has(served.version) {
        let _turn = checks.turn.acquire().await.map_err(|_| Refusal::NotFound)?;
        if !checks.has(served.version) {
            let (options, settings) = (&visit.console.conventions, CheckSettings::default());
            let problems = visit.state.reload.problems().first.clone();
            let checked = check::check(&served.snapshot, problems, options, &settings);
            let (version, at, kinds) = (served.version, moment::now(), kinds(&checked.findings));
            let checked = Arc::new(Checked { version, at, kinds });
            *checks.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked);
        }
    }
    let checked = checks.latest();
    let page = CheckPage {
        version: checked.as_ref().map_or(served.version, |checked| checked.version),
        summary: checked.as_ref().map(|checked| checked.summary(served.version)),
        kinds: checked.as_ref().map_or(&[], |checked| checked.kinds.as_slice()),
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
