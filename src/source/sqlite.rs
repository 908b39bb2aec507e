//! The embedded database: a file, read through the bundled SQLite.

#![allow(clippy::disallowed_methods, reason = "all of it runs on blocking threads")]

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};
use tokio::sync::mpsc;

use super::backend::{Backend, Dialect, Purpose, Session};
use super::database::Database;
use super::error::{Failure, FailureKind, one_line};
use super::query::{BATCH, Queries, Query};
use super::{Source, SourceError, schema};
use crate::core::model::{Cell, Row};
use crate::process::files::{self, Aside};

/// How long to wait for another program's write.
const BUSY: Duration = Duration::from_secs(5);
/// How long edits wait for others, which may be an import.
const PATIENCE: Duration = Duration::from_secs(50);

/// The SQLite file at `path`, which need not exist before [`Source::setup`].
pub fn sqlite(path: impl Into<PathBuf>, queries: Queries) -> Arc<dyn Source> {
    Arc::new(Database::new(Sqlite::new(path.into(), false), queries))
}

/// A SQLite file that is left as it is, such as a backup: not even its own write-ahead
/// log is moved into it, and its folder need not be writable.
pub fn foreign_sqlite(path: impl Into<PathBuf>, queries: Queries) -> Arc<dyn Source> {
    Arc::new(Database::new(Sqlite::new(path.into(), true), queries))
}

#[derive(Clone)]
struct Sqlite {
    path: PathBuf,
    /// Whether it is only to be read, and left as it is.
    is_foreign: bool,
    /// Device and inode of the file that was loaded.
    loaded: Arc<Mutex<Option<(u64, u64)>>>,
    /// Where it is opened.
    opening: Aside,
}

impl Sqlite {
    fn new(path: PathBuf, is_foreign: bool) -> Sqlite {
        Sqlite { path, is_foreign, loaded: Arc::default(), opening: Aside::new() }
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection, SourceError> {
        // To read from a pipe would wait for somebody who writes to it.
        if std::fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return Err(SourceError::CannotOpen {
                path: self.path.clone(),
                why: "it is no regular file".into(),
            });
        }
        self.open_as(&self.path, flags)
    }

    fn open_as(&self, path: &Path, flags: OpenFlags) -> Result<Connection, SourceError> {
        let open = || {
            let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY)?;
            // The first look into the file: opening alone does not read it.
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
            Ok(connection)
        };
        open().map_err(|error| self.failure("opening it", &error).error)
    }

    /// Opens the file for writing even to read it, where that may be: the last one to
    /// close a file that is open so leaves no write-ahead log behind, which a file put in
    /// its place would be taken to belong to.
    fn open_for(&self, purpose: Purpose) -> Result<Connection, SourceError> {
        if !exists(&self.path) {
            return Err(SourceError::NoFile(self.path.clone()));
        }
        if self.is_foreign {
            return self.open_foreign();
        }
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let set = match purpose {
            Purpose::Read => connection.pragma_update(None, "query_only", true),
            Purpose::Edit => connection.busy_timeout(PATIENCE),
            Purpose::Prune => Ok(()),
        };
        set.map_err(|error| self.failure("opening it", &error).error)?;
        Ok(connection)
    }

    fn open_foreign(&self) -> Result<Connection, SourceError> {
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let opened = self.open(read_only);
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        if opened.is_ok() || std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return opened;
        }
        // A file that is to have a log cannot be read where none can be created, unless
        // nobody writes to it.
        let path = percent_encode(self.path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
        let uri = PathBuf::from(format!("file:{path}?immutable=1"));
        self.open_as(&uri, read_only | OpenFlags::SQLITE_OPEN_URI).or(opened)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        let file = std::fs::metadata(&self.path).ok()?;
        Some((file.dev(), file.ino()))
    }

    /// Opens the file on another thread: if the disk hangs, this does not.
    async fn opened(
        &self,
        open: impl FnOnce(&Sqlite) -> Result<Connection, SourceError> + Send + 'static,
    ) -> Result<SqliteSession, SourceError> {
        let sqlite = self.clone();
        let open = move || {
            // Before it is opened: should another take its place just now, the next poll
            // notices.
            let identity = sqlite.identity();
            let connection = Some(open(&sqlite)?);
            Ok(SqliteSession { sqlite, identity, connection })
        };
        let opened = self.opening.run_for(BUSY + files::BOUND, open).await;
        opened.unwrap_or_else(|why| {
            Err(SourceError::CannotOpen { path: self.path.clone(), why: why.to_string() })
        })
    }

    /// Creates the file if it is missing, and switches it to write-ahead logging: readers
    /// and the one writer then do not wait for each other.
    fn create(&self) -> Result<Connection, SourceError> {
        if !exists(&self.path) {
            // It will hold passwords: nobody else is to read it.
            let created =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
            created
                .map_err(|why| SourceError::CannotOpen { path: self.path.clone(), why: why.to_string() })?;
        }
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Switching is the one thing that does not wait for other connections by itself.
        let begun = Instant::now();
        while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
            let is_busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if !is_busy || begun.elapsed() > BUSY {
                return Err(self.failure("switching to write-ahead logging", &error).error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(connection)
    }

    fn failure(&self, what: &str, error: &rusqlite::Error) -> Failure {
        // The extended message is the one that names the thing.
        let why = match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => one_line(message),
            other => one_line(&other.to_string()),
        };
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => FailureKind::Busy,
            _ if why.contains("no such table: user_auth")
                || why.contains("no such table: jitsi_property") =>
            {
                FailureKind::NoTable
            }
            _ if why.contains("duplicate column name") => FailureKind::Exists,
            _ => FailureKind::Other,
        };
        use ErrorCode::{CannotOpen, NotADatabase, PermissionDenied, ReadOnly};
        let error = match error.sqlite_error_code() {
            Some(CannotOpen | NotADatabase | PermissionDenied | ReadOnly) => {
                SourceError::CannotOpen { path: self.path.clone(), why }
            }
            _ => SourceError::Statement { what: what.to_owned(), source_name: self.name(), why },
        };
        Failure { kind, error }
    }
}

impl Backend for Sqlite {
    type Session = SqliteSession;
    const DIALECT: Dialect = Dialect {
        begin_read: &["BEGIN"],
        // There is one writer at a time, from the beginning on.
        begin_write: &["BEGIN IMMEDIATE"],
        list_columns: "SELECT name FROM pragma_table_info('{table}')",
        count_change_tables: "SELECT count(*) FROM sqlite_master WHERE name = 'jitsiprovs_change'",
        count_triggers: "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name =",
        changed_at: "changed_at",
        day_ago: "datetime('now', '-1 day')",
        delete_some: "",
        steps: schema::SQLITE,
        has_transactional_ddl: true,
        patience: Duration::from_secs(10),
    };
    /// The file may be replaced, which only opening it again shows.
    const KEEPS_CONNECTION: bool = false;

    fn name(&self) -> String {
        format!("the SQLite database {}", self.path.display())
    }

    fn at(&self) -> String {
        self.path.display().to_string()
    }

    fn files(&self) -> Vec<PathBuf> {
        let beside = |ending: &str| {
            let mut path = self.path.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        vec![self.path.clone(), beside("-wal"), beside("-journal")]
    }

    async fn connect(&self, purpose: Purpose) -> Result<SqliteSession, SourceError> {
        self.opened(move |sqlite| sqlite.open_for(purpose)).await
    }

    async fn connect_to_setup(&self) -> Result<(SqliteSession, Vec<String>), SourceError> {
        let is_new = !exists(&self.path);
        let session = self.opened(Sqlite::create).await?;
        Ok((session, is_new.then(|| format!("created {}", self.path.display())).into_iter().collect()))
    }

    async fn prepare_edit(&self, _: &mut SqliteSession) -> Result<(), SourceError> {
        Ok(())
    }

    async fn may_prune(&self, _: &mut SqliteSession) -> Result<bool, SourceError> {
        Ok(true)
    }

    fn is_other(&self, session: &SqliteSession) -> bool {
        session.identity != *self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_loaded(&self, session: &SqliteSession) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = session.identity;
    }
}

/// An open file.
struct SqliteSession {
    sqlite: Sqlite,
    /// Device and inode.
    identity: Option<(u64, u64)>,
    /// `None` while another thread works with it.
    connection: Option<Connection>,
}

impl SqliteSession {
    /// SQLite's calls block, so they run where blocking is allowed.
    async fn work<T: Send + 'static>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Connection) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(mut connection) = self.connection.take() else { return Err(SourceError::Cancelled.into()) };
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&mut connection);
            (connection, done)
        });
        let (connection, done) =
            working.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        self.connection = Some(connection);
        done.map_err(|stop| match stop {
            Stop::Sqlite(error) => self.sqlite.failure(what, &error),
            Stop::Source(error) => error.into(),
        })
    }
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        // Closing may write the log into the file, so it blocks.
        let connection = self.connection.take();
        if let (Some(_), Ok(runtime)) = (&connection, tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(connection));
        }
    }
}

/// Why work with a connection stopped.
enum Stop {
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
        self.work(what, move |connection| {
            let mut statement = connection.prepare(&sql)?;
            let columns = statement.column_count();
            let rows =
                statement.query_map([], |row| (0..columns).map(|at| Ok(cell(row.get_ref(at)?))).collect())?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn send(&mut self, query: &Query<'_>, rows: &mpsc::Sender<Vec<Row>>) -> Result<(), Failure> {
        let (what, rows) = (query.reading(), rows.clone());
        let query = Query { sql: query.sql.clone().into_owned().into(), ..*query };
        self.work(&what, move |connection| {
            let mut statement = connection.prepare(&query.sql)?;
            let columns = statement.column_count();
            query.check(columns).map_err(Stop::Source)?;
            let mut found = statement.query([])?;
            let (mut batch, mut place) = (Vec::with_capacity(BATCH), 0);
            while let Some(row) = found.next()? {
                place += 1;
                let cells = (0..columns).map(|at| row.get_ref(at).map_or(Cell::Null, cell));
                batch.push(query.row(cells, place));
                if batch.len() == BATCH {
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    rows.blocking_send(full).map_err(|_| Stop::Source(SourceError::Cancelled))?;
                }
            }
            rows.blocking_send(batch).map_err(|_| Stop::Source(SourceError::Cancelled))
        })
        .await
    }

    async fn close(mut self) {
        let connection = self.connection.take();
        let _ = tokio::task::spawn_blocking(move || drop(connection)).await;
    }
}

/// A file that cannot be looked at is left for SQLite to complain about.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Text(number.to_string().into_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Cell::Text(bytes.to_vec()),
    }
}

/// Bytes that are no text are kept as they are.
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
