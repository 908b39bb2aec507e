//! The log: text or JSON lines on standard error, in a file, or in syslog.

mod queue;
pub mod visible;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anyhow::Context;
use syslog_tracing::Syslog;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::telemetry::visible::EscapeStyle;
use queue::{Flush, LineFormat, Queued};

pub use syslog_tracing::Facility;

/// How long the program waits at its end until the log is written.
const PATIENCE: Duration = Duration::from_secs(1);

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
const DEFAULT_FILE: &str = "/var/log/jitsiprovs.log";
const SYSLOG_SOCKET: &str = "/dev/log";

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    StandardError,
    File,
    Syslog,
}

/// The tracing target of the line that is logged for each request. Clients can cause any
/// number of these lines, so they wait in their own queue and are written after the others.
pub const ACCESS: &str = "access";

/// How many log lines were lost because the log was read too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostLines {
    /// Errors, warnings (including failed sign-ins) and other rare events.
    pub important: u64,
    /// Lines about requests ([`ACCESS`]) and debug messages.
    pub routine: u64,
}

/// How many log lines this process has lost since its start.
pub fn lost() -> LostLines {
    queue::lost()
}

/// Keeps the log running. Dropping it waits at most a second until all lines are written, so
/// that what is written to standard error afterwards comes last.
#[must_use]
pub struct LogGuard(Arc<dyn Flush>);

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
    if options.syslog.is_some() {
        // In the background standard error is closed, so panics must go to the log.
        std::panic::set_hook(Box::new(|panic| {
            tracing::error!("defect: {}", panic.to_string().replace('\n', " "));
        }));
    }
    match choose(&options, reach_syslog, Path::new(DEFAULT_FILE))? {
        Chosen::StandardError => start_with(&options, Sink::StandardError, io::stderr),
        Chosen::File(file, warning) => {
            let guard = start_with(&options, Sink::File, move || file.clone())?;
            warning.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(guard)
        }
        Chosen::Syslog(facility) => {
            match Syslog::new(c"jitsiprovs", syslog_tracing::Options::LOG_PID, facility) {
                Some(syslog) => start_with(&options, Sink::Syslog, syslog),
                // This process has a syslog logger already.
                None => start_with(&options, Sink::StandardError, io::stderr),
            }
        }
    }
}

/// Where the log goes.
enum Chosen {
    StandardError,
    Syslog(Facility),
    /// With a warning, if nobody chose the file.
    File(Arc<File>, Option<String>),
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
fn open(path: &Path) -> io::Result<Arc<File>> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(flags.bits() as i32);
    options.open(path).map(Arc::new)
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
fn start_with<M, W>(options: &LogOptions, sink: Sink, target: M) -> anyhow::Result<LogGuard>
where
    M: for<'a> MakeWriter<'a, Writer = W> + Send + Sync + 'static,
    W: Write + Send + 'static,
{
    let &LogOptions { format, verbose, .. } = options;
    let is_syslog = sink == Sink::Syslog;
    let colours = sink == Sink::StandardError && AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let look = LineFormat {
        // Syslog itself adds line ends, times and levels.
        has_end: !is_syslog,
        has_colours: colours && format == Format::Human,
        escapes: if format == Format::Json { EscapeStyle::Units } else { EscapeStyle::Braces },
    };
    let queued = Queued::start(target, look).context("cannot start the thread that logs")?;
    let queue = queued.queue();
    let log = tracing_subscriber::fmt()
        .with_max_level(if verbose { LevelFilter::DEBUG } else { LevelFilter::INFO })
        .with_writer(queued)
        .with_target(false)
        // Reporting an error on the same stream would panic if that stream is closed.
        .log_internal_errors(false)
        .with_ansi(colours);
    // A second start, as in tests that share a process, keeps the first log.
    let _ = match (format, is_syslog) {
        (Format::Human, false) => log.try_init(),
        (Format::Human, true) => log.without_time().with_level(false).try_init(),
        (Format::Json, false) => log.json().flatten_event(true).try_init(),
        (Format::Json, true) => log.without_time().with_level(false).json().flatten_event(true).try_init(),
    };
    Ok(LogGuard(queue))
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
