//! The embedded database: a file, read and set up through the bundled SQLite.

#![allow(clippy::disallowed_methods, reason = "all of it runs on blocking threads")]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use tokio::sync::mpsc;

use super::cursor::{ChangeLine, Cursor, NEWEST, WINDOW, clause};
use super::{
    BATCH, Boxed, Changes, Edit, IDS, MANY, Queries, Query, Source, SourceError, Transaction, Which, edit,
    one_line, schema,
};
use crate::core::model::{Cell, Change, Row, Table};
use crate::process::files::{self, Aside};

/// How long to wait for another program's write.
const BUSY: Duration = Duration::from_secs(5);
/// How long edits wait for others, which may be an import.
const PATIENCE: Duration = Duration::from_secs(50);

/// A SQLite file (`--db-type sqlite`).
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: PathBuf,
    queries: Queries,
    /// Device and inode of the file that was loaded.
    loaded: Arc<Mutex<Option<(u64, u64)>>>,
    /// Whether it is only to be read, and left as it is.
    is_foreign: bool,
    /// Where it is opened.
    opening: Aside,
}

/// The file, ready to be read.
struct Opened {
    /// Device and inode.
    identity: Option<(u64, u64)>,
    connection: Connection,
}

impl Sqlite {
    /// The file at `path`, which need not exist before [`Source::setup`].
    pub fn new(path: impl Into<PathBuf>, queries: Queries) -> Self {
        Sqlite {
            path: path.into(),
            queries,
            loaded: Arc::default(),
            is_foreign: false,
            opening: Aside::new(),
        }
    }

    /// A file that is left as it is, such as a backup: not even its own write-ahead
    /// log is moved into it, and its folder need not be ours to write to.
    pub fn foreign(path: impl Into<PathBuf>, queries: Queries) -> Self {
        Sqlite { is_foreign: true, ..Sqlite::new(path, queries) }
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
        open().map_err(|error: rusqlite::Error| self.error("opening it", &error))
    }

    /// To read only. It is opened for writing all the same, where that may be:
    /// the last one to close a file that is open so leaves no write-ahead log
    /// behind, which a file put in its place would be taken to belong to.
    fn open_to_read(&self) -> Result<Connection, SourceError> {
        if !exists(&self.path) {
            return Err(SourceError::NoFile(self.path.clone()));
        }
        if self.is_foreign {
            return self.open_foreign();
        }
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let set = connection.pragma_update(None, "query_only", true);
        set.map_err(|error| self.error("opening it", &error))?;
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
        // One that is to have a log cannot be read where none can be made, unless
        // nobody writes to it.
        let path = percent_encode(self.path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
        let uri = PathBuf::from(format!("file:{path}?immutable=1"));
        self.open_as(&uri, read_only | OpenFlags::SQLITE_OPEN_URI).or(opened)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        let file = std::fs::metadata(&self.path).ok()?;
        Some((file.dev(), file.ino()))
    }

    /// The file, opened to be read, and which one it is. Opening is the first
    /// look at the disk: if it hangs, this does not.
    async fn opened(&self) -> Result<Opened, SourceError> {
        let source = self.clone();
        let open = move || {
            // Before it is opened: should another take its place just now, it is
            // noticed by the next poll.
            let identity = source.identity();
            Ok(Opened { identity, connection: source.open_to_read()? })
        };
        let opened = self.opening.run_for(BUSY + files::BOUND, open).await;
        opened.unwrap_or_else(|why| {
            Err(SourceError::CannotOpen { path: self.path.clone(), why: why.to_string() })
        })
    }

    fn load_blocking(
        &self,
        Opened { identity, mut connection }: Opened,
        which: Which,
        rows: &mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Result<Option<Cursor>, SourceError> {
        // One read transaction sees one state, whatever is written meanwhile.
        let transaction =
            connection.transaction().map_err(|error| self.error("beginning a transaction", &error))?;
        let cursor = if wants_cursor { self.cursor(&transaction)? } else { None };
        self.send(&transaction, which, rows)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        Ok(cursor)
    }

    fn poll_blocking(
        &self,
        Opened { identity, mut connection }: Opened,
        cursor: Option<Cursor>,
    ) -> Result<Changes, SourceError> {
        if identity != *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Changes::Unknown("another file"));
        }
        let is_reconnected = false;
        let Some(mut cursor) = cursor else {
            return Ok(Changes::Rows { changes: Vec::new(), cursor: None, is_reconnected });
        };
        let transaction =
            connection.transaction().map_err(|error| self.error("beginning a transaction", &error))?;
        let found = self.lines(&transaction, &clause(&cursor.ask()))?;
        if found.len() > MANY {
            return Ok(Changes::Unknown("many changes"));
        }
        // There is one writer at a time, so only a file that was tampered with
        // has lines in gaps.
        let Ok((lines, false)) = cursor.advance(found) else {
            return Ok(Changes::Unknown("other changes"));
        };
        let rows: BTreeSet<(Table, i64)> = lines.iter().filter_map(ChangeLine::row).collect();
        let mut changes = Vec::new();
        for query in [self.queries.users(), self.queries.rules(self.has_domain(&transaction)?)] {
            let of_table = rows.iter().filter(|(table, _)| *table == query.table);
            let ids: Vec<i64> = of_table.map(|(_, id)| *id).collect();
            if query.is_own && !ids.is_empty() {
                return Ok(Changes::Unknown("changes of a table that a query of yours may read"));
            }
            for ids in ids.chunks(IDS) {
                self.fetch(&transaction, &query, ids, &mut changes)?;
            }
        }
        Ok(Changes::Rows { changes, cursor: Some(cursor), is_reconnected })
    }

    /// Reads the rows of `ids`; those that are not there are gone.
    fn fetch(
        &self,
        connection: &Connection,
        query: &Query<'_>,
        ids: &[i64],
        changes: &mut Vec<Change>,
    ) -> Result<(), SourceError> {
        let failed = |error: rusqlite::Error| self.failed(query, &error);
        let mut statement = connection.prepare(&query.of_ids(ids)).map_err(failed)?;
        let columns = statement.column_count();
        let mut found = statement.query([]).map_err(failed)?;
        let mut gone: BTreeSet<i64> = ids.iter().copied().collect();
        while let Some(row) = found.next().map_err(failed)? {
            let row = query.row((0..columns).map(|at| row.get_ref(at).map_or(Cell::Null, cell)), 0);
            gone.remove(&row.id());
            changes.push(Change::Put(row));
        }
        changes.extend(gone.into_iter().map(|id| Change::Gone(query.table, id)));
        Ok(())
    }

    /// Lines of `jitsiprovs_change`, given the end of the query.
    fn lines(&self, connection: &Connection, clause: &str) -> Result<Vec<ChangeLine>, SourceError> {
        let failed = |error: rusqlite::Error| self.error("reading `jitsiprovs_change`", &error);
        let sql = format!("SELECT id, changed_table, changed_id, changed_at FROM jitsiprovs_change {clause}");
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        let lines = statement.query_map([], |row| {
            Ok(ChangeLine { id: row.get(0)?, table: row.get(1)?, changed_id: row.get(2)?, at: row.get(3)? })
        });
        lines.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
    }

    fn prune_blocking(&self) -> Result<u64, SourceError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // The newest line stays: it is how servers know the place where they are.
        let sql = "DELETE FROM jitsiprovs_change WHERE changed_at < datetime('now', '-1 day') \
                   AND id < (SELECT max(id) FROM jitsiprovs_change)";
        let pruned = connection.execute(sql, []);
        pruned.map(|lines| lines as u64).map_err(|error| self.error("pruning `jitsiprovs_change`", &error))
    }

    fn has_domain(&self, connection: &Connection) -> Result<bool, SourceError> {
        let domain = "SELECT 1 FROM pragma_table_info('jitsi_property') WHERE name = 'domain'";
        Ok(self.queries.rules.is_none() && self.has(connection, domain)?)
    }

    fn has(&self, connection: &Connection, query: &str) -> Result<bool, SourceError> {
        let found = connection.query_row(query, [], |_| Ok(())).optional();
        Ok(found.map_err(|error| self.error("reading the schema", &error))?.is_some())
    }

    fn cursor(&self, connection: &Connection) -> Result<Option<Cursor>, SourceError> {
        if !self.has(connection, "SELECT 1 FROM sqlite_master WHERE name = 'jitsiprovs_change'")? {
            return Ok(None);
        }
        let newest = self.lines(connection, NEWEST)?.pop();
        let failed = |error: rusqlite::Error| self.error("reading `jitsiprovs_change`", &error);
        let sql = "SELECT id FROM jitsiprovs_change WHERE id >= ? ORDER BY id";
        let mut statement = connection.prepare(sql).map_err(failed)?;
        let first = newest.as_ref().map_or(0, |line| line.id) - WINDOW;
        let ids = statement.query_map([first], |row| row.get(0)).map_err(failed)?;
        let ids: Vec<i64> = ids.collect::<Result<_, _>>().map_err(failed)?;
        Ok(Some(Cursor::new(newest, ids)))
    }

    fn send(
        &self,
        connection: &Connection,
        which: Which,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<(), SourceError> {
        let has_domain = self.has_domain(connection)?;
        for query in [self.queries.users(), self.queries.rules(has_domain)] {
            if let Some(query) = query.narrowed(which) {
                self.send_found(connection, &query, rows)?;
            }
        }
        Ok(())
    }

    fn send_found(
        &self,
        connection: &Connection,
        query: &Query<'_>,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<(), SourceError> {
        let failed = |error: rusqlite::Error| self.failed(query, &error);
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
                rows.blocking_send(full).map_err(|_| SourceError::Cancelled)?;
            }
        }
        rows.blocking_send(batch).map_err(|_| SourceError::Cancelled)
    }

    fn edit_blocking(&self, transaction: Transaction) -> Result<(), SourceError> {
        let Transaction { which, rows, is_read, mut edits, is_all } = transaction;
        if !exists(&self.path) {
            return Err(SourceError::NoFile(self.path.clone()));
        }
        let mut connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(PATIENCE).map_err(|error| self.error("opening it", &error))?;
        // There is one writer at a time, from the beginning on.
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy) => SourceError::Busy(self.name()),
                _ => self.error("beginning a transaction", &error),
            })?;
        self.send(&transaction, which, &rows)?;
        drop(rows);
        let _ = is_read.send(());
        let domain = "SELECT 1 FROM pragma_table_info('jitsi_property') WHERE name = 'domain'";
        let has_domain = self.has(&transaction, domain)?;
        while let Some(batch) = edits.blocking_recv() {
            for edit in &batch {
                self.make(&transaction, edit, has_domain)?;
            }
        }
        if is_all.blocking_recv().is_err() {
            return Err(SourceError::Cancelled);
        }
        transaction.commit().map_err(|error| self.error("committing", &error))
    }

    fn make(&self, connection: &Connection, edit: &Edit, has_domain: bool) -> Result<(), SourceError> {
        let table = edit.table();
        self.queries.editable(table)?;
        let edit::Statement { sql, params, ids } =
            edit::Statement::new(std::slice::from_ref(edit), has_domain)?;
        let failed = |error: rusqlite::Error| {
            let missing = format!("no such table: {table}");
            match error.to_string().contains(&missing) {
                true => self.queries.of(table).no_table(self.name()),
                false => self.error(&format!("writing `{table}`"), &error),
            }
        };
        let values = params.iter().map(|param| match param {
            edit::Param::Cell(cell) => value(cell),
            edit::Param::Id(id) => Value::Integer(*id),
        });
        let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
        let changed = statement.execute(rusqlite::params_from_iter(values)).map_err(failed)?;
        match *ids {
            [id] if changed == 0 => Err(SourceError::Gone { table, id }),
            _ => Ok(()),
        }
    }

    fn setup_blocking(&self) -> Result<Vec<String>, SourceError> {
        let is_new = !exists(&self.path);
        if is_new {
            // It will hold passwords: nobody else is to read it.
            let created =
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
            created
                .map_err(|why| SourceError::CannotOpen { path: self.path.clone(), why: why.to_string() })?;
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
        for (name, sql) in schema::triggers(schema::SQLITE) {
            let known = format!("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = '{name}'");
            if !self.has(&transaction, &known)? {
                transaction.execute_batch(sql).map_err(failed(name))?;
                done.push(format!("made the trigger {name} again"));
            }
        }
        if !self.has(&transaction, &schema::taken(schema::SEED.0))? {
            let seeding = failed(schema::SEED.1);
            if !self.has(&transaction, schema::ANY_RULE)? {
                let mut seeded = 0;
                for property in schema::seeds() {
                    seeded += transaction.execute(schema::SEED_PROPERTY, property).map_err(&seeding)?;
                }
                done.push(format!("seeded {seeded} default properties"));
            }
            transaction.execute(schema::NOTE_VERSION, schema::SEED).map_err(seeding)?;
        }
        transaction.commit().map_err(failed("committing"))?;
        Ok(done)
    }

    fn failed(&self, query: &Query<'_>, error: &rusqlite::Error) -> SourceError {
        let missing = format!("no such table: {}", query.table);
        if !query.is_own && error.to_string().contains(&missing) {
            return query.no_table(self.name());
        }
        self.error(&query.reading(), error)
    }

    fn error(&self, what: &str, error: &rusqlite::Error) -> SourceError {
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
            ) => SourceError::CannotOpen { path: self.path.clone(), why },
            _ => SourceError::Statement { what: what.to_owned(), source_name: self.name(), why },
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

/// Bytes that are no text are kept as they are.
fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Int(number) => Value::Integer(*number),
        Cell::Text(bytes) => match String::from_utf8(bytes.clone()) {
            Ok(text) => Value::Text(text),
            Err(not_utf8) => Value::Blob(not_utf8.into_bytes()),
        },
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

    fn load(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Boxed<'_, Result<Option<Cursor>, SourceError>> {
        Box::pin(async move {
            let (source, opened) = (self.clone(), self.opened().await?);
            blocking(move || source.load_blocking(opened, which, &rows, wants_cursor)).await
        })
    }

    fn changes<'s>(&'s self, cursor: Option<&'s Cursor>) -> Boxed<'s, Result<Changes, SourceError>> {
        Box::pin(async move {
            let (source, opened, cursor) = (self.clone(), self.opened().await?, cursor.cloned());
            blocking(move || source.poll_blocking(opened, cursor)).await
        })
    }

    fn prune(&self) -> Boxed<'_, Result<u64, SourceError>> {
        let source = self.clone();
        Box::pin(blocking(move || source.prune_blocking()))
    }

    fn files(&self) -> Vec<PathBuf> {
        let beside = |ending: &str| {
            let mut path = self.path.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        vec![self.path.clone(), beside("-wal"), beside("-journal")]
    }

    fn editable(&self, table: Table) -> Result<(), SourceError> {
        self.queries.editable(table)
    }

    fn edit(&self, transaction: Transaction) -> Boxed<'_, Result<(), SourceError>> {
        let source = self.clone();
        Box::pin(blocking(move || source.edit_blocking(transaction)))
    }

    fn setup(&self) -> Boxed<'_, Result<Vec<String>, SourceError>> {
        let source = self.clone();
        Box::pin(blocking(move || source.setup_blocking()))
    }
}
