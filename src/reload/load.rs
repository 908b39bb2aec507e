//! A load of all rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cause::Cause;
use super::publisher::{DraftOutcome, LoadEnd, Publisher};
use super::reader::Reader;
use crate::core::model::Table;
use crate::source::{Cursor, Reloaded, Source, SourceError, TableRead};

/// How many batches of rows the source may read ahead, so that reading and publishing
/// overlap, and the rows in between need little memory.
const BATCHES_AHEAD: usize = 8;

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The system has no thread left to read the source on.
    #[error("cannot start the thread that reads the database: {0}")]
    NoThread(std::io::Error),
    /// The rows of the first load cannot mean what the options say.
    #[error("{0}")]
    Misfit(String),
    /// A defect of this program.
    #[error("building the snapshot failed; this is a defect of jitsiprovs")]
    Build,
}

impl LoadError {
    /// Whether the load was stopped because another one is to begin.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self, LoadError::Source(SourceError::Cancelled))
    }

    /// Whether the source cannot be reached. Then another load is worth trying as soon as
    /// the source answers.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, LoadError::Source(error) if error.is_unreachable())
    }
}

/// A load that has read everything.
pub(super) struct LoadDone {
    /// The position in the table of changes, if that was wanted.
    pub cursor: Option<Cursor>,
    /// Whether the rows are in use.
    pub outcome: DraftOutcome,
    /// What was read of each table.
    pub tables: [TableRead; Table::COUNT],
    /// What became of the losses that were confirmed before the load.
    pub confirmed: Option<DraftOutcome>,
}

/// The result of a load.
pub(super) type Loaded = Result<LoadDone, LoadError>;

/// A load that is running.
pub(super) struct Loading {
    pub cause: Cause,
    pub begun: Instant,
    /// Whether it also finds out where polls may begin.
    pub wants_cursor: bool,
    /// Rows that polls have read since the load began.
    pub announced: HashSet<(Table, i64)>,
    task: JoinHandle<Loaded>,
    /// How many batches have arrived.
    progress: Arc<AtomicU64>,
    stop: Arc<Notify>,
}

impl Loading {
    /// Begins a load. The receiver resolves when the first rows have arrived. It fails if
    /// none will arrive. If the cause is [`Cause::ConfirmedLoss`], the losses that are
    /// withheld are accepted first. If `reads_all`, no table is left unread.
    pub fn begin(
        reader: &Reader,
        source: Arc<dyn Source>,
        publisher: Arc<Publisher>,
        cause: Cause,
        wants_cursor: bool,
        reads_all: bool,
    ) -> (Loading, oneshot::Receiver<()>) {
        let (sender, rows) = mpsc::channel(BATCHES_AHEAD);
        let (done, is_done) = oneshot::channel();
        let (begun, has_begun) = oneshot::channel();
        let (stop, progress) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), progress.clone());
        let task = reader.spawn(async move {
            let beginning = publisher.clone();
            let is_confirmed = cause == Cause::ConfirmedLoss;
            let is_other = cause.is_other_database();
            let begin = move || (is_confirmed.then(|| beginning.confirm()), beginning.begin_load(reads_all));
            let begin = tokio::task::spawn_blocking(begin).await;
            let (confirmed, begun_load) = begin.map_err(|_| LoadError::Build)?;
            let writing = tokio::task::spawn_blocking(move || {
                publisher.load(begun_load.epoch, rows, &counted, begun, is_done, is_other)
            });
            let reading = async {
                if cause.is_asked()
                    && let Err(why) = source.renew().await
                {
                    tracing::warn!(error = %why, "the database's password stays in use as it was read before");
                }
                source.reload(sender, wants_cursor, begun_load.plans).await
            };
            let loaded = tokio::select! {
                loaded = reading => loaded,
                () = stopped.notified() => Err(SourceError::Cancelled),
            };
            // The publisher uses the rows only if all have arrived.
            match &loaded {
                Ok(loaded) => drop(done.send(LoadEnd {
                    cursor: wants_cursor.then(|| loaded.cursor.as_ref().map(Cursor::id)),
                    tables: loaded.tables.clone(),
                })),
                Err(_) => drop(done),
            }
            // If the publisher fails, the channel closes, and the source ends too.
            let outcome = writing.await.map_err(|_| LoadError::Build)?;
            let Reloaded { cursor, tables } = loaded?;
            Ok(LoadDone { cursor, outcome, tables, confirmed })
        });
        let (begun, announced) = (Instant::now(), HashSet::new());
        (Loading { cause, begun, wants_cursor, announced, task, progress, stop }, has_begun)
    }

    /// How many batches have arrived.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Ends the load with [`SourceError::Cancelled`].
    pub fn stop(&self) {
        self.stop.notify_one();
    }
}

/// Waits until the running load ends. Never returns if none is running.
pub(super) async fn finished(loading: &mut Option<Loading>) -> Loaded {
    match loading {
        Some(loading) => (&mut loading.task).await.unwrap_or(Err(LoadError::Build)),
        None => std::future::pending().await,
    }
}
