//! Connects to the server, and creates the database and the account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::time::timeout;

use super::super::SourceError;
use super::super::backend::{Backend, Session};
use super::super::database::close;
use super::super::error::Failure;
use super::super::server::{DbAccount, Endpoint};
use super::super::setup::refuse_views;
use super::tunnel::Tunnel;
use super::{Mysql, MysqlBackend, MysqlSession, SETUP_MODE, STALL};
use crate::core::model::Cell;
use crate::core::secret::Secret;

/// How long connecting may take. Operators expect an answer from the command line within ten
/// seconds.
const CONNECT: Duration = Duration::from_secs(6);
/// The first statements of each connection. By default, the server may use another character
/// set, wait a whole day for a locked table, or begin a transaction with each statement.
const INIT: [&str; 3] = [
    "SET NAMES utf8mb4",
    "SET SESSION lock_wait_timeout = 5",
    "SET SESSION autocommit = 1, completion_type = 'NO_CHAIN'",
];

impl Mysql {
    pub(super) fn name(&self) -> String {
        self.server.name()
    }

    fn opts(&self, user: &str, password: &Secret, database: Option<&str>, tunnel: Option<&Tunnel>) -> Opts {
        let password = password.reveal();
        let opts = OptsBuilder::default()
            .user(Some(user))
            .pass((!password.is_empty()).then_some(password))
            .db_name(database)
            // Otherwise the library would switch from TCP to a socket that it finds itself.
            .prefer_socket(false)
            .init(INIT.to_vec())
            .tcp_keepalive(Some(STALL))
            // Count the rows that an UPDATE finds, not only those that it changes: rows that
            // are not found are reported as removed.
            .client_found_rows(true)
            .stmt_cache_size(0);
        match (tunnel, &self.server.endpoint) {
            (Some(tunnel), _) => opts.socket(Some(&*tunnel.socket)),
            (None, Endpoint::Tcp(host, port)) => opts.ip_or_hostname(host).tcp_port(*port),
            (None, Endpoint::Socket(path)) => opts.socket(Some(path.to_string_lossy())),
        }
        .into()
    }

    /// Connects as `account`.
    pub(super) async fn connect(
        self: &Arc<Self>,
        account: &DbAccount,
        database: Option<&str>,
    ) -> Result<MysqlSession, SourceError> {
        let is_admin = self.server.admin.as_ref().is_some_and(|admin| std::ptr::eq(admin, account));
        let mut password = account.password();
        let (conn, tunnel) = loop {
            let config = self.server.client_config().await?;
            let connecting = async {
                let tunnel = match config {
                    Some(config) => Some(Tunnel::open(&self.server, config).await?),
                    None => None,
                };
                match Conn::new(self.opts(&account.user, &password, database, tunnel.as_ref())).await {
                    Ok(conn) => Ok((conn, tunnel)),
                    Err(error) => {
                        // What ended the tunnel is the cause.
                        if let Some(tunnel) = tunnel {
                            tunnel.end().await?;
                        }
                        Err(self.failure("connecting", &error, is_admin).error)
                    }
                }
            };
            match timeout(CONNECT, connecting).await {
                Ok(Ok(connected)) => break connected,
                Ok(Err(refused)) => password = account.next_password(&password, refused).await?,
                Err(_) => {
                    let why = format!("no answer in {} s", CONNECT.as_secs());
                    return Err(SourceError::Unreachable { at: self.server.at(), why });
                }
            }
        };
        Ok(MysqlSession { mysql: self.clone(), conn, tunnel, is_admin, prepared: HashMap::new() })
    }

    /// Creates the database and the account, as the administrator.
    pub(super) async fn create_database(
        self: &Arc<Self>,
        admin: &DbAccount,
    ) -> Result<Vec<String>, SourceError> {
        let mut session = self.connect(admin, None).await?;
        // In this mode, a backslash is an escape character in literals.
        session.run("setting the SQL mode", "SET SESSION sql_mode = ''").await?;
        let from = match &self.server.from {
            Some(from) => from.clone(),
            None => {
                let seen = "SELECT substring_index(user(), '@', -1)".to_owned();
                let found = session.query("asking for our address", seen).await?;
                let found = found.into_iter().flatten().next().unwrap_or(Cell::Null);
                found.text().ok().flatten().map_or_else(|| "localhost".into(), |from| from.into_owned())
            }
        };
        let views = MysqlBackend::DIALECT.list_views.replace("DATABASE()", &literal(&self.server.database));
        refuse_views(&mut session, &views, self.noted, self.name()).await?;
        let (name, user, from) = (&self.server.database, literal(&self.server.account.user), literal(&from));
        // In GRANT, `_` and `%` in the name of a database are wildcards.
        let pattern = name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%");
        let (database, pattern) = (identifier(name), identifier(&pattern));
        let password = literal(self.server.account.password().reveal());
        for (what, sql) in [
            (
                "creating the database",
                format!("CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4"),
            ),
            (
                "creating the account",
                format!("CREATE USER IF NOT EXISTS {user}@{from} IDENTIFIED BY {password}"),
            ),
            ("granting access", format!("GRANT ALL ON {pattern}.* TO {user}@{from}")),
        ] {
            session.run(what, &sql).await?;
        }
        close(session).await;
        Ok(vec![format!("database `{name}` and account {user}@{from} exist")])
    }
}

impl MysqlSession {
    /// Creates a trigger as the administrator, if there is one. A server with a binary log refuses
    /// it from others. The trigger acts as the account, as if the account had created it: an edit by
    /// anybody needs the account on whose behalf the trigger acts, and the administrator's may be
    /// removed or renamed.
    pub(super) async fn create_as_admin(
        &mut self,
        what: &str,
        sql: &str,
        refused: Failure,
    ) -> Result<(), Failure> {
        let mysql = self.mysql.clone();
        let (Some(admin), Some(trigger)) = (&mysql.server.admin, sql.strip_prefix("CREATE TRIGGER ")) else {
            return Err(refused);
        };
        let account = self.query("asking for our account", "SELECT current_user()".into()).await?;
        let account = account.iter().flatten().map(|name| name.shown().into_owned()).next();
        // A user's name may contain `@`. A host does not.
        let account = account.as_ref().and_then(|account| account.rsplit_once('@'));
        let Some((user, host)) = account else { return Err(refused) };
        let sql = format!("CREATE DEFINER = {}@{} TRIGGER {trigger}", identifier(user), identifier(host));
        let mut session = mysql.connect(admin, Some(&mysql.server.database)).await?;
        for sql in [SETUP_MODE, &sql] {
            session.in_time(what, async |conn, _| conn.query_drop(sql).await).await?;
        }
        close(session).await;
        Ok(())
    }
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_cannot_leave_their_quotes() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
    }
}
