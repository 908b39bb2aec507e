//! The task that keeps the snapshot up to date. It decides when the source is read.

mod loaded;
mod losses;
mod polled;
mod start;

use std::mem::Discriminant;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch as channel};
use tokio::time::{Instant, sleep, sleep_until};

use super::cause::Cause;
use super::handle::{Asker, Handle};
use super::load::{self, Loading};
use super::poll::{self, Polling};
use super::publisher::{Publisher, Swapped};
use super::pushes::{self, Pushes};
use super::reader::Reader;
use super::report;
use super::schedule::{self, Backoff};
use super::settings::ReloadSettings;
use super::state_file::StateWriter;
use super::status::{NodeStatus, SnapshotOrigin, Status};
use super::watch::Watch;
use crate::core::model::Table;
use crate::metrics::Metrics;
use crate::process::service::Reports;
use crate::snapshot::{Problems, Served};
use crate::source::{Cursor, Source, SourceError};

/// Programs write a file in several steps. After the first event, the task waits for this
/// time before it reads the file.
const FILE_SETTLES: Duration = Duration::from_millis(20);
/// An event may come before the commit of the transaction that caused it. So if nothing new
/// was found after an event, the file is read once more after this time.
const FILE_LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A second SIGHUP within this time confirms that a loss is intended.
const CONFIRM: Duration = Duration::from_secs(60);
/// How often each node that may do so prunes old lines of changes.
const PRUNE: Duration = Duration::from_secs(3600);
/// The shortest time between two loads that operators ask for, so that frequent requests do
/// not keep the database busy.
const REST: Duration = Duration::from_secs(1);
/// Without `--reload-interval`: when to load for a state file that only a load can bring up
/// to date.
const UNLOADED: Duration = Duration::from_secs(300);
/// How often changes are polled for while the source reports them: only to notice that it can no
/// longer be read.
const REASSURANCE: Duration = Duration::from_secs(5);
/// How often the task checks whether requests still use a replaced snapshot.
const RETIRE: Duration = Duration::from_millis(50);

/// Keeps the snapshot up to date.
pub struct Reloader {
    source: Arc<dyn Source>,
    settings: ReloadSettings,
    publisher: Arc<Publisher>,
    /// Where the source is read.
    reader: Reader,
    status: channel::Sender<Status>,
    watch: Watch,
    /// `None` until the task runs, and if no changes are to be asked for.
    pushes: Option<Pushes>,
    /// Where the next poll begins. `None` if a load must find that out first.
    cursor: Option<Cursor>,
    loading: Option<Loading>,
    polling: Option<Polling>,
    /// Rows that a load found changed. The next poll must find them too: if it does not,
    /// triggers are missing.
    unannounced: Vec<(Table, i64)>,
    /// Whether the log says already that the operator's own query has no triggers.
    has_told_of_triggers: bool,
    /// The cause of the load that must follow the running one.
    again: Option<Cause>,
    backoff: Backoff,
    next_load: Option<Instant>,
    next_poll: Option<Instant>,
    /// When to read a file that has changed, after [`FILE_SETTLES`].
    file_settles: Option<Instant>,
    /// When to read the file once more, after [`FILE_LOOK_AGAIN`].
    look_again: Option<Instant>,
    /// When to load again, because rows are missing and may be about to come back.
    settled: Option<Instant>,
    /// When to load because a poll found other users under known ids: the table may have
    /// been emptied without a trigger, and its ids given to others.
    renamed: Option<Instant>,
    next_prune: Instant,
    /// Whether the latest poll and the latest load failed.
    failing: Failures,
    /// The time of the latest SIGHUP that may be the first of two that confirm a loss.
    hung_up: Option<Instant>,
    /// Snapshots that requests may still use.
    retired: Vec<Arc<Served>>,
    handle: Handle,
    asked: mpsc::Receiver<Asker>,
    /// Operators who wait for the running load to end.
    waiting: Vec<Asker>,
    /// Operators who wait for the next load, which is for all of them.
    asking: Vec<Asker>,
    /// No load for operators begins before this time.
    rest_until: Instant,
    metrics: Arc<Metrics>,
    /// Reports to the service manager.
    reports: Reports,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Failures {
    /// The progress of the running load when polls began to fail.
    progress: Option<u64>,
    /// The kind of error of the latest poll, if it failed.
    polls: Option<Discriminant<SourceError>>,
    /// Whether the latest load failed.
    loads: bool,
    /// Whether the latest load failed because the source could not be reached.
    is_unreachable: bool,
}

impl Reloader {
    /// Always holds the newest snapshot, once there is one.
    pub fn current(&self) -> Arc<ArcSwapOption<Served>> {
        self.publisher.current()
    }

    /// For requests and operators.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn node_status(&self) -> NodeStatus {
        self.handle.node_status(self.publisher.current().load().as_deref(), false)
    }

    /// Keeps the snapshot up to date, without end. `hangup` receives SIGHUP.
    pub async fn run(&mut self, hangup: &mut Signal) {
        // Not before, so that a start that fails has one error.
        let listens = self.settings.poll_interval.is_some();
        self.pushes = listens.then(|| Pushes::begin(&self.reader, self.source.clone(), self.settings.advice));
        loop {
            self.retire();
            self.reports.status(self.node_status().to_string());
            let can_poll = self.polling.is_none();
            let asked = (!self.asking.is_empty()).then_some(self.rest_until);
            tokio::select! {
                // This loop reports to the service manager itself, so that the manager
                // notices if it hangs. So no arm may wait for anything but its event.
                () = self.reports.due() => self.reports.alive(),
                _ = hangup.recv() => self.hang_up(),
                Some(asker) = self.asked.recv() => self.asking.push(asker),
                () = at(asked), if self.loading.is_none() => self.begin_for_operators(),
                loaded = load::finished(&mut self.loading) => self.conclude(loaded),
                polled = poll::finished(&mut self.polling) => self.polled(polled),
                () = self.watch.changed() => {
                    self.file_settles.get_or_insert(Instant::now() + FILE_SETTLES);
                }
                () = at(self.file_settles), if can_poll || self.cursor.is_none() => self.read_file(),
                () = pushes::heard(&self.pushes), if can_poll && self.cursor.is_some() => self.poll(Cause::Push),
                () = at(self.look_again), if can_poll && self.cursor.is_some() => {
                    self.look_again = None;
                    self.poll(Cause::File);
                }
                () = at(self.next_poll), if can_poll => self.poll(Cause::Poll),
                () = at(self.next_load), if self.loading.is_none() => {
                    self.begin(if self.failing.loads { Cause::Retry } else { Cause::Timer });
                }
                () = at(self.settled), if self.loading.is_none() => drop(self.begin(Cause::Settled)),
                () = at(self.renamed), if self.loading.is_none() => drop(self.begin(Cause::Renamed)),
                () = sleep_until(self.next_prune), if self.cursor.is_some() => self.prune(),
                () = sleep(RETIRE), if !self.retired.is_empty() => {}
            }
        }
    }

    /// Begins a load. The receiver resolves when the first rows have arrived. It fails if
    /// none will arrive.
    fn begin(&mut self, cause: Cause) -> oneshot::Receiver<()> {
        // If polls fail while loads succeed, they need a new position, or must stop.
        let wants_cursor = self.cursor.is_none() || self.failing.polls.is_some();
        let reads_all = cause.reads_all() || self.failing != Failures::default();
        let (loading, has_begun) = Loading::begin(
            &self.reader,
            self.source.clone(),
            self.publisher.clone(),
            cause,
            wants_cursor,
            reads_all,
        );
        (self.next_load, self.settled, self.renamed) = (None, None, None);
        self.waiting.append(&mut self.asking);
        self.loading = Some(loading);
        has_begun
    }

    /// Stops reloading, and waits until the state file is written.
    pub async fn close(self) {
        // A running load would keep the publisher locked.
        self.loading.iter().for_each(|loading| loading.stop());
        let closing = move || self.publisher.close().into_iter().for_each(StateWriter::close);
        let _ = tokio::task::spawn_blocking(closing).await;
    }

    /// Handles SIGHUP with a load. A second SIGHUP within a minute confirms a loss if that was
    /// reported before the first one, or because of it.
    fn hang_up(&mut self) {
        self.reports.reloading();
        let before = self.hung_up.replace(Instant::now());
        let is_second = before.is_some_and(|before| before.elapsed() < CONFIRM);
        let status = self.status.borrow();
        let has_reason = status.withheld.is_loss() || status.doubt.is_some();
        drop(status);
        match is_second && has_reason {
            true => self.request(Cause::ConfirmedLoss),
            false => self.request(Cause::Hangup),
        }
    }

    /// Loads everything now, or after the running load.
    fn request(&mut self, cause: Cause) {
        if self.loading.is_none() {
            self.begin(cause);
        } else if cause == Cause::ConfirmedLoss || self.again.is_none() {
            self.again = Some(cause);
        }
    }

    /// Begins the load that operators have asked for.
    fn begin_for_operators(&mut self) {
        let confirms = self.asking.iter().any(|asker| asker.confirms);
        self.begin(if confirms { Cause::ConfirmedLoss } else { Cause::Admin });
    }

    /// Notes and logs that a new snapshot is in use. Returns some of the changed rows.
    fn swapped(
        &mut self,
        cause: Cause,
        begun: Instant,
        cursor: Option<&Cursor>,
        swapped: Swapped,
        origin: SnapshotOrigin,
    ) -> Vec<(Table, i64)> {
        self.status.send_modify(|status| {
            status.version = swapped.version;
            status.origin = origin;
        });
        report::swapped(cause, begun, cursor, &swapped);
        self.note_problems(swapped.problems, &swapped.changed);
        self.retired.extend(swapped.old);
        swapped.changed
    }

    /// Keeps the problems of the rows that changed, in place of what was known of these rows.
    fn note_problems(&mut self, later: Problems, changed: &[(Table, i64)]) {
        let known = self.status.borrow().problems.clone();
        if known.total == 0 && later.total == 0 {
            return;
        }
        let mut problems = (*known).clone();
        problems.forget(changed);
        problems.append(later);
        self.status.send_modify(|status| status.problems = Arc::new(problems));
    }

    fn note_well(&mut self, begun: Instant) {
        self.status.send_modify(|status| {
            (status.origin, status.failing) = (SnapshotOrigin::Source, None);
            // A poll may end after a load that began later.
            status.as_of = status.as_of.max(begun.into_std());
        });
    }

    fn note_failing(&mut self, why: &str) {
        self.status.send_modify(|status| {
            let since = status.failing.as_ref().map_or_else(std::time::Instant::now, |(since, _)| *since);
            status.failing = Some((since, why.to_owned()));
        });
    }

    fn prune(&mut self) {
        self.next_prune = schedule::after(PRUNE);
        let (source, days) = (self.source.clone(), self.settings.keep_history);
        self.reader.spawn(async move {
            let pruned = [
                ("jitsiprovs_change", source.prune().await),
                ("jitsiprovs_history", source.prune_history(days).await),
            ];
            for (table, pruned) in pruned {
                match pruned {
                    Ok(0) => {}
                    Ok(lines) => tracing::debug!(lines, "pruned {table}"),
                    Err(error) => tracing::debug!("cannot prune {table}: {error}"),
                }
            }
        });
    }

    /// Frees snapshots that no request uses any more. Freeing a million users takes a while,
    /// so it happens on a thread that no request waits for.
    fn retire(&mut self) {
        let is_free = |old: &mut Arc<Served>| Arc::strong_count(old) == 1;
        let free: Vec<_> = self.retired.extract_if(.., is_free).collect();
        if !free.is_empty() {
            tokio::task::spawn_blocking(move || drop(free));
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
