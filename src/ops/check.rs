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

use serde::{Serialize, Serializer};

use crate::core::conventions::Conventions;
use crate::core::model::{Row, RuleRow, Table};
use crate::core::problem::{Code, Problem, Severity};
use crate::snapshot::{Snapshot, Writer};

use table::RuleTable;

/// What cannot be said without knowing the users.
const NEEDS_USERS: [Code; 3] = [Code::NoSuchUser, Code::NoUsers, Code::NoRules];

/// Something that was found in one row, in words for the operator. Never holds
/// a password, a hash or a property's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is.
    pub code: Code,
    /// Where the row is.
    #[serde(serialize_with = "by_name")]
    pub table: Table,
    /// Its id.
    pub id: i64,
    /// What is wrong, what that means, and how to fix it.
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
    /// Kinds of findings that are left out.
    pub ignored: Vec<Code>,
    /// Name every user with a weak hash, and not one a tenant.
    pub each_user: bool,
}

impl CheckReport {
    fn add(&mut self, code: Code, table: Table, id: i64, message: impl Into<String>) {
        self.findings.push(Finding { severity: code.severity(), code, table, id, message: message.into() });
    }

    fn add_rule(&mut self, code: Code, id: i64, message: impl Into<String>) {
        self.add(code, Table::JitsiProperty, id, message);
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
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
    report.findings.retain(|finding| !settings.ignored.contains(&finding.code));
    report.findings.sort_unstable();
    report.findings.dedup();
    report
}

/// Looks at one rule, and leaves out what takes other rows to tell.
pub fn check_rule(row: &RuleRow, options: &Conventions) -> CheckReport {
    let (snapshot, problems) = Writer::build(options.clone(), [Row::Rule(row.clone())]);
    let settings = CheckSettings { ignored: NEEDS_USERS.into(), each_user: false };
    check(&snapshot, problems.first, options, &settings)
}

#[cfg(test)]
mod tests;
