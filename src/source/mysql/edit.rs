//! Edits of the two tables, in one transaction.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};
use tokio::sync::{mpsc, oneshot};

use super::super::{Edit, Error, NO_DOMAIN, edit};
use super::Mysql;
use crate::model::{Cell, Row, Table};

/// Rows that are added by one statement.
const AT_ONCE: usize = 500;

impl Mysql {
    pub(super) async fn make_all(
        &self,
        mut edits: mpsc::Receiver<Vec<Edit>>,
        all: oneshot::Receiver<()>,
    ) -> Result<(), Error> {
        let mut conn = self.connect(&self.account, Some(&self.database)).await?;
        self.run(&mut conn, "beginning a transaction", "START TRANSACTION", &self.account).await?;
        let has_domain = self.has_domain(&mut conn).await?;
        while let Some(batch) = edits.recv().await {
            self.make(&mut conn, &batch, has_domain).await?;
        }
        // The server takes back what is not committed when the connection ends.
        if all.await.is_err() {
            return Err(Error::Cancelled);
        }
        self.run(&mut conn, "committing", "COMMIT", &self.account).await?;
        let _ = conn.disconnect().await;
        Ok(())
    }

    async fn make(&self, conn: &mut Conn, edits: &[Edit], has_domain: bool) -> Result<(), Error> {
        let is_alike = |one: &Edit, other: &Edit| matches!((one, other), (Edit::Add(one), Edit::Add(other)) if one.table() == other.table());
        for alike in edits.chunk_by(is_alike).flat_map(|alike| alike.chunks(AT_ONCE)) {
            let table = alike[0].table();
            self.queries.editable(table)?;
            let rows = alike.iter().filter_map(|edit| match edit {
                Edit::Add(row) | Edit::Set(row) => Some(row),
                Edit::Remove(..) => None,
            });
            if !has_domain && rows.clone().any(edit::needs_domain) {
                return Err(NO_DOMAIN);
            }
            let cells = rows.flat_map(|row| edit::cells(row, has_domain)).map(value);
            match &alike[0] {
                Edit::Add(_) => {
                    let sql = edit::insert(table, has_domain, alike.len());
                    self.write(conn, table, &sql, cells.collect()).await?;
                }
                Edit::Set(row) => {
                    let sql = edit::update(table, has_domain);
                    let values = cells.chain([Value::Int(row.id())]).collect();
                    if self.write(conn, table, &sql, values).await? == 0 {
                        self.expect(conn, row).await?;
                    }
                }
                Edit::Remove(_, id) => {
                    if self.write(conn, table, &edit::delete(table), vec![Value::Int(*id)]).await? == 0 {
                        return Err(Error::Gone { table, id: *id });
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns how many rows are other than they were.
    async fn write(
        &self,
        conn: &mut Conn,
        table: Table,
        sql: &str,
        values: Vec<Value>,
    ) -> Result<u64, Error> {
        let what = format!("writing `{table}`");
        let done = self.in_time(&what, conn.exec_drop(sql, Params::Positional(values))).await?;
        done.map_err(|error| self.error(&what, &error, &self.account))?;
        Ok(conn.affected_rows())
    }

    /// A row that was not changed may have read so already.
    async fn expect(&self, conn: &mut Conn, row: &Row) -> Result<(), Error> {
        let (table, id) = (row.table(), row.id());
        let sql = format!("SELECT count(*) FROM {table} WHERE id = {id}");
        match self.first(conn, &format!("reading `{table}`"), &sql).await? {
            Some(1) => Ok(()),
            _ => Err(Error::Gone { table, id }),
        }
    }
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Int(number) => Value::Int(*number),
        Cell::Text(bytes) => Value::Bytes(bytes.clone()),
    }
}
