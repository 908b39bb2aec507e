//! Reads and prunes the history of edits.

mod writer;

use super::SourceError;
use super::backend::{Backend, Purpose, Session};
use super::database::{Database, close, column_names, count};
use super::error::Failure;
use crate::core::columns::ColumnSet;
use crate::core::history::{HistoryFilter, HistoryLine, KeptRow, RowAction, Tool};
use crate::core::model::{Cell, Table};

pub(super) use writer::{History, Pair};

/// The table.
pub(super) const HISTORY: &str = "jitsiprovs_history";
const READING: &str = "reading `jitsiprovs_history`";
const COLUMNS: &str = "id, coalesce(edit_id, id), edited_at, editor, tool, action, changed_table, changed_id, \
     name, domain, username, row_before, row_after, undoes";

/// Whether the edit has a line besides its first.
const GOES_ON: &str = "CASE WHEN EXISTS (SELECT 1 FROM jitsiprovs_history other \
     WHERE other.edit_id = jitsiprovs_history.id) THEN 1 ELSE 0 END";

impl<B: Backend> Database<B> {
    pub(super) async fn read_history(&self, wanted: HistoryFilter) -> Result<Vec<HistoryLine>, SourceError> {
        let mut session = self.backend.connect(Purpose::Read).await?;
        let mut lines = Vec::new();
        if has_history(&mut session, B::DIALECT.list_columns).await? {
            for queries in queries(&wanted, B::DIALECT.any_case) {
                let mut some = Vec::new();
                for (sql, params) in queries {
                    if some.len() < wanted.most {
                        let found = session.ask(READING, sql, params).await?;
                        some.extend(found.into_iter().filter_map(line));
                    }
                }
                some.truncate(wanted.most);
                lines.extend(some);
            }
        }
        close(session).await;
        Ok(lines)
    }
}

/// How many lines one statement removes at most, so that no lock is held for long.
const PRUNED: i64 = 10_000;

impl<B: Backend> Database<B> {
    pub(super) async fn prune_history_of(&self, days: u32) -> Result<u64, SourceError> {
        let what = "pruning `jitsiprovs_history`";
        let mut session = self.backend.connect(Purpose::Prune).await?;
        let may_prune = days > 0
            && has_history(&mut session, B::DIALECT.list_columns).await?
            && self.backend.may_prune(&mut session).await?;
        let mut pruned = 0;
        if may_prune {
            let old = format!("edited_at < {} - {}", B::DIALECT.now, i64::from(days) * 24 * 3600);
            let ends = ["min", "max"].map(|end| format!("SELECT {end}(id) FROM {HISTORY} WHERE {old}"));
            let newest = count(&mut session, what, &ends[1]).await?;
            loop {
                let oldest = count(&mut session, what, &ends[0]).await?;
                if oldest == 0 {
                    break;
                }
                let upto = newest.min(oldest.saturating_add(PRUNED - 1));
                let sql = format!("DELETE FROM {HISTORY} WHERE {old} AND id <= {upto}");
                pruned += session.execute(what, sql, Vec::new()).await?;
                if upto == newest {
                    break;
                }
            }
        }
        close(session).await;
        Ok(pruned)
    }
}

/// Whether the table exists and can be seen.
pub(super) async fn has_history(session: &mut impl Session, list_columns: &str) -> Result<bool, Failure> {
    Ok(!column_names(session, list_columns, HISTORY).await?.is_empty())
}

/// The statements for a filter, with their parameters: those for the same edit belong together, and
/// the later ones are for older lines. Names are compared as [`Dialect::any_case`] says.
///
/// [`Dialect::any_case`]: super::backend::Dialect::any_case
fn queries(wanted: &HistoryFilter, [begin, end]: [&str; 2]) -> Vec<Vec<(String, Vec<Cell>)>> {
    let HistoryFilter { edit, edits, firsts, row, name, since, before, most } = wanted;
    let (mut conditions, mut params) = (Vec::new(), Vec::new());
    let goes_on = if *firsts { GOES_ON } else { "0" };
    let mut and = |condition: &str, values: &[Cell]| {
        conditions.push(condition.to_owned());
        params.extend_from_slice(values);
    };
    if *firsts {
        and("edit_id IS NULL", &[]);
    }
    if let Some((table, id)) = row {
        and("changed_table = ? AND changed_id = ?", &[table.name().into(), (*id).into()]);
    }
    match name.as_deref().map(|name| name.rsplit_once('@').ok_or(name)) {
        Some(Ok((user, domain))) => {
            let condition =
                format!("{begin}username{end} = {begin}?{end} AND {begin}domain{end} = {begin}?{end}");
            and(&condition, &[user.into(), domain.into()]);
        }
        Some(Err(name)) => and(&format!("{begin}name{end} = {begin}?{end}"), &[name.into()]),
        None => {}
    }
    if let Some(since) = since {
        and("edited_at >= ?", &[(*since).into()]);
    }
    if let Some(before) = before {
        and("id < ?", &[(*before).into()]);
    }
    let query = |of_edit: Option<(&str, i64)>| {
        let (mut conditions, mut params) = (conditions.clone(), params.clone());
        if let Some((condition, edit)) = of_edit {
            conditions.push(condition.to_owned());
            params.push(edit.into());
        }
        let and = if conditions.is_empty() { "" } else { "WHERE " };
        let conditions = conditions.join(" AND ");
        let sql = format!(
            "SELECT {COLUMNS}, {goes_on} FROM {HISTORY} {and}{conditions} ORDER BY id DESC LIMIT {most}"
        );
        (sql, params)
    };
    match (edit, &edits[..]) {
        (None, []) => vec![vec![query(None)]],
        // One statement for both would sort all lines of the edit.
        _ => {
            let parts = ["edit_id = ?", "edit_id IS NULL AND id = ?"];
            let edits = edit.iter().chain(edits);
            edits.map(|edit| parts.map(|part| query(Some((part, *edit)))).into()).collect()
        }
    }
}

/// A line from the cells of [`COLUMNS`]. `None` for a line that this version does not know.
fn line(cells: Vec<Cell>) -> Option<HistoryLine> {
    let [
        id,
        edit,
        at,
        editor,
        tool,
        action,
        table,
        row_id,
        name,
        domain,
        username,
        before,
        after,
        undoes,
        goes_on,
    ] = <[Cell; 15]>::try_from(cells).ok()?;
    let number = |cell: &Cell| cell.int().ok().flatten();
    let text = |cell: &Cell| cell.shown().into_owned();
    let table = Table::ALL.into_iter().find(|known| known.name() == table.shown())?;
    let row_id = number(&row_id)?;
    let [before, after] = [before, after].map(|json| KeptRow::from_json(table, row_id, &json.shown()));
    let secrets = [&before, &after].map(|kept| kept.as_ref().map_or(ColumnSet::of([]), |kept| kept.secrets));
    Some(HistoryLine {
        id: number(&id)?,
        edit: number(&edit)?,
        at: number(&at)?,
        editor: (editor != Cell::Null).then(|| text(&editor)),
        tool: Tool::called(&tool.shown()),
        action: RowAction::called(&action.shown())?,
        table,
        row_id,
        name: text(&name),
        domain: text(&domain),
        username: text(&username),
        before: before.map(|kept| kept.row),
        after: after.map(|kept| kept.row),
        secrets,
        undoes: number(&undoes),
        goes_on: number(&goes_on) == Some(1),
    })
}
