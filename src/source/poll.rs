//! Polls of `jitsiprovs_change`.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::backend::{Backend, Purpose, Session};
use super::batches::Budget;
use super::cursor::{ChangeLine, Cursor, GapWindow, MANY, clause};
use super::database::{Database, READING_CHANGES, begin, close, count, end, existing_columns, numbers};
use super::query::Query;
use super::{Changes, SourceError, UnknownChanges};
use crate::core::model::{Change, Table};

/// How many rows or lines one statement asks for.
const IDS: usize = 500;
/// How long a poll that found changes may take to read them.
const READING: Duration = Duration::from_secs(10);

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
        if found.len() > MANY {
            return Ok(Changes::Unknown(UnknownChanges::Many));
        }
        let mut seen = cursor.clone();
        match seen.advance(found) {
            Err(_) => return Ok(Changes::Unknown(UnknownChanges::Other)),
            Ok(lines) if lines.is_empty() => {
                let looking = self.filled(session, &cursor);
                let is_late = self.soon("looking for late changes", looking).await??.is_some();
                if !is_late && !self.backend.is_touched(session) {
                    return Ok(Changes::Rows { changes: Vec::new(), cursor: Some(seen), is_reconnected });
                }
            }
            Ok(_) => {}
        }
        let reading = self.read_changes(session, cursor, &asked, is_reconnected);
        timeout(READING, reading).await.map_err(|_| {
            let why = format!("the changed rows did not arrive in {} s", READING.as_secs());
            SourceError::Unreachable { at: self.backend.at(), why }
        })?
    }

    /// Reads the lines again, in one transaction with the rows, so that they agree.
    async fn read_changes(
        &self,
        session: &mut B::Session,
        mut cursor: Cursor,
        asked: &str,
        is_reconnected: bool,
    ) -> Result<Changes, SourceError> {
        begin(session, B::DIALECT.begin_read).await?;
        let found = self.lines(session, asked).await?;
        if found.len() > MANY {
            return Ok(Changes::Unknown(UnknownChanges::Many));
        }
        let Ok(mut lines) = cursor.advance(found) else {
            return Ok(Changes::Unknown(UnknownChanges::Other));
        };
        if let Some(window) = self.filled(session, &cursor).await? {
            let late = cursor.look_over(window, numbers(session, READING_CHANGES, window.ids()).await?);
            if late.len() > MANY {
                return Ok(Changes::Unknown(UnknownChanges::Many));
            }
            for ids in late.chunks(IDS) {
                let ranges: Vec<_> = ids.iter().map(|id| (*id, *id)).collect();
                lines.extend(self.lines(session, &clause(&ranges)).await?);
            }
        }
        let rows: BTreeSet<(Table, i64)> = lines.iter().filter_map(ChangeLine::row).collect();
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
            let query = self.queries.of(table, existing);
            for ids in ids.chunks(IDS) {
                let fetched = fetch(session, &query, ids, &mut budget, &mut changes).await;
                fetched.map_err(|failure| self.explain(table, failure))?;
            }
        }
        if let Some(why) = self.backend.unnoted(session, self.queries.noted(), &changes).await? {
            return Ok(Changes::Unknown(why));
        }
        end(session).await?;
        Ok(Changes::Rows { changes, cursor: Some(cursor), is_reconnected })
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

/// Reads the rows with these ids. Rows that are not found are gone.
async fn fetch(
    session: &mut impl Session,
    query: &Query<'_>,
    ids: &[i64],
    budget: &mut Budget,
    changes: &mut Vec<Change>,
) -> Result<(), super::error::Failure> {
    let mut gone: BTreeSet<i64> = ids.iter().copied().collect();
    for mut cells in session.query(&query.reading(), query.of_ids(ids)).await? {
        budget.count(query, &mut cells)?;
        let row = query.row(cells, 0);
        gone.remove(&row.id());
        changes.push(Change::Put(row));
    }
    changes.extend(gone.into_iter().map(|id| Change::Gone(query.table, id)));
    Ok(())
}
