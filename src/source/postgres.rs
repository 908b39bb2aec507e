//! PostgreSQL.

mod connect;
mod errors;
mod listen;
mod values;

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::backend::{Backend, Dialect, Heard, Purpose, Session};
use super::batches::{Batches, Budget, Sent};
use super::database::{Database, count};
use super::error::{Failure, FailureKind};
use super::query::{Queries, Query, Shape};
use super::server::DbServer;
use super::{Source, SourceError, schema};
use crate::core::model::{Cell, Row};
use connect::Lock;
use values::{Param, cells, numbered, of_row, typed};

/// How long the result of a statement, or a batch of rows, may take to arrive. An operator's
/// own query that sorts a large table may need most of this time.
const STALL: Duration = Duration::from_secs(60);

/// The PostgreSQL database on `server`, which is read with `queries`.
pub fn postgres(server: DbServer, queries: Queries) -> Arc<dyn Source> {
    Arc::new(Database::new(PostgresBackend(Arc::new(Postgres { server })), queries))
}

struct Postgres {
    server: DbServer,
}

struct PostgresBackend(Arc<Postgres>);

impl Backend for PostgresBackend {
    type Session = PostgresSession;
    // Nothing is set for a whole session: a pooler may give the session to somebody else.
    const DIALECT: Dialect = Dialect {
        begin_read: &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = '5s'"],
        begin_write: &["BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = '5s'; \
             SET LOCAL idle_in_transaction_session_timeout = 0"],
        list_columns: "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('{table}') \
             AND attnum > 0 AND NOT attisdropped AND has_column_privilege(attrelid, attnum, 'SELECT')",
        list_views: "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND pg_table_is_visible(oid)",
        count_change_tables: "SELECT count(*) FROM pg_class WHERE oid = to_regclass('jitsiprovs_change')",
        count_triggers: "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN \
             (to_regclass('user_auth'), to_regclass('jitsi_property'), to_regclass('user_attribute')) \
             AND tgname =",
        // As a number, because the text would depend on the session's time zone.
        changed_at: "extract(epoch FROM changed_at)::TEXT",
        age: "floor(extract(epoch FROM now() - changed_at))::BIGINT",
        day_ago: "now() - INTERVAL '1 day'",
        now: "floor(extract(epoch FROM clock_timestamp()))::BIGINT",
        any_case: ["lower(", ")"],
        by_bytes: " COLLATE \"C\"",
        begin_quiet: "SET LOCAL jitsiprovs.editor = 'jitsiprovs'",
        end_quiet: "SET LOCAL jitsiprovs.editor = ''",
        to_write: ["", " FOR UPDATE"],
        delete_some: "",
        keep_later: schema::KEEP_LATER,
        steps: schema::POSTGRES,
        has_transactional_ddl: true,
        patience: Duration::from_secs(3),
    };
    const KEEPS_CONNECTION: bool = true;

    fn name(&self) -> String {
        self.0.server.name()
    }

    fn at(&self) -> String {
        self.0.server.at()
    }

    async fn renew(&self) -> io::Result<()> {
        self.0.server.account.read_again().await
    }

    async fn connect(&self, _: Purpose) -> Result<PostgresSession, SourceError> {
        self.0.session(false).await
    }

    async fn connect_to_setup(&self) -> Result<(PostgresSession, Vec<String>), SourceError> {
        let done = match &self.0.server.admin {
            Some(_) => self.0.create_database().await?,
            None => Vec::new(),
        };
        let mut session = self.0.session(false).await?;
        session.lock = Some(self.0.lock(Lock::Setup).await?);
        Ok((session, done))
    }

    async fn prepare_edit(&self, session: &mut PostgresSession) -> Result<(), SourceError> {
        session.lock = Some(self.0.lock(Lock::Edit).await?);
        Ok(())
    }

    /// A sum over the texts of all rows, which the server computes without sending a row.
    async fn state(
        &self,
        session: &mut PostgresSession,
        query: &Query<'_>,
    ) -> Result<Option<String>, Failure> {
        let shape = session.shape(query).await?;
        // Without ids, the order of the rows counts.
        if shape.id().1.is_none() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT count(*), sum(hashtextextended(q::TEXT, 0)), sum(hashtextextended(q::TEXT, 1)) \
             FROM ({}\n) AS q",
            query.sql
        );
        let sums = session.query(&format!("adding up `{}`", query.table), sql).await?;
        let sums: Vec<_> = sums.iter().flatten().map(|cell| cell.shown().into_owned()).collect();
        // The name of an own query's column says which attribute it is.
        Ok(Some(format!("{} {shape:?}", sums.join(" "))))
    }

    /// A standby cannot be written.
    async fn may_prune(&self, session: &mut PostgresSession) -> Result<bool, SourceError> {
        let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END";
        Ok(count(session, "asking whether the server is a standby", sql).await? == 0)
    }

    fn listen(&self, heard: Heard<'_>) -> impl Future<Output = Result<(), SourceError>> + Send {
        self.0.listen(heard)
    }
}

/// A connection to the server.
struct PostgresSession {
    postgres: Arc<Postgres>,
    client: Client,
    is_admin: bool,
    /// The connection that holds the lock of an edit or a setup. The lock ends with it.
    lock: Option<Client>,
}

impl PostgresSession {
    /// What the columns of a query are.
    async fn shape(&mut self, query: &Query<'_>) -> Result<Shape, Failure> {
        if !query.is_own {
            return Ok(query.shape(&[])?);
        }
        let sql = format!("SELECT * FROM ({}\n) AS q LIMIT 0", query.sql);
        let answer = self.in_time(&query.reading(), self.client.simple_query(&sql)).await?;
        let columns = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::RowDescription(columns) => Some(columns),
            _ => None,
        });
        let names: Vec<_> = columns
            .into_iter()
            .flat_map(|columns| columns.iter())
            .map(|column| column.name().into())
            .collect();
        Ok(query.shape(&names)?)
    }

    async fn in_time<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match timeout(STALL, work).await {
            Ok(done) => done.map_err(|error| self.postgres.failure(what, &error, self.is_admin)),
            Err(_) => Err(self.postgres.stalled(what)),
        }
    }
}

impl Session for PostgresSession {
    async fn run(&mut self, what: &str, sql: &str) -> Result<(), Failure> {
        self.in_time(what, self.client.batch_execute(sql)).await
    }

    async fn execute(&mut self, what: &str, sql: String, params: Vec<Cell>) -> Result<u64, Failure> {
        let (sql, params) = (numbered(&sql), params.iter().map(Param).collect::<Vec<_>>());
        let params = typed(&params);
        self.in_time(what, self.client.execute_typed(&sql, &params)).await
    }

    async fn query(&mut self, what: &str, sql: String) -> Result<Vec<Vec<Cell>>, Failure> {
        let answer = self.in_time(what, self.client.simple_query(&sql)).await?;
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(cells(row)),
            _ => None,
        });
        Ok(rows.collect())
    }

    async fn ask(&mut self, what: &str, sql: String, params: Vec<Cell>) -> Result<Vec<Vec<Cell>>, Failure> {
        let (sql, params) = (numbered(&sql), params.iter().map(Param).collect::<Vec<_>>());
        let params = typed(&params);
        let asking = async {
            let rows = self.client.query_typed(&sql, &params).await?;
            rows.iter().map(of_row).collect()
        };
        self.in_time(what, asking).await
    }

    async fn send(
        &mut self,
        query: &Query<'_>,
        budget: Budget,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<Sent, Failure> {
        let what = query.reading();
        let mut answer = pin!(self.in_time(&what, self.client.simple_query_raw(&query.sql)).await?);
        let mut batches = None;
        loop {
            let filling = async {
                loop {
                    let next = answer.try_next().await;
                    match next.map_err(|error| self.postgres.failure(&what, &error, self.is_admin))? {
                        Some(SimpleQueryMessage::RowDescription(columns)) => {
                            let names: Vec<_> =
                                columns.iter().map(|column| Cow::from(column.name())).collect();
                            batches = Some(Batches::new(query, query.shape(&names)?, budget));
                        }
                        Some(SimpleQueryMessage::Row(row)) => {
                            let is_full = match &mut batches {
                                Some(batches) => batches.push(cells(&row))?,
                                None => false,
                            };
                            if is_full {
                                return Ok(false);
                            }
                        }
                        Some(_) => {}
                        None => return Ok::<bool, Failure>(true),
                    }
                }
            };
            let is_last = timeout(STALL, filling).await.map_err(|_| self.postgres.stalled(&what))??;
            let Some(batches) = &mut batches else {
                let why = "it returns no rows: it must be a SELECT";
                return Err(Failure { kind: FailureKind::Other, error: self.postgres.statement(&what, why) });
            };
            std::thread::yield_now();
            rows.send(batches.take()).await.map_err(|_| SourceError::Cancelled)?;
            if is_last {
                return Ok(batches.sent());
            }
        }
    }

    /// The library says goodbye to the server when the client is dropped.
    async fn close(self) {}
}
