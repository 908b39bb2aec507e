//! All output of commands goes through this module.
//!
//! [`Text`] is for people and for programs that read JSON: control characters in it are
//! always escaped. [`exact`] is for files that other programs read: a file or a pipe gets
//! the exact bytes, and a terminal gets them with control characters escaped.

mod fit;

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use comfy_table::{CellAlignment, Table};
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use crate::cli::args::{ListFormat, Listed};
use crate::telemetry::visible::{EscapeStyle, escape, escape_but};

pub use fit::ColumnKind;

/// A column: its head, and what it holds.
pub struct ListColumn(pub Cow<'static, str>, pub ColumnKind);

/// A column of texts.
pub const fn text(head: &'static str) -> ListColumn {
    ListColumn(Cow::Borrowed(head), ColumnKind::Text)
}

/// A column of keys of properties.
pub const fn key(head: &'static str) -> ListColumn {
    ListColumn(Cow::Borrowed(head), ColumnKind::Key)
}

/// A column of numbers.
pub const fn number(head: &'static str) -> ListColumn {
    ListColumn(Cow::Borrowed(head), ColumnKind::Number)
}

/// Text without control characters, so that it is safe to show on a terminal. Text that is
/// added as one line stays on one line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// One line.
    pub fn line(line: impl Display) -> Text {
        Text::lines([line])
    }

    /// Several lines.
    pub fn lines<L: Display>(lines: impl IntoIterator<Item = L>) -> Text {
        let mut text = Text::default();
        lines.into_iter().for_each(|line| text.push(line));
        text
    }

    /// A value as JSON, for programs.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn json(value: &impl Serialize) -> anyhow::Result<Text> {
        let json = serde_json::to_string_pretty(value)? + "\n";
        // Line breaks inside values are already escaped.
        Ok(Text(escape_but(&json, EscapeStyle::Units, |c| c == '\n').into_owned()))
    }

    /// A table: a line with the heads, and a line for each row.
    pub fn table(columns: &[ListColumn], rows: impl IntoIterator<Item = Vec<String>>) -> Text {
        Text::table_of(columns, rows, None)
    }

    /// The same as [`Text::table`], with cells cut so that it fits to the terminal, unless
    /// `listed` says otherwise.
    pub fn listed(
        columns: &[ListColumn],
        rows: impl IntoIterator<Item = Vec<String>>,
        listed: Listed,
    ) -> Text {
        Text::table_of(columns, rows, terminal_width().filter(|_| !listed.wide))
    }

    fn table_of(
        columns: &[ListColumn],
        rows: impl IntoIterator<Item = Vec<String>>,
        width: Option<usize>,
    ) -> Text {
        let heads = columns.iter().map(|column| column.0.clone().into_owned()).collect();
        let escaped = |cell: &String| escape(cell, EscapeStyle::Braces).into_owned();
        let rows = rows.into_iter().map(|row| row.iter().map(escaped).collect());
        let mut rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
        if let Some(width) = width {
            let kinds: Vec<ColumnKind> = columns.iter().map(|column| column.1).collect();
            fit::fit(&kinds, &mut rows, width);
        }
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING).add_rows(rows);
        for (column, ListColumn(_, kind)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, fit::GAP as u16));
            if *kind == ColumnKind::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = Text::default();
        for (at, line) in table.lines().enumerate() {
            match at {
                0 => text.push_styled("1", line.trim_end(), ""),
                _ => text.push(line.trim_end()),
            }
        }
        text
    }

    /// Adds a line.
    pub fn push(&mut self, line: impl Display) {
        self.push_styled("", "", line);
    }

    /// Adds a line that begins with `label`. If standard output has colours, the label has
    /// the ANSI style with the number `style`.
    pub fn push_styled(&mut self, style: &str, label: &str, line: impl Display) {
        let label = escape(label, EscapeStyle::Braces);
        match !style.is_empty() && is_coloured() {
            true => self.0.push_str(&format!("\x1b[{style}m{label}\x1b[0m")),
            false => self.0.push_str(&label),
        }
        self.0.push_str(&escape(&line.to_string(), EscapeStyle::Braces));
        self.0.push('\n');
    }

    /// Adds another text.
    pub fn append(&mut self, other: Text) {
        self.0.push_str(&other.0);
    }

    /// The text as it will be printed.
    #[cfg(test)]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A number with a noun: `1 user`, `2 users`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Prints a note on standard error.
pub fn note(what: impl Display) {
    tell(format_args!("note: {what}"), "\n");
}

/// Prints a warning on standard error.
pub fn warn(what: impl Display) {
    tell(format_args!("warning: {what}"), "\n");
}

/// Prints on standard error why the program fails. The line begins as those of clap do, so that
/// all errors look the same.
pub fn failure(why: impl Display) {
    tell(format_args!("error: {why}"), "\n");
}

/// Prints on standard error what clap says about the arguments. It has several lines, and repeats
/// arguments.
pub fn misuse(why: impl Display) {
    let why = why.to_string();
    for line in why.lines() {
        tell(line, "\n");
    }
}

/// Asks for something on standard error.
pub fn prompt(what: impl Display) {
    tell(what, " ");
}

/// Writes to standard error. Failures are ignored, because there is no other place to
/// report them.
#[expect(clippy::disallowed_methods, reason = "what is written is escaped")]
fn tell(what: impl Display, end: &str) {
    let what = what.to_string();
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{}{end}", escape(&what, EscapeStyle::Braces)).and_then(|()| stderr.flush());
}

/// Whether standard output shows colours, and the user wants them.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
fn is_coloured() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

#[expect(clippy::disallowed_methods, reason = "nothing is written")]
fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The number of columns of the terminal to which standard output goes; `None` if it is none, or
/// does not say.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
fn terminal_width() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0)?;
    Some(size.ws_col.into())
}

/// Prints `items` as JSON for programs, or as a table for people.
///
/// # Errors
/// When standard output cannot be written. A reader that has closed the pipe is no error.
pub fn list<T: Serialize>(
    listed: Listed,
    items: &[T],
    columns: &[ListColumn],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    write(match listed.format {
        ListFormat::Table => Text::listed(columns, items.iter().map(row), listed),
        ListFormat::Json => Text::json(&items)?,
    })
}

/// Prints what was done. If that fails, it prints only a note, because the work is done.
pub fn done(text: Text) {
    if let Err(why) = write(text) {
        note(format_args!("the command has succeeded, but standard output cannot be written: {why:#}"));
    }
}

/// Prints `text`.
///
/// # Errors
/// As [`list`].
pub fn write(text: Text) -> anyhow::Result<()> {
    write_bytes(text.0.as_bytes())
}

/// Prints a file for other programs: exactly these bytes, unless standard output is a
/// terminal.
///
/// # Errors
/// As [`list`].
pub fn exact(bytes: &[u8]) -> anyhow::Result<()> {
    match is_terminal() {
        true => write_bytes(lookable(bytes).as_bytes()),
        false => write_bytes(bytes),
    }
}

/// Escapes arbitrary bytes for a terminal, except line breaks. UTF-8 text keeps its meaning
/// in JSON and in properties files.
fn lookable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&escape_but(chunk.valid(), EscapeStyle::Units, |c| c == '\n'));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "what is written is escaped, or not for a terminal")]
fn write_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // The reader has stopped early, as `head` does.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// The largest number of rows named, of those left out and of each kind of edit.
pub const NAMED: usize = 20;

/// Prints notes that name the rows left out.
pub fn note_left_out(rows: &[String]) {
    rows.iter().take(NAMED).for_each(|row| note(format_args!("left out: {row}")));
    if rows.len() > NAMED {
        note(format_args!("left out: {} more", rows.len() - NAMED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\n\x1b[31m\u{202e}";

    #[test]
    fn whatever_is_in_a_line_stays_there_and_does_not_act() {
        let shown = "a\\n\\u{1b}[31m\\u{202e}";
        assert_eq!(Text::line(NASTY).0, format!("{shown}\n"));
        let table = Text::table(&[text("X"), number("Y")], [vec![NASTY.into(), "1".into()]]);
        let lines: Vec<&str> = table.0.lines().collect();
        assert!(lines.len() == 2 && lines[1].starts_with(shown), "{table:?}");
        let mut styled = Text::default();
        styled.push_styled("", NASTY, NASTY);
        assert_eq!(styled.0, format!("{shown}{shown}\n"));
    }

    #[test]
    fn json_is_the_same_value_without_what_acts() {
        let json = Text::json(&[NASTY]).expect("JSON").0;
        assert!(json.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{json}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).expect("JSON"), [NASTY]);
    }

    #[test]
    fn bytes_for_a_terminal_keep_their_lines_alone() {
        assert_eq!(lookable(b"a=1\x1b\nb=\xff\xc3\xa9\t"), "a=1\\u001b\nb=\\xff\u{e9}\\t");
    }
}
