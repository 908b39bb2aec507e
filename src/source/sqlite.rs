//! The embedded database: a file, used through the bundled SQLite.

#![allow(clippy::disallowed_methods, reason = "all of it runs on blocking threads")]

mod file_state;
mod session;

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::backend::{Backend, Dialect, Purpose};
use super::database::Database;
use super::error::{Failure, FailureKind, one_line};
use super::query::{Queries, Query};
use super::{Source, SourceError, UnknownChanges, schema};
use crate::core::model::{Change, Table};
use crate::process::files::{self, Aside, Done};
use file_state::{FileState, Stamp};
use session::SqliteSession;

/// How long to wait while another program writes.
const BUSY: Duration = Duration::from_secs(5);
/// How long edits wait for other edits, such as an import.
const PATIENCE: Duration = Duration::from_secs(50);

/// The version of the bundled SQLite.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// The SQLite file at `path`, which need not exist before [`Source::setup`].
pub fn sqlite(path: impl Into<PathBuf>, queries: Queries) -> Arc<dyn Source> {
    let sqlite = Sqlite { is_shared: queries.has_own(), ..Sqlite::new(path.into(), false) };
    Arc::new(Database::new(sqlite, queries))
}

/// A SQLite file that must not be changed, such as a backup. Not even its own write-ahead log
/// is moved into it, and its folder need not be writable.
pub fn foreign_sqlite(path: impl Into<PathBuf>, queries: Queries) -> Arc<dyn Source> {
    Arc::new(Database::new(Sqlite::new(path.into(), true), queries))
}

#[derive(Clone)]
struct Sqlite {
    path: PathBuf,
    /// Whether it may only be read, and must not be changed.
    is_foreign: bool,
    /// Whether another program has created it, so that its way of writing stays as it is.
    is_shared: bool,
    /// The state of the file when it was loaded or polled last.
    state: Arc<Mutex<FileState>>,
    /// The thread that opens the file.
    opening: Aside,
}

impl Sqlite {
    fn new(path: PathBuf, is_foreign: bool) -> Sqlite {
        Sqlite { path, is_foreign, is_shared: false, state: Arc::default(), opening: Aside::new() }
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection, SourceError> {
        // Reading from a pipe would block until somebody writes to it.
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
            // Opening does not read the file. This does.
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
            Ok(connection)
        };
        open().map_err(|error| self.failure("opening it", &error).error)
    }

    /// Opens the file. Even for reading, it is opened for writing if it may be changed: then
    /// the last program that closes it removes the write-ahead log. SQLite would otherwise
    /// apply a log that is left behind to another file that is put in its place.
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
        if opened.is_ok() || std::fs::metadata(self.beside("-wal")).is_ok_and(|log| log.len() > 0) {
            return opened;
        }
        // A file in write-ahead mode cannot be opened in a folder where its log cannot be
        // created, unless SQLite is told that nobody writes to the file.
        let path = percent_encode(self.path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
        let uri = PathBuf::from(format!("file:{path}?immutable=1"));
        self.open_as(&uri, read_only | OpenFlags::SQLITE_OPEN_URI).or(opened)
    }

    /// The path of a file that SQLite keeps beside the database.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    fn state(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        let file = std::fs::metadata(&self.path).ok()?;
        Some((file.dev(), file.ino()))
    }

    fn stamp(&self) -> Option<Stamp> {
        Stamp::of(&self.path, &self.beside("-wal"))
    }

    /// Opens the file on another thread, so that this one does not hang if the disk does.
    async fn opened(
        &self,
        open: impl FnOnce(&Sqlite) -> Result<Connection, SourceError> + Send + 'static,
    ) -> Result<SqliteSession, SourceError> {
        let sqlite = self.clone();
        let serve = move |opened: Done<_>| SqliteSession::serve(sqlite, open, opened);
        self.opening.start(BUSY + files::BOUND, serve).await.unwrap_or_else(|why| {
            Err(SourceError::CannotOpen { path: self.path.clone(), why: why.to_string() })
        })
    }

    /// Creates the file if it is missing, and switches it to write-ahead logging, so that
    /// readers and the writer do not wait for each other. Another program's file is not switched.
    fn create(&self) -> Result<Connection, SourceError> {
        let is_new = !exists(&self.path);
        if is_new {
            // It will contain passwords, so only the owner may read it.
            let created =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
            created
                .map_err(|why| SourceError::CannotOpen { path: self.path.clone(), why: why.to_string() })?;
        }
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if self.is_shared && !is_new {
            return Ok(connection);
        }
        // SQLite's busy timeout does not apply to switching, so this waits itself.
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
        // Only the extended message names the table or column.
        let why = match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => one_line(message),
            other => one_line(&other.to_string()),
        };
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => FailureKind::Busy,
            Some(ErrorCode::ReadOnly) => FailureKind::ReadOnly,
            _ if Table::ALL.iter().any(|table| why.contains(&format!("no such table: {table}"))) => {
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
        // Takes the write lock at once: SQLite has one writer at a time.
        begin_write: &["BEGIN IMMEDIATE"],
        list_columns: "SELECT name FROM pragma_table_info('{table}')",
        list_views: "SELECT name FROM sqlite_master WHERE type = 'view'",
        count_change_tables: "SELECT count(*) FROM sqlite_master WHERE name = 'jitsiprovs_change'",
        count_triggers: "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name =",
        changed_at: "changed_at",
        age: "strftime('%s', 'now') - strftime('%s', changed_at)",
        day_ago: "datetime('now', '-1 day')",
        now: "CAST(strftime('%s', 'now') AS INTEGER)",
        // The columns have such a collation.
        any_case: ["", ""],
        // The column has such a collation.
        by_bytes: "",
        begin_quiet: "INSERT INTO jitsiprovs_editor (name) VALUES ('jitsiprovs')",
        end_quiet: "DELETE FROM jitsiprovs_editor",
        to_write: ["", ""],
        delete_some: "",
        keep_later: schema::KEEP_LATER,
        steps: schema::SQLITE,
        has_transactional_ddl: true,
        patience: Duration::from_secs(10),
    };
    /// Each poll opens the file again, because it may have been replaced.
    const KEEPS_CONNECTION: bool = false;

    fn name(&self) -> String {
        format!("the SQLite database {}", self.path.display())
    }

    fn at(&self) -> String {
        self.path.display().to_string()
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone(), self.beside("-wal"), self.beside("-journal")]
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
        session.identity != self.state().identity
    }

    fn is_touched(&self, session: &SqliteSession) -> bool {
        session.stamp.is_none() || session.stamp != self.state().stamp
    }

    /// When the file was written last, if that was not just now.
    async fn state(&self, session: &mut SqliteSession, query: &Query<'_>) -> Result<Option<String>, Failure> {
        // The operator's own query may depend on the time.
        if query.is_own {
            return Ok(None);
        }
        let (sqlite, table) = (self.clone(), query.table);
        let before = (session.identity, session.stamp);
        let look = move |connection: &mut Connection| {
            let is_in_file = file_state::is_in_file(connection, table)?;
            // The transaction has begun to read, so it reads the file as it was before this.
            let now = (sqlite.identity(), sqlite.stamp());
            let is_same = is_in_file && now == before && now.0.is_some();
            let stamp = now.1.filter(|stamp| is_same && stamp.is_sure());
            Ok(stamp.map(|stamp| format!("{:?} {stamp:?}", now.0)))
        };
        session.work("reading the schema", look).await
    }

    async fn note_loaded(
        &self,
        session: &mut SqliteSession,
        noted: [bool; Table::COUNT],
    ) -> Result<(), Failure> {
        let state = session.file_state(noted).await?;
        *self.state() = state;
        Ok(())
    }

    async fn unnoted(
        &self,
        session: &mut SqliteSession,
        noted: [bool; Table::COUNT],
        changes: &[Change],
    ) -> Result<Option<UnknownChanges>, Failure> {
        if changes.is_empty() {
            let before = *self.state();
            let look = move |connection: &mut Connection| Ok(before.has_same_triggers(connection, noted)?);
            if session.work("reading the schema", look).await? {
                let mut state = self.state();
                (state.identity, state.stamp) = (session.identity, session.stamp);
                return Ok(None);
            }
        }
        let now = session.file_state(noted).await?;
        let mut before = self.state();
        let unnoted = now.unnoted(&before, changes, noted);
        if unnoted.is_none() {
            *before = now;
        }
        Ok(unnoted)
    }
}

/// Whether the file exists. Also true if that cannot be checked: then SQLite reports an error.
fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}
