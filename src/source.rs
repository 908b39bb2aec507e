//! Where users and rules come from: one trait, one file a database. Loading, polling,
//! editing and setting up are written once, over the small interface in [`backend`].

mod backend;
mod cursor;
mod database;
mod edit;
mod error;
mod mysql;
mod poll;
mod query;
mod schema;
mod setup;
mod sqlite;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::sync::mpsc;

use crate::core::model::{Change, Row, Table};
use backend::Backend;
use database::Database;

pub use cursor::Cursor;
pub use edit::Transaction;
pub use error::SourceError;
pub use mysql::{DbAccount, Endpoint, Mysql, Tls};
pub use query::Queries;
pub use schema::default_properties;
pub use sqlite::{foreign_sqlite, sqlite};

/// Which rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// None.
    None,
    /// Those of both tables.
    All,
    /// Those of one table.
    Of(Table),
    /// One, by its id; if the table is the operator's own query, all of it.
    One(Table, i64),
}

/// A future that can be kept behind a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database of users and rules.
pub trait Source: Send + Sync {
    /// What it is, for the log: never a secret.
    fn name(&self) -> String;

    /// Sends rows, all as of one moment. Returns the place in the changes
    /// that it was, if it is wanted; `None` if none are noted there, as in the
    /// original's schema.
    fn load(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Boxed<'_, Result<Option<Cursor>, SourceError>>;

    /// What changed since `cursor`, as of one moment. Without one, it only
    /// finds out whether the source can be reached.
    fn changes<'s>(&'s self, cursor: Option<&'s Cursor>) -> Boxed<'s, Result<Changes, SourceError>>;

    /// Removes what was noted of changes more than a day ago, by the
    /// database's clock. Returns how many lines that was.
    fn prune(&self) -> Boxed<'_, Result<u64, SourceError>>;

    /// The files whose change is a change of the source.
    fn files(&self) -> Vec<PathBuf>;

    /// Finds out whether rows of a table can be edited at all, without asking
    /// the database.
    ///
    /// # Errors
    /// [`SourceError::OwnQuery`]
    fn editable(&self, table: Table) -> Result<(), SourceError>;

    /// Reads, and makes edits, all of them or none, in one transaction. Until it
    /// is over, others that edit in this way wait.
    fn edit(&self, transaction: Transaction) -> Boxed<'_, Result<(), SourceError>>;

    /// Makes or upgrades tables and keeps what is in them. Doing it again does
    /// nothing. Returns what was done, a line each.
    fn setup(&self) -> Boxed<'_, Result<Vec<String>, SourceError>>;
}

/// What [`Source::changes`] found.
#[derive(Debug)]
pub enum Changes {
    /// These, and where to go on.
    Rows {
        /// What became of each row that changed.
        changes: Vec<Change>,
        /// Where the next poll begins; `None` if there was no place to begin
        /// this one.
        cursor: Option<Cursor>,
        /// Whether the connection is a new one: what answers there may be
        /// another server.
        is_reconnected: bool,
    },
    /// It cannot be said row by row: everything must be loaded.
    Unknown(UnknownChanges),
}

/// Why a poll cannot say which rows have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownChanges {
    /// The file of the database is another one.
    OtherFile,
    /// More rows have changed than a poll reads.
    Many,
    /// The line that was read last is not there any more.
    Other,
    /// A table has changed that a query of the operator's may read.
    OwnQuery,
}

impl UnknownChanges {
    /// The reason in words, for the log.
    pub fn name(self) -> &'static str {
        match self {
            UnknownChanges::OtherFile => "another file",
            UnknownChanges::Many => "many changes",
            UnknownChanges::Other => "other changes",
            UnknownChanges::OwnQuery => "changes of a table that a query of yours may read",
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
        Box::pin(self.load_all(which, rows, wants_cursor))
    }

    fn changes<'s>(&'s self, cursor: Option<&'s Cursor>) -> Boxed<'s, Result<Changes, SourceError>> {
        Box::pin(self.poll(cursor))
    }

    fn prune(&self) -> Boxed<'_, Result<u64, SourceError>> {
        Box::pin(self.prune_all())
    }

    fn files(&self) -> Vec<PathBuf> {
        self.backend.files()
    }

    fn editable(&self, table: Table) -> Result<(), SourceError> {
        self.queries.editable(table)
    }

    fn edit(&self, transaction: Transaction) -> Boxed<'_, Result<(), SourceError>> {
        Box::pin(self.edit_all(transaction))
    }

    fn setup(&self) -> Boxed<'_, Result<Vec<String>, SourceError>> {
        Box::pin(self.set_up())
    }
}
