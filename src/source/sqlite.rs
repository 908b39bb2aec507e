//! The embedded database: a file, read and set up through the bundled SQLite.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use tokio::sync::mpsc;

use super::schema;
use super::{BATCH, Boxed, Error, Loaded, Queries, Query, Source, one_line};
use crate::model::{Cell, Row};

/// How long to wait for another program's write.
const BUSY: Duration = Duration::from_secs(5);

/// A SQLite file (`--db-type sqlite`).
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: PathBuf,
    queries: Queries,
}

impl Sqlite {
    /// The file at `path`, which need not exist before [`Source::setup`].
    pub fn new(path: impl Into<PathBuf>, queries: Queries) -> Self {
        Sqlite { path: path.into(), queries }
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection, Error> {
        let open = || {
            let connection =
                Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY)?;
            // The first look into the file: opening alone does not read it.
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
            Ok(connection)
        };
        open().map_err(|error: rusqlite::Error| self.error("opening it", &error))
    }

    fn load_blocking(&self, rows: &mpsc::Sender<Vec<Row>>) -> Result<Loaded, Error> {
        if !exists(&self.path) {
            return Err(Error::NoFile(self.path.clone()));
        }
        let mut connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // One read transaction sees one state, whatever is written meanwhile.
        let transaction =
            connection.transaction().map_err(|error| self.error("beginning a transaction", &error))?;
        let cursor = self.cursor(&transaction)?;
        self.send(&transaction, &self.queries.users(), rows)?;
        let domain = "SELECT 1 FROM pragma_table_info('jitsi_property') WHERE name = 'domain'";
        let has_domain = self.queries.rules.is_none() && self.has(&transaction, domain)?;
        self.send(&transaction, &self.queries.rules(has_domain), rows)?;
        Ok(Loaded { cursor })
    }

    fn has(&self, connection: &Connection, query: &str) -> Result<bool, Error> {
        let found = connection.query_row(query, [], |_| Ok(())).optional();
        Ok(found.map_err(|error| self.error("reading the schema", &error))?.is_some())
    }

    fn cursor(&self, connection: &Connection) -> Result<Option<i64>, Error> {
        if !self.has(connection, "SELECT 1 FROM sqlite_master WHERE name = 'jitsiprovs_change'")? {
            return Ok(None);
        }
        let highest = "SELECT coalesce(max(id), 0) FROM jitsiprovs_change";
        let cursor = connection.query_row(highest, [], |row| row.get(0));
        cursor.map(Some).map_err(|error| self.error("reading `jitsiprovs_change`", &error))
    }

    fn send(
        &self,
        connection: &Connection,
        query: &Query<'_>,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<(), Error> {
        let failed = |error: rusqlite::Error| {
            let missing = format!("no such table: {}", query.table);
            if !query.is_own && error.to_string().contains(&missing) {
                return query.no_table(self.name());
            }
            self.error(&query.reading(), &error)
        };
        let mut statement = connection.prepare(&query.sql).map_err(failed)?;
        let columns = statement.column_count();
        query.check(columns)?;
        let mut found = statement.query([]).map_err(failed)?;
        let mut batch = Vec::with_capacity(BATCH);
        let mut place = 0;
        while let Some(row) = found.next().map_err(failed)? {
            place += 1;
            let cells = (0..columns).map(|at| row.get_ref(at).map_or(Cell::Null, cell));
            batch.push(query.row(cells, place));
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                rows.blocking_send(full).map_err(|_| Error::Cancelled)?;
            }
        }
        rows.blocking_send(batch).map_err(|_| Error::Cancelled)
    }

    fn setup_blocking(&self) -> Result<Vec<String>, Error> {
        let is_new = !exists(&self.path);
        if is_new {
            // It will hold passwords: nobody else is to read it.
            let created =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
            created.map_err(|why| Error::CannotOpen { path: self.path.clone(), why: why.to_string() })?;
        }
        let mut connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut done = Vec::new();
        if is_new {
            done.push(format!("created {}", self.path.display()));
        }
        let failed = |what: &'static str| move |error: rusqlite::Error| self.error(what, &error);
        // Readers and the one writer then do not wait for each other. Switching
        // is the one thing that does not wait for other connections by itself.
        let begun = Instant::now();
        while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
            let is_busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if !is_busy || begun.elapsed() > BUSY {
                return Err(self.error("switching to write-ahead logging", &error));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed("beginning a transaction"))?;
        transaction.execute_batch(schema::CREATE_VERSIONS).map_err(failed("creating `jitsiprovs_schema`"))?;
        for step in schema::SQLITE {
            if self.has(&transaction, &schema::taken(step.version))? {
                continue;
            }
            for statement in step.statements() {
                match transaction.execute_batch(statement) {
                    // Made by hand, or by a tool that knows our schema.
                    Err(error) if error.to_string().contains("duplicate column name") => {}
                    other => other.map_err(failed(step.name))?,
                }
            }
            let note = (step.version, step.name);
            transaction.execute(schema::NOTE_VERSION, note).map_err(failed(step.name))?;
            done.push(format!("applied {}", step.name));
        }
        if !self.has(&transaction, &schema::taken(schema::SEED.0))? {
            let seeding = failed(schema::SEED.1);
            if !self.has(&transaction, schema::ANY_RULE)? {
                let mut seeded = 0;
                for property in schema::default_properties() {
                    seeded += transaction.execute(schema::SEED_PROPERTY, property).map_err(&seeding)?;
                }
                done.push(format!("seeded {seeded} default properties"));
            }
            transaction.execute(schema::NOTE_VERSION, schema::SEED).map_err(seeding)?;
        }
        transaction.commit().map_err(failed("committing"))?;
        Ok(done)
    }

    fn error(&self, what: &str, error: &rusqlite::Error) -> Error {
        // The extended message is the one that names the thing.
        let why = match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
            other => other.to_string(),
        };
        let why = one_line(&why);
        match error.sqlite_error_code() {
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::NotADatabase
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly,
            ) => Error::CannotOpen { path: self.path.clone(), why },
            _ => Error::Statement { what: what.to_owned(), source_name: self.name(), why },
        }
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

/// SQLite's calls block, so they run where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

impl Source for Sqlite {
    fn name(&self) -> String {
        format!("the SQLite database {}", self.path.display())
    }

    fn load(&self, rows: mpsc::Sender<Vec<Row>>) -> Boxed<'_, Result<Loaded, Error>> {
        let source = self.clone();
        Box::pin(blocking(move || source.load_blocking(&rows)))
    }

    fn setup(&self) -> Boxed<'_, Result<Vec<String>, Error>> {
        let source = self.clone();
        Box::pin(blocking(move || source.setup_blocking()))
    }
}
