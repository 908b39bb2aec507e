//! What is said of rows on their way into and out of files.

use std::io::Write;

/// So many rows are named of those that are left out, and of each kind of edit.
pub const NAMED: usize = 20;

/// Says on standard error what is not as one might think.
pub fn note(what: impl std::fmt::Display) {
    // Nobody may be reading, which changes nothing.
    let _ = writeln!(std::io::stderr(), "jitsiprovs: {}", one_line(&what.to_string()));
}

/// Says which rows are left out.
pub fn note_left_out(rows: &[String]) {
    rows.iter().take(NAMED).for_each(|row| note(format_args!("left out: {row}")));
    if rows.len() > NAMED {
        note(format_args!("left out: {} more", rows.len() - NAMED));
    }
}

/// What would act on a terminal is shown, and does not act.
pub fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(shown).collect()
}
