//! Edits of the two tables, for the command line: what they are, and their SQL,
//! which both databases understand.

use tokio::sync::{mpsc, oneshot};

use super::{NO_DOMAIN, SourceError, Which};
use crate::core::model::{Cell, Row, Table};

/// The source's end of a transaction: what it reads goes out, and then what it
/// is to edit comes in.
pub struct Transaction {
    /// What to read first.
    pub which: Which,
    /// Takes what is read.
    pub rows: mpsc::Sender<Vec<Row>>,
    /// Is told when that was all.
    pub is_read: oneshot::Sender<()>,
    /// What to edit.
    pub edits: mpsc::Receiver<Vec<Edit>>,
    /// Says that this was all, and is to be kept. If its sender is dropped,
    /// everything is taken back.
    pub is_all: oneshot::Receiver<()>,
}

/// An edit of one row. It may hold a password, so it does not implement
/// `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Edit {
    /// A new row. Its id is the database's to give: what it says here does not
    /// count.
    Add(Row),
    /// The row of this id is to read so now in these columns. What others write
    /// in the other columns stays.
    Set(Row, Columns),
    /// The row is to go.
    Remove(Table, i64),
}

impl Edit {
    /// The table it is of.
    pub fn table(&self) -> Table {
        match self {
            Edit::Add(row) | Edit::Set(row, _) => row.table(),
            Edit::Remove(table, _) => *table,
        }
    }

    /// The row that must be there.
    pub(super) fn id(&self) -> Option<i64> {
        match self {
            Edit::Add(_) => None,
            Edit::Set(row, _) => Some(row.id()),
            Edit::Remove(_, id) => Some(*id),
        }
    }
}

/// The columns of a table that an edit can write.
pub const fn columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::UserAuth => &["username", "domain", "password"],
        Table::JitsiProperty => {
            &["domain", "subject", "spriority", "ppriority", "property_key", "property_value"]
        }
    }
}

/// Some of [`columns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Columns(u8);

impl Columns {
    /// All there are.
    pub const ALL: Columns = Columns(u8::MAX);
    /// `domain` of a rule, which the original's table does not have.
    const DOMAIN: Columns = Columns(1);

    /// Those, in the order of [`columns`], that are `true` here.
    pub fn of(are_in: &[bool]) -> Columns {
        Columns(are_in.iter().rev().fold(0, |bits, is_in| bits << 1 | u8::from(*is_in)))
    }

    /// Those in which two rows of one table differ.
    pub fn differing(one: &Row, other: &Row) -> Columns {
        let differ: Vec<bool> =
            cells(one).iter().zip(cells(other)).map(|(one, other)| *one != other).collect();
        Columns::of(&differ)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Of things in the order of [`columns`] those that are meant.
    pub fn pick<T>(self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        all.into_iter().enumerate().filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, picked)| picked)
    }

    /// Those that are there.
    fn existing(self, table: Table, has_domain: bool) -> Columns {
        match table {
            Table::JitsiProperty if !has_domain => Columns(self.0 & !Columns::DOMAIN.0),
            _ => self,
        }
    }
}

/// A row's cells, in the order of [`columns`].
fn cells(row: &Row) -> Vec<&Cell> {
    match row {
        Row::User(row) => vec![&row.username, &row.domain, &row.password],
        Row::Rule(row) => {
            vec![&row.domain, &row.subject, &row.spriority, &row.ppriority, &row.key, &row.value]
        }
    }
}

/// Whether one statement can make both.
pub(super) fn are_alike(one: &Edit, other: &Edit) -> bool {
    let is_same_kind = match (one, other) {
        (Edit::Add(_), Edit::Add(_)) | (Edit::Remove(..), Edit::Remove(..)) => true,
        (Edit::Set(_, columns), Edit::Set(_, others)) => columns == others,
        _ => false,
    };
    is_same_kind && one.table() == other.table()
}

/// What makes edits that are alike.
pub(super) struct Statement<'e> {
    pub sql: String,
    pub params: Vec<Param<'e>>,
    /// The rows that must be there.
    pub ids: Vec<i64>,
}

/// A parameter of a [`Statement`].
pub(super) enum Param<'e> {
    Cell(&'e Cell),
    Id(i64),
}

impl<'e> Statement<'e> {
    /// # Errors
    /// [`SourceError::NotEditable`] for a rule of one tenant, where no column can say so.
    pub fn new(edits: &'e [Edit], has_domain: bool) -> Result<Statement<'e>, SourceError> {
        let table = edits[0].table();
        let rows = edits.iter().filter_map(|edit| match edit {
            Edit::Add(row) | Edit::Set(row, _) => Some(row),
            Edit::Remove(..) => None,
        });
        if !has_domain && rows.clone().any(needs_domain) {
            return Err(NO_DOMAIN);
        }
        let ids: Vec<i64> = edits.iter().filter_map(Edit::id).collect();
        let columns = |written: Columns| written.existing(table, has_domain);
        let names = |written| columns(written).pick(self::columns(table)).copied().collect::<Vec<_>>();
        let marks = |count| vec!["?"; count].join(", ");
        let mut params = Vec::new();
        let sql = match &edits[0] {
            Edit::Add(_) => {
                params.extend(rows.flat_map(|row| columns(Columns::ALL).pick(cells(row))).map(Param::Cell));
                let names = names(Columns::ALL);
                let row = format!("({})", marks(names.len()));
                let rows = vec![row; edits.len()].join(", ");
                format!("INSERT INTO {table} ({}) VALUES {rows}", names.join(", "))
            }
            // A row that stays as it is must be there all the same.
            Edit::Set(_, written) if columns(*written).is_empty() => {
                format!("UPDATE {table} SET id = id WHERE id IN ({})", marks(ids.len()))
            }
            Edit::Set(_, written) if edits.len() == 1 => {
                params.extend(rows.flat_map(|row| columns(*written).pick(cells(row))).map(Param::Cell));
                format!("UPDATE {table} SET {} = ? WHERE id IN (?)", names(*written).join(" = ?, "))
            }
            Edit::Set(_, written) => {
                let rows: Vec<Vec<&Cell>> =
                    rows.map(|row| columns(*written).pick(cells(row)).collect()).collect();
                let names = names(*written);
                for column in 0..names.len() {
                    let cases = ids.iter().zip(&rows);
                    params.extend(cases.flat_map(|(id, row)| [Param::Id(*id), Param::Cell(row[column])]));
                }
                let cases = "WHEN ? THEN ? ".repeat(ids.len());
                let set: Vec<String> =
                    names.iter().map(|name| format!("{name} = CASE id {cases}END")).collect();
                format!("UPDATE {table} SET {} WHERE id IN ({})", set.join(", "), marks(ids.len()))
            }
            Edit::Remove(..) => format!("DELETE FROM {table} WHERE id IN ({})", marks(ids.len())),
        };
        params.extend(ids.iter().copied().map(Param::Id));
        Ok(Statement { sql, params, ids })
    }
}

/// Whether a rule is of one tenant, which the original's table cannot hold.
fn needs_domain(row: &Row) -> bool {
    match row {
        Row::User(_) => false,
        Row::Rule(row) => !matches!(row.domain.text(), Ok(None)) && row.domain != Cell::from(""),
    }
}
