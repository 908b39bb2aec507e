//! Edits of the two tables, for the command line: what they are, and their SQL,
//! which both databases understand.

use crate::model::{Cell, Row, Table};

/// An edit of one row. It may hold a password, so it does not implement
/// `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Edit {
    /// A new row. Its id is the database's to give: what it says here does not
    /// count.
    Add(Row),
    /// The row of this id is to read so now.
    Set(Row),
    /// The row is to go.
    Remove(Table, i64),
}

impl Edit {
    /// The table it is of.
    pub fn table(&self) -> Table {
        match self {
            Edit::Add(row) | Edit::Set(row) => row.table(),
            Edit::Remove(table, _) => *table,
        }
    }
}

/// The columns that are written. The original's rules have no `domain`.
pub(super) fn columns(table: Table, has_domain: bool) -> &'static [&'static str] {
    const RULE: [&str; 6] = ["domain", "subject", "spriority", "ppriority", "property_key", "property_value"];
    match table {
        Table::UserAuth => &["username", "domain", "password"],
        Table::JitsiProperty if has_domain => &RULE,
        Table::JitsiProperty => &RULE[1..],
    }
}

/// A row's cells, in the order of [`columns`].
pub(super) fn cells(row: &Row, has_domain: bool) -> Vec<&Cell> {
    match row {
        Row::User(row) => vec![&row.username, &row.domain, &row.password],
        Row::Rule(row) => {
            let all = [&row.domain, &row.subject, &row.spriority, &row.ppriority, &row.key, &row.value];
            all[usize::from(!has_domain)..].to_vec()
        }
    }
}

/// Adds `rows` rows.
pub(super) fn insert(table: Table, has_domain: bool, rows: usize) -> String {
    let columns = columns(table, has_domain);
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", columns.join(", "), vec![row; rows].join(", "))
}

/// Changes a row; the id comes last.
pub(super) fn update(table: Table, has_domain: bool) -> String {
    let set: Vec<String> = columns(table, has_domain).iter().map(|column| format!("{column} = ?")).collect();
    format!("UPDATE {table} SET {} WHERE id = ?", set.join(", "))
}

/// Removes a row.
pub(super) fn delete(table: Table) -> String {
    format!("DELETE FROM {table} WHERE id = ?")
}

/// Whether a rule is of one tenant, which the original's table cannot hold.
pub(super) fn needs_domain(row: &Row) -> bool {
    match row {
        Row::User(_) => false,
        Row::Rule(row) => !matches!(row.domain.text(), Ok(None)) && row.domain != Cell::from(""),
    }
}
