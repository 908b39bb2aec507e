//! An open SQLite file, which has a thread of its own.

use std::borrow::Cow;
use std::sync::mpsc::{Sender, channel};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::Sqlite;
use super::file_state::{FileState, Stamp};
use crate::core::model::{Cell, Row, Table};
use crate::process::files::Done;
use crate::source::SourceError;
use crate::source::backend::Session;
use crate::source::batches::{Batches, Budget, Sent};
use crate::source::error::Failure;
use crate::source::query::Query;

/// Work with the file, for its thread.
type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// An open file. SQLite's calls block, so a thread makes them, which ends with the session. A
/// pool would keep threads, and these would keep the memory that they have used.
pub(super) struct SqliteSession {
    sqlite: Sqlite,
    /// Device and inode.
    pub identity: Option<(u64, u64)>,
    pub stamp: Option<Stamp>,
    /// `None` while there is work, and if nobody has waited for its end.
    jobs: Option<Sender<Job>>,
    /// Nothing is ever sent. It ends with the thread. `None` once somebody has waited for that.
    end: Option<oneshot::Receiver<()>>,
}

impl SqliteSession {
    /// Opens the file, hands over the session, and then works for it until it is dropped.
    pub fn serve(
        sqlite: Sqlite,
        open: impl FnOnce(&Sqlite) -> Result<Connection, SourceError>,
        opened: Done<Result<SqliteSession, SourceError>>,
    ) {
        // This comes before opening: if the file is replaced or written in between, the next
        // poll notices.
        let (identity, stamp) = (sqlite.identity(), sqlite.stamp());
        // Variables are dropped in reverse order, so this one after the connection is closed.
        let (_alive, end) = oneshot::channel();
        let mut connection = match open(&sqlite) {
            Ok(connection) => connection,
            Err(why) => return opened.send(Err(why)),
        };
        let (jobs, work) = channel::<Job>();
        opened.send(Ok(SqliteSession { sqlite, identity, stamp, jobs: Some(jobs), end: Some(end) }));
        for job in work {
            job(&mut connection);
        }
    }

    /// The state of the file as it is now.
    pub async fn file_state(&mut self, noted: [bool; Table::COUNT]) -> Result<FileState, Failure> {
        let files = (self.identity, self.stamp);
        self.work("reading the schema", move |connection| Ok(FileState::read(connection, files, noted)?))
            .await
    }

    /// Runs `work` on the thread of the file.
    pub async fn work<T: Send + 'static>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Connection) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(jobs) = self.jobs.take() else { return Err(SourceError::Cancelled.into()) };
        let (done, result) = oneshot::channel();
        let _ = jobs.send(Box::new(move |connection| drop(done.send(work(connection)))));
        let done = result.await.expect("the thread of a SQLite file does not panic");
        self.jobs = Some(jobs);
        done.map_err(|stop| match stop {
            Stop::Sqlite(error) => self.sqlite.failure(what, &error),
            Stop::Source(error) => error.into(),
        })
    }
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        // Closing moves the write-ahead log into the file. So if the program ends now, it waits a
        // moment for this, as it does for all blocking threads.
        self.jobs = None;
        if let (Some(end), Ok(runtime)) = (self.end.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || end.blocking_recv());
        }
    }
}

/// Why work with a connection stopped.
pub(super) enum Stop {
    Sqlite(rusqlite::Error),
    Source(SourceError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Sqlite(error)
    }
}

impl Session for SqliteSession {
    async fn run(&mut self, what: &str, sql: &str) -> Result<(), Failure> {
        let sql = sql.to_owned();
        self.work(what, move |connection| Ok(connection.execute_batch(&sql)?)).await
    }

    async fn execute(&mut self, what: &str, sql: String, params: Vec<Cell>) -> Result<u64, Failure> {
        self.work(what, move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.execute(params_from_iter(params.into_iter().map(value)))? as u64)
        })
        .await
    }

    async fn query(&mut self, what: &str, sql: String) -> Result<Vec<Vec<Cell>>, Failure> {
        self.ask(what, sql, Vec::new()).await
    }

    async fn ask(&mut self, what: &str, sql: String, params: Vec<Cell>) -> Result<Vec<Vec<Cell>>, Failure> {
        self.work(what, move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let columns = statement.column_count();
            let cells = |row: &rusqlite::Row<'_>| (0..columns).map(|at| Ok(cell(row.get_ref(at)?))).collect();
            let rows = statement.query_map(params_from_iter(params.into_iter().map(value)), cells)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn send(
        &mut self,
        query: &Query<'_>,
        budget: Budget,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<Sent, Failure> {
        let (what, rows) = (query.reading(), rows.clone());
        let query = Query { sql: query.sql.clone().into_owned().into(), ..*query };
        self.work(&what, move |connection| {
            let mut statement = connection.prepare(&query.sql)?;
            let columns = statement.column_count();
            let names: Vec<_> = statement.column_names().map(Cow::from).collect();
            let shape = query.shape(&names).map_err(Stop::Source)?;
            let mut found = statement.query([])?;
            let mut batches = Batches::new(&query, shape, budget);
            let send = |batch| rows.blocking_send(batch).map_err(|_| Stop::Source(SourceError::Cancelled));
            while let Some(row) = found.next()? {
                let cells = (0..columns).map(|at| row.get_ref(at).map_or(Cell::Null, cell));
                if batches.push(cells.collect()).map_err(Stop::Source)? {
                    send(batches.take())?;
                }
            }
            send(batches.take())?;
            Ok(batches.sent())
        })
        .await
    }

    async fn close(mut self) {
        self.jobs = None;
        if let Some(end) = &mut self.end {
            let _ = end.await;
            self.end = None;
        }
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Text(number.to_string().into_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Cell::Text(bytes.to_vec()),
    }
}

/// Bytes that are not valid UTF-8 are stored as a blob.
fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Int(number) => Value::Integer(number),
        Cell::Text(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Value::Text(text),
            Err(not_utf8) => Value::Blob(not_utf8.into_bytes()),
        },
    }
}
