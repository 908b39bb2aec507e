//! The one writer of the snapshot: load, build, swap, report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::model::Row;
use crate::snapshot::{Builder, Options, Problems, Snapshot};
use crate::source::{self, Loaded, Source};

/// Batches between source and builder; both work at once, and what is read
/// ahead stays small.
const BATCHES_AHEAD: usize = 8;
/// Bad rows that a load names in the log; the rest are counted.
const PROBLEMS_SHOWN: usize = 20;

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source could not be read.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// A defect of this program.
    #[error("building the snapshot failed; this is a defect of jitsiprovs")]
    Build,
}

/// Keeps the current snapshot and replaces it.
pub struct Reloader {
    source: Arc<dyn Source>,
    options: Options,
    current: Arc<ArcSwap<Snapshot>>,
    /// Counts swaps, from 1.
    version: u64,
}

impl Reloader {
    /// Loads the first snapshot.
    ///
    /// # Errors
    /// When there is none: see [`Error`].
    pub async fn start(source: Arc<dyn Source>, options: Options) -> Result<Reloader, Error> {
        let begun = Instant::now();
        let (snapshot, problems, loaded) = load(&*source, &options, None).await?;
        report(1, "start", &snapshot, &problems, loaded, begun);
        let current = Arc::new(ArcSwap::from_pointee(snapshot));
        Ok(Reloader { source, options, current, version: 1 })
    }

    /// Where the newest snapshot always is.
    pub fn current(&self) -> Arc<ArcSwap<Snapshot>> {
        self.current.clone()
    }

    /// Loads everything again. If that fails, what there is stays, and the log
    /// says why.
    pub async fn reload(&mut self, cause: &'static str) {
        let begun = Instant::now();
        let old = self.current.load_full();
        match load(&*self.source, &self.options, Some(old)).await {
            Ok((snapshot, problems, loaded)) => {
                self.version += 1;
                report(self.version, cause, &snapshot, &problems, loaded, begun);
                retire(self.current.swap(Arc::new(snapshot)));
            }
            Err(error) => {
                tracing::error!(cause, "reload failed, the old snapshot stays in use: {error}");
            }
        }
    }
}

async fn load(
    source: &dyn Source,
    options: &Options,
    previous: Option<Arc<Snapshot>>,
) -> Result<(Snapshot, Problems, Loaded), Error> {
    let (rows, mut batches) = mpsc::channel::<Vec<Row>>(BATCHES_AHEAD);
    let mut builder = Builder::new(options.clone(), previous);
    let adding = tokio::task::spawn_blocking(move || {
        while let Some(batch) = batches.blocking_recv() {
            batch.into_iter().for_each(|row| builder.add(row));
        }
        builder
    });
    let loaded = source.load(rows).await;
    let builder = adding.await.map_err(|_| Error::Build)?;
    // Only what came whole is worth the rest of the work.
    let loaded = loaded?;
    let finishing = tokio::task::spawn_blocking(|| builder.finish());
    let (snapshot, problems) = finishing.await.map_err(|_| Error::Build)?;
    Ok((snapshot, problems, loaded))
}

fn report(
    version: u64,
    cause: &str,
    snapshot: &Snapshot,
    problems: &Problems,
    loaded: Loaded,
    begun: Instant,
) {
    let counts = snapshot.counts();
    for problem in problems.first.iter().take(PROBLEMS_SHOWN) {
        tracing::warn!(table = %problem.table, id = problem.id, "bad row: {}", problem.what);
    }
    if problems.total > PROBLEMS_SHOWN {
        tracing::warn!("and {} more bad rows", problems.total - PROBLEMS_SHOWN);
    }
    tracing::info!(
        version,
        cause,
        tenants = counts.tenants,
        users = counts.users,
        rules = counts.rules,
        bytes = counts.bytes,
        bad_rows = problems.total,
        cursor = loaded.cursor,
        ms = begun.elapsed().as_millis() as u64,
        "snapshot in use"
    );
}

/// Frees a snapshot where no request has to wait for it: freeing a million
/// users takes a while, and a request that was under way may hold it last.
fn retire(old: Arc<Snapshot>) {
    tokio::task::spawn_blocking(move || {
        while Arc::strong_count(&old) > 1 {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}
