//! The queries that read the tables.

use std::borrow::Cow;

use super::{SourceError, Which};
use crate::core::columns::{Column, ColumnSet};
use crate::core::model::{Cell, Row, Table};

/// How the tables are read: with the operator's own queries for users and rules, or else as
/// the original's tables.
#[derive(Debug, Clone, Default)]
pub struct Queries {
    /// Selects username, domain, password and optionally id.
    pub users: Option<String>,
    /// Selects domain, subject, spriority, ppriority, key, value and optionally id.
    pub rules: Option<String>,
    /// Selects domain, username, name, value and optionally id.
    pub attributes: Option<String>,
    /// How many bytes of rows a load may read. `None` for any number.
    pub max_bytes: Option<u64>,
}

impl Queries {
    fn own(&self, table: Table) -> Option<&str> {
        match table {
            Table::UserAuth => self.users.as_deref(),
            Table::JitsiProperty => self.rules.as_deref(),
            Table::UserAttribute => self.attributes.as_deref(),
        }
    }

    /// Whether rows of a table can be edited.
    ///
    /// # Errors
    /// [`SourceError::OwnQuery`]
    pub(super) fn editable(&self, table: Table) -> Result<(), SourceError> {
        self.own(table).map_or(Ok(()), |_| Err(SourceError::OwnQuery { table }))
    }

    /// Whether the operator's own query replaces a table.
    pub(super) fn is_own(&self, table: Table) -> bool {
        self.own(table).is_some()
    }

    /// For each of [`Table::ALL`], whether the table itself is read. If so, our triggers note
    /// its changes.
    pub(super) fn noted(&self) -> [bool; Table::COUNT] {
        Table::ALL.map(|table| !self.is_own(table))
    }

    /// The query for a table that has the `existing` columns. The others are read as
    /// `NULL`.
    pub(super) fn of(&self, table: Table, existing: ColumnSet) -> Query<'_> {
        let sql = match self.own(table) {
            Some(own) => Cow::Borrowed(own),
            None => {
                let columns = table.columns().iter().zip(existing.flags());
                let columns = columns.map(|(column, exists)| if exists { column.name } else { "NULL" });
                let columns: Vec<_> = columns.chain(["id"]).collect();
                format!("SELECT {} FROM {table}", columns.join(", ")).into()
            }
        };
        Query { table, sql, is_own: self.is_own(table) }
    }
}

/// The query that reads one table.
pub(super) struct Query<'q> {
    pub table: Table,
    pub sql: Cow<'q, str>,
    /// Whether it is the operator's own query.
    pub is_own: bool,
}

impl Query<'_> {
    /// The query for the rows that `which` names. `None` if it reads none of them.
    pub fn narrowed(mut self, which: Which) -> Option<Self> {
        match which {
            Which::All => {}
            Which::Of(table) if table == self.table => {}
            Which::One(table, id) if table == self.table => {
                if !self.is_own {
                    self.sql = self.of_ids(&[id]).into();
                }
            }
            Which::None | Which::Of(_) | Which::One(..) => return None,
        }
        Some(self)
    }

    /// The query for the rows with these ids. Must not be called for the operator's own query.
    pub fn of_ids(&self, ids: &[i64]) -> String {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        format!("{} WHERE id IN ({})", self.sql, ids.join(","))
    }

    /// What the query does, for errors.
    pub fn reading(&self) -> String {
        match self.is_own {
            true => format!("the query for `{}`", self.table),
            false => format!("reading `{}`", self.table),
        }
    }

    /// The columns that it selects, besides the id.
    fn columns(&self) -> impl Iterator<Item = &'static Column> {
        self.table.columns().iter().filter(|column| column.is_basic || !self.is_own)
    }

    /// Checks the number of columns that the query selects.
    ///
    /// # Errors
    /// [`SourceError::Columns`]
    pub fn check(&self, found: usize) -> Result<(), SourceError> {
        let names: Vec<_> = self.columns().map(|column| column.file_name).collect();
        if found == names.len() || found == names.len() + 1 {
            return Ok(());
        }
        let wanted = format!("{} and optionally id, in this order", names.join(", "));
        Err(SourceError::Columns { table: self.table, found, wanted })
    }

    /// How many columns it selects, besides the id.
    pub fn width(&self) -> usize {
        self.columns().count()
    }

    /// A row from its cells, which [`Query::check`] has counted. If it has no id, its `place`
    /// in the result is used. Also returns whether it has one.
    pub fn row(&self, cells: impl IntoIterator<Item = Cell>, place: i64) -> (Row, bool) {
        let mut cells = cells.into_iter();
        let row = Row::from_cells(self.table, place, cells.by_ref().take(self.width()));
        match cells.next().and_then(|id| id.int().ok().flatten()) {
            Some(id) => (row.with_id(id), true),
            None => (row, false),
        }
    }
}
