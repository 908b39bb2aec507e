//! Sends lines to syslog, each as its own message.

use std::io::{self, Write};

use syslog_tracing::Syslog;
use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The levels of messages, each at the place of its mark.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// What a line for syslog begins with, so that its level is known when it is sent.
pub(super) fn mark(level: Level) -> char {
    let place = LEVELS.iter().position(|other| *other == level).unwrap_or_default();
    char::from(b'0' + place as u8)
}

/// Sends lines that begin with a [`mark`] and end with a line break.
pub(super) struct Messages(pub Syslog);

impl Write for Messages {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        for line in lines.split(|byte| *byte == b'\n') {
            let Some((mark, text)) = line.split_first() else { continue };
            let level = LEVELS.get(usize::from(mark.wrapping_sub(b'0'))).unwrap_or(&Level::ERROR);
            let mut message = self.0.make_writer_for(&metadata(*level));
            message.write_all(text)?;
            message.flush()?;
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer of syslog takes the level out of the metadata of an event, and nothing else.
fn metadata(level: Level) -> Metadata<'static> {
    let fields = FieldSet::new(&[], Identifier(&Anywhere));
    Metadata::new("line", "log", level, None, None, None, fields, Kind::EVENT)
}

/// Metadata names a place in the source.
struct Anywhere;

static ANYWHERE: Metadata<'static> = Metadata::new(
    "line",
    "log",
    Level::ERROR,
    None,
    None,
    None,
    FieldSet::new(&[], Identifier(&Anywhere)),
    Kind::EVENT,
);

impl Callsite for Anywhere {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &ANYWHERE
    }
}
