//! The log: on standard error, for people or for machines.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

/// What a log line looks like (`--log-format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// A line of text, coloured on a terminal.
    #[default]
    Human,
    /// A JSON object a line.
    Json,
}

/// How much is logged, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What a line looks like.
    pub format: Format,
    /// Debug messages too (`--verbose`).
    pub verbose: bool,
}

/// Begins logging. Only the first call has an effect.
pub fn start(options: Options) {
    let level = if options.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        // Telling of it on the same stream would panic where nobody reads.
        .log_internal_errors(false)
        .with_ansi(colours);
    // A second start, as in tests of one process, keeps the first log.
    let _ = match options.format {
        Format::Human => log.try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
}
