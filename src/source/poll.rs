//! Polls of `jitsiprovs_change`.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::backend::{Backend, Purpose, Session};
use super::batches::Budget;
use super::cursor::{ChangeLine, Cursor, GapWindow, LINES, clause};
use super::database::{Database, IDS, READING_CHANGES, begin, close, count, end, existing_columns, numbers};
use super::query::Query;
use super::{Changes, SourceError, UnknownChanges};
use crate::core::model::{Change, Table};

/// How long each step of a poll that found changes may take.
const STEP: Duration = Duration::from_secs(10);
/// Up to this many changes are always read by their ids.
const FEW: usize = 50_000;
/// If more than one row of this many has changed, a load is faster.
const SHARE: u64 = 4;

impl<B: Backend> Database<B> {
    pub(super) async fn poll(&self, cursor: Option<&Cursor>) -> Result<Changes, SourceError> {
        // The lock is held only while the connection is taken or put back, so that a load
        // does not wait for a poll.
        let kept = self.polling.lock().await.take();
        let (mut session, is_reconnected) = match kept {
            Some(session) => (session, false),
            None => {
                let session = self.soon("connecting", self.backend.connect(Purpose::Read)).await??;
                (session, B::KEEPS_CONNECTION)
            }
        };
        if self.backend.is_other(&session) {
            return Ok(Changes::Unknown(UnknownChanges::OtherFile));
        }
        let found = self.poll_on(&mut session, cursor, is_reconnected).await?;
        // The connection is put back only if the poll succeeded and has ended its transaction.
        // If a load has left its connection in the meantime, that one is used from now on.
        let unneeded = match &found {
            Changes::Rows { .. } if B::KEEPS_CONNECTION => {
                let mut kept = self.polling.lock().await;
                if kept.is_none() { kept.replace(session) } else { Some(session) }
            }
            _ => Some(session),
        };
        if let Some(unneeded) = unneeded {
            close(unneeded).await;
        }
        Ok(found)
    }

    async fn poll_on(
        &self,
        session: &mut B::Session,
        cursor: Option<&Cursor>,
        is_reconnected: bool,
    ) -> Result<Changes, SourceError> {
        let Some(cursor) = cursor.cloned() else {
            let what = "checking the connection";
            self.soon(what, count(session, what, "SELECT 1")).await??;
            return Ok(Changes::Rows { changes: Vec::new(), cursor: None, is_reconnected });
        };
        let asked = clause(&cursor.ask());
        let found = self.soon("reading the changes", self.lines(session, &asked)).await??;
        let mut seen = cursor.clone();
        match advance(&mut seen, found) {
            Err(unknown) => return Ok(Changes::Unknown(unknown)),
            Ok(lines) if lines.is_empty() => {
                let looking = self.filled(session, &cursor);
                let is_late = self.soon("looking for late changes", looking).await??.is_some();
                if !is_late && !self.backend.is_touched(session) {
                    return Ok(Changes::Rows { changes: Vec::new(), cursor: Some(seen), is_reconnected });
                }
            }
            Ok(_) => {}
        }
        self.read_changes(session, cursor, is_reconnected).await
    }

    /// A step of reading changes.
    async fn step<T>(&self, work: impl Future<Output = T>) -> Result<T, SourceError> {
        timeout(STEP, work).await.map_err(|_| {
            let why = format!("the changed rows did not arrive in {} s", STEP.as_secs());
            SourceError::Unreachable { at: self.backend.at(), why }
        })
    }

    /// How many changes a poll reads at most.
    fn most(&self) -> usize {
        let rows: u64 = self.rows.iter().map(|rows| rows.load(Ordering::Relaxed)).sum();
        FEW.max(usize::try_from(rows / SHARE).unwrap_or(usize::MAX))
    }

    /// Reads the lines again, in one transaction with the rows, so that they agree.
    async fn read_changes(
        &self,
        session: &mut B::Session,
        mut cursor: Cursor,
        is_reconnected: bool,
    ) -> Result<Changes, SourceError> {
        self.step(begin(session, B::DIALECT.begin_read)).await??;
        let rows = match self.changed_rows(session, &mut cursor).await? {
            Ok(rows) => rows,
            Err(unknown) => return Ok(Changes::Unknown(unknown)),
        };
        let (mut changes, mut budget) = (Vec::new(), Budget::new(self.queries.max_bytes));
        for table in Table::ALL {
            let ids: Vec<i64> = rows.iter().filter(|(of, _)| *of == table).map(|(_, id)| *id).collect();
            if ids.is_empty() {
                continue;
            }
            if self.queries.is_own(table) {
                return Ok(Changes::Unknown(UnknownChanges::OwnQuery));
            }
            let existing = existing_columns(session, B::DIALECT.list_columns, table).await?;
            if self.is_missing(table, existing) {
                return Ok(Changes::Unknown(UnknownChanges::Schema));
            }
            let query = self.queries.of(table, existing);
            for ids in ids.chunks(IDS) {
                let fetching = fetch(session, &query, ids, &mut budget, &mut changes);
                let fetched = self.step(fetching).await?;
                fetched.map_err(|failure| self.explain(table, failure))?;
            }
        }
        let unnoted = self.backend.unnoted(session, self.queries.noted(), &changes);
        if let Some(why) = self.step(unnoted).await?? {
            return Ok(Changes::Unknown(why));
        }
        self.step(end(session)).await??;
        Ok(Changes::Rows { changes, cursor: Some(cursor), is_reconnected })
    }

    /// The rows that the lines after the cursor name. Moves the cursor to the last line.
    async fn changed_rows(
        &self,
        session: &mut B::Session,
        cursor: &mut Cursor,
    ) -> Result<Result<BTreeSet<(Table, i64)>, UnknownChanges>, SourceError> {
        let (most, mut count, mut rows) = (self.most(), 0, BTreeSet::new());
        loop {
            let asked = clause(&cursor.ask());
            let found = self.step(self.lines(session, &asked)).await??;
            let is_last = found.len() < LINES;
            let lines = match advance(cursor, found) {
                Ok(lines) => lines,
                Err(unknown) => return Ok(Err(unknown)),
            };
            count += lines.len();
            if count > most {
                return Ok(Err(UnknownChanges::Many));
            }
            rows.extend(lines.iter().filter_map(ChangeLine::row));
            if is_last {
                break;
            }
        }
        if let Some(window) = self.step(self.filled(session, cursor)).await?? {
            let ids = self.step(numbers(session, READING_CHANGES, window.ids())).await??;
            let late = cursor.look_over(window, ids);
            if late.len() > FEW {
                return Ok(Err(UnknownChanges::Many));
            }
            for ids in late.chunks(IDS) {
                let ranges: Vec<_> = ids.iter().map(|id| (*id, *id)).collect();
                let lines = self.step(self.lines(session, &clause(&ranges))).await??;
                rows.extend(lines.iter().filter_map(ChangeLine::row));
            }
        }
        Ok(Ok(rows))
    }

    /// The window of many gaps, if a line has appeared there or has been removed.
    async fn filled(
        &self,
        session: &mut B::Session,
        cursor: &Cursor,
    ) -> Result<Option<GapWindow>, SourceError> {
        let Some(window) = cursor.window() else { return Ok(None) };
        let sum = count(session, READING_CHANGES, &window.sum()).await?;
        Ok((sum != window.expected).then_some(window))
    }

    async fn soon<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, SourceError> {
        let patience = B::DIALECT.patience;
        timeout(patience, work).await.map_err(|_| {
            let why = format!("no answer in {} s while {what}", patience.as_secs());
            SourceError::Unreachable { at: self.backend.at(), why }
        })
    }
}

/// Moves the cursor over lines that were found. Returns those that are new.
fn advance(cursor: &mut Cursor, found: Vec<ChangeLine>) -> Result<Vec<ChangeLine>, UnknownChanges> {
    // So many lines may have appeared in gaps that the newest one was not reached.
    let is_cut = found.len() >= LINES;
    let unknown = if is_cut { UnknownChanges::Many } else { UnknownChanges::Other };
    cursor.advance(found).map_err(|_| unknown)
}

/// Reads the rows with these ids. Rows that are not found are gone.
async fn fetch(
    session: &mut impl Session,
    query: &Query<'_>,
    ids: &[i64],
    budget: &mut Budget,
    changes: &mut Vec<Change>,
) -> Result<(), super::error::Failure> {
    // The columns of a table are known without their names.
    let shape = query.shape(&[])?;
    let mut gone: BTreeSet<i64> = ids.iter().copied().collect();
    for mut cells in session.query(&query.reading(), query.of_ids(ids)).await? {
        budget.count(query, &mut cells)?;
        let (row, _) = shape.row(cells, 0);
        gone.remove(&row.id());
        changes.push(Change::Put(row));
    }
    changes.extend(gone.into_iter().map(|id| Change::Gone(query.table, id)));
    Ok(())
}
