//! Decides what is written to the state file, and when a new file is written.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use hashbrown::HashSet;

use super::disk::{Disk, DiskCommand, DiskProgress};
use super::{CHANGES, COMPLETE, ROWS, SETTINGS, STRETCH, TIMES, Times, encode};
use crate::core::model::{Row, Table};
use crate::metrics::Gauge;
use crate::process::files;

/// Changes of more bytes than this are dropped. Then the next load writes a new file.
const MOST: usize = 64 << 20;
/// How many orders may wait for the disk.
const WAITING: usize = 64;

/// A [`Change`] to be written.
#[derive(serde::Serialize)]
enum ChangeRef<'a> {
    Put(&'a Row),
    Gone(Table, i64),
}

/// Writes the state file, through a thread of its own.
#[derive(Debug)]
pub struct StateWriter {
    disk: Option<SyncSender<DiskCommand>>,
    /// Receives a message when the thread that writes has ended.
    ended: Receiver<()>,
    shared: Arc<DiskProgress>,
    /// Whether the log lacks something, so that nothing may be appended.
    is_behind: bool,
    /// The encoded changes of the snapshot that is being built.
    changes: Vec<u8>,
    /// The newest line of changes that the log contains.
    cursor: Option<i64>,
    /// The times that the log contains.
    times: Option<Times>,
    /// The settings with which the rows are served.
    settings: String,
    /// The new log that is being written, if there is one.
    anew: Option<Anew>,
}

/// What a commit says besides the changes.
#[derive(Debug)]
pub struct Commit {
    /// The newest line of changes that the snapshot contains.
    pub cursor: Option<i64>,
    /// Whether the running load built the snapshot.
    pub is_load: bool,
    /// The times to be noted.
    pub times: Times,
    /// The contents of the rows that had what is lost. A new log takes these rows from the
    /// old one.
    pub lost: HashSet<u64>,
}

/// A new log, of the running load.
#[derive(Debug, Default)]
struct Anew {
    /// Encoded rows that are not written yet.
    rows: Vec<u8>,
    /// Encoded changes that polls have found since the load began.
    since: Vec<u8>,
}

impl StateWriter {
    /// Writes the rows of the source called `source` to `path`. Nothing is written before
    /// the first load. `is_writable` becomes 0 when a write fails, and 1 when a new file is in
    /// place.
    pub fn new(path: PathBuf, source: String, is_writable: Gauge) -> StateWriter {
        let (disk, orders) = sync_channel(WAITING);
        let shared = Arc::new(DiskProgress::default());
        let mut writer = Disk::new(path, source, shared.clone(), is_writable);
        let (ending, ended) = sync_channel(1);
        let writing = move || {
            writer.run(&orders);
            let _ = ending.send(());
        };
        let spawned = std::thread::Builder::new().name("state-file".into()).spawn(writing);
        if let Err(why) = spawned {
            tracing::error!("there will be no state file: {why}");
        }
        let (disk, changes) = (Some(disk), Vec::new());
        StateWriter {
            disk,
            ended,
            shared,
            is_behind: true,
            changes,
            cursor: None,
            times: None,
            settings: String::new(),
            anew: None,
        }
    }

    /// Notes with which settings the rows are served from now on. The next load writes a new
    /// log.
    pub fn set_settings(&mut self, settings: &str) {
        if self.settings != settings {
            settings.clone_into(&mut self.settings);
            self.is_behind = true;
        }
    }

    /// Notes that a load begins.
    pub fn begin_load(&mut self) {
        self.is_behind |= self.shared.has_failed.swap(false, Ordering::Relaxed);
        let is_wanted = self.is_behind || self.shared.is_long.load(Ordering::Relaxed);
        let settings = [&[SETTINGS], self.settings.as_bytes()].concat();
        if is_wanted && self.send(DiskCommand::Begin) && self.send(DiskCommand::Write(settings)) {
            self.anew = Some(Anew { rows: vec![ROWS], since: Vec::new() });
        }
    }

    /// Takes a row that the running load has read. `is_current` is false if a poll has
    /// changed the row since the load began.
    pub fn read(&mut self, row: &Row, is_current: bool) {
        let Some(anew) = self.anew.as_mut().filter(|_| is_current) else { return };
        encode(row, &mut anew.rows);
        if anew.rows.len() >= STRETCH {
            let full = std::mem::replace(&mut anew.rows, vec![ROWS]);
            if !self.send(DiskCommand::Write(full)) {
                self.abandon_load();
            }
        }
    }

    /// Notes that the running load has failed.
    pub fn abandon_load(&mut self) {
        self.changes.clear();
        if self.anew.take().is_some() {
            self.send(DiskCommand::Forget);
        }
    }

    /// Whether all rows of the running load go into a new log, so that its changes need not
    /// be appended to the old one.
    pub fn is_anew(&self) -> bool {
        self.anew.is_some()
    }

    /// Notes that the log lacks something: the next load must write a new one.
    pub fn lose(&mut self) {
        self.abandon_load();
        self.is_behind = true;
    }

    /// Takes a new or changed row of the snapshot that is being built.
    pub fn put(&mut self, row: &Row) {
        self.change(&ChangeRef::Put(row));
    }

    /// Takes a row that the snapshot that is being built no longer has.
    pub fn gone(&mut self, table: Table, id: i64) {
        self.change(&ChangeRef::Gone(table, id));
    }

    fn change(&mut self, change: &ChangeRef<'_>) {
        // A new log needs the change even while the old log is behind.
        if self.is_behind && self.anew.is_none() {
            return;
        }
        encode(change, &mut self.changes);
        if self.changes.len() > MOST {
            self.changes = Vec::new();
            self.lose();
        }
    }

    /// Whether only a load can bring the log up to date, with a new log.
    pub fn wants_load(&self) -> bool {
        let flags = [&self.shared.has_failed, &self.shared.is_long];
        self.is_behind || flags.iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// Notes that the snapshot that was being built is not used.
    pub fn forget_changes(&mut self) {
        self.changes.clear();
    }

    /// Notes that the snapshot that was being built is in use.
    pub fn commit(&mut self, commit: Commit) {
        let Commit { cursor, is_load, times, lost } = commit;
        let changes = std::mem::take(&mut self.changes);
        let is_other = std::mem::replace(&mut self.cursor, cursor) != cursor || !changes.is_empty();
        let known = self
            .times
            .filter(|known| (known.lost_since, known.is_withheld) == (times.lost_since, times.is_withheld));
        let is_news = is_other || known.is_none();
        let stretch = |kind, changes: &[u8]| {
            let mut stretch = vec![kind];
            encode(&cursor, &mut stretch);
            stretch.extend_from_slice(changes);
            stretch
        };
        let mut times_stretch = vec![TIMES];
        encode(&times, &mut times_stretch);
        if let Some(anew) = self.anew.as_mut().filter(|_| !is_load) {
            anew.since.extend_from_slice(&changes);
        }
        match self.anew.take_if(|_| is_load) {
            Some(Anew { rows, since }) => {
                // `since` comes before the mark, because the rows are complete only with it: `read`
                // skipped every row that a poll changed during the load.
                let since = (!since.is_empty()).then(|| DiskCommand::Write(stretch(CHANGES, &since)));
                let mut orders = vec![DiskCommand::Write(rows)];
                orders.extend(since);
                orders.push(DiskCommand::Keep(lost));
                orders.push(DiskCommand::Write(stretch(COMPLETE, &[])));
                orders.push(DiskCommand::Lose { times: times_stretch, lost: stretch(CHANGES, &[]) });
                orders.push(DiskCommand::Finish);
                self.is_behind = !orders.into_iter().all(|order| self.send(order));
                self.times = Some(times);
            }
            None if !is_news || self.is_behind => {}
            None => {
                if self.times.replace(times) != Some(times) {
                    self.send(DiskCommand::Append(times_stretch));
                }
                if is_other {
                    self.send(DiskCommand::Append(stretch(CHANGES, &changes)));
                }
            }
        }
    }

    /// Waits until everything is written. Gives up when the disk does nothing for
    /// [`files::BOUND`].
    pub fn close(mut self) {
        self.disk = None;
        let done = || self.shared.done.load(Ordering::Relaxed);
        let mut before = done();
        while self.ended.recv_timeout(files::BOUND) == Err(RecvTimeoutError::Timeout) {
            if std::mem::replace(&mut before, done()) == before {
                tracing::error!("the disk does not answer: the latest changes are not in the state file");
                return;
            }
        }
    }

    /// Sends an order without waiting. If the disk is too slow to take it, the order is
    /// lost, and the next load writes a new log. Returns whether it was sent.
    fn send(&mut self, order: DiskCommand) -> bool {
        let is_sent = self.disk.as_ref().is_some_and(|disk| disk.try_send(order).is_ok());
        if !is_sent && !std::mem::replace(&mut self.is_behind, true) {
            tracing::warn!(
                "the disk is too slow for the state file: it is not up to date until the next full load"
            );
        }
        is_sent
    }
}
