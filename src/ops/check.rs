//! What is wrong, or probably not meant, in users and rules.
//!
//! A snapshot is made of all rows, so that rows are understood exactly as the
//! server understands them; what the load has to say of them is taken over, and
//! the rest is found by looking through the snapshot: rule by rule ([`lines`]),
//! key by key in the order in which rules count ([`order`]), and where one
//! property acts upon others ([`prefixes`]).

mod lines;
mod names;
mod order;
mod prefixes;
mod table;
mod users;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::core::conventions::Conventions;
use crate::core::model::{Row, RuleRow, Table};
use crate::core::problem::Problem;
use crate::snapshot::{Snapshot, Writer};

use table::RuleTable;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody does not get what the row says.
    Error,
    /// It does something else than was probably meant, or harms.
    Warning,
    /// Worth knowing; may well be meant.
    Hint,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Hint => "hint",
        }
    }
}

/// Every kind of finding: its short name, which stays as it is, and how bad it
/// is.
const CODES: &[(&str, Severity)] = &[
    ("allow-prefix-drops", Severity::Warning),
    ("ambiguous-subject", Severity::Warning),
    ("backslash-before-placeholder", Severity::Warning),
    ("bad-password", Severity::Error),
    ("bad-row", Severity::Error),
    ("bad-unicode-escape", Severity::Warning),
    ("blank-in-prefix", Severity::Warning),
    ("colliding-user", Severity::Error),
    ("duplicate-id", Severity::Error),
    ("enforce-prefix-forgets", Severity::Error),
    ("enforce-prefix-undoes", Severity::Warning),
    ("ignored-key", Severity::Error),
    ("line-break", Severity::Warning),
    ("logged-secret", Severity::Warning),
    ("mandatory", Severity::Warning),
    ("never-wins", Severity::Warning),
    ("no-password", Severity::Warning),
    ("no-rules", Severity::Warning),
    ("no-such-user", Severity::Warning),
    ("no-users", Severity::Warning),
    ("null-beyond-subtree", Severity::Warning),
    ("null-forgets", Severity::Error),
    ("null-priority", Severity::Warning),
    ("null-undoes", Severity::Warning),
    ("own-parameter", Severity::Hint),
    ("split-key", Severity::Error),
    ("stray-dollar", Severity::Warning),
    ("tie", Severity::Warning),
    ("trailing-backslash", Severity::Warning),
    ("unknown-parameter", Severity::Warning),
    ("weak-ha1", Severity::Hint),
    ("weak-hash", Severity::Warning),
];

/// What takes users to tell.
const NEEDS_USERS: [&str; 3] = ["no-such-user", "no-users", "no-rules"];

/// The names of all kinds of findings.
pub fn codes() -> impl Iterator<Item = &'static str> {
    CODES.iter().map(|(code, _)| *code)
}

/// Something that was found in one row, in words for the operator. Never holds
/// a password, a hash or a property's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its kind, in a short name that stays as it is.
    pub code: &'static str,
    /// Where the row is.
    #[serde(serialize_with = "by_name")]
    pub table: Table,
    /// Its id.
    pub id: i64,
    /// What is wrong, what that means, and how to mend it.
    pub message: String,
}

fn by_name<S: Serializer>(table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(table)
}

/// All that was found, the worst first.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// By severity, code, table and id.
    pub findings: Vec<Finding>,
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct CheckSettings {
    /// Kinds of findings that are not wanted.
    pub ignored: Vec<String>,
    /// Name every user with a weak hash, and not one a tenant.
    pub each_user: bool,
}

impl CheckReport {
    fn add(&mut self, code: &'static str, table: Table, id: i64, message: impl Into<String>) {
        let known = CODES.iter().find(|(known, _)| *known == code);
        // A kind that has no severity yet is not to go unseen.
        let severity = known.map_or(Severity::Error, |(_, severity)| *severity);
        self.findings.push(Finding { severity, code, table, id, message: message.into() });
    }

    fn add_rule(&mut self, code: &'static str, id: i64, message: impl Into<String>) {
        self.add(code, Table::JitsiProperty, id, message);
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// How many findings there are of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.code).or_default() += 1;
        }
        counts
    }

    /// Whether anything is wrong, hints left out.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Hint)
    }
}

/// Looks through everything. `problems` is what the load said.
pub fn check(
    snapshot: &Snapshot,
    problems: Vec<Problem>,
    options: &Conventions,
    settings: &CheckSettings,
) -> CheckReport {
    let mut report = CheckReport::default();
    for Problem { code, table, id, what } in problems {
        report.add(code, table, id, what);
    }
    users::check(snapshot, settings, &mut report);
    let mut rules = RuleTable::new(snapshot);
    lines::check(snapshot, options, &rules, &mut report);
    order::check(&mut rules, &mut report);
    prefixes::check(&rules, &mut report);
    report.findings.retain(|finding| !settings.ignored.iter().any(|code| code == finding.code));
    report.findings.sort_unstable();
    report.findings.dedup();
    report
}

/// Looks at one rule, and leaves out what takes other rows to tell.
pub fn check_rule(row: &RuleRow, options: &Conventions) -> CheckReport {
    let (snapshot, problems) = Writer::build(options.clone(), [Row::Rule(row.clone())]);
    let settings = CheckSettings { ignored: NEEDS_USERS.map(String::from).into(), each_user: false };
    check(&snapshot, problems.first, options, &settings)
}

#[cfg(test)]
mod tests;
