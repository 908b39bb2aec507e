//! The database that users and rules come from: the trait [`Source`], and one file for each
//! kind of database. Loading, polling, editing and setting up are written once, on top of
//! the small interface in [`backend`].

mod backend;
mod batches;
mod cursor;
mod database;
mod edit;
mod error;
mod fetches;
mod history;
mod mark;
mod mysql;
mod poll;
mod postgres;
mod query;
mod rights;
mod schema;
mod server;
mod setup;
mod sqlite;
mod tls;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::core::fetch::{Fetch, FetchFilter};
use crate::core::history::{HistoryFilter, HistoryLine};
use crate::core::model::{Behind, Change, Row, Table};
use backend::Backend;
use database::Database;

pub use cursor::Cursor;
pub use edit::Transaction;
pub use error::SourceError;
pub use mark::{Mark, Plan, Reloaded, TableRead};
pub use query::Queries;
pub use schema::default_properties;
pub use server::{DbAccount, DbServer, Endpoint, ServerKind};
pub use sqlite::{foreign_sqlite, sqlite, sqlite_version};
pub use tls::{Check, Identity, Tls};

/// Which rows to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// No rows.
    None,
    /// All rows of all tables.
    All,
    /// All rows of all tables but one.
    Without(Table),
    /// All rows of one table.
    Of(Table),
    /// The row with this id. If the operator's own query replaces the table, all its rows.
    One(Table, i64),
}

/// The database on `server`, which is read with `queries`.
pub fn on_server(server: DbServer, queries: Queries) -> Arc<dyn Source> {
    match server.kind {
        ServerKind::Mysql => mysql::mysql(server, queries),
        ServerKind::Postgres => postgres::postgres(server, queries),
    }
}

/// A future that can be kept behind a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database of users and rules.
pub trait Source: Send + Sync {
    /// The name for the log. It contains no secret.
    fn name(&self) -> String;

    /// Sends rows, all as they were at one moment. If `wants_cursor`, returns the position
    /// in the table of changes at that moment, or `None` if there is no such table, as in
    /// the original's schema.
    fn load(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Boxed<'_, Result<Option<Cursor>, SourceError>>;

    /// As [`Source::load`], for all rows of the tables that are not as planned for each of
    /// [`Table::ALL`].
    fn reload(
        &self,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
        plans: [Plan; Table::COUNT],
    ) -> Boxed<'_, Result<Reloaded, SourceError>>;

    /// The rows that changed since `cursor`, as they are at one moment. Without a cursor, it
    /// only finds out whether the source can be reached.
    fn changes<'s>(&'s self, cursor: Option<&'s Cursor>) -> Boxed<'s, Result<Changes, SourceError>>;

    /// Listens for changes, as long as the connection lasts. Calls `heard` when it has begun to
    /// listen, and then for each transaction that may have changed rows. Returns at once if this
    /// kind of database does not report changes.
    ///
    /// # Errors
    /// When it cannot listen, or no longer.
    fn listen<'s>(&'s self, heard: &'s (dyn Fn() + Send + Sync)) -> Boxed<'s, Result<(), SourceError>>;

    /// What has changed after the line `id` of the table of changes. `None` if there is no such
    /// table.
    fn changes_after(&self, id: i64) -> Boxed<'_, Result<Option<Behind>, SourceError>>;

    /// Removes lines of the table of changes that are older than a day by the database's
    /// clock. Returns how many lines were removed.
    fn prune(&self) -> Boxed<'_, Result<u64, SourceError>>;

    /// Removes lines of the history that are older than so many days by the database's clock; with
    /// 0, none. Returns how many lines were removed.
    fn prune_history(&self, days: u32) -> Boxed<'_, Result<u64, SourceError>>;

    /// Reads again what files say about how to connect: the account's password.
    ///
    /// # Errors
    /// Those of reading such a file. The next connection uses what was read before then.
    fn renew(&self) -> Boxed<'_, io::Result<()>>;

    /// The files to watch: if one of them changes, the source may have changed.
    fn files(&self) -> Vec<PathBuf>;

    /// The names of a table's columns in lower case, for tables of other programs. None if there
    /// is no such table or the account may not read it.
    fn columns(&self, table: &'static str) -> Boxed<'_, Result<Vec<String>, SourceError>>;

    /// The rows of each table with these ids, as they are now: the tables in this order, the ids
    /// ascending. Ids without a row are left out.
    fn rows_in(&self, wanted: Vec<(Table, Vec<i64>)>) -> Boxed<'_, Result<Vec<Row>, SourceError>>;

    /// As [`Source::rows_in`], of one table.
    fn rows(&self, table: Table, ids: Vec<i64>) -> Boxed<'_, Result<Vec<Row>, SourceError>> {
        self.rows_in(vec![(table, ids)])
    }

    /// Reads lines of the history, the newest first. Empty without the table.
    fn history(&self, wanted: HistoryFilter) -> Boxed<'_, Result<Vec<HistoryLine>, SourceError>>;

    /// Writes fetches: of two with the same key the later one stays.
    fn record<'s>(&'s self, fetches: &'s [Fetch]) -> Boxed<'s, Result<(), SourceError>>;

    /// Reads fetches, the newest first. Empty without the table.
    fn fetches(&self, wanted: FetchFilter) -> Boxed<'_, Result<Vec<Fetch>, SourceError>>;

    /// Removes the fetches from before a second since 1970. Returns how many they were.
    fn prune_fetches(&self, before: i64) -> Boxed<'_, Result<u64, SourceError>>;

    /// Checks that rows of a table can be edited at all, without asking the database.
    ///
    /// # Errors
    /// [`SourceError::OwnQuery`]
    fn editable(&self, table: Table) -> Result<(), SourceError>;

    /// For each of [`Table::ALL`], whether the database lets its account change rows. Asks the
    /// database with statements that change no row. Of tables that the operator's own queries
    /// replace it says `false`.
    ///
    /// # Errors
    /// When the database does not say so.
    fn writable(&self) -> Boxed<'_, Result<[bool; Table::COUNT], SourceError>>;

    /// Reads rows and makes edits in one transaction: all edits or none. Other calls of this
    /// function, also in other processes, wait until it has finished.
    fn edit(&self, transaction: Transaction) -> Boxed<'_, Result<Edited, SourceError>>;

    /// Creates or upgrades the tables, and keeps their rows. Repeating it does nothing.
    /// Returns a line for each thing that was done.
    fn setup(&self) -> Boxed<'_, Result<Vec<String>, SourceError>>;
}

/// What became of an edit that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edited {
    /// The id of the edit in the history. `None` if no row has changed, or if there is no history.
    pub history: Option<i64>,
    /// The account of the database, if it may not write the history. Then triggers have noted the
    /// edit, without the editor and without the rows.
    pub is_unnoted: Option<String>,
}

/// The result of [`Source::changes`].
#[derive(Debug)]
pub enum Changes {
    /// These rows have changed.
    Rows {
        /// The change of each row.
        changes: Vec<Change>,
        /// Where the next poll begins. `None` if this poll had no cursor either.
        cursor: Option<Cursor>,
        /// Whether the poll had to connect again, perhaps to another server.
        is_reconnected: bool,
    },
    /// The changed rows are not known, so everything must be loaded.
    Unknown(UnknownChanges),
}

/// Why a poll cannot say which rows have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownChanges {
    /// The file of the database was replaced.
    OtherFile,
    /// More rows have changed than a poll reads.
    Many,
    /// The line of changes that was read last no longer exists or has changed: a backup was
    /// restored, another server has taken over, or lines were pruned.
    Other,
    /// A table has changed that the operator's own query may read.
    OwnQuery,
    /// A table or a trigger was created, changed or removed.
    Schema,
    /// The triggers are missing that note changes of a table.
    NoTriggers,
    /// Rows were removed that no trigger has noted, as SQLite's `REPLACE` does.
    Replaced,
}

impl UnknownChanges {
    /// The reason in words, for the log.
    pub fn name(self) -> &'static str {
        match self {
            UnknownChanges::OtherFile => "another file",
            UnknownChanges::Many => "many changes",
            UnknownChanges::Other => "the last line read from jitsiprovs_change is gone or different",
            UnknownChanges::OwnQuery => "changes of a table that your own query may read",
            UnknownChanges::Schema => "the tables were changed",
            UnknownChanges::NoTriggers => "missing triggers",
            UnknownChanges::Replaced => "rows were replaced, which no trigger noted",
        }
    }
}

impl<B: Backend> Source for Database<B> {
    fn name(&self) -> String {
        self.backend.name()
    }

    fn load(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Boxed<'_, Result<Option<Cursor>, SourceError>> {
        let loading = self.load_all(which, rows, wants_cursor, Default::default());
        Box::pin(async move { Ok(loading.await?.cursor) })
    }

    fn reload(
        &self,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
        plans: [Plan; Table::COUNT],
    ) -> Boxed<'_, Result<Reloaded, SourceError>> {
        Box::pin(self.load_all(Which::All, rows, wants_cursor, plans))
    }

    fn changes<'s>(&'s self, cursor: Option<&'s Cursor>) -> Boxed<'s, Result<Changes, SourceError>> {
        Box::pin(self.poll(cursor))
    }

    fn listen<'s>(&'s self, heard: &'s (dyn Fn() + Send + Sync)) -> Boxed<'s, Result<(), SourceError>> {
        Box::pin(self.backend.listen(heard))
    }

    fn changes_after(&self, id: i64) -> Boxed<'_, Result<Option<Behind>, SourceError>> {
        Box::pin(self.behind(id))
    }

    fn prune(&self) -> Boxed<'_, Result<u64, SourceError>> {
        Box::pin(self.prune_all())
    }

    fn prune_history(&self, days: u32) -> Boxed<'_, Result<u64, SourceError>> {
        Box::pin(self.prune_history_of(days))
    }

    fn renew(&self) -> Boxed<'_, io::Result<()>> {
        Box::pin(self.backend.renew())
    }

    fn files(&self) -> Vec<PathBuf> {
        self.backend.files()
    }

    fn columns(&self, table: &'static str) -> Boxed<'_, Result<Vec<String>, SourceError>> {
        Box::pin(self.columns_of(table))
    }

    fn rows_in(&self, wanted: Vec<(Table, Vec<i64>)>) -> Boxed<'_, Result<Vec<Row>, SourceError>> {
        Box::pin(self.rows_in(wanted))
    }

    fn history(&self, wanted: HistoryFilter) -> Boxed<'_, Result<Vec<HistoryLine>, SourceError>> {
        Box::pin(self.read_history(wanted))
    }

    fn record<'s>(&'s self, fetches: &'s [Fetch]) -> Boxed<'s, Result<(), SourceError>> {
        Box::pin(self.record_all(fetches))
    }

    fn fetches(&self, wanted: FetchFilter) -> Boxed<'_, Result<Vec<Fetch>, SourceError>> {
        Box::pin(self.read_fetches(wanted))
    }

    fn prune_fetches(&self, before: i64) -> Boxed<'_, Result<u64, SourceError>> {
        Box::pin(self.prune_fetches_before(before))
    }

    fn editable(&self, table: Table) -> Result<(), SourceError> {
        self.queries.editable(table)
    }

    fn writable(&self) -> Boxed<'_, Result<[bool; Table::COUNT], SourceError>> {
        Box::pin(self.writable_tables())
    }

    fn edit(&self, transaction: Transaction) -> Boxed<'_, Result<Edited, SourceError>> {
        Box::pin(self.edit_all(transaction))
    }

    fn setup(&self) -> Boxed<'_, Result<Vec<String>, SourceError>> {
        Box::pin(self.set_up())
    }
}
