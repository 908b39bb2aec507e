//! What is wrong with a row.

use std::fmt;

use super::model::Table;

/// Something wrong with one row, in words for the operator. Never holds a
/// password, a hash or a property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind, in a short name that stays as it is.
    pub code: &'static str,
    /// Where the row is.
    pub table: Table,
    /// Its id.
    pub id: i64,
    /// What is wrong, what that means, and how to mend it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} id {}: {}", self.table, self.id, self.what)
    }
}
