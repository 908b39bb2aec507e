//! How commands print lists: the same everywhere.

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
    let plain = |cell: String| match cell.contains(char::is_control) {
        true => cell.chars().flat_map(shown).collect(),
        false => cell,
    };
    for row in rows {
        table.add_row(row.into_iter().map(plain));
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

/// What would act on a terminal is shown, and does not act.
fn shown(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
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
