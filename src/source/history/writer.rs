//! Writes the history of an edit, in the transaction of the edit.

use tokio::task::spawn_blocking;

use super::super::SourceError;
use super::super::backend::{Dialect, Session};
use super::super::database::{begin_attempt, column_names, count, undo_attempt};
use super::super::error::{Failure, FailureKind};
use super::HISTORY;
use crate::core::credential::PwdFmt;
use crate::core::history::{Editor, Keeper, KeptRow, RowAction};
use crate::core::model::{Cell, Row};
use crate::process::priority;

const WRITING: &str = "writing `jitsiprovs_history`";
/// Writes nothing. The database refuses it if the account may not read and write the table.
const TRY: &str = "INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id) \
     SELECT edited_at, action, changed_table, changed_id FROM jitsiprovs_history WHERE 1 = 0";
const COLUMNS: &str = "edit_id, edited_at, editor, tool, action, changed_table, changed_id, name, domain, \
     username, row_before, row_after, undoes";
/// How many columns that are.
const WIDTH: usize = 13;
/// How many lines one statement writes.
const AT_ONCE: usize = 500;
/// How many bytes of rows one statement writes, unless a single line has more. Servers refuse
/// statements of many megabytes.
const BYTES: usize = 1 << 20;
/// How many characters of a name are kept.
const LONG_NAME: usize = 255;
/// The same for the editor, whose column is indexed in some row formats.
const LONG_EDITOR: usize = 191;

/// Whether the history of an edit is written.
pub(in crate::source) enum History {
    /// It is.
    Written(Box<HistoryWriter>),
    /// There is no table for it.
    Missing,
    /// The account may not write it, for this reason.
    Refused(String),
}

/// Writes the lines of one edit.
pub(in crate::source) struct HistoryWriter {
    editor: Editor,
    undoes: Option<i64>,
    at: i64,
    /// The id of the first line.
    first: Option<i64>,
    /// Away while another thread works with it.
    keeper: Option<Keeper>,
}

/// A row before and after an edit.
pub(in crate::source) type Pair = (Option<Row>, Option<Row>);

impl History {
    /// Begins the history of an edit, and keeps the triggers from writing lines for it.
    pub async fn begin(
        session: &mut impl Session,
        dialect: &Dialect,
        editor: Editor,
        undoes: Option<i64>,
        format: PwdFmt,
    ) -> Result<History, SourceError> {
        let is_seen = !column_names(session, dialect.list_columns, HISTORY).await?.is_empty();
        begin_attempt(session).await?;
        if let Err(failure) = session.execute(WRITING, TRY.into(), Vec::new()).await {
            let history = match failure {
                Failure { error: SourceError::Denied { user, .. }, .. } => History::Refused(user),
                Failure { kind: FailureKind::NoAnswer, error } => return Err(error),
                _ if !is_seen => History::Missing,
                Failure { error, .. } => return Err(error),
            };
            undo_attempt(session).await?;
            return Ok(history);
        }
        session.run(WRITING, dialect.begin_quiet).await?;
        let at = count(session, WRITING, &format!("SELECT {}", dialect.now)).await?;
        let keeper = Some(Keeper::new(format));
        Ok(History::Written(Box::new(HistoryWriter { editor, undoes, at, first: None, keeper })))
    }

    /// Ends the history, before the commit. Returns the id of its first line.
    pub async fn end(
        &self,
        session: &mut impl Session,
        dialect: &Dialect,
    ) -> Result<Option<i64>, SourceError> {
        let History::Written(writer) = self else { return Ok(None) };
        session.run(WRITING, dialect.end_quiet).await?;
        Ok(writer.first)
    }
}

impl HistoryWriter {
    /// Writes a line for each row that has changed.
    pub async fn write(&mut self, session: &mut impl Session, rows: Vec<Pair>) -> Result<(), SourceError> {
        let lines = self.lines(rows).await?;
        let mut lines = &lines[..];
        if let (None, [first, rest @ ..]) = (self.first, lines) {
            let newest = format!("SELECT max(id) FROM {HISTORY}");
            let newest = count(session, WRITING, &newest).await?;
            self.insert(session, std::slice::from_ref(first)).await?;
            // Lines that other tools write meanwhile cannot be seen in this transaction.
            let own = format!("SELECT min(id) FROM {HISTORY} WHERE id > {newest}");
            self.first = Some(count(session, WRITING, &own).await?);
            lines = rest;
        }
        while !lines.is_empty() {
            let mut bytes = 0;
            let fitting = lines.iter().take(AT_ONCE).take_while(|line| {
                let is_first = bytes == 0;
                bytes += line.iter().map(Cell::len).sum::<usize>();
                is_first || bytes <= BYTES
            });
            let (some, rest) = lines.split_at(fitting.count());
            self.insert(session, some).await?;
            lines = rest;
        }
        Ok(())
    }

    /// The lines, from the action on. A million of them take seconds, and secrets are hashed slowly.
    async fn lines(&mut self, rows: Vec<Pair>) -> Result<Vec<[Cell; 8]>, SourceError> {
        let Some(mut keeper) = self.keeper.take() else { return Err(SourceError::Cancelled) };
        let working = spawn_blocking(move || {
            priority::step_back();
            let lines: Vec<_> = rows.iter().filter_map(|pair| line(&mut keeper, pair)).collect();
            (keeper, lines)
        });
        let (keeper, lines) =
            working.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        self.keeper = Some(keeper);
        Ok(lines)
    }

    async fn insert(&self, session: &mut impl Session, lines: &[[Cell; 8]]) -> Result<(), SourceError> {
        let number = |number: Option<i64>| number.map_or(Cell::Null, Cell::Int);
        let editor: String = self.editor.name.chars().take(LONG_EDITOR).collect();
        let mut params = Vec::with_capacity(lines.len() * WIDTH);
        for line in lines {
            params.extend([number(self.first), Cell::Int(self.at), editor.as_str().into()]);
            params.push(self.editor.tool.name().into());
            params.extend_from_slice(line);
            params.push(number(self.undoes));
        }
        let marks = format!("({})", vec!["?"; WIDTH].join(", "));
        let marks = vec![marks; lines.len()].join(", ");
        session.execute(WRITING, format!("INSERT INTO {HISTORY} ({COLUMNS}) VALUES {marks}"), params).await?;
        Ok(())
    }
}

/// The cells of a line, from the action on and without `undoes`. `None` if the row is as it was.
fn line(keeper: &mut Keeper, (before, after): &Pair) -> Option<[Cell; 8]> {
    let row = after.as_ref().or(before.as_ref())?;
    let action = match (before, after) {
        (None, _) => RowAction::Add,
        (_, None) => RowAction::Remove,
        (Some(before), Some(after)) if crate::core::history::differing(before, after).is_empty() => {
            return None;
        }
        _ => RowAction::Set,
    };
    let [before, after] = keeper.keep(before.as_ref(), after.as_ref());
    let json = |kept: Option<KeptRow>| kept.map_or(Cell::Null, |kept| kept.json().as_str().into());
    let (name, domain, username) = match row {
        Row::User(user) => {
            let name = format!("{}@{}", user.username.shown(), user.domain.shown());
            (name.as_str().into(), &user.domain, &user.username)
        }
        Row::Rule(rule) => (rule.key.clone(), &rule.domain, &rule.subject),
        Row::Attribute(attribute) => (attribute.name.clone(), &attribute.domain, &attribute.username),
    };
    Some([
        action.name().into(),
        row.table().name().into(),
        Cell::Int(row.id()),
        short(&name),
        short(domain),
        short(username),
        json(before),
        json(after),
    ])
}

fn short(cell: &Cell) -> Cell {
    match cell {
        Cell::Null => Cell::Null,
        cell => cell.shown().chars().take(LONG_NAME).collect::<String>().as_str().into(),
    }
}
