//! The findings, and what to look for.

use serde::{Serialize, Serializer};

use crate::core::model::Table;
use crate::core::problem::{Code, Severity};

/// A finding about one row, in words for the operator. It never holds a password, a hash or a
/// secret value of a property.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of finding.
    pub code: Code,
    /// The table of the row.
    #[serde(serialize_with = "by_name")]
    pub table: Table,
    /// The id of the row.
    pub id: i64,
    /// What is wrong, what the consequence is, and how to fix it.
    pub message: String,
}

fn by_name<S: Serializer>(table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(table)
}

/// All findings, the worst first.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Sorted by severity, code, table and id.
    pub findings: Vec<Finding>,
}

/// The options of a check.
#[derive(Debug, Clone, Default)]
pub struct CheckSettings {
    /// Kinds of findings that are not reported.
    pub ignored: Vec<Code>,
    /// Report every user with a weak hash, not only one for each tenant.
    pub each_user: bool,
}

impl CheckReport {
    pub(super) fn add(&mut self, code: Code, table: Table, id: i64, message: impl Into<String>) {
        self.findings.push(Finding { severity: code.severity(), code, table, id, message: message.into() });
    }

    pub(super) fn add_rule(&mut self, code: Code, id: i64, message: impl Into<String>) {
        self.add(code, Table::JitsiProperty, id, message);
    }

    /// The number of findings with this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether there are no findings except hints.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Hint)
    }
}
