//! The history of edits: which edits there were, what they did in words, and how they are undone.

mod undo;
mod words;

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::core::history::{HistoryFilter, HistoryLine, Tool};
use crate::source::{Source, SourceError};

pub use undo::{CannotUndo, Refusal, Undone, Why, edits, take_back};
pub use words::{is_hidden, row_name, words};

/// So many rows of an edit are read to put it into words.
const LOOKED_AT: usize = 200;
/// So many lines are read at once.
const AT_ONCE: usize = 10_000;

/// An edit of the history.
#[derive(Clone)]
pub struct PastEdit {
    /// The id of its first line.
    pub id: i64,
    /// When, in seconds since 1970 in UTC.
    pub at: i64,
    /// Who made it; `None` if another tool made it.
    pub editor: Option<String>,
    /// With what; `None` if another tool made it.
    pub tool: Option<Tool>,
    /// The edit that it undoes.
    pub undoes: Option<i64>,
    /// Its lines, in the order in which they were written.
    pub lines: Vec<HistoryLine>,
    /// Whether it has more lines than those.
    pub is_cut: bool,
}

/// An edit for programs.
#[derive(Debug, Serialize)]
pub struct EditSummary {
    /// The id of the edit.
    pub id: i64,
    /// When, in seconds since 1970 in UTC.
    pub at: i64,
    /// Who made it; null if another tool made it.
    pub editor: Option<String>,
    /// With what; null if another tool made it.
    pub tool: Option<Tool>,
    /// What it did, in words.
    pub what: String,
    /// The edit that it undoes.
    pub undoes: Option<i64>,
}

impl PastEdit {
    /// The edit with these lines, the newest first. `None` if there are none.
    fn new(mut lines: Vec<HistoryLine>, most: usize) -> Option<PastEdit> {
        let is_cut = lines.len() > most;
        lines.truncate(most);
        lines.reverse();
        let HistoryLine { edit, at, editor, tool, undoes, .. } = lines.first()?.clone();
        Some(PastEdit { id: edit, at, editor, tool, undoes, lines, is_cut })
    }

    /// For programs.
    pub fn summary(&self) -> EditSummary {
        let PastEdit { id, at, editor, tool, undoes, .. } = self.clone();
        EditSummary { id, at, editor, tool, what: words(self), undoes }
    }
}

/// The edits with lines that `wanted` selects, the newest first, `wanted.most` at most. If an edit
/// has many lines, only some of them are there.
///
/// # Errors
/// When they cannot be read.
pub async fn list(source: &dyn Source, wanted: HistoryFilter) -> Result<Vec<PastEdit>, SourceError> {
    let most = wanted.most;
    // The first line stands for the edit, unless the lines of one row are wanted.
    let firsts = wanted.row.is_none() && wanted.name.is_none();
    let mut filter = HistoryFilter { firsts, ..wanted };
    let (mut known, mut found) = (HashSet::new(), Vec::new());
    while found.len() < most {
        let lines = source.history(filter.clone()).await?;
        let is_last = lines.len() < most;
        filter.before = lines.last().map(|line| line.id);
        found.extend(lines.into_iter().filter(|line| known.insert(line.edit)));
        if is_last {
            break;
        }
    }
    found.truncate(most);
    // Most edits have one line, which is read already.
    let is_whole = |line: &HistoryLine| firsts && !line.goes_on;
    let cut: Vec<i64> = found.iter().filter(|line| !is_whole(line)).map(|line| line.edit).collect();
    let mut whole = lines_of(source, cut).await?;
    let lines = found.into_iter().filter_map(|line| match is_whole(&line) {
        true => Some(vec![line]),
        false => whole.remove(&line.edit),
    });
    Ok(lines.filter_map(|lines| PastEdit::new(lines, LOOKED_AT)).collect())
}

/// The lines of each of these edits, the newest first.
async fn lines_of(
    source: &dyn Source,
    edits: Vec<i64>,
) -> Result<HashMap<i64, Vec<HistoryLine>>, SourceError> {
    if edits.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted = HistoryFilter { edits, most: LOOKED_AT + 1, ..HistoryFilter::default() };
    let mut of_edits: HashMap<i64, Vec<HistoryLine>> = HashMap::new();
    for line in source.history(wanted).await? {
        of_edits.entry(line.edit).or_default().push(line);
    }
    Ok(of_edits)
}

/// The edit with this id, with all its lines. `None` if there is none.
///
/// # Errors
/// When it cannot be read.
pub async fn find(source: &dyn Source, id: i64) -> Result<Option<PastEdit>, SourceError> {
    let mut filter = HistoryFilter { edit: Some(id), most: AT_ONCE, ..HistoryFilter::default() };
    let mut all = Vec::new();
    loop {
        let lines = source.history(filter.clone()).await?;
        let is_last = lines.len() < AT_ONCE;
        filter.before = lines.last().map(|line| line.id);
        all.extend(lines);
        if is_last {
            return Ok(PastEdit::new(all, usize::MAX));
        }
    }
}
