//! Connects to the server, takes locks, and creates the database and the account.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::SourceError;
use super::super::backend::Session;
use super::super::database::{close, count};
use super::super::error::FailureKind;
use super::super::server::Endpoint;
use super::{Postgres, PostgresSession, STALL};
use crate::core::secret::Secret;

/// How long connecting may take. Operators expect an answer from the command line within ten
/// seconds.
const CONNECT: Duration = Duration::from_secs(6);
/// The database with which an administrator connects to create another one.
const ADMIN_DATABASE: &str = "postgres";

/// What only one process does at a time in a database.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lock {
    /// An edit waits for 50 s, less than a statement may take.
    Edit,
    Setup,
}

impl Lock {
    /// Takes the lock in a transaction of its own: a pooler would keep the lock of a session. The
    /// first number is ours, so that other programs do not use the same.
    fn take(self) -> String {
        let (number, seconds) = match self {
            Lock::Edit => (1, 50),
            Lock::Setup => (2, 30),
        };
        format!(
            "BEGIN; SET LOCAL lock_timeout = '{seconds}s'; SET LOCAL idle_in_transaction_session_timeout = 0; \
             SELECT pg_advisory_xact_lock(1785296752, {number})"
        )
    }
}

impl Postgres {
    fn config(&self, user: &str, password: &Secret, database: &str) -> Config {
        let mut config = Config::new();
        config.user(user).dbname(database).application_name("jitsiprovs");
        config.keepalives_idle(STALL).connect_timeout(CONNECT);
        if !password.reveal().is_empty() {
            config.password(password.reveal());
        }
        match &self.server.endpoint {
            Endpoint::Tcp(host, port) => config.host(host).port(*port),
            Endpoint::Socket(path) => {
                let (folder, port) = socket(path);
                config.host_path(folder).port(port)
            }
        };
        config
    }

    /// Connects, as the administrator or with the usual account. `notified` gets a message for each
    /// notification.
    pub(super) async fn client(
        &self,
        is_admin: bool,
        database: &str,
        notified: Option<mpsc::Sender<()>>,
    ) -> Result<Client, SourceError> {
        let account = self.server.account(is_admin);
        let mut password = account.password();
        loop {
            let mut config = self.config(&account.user, &password, database);
            let tls = self.server.client_config().await?;
            let notified = notified.clone();
            let connecting = async {
                match tls {
                    None => {
                        let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await?;
                        drive(connection, notified);
                        Ok(client)
                    }
                    Some(tls) => {
                        let tls = MakeRustlsConnect::new(Arc::unwrap_or_clone(tls));
                        let (client, connection) = config.ssl_mode(SslMode::Require).connect(tls).await?;
                        drive(connection, notified);
                        Ok(client)
                    }
                }
            };
            match timeout(CONNECT, connecting).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => {
                    let refused = self.failure("connecting", &error, is_admin).error;
                    password = account.next_password(&password, refused).await?;
                }
                Err(_) => {
                    let why = format!("no answer in {} s", CONNECT.as_secs());
                    return Err(SourceError::Unreachable { at: self.server.at(), why });
                }
            }
        }
    }

    /// Connects for statements.
    pub(super) async fn session(self: &Arc<Self>, is_admin: bool) -> Result<PostgresSession, SourceError> {
        self.session_in(is_admin, &self.server.database).await
    }

    async fn session_in(
        self: &Arc<Self>,
        is_admin: bool,
        database: &str,
    ) -> Result<PostgresSession, SourceError> {
        let client = self.client(is_admin, database, None).await?;
        Ok(PostgresSession { postgres: self.clone(), client, is_admin, lock: None })
    }

    /// Waits for a lock, and holds it until the client is dropped.
    pub(super) async fn lock(&self, lock: Lock) -> Result<Client, SourceError> {
        let what = match lock {
            Lock::Edit => "waiting for other edits",
            Lock::Setup => "waiting for another setup",
        };
        let client = self.client(false, &self.server.database, None).await?;
        match timeout(STALL, client.batch_execute(&lock.take())).await {
            Err(_) => Err(self.stalled(what).error),
            Ok(Ok(())) => Ok(client),
            Ok(Err(error)) => {
                let failure = self.failure(what, &error, false);
                Err(match failure.kind {
                    FailureKind::Busy => SourceError::Busy(self.server.name()),
                    _ => failure.error,
                })
            }
        }
    }

    /// Creates the database and the account, as the administrator, unless they exist.
    pub(super) async fn create_database(self: &Arc<Self>) -> Result<Vec<String>, SourceError> {
        let mut session = self.session_in(true, ADMIN_DATABASE).await?;
        let (name, user) = (&self.server.database, &self.server.account.user);
        let (database, account) = (identifier(name), identifier(user));
        let what = "looking for the account";
        let known = format!("SELECT count(*) FROM pg_roles WHERE rolname = {}", literal(user));
        if count(&mut session, what, &known).await? == 0 {
            let password = literal(self.server.account.password().reveal());
            let sql = format!("CREATE ROLE {account} LOGIN PASSWORD {password}");
            session.run("creating the account", &sql).await?;
        }
        let what = "looking for the database";
        let known = format!("SELECT count(*) FROM pg_database WHERE datname = {}", literal(name));
        if count(&mut session, what, &known).await? == 0 {
            let sql = format!("CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0");
            session.run("creating the database", &sql).await?;
        }
        let sql = format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {account}");
        session.run("granting access", &sql).await?;
        close(session).await;
        let mut session = self.session_in(true, name).await?;
        let sql = format!("GRANT USAGE, CREATE ON SCHEMA public TO {account}");
        session.run("granting access", &sql).await?;
        close(session).await;
        Ok(vec![format!("database `{name}` and account {user} exist")])
    }
}

/// Works for a connection until its client is dropped.
fn drive<S, T>(mut connection: Connection<S, T>, notified: Option<mpsc::Sender<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsStream + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let (AsyncMessage::Notification(_), Some(notified)) = (message, &notified) {
                // If one is waiting already, it stands for both.
                let _ = notified.try_send(());
            }
        }
    });
}

/// The folder and the port of a socket, which is called `.s.PGSQL.5432`. The path may be that of
/// the folder, as in PostgreSQL's own tools.
fn socket(path: &Path) -> (PathBuf, u16) {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let port = name.strip_prefix(".s.PGSQL.").and_then(|port| port.parse().ok());
    match (port, path.parent()) {
        (Some(port), Some(folder)) => (folder.to_owned(), port),
        _ => (path.to_owned(), 5432),
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_cannot_leave_their_quotes() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's \\"), "E'it''s \\\\'");
    }

    #[test]
    fn a_socket_is_named_by_itself_or_by_its_folder() {
        for (path, folder, port) in [
            ("/run/postgresql/.s.PGSQL.5433", "/run/postgresql", 5433),
            ("/run/postgresql", "/run/postgresql", 5432),
            ("/run/.s.PGSQL.x", "/run/.s.PGSQL.x", 5432),
        ] {
            assert_eq!(socket(Path::new(path)), (PathBuf::from(folder), port));
        }
    }
}
