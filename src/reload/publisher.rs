//! Where snapshots are written and handed over: the one place that swaps.
//!
//! Everything here blocks, and runs on threads where that is allowed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

use crate::core::conventions::Conventions;
use crate::core::model::{Change, Row, Table};
use crate::reload::guard::{Guard, Shrunk};
use crate::reload::state_file::{self, StateWriter};
use crate::snapshot::{ChangeSummary, Counts, Draft, Problems, Served, Snapshot, Writer};

/// A load that finds more news than these is written row by row as it comes,
/// rather than kept until the end.
const NEWS: usize = 50_000;

/// See the module.
pub(super) struct Publisher {
    current: Arc<ArcSwapOption<Served>>,
    options: Conventions,
    inner: Mutex<Inner>,
}

struct Inner {
    writer: Writer,
    state_writer: Option<StateWriter>,
    /// Counts how often the writer had to begin anew.
    epoch: u64,
    /// Counts swaps.
    version: u64,
    /// As of which line of changes the next snapshot is.
    cursor: Option<i64>,
}

/// What the next snapshot will be known by.
struct Revision<'a> {
    /// Of the one before.
    version: &'a mut u64,
    /// Of the one before.
    cursor: &'a mut Option<i64>,
    next: Option<i64>,
}

/// What became of a draft.
pub(super) enum DraftOutcome {
    /// It changed nothing, so nothing was swapped.
    Unchanged,
    /// It is in use.
    Swapped(Box<Swapped>),
    /// It would lose too much.
    HeldBack(Shrunk),
    /// The source did not send all.
    Abandoned,
}

/// A swap, as it will be reported.
pub(super) struct Swapped {
    pub version: u64,
    pub counts: Counts,
    pub summary: ChangeSummary,
    pub problems: Problems,
    /// Rows that are not in use, whatever the reason.
    pub left_out: usize,
    /// Some of the rows that changed.
    pub changed: Vec<(Table, i64)>,
    /// The snapshot that was replaced.
    pub old: Option<Arc<Served>>,
}

/// Changed rows that are kept for the report.
const SAMPLE: usize = 1000;

impl Publisher {
    pub fn new(options: Conventions, state_writer: Option<StateWriter>) -> Publisher {
        let writer = Writer::new(options.clone());
        let inner = Mutex::new(Inner { writer, state_writer, epoch: 0, version: 0, cursor: None });
        Publisher { current: Arc::new(ArcSwapOption::empty()), options, inner }
    }

    pub fn current(&self) -> Arc<ArcSwapOption<Served>> {
        self.current.clone()
    }

    /// A load is about to begin: what is brought in by others from now on takes
    /// precedence over what it reads. Returns what it must give to
    /// [`Publisher::load`].
    pub fn begin_load(&self) -> u64 {
        let mut inner = self.open();
        inner.writer.begin_load();
        inner.state_writer.iter_mut().for_each(StateWriter::begin_load);
        inner.epoch
    }

    /// A defect that stopped a writer half-way must not spoil the next
    /// snapshot: then everything is written from the beginning.
    fn open(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            let mut inner = poisoned.into_inner();
            inner.writer = Writer::new(self.options.clone());
            inner.epoch += 1;
            inner.state_writer.iter_mut().for_each(StateWriter::lose);
            self.inner.clear_poison();
            inner
        })
    }

    /// Brings in some changes, which are those up to the line `cursor`.
    pub fn update(&self, changes: Vec<Change>, cursor: Option<i64>, guard: Guard) -> DraftOutcome {
        let mut inner = self.open();
        let Inner { writer, state_writer, version, cursor: place, .. } = &mut *inner;
        let has_rows = |served: &Arc<Served>| {
            let counts = served.snapshot.counts();
            counts.users + counts.rules > 0
        };
        if writer.rows() == 0 && self.current.load().as_ref().is_some_and(has_rows) {
            // It began anew, and knows nothing of what is in use.
            return DraftOutcome::Abandoned;
        }
        let mut draft = writer.draft();
        let mut changed = Vec::new();
        for change in changes {
            match &change {
                Change::Put(row) => {
                    note(&mut changed, row.table(), row.id());
                    state_writer.iter_mut().for_each(|state_writer| state_writer.put(row));
                }
                Change::Gone(table, id) => {
                    note(&mut changed, *table, *id);
                    state_writer.iter_mut().for_each(|state_writer| state_writer.gone(*table, *id));
                }
            }
            draft.apply(change);
        }
        let revision = Revision { version, cursor: place, next: cursor };
        self.finish(draft, state_writer, revision, changed, guard, false)
    }

    /// Brings in what the state file holds. Says whether its end is torn off.
    /// `None` if the source was faster.
    pub fn restore(
        &self,
        path: &Path,
        source: &str,
    ) -> Result<Option<(Swapped, bool)>, state_file::StateFileError> {
        let mut inner = self.open();
        let Inner { writer, version, cursor, .. } = &mut *inner;
        if writer.rows() > 0 {
            return Ok(None);
        }
        let mut draft = writer.draft();
        let state_file::End { is_torn, cursor: next } =
            state_file::read(path, source, |change| draft.apply(change))?;
        let (summary, rows) = (draft.summary(), draft.rows());
        let (snapshot, problems) = draft.commit();
        // A load may have begun, and knows better than the file.
        writer.begin_load();
        let revision = Revision { version, cursor, next };
        Ok(Some((self.swap(revision, snapshot, rows, summary, problems, Vec::new()), is_torn)))
    }

    /// Brings in all rows of a load, which is complete if `done` says so; if it
    /// has found out its place in the changes, `done` says that too. Tells
    /// `begun` when the first rows are there.
    pub fn load(
        &self,
        epoch: u64,
        mut rows: mpsc::Receiver<Vec<Row>>,
        progress: &AtomicU64,
        begun: oneshot::Sender<()>,
        done: oneshot::Receiver<Option<Option<i64>>>,
        guard: Guard,
    ) -> DraftOutcome {
        let mut next = rows.blocking_recv();
        if next.is_some() {
            let _ = begun.send(());
        }
        let is_first = self.open().writer.rows() == 0;
        let mut news = Vec::new();
        // Others may bring in changes meanwhile.
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
        let Inner { writer, state_writer, version, cursor, .. } = &mut *inner;
        let mut draft = writer.draft_of_load();
        let mut changed = Vec::new();
        let mut put = |draft: &mut Draft<'_>, state_writer: &mut Option<StateWriter>, row: &Row| {
            if draft.put(row) {
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
        let Ok(found) = done.blocking_recv() else {
            drop(draft);
            writer.abandon_load();
            state_writer.iter_mut().for_each(StateWriter::abandon_load);
            return DraftOutcome::Abandoned;
        };
        draft.sweep(|table, id| {
            note(&mut changed, table, id);
            state_writer
                .iter_mut()
                .filter(|state_writer| !state_writer.is_anew())
                .for_each(|state_writer| state_writer.gone(table, id));
        });
        // Polls may be ahead of what it read, and win.
        let next = found.unwrap_or(*cursor);
        self.finish(draft, state_writer, Revision { version, cursor, next }, changed, guard, true)
    }

    fn finish(
        &self,
        mut draft: Draft<'_>,
        state_writer: &mut Option<StateWriter>,
        revision: Revision<'_>,
        changed: Vec<(Table, i64)>,
        guard: Guard,
        is_load: bool,
    ) -> DraftOutcome {
        let summary = draft.summary();
        let (_, after) = draft.counts();
        let served = self.current.load_full();
        let before = served.as_ref().map(|served| served.snapshot.counts());
        if let Err(shrunk) = guard.check(before.unwrap_or_default(), after) {
            let writer = draft.give_up();
            if is_load {
                writer.abandon_load();
                state_writer.iter_mut().for_each(StateWriter::abandon_load);
            } else {
                state_writer.iter_mut().for_each(StateWriter::forget_changes);
            }
            return DraftOutcome::HeldBack(shrunk);
        }
        let rows = draft.rows();
        let (snapshot, problems) = draft.commit();
        state_writer.iter_mut().for_each(|state_writer| state_writer.commit(revision.next, is_load));
        if let Some(served) = served.filter(|_| summary.is_empty()) {
            *revision.cursor = revision.next;
            if served.cursor != revision.next {
                // The same snapshot is what the source says now, too.
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
        DraftOutcome::Swapped(Box::new(self.swap(revision, snapshot, rows, summary, problems, changed)))
    }

    /// Puts a snapshot into use that was made of `rows` rows.
    fn swap(
        &self,
        Revision { version, cursor, next }: Revision<'_>,
        snapshot: Arc<Snapshot>,
        rows: usize,
        summary: ChangeSummary,
        problems: Problems,
        changed: Vec<(Table, i64)>,
    ) -> Swapped {
        *version += 1;
        *cursor = next;
        let counts = snapshot.counts();
        let left_out = rows - counts.users - counts.rules;
        let old =
            self.current.swap(Some(Arc::new(Served { version: *version, snapshot, left_out, cursor: next })));
        Swapped { version: *version, counts, summary, problems, left_out, changed, old }
    }

    /// Whether the state file can be brought up to date by a load alone.
    pub fn wants_load(&self) -> bool {
        self.open().state_writer.as_ref().is_some_and(StateWriter::wants_load)
    }

    /// See [`Writer::contents`].
    pub fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        self.open().writer.contents(table, id, most)
    }

    /// Takes the state_writer away, to close it.
    pub fn close(&self) -> Option<StateWriter> {
        self.open().state_writer.take()
    }
}

fn note(changed: &mut Vec<(Table, i64)>, table: Table, id: i64) {
    if changed.len() < SAMPLE {
        changed.push((table, id));
    }
}
