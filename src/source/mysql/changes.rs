//! Polls of `jitsiprovs_change`.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::time::timeout;

use super::super::cursor::{ChangeLine, Cursor, clause};
use super::super::{Changes, IDS, MANY, Query, SourceError};
use super::{Mysql, cell};
use crate::core::model::{Change, Table};

/// How long a poll waits to connect, and for the one short statement that most
/// of them are: a connection that has gone dead is to be noticed soon.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the rest of a poll may take that found something.
const READING: Duration = Duration::from_secs(10);
/// Gaps that are asked for in one statement.
const RANGES: usize = 2000;

/// Lines that are removed in one statement, so that no lock is held for long.
const PRUNED: u64 = 10_000;

impl Mysql {
    pub(super) async fn poll(&self, cursor: Option<&Cursor>) -> Result<Changes, SourceError> {
        // Put back only after success: what failed half-way is of no more use.
        let mut kept = self.polling.0.lock().await;
        let (mut conn, is_reconnected) = match kept.take() {
            Some(conn) => (conn, false),
            None => {
                let connecting = self.connect(&self.account, Some(&self.database));
                (self.soon("connecting", connecting).await??, true)
            }
        };
        let found = self.poll_on(&mut conn, cursor, is_reconnected).await?;
        // Nor is one whose transaction was not ended.
        if matches!(found, Changes::Rows { .. }) {
            *kept = Some(conn);
        }
        Ok(found)
    }

    /// Keeps a connection for polls in place of the one there was: where loads
    /// find the database now, changes must be looked for too.
    pub(super) async fn keep(&self, conn: Conn) {
        let old = self.polling.0.lock().await.replace(conn);
        if let Some(old) = old {
            // One that does not close cleanly is the server's to tidy up.
            let _ = timeout(PATIENCE, old.disconnect()).await;
        }
    }

    async fn poll_on(
        &self,
        conn: &mut Conn,
        cursor: Option<&Cursor>,
        is_reconnected: bool,
    ) -> Result<Changes, SourceError> {
        let Some(mut cursor) = cursor.cloned() else {
            self.soon("asking for a sign of life", self.first(conn, "asking for a sign of life", "SELECT 1"))
                .await??;
            return Ok(Changes::Rows { changes: Vec::new(), cursor: None, is_reconnected });
        };
        let asked = clause(&cursor.ask());
        let what = "reading `jitsiprovs_change`";
        let found = self.soon(what, self.lines(conn, &asked)).await??;
        if found.len() > MANY {
            return Ok(Changes::Unknown("many changes"));
        }
        let mut seen = cursor.clone();
        match seen.advance(found) {
            Err(_) => return Ok(Changes::Unknown("other changes")),
            Ok((lines, _)) if lines.is_empty() => {
                return Ok(Changes::Rows { changes: Vec::new(), cursor: Some(seen), is_reconnected });
            }
            Ok(_) => {}
        }

        let reading = self.read_changes(conn, cursor, &asked, is_reconnected);
        timeout(READING, reading).await.map_err(|_| {
            let why = format!("the changed rows did not come in {} s", READING.as_secs());
            SourceError::Unreachable { at: self.at(), why }
        })?
    }

    async fn read_changes(
        &self,
        conn: &mut Conn,
        mut cursor: Cursor,
        asked: &str,
        is_reconnected: bool,
    ) -> Result<Changes, SourceError> {
        // Once more, now as of one moment with the rows.
        self.begin(conn, ", READ ONLY").await?;
        let found = self.lines(conn, asked).await?;
        if found.len() > MANY {
            return Ok(Changes::Unknown("many changes"));
        }
        let Ok((mut lines, is_partial)) = cursor.advance(found) else {
            return Ok(Changes::Unknown("other changes"));
        };
        if is_partial {
            let rest = cursor.ask_all_gaps();
            for ranges in rest.chunks(RANGES) {
                let found = self.lines(conn, &clause(ranges)).await?;
                cursor.fill(&found);
                lines.extend(found);
            }
        }
        let rows: BTreeSet<(Table, i64)> = lines.iter().filter_map(ChangeLine::row).collect();
        let ids_of =
            |table| rows.iter().filter(|(of, _)| *of == table).map(|(_, id)| *id).collect::<Vec<_>>();
        let has_domain = self.has_domain(conn).await?;
        let mut changes = Vec::new();
        for query in [self.queries.users(), self.queries.rules(has_domain)] {
            let ids = ids_of(query.table);
            if query.is_own && !ids.is_empty() {
                return Ok(Changes::Unknown("changes of a table that a query of yours may read"));
            }
            for ids in ids.chunks(IDS) {
                self.fetch(conn, &query, ids, &mut changes).await?;
            }
        }
        self.run(conn, "ending a transaction", "COMMIT", &self.account).await?;
        Ok(Changes::Rows { changes, cursor: Some(cursor), is_reconnected })
    }

    /// Reads the rows of `ids`; those that are not there are gone.
    async fn fetch(
        &self,
        conn: &mut Conn,
        query: &Query<'_>,
        ids: &[i64],
        changes: &mut Vec<Change>,
    ) -> Result<(), SourceError> {
        let what = query.reading();
        let rows = self.in_time(&what, conn.query::<mysql_async::Row, _>(query.of_ids(ids))).await?;
        let rows = rows.map_err(|error| self.error(&what, &error, &self.account))?;
        let mut gone: BTreeSet<i64> = ids.iter().copied().collect();
        for row in rows {
            let row = query.row(row.unwrap().into_iter().map(cell), 0);
            gone.remove(&row.id());
            changes.push(Change::Put(row));
        }
        changes.extend(gone.into_iter().map(|id| Change::Gone(query.table, id)));
        Ok(())
    }

    /// Lines of `jitsiprovs_change`, given the end of the query.
    pub(super) async fn lines(&self, conn: &mut Conn, clause: &str) -> Result<Vec<ChangeLine>, SourceError> {
        let what = "reading `jitsiprovs_change`";
        // As a number: as text it would go with the session's time zone.
        let sql = format!(
            "SELECT id, changed_table, changed_id, CAST(unix_timestamp(changed_at) AS CHAR) \
             FROM jitsiprovs_change {clause}"
        );
        let lines = self.in_time(what, conn.query::<(i64, String, i64, Option<String>), _>(sql)).await?;
        let lines = lines.map_err(|error| self.error(what, &error, &self.account))?;
        let line = |(id, table, changed_id, at): (i64, String, i64, Option<String>)| ChangeLine {
            id,
            table,
            changed_id,
            at: at.unwrap_or_default(),
        };
        Ok(lines.into_iter().map(line).collect())
    }

    pub(super) async fn prune_all(&self) -> Result<u64, SourceError> {
        let what = "pruning `jitsiprovs_change`";
        let mut conn = self.connect(&self.account, Some(&self.database)).await?;
        if self.is_replica(&mut conn).await? {
            return Ok(0);
        }
        let highest = "SELECT coalesce(max(id), 0) FROM jitsiprovs_change";
        let highest = self.first(&mut conn, what, highest).await?.unwrap_or_default();
        // The newest line stays: it is how nodes know the place where they are.
        let sql = format!(
            "DELETE FROM jitsiprovs_change WHERE changed_at < now() - INTERVAL 1 DAY AND id < {highest} \
             ORDER BY id LIMIT {PRUNED}"
        );
        let mut pruned = 0;
        loop {
            self.run(&mut conn, what, &sql, &self.account).await?;
            pruned += conn.affected_rows();
            if conn.affected_rows() < PRUNED {
                let _ = timeout(PATIENCE, conn.disconnect()).await;
                return Ok(pruned);
            }
        }
    }

    /// Whether the server takes its rows from another. What is removed there
    /// first cannot be removed again when the other's turn comes, and that ends
    /// the replication.
    async fn is_replica(&self, conn: &mut Conn) -> Result<bool, SourceError> {
        let what = "asking whether the server is a replica";
        let sql = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_running', 'Slaves_running', \
                   'Replica_running')";
        let found = self.in_time(what, conn.query::<(String, String), _>(sql)).await?;
        let found = found.map_err(|error| self.error(what, &error, &self.account))?;
        Ok(found.iter().any(|(_, value)| value == "ON" || value.parse().is_ok_and(|count: u32| count > 0)))
    }

    async fn soon<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, SourceError> {
        timeout(PATIENCE, work).await.map_err(|_| {
            let why = format!("no answer to {what} in {} s", PATIENCE.as_secs());
            SourceError::Unreachable { at: self.at(), why }
        })
    }
}
