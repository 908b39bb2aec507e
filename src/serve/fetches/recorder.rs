//! Writes fetches to the database, and removes old ones from there.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::{Fetches, now};
use crate::core::fetch::Fetch;
use crate::source::SourceError;

/// How often what has changed is written.
const INTERVAL: Duration = Duration::from_secs(2);
/// The same for a database in a file: each write makes the server look whether rows have changed.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// How many fetches are taken from the table at once. They need memory until they are written.
const AT_ONCE: usize = 2000;
/// How many fetches are written each time.
const EACH_TIME: usize = 10_000;
/// How many of them may be of devices that have sent the same again: so these delay no others, and
/// thousands of devices that ask without end take little of the database's time.
const REPEATED: usize = 500;
/// The same for a database in a file, which is on this machine: each row changes nearly two pages
/// of the file, and these are written twice.
const FILE_REPEATED: usize = 100;
/// How long nothing is tried after the database has refused to take fetches. How often old ones
/// are removed.
const HOUR: Duration = Duration::from_secs(3600);
/// How long the last write may take when the server stops.
const LAST: Duration = Duration::from_secs(2);

/// The state of the recorder.
#[derive(Default)]
pub(super) struct Recording {
    /// What was taken from the table and is not written yet.
    pending: Vec<Fetch>,
    /// When the database refused to take fetches.
    refused: Option<Instant>,
    is_failing: bool,
    /// When old fetches were removed last.
    pruned: Option<Instant>,
}

impl Fetches {
    /// Writes what has changed, every few seconds. Never returns.
    pub async fn keep(self: Arc<Self>) {
        let interval = if self.is_in_file() { FILE_INTERVAL } else { INTERVAL };
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            tokio::select! {
                () = sleep(interval) => {}
                // The operator may have given the account more rights.
                () = hung_up(&mut hangup) => self.recording.lock().await.refused = None,
            }
            self.record(false).await;
            self.prune().await;
        }
    }

    fn is_in_file(&self) -> bool {
        !self.source.files().is_empty()
    }

    /// Writes what is not written yet, when the server stops.
    pub async fn close(self: &Arc<Self>) {
        if timeout(LAST, self.record(true)).await.is_err() {
            tracing::warn!("the database did not take the last fetches in time");
        }
    }

    /// Writes [`EACH_TIME`] fetches, or `all` that are not written yet.
    pub(super) async fn record(self: &Arc<Self>, all: bool) {
        let most_repeated = if self.is_in_file() { FILE_REPEATED } else { REPEATED };
        let (mut left, mut repeated) =
            if all { (usize::MAX, None) } else { (EACH_TIME, Some(most_repeated)) };
        while left > 0 {
            let most = AT_ONCE.min(left);
            let written = self.record_some(most, repeated).await;
            // Those that a failure has left may be few, and others still be in the table.
            if written == 0 || written < most && !all {
                return;
            }
            left -= written;
            repeated = repeated.and(Some(0));
        }
    }

    /// Writes at most `most` fetches, and returns how many. See [`Fetches::take`].
    async fn record_some(self: &Arc<Self>, most: usize, repeated: Option<usize>) -> usize {
        let mut recording = self.recording.lock().await;
        if recording.is_resting() {
            return 0;
        }
        if recording.pending.is_empty() {
            let fetches = self.clone();
            let taking = tokio::task::spawn_blocking(move || fetches.take(most, repeated));
            recording.pending = taking.await.unwrap_or_default();
        }
        if recording.pending.is_empty() {
            return 0;
        }
        let written = match self.source.record(&recording.pending).await {
            Ok(()) => {
                let written = std::mem::take(&mut recording.pending).len();
                self.metrics.fetches_recorded.inc_by(written as u64);
                if std::mem::take(&mut recording.is_failing) {
                    tracing::info!("the database takes fetches again");
                }
                written
            }
            Err(error) => {
                recording.failed(&error);
                0
            }
        };
        self.is_refused.store(recording.is_resting(), Relaxed);
        written
    }

    async fn prune(&self) {
        let Some(keep) = self.settings.keep else { return };
        let mut recording = self.recording.lock().await;
        if recording.is_resting() || recording.pruned.is_some_and(|last| last.elapsed() < HOUR) {
            return;
        }
        recording.pruned = Some(Instant::now());
        match self.source.prune_fetches(now() - keep.as_secs() as i64).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old fetches were removed from the database"),
            Err(error) => tracing::debug!(%error, "old fetches could not be removed"),
        }
    }
}

impl Recording {
    fn is_resting(&self) -> bool {
        self.refused.is_some_and(|since| since.elapsed() < HOUR)
    }

    fn failed(&mut self, error: &SourceError) {
        use SourceError::{CannotOpen, Denied, NoOwnTable};
        if matches!(error, Denied { .. } | NoOwnTable { .. } | CannotOpen { .. }) {
            // They were not lost: this database was never to have them.
            self.pending = Vec::new();
            if self.refused.replace(Instant::now()).is_none() {
                tracing::info!("fetches are kept in memory only: {error}");
            }
        } else if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!("fetches are written when the database takes them again: {error}");
        }
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    let is_next = match hangup {
        Some(hangup) => hangup.recv().await.is_some(),
        None => false,
    };
    if !is_next {
        std::future::pending::<()>().await;
    }
}
