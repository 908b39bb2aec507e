//! Edits of the tables, in one transaction, for the command line.

use std::collections::{HashMap, HashSet};

use tokio::sync::{mpsc, oneshot};

use super::backend::{Backend, Purpose, Session};
use super::database::{Database, begin, close, count, existing_columns};
use super::error::{Failure, FailureKind};
use super::history::{History, Pair};
use super::{Edited, SourceError, Which};
use crate::core::columns::ColumnSet;
use crate::core::history::Editor;
use crate::core::model::{Cell, Edit, Row, Table};

/// How many rows one statement writes.
const AT_ONCE: usize = 500;

/// The source's side of a transaction: it sends the rows that it reads, and then receives
/// the edits.
pub struct Transaction {
    /// Who makes the edits.
    pub editor: Editor,
    /// The edit of the history that they undo.
    pub undoes: Option<i64>,
    /// Which rows to read first.
    pub which: Which,
    /// Receives the rows.
    pub rows: mpsc::Sender<Vec<Row>>,
    /// Resolved when all rows were sent.
    pub is_read: oneshot::Sender<()>,
    /// The edits to make.
    pub edits: mpsc::Receiver<Vec<Edit>>,
    /// Resolves when all edits were sent and must be committed. If its sender is dropped,
    /// everything is undone.
    pub is_all: oneshot::Receiver<()>,
}

impl<B: Backend> Database<B> {
    pub(super) async fn edit_all(&self, transaction: Transaction) -> Result<Edited, SourceError> {
        let Transaction { editor, undoes, which, rows, is_read, mut edits, is_all } = transaction;
        let mut session = self.backend.connect(Purpose::Edit).await?;
        self.backend.prepare_edit(&mut session).await?;
        begin(&mut session, B::DIALECT.begin_write).await.map_err(|failure| self.busy(failure))?;
        self.send(&mut session, which, &rows, Default::default()).await?;
        drop(rows);
        let _ = is_read.send(());
        let mut existing = [ColumnSet::ALL; Table::ALL.len()];
        for table in Table::ALL {
            existing[table as usize] = existing_columns(&mut session, B::DIALECT.list_columns, table).await?;
        }
        let format = self.queries.pwd_fmt;
        let mut history = History::begin(&mut session, &B::DIALECT, editor, undoes, format).await?;
        while let Some(batch) = edits.recv().await {
            self.write(&mut session, &mut history, &batch, &existing).await?;
        }
        let first = history.end(&mut session, &B::DIALECT).await?;
        // When the connection ends, the database undoes everything that is not committed.
        if is_all.await.is_err() {
            return Err(SourceError::Cancelled);
        }
        session.run("committing", "COMMIT").await.map_err(|failure| match failure.kind {
            FailureKind::NoAnswer => {
                let why = failure.error.to_string();
                SourceError::Uncertain { source_name: self.backend.name(), why }
            }
            _ => failure.error,
        })?;
        close(session).await;
        let is_unnoted = match history {
            History::Refused(account) => Some(account),
            History::Written(_) | History::Missing => None,
        };
        Ok(Edited { history: first, is_unnoted })
    }

    /// Edits wait for each other, but other tools do not take part in that and may hold
    /// locks.
    fn busy(&self, failure: Failure) -> SourceError {
        match failure.kind {
            FailureKind::Busy => SourceError::Busy(self.backend.name()),
            _ => failure.error,
        }
    }

    async fn write(
        &self,
        session: &mut B::Session,
        history: &mut History,
        edits: &[Edit],
        existing: &[ColumnSet],
    ) -> Result<(), SourceError> {
        for alike in edits.chunk_by(are_alike).flat_map(|alike| alike.chunks(AT_ONCE)) {
            let ids: HashSet<i64> = alike.iter().filter_map(Edit::id).collect();
            // If a row is edited twice, the edits need separate statements: the last one counts.
            let is_each_another = ids.is_empty() || ids.len() == alike.len();
            for alike in alike.chunks(if is_each_another { AT_ONCE } else { 1 }) {
                self.write_alike(session, history, alike, existing).await?;
            }
        }
        Ok(())
    }

    async fn write_alike(
        &self,
        session: &mut B::Session,
        history: &mut History,
        edits: &[Edit],
        existing: &[ColumnSet],
    ) -> Result<(), SourceError> {
        let table = edits[0].table();
        self.queries.editable(table)?;
        if self.is_missing(table, existing[table as usize]) {
            return Err(SourceError::NoTable { table, source_name: self.backend.name() });
        }
        let Statement { sql, params, ids } = Statement::new(edits, existing[table as usize])?;
        let noted = match history {
            History::Written(_) => Some(self.before(session, edits, existing[table as usize]).await?),
            History::Missing | History::Refused(_) => None,
        };
        let found = session.execute(&format!("writing `{table}`"), sql, params).await;
        let found = found.map_err(|failure| match failure.kind {
            FailureKind::NoTable => self.explain(table, failure),
            _ => self.busy(failure),
        })?;
        if found >= ids.len() as u64 {
            if let (History::Written(writer), Some(noted)) = (history, noted) {
                let rows = self.pairs(session, edits, existing[table as usize], noted).await?;
                writer.write(session, rows).await?;
            }
            return Ok(());
        }
        // A row is missing. After the rollback, the database can say which one.
        session.run("ending a transaction", "ROLLBACK").await?;
        let there = session.query("reading ids", format!("SELECT id FROM {table}{}", of_ids(&ids))).await?;
        let there: HashSet<i64> = there.iter().flatten().filter_map(|id| id.int().ok()?).collect();
        let id = ids.iter().find(|id| !there.contains(*id)).unwrap_or(&ids[0]);
        Err(SourceError::Gone { table, id: *id })
    }

    /// What the history must know of the table before these edits, which are alike.
    async fn before(
        &self,
        session: &mut B::Session,
        edits: &[Edit],
        existing: ColumnSet,
    ) -> Result<Before, SourceError> {
        let table = edits[0].table();
        let ids: Vec<i64> = edits.iter().filter_map(Edit::id).collect();
        if ids.is_empty() {
            let highest = format!("SELECT max(id) FROM {table}");
            let highest = count(session, "reading ids", &highest).await;
            return Ok(Before::Highest(highest.map_err(|failure| self.explain(table, failure))?));
        }
        let ([index, lock], which) = (B::DIALECT.to_write, of_ids(&ids));
        let read = self.rows_where(session, table, existing, &format!("{index}{which}{lock}")).await;
        let rows = match read {
            // A view has no index.
            Err(SourceError::Statement { .. }) if !index.is_empty() => {
                self.rows_where(session, table, existing, &which).await?
            }
            rows => rows?,
        };
        Ok(Before::Rows(rows.into_iter().map(|row| (row.id(), row)).collect()))
    }

    /// Each row before and after these edits, which are alike and were made.
    async fn pairs(
        &self,
        session: &mut B::Session,
        edits: &[Edit],
        existing: ColumnSet,
        before: Before,
    ) -> Result<Vec<Pair>, SourceError> {
        Ok(match before {
            // The database has chosen the ids.
            Before::Highest(highest) if matches!(edits[0], Edit::Add(_)) => {
                let which = format!(" WHERE id > {highest} ORDER BY id");
                let rows = self.rows_where(session, edits[0].table(), existing, &which).await?;
                rows.into_iter().map(|row| (None, Some(row))).collect()
            }
            Before::Highest(_) => edits.iter().filter_map(after).map(|row| (None, Some(row))).collect(),
            Before::Rows(mut rows) => {
                let pair = |edit: &Edit| {
                    let before = rows.remove(&edit.id()?)?;
                    let after = match edit {
                        Edit::Set(row, set) => Some(with(&before, row, set.and(existing))),
                        _ => None,
                    };
                    Some((Some(before), after))
                };
                edits.iter().filter_map(pair).collect()
            }
        })
    }

    async fn rows_where(
        &self,
        session: &mut B::Session,
        table: Table,
        existing: ColumnSet,
        which: &str,
    ) -> Result<Vec<Row>, SourceError> {
        let query = self.queries.of(table, existing);
        let shape = query.shape(&[])?;
        let found = session.query(&query.reading(), format!("{}{which}", query.sql)).await;
        let found = found.map_err(|failure| match failure.kind {
            FailureKind::Busy => self.busy(failure),
            _ => self.explain(table, failure),
        })?;
        Ok(found.into_iter().map(|cells| shape.row(cells, 0).0).collect())
    }
}

/// The state of a table before edits.
enum Before {
    /// The highest id.
    Highest(i64),
    /// The rows to edit, by their ids.
    Rows(HashMap<i64, Row>),
}

/// The row after an edit that states all of it.
fn after(edit: &Edit) -> Option<Row> {
    match edit {
        Edit::Add(row) | Edit::Restore(row) => Some(row.clone()),
        Edit::Set(..) | Edit::Remove(..) => None,
    }
}

/// The row with these columns of another one.
fn with(row: &Row, other: &Row, columns: ColumnSet) -> Row {
    let cells = row.cells().zip(other.cells()).zip(columns.flags());
    let cells = cells.map(|((own, other), is_set)| if is_set { other.clone() } else { own.clone() });
    Row::from_cells(row.table(), row.id(), cells.collect::<Vec<_>>())
}

fn of_ids(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!(" WHERE id IN ({})", ids.join(", "))
}

/// Whether one statement can make both edits.
fn are_alike(one: &Edit, other: &Edit) -> bool {
    let is_same_kind = match (one, other) {
        (Edit::Add(_), Edit::Add(_))
        | (Edit::Restore(_), Edit::Restore(_))
        | (Edit::Remove(..), Edit::Remove(..)) => true,
        (Edit::Set(_, columns), Edit::Set(_, others)) => columns == others,
        _ => false,
    };
    is_same_kind && one.table() == other.table()
}

/// A statement for edits of the same kind. All databases understand it.
struct Statement {
    sql: String,
    params: Vec<Cell>,
    /// The rows that must exist.
    ids: Vec<i64>,
}

impl Statement {
    /// # Errors
    /// [`SourceError::NoColumn`] for a row that has a value for a column that the table
    /// does not have, such as the tenant of a rule.
    fn new(edits: &[Edit], existing: ColumnSet) -> Result<Statement, SourceError> {
        let table = edits[0].table();
        let rows: Vec<&Row> = edits
            .iter()
            .filter_map(|edit| match edit {
                Edit::Add(row) | Edit::Restore(row) | Edit::Set(row, _) => Some(row),
                Edit::Remove(..) => None,
            })
            .collect();
        if let Some(column) = rows.iter().find_map(|row| missing_column(row, existing)) {
            return Err(SourceError::NoColumn { table, column });
        }
        let ids: Vec<i64> = edits.iter().filter_map(Edit::id).collect();
        let names = |set: ColumnSet| set.pick(table.columns()).map(|column| column.name).collect::<Vec<_>>();
        // With marks for the ids too, one prepared statement serves all batches of a size.
        let marks = |count: usize| vec!["?"; count].join(", ");
        let (mut params, where_ids) = (Vec::new(), format!(" WHERE id IN ({})", marks(ids.len())));
        let sql = match &edits[0] {
            Edit::Add(_) => {
                params.extend(rows.iter().flat_map(|row| existing.pick(row.cells())).cloned());
                let names = names(existing);
                let row = format!("({})", marks(names.len()));
                format!(
                    "INSERT INTO {table} ({}) VALUES {}",
                    names.join(", "),
                    vec![row; edits.len()].join(", ")
                )
            }
            Edit::Restore(_) => {
                for row in &rows {
                    params.push(Cell::Int(row.id()));
                    params.extend(existing.pick(row.cells()).cloned());
                }
                let names = [vec!["id"], names(existing)].concat();
                let row = format!("({})", marks(names.len()));
                let all = vec![row; edits.len()].join(", ");
                format!("INSERT INTO {table} ({}) VALUES {all}", names.join(", "))
            }
            // Changes nothing, but counts the rows, which must exist.
            Edit::Set(_, set) if set.and(existing).is_empty() => {
                format!("UPDATE {table} SET id = id{where_ids}")
            }
            Edit::Set(_, set) => {
                let set = set.and(existing);
                let rows: Vec<Vec<&Cell>> = rows.iter().map(|row| set.pick(row.cells()).collect()).collect();
                let cases = "WHEN ? THEN ? ".repeat(ids.len());
                let mut assigned = Vec::new();
                for (at, name) in names(set).into_iter().enumerate() {
                    // PostgreSQL takes a CASE of nothing but NULL for text.
                    if rows.iter().all(|row| *row[at] == Cell::Null) {
                        assigned.push(format!("{name} = NULL"));
                        continue;
                    }
                    let cells = ids.iter().zip(&rows);
                    params.extend(cells.flat_map(|(id, row)| [Cell::Int(*id), row[at].clone()]));
                    assigned.push(format!("{name} = CASE id {cases}END"));
                }
                format!("UPDATE {table} SET {}{where_ids}", assigned.join(", "))
            }
            Edit::Remove(..) => format!("DELETE FROM {table}{where_ids}"),
        };
        params.extend(ids.iter().copied().map(Cell::Int));
        Ok(Statement { sql, params, ids })
    }
}

/// A column that the table does not have, and for which the row has a value.
fn missing_column(row: &Row, existing: ColumnSet) -> Option<&'static str> {
    let cells = row.table().columns().iter().zip(row.cells()).zip(existing.flags());
    let mut missing = cells.filter(|(_, exists)| !exists).map(|(cell, _)| cell);
    let said = missing.find(|(_, cell)| **cell != Cell::Null && **cell != Cell::from(""));
    said.map(|(column, _)| column.name)
}
