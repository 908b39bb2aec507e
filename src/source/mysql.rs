//! MySQL and MariaDB.

mod connect;
mod errors;
mod sum;
mod tunnel;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, Params, Statement, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::backend::{Backend, Dialect, Purpose, Session};
use super::batches::{Batches, Budget, Sent};
use super::database::{Database, count};
use super::error::{Failure, FailureKind};
use super::query::{Queries, Query, Shape};
use super::server::DbServer;
use super::{Source, SourceError, schema};
use crate::core::model::{Cell, Row, Table};
use tunnel::Tunnel;

/// How long the result of a statement, or a batch of rows, may take to arrive. An operator's
/// own query that sorts a large table may need most of this time.
const STALL: Duration = Duration::from_secs(60);
/// How many statements are kept prepared. Preparing a statement takes time, but the server
/// limits how many may be prepared by all connections together.
const PREPARED: usize = 4;
/// The strict mode refuses values that the server would otherwise cut off or convert,
/// depending on its settings. `sql_safe_updates` makes the server find rows by their ids: in
/// a small table it would otherwise read and lock all rows, and edits of different rows
/// would wait for each other.
const STRICT: &str =
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', sql_safe_updates = 1";
/// The SQL mode of setup, which triggers keep.
const SETUP_MODE: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES'";
/// An edit holds this lock. It waits for it for 50 s, less than a statement may take. Unlike
/// locks on all rows that are read, it does not block other tools.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('jitsiprovs ', MD5(DATABASE())), 50)";
const WITHOUT_TRANSACTIONS: &str = "SELECT count(*) FROM information_schema.tables \
     JOIN information_schema.engines USING (engine) WHERE table_schema = DATABASE() \
     AND table_name IN ('user_auth', 'jitsi_property', 'user_attribute') AND transactions = 'NO'";

/// The MySQL or MariaDB database on `server`, which is read with `queries`.
pub fn mysql(server: DbServer, queries: Queries) -> Arc<dyn Source> {
    let noted = queries.noted();
    Arc::new(Database::new(MysqlBackend(Arc::new(Mysql { server, noted })), queries))
}

struct Mysql {
    server: DbServer,
    /// [`Queries::noted`]
    noted: [bool; Table::COUNT],
}

struct MysqlBackend(Arc<Mysql>);

impl Backend for MysqlBackend {
    type Session = MysqlSession;
    const DIALECT: Dialect = Dialect {
        // A transaction reads all rows as they were at one moment, independent of concurrent
        // writes and of the server's defaults.
        begin_read: &[
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ],
        begin_write: &[
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        ],
        list_columns: "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() \
             AND table_name = '{table}'",
        list_views: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_type = 'VIEW'",
        count_change_tables: "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_name = 'jitsiprovs_change'",
        count_triggers: "SELECT count(*) FROM information_schema.triggers \
             WHERE trigger_schema = DATABASE() AND trigger_name =",
        // As a number, because the text would depend on the session's time zone.
        changed_at: "CAST(unix_timestamp(changed_at) AS CHAR)",
        age: "unix_timestamp() - unix_timestamp(changed_at)",
        day_ago: "now() - INTERVAL 1 DAY",
        now: "unix_timestamp()",
        // The columns have such a collation.
        any_case: ["", ""],
        // The column has such a collation.
        by_bytes: "",
        begin_quiet: "SET @jitsiprovs_editor = 1",
        end_quiet: "SET @jitsiprovs_editor = NULL",
        // Without the index, a small table is read whole, and all its rows are locked.
        to_write: [" FORCE INDEX (PRIMARY)", " FOR UPDATE"],
        delete_some: " ORDER BY id LIMIT 10000",
        // From left to right, so the time comes last.
        keep_later: " ON DUPLICATE KEY UPDATE \
             reason = IF(VALUES(fetched_at) >= fetched_at, VALUES(reason), reason), \
             address = IF(VALUES(fetched_at) >= fetched_at, VALUES(address), address), \
             agent = IF(VALUES(fetched_at) >= fetched_at, VALUES(agent), agent), \
             node = IF(VALUES(fetched_at) >= fetched_at, VALUES(node), node), \
             snapshot = IF(VALUES(fetched_at) >= fetched_at, VALUES(snapshot), snapshot), \
             properties = IF(VALUES(fetched_at) >= fetched_at, VALUES(properties), properties), \
             parameters = IF(VALUES(fetched_at) >= fetched_at, VALUES(parameters), parameters), \
             fetched_at = GREATEST(VALUES(fetched_at), fetched_at)",
        steps: schema::MYSQL,
        has_transactional_ddl: false,
        patience: Duration::from_secs(3),
    };
    const KEEPS_CONNECTION: bool = true;

    fn name(&self) -> String {
        self.0.name()
    }

    fn at(&self) -> String {
        self.0.server.at()
    }

    async fn renew(&self) -> io::Result<()> {
        self.0.server.account.read_again().await
    }

    async fn connect(&self, _: Purpose) -> Result<MysqlSession, SourceError> {
        self.0.connect(&self.0.server.account, Some(&self.0.server.database)).await
    }

    async fn connect_to_setup(&self) -> Result<(MysqlSession, Vec<String>), SourceError> {
        let mut done = match &self.0.server.admin {
            Some(admin) => self.0.create_database(admin).await?,
            None => Vec::new(),
        };
        let mut session = self.connect(Purpose::Edit).await?;
        // Values that do not fit must not be cut off, even if the server's own mode does so.
        session.run("setting the SQL mode", SETUP_MODE).await?;
        // Setup may run on two nodes at the same time.
        let what = "waiting for another setup";
        match lock(&mut session, what, "SELECT GET_LOCK('jitsiprovs_setup', 30)").await? {
            Lock::Taken => {}
            Lock::Busy => return Err(self.0.statement(what, "it did not end in 30 s")),
            // The seeds are still not added twice, because the second setup cannot note them.
            Lock::Refused(why) => done.push(format!(
                "warning: the server refuses named locks ({why}), so two setups do not wait for each other: \
                 if another one ran at the same time, repeat it"
            )),
        }
        Ok((session, done))
    }

    async fn prepare_edit(&self, session: &mut MysqlSession) -> Result<(), SourceError> {
        session.run("preparing to edit", STRICT).await?;
        // The original created its tables with the server's default engine, and not every
        // engine can undo edits.
        if count(session, "reading the schema", WITHOUT_TRANSACTIONS).await? > 0 {
            return Err(SourceError::NoTransactions);
        }
        match lock(session, "waiting for other edits", LOCK).await? {
            Lock::Taken | Lock::Refused(_) => Ok(()),
            Lock::Busy => Err(SourceError::Busy(self.name())),
        }
    }

    async fn state(&self, session: &mut MysqlSession, query: &Query<'_>) -> Result<Option<String>, Failure> {
        sum::state(session, query).await
    }

    /// Lines must not be removed on a replica: if the same line is removed on the primary
    /// later, the replica cannot find it, and replication stops.
    async fn may_prune(&self, session: &mut MysqlSession) -> Result<bool, SourceError> {
        let sql = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_running', 'Slaves_running', \
                   'Replica_running')";
        let found = session.query("asking whether the server is a replica", sql.into()).await?;
        let is_running = |row: &Vec<Cell>| match row.get(1).map(Cell::text) {
            Some(Ok(Some(value))) => value == "ON" || value.parse().is_ok_and(|count: u32| count > 0),
            _ => false,
        };
        Ok(!found.iter().any(is_running))
    }
}

/// What became of an attempt to take a named lock.
enum Lock {
    Taken,
    /// Somebody else has held it for too long.
    Busy,
    /// The server refuses such locks, as Galera before 10.6.14 and Percona's strict mode do.
    Refused(String),
}

/// Takes a named lock with this statement.
async fn lock(session: &mut MysqlSession, what: &str, sql: &str) -> Result<Lock, SourceError> {
    use SourceError::{Denied, Statement};
    match count(session, what, sql).await {
        Ok(1) => Ok(Lock::Taken),
        Ok(_) => Ok(Lock::Busy),
        // Of another kind are those of the connection.
        Err(Failure { kind: FailureKind::Other, error: Statement { why, .. } | Denied { why, .. } }) => {
            Ok(Lock::Refused(why))
        }
        Err(failure) => Err(failure.error),
    }
}

/// A connection to the server.
struct MysqlSession {
    mysql: Arc<Mysql>,
    conn: Conn,
    tunnel: Option<Tunnel>,
    is_admin: bool,
    prepared: HashMap<String, Statement>,
}

impl MysqlSession {
    /// What the columns of a query are.
    async fn shape(&mut self, query: &Query<'_>) -> Result<Shape, Failure> {
        if !query.is_own {
            return Ok(query.shape(&[])?);
        }
        let prepare = async |conn: &mut Conn, _: &mut HashMap<String, Statement>| {
            let statement = conn.prep(&*query.sql).await?;
            let columns = statement.columns();
            conn.close(statement).await?;
            Ok(columns)
        };
        let columns = self.in_time(&query.reading(), prepare).await?;
        let names: Vec<_> = columns.iter().map(Column::name_str).collect();
        Ok(query.shape(&names)?)
    }

    async fn in_time<T>(
        &mut self,
        what: &str,
        work: impl AsyncFnOnce(&mut Conn, &mut HashMap<String, Statement>) -> mysql_async::Result<T>,
    ) -> Result<T, Failure> {
        match timeout(STALL, work(&mut self.conn, &mut self.prepared)).await {
            Ok(done) => done.map_err(|error| self.mysql.failure(what, &error, self.is_admin)),
            Err(_) => {
                let error = self.mysql.statement(what, &format!("nothing arrived for {} s", STALL.as_secs()));
                Err(Failure { kind: FailureKind::NoAnswer, error })
            }
        }
    }
}

impl Session for MysqlSession {
    async fn run(&mut self, what: &str, sql: &str) -> Result<(), Failure> {
        match self.in_time(what, async |conn, _| conn.query_drop(sql).await).await {
            Err(failure) if failure.kind == FailureKind::AdminsOnly => {
                self.create_as_admin(what, sql, failure).await
            }
            done => done,
        }
    }

    async fn execute(&mut self, what: &str, sql: String, params: Vec<Cell>) -> Result<u64, Failure> {
        let params = Params::Positional(params.into_iter().map(value).collect());
        self.in_time(what, async |conn, prepared| {
            let statement = match prepared.get(&sql) {
                Some(statement) => statement.clone(),
                None => {
                    let statement = conn.prep(&*sql).await?;
                    prepared.insert(sql, statement.clone());
                    statement
                }
            };
            conn.exec_drop(statement, params).await?;
            let found = conn.affected_rows();
            if prepared.len() > PREPARED {
                for (_, statement) in prepared.drain() {
                    conn.close(statement).await?;
                }
            }
            Ok(found)
        })
        .await
    }

    async fn query(&mut self, what: &str, sql: String) -> Result<Vec<Vec<Cell>>, Failure> {
        let rows = self.in_time(what, async |conn, _| conn.query::<mysql_async::Row, _>(sql).await).await?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect()).collect())
    }

    async fn ask(&mut self, what: &str, sql: String, params: Vec<Cell>) -> Result<Vec<Vec<Cell>>, Failure> {
        let params = Params::Positional(params.into_iter().map(value).collect());
        let work = async |conn: &mut Conn, _: &mut HashMap<String, Statement>| {
            conn.exec::<mysql_async::Row, _, _>(sql, params).await
        };
        let rows = self.in_time(what, work).await?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect()).collect())
    }

    async fn send(
        &mut self,
        query: &Query<'_>,
        budget: Budget,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<Sent, Failure> {
        let what = query.reading();
        let stalled = |_| self.mysql.statement(&what, &format!("nothing arrived for {} s", STALL.as_secs()));
        let failed = |error| self.mysql.failure(&what, &error, self.is_admin);
        let result = timeout(STALL, self.conn.query_iter(&*query.sql)).await.map_err(stalled)?;
        let mut result = result.map_err(failed)?;
        let names: Vec<_> = result.columns_ref().iter().map(Column::name_str).collect();
        let mut batches = Batches::new(query, query.shape(&names)?, budget);
        loop {
            let filling = async {
                while let Some(row) = result.next().await.map_err(failed)? {
                    if batches.push(row.unwrap().into_iter().map(cell).collect())? {
                        return Ok(false);
                    }
                }
                Ok::<bool, Failure>(true)
            };
            let is_last = timeout(STALL, filling).await.map_err(stalled)??;
            std::thread::yield_now();
            rows.send(batches.take()).await.map_err(|_| SourceError::Cancelled)?;
            if is_last {
                return Ok(batches.sent());
            }
        }
    }

    async fn close(self) {
        let _ = self.conn.disconnect().await;
        if let Some(tunnel) = self.tunnel {
            let _ = tunnel.end().await;
        }
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::NULL => Cell::Null,
        Value::Bytes(bytes) => Cell::Text(bytes),
        Value::Int(number) => Cell::Int(number),
        Value::UInt(number) => {
            i64::try_from(number).map_or_else(|_| number.to_string().as_str().into(), Cell::Int)
        }
        // The text protocol, which is used here, returns only NULL and bytes.
        other => Cell::Text(other.as_sql(true).into_bytes()),
    }
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Int(number) => Value::Int(number),
        Cell::Text(bytes) => Value::Bytes(bytes),
    }
}
