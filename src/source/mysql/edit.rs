//! Edits of the two tables, in one transaction.

use std::collections::{HashMap, HashSet};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Statement, Value};

use super::super::{Edit, Source, SourceError, Transaction, edit, one_line};
use super::{Mysql, code};
use crate::core::model::{Cell, Table};

/// Rows that one statement writes.
const AT_ONCE: usize = 500;
/// Statements that are kept prepared: each anew would take time, and all of them
/// would use up what the server allows for all connections.
const PREPARED: usize = 4;

/// What the session must refuse, or what is written would be cut off or read as
/// something else, depending on how the server is set. And rows must be found by
/// their ids: of a small table the server would rather look at every row, and lock
/// it, so that rows which others edit would be waited for, and theirs would wait.
const STRICT: &str =
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', sql_safe_updates = 1";

/// Whoever edits in this way holds this lock, and waits for it for some seconds
/// fewer than a statement may take. What other tools do it does not hinder, as
/// locks on all that is read would.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('jitsiprovs ', MD5(DATABASE())), 50)";

/// A connection that edits, with the statements it has prepared.
struct Editing {
    conn: Conn,
    prepared: HashMap<String, Statement>,
    has_domain: bool,
}

impl Mysql {
    pub(super) async fn make_all(&self, transaction: Transaction) -> Result<(), SourceError> {
        let Transaction { which, rows, is_read, mut edits, is_all } = transaction;
        let mut conn = self.connect(&self.account, Some(&self.database)).await?;
        self.run(&mut conn, "preparing to edit", STRICT, &self.account).await?;
        self.expect_transactions(&mut conn).await?;
        let has_domain = self.has_domain(&mut conn).await?;
        match self.first(&mut conn, "waiting for other edits", LOCK).await {
            // Some clusters have no such locks: there it goes without.
            Ok(Some(1)) | Err(SourceError::Statement { .. } | SourceError::Denied { .. }) => {}
            Ok(_) => return Err(SourceError::Busy(self.name())),
            Err(error) => return Err(error),
        }
        self.begin(&mut conn, "").await?;
        self.send(&mut conn, which, &rows).await?;
        drop(rows);
        let _ = is_read.send(());
        let mut editing = Editing { conn, prepared: HashMap::new(), has_domain };
        while let Some(batch) = edits.recv().await {
            self.make(&mut editing, &batch).await?;
        }
        // The server takes back what is not committed when the connection ends.
        if is_all.await.is_err() {
            return Err(SourceError::Cancelled);
        }
        let mut conn = editing.conn;
        match self.in_time("committing", conn.query_drop("COMMIT")).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ mysql_async::Error::Server(_))) => {
                return Err(self.error("committing", &error, &self.account));
            }
            Ok(Err(error)) => return Err(self.uncertain(error.to_string())),
            Err(stalled) => return Err(self.uncertain(stalled.to_string())),
        }
        let _ = conn.disconnect().await;
        Ok(())
    }

    fn uncertain(&self, why: String) -> SourceError {
        SourceError::Uncertain { source_name: self.name(), why: one_line(&why) }
    }

    /// The original's tables are of the engine that was the server's default,
    /// and not each can take anything back.
    async fn expect_transactions(&self, conn: &mut Conn) -> Result<(), SourceError> {
        let without = "SELECT count(*) FROM information_schema.tables JOIN information_schema.engines \
                       USING (engine) WHERE table_schema = DATABASE() \
                       AND table_name IN ('user_auth', 'jitsi_property') AND transactions = 'NO'";
        match self.first(conn, "reading the schema", without).await? {
            Some(1..) => Err(SourceError::NotEditable(
                "a table of users or rules has no transactions, so that edits could be made by halves: \
                 ALTER TABLE user_auth ENGINE = InnoDB, and jitsi_property likewise",
            )),
            _ => Ok(()),
        }
    }

    async fn make(&self, editing: &mut Editing, edits: &[Edit]) -> Result<(), SourceError> {
        for alike in edits.chunk_by(edit::are_alike).flat_map(|alike| alike.chunks(AT_ONCE)) {
            let ids: HashSet<i64> = alike.iter().filter_map(Edit::id).collect();
            // A row that is written twice is as the last says.
            let is_each_another = ids.is_empty() || ids.len() == alike.len();
            let at_once = if is_each_another { AT_ONCE } else { 1 };
            for alike in alike.chunks(at_once) {
                self.make_alike(editing, alike).await?;
            }
        }
        Ok(())
    }

    async fn make_alike(&self, editing: &mut Editing, edits: &[Edit]) -> Result<(), SourceError> {
        let table = edits[0].table();
        self.queries.editable(table)?;
        let edit::Statement { sql, params, ids } = edit::Statement::new(edits, editing.has_domain)?;
        let found = self.write(editing, table, sql, params.iter().map(value).collect()).await?;
        if found >= ids.len() as u64 {
            return Ok(());
        }
        // Nothing is kept any more, so the rows that are there can be told.
        let conn = &mut editing.conn;
        self.run(conn, "ending a transaction", "ROLLBACK", &self.account).await?;
        let there = self.queries.of(table).of_ids(&ids);
        let there = format!("SELECT id FROM ({there}) AS there");
        let there = self.in_time("reading ids", conn.query::<i64, _>(there)).await?;
        let there = there.map_err(|error| self.error("reading ids", &error, &self.account))?;
        let id = ids.iter().find(|id| !there.contains(id)).unwrap_or(&ids[0]);
        Err(SourceError::Gone { table, id: *id })
    }

    /// Returns how many rows it found, changed or not.
    async fn write(
        &self,
        editing: &mut Editing,
        table: Table,
        sql: String,
        values: Vec<Value>,
    ) -> Result<u64, SourceError> {
        let what = format!("writing `{table}`");
        let failed = |error: mysql_async::Error| match &error {
            mysql_async::Error::Server(server) if server.code == code::NO_SUCH_TABLE => {
                self.queries.of(table).no_table(self.name())
            }
            // Other tools take no part in the lock, and may hold rows.
            mysql_async::Error::Server(server)
                if matches!(server.code, code::LOCKED_TOO_LONG | code::DEADLOCK) =>
            {
                SourceError::Busy(self.name())
            }
            _ => self.error(&what, &error, &self.account),
        };
        let Editing { conn, prepared, .. } = editing;
        let statement = match prepared.get(&sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.in_time(&what, conn.prep(&*sql)).await?.map_err(failed)?;
                prepared.insert(sql, statement.clone());
                statement
            }
        };
        let done = self.in_time(&what, conn.exec_drop(statement, Params::Positional(values))).await?;
        done.map_err(failed)?;
        let found = conn.affected_rows();
        if prepared.len() > PREPARED {
            for (_, statement) in prepared.drain() {
                let closed = self.in_time(&what, conn.close(statement)).await?;
                closed.map_err(failed)?;
            }
        }
        Ok(found)
    }
}

fn value(param: &edit::Param<'_>) -> Value {
    match param {
        edit::Param::Id(id) => Value::Int(*id),
        edit::Param::Cell(Cell::Null) => Value::NULL,
        edit::Param::Cell(Cell::Int(number)) => Value::Int(*number),
        edit::Param::Cell(Cell::Text(bytes)) => Value::Bytes(bytes.clone()),
    }
}
