//! Rows on their way into and out of files.

use std::io::Write;

use tokio::sync::mpsc;

use super::progress::Progress;
use crate::model::Row;
use crate::source::{Error, Source};

/// Batches on their way.
const AHEAD: usize = 16;
/// So many rows are named of those that are left out, and of each kind of edit.
pub const NAMED: usize = 20;

/// Gives every row to `take` as it comes, so that nobody holds those that
/// nobody wants.
///
/// # Errors
/// When they cannot be read.
pub async fn each(source: &dyn Source, mut take: impl FnMut(Row)) -> Result<(), Error> {
    let (sender, mut batches) = mpsc::channel::<Vec<Row>>(AHEAD);
    let mut progress = Progress::new("rows read", 0);
    let collect = async {
        while let Some(batch) = batches.recv().await {
            progress.add(batch.len());
            batch.into_iter().for_each(&mut take);
        }
    };
    let (loaded, ()) = tokio::join!(source.load(sender, false), collect);
    loaded.map(drop)
}

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
