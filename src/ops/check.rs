//! Finds mistakes in users and rules, and what was probably not intended.
//!
//! A snapshot is built from all rows, so that they are read exactly as the server reads them. The
//! problems that the load reports are included. The rest is found in the snapshot: rule by rule
//! ([`lines`], [`attributes`], [`accounts`]), key by key in the order of the rules ([`order`]), and where one property affects
//! others ([`prefixes`]).

mod accounts;
mod attributes;
mod backslashes;
mod lines;
mod names;
mod order;
mod prefixes;
mod report;
mod table;
mod undoing;
mod users;

use crate::core::conventions::Conventions;
use crate::core::model::{Row, RuleRow};
use crate::core::problem::{Code, Problem};
use crate::snapshot::{Snapshot, Writer};

pub use report::{CheckReport, CheckSettings, Finding};
use table::RuleTable;
pub use undoing::Undoing;

/// Findings that need all rows to be known.
const NEEDS_ALL: [Code; 6] = [
    Code::NoSuchUser,
    Code::NoUsers,
    Code::NoRules,
    Code::NoAccountLine,
    Code::UnknownAttribute,
    Code::UnsetAttribute,
];

/// Checks everything. `problems` is what the load reported.
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
    attributes::check(snapshot, &mut report);
    accounts::check(snapshot, &mut report);
    order::check(&mut rules, &mut report);
    prefixes::check(&rules, &mut report);
    report.findings.retain(|finding| !settings.ignored.contains(&finding.code));
    report.findings.sort_unstable();
    report.findings.dedup();
    report
}

/// Checks a single rule. Findings that depend on other rows are left out.
pub fn check_rule(row: &RuleRow, options: &Conventions) -> CheckReport {
    let (snapshot, problems) = Writer::build(options.clone(), [Row::Rule(row.clone())]);
    let settings = CheckSettings { ignored: NEEDS_ALL.into(), each_user: false };
    check(&snapshot, problems.first, options, &settings)
}

#[cfg(test)]
mod tests;
