//! What log lines look like, and how the events of `tracing` become lines.

use std::io::{self, Write};
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::{Priority, Queue};
use super::stamp::Clock;
use super::visible::{EscapeStyle, escape_but};
use super::{Format, syslog};

/// The form of the lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub format: Format,
    /// Whether they have colours, which only lines for people have.
    pub has_colours: bool,
    /// Syslog itself adds times and levels. It gets the level as a mark.
    pub is_syslog: bool,
}

impl Look {
    /// Begins a line.
    pub fn begin(self, level: Level, line: &mut String) {
        if self.is_syslog {
            line.push(syslog::mark(level));
        }
    }

    /// Ends a line, and turns it into exactly one line even if it contains line breaks.
    pub fn end(self, line: &mut String) {
        // Nearly all lines are plain, and this form of the loop is fast.
        let is_plain = line.bytes().fold(true, |all, byte| all & (b' '..=b'~').contains(&byte));
        if !is_plain {
            let escapes = match self.format {
                Format::Human => EscapeStyle::Braces,
                Format::Json => EscapeStyle::Units,
            };
            // With colours, escape characters are kept: those in logged values were
            // escaped before they were put into the line.
            let kept = |c| c == '\x1b' && self.has_colours;
            *line = escape_but(line, escapes, kept).into_owned();
        }
        line.push('\n');
    }
}

/// Where all lines go.
#[derive(Clone)]
pub(super) struct Log {
    pub look: Look,
    pub queue: Arc<Queue>,
}

impl Log {
    /// What gets the events of `tracing` and turns them into lines.
    pub fn dispatch(self, max: LevelFilter) -> Dispatch {
        let Look { format, has_colours, is_syslog } = self.look;
        let log = tracing_subscriber::fmt()
            .with_max_level(max)
            .with_writer(self)
            .with_timer(Clock)
            .with_target(false)
            // Reporting an error on the same stream would panic if that stream is closed.
            .log_internal_errors(false)
            .with_ansi(has_colours);
        match (format, is_syslog) {
            (Format::Human, false) => log.into(),
            (Format::Human, true) => log.without_time().with_level(false).into(),
            (Format::Json, false) => log.json().flatten_event(true).into(),
            (Format::Json, true) => log.without_time().with_level(false).json().flatten_event(true).into(),
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = EventLine<'a>;

    fn make_writer(&'a self) -> EventLine<'a> {
        EventLine { log: self, kind: Priority::Important, level: Level::INFO, text: Vec::new() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> EventLine<'a> {
        EventLine { log: self, kind: Priority::of(meta), level: *meta.level(), text: Vec::new() }
    }
}

/// A line that is being built. Dropping it puts it into the queue.
pub(super) struct EventLine<'a> {
    log: &'a Log,
    kind: Priority,
    level: Level,
    text: Vec<u8>,
}

impl Write for EventLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for EventLine<'_> {
    fn drop(&mut self) {
        let Log { look, queue } = self.log;
        let text = String::from_utf8_lossy(&self.text);
        let mut line = String::new();
        look.begin(self.level, &mut line);
        line.push_str(text.strip_suffix('\n').unwrap_or(&text));
        look.end(&mut line);
        queue.push(self.kind, line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_acts_on_no_terminal() {
        let text = "a\nb \u{202e}\x1b[1m\u{e9}";
        let human = Look { format: Format::Human, has_colours: false, is_syslog: false };
        for (look, expected) in [
            (human, "a\\nb \\u{202e}\\u{1b}[1m\u{e9}\n"),
            (Look { is_syslog: true, ..human }, "1a\\nb \\u{202e}\\u{1b}[1m\u{e9}\n"),
            (Look { has_colours: true, ..human }, "a\\nb \\u{202e}\x1b[1m\u{e9}\n"),
            (Look { format: Format::Json, ..human }, "a\\nb \\u202e\\u001b[1m\u{e9}\n"),
        ] {
            let mut line = String::new();
            look.begin(Level::WARN, &mut line);
            line.push_str(text);
            look.end(&mut line);
            assert_eq!(line, expected, "{look:?}");
        }
        let mut plain = "plain".to_owned();
        human.end(&mut plain);
        assert_eq!(plain, "plain\n");
    }
}
