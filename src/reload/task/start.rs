//! The start: the first load, or the state file instead of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::EventKind;
use tokio::sync::{mpsc, watch as channel};
use tokio::time::Instant;

use super::{Failures, PRUNE, Reloader};
use crate::core::conventions::Conventions;
use crate::metrics::Metrics;
use crate::process::files::Aside;
use crate::process::service::Reports;
use crate::reload::cause::Cause;
use crate::reload::fitness::Meaning;
use crate::reload::handle::{Handle, ReloadOutcome};
use crate::reload::load::{self, LoadError};
use crate::reload::publisher::Publisher;
use crate::reload::reader::Reader;
use crate::reload::schedule::Backoff;
use crate::reload::settings::ReloadSettings;
use crate::reload::state_file::{self, StateFileError, StateWriter};
use crate::reload::status::{SnapshotOrigin, Status};
use crate::reload::watch::Watch;
use crate::snapshot::LossLimits;
use crate::source::Source;

/// The consequence of a start without the source and without a state file.
const UNTIL_READ: &str = "requests are answered with 503 until the database is read";
/// How long a start waits for the first row before it serves the state file.
const START_PATIENCE: Duration = Duration::from_millis(500);

impl Reloader {
    /// Loads the first snapshot. With `--state-file`, the server starts even if the source
    /// cannot be read at once: until then, it serves the rows of the file, or nothing if
    /// the file cannot be used.
    ///
    /// # Errors
    /// [`LoadError`] if there is no `--state-file`, and the source cannot be read or its rows
    /// cannot mean what the options say.
    pub async fn start(
        source: Arc<dyn Source>,
        options: Conventions,
        settings: ReloadSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Reloader, LoadError> {
        metrics.expect_reloads(&Cause::LABELS, &ReloadOutcome::NAMES);
        let is_patient = settings.state_file.is_some();
        let state_file = usable(settings.state_file.clone()).await;
        let writer = |path| StateWriter::new(path, source.name(), metrics.state_file_writable.clone());
        let state_writer = state_file.clone().map(writer);
        let status = channel::Sender::new(Status::new());
        let (askers, asked) = mpsc::channel(16);
        let meaning = Meaning {
            pwd_fmt: options.pwd_fmt,
            realm: options.realm.clone(),
            default_domain: settings.default_domain.clone(),
            accepts_all: settings.accept_rows,
        };
        let limits =
            LossLimits { max_shrink: settings.max_shrink, settle: settings.settle, is_suspect: false };
        let publisher = Arc::new(Publisher::new(options, limits, state_writer));
        publisher.set_settings(&settings.meaning);
        let mut reloader = Reloader {
            handle: Handle {
                database: source.name().into(),
                status: status.subscribe(),
                askers,
                publisher: publisher.clone(),
                stale_after: settings.stale_after,
                settle: settings.settle,
            },
            asked,
            waiting: Vec::new(),
            asking: Vec::new(),
            rest_until: Instant::now(),
            metrics,
            watch: Watch::aside(&Aside::new(), source.files(), is_change).await,
            publisher,
            pushes: None,
            reader: Reader::start().map_err(LoadError::NoThread)?,
            source,
            status,
            cursor: None,
            loading: None,
            polling: None,
            unannounced: Vec::new(),
            has_told_of_triggers: false,
            again: None,
            backoff: Backoff::new(),
            next_load: None,
            next_poll: None,
            file_settles: None,
            look_again: None,
            settled: None,
            renamed: None,
            next_prune: Instant::now() + PRUNE.mul_f64(fastrand::f64()),
            failing: Failures::default(),
            hung_up: None,
            retired: Vec::new(),
            reports: Reports::new(),
            settings,
        };
        let restored = match state_file {
            Some(path) => reloader.restore(path).await,
            None => None,
        };
        let has_begun = reloader.begin(Cause::Start);
        if !is_patient {
            let loaded = load::finished(&mut reloader.loading).await?;
            reloader.conclude(Ok(loaded));
            return reloader.checked(&meaning).await;
        }
        let waiting = async {
            // Once rows arrive, the file would soon be out of date. If none will arrive, the
            // load is about to end.
            if tokio::time::timeout(START_PATIENCE, has_begun).await.is_ok() {
                std::future::pending().await
            }
        };
        let loaded = tokio::select! {
            loaded = load::finished(&mut reloader.loading) => Some(loaded),
            () = waiting => None,
        };
        loaded.into_iter().for_each(|loaded| reloader.conclude(loaded));
        if reloader.status.borrow().is_ready() && restored.is_none() {
            return reloader.checked(&meaning).await;
        }
        if !reloader.status.borrow().is_ready() {
            match restored {
                Some(restored) => reloader.serve_restored(restored).await,
                None => tracing::warn!("{UNTIL_READ}"),
            }
        }
        Ok(reloader)
    }

    /// This, if the rows of the first load can mean what the options say. No state file says
    /// what they were before.
    async fn checked(self, meaning: &Meaning) -> Result<Reloader, LoadError> {
        let served = self.publisher.current().load_full();
        let checked = served.map_or(Ok(()), |served| meaning.check(&served.snapshot));
        let Err(misfit) = checked else { return Ok(self) };
        // A state file with these options would say that they are right.
        let path = self.settings.state_file.clone();
        self.close().await;
        if let Some(path) = path {
            let _ = Aside::new().run(move || state_file::discard(&path)).await;
        }
        Err(misfit)
    }

    /// Reads the rows of the state file. The first load is compared with them, so that what
    /// the source lost while this server was not running is withheld too.
    #[allow(clippy::disallowed_methods, reason = "read on a thread of its own")]
    async fn restore(&mut self, path: PathBuf) -> Option<Restored> {
        let begun = Instant::now();
        let (publisher, name) = (self.publisher.clone(), self.source.name());
        let at = path.clone();
        let written = Aside::new().run(move || std::fs::metadata(&at)?.modified()).await.flatten();
        let age = written.ok().and_then(|written| written.elapsed().ok()).unwrap_or_default();
        let now = std::time::Instant::now();
        let as_of = now.checked_sub(age).unwrap_or(now);
        let restored = tokio::task::spawn_blocking(move || publisher.restore(&path, &name)).await;
        let state_file::End { is_torn, cursor, settings } = match restored {
            Ok(Ok(end)) => end,
            Ok(Err(StateFileError::Unreadable { why, .. })) if why.kind() == io::ErrorKind::NotFound => {
                tracing::info!("there is no state file yet: it is written after the first load");
                return None;
            }
            Ok(Err(error)) => {
                tracing::error!("{error}");
                return None;
            }
            Err(_) => {
                tracing::error!("{}", LoadError::Build);
                return None;
            }
        };
        if is_torn {
            tracing::warn!("the end of the state file is torn off: the latest changes are missing");
        }
        self.compare_meaning(settings);
        Some(Restored { begun, as_of, cursor })
    }

    /// Notes if the options that say how rows and requests are read are others than when the
    /// state file was written. They may be wrong, so no refusal is certain until an operator
    /// confirms them.
    fn compare_meaning(&mut self, before: Option<String>) {
        let now = &self.settings.meaning;
        let Some(before) = before.filter(|before| !before.is_empty() && before != now) else { return };
        tracing::error!(
            "this server was started with other options than before, by which rows and requests mean \
             something else: `{now}` instead of `{before}`; if that is intended, run `jitsiprovs confirm`, or \
             send SIGHUP twice within 60 s; until then failed sign-ins get 503"
        );
        // The file keeps the settings that were right for sure.
        self.publisher.set_settings(&before);
        let doubt = format!("the options were `{before}` and are `{now}`");
        self.status.send_modify(|status| status.doubt = Some(doubt));
    }

    /// Serves the rows of the state file.
    async fn serve_restored(&mut self, Restored { begun, as_of, cursor }: Restored) {
        let publisher = self.publisher.clone();
        let served = tokio::task::spawn_blocking(move || publisher.serve_restored(cursor)).await;
        let Ok(Some(swapped)) = served else { return };
        self.status.send_modify(|status| status.as_of = as_of);
        self.swapped(Cause::StateFile, begun, None, swapped, SnapshotOrigin::StateFile);
        self.note_withheld(Cause::StateFile);
        tracing::warn!("{}", self.node_status());
    }
}

/// Rows of a state file that were read.
struct Restored {
    begun: Instant,
    /// When they were last known to agree with the source.
    as_of: std::time::Instant,
    cursor: Option<i64>,
}

/// The path of the state file, if it may be read and overwritten.
async fn usable(path: Option<PathBuf>) -> Option<PathBuf> {
    let path = path?;
    let looked_at = path.clone();
    let checked = Aside::new().run(move || state_file::check(&looked_at)).await;
    let unreadable = |why| StateFileError::Unreadable { path: path.clone(), why };
    match checked.map_err(unreadable).flatten() {
        Ok(()) => Some(path),
        Err(error) => {
            tracing::error!("{error}; no state is kept");
            None
        }
    }
}

/// Whether a file event means that the database has changed. Merely reading a SQLite database
/// opens and locks files, and creates and removes an empty `-wal` file. So opening, creating
/// and removing a file do not count as changes; writing to a file and renaming one do.
fn is_change(kind: EventKind) -> bool {
    use notify::event::ModifyKind as Modify;
    matches!(
        kind,
        EventKind::Any
            | EventKind::Other
            | EventKind::Modify(Modify::Any | Modify::Data(_) | Modify::Name(_) | Modify::Other)
    )
}
