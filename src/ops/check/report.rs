//! What was found.

use serde::{Serialize, Serializer};

use crate::core::model::Table;
use crate::core::problem::{Code, Severity};

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
    pub(super) fn add(&mut self, code: Code, table: Table, id: i64, message: impl Into<String>) {
        self.findings.push(Finding { severity: code.severity(), code, table, id, message: message.into() });
    }

    pub(super) fn add_rule(&mut self, code: Code, id: i64, message: impl Into<String>) {
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
