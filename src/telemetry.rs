//! The log: text or JSON lines on standard error, in a file, or in syslog.

mod access;
mod lines;
mod queue;
mod stamp;
mod syslog;
pub mod visible;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anyhow::Context;
use syslog_tracing::Syslog;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use lines::{Log, Look};
use queue::Queue;

pub use access::{RequestId, RequestLine};
pub use syslog_tracing::Facility;

/// How long the program waits at its end until the log is written.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a thread that panics waits until the log is written. It may serve others.
const PANIC_PATIENCE: Duration = Duration::from_millis(100);

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line of text, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// What is logged, in which format, and where.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// What a line looks like.
    pub format: Format,
    /// Whether to log debug messages too.
    pub verbose: bool,
    /// The syslog facility to log to, instead of standard error.
    pub syslog: Option<Facility>,
    /// The file to append to, instead of both. Its path is absolute.
    pub file: Option<PathBuf>,
}

/// The file that is used in the background if nothing answers at the socket of syslog.
pub const DEFAULT_FILE: &str = "/var/log/jitsiprovs.log";
/// Where syslog takes lines.
pub const SYSLOG_SOCKET: &str = "/dev/log";

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    StandardError,
    File,
    Syslog,
}

/// The log of this process, once it is started.
static LOG: OnceLock<Log> = OnceLock::new();

/// How many log lines were lost because the log was read too slowly or could not be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostLines {
    /// Errors, warnings (including failed sign-ins) and other rare events.
    pub important: u64,
    /// Lines about requests and debug messages.
    pub routine: u64,
}

/// How many log lines this process has lost since its start.
pub fn lost() -> LostLines {
    queue::lost()
}

/// Logs a request. Clients can cause any number of these lines, so they wait apart from all
/// other lines and are written after them.
pub fn request(line: &RequestLine<'_>) {
    if let Some(log) = LOG.get() {
        log.request(line);
    }
}

/// Keeps the log running. Dropping it waits at most a second until all lines are written, so
/// that what is written to standard error afterwards comes last.
#[must_use]
pub struct LogGuard(Arc<Queue>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(PATIENCE);
    }
}

/// Starts logging. Only the first call has an effect.
///
/// # Errors
/// When the file cannot be opened, when the log of a server in the background would go nowhere,
/// or when the thread that writes the log cannot be started.
#[expect(clippy::disallowed_methods, reason = "log lines are escaped before they are written")]
pub fn start(options: LogOptions) -> anyhow::Result<LogGuard> {
    watch_panics(options.syslog.is_some());
    match choose(&options, reach_syslog, Path::new(DEFAULT_FILE))? {
        Chosen::StandardError => start_with(&options, Sink::StandardError, io::stderr()),
        Chosen::File(file, warning) => {
            let guard = start_with(&options, Sink::File, file)?;
            warning.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(guard)
        }
        Chosen::Syslog(facility) => {
            match Syslog::new(c"jitsiprovs", syslog_tracing::Options::LOG_PID, facility) {
                Some(syslog) => start_with(&options, Sink::Syslog, syslog::Messages(syslog)),
                // This process has a syslog logger already.
                None => start_with(&options, Sink::StandardError, io::stderr()),
            }
        }
    }
}

/// Writes the log before a panic says what is wrong, because the process may end with it.
fn watch_panics(in_background: bool) {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // In the background standard error is closed, so panics must go to the log.
        if in_background {
            tracing::error!("defect: {}", panic.to_string().replace('\n', " "));
        }
        if let Some(log) = LOG.get() {
            log.queue.flush(PANIC_PATIENCE);
        }
        if !in_background {
            say(panic);
        }
    }));
}

/// Where the log goes.
enum Chosen {
    StandardError,
    Syslog(Facility),
    /// With a warning, if nobody chose the file.
    File(File, Option<String>),
}

/// Chooses where the log goes. `default` is the file that is used instead of a syslog that does
/// not answer.
fn choose(
    options: &LogOptions,
    reach_syslog: fn() -> io::Result<()>,
    default: &Path,
) -> anyhow::Result<Chosen> {
    if let Some(path) = &options.file {
        let file = open(path).with_context(|| format!("cannot write the log {}", path.display()))?;
        return Ok(Chosen::File(file, None));
    }
    let Some(facility) = options.syslog else { return Ok(Chosen::StandardError) };
    let Err(why) = reach_syslog() else { return Ok(Chosen::Syslog(facility)) };
    let none = format!("no syslog answers at {SYSLOG_SOCKET} ({why})");
    let default_shown = default.display();
    let file = open(default).with_context(|| {
        format!(
            "{none}, and the log cannot go to {default_shown} either: give --log-file, or stay in the \
             foreground with -n"
        )
    })?;
    Ok(Chosen::File(file, Some(format!("{none}, so the log goes to {default_shown}"))))
}

/// Opens a file to append to it. Does not wait for the reader of a pipe.
#[expect(clippy::disallowed_methods, reason = "before anything is served")]
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(flags.bits() as i32);
    options.open(path)
}

/// Whether something reads the socket of syslog.
fn reach_syslog() -> io::Result<()> {
    match UnixDatagram::unbound()?.connect(SYSLOG_SOCKET) {
        // A few syslogs have a socket of another type.
        Err(why) if why.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => Ok(()),
        reached => reached,
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing is written")]
fn start_with(
    options: &LogOptions,
    sink: Sink,
    target: impl Write + Send + 'static,
) -> anyhow::Result<LogGuard> {
    let &LogOptions { format, verbose, .. } = options;
    let colours = sink == Sink::StandardError && AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let look =
        Look { format, has_colours: colours && format == Format::Human, is_syslog: sink == Sink::Syslog };
    let queue = Queue::start(target).context("cannot start the thread that logs")?;
    let guard = LogGuard(queue.clone());
    let log = Log { look, queue };
    // A second start, as in tests that share a process, keeps the first log.
    let max = if verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let _ = log.clone().dispatch(max).try_init();
    let _ = LOG.set(log);
    Ok(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_never_vanishes() {
        let folder = tempfile::tempdir().expect("a folder");
        let default = folder.path().join("default");
        let gone = || Err(io::ErrorKind::NotFound.into());
        let background = LogOptions { syslog: Some(Facility::Daemon), ..LogOptions::default() };
        let chosen = |options: &LogOptions, reach, default: &Path| choose(options, reach, default);
        assert!(matches!(chosen(&LogOptions::default(), gone, &default), Ok(Chosen::StandardError)));
        assert!(matches!(chosen(&background, || Ok(()), &default), Ok(Chosen::Syslog(Facility::Daemon))));
        assert!(!default.exists());
        let given = LogOptions { file: Some(folder.path().join("given")), ..background.clone() };
        assert!(matches!(chosen(&given, || Ok(()), &default), Ok(Chosen::File(_, None))));
        let Ok(Chosen::File(_, Some(warning))) = chosen(&background, gone, &default) else {
            panic!("a file")
        };
        assert!(warning.starts_with("no syslog answers at /dev/log (") && default.exists(), "{warning}");
        let failed = chosen(&background, gone, &folder.path().join("no/file")).err().expect("nowhere to log");
        assert!(format!("{failed:#}").contains("give --log-file, or stay in the foreground with -n"));
    }
}
