//! The queries that read the tables.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::error::one_line;
use super::{SourceError, Which};
use crate::core::attributes::attribute_name;
use crate::core::columns::{Column, ColumnSet};
use crate::core::credential::PwdFmt;
use crate::core::model::{Cell, Row, Table};

/// How the tables are read: with the operator's own queries for users and rules, or else as
/// the original's tables.
#[derive(Debug, Clone, Default)]
pub struct Queries {
    /// Selects username, domain and password. A further column called `id` is the id, and every
    /// other one is an attribute of the user.
    pub users: Option<String>,
    /// Selects domain, subject, spriority, ppriority, key, value and optionally id.
    pub rules: Option<String>,
    /// Selects domain, username, name, value and optionally id.
    pub attributes: Option<String>,
    /// The format of stored passwords. The history keeps hashes, but no passwords.
    pub pwd_fmt: PwdFmt,
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

    /// Whether there is any such query. Then the database is another program's.
    pub(super) fn has_own(&self) -> bool {
        Table::ALL.into_iter().any(|table| self.is_own(table))
    }

    /// The error for a database that is missing: another program's is not created by a setup.
    pub(super) fn of_foreign(&self, error: SourceError) -> SourceError {
        match error {
            SourceError::NoFile(path) if self.has_own() => SourceError::NoForeignFile(path),
            SourceError::NoDatabase { at, name, user } if self.has_own() => {
                SourceError::NoForeignDatabase { at, name, user }
            }
            error => error,
        }
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
            Which::Without(table) if table != self.table => {}
            Which::One(table, id) if table == self.table => {
                if !self.is_own {
                    self.sql = self.of_ids(&[id]).into();
                }
            }
            Which::None | Which::Of(_) | Which::Without(_) | Which::One(..) => return None,
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

    /// What the columns are that the query selects, by their names.
    ///
    /// # Errors
    /// [`SourceError::Columns`], [`SourceError::ColumnName`]
    pub fn shape(&self, names: &[Cow<'_, str>]) -> Result<Shape, SourceError> {
        let width = self.columns().count();
        if !self.is_own {
            return Ok(Shape { table: self.table, width, more: vec![More::Id] });
        }
        let is_users = self.table == Table::UserAuth;
        if names.len() < width || names.len() > width + 1 && !is_users {
            let columns: Vec<_> = self.columns().map(|column| column.file_name).collect();
            let and = if is_users { "further columns by name" } else { "optionally id" };
            let wanted = format!("{} and {and}, in this order", columns.join(", "));
            return Err(SourceError::Columns { table: self.table, found: names.len(), wanted });
        }
        let more = &names[width..];
        let more = if is_users { self.named(more)? } else { more.iter().map(|_| More::Id).collect() };
        Ok(Shape { table: self.table, width, more })
    }

    /// The further columns of users.
    fn named(&self, names: &[Cow<'_, str>]) -> Result<Vec<More>, SourceError> {
        let mut known = HashSet::new();
        let named = |name: &Cow<'_, str>| {
            let failed = |why| {
                let column = one_line(name).chars().take(LONG_NAME).collect();
                Err(SourceError::ColumnName { table: self.table, column, why })
            };
            let Some(lower) = attribute_name(name) else {
                return match names.len() {
                    // Expressions without a name were always taken for the id.
                    1 => Ok(More::Id),
                    _ => failed("no template can use this name: give it another one with AS"),
                };
            };
            if !known.insert(lower.clone()) {
                return failed("there are two of this name: leave out one, or name it with AS");
            }
            Ok(if lower == "id" { More::Id } else { More::Attribute(lower.into()) })
        };
        names.iter().map(named).collect()
    }
}

/// Names of columns are cut off to this many characters in errors. They may be expressions.
const LONG_NAME: usize = 60;

/// What the columns of a query are.
#[derive(Debug)]
pub(super) struct Shape {
    table: Table,
    /// How many of its first columns are those of the table.
    width: usize,
    /// The columns after those.
    more: Vec<More>,
}

/// A column besides those of the table.
#[derive(Debug)]
enum More {
    Id,
    /// An attribute of the user, by its name.
    Attribute(Arc<str>),
}

impl Shape {
    /// How many columns there are, and which of them is the id.
    pub fn id(&self) -> (usize, Option<usize>) {
        let id = self.more.iter().position(|column| matches!(column, More::Id));
        (self.width + self.more.len(), id.map(|at| self.width + at))
    }

    /// A row from its cells, as [`Row::normal`]. If it has no id, its `place` in the result is used.
    /// Also returns whether it has one.
    pub fn row(&self, cells: impl IntoIterator<Item = Cell>, place: i64) -> (Row, bool) {
        let mut cells = cells.into_iter();
        let mut row = Row::from_cells(self.table, place, cells.by_ref().take(self.width)).normal();
        let (mut id, mut attributes) = (None, Vec::new());
        for (column, cell) in self.more.iter().zip(cells) {
            match column {
                More::Id => id = cell.int().ok().flatten(),
                More::Attribute(_) if cell == Cell::Null => {}
                More::Attribute(name) => attributes.push((name.clone(), cell.into_text())),
            }
        }
        if let Row::User(user) = &mut row {
            attributes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            user.attributes = attributes;
        }
        match id {
            Some(id) => (row.with_id(id), true),
            None => (row, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(table: Table, names: &str) -> Result<Shape, String> {
        let own = Some("SELECT 1".to_owned());
        let queries = Queries { users: own.clone(), attributes: own, ..Queries::default() };
        let names: Vec<_> = names.split(',').map(Cow::from).collect();
        queries.of(table, ColumnSet::ALL).shape(&names).map_err(|error| error.to_string())
    }

    #[test]
    fn further_columns_of_users_are_attributes_and_the_id_goes_by_its_name() {
        let row = |names: &str, cells: &[i64]| {
            let cells = cells.iter().map(|number| if *number < 0 { Cell::Null } else { Cell::Int(*number) });
            let shape = shape(Table::UserAuth, names).expect("columns");
            let (row, has_id) = shape.row(cells, 99);
            let attributes = row.attributes().iter().map(|(name, cell)| format!("{name}={}", cell.shown()));
            (row.id(), has_id, attributes.collect::<Vec<_>>().join(" "))
        };
        let plain = |id, has_id| (id, has_id, String::new());
        assert_eq!(row("username,domain,ha1", &[1, 2, 3]), plain(99, false));
        for id in ["id", "ID", "count(*)", "7", "-id"] {
            assert_eq!(row(&format!("a,b,c,{id}"), &[1, 2, 3, 4]), plain(4, true), "{id}");
        }
        let all = row("a,b,c,Zip,iD,extension,gone", &[1, 2, 3, 4, 5, 6, -1]);
        assert_eq!(all, (5, true, "extension=6 zip=4".to_owned()));
        assert_eq!(row("a,b,c,number", &[1, 2, 3, 4]), (99, false, "number=4".to_owned()));
        // Those of the table are known by their places.
        assert_eq!(row("x,x,x,username", &[1, 2, 3, 4]), (99, false, "username=4".to_owned()));
    }

    #[test]
    fn columns_that_cannot_be_used_are_named() {
        let error = |table, names| shape(table, names).expect_err("refused");
        for (names, words) in [
            ("a,b", "selects 2 columns, but it must select username, domain, password and further"),
            ("a,b,c,x,max(y)", "`max(y)`: no template can use this name"),
            ("a,b,c,line 2,x", "`line 2`: no template"),
            ("a,b,c,x,id,X", "`X`: there are two"),
            ("a,b,c,id,ID", "`ID`: there are two"),
        ] {
            let error = error(Table::UserAuth, names);
            assert!(error.contains(words), "{error}");
        }
        assert!(shape(Table::UserAttribute, "a,b,c,d,max(e)").is_ok());
        for names in ["a,b,c", "a,b,c,d,id,f"] {
            assert!(error(Table::UserAttribute, names).contains("name, value and optionally id"));
        }
    }
}
