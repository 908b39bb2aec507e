//! Marks: what tells a load that a table is as it was, so that its rows need not be read.
//!
//! A MySQL server adds up a sum over all cells of a table; two states of a table may have the
//! same sum, but hardly ever by chance. Of a SQLite file, a mark says when it was written last.
//! So a caller must still read all rows from time to time.

use crate::core::model::Table;
use std::fmt;

/// The state of a table at one moment. Two are equal if the rows are the same, as far as can
/// be told without reading them.
#[derive(Clone)]
pub struct Mark {
    /// It depends on the stored passwords, so it is not shown.
    state: String,
    /// What the rows count in the budget of a load.
    pub(super) bytes: u64,
}

impl Mark {
    pub(super) fn new(state: String, bytes: u64) -> Mark {
        Mark { state, bytes }
    }

    /// A mark for tests.
    #[cfg(test)]
    pub fn of(state: &str) -> Mark {
        Mark::new(state.to_owned(), 0)
    }

    pub(super) fn is(&self, state: &str) -> bool {
        self.state == state
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(***)")
    }
}

/// How a load reads a table.
#[derive(Debug, Clone, Default)]
pub enum Plan {
    /// All rows.
    #[default]
    Read,
    /// All rows, with a mark of the state that they have.
    Mark,
    /// All rows, with a mark, but only if the table no longer has this mark.
    Unless(Mark),
}

/// What a load has read of a table.
#[derive(Debug, Clone)]
pub enum TableRead {
    /// This many rows. The mark is that of their state, if one was planned and the database can
    /// make one.
    Rows(u64, Option<Mark>),
    /// No rows, because the table still has the mark of the plan.
    Unchanged,
}

impl TableRead {
    /// How many rows were read.
    pub fn rows(&self) -> u64 {
        match self {
            TableRead::Rows(rows, _) => *rows,
            TableRead::Unchanged => 0,
        }
    }
}

/// A load that has read everything that it was to read.
#[derive(Debug)]
pub struct Reloaded {
    /// The position in the table of changes, if that was wanted and there is one.
    pub cursor: Option<super::Cursor>,
    /// What was read of each of [`Table::ALL`].
    pub tables: [TableRead; Table::COUNT],
}
