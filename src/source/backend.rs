//! The interface to each kind of database. Everything that all databases share is in
//! [`Database`](super::database::Database).

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use super::batches::{Budget, Sent};
use super::error::Failure;
use super::query::Query;
use super::schema::SchemaStep;
use super::{SourceError, UnknownChanges};
use crate::core::model::{Cell, Change, Row, Table};

/// The differences between databases that constants can express.
pub(super) struct Dialect {
    /// Begins a transaction that reads everything as it was at one moment.
    pub begin_read: &'static [&'static str],
    /// Begins a transaction that reads everything as it was at one moment, and then writes.
    pub begin_write: &'static [&'static str],
    /// Lists the names of the columns of the table that stands in place of `{table}`.
    pub list_columns: &'static str,
    /// Lists the names of all views.
    pub list_views: &'static str,
    /// Counts the tables called `jitsiprovs_change`.
    pub count_change_tables: &'static str,
    /// Counts the triggers of one name. The caller appends the name in quotes.
    pub count_triggers: &'static str,
    /// The time of a line of changes, as text or number. It must not depend on the
    /// session.
    pub changed_at: &'static str,
    /// The age of a line of changes in whole seconds, by the database's clock.
    pub age: &'static str,
    /// The time a day ago, by the database's clock.
    pub day_ago: &'static str,
    /// The time in seconds since 1970, by the database's clock.
    pub now: &'static str,
    /// What comes before and after two names that are compared without regard to case.
    pub any_case: [&'static str; 2],
    /// What comes after a text that is compared byte by byte.
    pub by_bytes: &'static str,
    /// Keeps the triggers from writing the history until [`Dialect::end_quiet`].
    pub begin_quiet: &'static str,
    /// Lets the triggers write the history again.
    pub end_quiet: &'static str,
    /// What comes before and after the WHERE of a SELECT of rows that the transaction will write,
    /// so that it reads them as they are then, and locks no others.
    pub to_write: [&'static str; 2],
    /// The end of a DELETE that removes at most [`PRUNED`] lines. Empty if the database
    /// does not support that.
    pub delete_some: &'static str,
    /// The end of an INSERT of fetches: of two with the same id, the later one stays.
    pub keep_later: &'static str,
    /// The numbered steps in `sql/`.
    pub steps: &'static [SchemaStep],
    /// Whether a transaction can create and change tables. If not, the database commits each
    /// such statement at once.
    pub has_transactional_ddl: bool,
    /// How long a poll waits to connect, and how long for its first statement, which is
    /// short. A dead connection must be noticed soon.
    pub patience: Duration,
}

/// How many lines of changes one statement removes, so that no lock is held for long.
pub(super) const PRUNED: u64 = 10_000;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Loads and polls.
    Read,
    /// Edits by the command line.
    Edit,
    /// Writing fetches, removing old lines of changes and old fetches, and trying whether rows may be
    /// changed.
    Prune,
}

/// Is called when something may have changed.
pub(super) type Heard<'a> = &'a (dyn Fn() + Send + Sync);

/// A kind of database, with everything that is needed to connect to one.
pub(super) trait Backend: Send + Sync + 'static {
    /// A connection.
    type Session: Session;
    /// The differences from other databases.
    const DIALECT: Dialect;
    /// Whether polls share one connection.
    const KEEPS_CONNECTION: bool;

    /// [`Source::name`](super::Source::name)
    fn name(&self) -> String;

    /// The address, for errors.
    fn at(&self) -> String;

    /// [`Source::files`](super::Source::files)
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// [`Source::renew`](super::Source::renew)
    fn renew(&self) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Connects.
    fn connect(&self, purpose: Purpose) -> impl Future<Output = Result<Self::Session, SourceError>> + Send;

    /// Creates the database if needed, and connects to create or change tables. No other
    /// setup may run at the same time. Returns a line for each thing that was done.
    fn connect_to_setup(
        &self,
    ) -> impl Future<Output = Result<(Self::Session, Vec<String>), SourceError>> + Send;

    /// Waits for other edits to end, unless beginning the transaction does so. Checks that
    /// edits can be undone.
    fn prepare_edit(
        &self,
        session: &mut Self::Session,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Whether old lines of changes may be removed. On a replica, they may not.
    fn may_prune(
        &self,
        session: &mut Self::Session,
    ) -> impl Future<Output = Result<bool, SourceError>> + Send;

    /// [`Source::listen`](super::Source::listen)
    fn listen(&self, _heard: Heard<'_>) -> impl Future<Output = Result<(), SourceError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Whether this is not the database that was loaded last.
    fn is_other(&self, _session: &Self::Session) -> bool {
        false
    }

    /// Whether the database may have been written since it was last read. If no line of
    /// changes says so, [`Backend::unnoted`] is asked.
    fn is_touched(&self, _session: &Self::Session) -> bool {
        false
    }

    /// The state of the table that a query reads, in the running transaction, as a text that is
    /// equal if the rows are the same. `None` if that cannot be told without reading them.
    fn state(
        &self,
        _session: &mut Self::Session,
        _query: &Query<'_>,
    ) -> impl Future<Output = Result<Option<String>, Failure>> + Send {
        std::future::ready(Ok(None))
    }

    /// Notes that all rows were read in this transaction. `noted` says which tables are read
    /// themselves, not with the operator's own query.
    fn note_loaded(
        &self,
        _session: &mut Self::Session,
        _noted: [bool; Table::COUNT],
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        std::future::ready(Ok(()))
    }

    /// Why rows may have changed that are not among `changes`, which a poll has read in this
    /// transaction. `None` if the changes are all.
    fn unnoted(
        &self,
        _session: &mut Self::Session,
        _noted: [bool; Table::COUNT],
        _changes: &[Change],
    ) -> impl Future<Output = Result<Option<UnknownChanges>, Failure>> + Send {
        std::future::ready(Ok(None))
    }
}

/// A connection to a database.
pub(super) trait Session: Send {
    /// Runs statements without parameters and results. `what` describes them in errors.
    fn run(&mut self, what: &str, sql: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs one statement with parameters. Returns how many rows it wrote, or would have
    /// written if they had differed.
    fn execute(
        &mut self,
        what: &str,
        sql: String,
        params: Vec<Cell>,
    ) -> impl Future<Output = Result<u64, Failure>> + Send;

    /// Runs a query that returns few rows.
    fn query(
        &mut self,
        what: &str,
        sql: String,
    ) -> impl Future<Output = Result<Vec<Vec<Cell>>, Failure>> + Send;

    /// The same with parameters, which are `?` in the statement.
    fn ask(
        &mut self,
        what: &str,
        sql: String,
        params: Vec<Cell>,
    ) -> impl Future<Output = Result<Vec<Vec<Cell>>, Failure>> + Send;

    /// Sends the rows of a table in batches, as they arrive.
    fn send(
        &mut self,
        query: &Query<'_>,
        budget: Budget,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> impl Future<Output = Result<Sent, Failure>> + Send;

    /// Ends the connection.
    fn close(self) -> impl Future<Output = ()> + Send;
}
