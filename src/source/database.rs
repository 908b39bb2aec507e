//! What all kinds of databases have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::backend::{Backend, PRUNED, Purpose, Session};
use super::batches::Budget;
use super::cursor::{ChangeLine, Cursor, NEWEST, window_before};
use super::error::{Failure, FailureKind};
use super::mark::{Mark, Plan, Reloaded, TableRead};
use super::query::{Queries, Query};
use super::{SourceError, Which};
use crate::core::columns::ColumnSet;
use crate::core::model::{Behind, Cell, Row, Table};

/// How long closing a connection may take.
const CLOSING: Duration = Duration::from_secs(3);

/// How many rows one statement asks for by their ids.
pub(super) const IDS: usize = 500;

pub(super) const READING_CHANGES: &str = "reading `jitsiprovs_change`";

/// A database of users and rules.
pub(super) struct Database<B: Backend> {
    pub backend: B,
    pub queries: Queries,
    /// The connection that polls share, so that a poll costs only one short statement.
    pub polling: Mutex<Option<B::Session>>,
    /// For each of [`Table::ALL`], whether the database has refused to say in which state it is,
    /// as some do for an operator's own query. It is not asked again.
    refused: [AtomicBool; Table::COUNT],
    /// How many rows each of [`Table::ALL`] had when it was read last.
    pub rows: [AtomicU64; Table::COUNT],
}

impl<B: Backend> Database<B> {
    pub fn new(backend: B, queries: Queries) -> Database<B> {
        Database {
            backend,
            queries,
            polling: Mutex::new(None),
            refused: Default::default(),
            rows: Default::default(),
        }
    }

    pub async fn load_all(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
        plans: [Plan; Table::COUNT],
    ) -> Result<Reloaded, SourceError> {
        let connected = self.backend.connect(Purpose::Read).await;
        let mut session = connected.map_err(|error| self.queries.of_foreign(error))?;
        begin(&mut session, B::DIALECT.begin_read).await?;
        let cursor = if wants_cursor { self.cursor(&mut session).await? } else { None };
        let tables = self.send(&mut session, which, &rows, plans).await?;
        for (rows, read) in self.rows.iter().zip(&tables) {
            if let TableRead::Rows(read, _) = read {
                rows.store(*read, Ordering::Relaxed);
            }
        }
        self.backend.note_loaded(&mut session, self.queries.noted()).await?;
        end(&mut session).await?;
        self.keep(session).await;
        Ok(Reloaded { cursor, tables })
    }

    /// Keeps the connection of a load for polls, in place of their old one: polls must ask
    /// the same server as loads do.
    async fn keep(&self, session: B::Session) {
        let unneeded = match B::KEEPS_CONNECTION {
            true => self.polling.lock().await.replace(session),
            false => Some(session),
        };
        if let Some(unneeded) = unneeded {
            close(unneeded).await;
        }
    }

    /// Sends the rows that `which` names, as planned for each of [`Table::ALL`].
    pub async fn send(
        &self,
        session: &mut B::Session,
        which: Which,
        rows: &mpsc::Sender<Vec<Row>>,
        plans: [Plan; Table::COUNT],
    ) -> Result<[TableRead; Table::COUNT], SourceError> {
        let mut budget = Budget::new(self.queries.max_bytes);
        let mut read = [const { TableRead::Rows(0, None) }; Table::COUNT];
        for (table, plan) in Table::ALL.into_iter().zip(plans) {
            let existing = existing_columns(session, B::DIALECT.list_columns, table).await?;
            if self.is_missing(table, existing) {
                continue;
            }
            let Some(query) = self.queries.of(table, existing).narrowed(which) else { continue };
            let state = match plan {
                Plan::Read => None,
                Plan::Mark | Plan::Unless(_) => self.state(session, &query).await?,
            };
            read[table as usize] = match (plan, state) {
                (Plan::Unless(mark), Some(state)) if mark.is(&state) => {
                    budget.add(mark.bytes);
                    TableRead::Unchanged
                }
                (_, state) => {
                    let before = budget.read();
                    let sent = session.send(&query, budget, rows).await;
                    let sent = sent.map_err(|failure| self.explain(table, failure))?;
                    budget = sent.budget;
                    let state = state.filter(|_| !sent.are_ordered);
                    TableRead::Rows(sent.rows, state.map(|state| Mark::new(state, budget.read() - before)))
                }
            };
        }
        Ok(read)
    }

    /// Whether the table, of which these columns exist, is not there and need not be.
    pub fn is_missing(&self, table: Table, existing: ColumnSet) -> bool {
        existing.is_empty() && table.is_optional() && !self.queries.is_own(table)
    }

    /// [`Backend::state`], or `None` if the database refuses to say it.
    async fn state(&self, session: &mut B::Session, query: &Query<'_>) -> Result<Option<String>, Failure> {
        let refused = &self.refused[query.table as usize];
        if refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        begin_attempt(session).await?;
        let state = self.backend.state(session, query).await;
        let Err(failure) = state else { return state };
        if failure.error.is_unreachable() || failure.kind == FailureKind::Busy {
            return Err(failure);
        }
        refused.store(true, Ordering::Relaxed);
        match failure.kind {
            // It did not answer in time, so the connection cannot be used any more.
            FailureKind::NoAnswer => Err(failure),
            // The table is read all the same, and reading it says what is wrong with it.
            _ => undo_attempt(session).await.map(|()| None),
        }
    }

    /// The error for a failed statement on a table.
    pub fn explain(&self, table: Table, failure: Failure) -> SourceError {
        match failure {
            Failure { kind: FailureKind::NoTable, .. } if !self.queries.is_own(table) => {
                SourceError::NoTable { table, source_name: self.backend.name() }
            }
            Failure { error: SourceError::Statement { source_name, why, .. }, .. }
                if self.queries.is_own(table) =>
            {
                SourceError::OwnQueryFailed { table, source_name, why }
            }
            Failure { error, .. } => error,
        }
    }

    /// The position in the table of changes. `None` if that table is missing or may not be
    /// read.
    async fn cursor(&self, session: &mut B::Session) -> Result<Option<Cursor>, SourceError> {
        if count(session, "reading the schema", B::DIALECT.count_change_tables).await? == 0 {
            return Ok(None);
        }
        begin_attempt(session).await?;
        let newest = match self.lines(session, NEWEST).await {
            // If the account may not read the table, the server does without it.
            Err(SourceError::Denied { .. }) => {
                undo_attempt(session).await?;
                return Ok(None);
            }
            lines => lines?.pop(),
        };
        let first = window_before(newest.as_ref().map_or(0, |line| line.id));
        let ids = format!("SELECT id FROM jitsiprovs_change WHERE id >= {first} ORDER BY id");
        let ids = numbers(session, READING_CHANGES, ids).await?;
        Ok(Some(Cursor::new(newest, ids)))
    }

    /// Reads lines of `jitsiprovs_change`. `clause` is the end of the query.
    pub async fn lines(
        &self,
        session: &mut B::Session,
        clause: &str,
    ) -> Result<Vec<ChangeLine>, SourceError> {
        let at = B::DIALECT.changed_at;
        let sql = format!("SELECT id, changed_table, changed_id, {at} FROM jitsiprovs_change {clause}");
        let lines = session.query(READING_CHANGES, sql).await?;
        Ok(lines.into_iter().filter_map(ChangeLine::from_cells).collect())
    }

    pub async fn behind(&self, id: i64) -> Result<Option<Behind>, SourceError> {
        let mut session = self.backend.connect(Purpose::Read).await?;
        if count(&mut session, "reading the schema", B::DIALECT.count_change_tables).await? == 0 {
            return Ok(None);
        }
        let age = B::DIALECT.age;
        let what = ["count(*)".to_owned(), format!("max({age})")];
        let [mut changes, mut seconds] = [0; 2];
        for (what, number) in what.iter().zip([&mut changes, &mut seconds]) {
            let sql = format!("SELECT {what} FROM jitsiprovs_change WHERE id > {id}");
            *number = count(&mut session, READING_CHANGES, &sql).await?;
        }
        close(session).await;
        Ok(Some(Behind { changes, seconds }))
    }

    pub async fn rows_in(&self, wanted: Vec<(Table, Vec<i64>)>) -> Result<Vec<Row>, SourceError> {
        let (mut all, mut session) = (Vec::new(), None);
        for (table, mut ids) in wanted.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            ids.sort_unstable();
            ids.dedup();
            let mut rows = match self.queries.is_own(table) {
                true => self.picked(table, &ids).await?,
                false => {
                    let session = match &mut session {
                        Some(session) => session,
                        none => {
                            let session = none.insert(self.backend.connect(Purpose::Read).await?);
                            begin(session, B::DIALECT.begin_read).await?;
                            session
                        }
                    };
                    self.looked_up(session, table, &ids).await?
                }
            };
            rows.sort_by_key(Row::id);
            all.extend(rows);
        }
        if let Some(mut session) = session {
            end(&mut session).await?;
            close(session).await;
        }
        Ok(all)
    }

    async fn looked_up(
        &self,
        session: &mut B::Session,
        table: Table,
        ids: &[i64],
    ) -> Result<Vec<Row>, SourceError> {
        let existing = existing_columns(session, B::DIALECT.list_columns, table).await?;
        let mut rows = Vec::new();
        if !self.is_missing(table, existing) {
            let query = self.queries.of(table, existing);
            let shape = query.shape(&[])?;
            for ids in ids.chunks(IDS) {
                let found = session.query(&query.reading(), query.of_ids(ids)).await;
                let found = found.map_err(|failure| self.explain(table, failure))?;
                rows.extend(found.into_iter().map(|cells| shape.row(cells, 0).0));
            }
        }
        Ok(rows)
    }

    /// The operator's own query always returns all rows.
    async fn picked(&self, table: Table, ids: &[i64]) -> Result<Vec<Row>, SourceError> {
        let (sender, mut batches) = mpsc::channel::<Vec<Row>>(1);
        let picking = async {
            let mut rows = Vec::new();
            while let Some(batch) = batches.recv().await {
                rows.extend(batch.into_iter().filter(|row| ids.binary_search(&row.id()).is_ok()));
            }
            rows
        };
        let loading = self.load_all(Which::Of(table), sender, false, Default::default());
        let (loaded, rows) = tokio::join!(loading, picking);
        loaded?;
        Ok(rows)
    }

    pub async fn columns_of(&self, table: &str) -> Result<Vec<String>, SourceError> {
        let mut session = self.backend.connect(Purpose::Read).await?;
        let names = column_names(&mut session, B::DIALECT.list_columns, table).await?;
        close(session).await;
        Ok(names)
    }

    pub async fn prune_all(&self) -> Result<u64, SourceError> {
        let what = "pruning `jitsiprovs_change`";
        let mut session = self.backend.connect(Purpose::Prune).await?;
        if !self.backend.may_prune(&mut session).await? {
            return Ok(0);
        }
        let highest = "SELECT coalesce(max(id), 0) FROM jitsiprovs_change";
        let highest = count(&mut session, what, highest).await?;
        let (day_ago, some) = (B::DIALECT.day_ago, B::DIALECT.delete_some);
        // The newest line stays, because servers remember how far they have read by it.
        let sql =
            format!("DELETE FROM jitsiprovs_change WHERE changed_at < {day_ago} AND id < {highest}{some}");
        let mut pruned = 0;
        loop {
            let some = session.execute(what, sql.clone(), Vec::new()).await?;
            pruned += some;
            if some < PRUNED {
                close(session).await;
                return Ok(pruned);
            }
        }
    }
}

/// The columns that a table has: all of the original's, and those of ours that exist.
pub(super) async fn existing_columns(
    session: &mut impl Session,
    list_columns: &str,
    table: Table,
) -> Result<ColumnSet, Failure> {
    let columns = table.columns();
    if columns.iter().all(|column| column.is_original) {
        return Ok(ColumnSet::ALL);
    }
    let names = column_names(session, list_columns, table.name()).await?;
    let exists = |name: &str| names.iter().any(|known| known == name);
    Ok(ColumnSet::of(columns.iter().map(|column| column.is_original || exists(column.name))))
}

/// The names of a table's columns in lower case.
pub(super) async fn column_names(
    session: &mut impl Session,
    list_columns: &str,
    table: &str,
) -> Result<Vec<String>, Failure> {
    let names = session.query("reading the schema", list_columns.replace("{table}", table)).await?;
    Ok(names.iter().flatten().map(|name| name.shown().to_lowercase()).collect())
}

/// Begins a transaction.
pub(super) async fn begin(session: &mut impl Session, statements: &[&str]) -> Result<(), Failure> {
    for sql in statements {
        session.run("beginning a transaction", sql).await?;
    }
    Ok(())
}

/// Ends a transaction that has only read.
pub(super) async fn end(session: &mut impl Session) -> Result<(), Failure> {
    session.run("ending a transaction", "COMMIT").await
}

/// Begins something in a transaction that may fail. PostgreSQL refuses all statements that follow
/// one that failed, until [`undo_attempt`].
pub(super) async fn begin_attempt(session: &mut impl Session) -> Result<(), Failure> {
    session.run("beginning an attempt", "SAVEPOINT attempt").await
}

/// Goes on with the transaction as it was before an attempt that has failed.
pub(super) async fn undo_attempt(session: &mut impl Session) -> Result<(), Failure> {
    session.run("undoing an attempt", "ROLLBACK TO SAVEPOINT attempt").await
}

/// The number that a query returns, or 0 if it returns none.
pub(super) async fn count(session: &mut impl Session, what: &str, sql: &str) -> Result<i64, Failure> {
    let rows = session.query(what, sql.to_owned()).await?;
    let cell = rows.into_iter().next().and_then(|row| row.into_iter().next());
    Ok(cell.as_ref().map_or(Ok(None), Cell::int).ok().flatten().unwrap_or_default())
}

/// The numbers that a query returns, one a row.
pub(super) async fn numbers(
    session: &mut impl Session,
    what: &str,
    sql: String,
) -> Result<Vec<i64>, Failure> {
    let rows = session.query(what, sql).await?;
    Ok(rows.iter().filter_map(|row| row.first()?.int().ok().flatten()).collect())
}

/// Ends a connection. If it does not end cleanly, the server will notice and clean up.
pub(super) async fn close(session: impl Session) {
    let _ = timeout(CLOSING, session.close()).await;
}
