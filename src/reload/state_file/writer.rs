//! What is to be written, and when the file is written anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use super::disk::{Disk, DiskCommand, DiskProgress};
use super::{CHANGES, COMPLETE, ROWS, STRETCH};
use crate::core::model::{Row, Table};
use crate::process::files;

/// Changes of more bytes than this are not kept: the next load writes anew.
const MOST: usize = 64 << 20;
/// Stretches that wait for the disk at most.
const WAITING: usize = 64;

/// Appends a record. It cannot fail: the record is plain and memory is not
/// limited.
fn encode<T: serde::Serialize>(record: &T, stretch: &mut Vec<u8>) {
    let taken = std::mem::take(stretch);
    *stretch = postcard::to_extend(record, taken).expect("rows are plain data");
}

/// A [`Change`] to be written.
#[derive(serde::Serialize)]
enum ChangeRef<'a> {
    Put(&'a Row),
    Gone(Table, i64),
}

/// The writing side.
#[derive(Debug)]
pub struct StateWriter {
    disk: Option<SyncSender<DiskCommand>>,
    /// Says that the thread that writes has ended.
    ended: Receiver<()>,
    shared: Arc<DiskProgress>,
    /// Whether the log lacks something, so that nothing may follow.
    is_behind: bool,
    /// What the snapshot in the making changes.
    changes: Vec<u8>,
    /// As of which line of changes the log is.
    cursor: Option<i64>,
    /// The log that is written anew, if it is.
    anew: Option<Anew>,
}

#[derive(Debug, Default)]
struct Anew {
    rows: Vec<u8>,
    /// What others changed since the load began.
    since: Vec<u8>,
}

impl StateWriter {
    /// Writes to `path` what the source called `source` holds. Nothing is
    /// written before the first load.
    pub fn new(path: PathBuf, source: String) -> StateWriter {
        let (disk, orders) = sync_channel(WAITING);
        let shared = Arc::new(DiskProgress::default());
        let mut writer = Disk::new(path, source, shared.clone());
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
        StateWriter { disk, ended, shared, is_behind: true, changes, cursor: None, anew: None }
    }

    /// A load begins.
    pub fn begin_load(&mut self) {
        self.is_behind |= self.shared.has_failed.swap(false, Ordering::Relaxed);
        let is_wanted = self.is_behind || self.shared.is_long.load(Ordering::Relaxed);
        if is_wanted && self.send(DiskCommand::Begin) {
            self.anew = Some(Anew { rows: vec![ROWS], since: Vec::new() });
        }
    }

    /// The load under way has read a row; `is_current` unless others have
    /// changed it since.
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

    /// The load under way came to nothing.
    pub fn abandon_load(&mut self) {
        self.changes.clear();
        if self.anew.take().is_some() {
            self.send(DiskCommand::Forget);
        }
    }

    /// Whether the load under way is written down as a whole, so that it need
    /// not be told what it changes.
    pub fn is_anew(&self) -> bool {
        self.anew.is_some()
    }

    /// Nobody knows what there is any more: the next load writes everything.
    pub fn lose(&mut self) {
        self.abandon_load();
        self.is_behind = true;
    }

    /// The snapshot in the making includes a row, new or changed.
    pub fn put(&mut self, row: &Row) {
        self.change(&ChangeRef::Put(row));
    }

    /// The snapshot in the making no longer includes a row.
    pub fn gone(&mut self, table: Table, id: i64) {
        self.change(&ChangeRef::Gone(table, id));
    }

    fn change(&mut self, change: &ChangeRef<'_>) {
        // Also while the log is behind: one that is written anew may want it.
        if self.is_behind && self.anew.is_none() {
            return;
        }
        encode(change, &mut self.changes);
        if self.changes.len() > MOST {
            self.changes = Vec::new();
            self.lose();
        }
    }

    /// Whether only a load can bring the log up to date.
    pub fn wants_load(&self) -> bool {
        let flags = [&self.shared.has_failed, &self.shared.is_long];
        self.is_behind || flags.iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// The snapshot in the making came to nothing.
    pub fn forget_changes(&mut self) {
        self.changes.clear();
    }

    /// The snapshot in the making is in use, as of `cursor`; `is_load` if it is
    /// of the load under way.
    pub fn commit(&mut self, cursor: Option<i64>, is_load: bool) {
        let changes = std::mem::take(&mut self.changes);
        let is_news = std::mem::replace(&mut self.cursor, cursor) != cursor || !changes.is_empty();
        let stretch = |kind, changes: &[u8]| {
            let mut stretch = vec![kind];
            encode(&cursor, &mut stretch);
            stretch.extend_from_slice(changes);
            stretch
        };
        if let Some(anew) = self.anew.as_mut().filter(|_| !is_load) {
            anew.since.extend_from_slice(&changes);
        }
        match self.anew.take_if(|_| is_load) {
            Some(Anew { rows, since }) => {
                // Before the mark: the rows alone lack what changed since.
                let since = (!since.is_empty()).then(|| stretch(CHANGES, &since));
                let rest = [Some(rows), since, Some(stretch(COMPLETE, &[]))];
                let mut orders =
                    rest.into_iter().flatten().map(DiskCommand::Write).chain([DiskCommand::Finish]);
                self.is_behind = !orders.all(|order| self.send(order));
            }
            None if !is_news || self.is_behind => {}
            None => {
                self.send(DiskCommand::Append(stretch(CHANGES, &changes)));
            }
        }
    }

    /// Waits until everything is written, but no longer than [`files::BOUND`] for
    /// a disk that does nothing.
    pub fn close(mut self) {
        self.disk = None;
        let done = || self.shared.done.load(Ordering::Relaxed);
        let mut before = done();
        while self.ended.recv_timeout(files::BOUND) == Err(RecvTimeoutError::Timeout) {
            if std::mem::replace(&mut before, done()) == before {
                tracing::error!("the disk does not take what the state file still lacks: it stays behind");
                return;
            }
        }
    }

    /// Without waiting: what the disk cannot take now is lost, and made up for
    /// by the next load.
    fn send(&mut self, order: DiskCommand) -> bool {
        let is_sent = self.disk.as_ref().is_some_and(|disk| disk.try_send(order).is_ok());
        if !is_sent && !std::mem::replace(&mut self.is_behind, true) {
            tracing::warn!(
                "the disk is too slow for the state file: it stays behind until the next full load"
            );
        }
        is_sent
    }
}
