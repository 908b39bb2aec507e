//! The tables, their rows, and changes of rows.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::cell::{Cell, NamedCell};
pub use super::columns::{AttributeRow, RuleRow, UserRow};
use super::columns::{Column, ColumnSet};

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// `user_auth`
    UserAuth,
    /// `jitsi_property`
    JitsiProperty,
    /// `user_attribute`, which databases of earlier versions do not have.
    UserAttribute,
}

impl Table {
    /// How many tables there are.
    pub const COUNT: usize = 3;

    /// All tables, in the order of their discriminants.
    pub const ALL: [Table; Table::COUNT] = [Table::UserAuth, Table::JitsiProperty, Table::UserAttribute];

    /// Its columns besides the id.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Table::UserAuth => UserRow::COLUMNS,
            Table::JitsiProperty => RuleRow::COLUMNS,
            Table::UserAttribute => AttributeRow::COLUMNS,
        }
    }

    /// Whether a database may lack it, as those of earlier versions and of the original do.
    pub fn is_optional(self) -> bool {
        self.columns().iter().all(|column| !column.is_original)
    }

    /// Its name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Table::UserAuth => "user_auth",
            Table::JitsiProperty => "jitsi_property",
            Table::UserAttribute => "user_attribute",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A row of any table. Its form in the state file is that of `core::stored`.
#[derive(Clone, PartialEq, Eq)]
pub enum Row {
    /// A row of `user_auth`.
    User(UserRow),
    /// A row of `jitsi_property`.
    Rule(RuleRow),
    /// A row of `user_attribute`.
    Attribute(AttributeRow),
}

impl Row {
    /// Creates a row of `table` from its cells, in the order of [`Table::columns`]. Cells that
    /// are missing at the end are `NULL`.
    pub fn from_cells(table: Table, id: i64, cells: impl IntoIterator<Item = Cell>) -> Row {
        match table {
            Table::UserAuth => Row::User(UserRow::from_cells(id, cells)),
            Table::JitsiProperty => Row::Rule(RuleRow::from_cells(id, cells)),
            Table::UserAttribute => Row::Attribute(AttributeRow::from_cells(id, cells)),
        }
    }

    /// The row with each cell in the form that all databases share: whole numbers as numbers in
    /// columns of numbers, and as text in the others. Only rows in this form may be compared.
    pub fn normal(self) -> Row {
        match self {
            Row::User(row) => Row::User(row.normal()),
            Row::Rule(row) => Row::Rule(row.normal()),
            Row::Attribute(row) => Row::Attribute(row.normal()),
        }
    }

    /// The table it belongs to.
    pub fn table(&self) -> Table {
        match self {
            Row::User(_) => Table::UserAuth,
            Row::Rule(_) => Table::JitsiProperty,
            Row::Attribute(_) => Table::UserAttribute,
        }
    }

    /// Its id, which is unique in its table.
    pub fn id(&self) -> i64 {
        match self {
            Row::User(row) => row.id,
            Row::Rule(row) => row.id,
            Row::Attribute(row) => row.id,
        }
    }

    /// The same row with another id.
    pub fn with_id(mut self, id: i64) -> Row {
        match &mut self {
            Row::User(row) => row.id = id,
            Row::Rule(row) => row.id = id,
            Row::Attribute(row) => row.id = id,
        }
        self
    }

    /// Its cells, in the order of [`Table::columns`].
    pub fn cells(&self) -> impl Iterator<Item = &Cell> + Clone {
        let (user, rule, attribute) = match self {
            Row::User(row) => (Some(row.cells()), None, None),
            Row::Rule(row) => (None, Some(row.cells()), None),
            Row::Attribute(row) => (None, None, Some(row.cells())),
        };
        user.into_iter().flatten().chain(rule.into_iter().flatten()).chain(attribute.into_iter().flatten())
    }

    /// The further columns of the operator's own query for users.
    pub fn attributes(&self) -> &[NamedCell] {
        match self {
            Row::User(row) => &row.attributes,
            Row::Rule(_) | Row::Attribute(_) => &[],
        }
    }

    /// The columns in which two rows of one table differ.
    pub fn differing(&self, other: &Row) -> ColumnSet {
        ColumnSet::of(self.cells().zip(other.cells()).map(|(one, other)| one != other))
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} id {})", self.table(), self.id())
    }
}

/// Rows of all tables.
#[derive(Clone, Default)]
pub struct TableRows {
    /// Those of `user_auth`.
    pub users: Vec<UserRow>,
    /// Those of `jitsi_property`.
    pub rules: Vec<RuleRow>,
    /// Those of `user_attribute`.
    pub attributes: Vec<AttributeRow>,
}

impl TableRows {
    /// Adds a row to those of its table.
    pub fn push(&mut self, row: Row) {
        match row {
            Row::User(row) => self.users.push(row),
            Row::Rule(row) => self.rules.push(row),
            Row::Attribute(row) => self.attributes.push(row),
        }
    }

    /// Sorts the rows of each table by id.
    pub fn sort(&mut self) {
        self.users.sort_by_key(|row| row.id);
        self.rules.sort_by_key(|row| row.id);
        self.attributes.sort_by_key(|row| row.id);
    }
}

impl IntoIterator for TableRows {
    type Item = Row;
    type IntoIter = Box<dyn Iterator<Item = Row>>;

    fn into_iter(self) -> Self::IntoIter {
        let rules = self.rules.into_iter().map(Row::Rule);
        let attributes = self.attributes.into_iter().map(Row::Attribute);
        Box::new(self.users.into_iter().map(Row::User).chain(rules).chain(attributes))
    }
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The row is new or has changed.
    Put(Row),
    /// The row no longer exists.
    Gone(Table, i64),
}

/// An edit of one row. It may hold a password, so it does not implement `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Edit {
    /// Adds a row. The database assigns the id; the id in the row is ignored.
    Add(Row),
    /// Adds a row with its id, which must be free.
    Restore(Row),
    /// Writes these columns of the row with this id. The other columns stay as they are in the
    /// database.
    Set(Row, ColumnSet),
    /// Removes the row with this id.
    Remove(Table, i64),
}

impl Edit {
    /// The table that it edits.
    pub fn table(&self) -> Table {
        match self {
            Edit::Add(row) | Edit::Restore(row) | Edit::Set(row, _) => row.table(),
            Edit::Remove(table, _) => *table,
        }
    }

    /// The id of the row that must exist; `None` for an added row.
    pub fn id(&self) -> Option<i64> {
        match self {
            Edit::Add(_) | Edit::Restore(_) => None,
            Edit::Set(row, _) => Some(row.id()),
            Edit::Remove(_, id) => Some(*id),
        }
    }
}

/// By how much a snapshot is behind the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Behind {
    /// How many lines of changes it lacks.
    pub changes: i64,
    /// For how many seconds the oldest of them has been there, by the database's clock.
    pub seconds: i64,
}
