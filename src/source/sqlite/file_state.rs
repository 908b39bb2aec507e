//! Finds out whether rows of a SQLite file may have changed although no line of
//! `jitsiprovs_change` says so.
//!
//! Three things can cause that. A table was built again without its triggers. The triggers were
//! missing for a while. Or `REPLACE` removed rows that had the same value in a unique index:
//! SQLite fires no trigger for those, unless the writer has set `recursive_triggers`. A trigger
//! before each insert could note them, but it would also add a line for each row that
//! `INSERT OR IGNORE` leaves as it is.

#![allow(clippy::disallowed_methods, reason = "all of it runs on blocking threads")]

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use crate::core::model::{Change, Table};
use crate::source::{UnknownChanges, schema};

/// Times of files have a resolution of at most a few milliseconds. If a file was written so
/// recently, another write may leave the same time.
const RESOLUTION: Duration = Duration::from_millis(20);
/// The same for all file systems that are in use: on some, times are even seconds.
const COARSEST: Duration = Duration::from_secs(2);

/// In how many rows the ids are summed up at most. Counting a million rows takes 25 ms, but
/// summing them up takes 600 ms.
const SUMMED: i64 = 100_000;

/// Length and times of the file and of its write-ahead log. They change with each commit. The
/// first time is that of the last write. Of the file, the second is that of the last change of
/// its inode, which no program can set. Merely opening a log may change its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([Option<(u64, [SystemTime; 2])>; 2]);

impl Stamp {
    /// Looks at the files. `None` if they were written just now.
    pub fn of(file: &Path, log: &Path) -> Option<Stamp> {
        let look = |path: &Path| std::fs::metadata(path).ok().filter(|found| found.size() > 0);
        let changed = |file: &Metadata| {
            let since = Duration::new(u64::try_from(file.ctime()).ok()?, file.ctime_nsec() as u32);
            Some(SystemTime::UNIX_EPOCH + since)
        };
        let file = match look(file) {
            Some(file) => Some((file.size(), [file.modified().ok()?, changed(&file)?])),
            None => None,
        };
        let log = match look(log) {
            Some(log) => Some((log.size(), [log.modified().ok()?; 2])),
            None => None,
        };
        let stamp = Stamp([file, log]);
        stamp.is_older_than(RESOLUTION).then_some(stamp)
    }

    /// Whether another write would have left another stamp, on any file system.
    pub fn is_sure(&self) -> bool {
        self.is_older_than(COARSEST)
    }

    fn is_older_than(&self, span: Duration) -> bool {
        let mut times = self.0.iter().flatten().flat_map(|(_, times)| times);
        times.all(|time| time.elapsed().is_ok_and(|age| age > span))
    }
}

/// What a load or a poll has found, besides the rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FileState {
    /// Device and inode.
    pub identity: Option<(u64, u64)>,
    /// As it was before the rows were read.
    pub stamp: Option<Stamp>,
    contents: Contents,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Contents {
    /// Changes with each change of a table or trigger.
    schema: i64,
    tables: [TableState; Table::COUNT],
}

/// A table whose changes the triggers note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct TableState {
    has_triggers: bool,
    /// `None` if `REPLACE` can only remove rows by their id.
    ids: Option<Ids>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    count: i64,
    newest: i64,
    /// The sum of their lower 32 bits, so that it is never too large for a number. `None` if
    /// the table has more than [`SUMMED`] rows.
    sum: Option<i64>,
}

impl FileState {
    /// The state of `tables`. The caller has read the stamp before, and now reads in a
    /// transaction.
    pub fn read(
        connection: &Connection,
        (identity, stamp): (Option<(u64, u64)>, Option<Stamp>),
        tables: [bool; Table::COUNT],
    ) -> rusqlite::Result<FileState> {
        let schema = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        let mut contents = Contents { schema, ..Contents::default() };
        for (at, table) in Table::ALL.into_iter().enumerate().filter(|(at, _)| tables[*at]) {
            contents.tables[at] = TableState::read(connection, table)?;
        }
        Ok(FileState { identity, stamp, contents })
    }

    /// Whether a poll that found no changes has found all. Whatever changes rows with `REPLACE`
    /// also adds one, which the triggers note, so without a change the rows are the same as long as
    /// the triggers are. The server's own fetches change the file like that.
    pub fn has_same_triggers(
        &self,
        connection: &Connection,
        tables: [bool; Table::COUNT],
    ) -> rusqlite::Result<bool> {
        let schema: i64 = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        let mut noted = self.contents.tables.iter().zip(tables).filter(|(_, is_noted)| *is_noted);
        Ok(schema == self.contents.schema && noted.all(|(table, _)| table.has_triggers))
    }

    /// Why `changes`, which were noted since the state `before`, may not be all.
    pub fn unnoted(
        &self,
        before: &FileState,
        changes: &[Change],
        tables: [bool; Table::COUNT],
    ) -> Option<UnknownChanges> {
        let (now, before) = (self.contents, before.contents);
        let noted = || (0..tables.len()).filter(|at| tables[*at]);
        if noted().any(|at| !now.tables[at].has_triggers) {
            return Some(UnknownChanges::NoTriggers);
        }
        // The triggers may have been missing for a while.
        if now.schema != before.schema {
            return Some(UnknownChanges::Schema);
        }
        let is_explained = |at: usize| match (now.tables[at].ids, before.tables[at].ids) {
            (Some(now), Some(before)) => now.follows(before, Table::ALL[at], changes),
            _ => true,
        };
        (!noted().all(is_explained)).then_some(UnknownChanges::Replaced)
    }
}

/// Whether the rows of a table are in the file itself. A view may depend on the time, and a
/// virtual table may read another file.
pub(super) fn is_in_file(connection: &Connection, table: Table) -> rusqlite::Result<bool> {
    let sql = format!("SELECT count(*) FROM sqlite_master WHERE name = '{table}' AND rootpage > 0");
    connection.query_row(&sql, [], |row| row.get(0)).map(|count: i64| count > 0)
}

impl TableState {
    fn read(connection: &Connection, table: Table) -> rusqlite::Result<TableState> {
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let exists = format!("SELECT count(*) FROM sqlite_master WHERE name = '{table}'");
        if table.is_optional() && count(&exists)? == 0 {
            // When it is created, the schema changes.
            return Ok(TableState { has_triggers: true, ids: None });
        }
        let on_table = format!(" ON {table} ");
        let ours = schema::triggers(schema::SQLITE)
            .filter(|(_, sql)| sql.contains(&on_table) && sql.contains("jitsiprovs_change"));
        let names: Vec<_> = ours.map(|(name, _)| format!("'{name}'")).collect();
        let triggers = format!(
            "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{table}' \
             AND name IN ({})",
            names.join(",")
        );
        let has_triggers = count(&triggers)? == names.len() as i64;
        let unique = format!(
            "SELECT count(*) FROM pragma_index_list('{table}') WHERE \"unique\" = 1 AND origin <> 'pk'"
        );
        let ids = match count(&unique)? {
            0 => None,
            _ => Some(Ids::read(table, count)?),
        };
        Ok(TableState { has_triggers, ids })
    }
}

impl Ids {
    fn read(table: Table, number: impl Fn(&str) -> rusqlite::Result<i64>) -> rusqlite::Result<Ids> {
        let count = number(&format!("SELECT count(*) FROM {table}"))?;
        let newest = number(&format!("SELECT coalesce(max(id), 0) FROM {table}"))?;
        let sum = format!("SELECT coalesce(sum(id & 4294967295), 0) FROM {table}");
        let sum = (count <= SUMMED).then(|| number(&sum)).transpose()?;
        Ok(Ids { count, newest, sum })
    }

    /// Whether these ids can be those of `before` with `changes`. An id that is not above the
    /// newest one is taken for a row that existed before. If there are more rows than that,
    /// some of them filled gaps.
    fn follows(self, before: Ids, table: Table, changes: &[Change]) -> bool {
        let (mut expected, mut added) = (before.count, 0);
        let mut count = |id: i64, sign: i64| {
            expected += sign;
            added += sign * (id & 0xffff_ffff);
        };
        for change in changes {
            match change {
                Change::Put(row) if row.table() == table && row.id() > before.newest => count(row.id(), 1),
                Change::Gone(of, id) if *of == table && *id <= before.newest => count(*id, -1),
                _ => {}
            }
        }
        let is_summed = || self.sum.zip(before.sum).is_none_or(|(now, before)| now == before + added);
        self.count > expected || self.count == expected && is_summed()
    }
}
