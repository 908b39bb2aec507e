//! What each kind of database does in its own way. Everything else is written once, in
//! [`Database`](super::database::Database).

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::SourceError;
use super::error::Failure;
use super::query::Query;
use super::schema::SchemaStep;
use crate::core::model::{Cell, Row};

/// The ways in which databases differ that can be said in a word.
pub(super) struct Dialect {
    /// Begins a transaction that reads one state of everything.
    pub begin_read: &'static [&'static str],
    /// Begins a transaction that reads one state of everything and then writes.
    pub begin_write: &'static [&'static str],
    /// Lists the names of the columns of the table that stands in place of `{table}`.
    pub list_columns: &'static str,
    /// Counts the tables called `jitsiprovs_change`.
    pub count_change_tables: &'static str,
    /// Counts the triggers with the name that follows, in quotes.
    pub count_triggers: &'static str,
    /// The time of a line of changes, as text or number. It must not depend on the
    /// session.
    pub changed_at: &'static str,
    /// The time a day ago, by the database's clock.
    pub day_ago: &'static str,
    /// Ends a DELETE that removes [`PRUNED`] lines at most, where the database can do that.
    pub delete_some: &'static str,
    /// The numbered steps in `sql/`.
    pub steps: &'static [SchemaStep],
    /// Whether tables are created and changed in a transaction. If not, each such
    /// statement is committed by itself.
    pub has_transactional_ddl: bool,
    /// How long a poll waits to connect, and for the one short statement that most polls
    /// are. A connection that has gone dead must be noticed soon.
    pub patience: Duration,
}

/// Lines of changes that one statement removes, so that no lock is held for long.
pub(super) const PRUNED: u64 = 10_000;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Loads and polls.
    Read,
    /// Edits of the command line.
    Edit,
    /// Removing old lines of changes.
    Prune,
}

/// A kind of database, with all that is needed to connect to one.
pub(super) trait Backend: Send + Sync + 'static {
    /// A connection.
    type Session: Session;
    /// See [`Dialect`].
    const DIALECT: Dialect;
    /// Whether polls share one connection.
    const KEEPS_CONNECTION: bool;

    /// See [`Source::name`](super::Source::name).
    fn name(&self) -> String;

    /// Where it is, for errors.
    fn at(&self) -> String;

    /// See [`Source::files`](super::Source::files).
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Connects.
    fn connect(&self, purpose: Purpose) -> impl Future<Output = Result<Self::Session, SourceError>> + Send;

    /// Creates what must exist before tables can, and connects to change tables, alone.
    /// Returns what was done, a line each.
    fn connect_to_setup(
        &self,
    ) -> impl Future<Output = Result<(Self::Session, Vec<String>), SourceError>> + Send;

    /// Waits until nobody else edits, as far as that is not done by beginning a
    /// transaction. Checks that edits can be undone.
    fn prepare_edit(
        &self,
        session: &mut Self::Session,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Whether old lines of changes may be removed here. On a replica they must not.
    fn may_prune(
        &self,
        session: &mut Self::Session,
    ) -> impl Future<Output = Result<bool, SourceError>> + Send;

    /// Whether it is another database than the one that was loaded last.
    fn is_other(&self, _session: &Self::Session) -> bool {
        false
    }

    /// Notes that all rows were read over this connection.
    fn note_loaded(&self, _session: &Self::Session) {}
}

/// A connection to a database.
pub(super) trait Session: Send {
    /// Runs statements that take nothing and return nothing. `what` says what is tried.
    fn run(&mut self, what: &str, sql: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs one statement with parameters. Returns how many rows it found.
    fn execute(
        &mut self,
        what: &str,
        sql: String,
        params: Vec<Cell>,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// The rows that a short query returns.
    fn query(
        &mut self,
        what: &str,
        sql: String,
    ) -> impl Future<Output = Result<Vec<Vec<Cell>>, Failure>> + Send;

    /// Sends the rows of a table as they come, in batches.
    fn send(
        &mut self,
        query: &Query<'_>,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Ends a connection that is not needed any more.
    fn close(self) -> impl Future<Output = ()> + Send;
}
