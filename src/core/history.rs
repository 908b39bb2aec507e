//! The history of edits: who made an edit, and how each row was before and after.

mod kept;

use serde::Serialize;

use super::columns::ColumnSet;
use super::model::{Row, Table};

pub use kept::{Keeper, KeptRow, changed_since, differing};

/// Who edits rows, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editor {
    /// The operating system's user, or the account of the console.
    pub name: String,
    /// With what the edit is made.
    pub tool: Tool,
}

/// With what an edit is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// A command.
    Command,
    /// `jitsiprovs import`
    Import,
    /// The console.
    Console,
}

impl Tool {
    /// The tool with this name.
    pub fn called(name: &str) -> Option<Tool> {
        Tool::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// All of them.
    pub const ALL: [Tool; 3] = [Tool::Command, Tool::Import, Tool::Console];

    /// Its name in the table and in lists.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Command => "command",
            Tool::Import => "import",
            Tool::Console => "console",
        }
    }
}

/// What an edit did to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowAction {
    /// The row is new.
    Add,
    /// The row has other values.
    Set,
    /// The row is gone.
    Remove,
}

impl RowAction {
    /// The action with this name.
    pub fn called(name: &str) -> Option<RowAction> {
        RowAction::ALL.into_iter().find(|action| action.name() == name)
    }

    /// All of them.
    pub const ALL: [RowAction; 3] = [RowAction::Add, RowAction::Set, RowAction::Remove];

    /// Its name in the table and in lists.
    pub fn name(self) -> &'static str {
        match self {
            RowAction::Add => "add",
            RowAction::Set => "set",
            RowAction::Remove => "remove",
        }
    }
}

/// One edit of one row.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// Counts the lines, from 1.
    pub id: i64,
    /// The id of the first line of the same edit. Lines of other tools are an edit each.
    pub edit: i64,
    /// When, in seconds since 1970 in UTC.
    pub at: i64,
    /// Who made the edit; `None` if another tool made it.
    pub editor: Option<String>,
    /// With what; `None` if another tool made it.
    pub tool: Option<Tool>,
    /// What it did.
    pub action: RowAction,
    /// The table of the row.
    pub table: Table,
    /// The id of the row.
    pub row_id: i64,
    /// What people call the row: `user@domain`, the key of a rule, or the name of an attribute.
    pub name: String,
    /// The tenant of the row; empty for all tenants.
    pub domain: String,
    /// The user whose row it is; of a rule, its subject. Empty if it belongs to no user.
    pub username: String,
    /// The row before the edit, with passwords and secrets as hashes. `None` for a new row, and if
    /// another tool made the edit.
    pub before: Option<Row>,
    /// The row after it, likewise.
    pub after: Option<Row>,
    /// Columns whose cells, in the row before and in the row after, stand for secrets: a text is a
    /// slow hash of the secret, and a number says nothing about it. In one line, equal cells
    /// stand for equal secrets.
    pub secrets: [ColumnSet; 2],
    /// The edit that this one undoes.
    pub undoes: Option<i64>,
    /// Whether the edit has further lines. Only known if [`HistoryFilter::firsts`] were read.
    pub goes_on: bool,
}

/// Which lines of the history to read.
#[derive(Debug, Clone, Default)]
pub struct HistoryFilter {
    /// Those of one edit.
    pub edit: Option<i64>,
    /// Those of each of these edits: at most `most` lines of each.
    pub edits: Vec<i64>,
    /// Only the first line of each edit.
    pub firsts: bool,
    /// Those of one row.
    pub row: Option<(Table, i64)>,
    /// Those of rows that people call so: `user@domain` also finds the user's attributes and rules
    /// for the username in this tenant. Upper and lower case are equal.
    pub name: Option<String>,
    /// From this second since 1970 on.
    pub since: Option<i64>,
    /// Lines before the one with this id, for the next page.
    pub before: Option<i64>,
    /// How many lines at most, the newest first.
    pub most: usize,
}
