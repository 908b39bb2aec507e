//! How commands print lists: the same everywhere.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::cli::ListFormat;

/// A column: its head, and whether it holds numbers.
pub struct Column(pub &'static str, pub bool);

/// A column of texts.
pub const fn text(head: &'static str) -> Column {
    Column(head, false)
}

/// A column of numbers.
pub const fn number(head: &'static str) -> Column {
    Column(head, true)
}

/// Rows under heads, a line each: what is a line break in a cell is shown as
/// one, so that a line is a row.
pub fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.0));
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for (column, Column(_, is_number)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if *is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for (at, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match at == 0 && is_coloured() {
            true => text.push_str(&format!("\x1b[1m{line}\x1b[0m\n")),
            false => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

/// Text of others, on one line: what would act on a terminal is shown, and does
/// not act.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// So many, with the noun's plural where there is not one.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Says something on standard error that is no failure and worth knowing.
pub fn note(what: impl Display) {
    say("note", what);
}

/// Says something on standard error that is no failure and worth a look.
pub fn warn(what: impl Display) {
    say("warning", what);
}

fn say(kind: &str, what: impl Display) {
    // Nobody may be reading, which changes nothing.
    let _ = writeln!(std::io::stderr(), "jitsiprovs: {kind}: {}", plain(&what.to_string()));
}

/// Whether standard output is a terminal that shows colours, and somebody likes
/// them.
pub fn is_coloured() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !is_unwanted && !is_dumb
}

/// Prints `items`: for programs as they are, for people as `rows` under heads.
///
/// # Errors
/// When standard output cannot be written, but for a reader that has gone.
pub fn list<T: Serialize>(
    format: ListFormat,
    items: &[T],
    columns: &[Column],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    match format {
        ListFormat::Table => write(table(columns, items.iter().map(row))),
        ListFormat::Json => json(&items),
    }
}

/// Prints a value for programs.
///
/// # Errors
/// As [`list`].
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    write(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Prints what was done. It is done even if nobody can be told.
pub fn done(text: impl AsRef<[u8]>) {
    if let Err(why) = write(text) {
        note(format_args!("it is done, but standard output cannot be written: {why:#}"));
    }
}

/// Prints `text`.
///
/// # Errors
/// As [`list`].
pub fn write(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        // As `head` does, when it has seen enough.
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_shown() {
        for (text, expected) in [
            ("plain bób 😀", "plain bób 😀"),
            ("a\nb\tc", "a\\nb\\tc"),
            ("\x1b[31mred\u{9b}0m", "\\u{1b}[31mred\\u{9b}0m"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }
}
