//! What is said of rows on their way into and out of files.

use super::print::note;

/// So many rows are named of those that are left out, and of each kind of edit.
pub const NAMED: usize = 20;

/// Says which rows are left out.
pub fn note_left_out(rows: &[String]) {
    rows.iter().take(NAMED).for_each(|row| note(format_args!("left out: {row}")));
    if rows.len() > NAMED {
        note(format_args!("left out: {} more", rows.len() - NAMED));
    }
}
