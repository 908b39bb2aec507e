//! Undoes an edit of the history.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::PastEdit;
use super::words::{changed_columns, row_name};
use crate::core::columns::ColumnSet;
use crate::core::history::{Editor, HistoryLine, KeptRow, changed_since, differing};
use crate::core::model::{Edit, Row, Table};
use crate::ops::edit_session::{EditSession, Onlooker};
use crate::source::{Source, SourceError, Which};

/// A row because of which an edit cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What people call the row.
    pub row: String,
    /// What is wrong.
    pub why: Why,
}

/// Why a row cannot be brought back to how it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Another tool made the edit, so nothing is known of the row.
    OtherTool,
    /// The row is gone.
    Gone,
    /// These columns have other values than after the edit.
    Changed(Vec<&'static str>),
    /// Another row has the id now.
    IdTaken(i64),
    /// The secret in this column was not kept.
    Secret(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = &self.row;
        match &self.why {
            Why::OtherTool => {
                write!(f, "{row}: another tool made this edit, so the row before it is not known")
            }
            Why::Gone => write!(f, "{row} was removed since: undo that first"),
            Why::Changed(columns) => {
                write!(f, "{row} has changed since ({}): undo later edits first", columns.join(", "))
            }
            Why::IdTaken(id) => write!(f, "{row} cannot come back: its id {id} is taken"),
            Why::Secret(column) => write!(
                f,
                "{row}: the old {column} is a secret, which the history does not keep: set it by hand"
            ),
        }
    }
}

/// Why an edit was not undone.
#[derive(Debug, thiserror::Error)]
pub enum CannotUndo {
    /// The rows are not as they were after the edit, or the history does not have enough.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refusal>),
    /// The edit left all rows as they were.
    #[error("the edit has left all rows as they were: there is nothing to undo")]
    Nothing,
    /// The source fails.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// An edit that was undone.
#[derive(Debug, Clone)]
pub struct Undone {
    /// The edits that were made.
    pub edits: usize,
    /// The id of the new edit in the history. `None` in a dry run.
    pub history: Option<i64>,
}

/// The edits that undo the edit with these `lines`, which are all that it has, in their order.
/// `present` are the rows as they are now. Takes some hundredths of a second for each secret.
///
/// # Errors
/// The rows that cannot be brought back.
pub fn edits(lines: &[HistoryLine], present: &[Row]) -> Result<Vec<Edit>, Vec<Refusal>> {
    let present: HashMap<_, _> = present.iter().map(|row| ((row.table(), row.id()), row)).collect();
    let (mut order, mut of_rows) = (Vec::new(), HashMap::<_, Vec<&HistoryLine>>::new());
    for line in lines {
        let row = (line.table, line.row_id);
        of_rows.entry(row).or_insert_with(|| {
            order.push(row);
            Vec::new()
        });
        of_rows.entry(row).and_modify(|lines| lines.push(line));
    }
    let (mut undoing, mut refused) = (Vec::new(), Vec::new());
    for row in order {
        match of_row(&of_rows[&row], present.get(&row).copied()) {
            Ok(edit) => undoing.extend(edit),
            Err(why) => refused.push(Refusal { row: row_name(of_rows[&row][0]), why }),
        }
    }
    // Rows that come back may have the names of those that go.
    undoing.sort_by_key(|edit| match edit {
        Edit::Remove(..) => 0,
        Edit::Set(..) => 1,
        Edit::Add(_) | Edit::Restore(_) => 2,
    });
    if refused.is_empty() { Ok(undoing) } else { Err(refused) }
}

/// The edit that brings one row back. `None` if the row is as it was.
fn of_row(lines: &[&HistoryLine], present: Option<&Row>) -> Result<Option<Edit>, Why> {
    if lines.iter().any(|line| line.tool.is_none() || line.before.is_none() && line.after.is_none()) {
        return Err(Why::OtherTool);
    }
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let kept = |row: &Option<Row>, secrets| row.clone().map(|row| KeptRow { row, secrets });
    let before = kept(&first.before, first.secrets[0]);
    let after = kept(&last.after, last.secrets[1]);
    let (table, id) = (first.table, first.row_id);
    match (&after, present) {
        (Some(_), None) => return Err(Why::Gone),
        (None, Some(_)) if before.is_some() => return Err(Why::IdTaken(id)),
        (Some(after), Some(present)) => {
            let changed = changed_since(after, present);
            if !changed.is_empty() {
                let names = changed.pick(table.columns()).map(|column| column.file_name);
                return Err(Why::Changed(names.collect()));
            }
        }
        (None, _) => {}
    }
    match (before, after) {
        (None, None) => Ok(None),
        (None, Some(_)) => Ok(Some(Edit::Remove(table, id))),
        (Some(before), None) => {
            lost(&before, ColumnSet::ALL)?;
            Ok(Some(Edit::Restore(before.row)))
        }
        (Some(before), Some(after)) => {
            // Marks of secrets can only be compared within a line.
            let in_lines = lines.iter().map(|line| changed_columns(line).flags().collect::<Vec<_>>());
            let touched = in_lines
                .reduce(|one, other| one.into_iter().zip(other).map(|(one, other)| one || other).collect());
            let secrets = before.secrets.flags().zip(touched.unwrap_or_default());
            let differ = differing(&before.row, &after.row).flags();
            let changed = secrets.zip(differ).map(
                |((is_secret, is_touched), differs)| {
                    if is_secret { is_touched } else { differs }
                },
            );
            let changed = ColumnSet::of(changed.take(table.columns().len()));
            lost(&before, changed)?;
            Ok((!changed.is_empty()).then_some(Edit::Set(before.row, changed)))
        }
    }
}

/// Refuses if one of these columns holds a secret that was not kept.
fn lost(before: &KeptRow, columns: ColumnSet) -> Result<(), Why> {
    let lost = before.secrets.and(columns).pick(before.row.table().columns()).next();
    lost.map_or(Ok(()), |column| Err(Why::Secret(column.file_name)))
}

/// Undoes an edit in one transaction, or with `dry_run` only tries to.
///
/// # Errors
/// When it cannot be undone: then nothing is changed.
pub async fn take_back(
    source: &dyn Source,
    edit: PastEdit,
    editor: Editor,
    dry_run: bool,
    onlooker: impl Onlooker + Send + '_,
) -> Result<Undone, CannotUndo> {
    let rows: HashSet<(Table, i64)> = edit.lines.iter().map(|line| (line.table, line.row_id)).collect();
    let tables: HashSet<Table> = rows.iter().map(|(table, _)| *table).collect();
    for table in &tables {
        source.editable(*table)?;
    }
    let which = match (rows.len(), tables.len()) {
        (1, _) => rows.iter().next().map(|(table, id)| Which::One(*table, *id)),
        (_, 1) => tables.iter().next().map(|table| Which::Of(*table)),
        _ => Some(Which::All),
    };
    let mut session = EditSession::undoing(source, which.unwrap_or(Which::None), editor, edit.id, onlooker);
    let mut present = Vec::new();
    session
        .read(|row| {
            if rows.contains(&(row.table(), row.id())) {
                present.push(row)
            }
        })
        .await?;
    // Secrets are compared by slow hashes.
    let planning = tokio::task::spawn_blocking(move || edits(&edit.lines, &present));
    let planned = planning.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    let planned = planned.map_err(CannotUndo::Refused)?;
    if planned.is_empty() {
        return Err(CannotUndo::Nothing);
    }
    let count = planned.len();
    let made = session.make(planned, dry_run).await?;
    Ok(Undone { edits: count, history: made.history })
}
