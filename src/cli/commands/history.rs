//! `jitsiprovs history`: lists edits, shows their rows, and undoes them.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::args::{HistoryArgs, HistoryCommand, HistoryListArgs, ListFormat, Listed};
use crate::cli::config::TableAccess;
use crate::cli::consent::is_intended;
use crate::cli::edit_report::EditMode;
use crate::cli::edit_session;
use crate::cli::print::{self, Text, number, text};
use crate::core::history::{HistoryFilter, HistoryLine, RowAction, Tool};
use crate::core::model::{Cell, Row, Table};
use crate::core::secret::HIDDEN;
use crate::core::utc;
use crate::ops::history::{self, CannotUndo, EditSummary, PastEdit, row_name, words};

/// Runs the subcommand.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn history(args: HistoryArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => list(args.list).await?,
        Some(HistoryCommand::Show { id, listed, tables }) => {
            show(id, listed, &TableAccess::new(*tables)?).await?;
        }
        Some(HistoryCommand::Undo { id, yes, edit }) => {
            let (mode, tables) = EditMode::open(*edit)?;
            return undo(id, yes, mode, &tables).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: HistoryListArgs) -> anyhow::Result<()> {
    let HistoryListArgs { user, rule, since, most, listed, tables } = args;
    if let Some(user) = &user {
        edit_session::name(user)?;
    }
    let tables = TableAccess::new(*tables)?;
    let wanted = HistoryFilter {
        name: user,
        row: rule.map(|id| (Table::JitsiProperty, id)),
        since,
        most: most as usize,
        ..HistoryFilter::default()
    };
    let edits = history::list(&*tables.source, wanted).await?;
    let edits: Vec<EditSummary> = edits.iter().map(PastEdit::summary).collect();
    let columns = [number("ID"), text("WHEN"), text("WHO"), text("TOOL"), text("WHAT")];
    print::list(listed, &edits, &columns, |edit| {
        let EditSummary { id, at, editor, tool, what, .. } = edit;
        let (who, tool) = by(editor.as_deref(), *tool);
        vec![id.to_string(), utc::readable(*at), who.into(), tool.into(), what.clone()]
    })
}

/// Who made an edit, and with what.
fn by(editor: Option<&str>, tool: Option<Tool>) -> (&str, &'static str) {
    (editor.unwrap_or("unknown"), tool.map_or("another tool", Tool::name))
}

async fn find(id: i64, tables: &TableAccess) -> anyhow::Result<PastEdit> {
    let found = history::find(&*tables.source, id).await?;
    found.with_context(|| format!("there is no edit {id}: `jitsiprovs history` lists the edits"))
}

/// An edit with its rows, for programs.
#[derive(Serialize)]
struct ShownEdit {
    #[serde(flatten)]
    edit: EditSummary,
    rows: Vec<ShownRow>,
}

/// A row of an edit. Both sides are null if another tool made the edit.
#[derive(Serialize)]
struct ShownRow {
    action: RowAction,
    table: &'static str,
    id: i64,
    name: String,
    before: Option<Map<String, Value>>,
    after: Option<Map<String, Value>>,
    /// The columns that the edit changed, of a row that was there before and after it.
    changed: Vec<&'static str>,
}

impl ShownRow {
    fn new(line: &HistoryLine) -> ShownRow {
        let columns = line.table.columns();
        let changed = match (&line.before, &line.after) {
            (Some(before), Some(after)) => {
                let differing = crate::core::history::differing(before, after);
                differing.pick(columns).map(|column| column.file_name).collect()
            }
            _ => Vec::new(),
        };
        let shown = |row: &Option<Row>| {
            let cells = row.as_ref()?.cells().zip(columns).enumerate();
            let shown = cells.map(|(at, (cell, column))| {
                let value = match cell {
                    Cell::Null => Value::Null,
                    _ if history::is_hidden(line, row.as_ref(), at) => HIDDEN.into(),
                    Cell::Int(number) => (*number).into(),
                    cell => cell.shown().into(),
                };
                (column.file_name.to_owned(), value)
            });
            Some(shown.collect())
        };
        let (before, after) = (shown(&line.before), shown(&line.after));
        let (action, table, id) = (line.action, line.table.name(), line.row_id);
        ShownRow { action, table, id, name: row_name(line), before, after, changed }
    }

    /// A line for each column that has a value.
    fn lines(&self) -> Vec<Vec<String>> {
        let head = [self.action.name().to_owned(), self.name.clone()];
        let columns = Table::ALL.into_iter().find(|table| table.name() == self.table);
        let columns = columns.map(Table::columns).unwrap_or_default();
        let side = |side: &Option<Map<String, Value>>, column: &str| match side.as_ref()?.get(column)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let mut lines = Vec::new();
        for name in columns.iter().map(|column| column.file_name) {
            let sides = [side(&self.before, name), side(&self.after, name)];
            if sides != [None, None] {
                let mark = if self.changed.contains(&name) { "*" } else { "" };
                let head = if lines.is_empty() { head.clone() } else { Default::default() };
                let sides = sides.map(Option::unwrap_or_default);
                lines.push([head.as_slice(), &[name.into(), mark.into()], &sides].concat());
            }
        }
        if lines.is_empty() {
            lines.push([head.to_vec(), vec![String::new(); 4]].concat());
        }
        lines
    }
}

async fn show(id: i64, listed: Listed, tables: &TableAccess) -> anyhow::Result<()> {
    let edit = find(id, tables).await?;
    let rows: Vec<ShownRow> = edit.lines.iter().map(ShownRow::new).collect();
    if listed.format == ListFormat::Json {
        return print::write(Text::json(&ShownEdit { edit: edit.summary(), rows })?);
    }
    let (who, tool) = by(edit.editor.as_deref(), edit.tool);
    print::write(Text::line(format_args!(
        "edit {id}, {} UTC, by {who} with {tool}: {}",
        utc::readable(edit.at),
        words(&edit)
    )))?;
    let columns =
        [text("ACTION"), text("ROW"), text("COLUMN"), text("CHANGED"), text("BEFORE"), text("AFTER")];
    print::write(Text::listed(&columns, rows.iter().flat_map(ShownRow::lines), listed))
}

/// The result of `undo` for programs.
#[derive(Serialize)]
struct UndoReport {
    /// The edit that was undone.
    undone: i64,
    /// What it did.
    what: String,
    dry_run: bool,
    /// How many rows are changed.
    rows: usize,
    /// The id of the undo in the history; null in a dry run.
    history: Option<i64>,
}

async fn undo(id: i64, yes: bool, mode: EditMode, tables: &TableAccess) -> anyhow::Result<ExitCode> {
    let must_ask = mode.must_ask(yes)?;
    let edit = find(id, tables).await?;
    let what = words(&edit);
    if must_ask {
        let (who, _) = by(edit.editor.as_deref(), edit.tool);
        let question = format!("edit {id} by {who} will be undone, which {what}.");
        if !is_intended(&question, "undo it")? {
            print::write(Text::line("nothing was changed"))?;
            return Ok(ExitCode::FAILURE);
        }
    }
    let undone = edit_session::take_back(&*tables.source, edit, mode.dry_run).await;
    let undone = undone.map_err(|error| match error {
        CannotUndo::Source(error) => error.into(),
        CannotUndo::Refused(refused) => {
            let mut named: Vec<String> = refused.iter().take(print::NAMED).map(ToString::to_string).collect();
            if refused.len() > named.len() {
                named.push(format!("and {} more", refused.len() - named.len()));
            }
            anyhow!("edit {id} cannot be undone, and nothing was changed: {}", named.join("; "))
        }
        CannotUndo::Nothing => anyhow!("edit {id} cannot be undone: {error}"),
    })?;
    let mut line = mode.did("undone", format_args!("edit {id}, which {what}"));
    if let Some(new) = undone.history {
        line += &format!("; this is edit {new}");
    }
    let report =
        UndoReport { undone: id, what, dry_run: mode.dry_run, rows: undone.edits, history: undone.history };
    let said = match mode.format {
        ListFormat::Table => Text::line(line),
        ListFormat::Json => Text::json(&report)?,
    };
    match mode.dry_run {
        true => print::write(said)?,
        false => print::done(said),
    }
    Ok(ExitCode::SUCCESS)
}
