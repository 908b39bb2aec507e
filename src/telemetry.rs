//! The log: text or JSON lines on standard error, or syslog in the background.

mod queue;
pub mod visible;

use std::io::{self, Write};
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
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// What a line looks like.
    pub format: Format,
    /// Whether to log debug messages too.
    pub verbose: bool,
    /// The syslog facility to log to, instead of standard error.
    pub syslog: Option<Facility>,
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
/// When the thread that writes the log cannot be started.
#[expect(clippy::disallowed_methods, reason = "log lines are escaped before they are written")]
pub fn start(options: LogOptions) -> anyhow::Result<LogGuard> {
    let syslog = options.syslog.and_then(|facility| {
        // None if this process has a syslog logger already.
        Syslog::new(c"jitsiprovs", syslog_tracing::Options::LOG_PID, facility)
    });
    match syslog {
        Some(syslog) => {
            // In the background standard error is closed, so panics must go to syslog.
            std::panic::set_hook(Box::new(|panic| {
                tracing::error!("defect: {}", panic.to_string().replace('\n', " "));
            }));
            start_with(options, syslog)
        }
        None => start_with(options, io::stderr),
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing is written")]
fn start_with<M, W>(options: LogOptions, target: M) -> anyhow::Result<LogGuard>
where
    M: for<'a> MakeWriter<'a, Writer = W> + Send + Sync + 'static,
    W: Write + Send + 'static,
{
    let LogOptions { format, verbose, syslog } = options;
    let colours = syslog.is_none() && AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let look = LineFormat {
        // Syslog itself adds line ends, times and levels.
        has_end: syslog.is_none(),
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
    let _ = match (format, syslog) {
        (Format::Human, None) => log.try_init(),
        (Format::Human, Some(_)) => log.without_time().with_level(false).try_init(),
        (Format::Json, None) => log.json().flatten_event(true).try_init(),
        (Format::Json, Some(_)) => log.without_time().with_level(false).json().flatten_event(true).try_init(),
    };
    Ok(LogGuard(queue))
}
