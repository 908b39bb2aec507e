//! Writes snapshots. Only this module replaces the snapshot in use.
//!
//! All functions here block, so they run on blocking threads.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use hashbrown::HashSet;
use tokio::sync::{mpsc, oneshot};

use super::known::Known;
use crate::core::conventions::Conventions;
use crate::core::model::{Change, Row, Table};
use crate::reload::state_file::{self, Commit, StateChange, StateWriter, Times};
use crate::snapshot::{
    ChangeSummary, Committed, Counts, Draft, LossLimits, Problems, Served, Withheld, Writer,
};
use crate::source::{Plan, TableRead};

/// What a load must know when it begins.
pub(super) struct LoadBegun {
    /// For [`Publisher::load`].
    pub epoch: u64,
    /// How to read each table.
    pub plans: [Plan; Table::COUNT],
}

/// What a load must say when it has read everything.
pub(super) struct LoadEnd {
    /// Its position in the table of changes, if it looked for it.
    pub cursor: Option<Option<i64>>,
    /// What was read of each table.
    pub tables: [TableRead; Table::COUNT],
}

/// How many new or changed rows of a load are collected before the draft begins. The rest
/// go into the draft as they arrive.
const NEWS: usize = 50_000;

/// Writes snapshots and puts them into use.
pub(super) struct Publisher {
    current: Arc<ArcSwapOption<Served>>,
    options: Conventions,
    limits: LossLimits,
    withheld: ArcSwap<Withheld>,
    inner: Mutex<Inner>,
}

struct Inner {
    writer: Writer,
    state_writer: Option<StateWriter>,
    /// The rows of the state file, until they or those of the source are in use.
    restored: Option<Committed>,
    /// How often the writer had to start again from nothing.
    epoch: u64,
    /// The version of the snapshot in use, counted from 1.
    version: u64,
    /// The newest line of changes that the writer knows of.
    cursor: Option<i64>,
    /// What is known of the tables whose rows the writer has.
    known: Known,
    /// When the running load began.
    begun: Instant,
}

/// The version and the position in the table of changes of the next snapshot.
struct Revision<'a> {
    /// The version of the current snapshot, to be counted up.
    version: &'a mut u64,
    /// The position of the current snapshot, to be set to `next`.
    cursor: &'a mut Option<i64>,
    /// The position of the next snapshot.
    next: Option<i64>,
}

/// The result of a draft.
pub(super) enum DraftOutcome {
    /// It changed nothing, so the old snapshot stays in use.
    Unchanged,
    /// It is in use.
    Swapped(Box<Swapped>),
    /// It cannot be used: the source did not send all rows, or the writer had to start again.
    Abandoned,
}

/// A new snapshot in use, for the report.
pub(super) struct Swapped {
    pub version: u64,
    pub counts: Counts,
    pub summary: ChangeSummary,
    pub problems: Problems,
    /// How many rows are not used, for any reason.
    pub left_out: usize,
    /// Some of the rows that changed.
    pub changed: Vec<(Table, i64)>,
    /// How many rows the load has read that found this. `None` if it was no load.
    pub rows_read: Option<u64>,
    /// The snapshot that was replaced.
    pub old: Option<Arc<Served>>,
}

/// How many changed rows are kept for the report.
const SAMPLE: usize = 1000;

impl Publisher {
    /// Snapshots lose at most as much as `limits` says.
    pub fn new(options: Conventions, limits: LossLimits, state_writer: Option<StateWriter>) -> Publisher {
        let writer = Writer::new(options.clone());
        let inner = Mutex::new(Inner {
            writer,
            state_writer,
            restored: None,
            epoch: 0,
            version: 0,
            cursor: None,
            known: Known::default(),
            begun: Instant::now(),
        });
        let (current, withheld) = (Arc::new(ArcSwapOption::empty()), ArcSwap::default());
        Publisher { current, options, limits, withheld, inner }
    }

    /// What the snapshot in use withholds.
    pub fn withheld(&self) -> Arc<Withheld> {
        self.withheld.load_full()
    }

    /// Accepts the losses that are withheld, and publishes a snapshot without them.
    pub fn confirm(&self) -> DraftOutcome {
        let mut inner = self.open();
        let committed = inner.writer.draft().commit_losses();
        let next = inner.cursor;
        self.finish(&mut inner, committed, next, Vec::new(), false)
    }

    pub fn current(&self) -> Arc<ArcSwapOption<Served>> {
        self.current.clone()
    }

    /// Notes that a load begins. Changes that polls publish from now on take precedence
    /// over the rows of the load. If `reads_all`, the load must read all rows.
    pub fn begin_load(&self, reads_all: bool) -> LoadBegun {
        let mut inner = self.open();
        inner.writer.begin_load();
        inner.state_writer.iter_mut().for_each(StateWriter::begin_load);
        // A new state file needs all rows too.
        if reads_all || inner.state_writer.as_ref().is_some_and(StateWriter::is_anew) {
            inner.known = Known::default();
        }
        inner.begun = Instant::now();
        let begun = inner.begun;
        LoadBegun { epoch: inner.epoch, plans: inner.known.plan(begun) }
    }

    /// Locks the writer. If a defect stopped it half-way, starts again with an empty writer,
    /// so that the defect does not spoil the next snapshot.
    fn open(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            let mut inner = poisoned.into_inner();
            inner.writer = Writer::new(self.options.clone());
            inner.restored = None;
            inner.known = Known::default();
            inner.epoch += 1;
            inner.state_writer.iter_mut().for_each(StateWriter::lose);
            self.inner.clear_poison();
            inner
        })
    }

    /// Publishes some changes: all up to the line `cursor` of the table of changes.
    pub fn update(&self, changes: Vec<Change>, cursor: Option<i64>) -> DraftOutcome {
        let mut inner = self.open();
        let Inner { writer, state_writer, known, .. } = &mut *inner;
        let has_rows = |served: &Arc<Served>| {
            let counts = served.snapshot.counts();
            counts.users + counts.rules > 0
        };
        if writer.rows() == 0 && self.current.load().as_ref().is_some_and(has_rows) {
            // The writer was replaced, and does not know the rows in use.
            return DraftOutcome::Abandoned;
        }
        let mut draft = writer.draft();
        let mut changed = Vec::new();
        for change in changes {
            match &change {
                Change::Put(row) => {
                    known.touch(row.table());
                    note(&mut changed, row.table(), row.id());
                    state_writer.iter_mut().for_each(|state_writer| state_writer.put(row));
                }
                Change::Gone(table, id) => {
                    known.touch(*table);
                    note(&mut changed, *table, *id);
                    state_writer.iter_mut().for_each(|state_writer| state_writer.gone(*table, *id));
                }
            }
            draft.apply(change);
        }
        let committed = draft.commit_within(&self.limits, Instant::now());
        self.finish(&mut inner, committed, cursor, changed, false)
    }

    /// Reads the rows of the state file, so that the first load is compared with them. They
    /// are not in use until [`Publisher::serve_restored`]. No load may be running.
    ///
    /// # Errors
    /// [`state_file::StateFileError`]. Then it is as if there were no file.
    pub fn restore(&self, path: &Path, source: &str) -> Result<state_file::End, state_file::StateFileError> {
        let mut inner = self.open();
        let Inner { writer, restored, cursor, .. } = &mut *inner;
        let (mut draft, mut recent) = (writer.draft(), Vec::new());
        let end = state_file::read(path, source, |StateChange { change, is_recent }| match is_recent {
            true => recent.push(change),
            false => draft.apply(change),
        })?;
        let summary = draft.summary();
        let (_, mut problems) = draft.commit();
        // What was lost lately counts together with what the load will miss.
        let mut draft = writer.draft();
        recent.into_iter().for_each(|change| draft.apply(change));
        let committed = draft.commit_within(&self.limits, Instant::now());
        problems.append(committed.problems);
        let summary = summary.and(committed.summary);
        *cursor = end.cursor;
        *restored = Some(Committed { snapshot: committed.snapshot, problems, summary });
        self.withheld.store(Arc::new(writer.withheld()));
        Ok(end)
    }

    /// Puts the rows of the state file into use, as of the line `next` of the table of
    /// changes. Returns `None` if there are none, or if rows of the source came first.
    pub fn serve_restored(&self, next: Option<i64>) -> Option<Swapped> {
        let mut inner = self.open();
        let Inner { writer, restored, version, cursor, .. } = &mut *inner;
        let restored = restored.take()?;
        let revision = Revision { version, cursor, next };
        Some(self.swap(revision, restored, writer.left_out(), Vec::new()))
    }

    /// Notes with which settings rows are served, for the state file.
    pub fn set_settings(&self, settings: &str) {
        self.open().state_writer.iter_mut().for_each(|state_writer| state_writer.set_settings(settings));
    }

    /// Publishes all rows of a load. The load is complete when `done` resolves. Resolves
    /// `begun` when the first rows have arrived. If `is_other`, the rows seem to be those of another
    /// database than before, and every loss is withheld.
    pub fn load(
        &self,
        epoch: u64,
        mut rows: mpsc::Receiver<Vec<Row>>,
        progress: &AtomicU64,
        begun: oneshot::Sender<()>,
        done: oneshot::Receiver<LoadEnd>,
        is_other: bool,
    ) -> DraftOutcome {
        let mut next = rows.blocking_recv();
        if next.is_some() {
            let _ = begun.send(());
        }
        let is_first = self.open().writer.rows() == 0;
        let mut news = Vec::new();
        // The lock is released between batches, so that polls can publish changes.
        while !is_first && news.len() < NEWS {
            let Some(batch) = next.take() else { break };
            progress.fetch_add(1, Ordering::Relaxed);
            let mut inner = self.open();
            if inner.epoch != epoch {
                return DraftOutcome::Abandoned;
            }
            for row in batch {
                let Inner { writer, state_writer, .. } = &mut *inner;
                state_writer
                    .iter_mut()
                    .for_each(|state_writer| state_writer.read(&row, writer.is_current(&row)));
                if writer.is_news(&row) {
                    news.push(row);
                }
            }
            drop(inner);
            std::thread::yield_now();
            next = rows.blocking_recv();
        }

        let mut inner = self.open();
        if inner.epoch != epoch {
            return DraftOutcome::Abandoned;
        }
        let Inner { writer, state_writer, cursor, known, begun, .. } = &mut *inner;
        let mut draft = writer.draft_of_load();
        let (mut changed, mut has_changed) = (Vec::new(), [false; Table::COUNT]);
        let mut put = |draft: &mut Draft<'_>, state_writer: &mut Option<StateWriter>, row: &Row| {
            if draft.put(row) {
                has_changed[row.table() as usize] = true;
                note(&mut changed, row.table(), row.id());
                state_writer
                    .iter_mut()
                    .filter(|state_writer| !state_writer.is_anew())
                    .for_each(|state_writer| state_writer.put(row));
            }
        };
        news.iter().for_each(|row| put(&mut draft, state_writer, row));
        while let Some(batch) = next.take() {
            progress.fetch_add(1, Ordering::Relaxed);
            next = rows.blocking_recv();
            for row in batch {
                let is_current = draft.is_current(&row);
                state_writer.iter_mut().for_each(|state_writer| state_writer.read(&row, is_current));
                put(&mut draft, state_writer, &row);
            }
            std::thread::yield_now();
        }
        let Ok(LoadEnd { cursor: found, tables }) = done.blocking_recv() else {
            drop(draft);
            writer.abandon_load();
            *known = Known::default();
            state_writer.iter_mut().for_each(StateWriter::abandon_load);
            return DraftOutcome::Abandoned;
        };
        let is_unread = |table: &Table| matches!(tables[*table as usize], TableRead::Unchanged);
        Table::ALL.into_iter().filter(is_unread).for_each(|table| draft.keep(table));
        draft.sweep(|table, id| {
            has_changed[table as usize] = true;
            note(&mut changed, table, id);
            state_writer
                .iter_mut()
                .filter(|state_writer| !state_writer.is_anew())
                .for_each(|state_writer| state_writer.gone(table, id));
        });
        known.loaded(tables, has_changed, *begun);
        // Ids of changes only grow, so a lower one is that of an older state.
        let is_older = matches!((found, *cursor), (Some(Some(found)), Some(known)) if found < known);
        let limits = LossLimits { is_suspect: is_older || is_other, ..self.limits };
        // Without a position of its own, the load keeps the one that polls have reached.
        let next = found.unwrap_or(*cursor);
        let committed = draft.commit_within(&limits, Instant::now());
        self.finish(&mut inner, committed, next, changed, true)
    }

    /// Records a commit, and puts its snapshot into use. `next` is its place in the table of
    /// changes.
    fn finish(
        &self,
        inner: &mut Inner,
        mut committed: Committed,
        next: Option<i64>,
        changed: Vec<(Table, i64)>,
        is_load: bool,
    ) -> DraftOutcome {
        let Inner { writer, state_writer, restored, version, cursor, .. } = inner;
        let withheld = writer.withheld();
        if let Some(state_writer) = state_writer {
            let lost = if is_load { writer.lost_contents() } else { HashSet::new() };
            let times = times(writer, withheld.is_loss());
            state_writer.commit(Commit { cursor: next, is_load, times, lost });
        }
        self.withheld.store(Arc::new(withheld));
        if let Some(mut restored) = restored.take() {
            // Its rows are new to those who read the log.
            restored.problems.forget(&changed);
            restored.problems.append(committed.problems);
            (committed.problems, committed.summary) =
                (restored.problems, restored.summary.and(committed.summary));
        }
        let revision = Revision { version, cursor, next };
        let served = self.current.load_full();
        if let Some(served) = served.filter(|_| committed.summary.is_empty()) {
            *revision.cursor = revision.next;
            if served.cursor != revision.next {
                // The snapshot also agrees with the newer position in the changes.
                let (version, snapshot, left_out) =
                    (served.version, served.snapshot.clone(), served.left_out);
                self.current.store(Some(Arc::new(Served {
                    version,
                    snapshot,
                    left_out,
                    cursor: revision.next,
                })));
            }
            return DraftOutcome::Unchanged;
        }
        DraftOutcome::Swapped(Box::new(self.swap(revision, committed, writer.left_out(), changed)))
    }

    /// Puts a snapshot into use.
    fn swap(
        &self,
        Revision { version, cursor, next }: Revision<'_>,
        Committed { snapshot, problems, summary }: Committed,
        left_out: usize,
        changed: Vec<(Table, i64)>,
    ) -> Swapped {
        *version += 1;
        *cursor = next;
        let counts = snapshot.counts();
        let old =
            self.current.swap(Some(Arc::new(Served { version: *version, snapshot, left_out, cursor: next })));
        Swapped { version: *version, counts, summary, problems, left_out, changed, rows_read: None, old }
    }

    /// Whether only a load can bring the state file up to date.
    pub fn wants_load(&self) -> bool {
        self.open().state_writer.as_ref().is_some_and(StateWriter::wants_load)
    }

    /// [`Writer::contents`]
    pub fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        self.open().writer.contents(table, id, most)
    }

    /// Returns the writer of the state file, to be closed.
    pub fn close(&self) -> Option<StateWriter> {
        self.open().state_writer.take()
    }
}

/// The times of a commit, for the state file.
fn times(writer: &Writer, is_withheld: bool) -> Times {
    let at = state_file::unix_now();
    let ago = |loss: Instant| at.saturating_sub(loss.elapsed().as_secs() + 1);
    Times { at, lost_since: writer.oldest_loss().map_or(u64::MAX, ago), is_withheld }
}

fn note(changed: &mut Vec<(Table, i64)>, table: Table, id: i64) {
    if changed.len() < SAMPLE {
        changed.push((table, id));
    }
}
