//! The one task that keeps the snapshot up to date: what makes it load, what
//! it does when it cannot, and what it says of it.
//!
//! Loads of everything are begun by the start, the timer, SIGHUP, and whatever
//! leaves no other way to know; what is asked for while one is under way is one
//! more load after it. Polls, of a table of changes or after a file has
//! changed, go on beside a load. Both hand what they read to the [`publisher`],
//! which swaps.

mod cause;
mod publisher;
mod schedule;
pub mod state_file;
mod status;
pub mod watch;

use std::collections::HashSet;
use std::mem::Discriminant;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use notify::EventKind;
use tokio::signal::unix::Signal;
use tokio::sync::{Notify, mpsc, oneshot, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::conventions::Conventions;
use crate::core::model::{Change, Table};
use crate::metrics::Metrics;
use crate::process::files::Aside;
use crate::process::service::Reports;
use crate::snapshot::Served;
use crate::source::{self, Changes, Cursor, Source, Which};
use cause::Cause;
use publisher::{DraftOutcome, Guard, Publisher, Shrunk, Swapped};
use schedule::Backoff;
use state_file::StateWriter;
use watch::Watch;

pub use status::{SnapshotOrigin, Status};

/// Batches between source and publisher; both work at once, and what is read ahead
/// stays small.
const BATCHES_AHEAD: usize = 64;
/// What a start comes to that has neither the source nor a state file.
const UNTIL_READ: &str = "requests are answered with 503 until the database is read";
/// Bad rows that a load names in the log; the rest are counted.
const PROBLEMS_SHOWN: usize = 20;
/// How long a start waits for the first row before it serves the state file.
const START_PATIENCE: Duration = Duration::from_millis(500);
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

/// When and how to reload.
#[derive(Debug, Clone)]
pub struct ReloadSettings {
    /// `--reload-interval`: everything is loaded so often; `None` for never.
    pub reload_interval: Option<Duration>,
    /// `--poll-interval`: changes are asked for so often; `None` for never.
    pub poll_interval: Option<Duration>,
    /// `--max-shrink`, in percent; 100 with `--allow-shrink`.
    pub max_shrink: u8,
    /// `--state-file`
    pub state_file: Option<PathBuf>,
    /// `--stale-after`: so long the source may be out of reach before a sign-in that
    /// fails may be due to that.
    pub stale_after: Duration,
    /// What is added to the message of an error of the source, since the source does not
    /// know which options it was made from.
    pub advice: fn(&source::SourceError) -> String,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        ReloadSettings {
            reload_interval: Some(Duration::from_secs(300)),
            poll_interval: Some(Duration::from_secs(1)),
            max_shrink: 50,
            state_file: None,
            stale_after: Duration::from_secs(60),
            advice: |_| String::new(),
        }
    }
}

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] source::SourceError),
    /// A defect of this program.
    #[error("building the snapshot failed; this is a defect of jitsiprovs")]
    Build,
}

/// What a reload that was asked for came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// There is a new snapshot, of this version.
    Swapped(u64),
    /// What is in use is what the source says.
    Unchanged,
    /// It would lose too much.
    HeldBack,
    /// The source could not be read: why.
    Failed(String),
}

impl ReloadOutcome {
    /// Every name that [`ReloadOutcome::name`] returns.
    const NAMES: [&'static str; 4] = ["swapped", "unchanged", "failed", "held_back"];

    /// The name for metrics.
    fn name(&self) -> &'static str {
        match self {
            ReloadOutcome::Swapped(_) => "swapped",
            ReloadOutcome::Unchanged => "unchanged",
            ReloadOutcome::HeldBack => "held_back",
            ReloadOutcome::Failed(_) => "failed",
        }
    }
}

type Asker = oneshot::Sender<ReloadOutcome>;

/// Who has it may ask how things are, and for a reload.
#[derive(Clone)]
pub struct Handle {
    status: channel::Receiver<Status>,
    askers: mpsc::Sender<Asker>,
    publisher: Arc<Publisher>,
    stale_after: Duration,
}

impl Handle {
    /// Whether the newest snapshot is what the source says now, as far as that can
    /// be known: see [`Status::is_current`].
    pub fn is_current(&self) -> bool {
        self.status.borrow().is_current(self.stale_after)
    }

    /// How things are.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The next `most` rows of a table after the one of `id`, as they were read
    /// last: see [`Writer::contents`](crate::snapshot::Writer::contents). A load
    /// that is being written is waited for.
    pub async fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        let publisher = self.publisher.clone();
        tokio::task::spawn_blocking(move || publisher.contents(table, id, most)).await.unwrap_or_default()
    }

    /// Loads everything, and waits for what it comes to.
    pub async fn ask(&self) -> ReloadOutcome {
        let ended = || ReloadOutcome::Failed("the server is about to end".into());
        let (asker, verdict) = oneshot::channel();
        if self.askers.send(asker).await.is_err() {
            return ended();
        }
        verdict.await.unwrap_or_else(|_| ended())
    }
}

/// Keeps the current snapshot and replaces it. See the module.
pub struct Reloader {
    source: Arc<dyn Source>,
    settings: ReloadSettings,
    publisher: Arc<Publisher>,
    status: channel::Sender<Status>,
    watch: Watch,
    /// Where the next poll begins; `None` while only a load can tell.
    cursor: Option<Cursor>,
    loading: Option<Loading>,
    /// Why there must be one more load after the one under way, and whether a
    /// loss is confirmed with it.
    again: Option<(Cause, bool)>,
    backoff: Backoff,
    next_load: Option<Instant>,
    next_poll: Option<Instant>,
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
    polls: Option<Discriminant<source::SourceError>>,
    loads: bool,
    /// Whether a sign of life is worth another load.
    is_unreachable: bool,
}

/// A load under way.
struct Loading {
    cause: Cause,
    begun: Instant,
    /// Whether it also finds out where polls may begin.
    wants_cursor: bool,
    task: JoinHandle<Loaded>,
    /// Batches that have come.
    progress: Arc<AtomicU64>,
    /// Ends it.
    stop: Arc<Notify>,
}

type Loaded = Result<(Option<Cursor>, DraftOutcome), LoadError>;

impl Reloader {
    /// Loads the first snapshot. With `--state-file`, a source that cannot be
    /// read at once does not keep the server from starting: it serves what the
    /// file holds, or nothing, until the source is there, whatever the file is.
    ///
    /// # Errors
    /// Without a state file, when the source cannot be read: see [`LoadError`].
    pub async fn start(
        source: Arc<dyn Source>,
        options: Conventions,
        settings: ReloadSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Reloader, LoadError> {
        metrics.expect_reloads(&Cause::LABELS, &ReloadOutcome::NAMES);
        let is_patient = settings.state_file.is_some();
        let state_file = usable(settings.state_file.clone()).await;
        let state_writer = state_file.clone().map(|path| StateWriter::new(path, source.name()));
        let status = channel::Sender::new(Status::new());
        let (askers, asked) = mpsc::channel(16);
        let publisher = Arc::new(Publisher::new(options, state_writer));
        let mut reloader = Reloader {
            handle: Handle {
                status: status.subscribe(),
                askers,
                publisher: publisher.clone(),
                stale_after: settings.stale_after,
            },
            asked,
            waiting: Vec::new(),
            asking: Vec::new(),
            rest_until: Instant::now(),
            metrics,
            watch: Watch::aside(&Aside::new(), source.files(), is_change).await,
            publisher,
            source,
            status,
            cursor: None,
            loading: None,
            again: None,
            backoff: Backoff::new(),
            next_load: None,
            next_poll: None,
            look_again: None,
            next_prune: Instant::now() + PRUNE.mul_f64(fastrand::f64()),
            failing: Failures::default(),
            hung_up: None,
            retired: Vec::new(),
            reports: Reports::new(),
            settings,
        };
        let has_begun = reloader.begin(Cause::Start, false);
        if !is_patient {
            let loaded = finished(&mut reloader.loading).await?;
            reloader.conclude(Ok(loaded)).await;
            return Ok(reloader);
        }
        let waiting = async {
            // Once rows are coming, the file would be out of date in a moment;
            // if none will come, the load is about to end.
            if tokio::time::timeout(START_PATIENCE, has_begun).await.is_ok() {
                std::future::pending().await
            }
        };
        tokio::select! {
            loaded = finished(&mut reloader.loading) => reloader.conclude(loaded).await,
            () = waiting => {}
        }
        if !reloader.status.borrow().is_ready() {
            match state_file {
                Some(path) => reloader.restore(path).await,
                None => tracing::warn!("{UNTIL_READ}"),
            }
        }
        Ok(reloader)
    }

    /// Where the newest snapshot always is, once there is one.
    pub fn current(&self) -> Arc<ArcSwapOption<Served>> {
        self.publisher.current()
    }

    /// For those who ask from outside.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Reloads for ever: `hangup` is SIGHUP.
    pub async fn run(&mut self, hangup: &mut Signal) {
        loop {
            self.retire();
            self.reports.status(self.status.borrow().to_string());
            let asked = (!self.asking.is_empty()).then_some(self.rest_until);
            tokio::select! {
                // Here and not in a task of its own: what hangs is to be noticed.
                () = self.reports.due() => self.reports.alive(),
                _ = hangup.recv() => self.hang_up(),
                Some(asker) = self.asked.recv() => self.asking.push(asker),
                () = at(asked), if self.loading.is_none() => drop(self.begin(Cause::Admin, false)),
                loaded = finished(&mut self.loading) => self.conclude(loaded).await,
                () = self.watch.changed() => {
                    sleep(FILE_SETTLES).await;
                    match self.cursor {
                        Some(_) => {
                            let found = self.poll(Cause::File).await;
                            let is_empty = found.is_some_and(|rows| rows.is_empty());
                            self.look_again = is_empty.then(|| Instant::now() + FILE_LOOK_AGAIN);
                        }
                        None => self.request(Cause::File),
                    }
                }
                () = at(self.look_again), if self.cursor.is_some() => {
                    self.look_again = None;
                    drop(self.poll(Cause::File).await);
                }
                () = at(self.next_poll) => drop(self.poll(Cause::Poll).await),
                () = at(self.next_load), if self.loading.is_none() => {
                    self.begin(if self.failing.loads { Cause::Retry } else { Cause::Timer }, false);
                }
                () = sleep_until(self.next_prune), if self.cursor.is_some() => self.prune(),
                () = sleep(RETIRE), if !self.retired.is_empty() => {}
            }
        }
    }

    /// Writes what the state file still lacks. Nothing is reloaded any more.
    pub async fn close(self) {
        // A load keeps the publisher busy.
        self.loading.iter().for_each(|loading| loading.stop.notify_one());
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

    /// Begins a load. Resolves when the first rows are there; fails if none
    /// will come.
    fn begin(&mut self, cause: Cause, is_confirmed: bool) -> oneshot::Receiver<()> {
        let (sender, rows) = mpsc::channel(BATCHES_AHEAD);
        let (done, is_done) = oneshot::channel();
        let (begun, has_begun) = oneshot::channel();
        let guard = Guard { max_shrink: if is_confirmed { 100 } else { self.settings.max_shrink } };
        let (publisher, source, stop) =
            (self.publisher.clone(), self.source.clone(), Arc::new(Notify::new()));
        // Polls that fail while loads succeed must begin elsewhere, or end.
        let wants_cursor = self.cursor.is_none() || self.failing.polls.is_some();
        let progress = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (stop.clone(), progress.clone());
        let task = tokio::spawn(async move {
            let beginning = publisher.clone();
            let epoch = tokio::task::spawn_blocking(move || beginning.begin_load()).await;
            let epoch = epoch.map_err(|_| LoadError::Build)?;
            let writing = tokio::task::spawn_blocking(move || {
                publisher.load(epoch, rows, &counted, begun, is_done, guard)
            });
            let loaded = tokio::select! {
                loaded = source.load(Which::All, sender, wants_cursor) => loaded,
                () = stopped.notified() => Err(source::SourceError::Cancelled),
            };
            // Only what came whole counts.
            match &loaded {
                Ok(cursor) => drop(done.send(wants_cursor.then(|| cursor.as_ref().map(Cursor::id)))),
                Err(_) => drop(done),
            }
            // A defect here ends the load there, too.
            let outcome = writing.await.map_err(|_| LoadError::Build)?;
            Ok((loaded?, outcome))
        });
        self.next_load = None;
        self.waiting.append(&mut self.asking);
        self.loading = Some(Loading { cause, begun: Instant::now(), wants_cursor, task, progress, stop });
        has_begun
    }

    /// Goes on from what the load under way came to.
    async fn conclude(&mut self, loaded: Loaded) {
        if let Some(Loading { cause, begun, wants_cursor, .. }) = self.loading.take() {
            let is_stopped = matches!(loaded, Err(LoadError::Source(source::SourceError::Cancelled)));
            let verdict = self.loaded(cause, begun, wants_cursor, loaded).await;
            if is_stopped {
                // Whoever waits for it is told what the next one comes to.
                self.asking.append(&mut self.waiting);
            }
            self.metrics.reload(cause.label(), verdict.name(), begun.elapsed());
            if !self.waiting.is_empty() {
                self.rest_until = Instant::now() + REST;
            }
            for asker in self.waiting.drain(..) {
                // Whoever has stopped waiting need not know.
                let _ = asker.send(verdict.clone());
            }
            if self.cursor.is_none() && !wants_cursor && !self.failing.loads {
                // The place was lost meanwhile.
                self.again.get_or_insert((Cause::PlaceLost, false));
            }
        }
        if let Some((cause, is_confirmed)) = self.again.take() {
            self.demand(cause, is_confirmed);
        }
        if self.loading.is_none() {
            self.reports.reloaded();
        }
    }

    async fn loaded(
        &mut self,
        cause: Cause,
        begun: Instant,
        wants_cursor: bool,
        loaded: Loaded,
    ) -> ReloadOutcome {
        let is_first = self.status.borrow().origin != SnapshotOrigin::Source;
        let (cursor, outcome) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.load_failed(cause, &error),
        };
        let (verdict, changed) = match outcome {
            DraftOutcome::Abandoned => return self.load_failed(cause, &LoadError::Build),
            DraftOutcome::HeldBack(shrunk) => return self.hold_back(cause, shrunk),
            DraftOutcome::Unchanged => {
                self.status.send_modify(|status| status.is_held_back = false);
                match cause {
                    Cause::Timer => {
                        tracing::debug!(cause = cause.name(), ms = ms(begun), "loaded: nothing has changed")
                    }
                    _ => tracing::info!(cause = cause.name(), ms = ms(begun), "loaded: nothing has changed"),
                }
                (ReloadOutcome::Unchanged, Vec::new())
            }
            DraftOutcome::Swapped(swapped) => {
                let place = cursor.as_ref().or(self.cursor.as_ref()).cloned();
                (
                    ReloadOutcome::Swapped(swapped.version),
                    self.swapped(cause, begun, place.as_ref(), *swapped, SnapshotOrigin::Source),
                )
            }
        };
        self.backoff = Backoff::new();
        self.next_load = self.settings.reload_interval.map(schedule::after);
        if std::mem::take(&mut self.failing) != Failures::default() {
            tracing::info!("the database can be read again");
        }
        self.note_well(begun);

        if !wants_cursor && self.cursor.is_some() {
            self.check_announced(changed).await;
        } else if wants_cursor && self.again.is_none() {
            self.cursor = cursor;
        }
        self.next_poll = self.settings.poll_interval.filter(|_| self.cursor.is_some()).map(schedule::after);
        if is_first && self.cursor.is_none() && self.source.files().is_empty() {
            tracing::info!(
                "there is no table of changes: changes are seen {}on SIGHUP; `jitsiprovs --setup` adds \
                 one, and then they are seen at once",
                self.settings
                    .reload_interval
                    .map_or(String::new(), |interval| format!("every {} s and ", interval.as_secs()))
            );
        }
        verdict
    }

    /// Rows that a load found changed must be found by a poll too; if not,
    /// something is wrong with the triggers.
    async fn check_announced(&mut self, changed: Vec<(Table, i64)>) {
        if changed.is_empty() {
            return;
        }
        let Some(announced) = self.poll(Cause::Poll).await else { return };
        let mut silent = changed.into_iter().filter(|row| !announced.contains(row));
        if let Some((table, id)) = silent.next() {
            tracing::warn!(
                "rows have changed that no trigger noted in jitsiprovs_change, such as {table} id {id}: \
                 TRUNCATE fires none; if they are missing, `jitsiprovs --setup` makes them again"
            );
        }
    }

    /// An error in words, with advice.
    fn told(&self, error: &LoadError) -> String {
        match error {
            LoadError::Source(error) => format!("{error}{}", (self.settings.advice)(error)),
            LoadError::Build => error.to_string(),
        }
    }

    fn load_failed(&mut self, cause: Cause, error: &LoadError) -> ReloadOutcome {
        let told = self.told(error);
        let verdict = ReloadOutcome::Failed(told.clone());
        self.next_load = Some(self.backoff.next());
        if let LoadError::Build = error {
            self.cursor = None;
        }
        // A load is stopped only to begin another.
        if matches!(error, LoadError::Source(source::SourceError::Cancelled)) {
            return verdict;
        }
        let is_unreachable = matches!(error, LoadError::Source(error) if error.is_unreachable());
        self.failing = Failures { loads: true, is_unreachable, ..self.failing };
        self.note_failing(&told);
        if is_unreachable {
            self.next_poll = Some(schedule::probe());
        }
        match self.status.borrow().is_ready() {
            true => {
                tracing::error!(cause = cause.name(), "reload failed, the old snapshot stays in use: {told}")
            }
            false => tracing::error!(cause = cause.name(), "load failed: {told}"),
        }
        verdict
    }

    fn hold_back(&mut self, cause: Cause, Shrunk { what, before, after }: Shrunk) -> ReloadOutcome {
        self.cursor = None;
        self.next_poll = None;
        self.next_load = Some(self.backoff.next());
        let was_held_back = self.status.borrow().is_held_back;
        // It could be read, whatever is in it.
        self.failing = Failures::default();
        self.status.send_modify(|status| {
            (status.is_held_back, status.failing) = (true, None);
        });
        if was_held_back && !cause.is_signal() {
            tracing::debug!(cause = cause.name(), what, before, after, "still held back");
            return ReloadOutcome::HeldBack;
        }
        tracing::error!(
            cause = cause.name(),
            before,
            after,
            "the new snapshot is held back, since of {before} {what} it has {after}: if that is meant, \
             send SIGHUP twice within 60 s, or start with --allow-shrink; the old snapshot stays in use"
        );
        ReloadOutcome::HeldBack
    }

    /// Asks what has changed, and brings it in. Returns the rows it was told, if
    /// that could be told.
    async fn poll(&mut self, cause: Cause) -> Option<HashSet<(Table, i64)>> {
        let begun = Instant::now();
        let found = self.source.changes(self.cursor.as_ref()).await;
        let (changes, cursor, is_reconnected) = match found {
            Err(error) => {
                self.poll_failed(&error);
                return None;
            }
            Ok(Changes::Unknown(why)) => {
                self.cursor = None;
                self.next_poll = None;
                self.request(Cause::Unknown(why));
                return None;
            }
            Ok(Changes::Rows { changes, cursor, is_reconnected }) => (changes, cursor, is_reconnected),
        };
        let rows = changes.iter().map(row).collect();
        let place = cursor.as_ref().map(Cursor::id);
        let served = self.publisher.current().load().as_ref().and_then(|served| served.cursor);
        if !changes.is_empty() || place != served {
            let (publisher, guard) = (self.publisher.clone(), Guard { max_shrink: self.settings.max_shrink });
            let updated = tokio::task::spawn_blocking(move || publisher.update(changes, place, guard)).await;
            match updated {
                Ok(DraftOutcome::Swapped(swapped)) => {
                    self.metrics.reload(cause.label(), "swapped", begun.elapsed());
                    self.swapped(cause, begun, cursor.as_ref(), *swapped, SnapshotOrigin::Source);
                }
                Ok(DraftOutcome::Unchanged) => {}
                Ok(DraftOutcome::HeldBack(shrunk)) => {
                    let verdict = self.hold_back(cause, shrunk);
                    self.metrics.reload(cause.label(), verdict.name(), begun.elapsed());
                    return None;
                }
                Ok(DraftOutcome::Abandoned) | Err(_) => {
                    tracing::error!(cause = cause.name(), "{}", LoadError::Build);
                    self.cursor = None;
                    self.next_poll = None;
                    self.request(Cause::Defect);
                    return None;
                }
            }
        }
        if self.next_load.is_none() && self.loading.is_none() && self.publisher.wants_load() {
            self.next_load = Some(schedule::after(UNLOADED));
        }
        self.cursor = cursor;
        let was_failing = std::mem::take(&mut self.failing);
        self.failing.loads = was_failing.loads;
        self.next_poll = self.settings.poll_interval.filter(|_| self.cursor.is_some()).map(schedule::after);
        if was_failing.polls.is_some() {
            tracing::info!("the database can be read again");
            // A load that hangs since then would only be in the way.
            let hangs =
                |loading: &&Loading| was_failing.progress == Some(loading.progress.load(Ordering::Relaxed));
            self.loading.iter().filter(hangs).for_each(|loading| loading.stop.notify_one());
            self.request(Cause::DatabaseBack);
        } else if is_reconnected {
            // What answers there may be another server.
            self.request(Cause::NewConnection);
        }
        if !self.failing.loads {
            self.note_well(begun);
        }
        Some(rows)
    }

    fn poll_failed(&mut self, error: &source::SourceError) {
        let told = format!("{error}{}", (self.settings.advice)(error));
        self.next_poll = Some(schedule::probe());
        // Once for each kind of trouble, as this is asked every other second.
        let kind = std::mem::discriminant(error);
        if self.failing.polls.is_none() {
            let progress = |loading: &Loading| loading.progress.load(Ordering::Relaxed);
            self.failing.progress = self.loading.as_ref().map(progress);
        }
        let is_news = self.failing.polls.replace(kind) != Some(kind);
        let is_known = self.failing.is_unreachable && error.is_unreachable();
        if is_news && !is_known {
            tracing::error!("asking for changes failed, the old snapshot stays in use: {told}");
        }
        self.note_failing(&told);
    }

    /// Serves what the state file holds.
    async fn restore(&mut self, path: PathBuf) {
        let begun = Instant::now();
        let (publisher, name) = (self.publisher.clone(), self.source.name());
        let at = path.clone();
        let written = Aside::new().run(move || std::fs::metadata(&at)?.modified()).await.flatten();
        let age = written.ok().and_then(|written| written.elapsed().ok()).unwrap_or_default();
        let now = std::time::Instant::now();
        let as_of = now.checked_sub(age).unwrap_or(now);
        let restored = tokio::task::spawn_blocking(move || publisher.restore(&path, &name)).await;
        match restored {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((swapped, is_torn)))) => {
                if is_torn {
                    tracing::warn!("the end of the state file is torn off: the latest changes are missing");
                }
                self.status.send_modify(|status| status.as_of = as_of);
                self.swapped(Cause::StateFile, begun, None, swapped, SnapshotOrigin::StateFile);
                tracing::warn!("{}", *self.status.borrow());
            }
            Ok(Err(error)) => {
                tracing::error!("{error}; {UNTIL_READ}")
            }
            Err(_) => tracing::error!("{}", LoadError::Build),
        }
    }

    /// Reports a swap. Returns some of the rows it was made for.
    fn swapped(
        &mut self,
        cause: Cause,
        begun: Instant,
        cursor: Option<&Cursor>,
        swapped: Swapped,
        origin: SnapshotOrigin,
    ) -> Vec<(Table, i64)> {
        let Swapped { version, counts, summary, problems, left_out, changed, old } = swapped;
        self.status.send_modify(|status| {
            status.version = version;
            status.origin = origin;
            status.is_held_back = false;
        });
        for problem in problems.first.iter().take(PROBLEMS_SHOWN) {
            tracing::warn!(table = %problem.table, id = problem.id, "bad row: {}", problem.what);
        }
        if problems.total > PROBLEMS_SHOWN {
            tracing::warn!("and {} more bad rows", problems.total - PROBLEMS_SHOWN);
        }
        tracing::info!(
            version,
            cause = cause.name(),
            tenants = counts.tenants,
            users = counts.users,
            rules = counts.rules,
            bytes = counts.bytes,
            added = summary.added,
            changed = summary.changed,
            removed = summary.removed,
            reported = problems.total,
            left_out,
            cursor = cursor.map(Cursor::id),
            ms = ms(begun),
            "snapshot in use"
        );
        self.retired.extend(old);
        changed
    }

    fn note_well(&mut self, begun: Instant) {
        self.status.send_modify(|status| {
            (status.origin, status.as_of, status.failing) = (SnapshotOrigin::Source, begun.into_std(), None);
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
        tokio::spawn(async move {
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

/// The state file, if it may be read and written.
async fn usable(path: Option<PathBuf>) -> Option<PathBuf> {
    let path = path?;
    let looked_at = path.clone();
    let checked = Aside::new().run(move || state_file::check(&looked_at)).await;
    let unreadable = |why| state_file::StateFileError::Unreadable { path: path.clone(), why };
    match checked.map_err(unreadable).flatten() {
        Ok(()) => Some(path),
        Err(error) => {
            tracing::error!("{error}; no state is kept");
            None
        }
    }
}

/// Waits for the load under way; for ever if there is none.
async fn finished(loading: &mut Option<Loading>) -> Loaded {
    match loading {
        Some(loading) => (&mut loading.task).await.unwrap_or(Err(LoadError::Build)),
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn row(change: &Change) -> (Table, i64) {
    match change {
        Change::Put(row) => (row.table(), row.id()),
        Change::Gone(table, id) => (*table, *id),
    }
}

fn ms(begun: Instant) -> u64 {
    begun.elapsed().as_millis() as u64
}

/// Reading a database opens files, locks them, and makes and removes an empty
/// log, none of which is a change; what is written to a new file is one.
fn is_change(kind: EventKind) -> bool {
    use notify::event::ModifyKind as Modify;
    matches!(
        kind,
        EventKind::Any
            | EventKind::Other
            | EventKind::Modify(Modify::Any | Modify::Data(_) | Modify::Name(_) | Modify::Other)
    )
}
