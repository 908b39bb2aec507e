//! MySQL and MariaDB.

mod changes;
mod edit;
mod setup;

use std::future::Future;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts, Value};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::cursor::{Cursor, NEWEST, WINDOW};
use super::{BATCH, Boxed, Changes, Queries, Query, Source, SourceError, Transaction, Which, one_line};
use crate::core::model::{Cell, Row, Table};
use crate::core::secret::Secret;
use crate::process::files::{self, Aside};

/// How long a connection may take to be made. Less than the ten seconds in
/// which an operator expects an answer from the command line.
const CONNECT: Duration = Duration::from_secs(6);
/// How long a statement, or a batch of rows, may take to arrive. A sorted query
/// of an operator's over a large table may take most of it.
const STALL: Duration = Duration::from_secs(60);
/// What every connection begins with: the server's own character set may be
/// another, its patience with locked tables is a day, and it may be told to
/// begin a transaction with any statement.
const INIT: [&str; 3] = [
    "SET NAMES utf8mb4",
    "SET SESSION lock_wait_timeout = 5",
    "SET SESSION autocommit = 1, completion_type = 'NO_CHAIN'",
];

/// Codes of the server's errors that are told apart.
mod code {
    pub const DATABASE_DENIED: u16 = 1044;
    pub const ACCESS_DENIED: u16 = 1045;
    pub const NO_SUCH_DATABASE: u16 = 1049;
    pub const TABLE_EXISTS: u16 = 1050;
    pub const COLUMN_EXISTS: u16 = 1060;
    pub const INDEX_EXISTS: u16 = 1061;
    pub const SYNTAX: u16 = 1064;
    pub const WRONG_CHARACTERS: u16 = 1366;
    pub const HOST_DENIED: u16 = 1130;
    pub const TABLE_DENIED: u16 = 1142;
    pub const COLUMN_DENIED: u16 = 1143;
    pub const NO_SUCH_TABLE: u16 = 1146;
    pub const PRIVILEGE_MISSING: u16 = 1227;
    pub const LOCKED_TOO_LONG: u16 = 1205;
    pub const DEADLOCK: u16 = 1213;
    pub const TRIGGER_EXISTS: u16 = 1359;
    pub const TRIGGERS_NEED_SUPER: u16 = 1419;
    pub const ACCESS_DENIED_NO_PASSWORD: u16 = 1698;
}

/// Where the server is.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// `--db-ip` and `--db-port`
    Tcp(String, u16),
    /// `--db-socket`
    Socket(PathBuf),
}

/// `--db-tls`
#[derive(Debug, Clone, Default)]
pub enum Tls {
    /// Plain text.
    #[default]
    Off,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the server's certificate is checked, against the usual
    /// roots or the file of `--db-tls-ca`.
    Verify(Option<PathBuf>),
}

/// An account of the database.
#[derive(Debug, Clone)]
pub struct DbAccount {
    /// Its name.
    pub user: String,
    /// Its password; empty for none.
    pub password: Secret,
}

/// A MySQL or MariaDB database (`--db-type mysql`).
#[derive(Debug)]
pub struct Mysql {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Whether and how the connection is encrypted.
    pub tls: Tls,
    /// `--db-name`
    pub database: String,
    /// `--db-user` and `--db-pwd`
    pub account: DbAccount,
    /// `--db-admin` and `--db-apwd`: makes database and account in `setup`.
    pub admin: Option<DbAccount>,
    /// `--db-from`: the address the account connects from, as the server sees
    /// it; `None` for the one it sees this machine under.
    pub from: Option<String>,
    /// What is read instead of the original's tables.
    pub queries: Queries,
    /// What polls need from one to the next; begins with the default.
    pub polling: Polling,
}

/// The connection that polls share, so that each costs one short statement.
#[derive(Default)]
pub struct Polling(Mutex<Option<Conn>>);

impl std::fmt::Debug for Polling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Polling")
    }
}

impl Mysql {
    fn at(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(host, port) => format!("{host}:{port}"),
            Endpoint::Socket(path) => path.display().to_string(),
        }
    }

    fn opts(&self, account: &DbAccount, database: Option<&str>, ca: Option<Vec<u8>>) -> Opts {
        let password = account.password.reveal();
        let opts = OptsBuilder::default()
            .user(Some(&account.user))
            .pass((!password.is_empty()).then_some(password))
            .db_name(database)
            // Or it would leave TCP for a socket it finds by itself.
            .prefer_socket(false)
            .init(INIT.to_vec())
            .tcp_keepalive(Some(STALL))
            // A row that is set to what it is already is not a row that is gone.
            .client_found_rows(true)
            .stmt_cache_size(0);
        let opts = match &self.endpoint {
            Endpoint::Tcp(host, port) => opts.ip_or_hostname(host).tcp_port(*port),
            Endpoint::Socket(path) => opts.socket(Some(path.to_string_lossy())),
        };
        let tls = match &self.tls {
            Tls::Off => None,
            Tls::Require => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
            Tls::Verify(_) => Some(match ca {
                Some(ca) => {
                    SslOpts::default().with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true)
                }
                None => SslOpts::default(),
            }),
        };
        opts.ssl_opts(tls).into()
    }

    /// The certificates that the server's is checked against. They are read for
    /// each connection, since they may be replaced.
    async fn ca(&self) -> Result<Option<Vec<u8>>, SourceError> {
        static READING: LazyLock<Aside> = LazyLock::new(Aside::new);
        let Tls::Verify(Some(path)) = &self.tls else { return Ok(None) };
        let ca = path.clone();
        let read = READING.run(move || files::read(&ca)).await.flatten();
        let why = |why| format!("cannot read {}: {why}", path.display());
        read.map(Some).map_err(|error| SourceError::NoTls { at: self.at(), why: why(error) })
    }

    async fn connect(&self, account: &DbAccount, database: Option<&str>) -> Result<Conn, SourceError> {
        let opts = self.opts(account, database, self.ca().await?);
        match timeout(CONNECT, Conn::new(opts)).await {
            Ok(connected) => connected.map_err(|error| self.error("connecting", &error, account)),
            Err(_) => {
                let why = format!("no answer in {} s", CONNECT.as_secs());
                Err(SourceError::Unreachable { at: self.at(), why })
            }
        }
    }

    fn error(&self, what: &str, error: &mysql_async::Error, account: &DbAccount) -> SourceError {
        use mysql_async::{DriverError, Error as E, IoError};
        let at = self.at();
        match error {
            E::Io(IoError::Tls(why)) => SourceError::NoTls { at, why: why.to_string() },
            E::Driver(DriverError::NoClientSslFlagFromServer) => {
                SourceError::NoTls { at, why: "the server offers none".into() }
            }
            // What the TLS library objects to arrives as bad data.
            E::Io(IoError::Io(why))
                if !matches!(self.tls, Tls::Off) && why.kind() == std::io::ErrorKind::InvalidData =>
            {
                SourceError::NoTls { at, why: why.to_string() }
            }
            E::Io(IoError::Io(why)) => SourceError::Unreachable { at, why: why.to_string() },
            E::Driver(DriverError::ConnectionClosed) => {
                SourceError::Unreachable { at, why: "the connection was closed".into() }
            }
            E::Server(server) => self.server_error(what, server, account),
            other => self.statement(what, &other.to_string()),
        }
    }

    fn server_error(&self, what: &str, error: &mysql_async::ServerError, account: &DbAccount) -> SourceError {
        let (at, user) = (self.at(), account.user.clone());
        let is_admin = self.admin.as_ref().is_some_and(|admin| std::ptr::eq(admin, account));
        let (user_option, password_option) =
            if is_admin { ("--db-admin", "--db-apwd") } else { ("--db-user", "--db-pwd") };
        match error.code {
            code::ACCESS_DENIED | code::ACCESS_DENIED_NO_PASSWORD | code::HOST_DENIED => {
                let from_option = if self.admin.is_some() { " (--db-from)" } else { "" };
                SourceError::Refused { at, user, user_option, password_option, from_option }
            }
            code::NO_SUCH_DATABASE => SourceError::NoDatabase { at, name: self.database.clone(), user },
            code::DATABASE_DENIED if !is_admin => {
                SourceError::NoDatabase { at, name: self.database.clone(), user }
            }
            code::DATABASE_DENIED | code::TABLE_DENIED | code::COLUMN_DENIED | code::PRIVILEGE_MISSING => {
                let why = one_line(&error.message);
                SourceError::Denied { what: what.into(), source_name: self.name(), why, user, user_option }
            }
            // The server would quote the statement, which may set a password.
            code::SYNTAX if is_admin => self.statement(what, "the server does not understand the statement"),
            // The server would quote what may be a password.
            code::WRONG_CHARACTERS => {
                self.statement(what, "a column cannot hold some of the characters: make it utf8mb4")
            }
            code::TRIGGERS_NEED_SUPER => self.statement(
                what,
                "the server writes a binary log and trusts only administrators with triggers: \
                 set its log_bin_trust_function_creators to 1 and repeat --setup",
            ),
            _ => self.statement(what, &error.message),
        }
    }

    fn statement(&self, what: &str, why: &str) -> SourceError {
        SourceError::Statement { what: what.into(), source_name: self.name(), why: one_line(why) }
    }

    async fn run(
        &self,
        conn: &mut Conn,
        what: &str,
        sql: &str,
        account: &DbAccount,
    ) -> Result<(), SourceError> {
        let done = self.in_time(what, conn.query_drop(sql)).await?;
        done.map_err(|error| self.error(what, &error, account))
    }

    async fn first(&self, conn: &mut Conn, what: &str, sql: &str) -> Result<Option<i64>, SourceError> {
        let found = self.in_time(what, conn.query_first::<Option<i64>, _>(sql)).await?;
        Ok(found.map_err(|error| self.error(what, &error, &self.account))?.flatten())
    }

    async fn in_time<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, SourceError> {
        let stalled = || self.statement(what, &format!("nothing came for {} s", STALL.as_secs()));
        timeout(STALL, work).await.map_err(|_| stalled())
    }

    async fn load_all(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Result<Option<Cursor>, SourceError> {
        let mut conn = self.connect(&self.account, Some(&self.database)).await?;
        self.begin(&mut conn, ", READ ONLY").await?;
        let cursor = if wants_cursor { self.cursor(&mut conn).await? } else { None };
        self.send(&mut conn, which, &rows).await?;
        self.run(&mut conn, "ending a transaction", "COMMIT", &self.account).await?;
        self.keep(conn).await;
        Ok(cursor)
    }

    /// What is read in one transaction is the state of one moment, whatever is
    /// written meanwhile and whatever the server's defaults are.
    async fn begin(&self, conn: &mut Conn, mode: &str) -> Result<(), SourceError> {
        for sql in [
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            &format!("START TRANSACTION WITH CONSISTENT SNAPSHOT{mode}"),
        ] {
            self.run(conn, "beginning a transaction", sql, &self.account).await?;
        }
        Ok(())
    }

    async fn has_domain(&self, conn: &mut Conn) -> Result<bool, SourceError> {
        let domain = "SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE() \
                      AND table_name = 'jitsi_property' AND column_name = 'domain'";
        Ok(self.queries.rules.is_none() && self.first(conn, "reading the schema", domain).await? == Some(1))
    }

    async fn cursor(&self, conn: &mut Conn) -> Result<Option<Cursor>, SourceError> {
        let table = "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() \
                     AND table_name = 'jitsiprovs_change'";
        if self.first(conn, "reading the schema", table).await? != Some(1) {
            return Ok(None);
        }
        let newest = match self.lines(conn, NEWEST).await {
            // An account that may not read it is served as if there were none.
            Err(SourceError::Denied { .. }) => return Ok(None),
            lines => lines?.pop(),
        };
        let first = newest.as_ref().map_or(0, |line| line.id) - WINDOW;
        let what = "reading `jitsiprovs_change`";
        let ids = format!("SELECT id FROM jitsiprovs_change WHERE id >= {first} ORDER BY id");
        let ids = self.in_time(what, conn.query::<i64, _>(ids)).await?;
        let ids = ids.map_err(|error| self.error(what, &error, &self.account))?;
        Ok(Some(Cursor::new(newest, ids)))
    }

    async fn send(
        &self,
        conn: &mut Conn,
        which: Which,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<(), SourceError> {
        let has_domain = self.has_domain(conn).await?;
        for query in [self.queries.users(), self.queries.rules(has_domain)] {
            if let Some(query) = query.narrowed(which) {
                self.send_found(conn, &query, rows).await?;
            }
        }
        Ok(())
    }

    async fn send_found(
        &self,
        conn: &mut Conn,
        query: &Query<'_>,
        rows: &mpsc::Sender<Vec<Row>>,
    ) -> Result<(), SourceError> {
        let what = query.reading();
        let failed = |error: mysql_async::Error| match &error {
            mysql_async::Error::Server(server) if server.code == code::NO_SUCH_TABLE && !query.is_own => {
                query.no_table(self.name())
            }
            _ => self.error(&what, &error, &self.account),
        };
        let mut result = self.in_time(&what, conn.query_iter(&*query.sql)).await?.map_err(failed)?;
        query.check(result.columns_ref().len())?;
        let mut place = 0;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            let filling = async {
                while batch.len() < BATCH {
                    let Some(row) = result.next().await? else { break };
                    place += 1;
                    batch.push(query.row(row.unwrap().into_iter().map(cell), place));
                }
                Ok(())
            };
            self.in_time(&what, filling).await?.map_err(failed)?;
            std::thread::yield_now();
            let is_last = batch.len() < BATCH;
            rows.send(batch).await.map_err(|_| SourceError::Cancelled)?;
            if is_last {
                return Ok(());
            }
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
        // The text protocol, which is used here, has only the first two.
        other => Cell::Text(other.as_sql(true).into_bytes()),
    }
}

impl Source for Mysql {
    fn name(&self) -> String {
        format!("the MySQL database {} at {}", self.database, self.at())
    }

    fn load(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Boxed<'_, Result<Option<Cursor>, SourceError>> {
        Box::pin(self.load_all(which, rows, wants_cursor))
    }

    fn changes<'s>(&'s self, cursor: Option<&'s Cursor>) -> Boxed<'s, Result<Changes, SourceError>> {
        Box::pin(self.poll(cursor))
    }

    fn prune(&self) -> Boxed<'_, Result<u64, SourceError>> {
        Box::pin(self.prune_all())
    }

    fn editable(&self, table: Table) -> Result<(), SourceError> {
        self.queries.editable(table)
    }

    fn edit(&self, transaction: Transaction) -> Boxed<'_, Result<(), SourceError>> {
        Box::pin(self.make_all(transaction))
    }

    fn setup(&self) -> Boxed<'_, Result<Vec<String>, SourceError>> {
        Box::pin(self.set_up())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Mysql {
        let account = |user: &str, password| DbAccount { user: user.into(), password: Secret::new(password) };
        Mysql {
            endpoint: Endpoint::Tcp("127.0.0.1".into(), 1),
            tls: Tls::Off,
            database: "d".into(),
            account: account("u", "hunter2"),
            admin: Some(account("root", "hunter3")),
            from: None,
            queries: Queries::default(),
            polling: Polling::default(),
        }
    }

    #[test]
    fn a_statement_that_sets_a_password_is_not_quoted() {
        let source = source();
        let message = "You have an error near 'hunter2'".to_owned();
        let error = mysql_async::ServerError { code: code::SYNTAX, message, state: "42000".into() };
        let error = source.server_error("creating the account", &error, source.admin.as_ref().expect("one"));
        assert!(error.to_string().contains("creating the account") && !error.to_string().contains("hunter"));
        assert!(!format!("{source:?}").contains("hunter"));
    }

    #[test]
    fn what_is_denied_names_the_account_and_its_option() {
        let source = source();
        let message = "CREATE command denied\nto user".to_owned();
        let error = mysql_async::ServerError { code: code::TABLE_DENIED, message, state: "42000".into() };
        for (account, option) in
            [(&source.account, "--db-user"), (source.admin.as_ref().expect("one"), "--db-admin")]
        {
            let error = source.server_error("creating", &error, account).to_string();
            assert!(
                error.contains(&account.user) && error.contains(option) && !error.contains('\n'),
                "{error}"
            );
        }
    }
}
