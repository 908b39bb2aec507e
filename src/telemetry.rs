//! The log: on standard error, for people or for machines; in the background,
//! to syslog.

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

/// How long the end waits for a slow reader of the log.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line of text, coloured on a terminal.
    #[default]
    Human,
    /// A JSON object a line.
    Json,
}

/// How much is logged, how, and where.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// What a line looks like.
    pub format: Format,
    /// Debug messages too.
    pub verbose: bool,
    /// To this part of syslog instead of standard error.
    pub syslog: Option<Facility>,
}

/// The tracing target of the line that each request is. Clients cause as many of
/// them as they like, so that they wait apart from the others, and give way.
pub const ACCESS: &str = "access";

/// Lines of the log that were lost, because it was read too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostLines {
    /// Errors, warnings (failed sign-ins among them) and what else happens
    /// rarely.
    pub important: u64,
    /// Lines of requests ([`ACCESS`]) and debug messages.
    pub routine: u64,
}

/// Lines that this process lost since its start.
pub fn lost() -> LostLines {
    queue::lost()
}

/// The log at work. When it is dropped, all lines are out; so what is written
/// to standard error afterwards comes last.
#[must_use]
pub struct LogGuard(Arc<dyn Flush>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(PATIENCE);
    }
}

/// Begins logging. Only the first call has an effect.
///
/// # Errors
/// When there is no thread to be had.
#[expect(clippy::disallowed_methods, reason = "lines of the log are escaped on their way")]
pub fn start(options: LogOptions) -> anyhow::Result<LogGuard> {
    let syslog = options.syslog.and_then(|facility| {
        // None if there is one already.
        Syslog::new(c"jitsiprovs", syslog_tracing::Options::LOG_PID, facility)
    });
    match syslog {
        Some(syslog) => {
            // Standard error is closed by then.
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
        // Syslog ends lines, and notes time and level, itself.
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
        // A message about it on the same stream would panic if the stream is closed.
        .log_internal_errors(false)
        .with_ansi(colours);
    // A second start, as in tests of one process, keeps the first log.
    let _ = match (format, syslog) {
        (Format::Human, None) => log.try_init(),
        (Format::Human, Some(_)) => log.without_time().with_level(false).try_init(),
        (Format::Json, None) => log.json().flatten_event(true).try_init(),
        (Format::Json, Some(_)) => log.without_time().with_level(false).json().flatten_event(true).try_init(),
    };
    Ok(LogGuard(queue))
}
