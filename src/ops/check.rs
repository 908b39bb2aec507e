//! What is wrong, or probably not meant, in users and rules.
//!
//! A snapshot is made of all rows, so that rows are understood exactly as the
//! server understands them. What the load reports is taken over. The rest is found
//! by going through the snapshot: rule by rule ([`lines`]), key by key in the order
//! in which rules count ([`order`]), and where one property acts upon others
//! ([`prefixes`]).

mod lines;
mod names;
mod order;
mod prefixes;
mod report;
mod table;
mod users;

use crate::core::conventions::Conventions;
use crate::core::model::{Row, RuleRow};
use crate::core::problem::{Code, Problem};
use crate::snapshot::{Snapshot, Writer};

pub use report::{CheckReport, CheckSettings, Finding};
use table::RuleTable;

/// What cannot be said without knowing the users.
const NEEDS_USERS: [Code; 3] = [Code::NoSuchUser, Code::NoUsers, Code::NoRules];

/// Looks through everything. `problems` is what the load reported.
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
    report.findings.retain(|finding| !settings.ignored.contains(&finding.code));
    report.findings.sort_unstable();
    report.findings.dedup();
    report
}

/// Looks at one rule, without what can only be said with the other rows at hand.
pub fn check_rule(row: &RuleRow, options: &Conventions) -> CheckReport {
    let (snapshot, problems) = Writer::build(options.clone(), [Row::Rule(row.clone())]);
    let settings = CheckSettings { ignored: NEEDS_USERS.into(), each_user: false };
    check(&snapshot, problems.first, options, &settings)
}

#[cfg(test)]
mod tests;
