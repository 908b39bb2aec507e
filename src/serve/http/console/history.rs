//! The pages of the history: which edits there were, what one changed, and its undoing.

use serde::Serialize;

use super::moment::{self, Moment};
use super::operator::Role;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use super::{ROOT, rights};
use crate::core::history::{HistoryFilter, HistoryLine, differing};
use crate::core::model::{Cell, Row, Table};
use crate::core::secret::HIDDEN;
use crate::ops::history::{self, CannotUndo, PastEdit, is_hidden, row_name, words};

/// How many edits are shown.
const SHOWN: usize = 100;
/// How many rows of an edit are shown.
const ROWS: usize = 200;

#[derive(Serialize)]
struct HistoryPage<'a> {
    name: &'a str,
    hours: &'a str,
    edits: Vec<EditLine>,
    are_more: bool,
}

/// An edit in a list.
#[derive(Serialize)]
pub(super) struct EditLine {
    id: i64,
    href: String,
    at: Moment,
    who: String,
    tool: &'static str,
    what: String,
}

impl EditLine {
    fn new(edit: &PastEdit) -> EditLine {
        EditLine {
            id: edit.id,
            href: format!("{ROOT}/history/{}", edit.id),
            at: Moment::at(edit.at),
            who: edit.editor.clone().unwrap_or_else(|| text("history", "unknown").into()),
            tool: text("history", edit.tool.map_or("other_tool", |tool| tool.name())),
            what: words(edit),
        }
    }
}

#[derive(Serialize)]
struct EditPage {
    edit: EditLine,
    undo_href: String,
    rows: Vec<RowChange>,
    are_more: bool,
    is_known: bool,
    /// Why it cannot be undone; empty if the database may be written.
    why_not: &'static str,
}

/// What an edit did to a row.
#[derive(Serialize)]
struct RowChange {
    name: String,
    action: &'static str,
    columns: Vec<ColumnChange>,
}

#[derive(Serialize)]
struct ColumnChange {
    column: &'static str,
    before: String,
    after: String,
    is_changed: bool,
}

/// Lists edits.
pub(super) async fn list(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let typed = |name| visit.query.text(name).unwrap_or_default();
    let (name, hours) = (typed("name"), typed("hours"));
    let since = match hours {
        "" => None,
        hours => Some(hours.parse::<i64>().map_err(|_| Refusal::Bad(text("fetches", "not_hours").into()))?),
    };
    let filter = HistoryFilter {
        name: (!name.is_empty()).then(|| name.to_owned()),
        since: since.map(|hours| moment::now().saturating_sub(hours.saturating_mul(3600))),
        most: SHOWN,
        ..HistoryFilter::default()
    };
    let edits = latest(visit, filter).await?;
    let are_more = edits.len() >= SHOWN;
    let page = HistoryPage { name, hours, edits, are_more };
    Ok(page::show(visit, "history", text("layout", "history"), &page))
}

/// The edits that a filter selects, as far as the operator may see them.
pub(super) async fn latest(visit: &Visit<'_>, filter: HistoryFilter) -> Result<Vec<EditLine>, Refusal> {
    let edits = history::list(&*visit.console.source, filter).await?;
    Ok(edits.iter().filter(|edit| is_seen(visit, edit)).map(EditLine::new).collect())
}

/// Whether all rows of an edit are of tenants that the operator may see.
fn is_seen(visit: &Visit<'_>, edit: &PastEdit) -> bool {
    let fold = |domain: &str| visit.console.conventions.comparison.fold(domain);
    let is_own = |line: &HistoryLine| visit.operator().sees(&fold(&line.domain));
    visit.operator().tenants.is_none() || !edit.is_cut && edit.lines.iter().all(is_own)
}

/// Shows one edit, or undoes it.
pub(super) async fn show(visit: &Visit<'_>, id: &str, does_undo: bool) -> Result<Reply, Refusal> {
    if does_undo {
        visit.needs(Role::Edit)?;
        if !visit.is_post {
            return Err(Refusal::Method);
        }
    }
    let id = id.parse().map_err(|_| Refusal::NotFound)?;
    let edit = history::find(&*visit.console.source, id).await?.ok_or(Refusal::NotFound)?;
    if !is_seen(visit, &edit) {
        return Err(Refusal::NotFound);
    }
    if does_undo { undo(visit, edit).await } else { Ok(page_of(visit, &edit).await) }
}

async fn undo(visit: &Visit<'_>, edit: PastEdit) -> Result<Reply, Refusal> {
    let id = edit.id;
    let undone = history::take_back(&*visit.console.source, edit, visit.editor(), false, ()).await;
    match undone {
        Ok(undone) => {
            visit.session.note(page::said("history", "undone", &id.to_string()));
            tracing::info!(operator = visit.operator().name, edit = id, "console: an edit was undone");
            let shown = undone.history.unwrap_or(id);
            Ok(Reply::see(&format!("{ROOT}/history/{shown}")))
        }
        Err(CannotUndo::Source(why)) => Err(why.into()),
        Err(why) => Err(Refusal::Changed(why.to_string())),
    }
}

async fn page_of(visit: &Visit<'_>, edit: &PastEdit) -> Reply {
    let reasons = rights::why_not(visit, Role::Edit, Table::ALL).await;
    let is_in = |table: Table| edit.lines.iter().any(|line| line.table == table);
    let mut reasons = Table::ALL.into_iter().zip(reasons).filter(|(table, _)| is_in(*table));
    let why_not = reasons.find_map(|(_, why)| (!why.is_empty()).then_some(why)).unwrap_or_default();
    let page = EditPage {
        edit: EditLine::new(edit),
        undo_href: format!("{ROOT}/history/{}/undo", edit.id),
        rows: edit.lines.iter().take(ROWS).map(RowChange::new).collect(),
        are_more: edit.lines.len() > ROWS || edit.is_cut,
        is_known: edit.editor.is_some(),
        why_not,
    };
    page::show(visit, "edit", &page::said("history", "edit", &edit.id.to_string()), &page)
}

impl RowChange {
    fn new(line: &HistoryLine) -> RowChange {
        let columns = line.table.columns();
        let changed: Vec<&str> = match (&line.before, &line.after) {
            (Some(before), Some(after)) => {
                differing(before, after).pick(columns).map(|column| column.file_name).collect()
            }
            _ => Vec::new(),
        };
        let shown = |row: &Option<Row>, at: usize| match row.as_ref().and_then(|row| row.cells().nth(at)) {
            None | Some(Cell::Null) => String::new(),
            Some(_) if is_hidden(line, row.as_ref(), at) => HIDDEN.into(),
            Some(Cell::Int(number)) => number.to_string(),
            Some(cell) => cell.shown().into_owned(),
        };
        let column = |(at, name): (usize, &'static str)| ColumnChange {
            column: name,
            before: shown(&line.before, at),
            after: shown(&line.after, at),
            is_changed: changed.contains(&name),
        };
        let columns = columns.iter().map(|column| column.file_name).enumerate().map(column);
        RowChange {
            name: row_name(line),
            action: text("history", line.action.name()),
            columns: columns
                .filter(|column| !(column.before.is_empty() && column.after.is_empty()))
                .collect(),
        }
    }
}
