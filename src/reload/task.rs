//! The one task that keeps the snapshot up to date: what makes it read the source,
//! and when.

mod loaded;
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
use super::guard::Guard;
use super::handle::{Asker, Handle};
use super::load::{self, Loading};
use super::poll::{self, Polling};
use super::publisher::{Publisher, Swapped};
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
use crate::snapshot::Served;
use crate::source::{Cursor, Source, SourceError};

/// Programs that write a file do so in several steps: so long is waited for the
/// others.
const FILE_SETTLES: Duration = Duration::from_millis(20);
/// A writer may be stopped between what is noticed of a file and its commit. So what
/// brought nothing is looked at once more, after this time.
const FILE_LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Within this time a second SIGHUP says that a loss is meant.
const CONFIRM: Duration = Duration::from_secs(60);
/// How often old lines of changes are pruned, by any node that may.
const PRUNE: Duration = Duration::from_secs(3600);
/// After a load that was asked for, the next one that is asked for waits so
/// long: whoever asks all the time must not keep the database busy.
const REST: Duration = Duration::from_secs(1);
/// Without a timer, a state file that only a load can bring up to date waits so
/// long for one.
const UNLOADED: Duration = Duration::from_secs(300);
/// How often it is looked whether requests still use a snapshot that was
/// replaced.
const RETIRE: Duration = Duration::from_millis(50);

/// Keeps the current snapshot and replaces it. See the module.
pub struct Reloader {
    source: Arc<dyn Source>,
    settings: ReloadSettings,
    publisher: Arc<Publisher>,
    /// Where the source is read.
    reader: Reader,
    status: channel::Sender<Status>,
    watch: Watch,
    /// Where the next poll begins; `None` while only a load can tell.
    cursor: Option<Cursor>,
    loading: Option<Loading>,
    polling: Option<Polling>,
    /// Rows that a load found changed, and that the next poll must find too: if it
    /// does not, something is wrong with the triggers.
    unannounced: Vec<(Table, i64)>,
    /// Why there must be one more load after the one under way, and whether a
    /// loss is confirmed with it.
    again: Option<(Cause, bool)>,
    backoff: Backoff,
    next_load: Option<Instant>,
    next_poll: Option<Instant>,
    /// See [`FILE_SETTLES`].
    file_settles: Option<Instant>,
    /// See [`FILE_LOOK_AGAIN`].
    look_again: Option<Instant>,
    next_prune: Instant,
    /// What the latest poll and the latest load came to.
    failing: Failures,
    /// The latest SIGHUP.
    hung_up: Option<Instant>,
    /// Snapshots that requests may still use.
    retired: Vec<Arc<Served>>,
    handle: Handle,
    asked: mpsc::Receiver<Asker>,
    /// Who waits for the load under way.
    waiting: Vec<Asker>,
    /// Who waits for a load to begin: the next one is for all of them.
    asking: Vec<Asker>,
    /// Until then no load is begun for those who ask.
    rest_until: Instant,
    metrics: Arc<Metrics>,
    /// What the service manager is told.
    reports: Reports,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Failures {
    /// How far the load under way was when polls began to fail.
    progress: Option<u64>,
    /// How the latest poll did.
    polls: Option<Discriminant<SourceError>>,
    loads: bool,
    /// Whether a sign of life is worth another load.
    is_unreachable: bool,
}

impl Reloader {
    /// Where the newest snapshot always is, once there is one.
    pub fn current(&self) -> Arc<ArcSwapOption<Served>> {
        self.publisher.current()
    }

    /// For those who ask from outside.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn node_status(&self) -> NodeStatus {
        self.handle.node_status(self.publisher.current().load().as_deref(), false)
    }

    /// Reloads for ever: `hangup` is SIGHUP.
    pub async fn run(&mut self, hangup: &mut Signal) {
        loop {
            self.retire();
            self.reports.status(self.node_status().to_string());
            let can_poll = self.polling.is_none();
            let asked = (!self.asking.is_empty()).then_some(self.rest_until);
            tokio::select! {
                // Here and not in a task of its own: the manager must notice if this
                // loop hangs. So no arm waits for anything but its event.
                () = self.reports.due() => self.reports.alive(),
                _ = hangup.recv() => self.hang_up(),
                Some(asker) = self.asked.recv() => self.asking.push(asker),
                () = at(asked), if self.loading.is_none() => drop(self.begin(Cause::Admin, false)),
                loaded = load::finished(&mut self.loading) => self.conclude(loaded),
                polled = poll::finished(&mut self.polling) => self.polled(polled),
                () = self.watch.changed() => {
                    self.file_settles.get_or_insert(Instant::now() + FILE_SETTLES);
                }
                () = at(self.file_settles), if can_poll || self.cursor.is_none() => self.read_file(),
                () = at(self.look_again), if can_poll && self.cursor.is_some() => {
                    self.look_again = None;
                    self.poll(Cause::File);
                }
                () = at(self.next_poll), if can_poll => self.poll(Cause::Poll),
                () = at(self.next_load), if self.loading.is_none() => {
                    self.begin(if self.failing.loads { Cause::Retry } else { Cause::Timer }, false);
                }
                () = sleep_until(self.next_prune), if self.cursor.is_some() => self.prune(),
                () = sleep(RETIRE), if !self.retired.is_empty() => {}
            }
        }
    }

    /// Begins a load. The receiver resolves when the first rows have come; it fails
    /// if none will come.
    fn begin(&mut self, cause: Cause, is_confirmed: bool) -> oneshot::Receiver<()> {
        let guard = Guard { max_shrink: if is_confirmed { 100 } else { self.settings.max_shrink } };
        // If polls fail while loads succeed, polls must begin elsewhere, or end.
        let wants_cursor = self.cursor.is_none() || self.failing.polls.is_some();
        let (loading, has_begun) = Loading::begin(
            &self.reader,
            self.source.clone(),
            self.publisher.clone(),
            guard,
            cause,
            wants_cursor,
        );
        self.next_load = None;
        self.waiting.append(&mut self.asking);
        self.loading = Some(loading);
        has_begun
    }

    /// Writes what the state file still lacks. Nothing is reloaded any more.
    pub async fn close(self) {
        // A load keeps the publisher busy.
        self.loading.iter().for_each(|loading| loading.stop());
        let closing = move || self.publisher.close().into_iter().for_each(StateWriter::close);
        let _ = tokio::task::spawn_blocking(closing).await;
    }

    /// SIGHUP loads; the second within a minute confirms a loss that has been
    /// reported.
    fn hang_up(&mut self) {
        self.reports.reloading();
        let before = self.hung_up.replace(Instant::now());
        let is_second = before.is_some_and(|before| before.elapsed() < CONFIRM);
        if is_second && self.status.borrow().is_held_back {
            self.demand(Cause::ConfirmedLoss, true);
        } else {
            self.demand(Cause::Hangup, false);
        }
    }

    /// Loads everything now, or once more after the load under way.
    fn request(&mut self, cause: Cause) {
        self.demand(cause, false);
    }

    fn demand(&mut self, cause: Cause, is_confirmed: bool) {
        if self.loading.is_none() {
            self.begin(cause, is_confirmed);
        } else if is_confirmed || self.again.is_none() {
            self.again = Some((cause, is_confirmed));
        }
    }

    /// Notes and reports a swap.
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
        self.retired.extend(swapped.old);
        swapped.changed
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
        let source = self.source.clone();
        self.reader.spawn(async move {
            match source.prune().await {
                Ok(0) => {}
                Ok(lines) => tracing::debug!(lines, "pruned jitsiprovs_change"),
                Err(error) => tracing::debug!("left to others: {error}"),
            }
        });
    }

    /// Frees snapshots that no request uses any more, where no request has to
    /// wait for it: freeing a million users takes a while.
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
