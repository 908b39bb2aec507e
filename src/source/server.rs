//! Where a database server is, and how to connect to it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::SourceError;
use super::error::one_line;
use super::tls::{self, Tls};
use crate::core::secret::Secret;
use crate::process::files::{self, Aside};

/// The kind of a database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// MySQL or MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgres,
}

impl ServerKind {
    /// The name, for errors and the log.
    pub fn name(self) -> &'static str {
        match self {
            ServerKind::Mysql => "MySQL",
            ServerKind::Postgres => "PostgreSQL",
        }
    }

    /// The port where such servers usually listen.
    pub fn port(self) -> u16 {
        match self {
            ServerKind::Mysql => 3306,
            ServerKind::Postgres => 5432,
        }
    }

    /// The administrator that such servers usually have.
    pub fn admin(self) -> &'static str {
        match self {
            ServerKind::Mysql => "root",
            ServerKind::Postgres => "postgres",
        }
    }
}

/// Where the server is.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// Host and port.
    Tcp(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

/// An account of the database. Its clones share the password.
#[derive(Debug, Clone)]
pub struct DbAccount {
    /// The user.
    pub user: String,
    /// The password to try; empty for none.
    password: Arc<Mutex<Secret>>,
    /// The file with the password, if it is to be read again.
    file: Option<PathBuf>,
    reading: Aside,
}

impl DbAccount {
    /// An account with a password, which is empty for none. If the password is the first line of
    /// a file that may change, `file` is that file.
    pub fn new(user: impl Into<String>, password: Secret, file: Option<PathBuf>) -> DbAccount {
        let password = Arc::new(Mutex::new(password));
        DbAccount { user: user.into(), password, file, reading: Aside::new() }
    }

    /// The password to try.
    pub(super) fn password(&self) -> Secret {
        self.password.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the password again, if it is in a file.
    ///
    /// # Errors
    /// Those of reading the file. The password stays as it was then.
    pub(super) async fn read_again(&self) -> io::Result<()> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        let path = file.clone();
        let read = self.reading.run(move || files::read(&path)).await.flatten();
        match read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other)) {
            Ok(text) => {
                *self.password.lock().unwrap_or_else(PoisonError::into_inner) = Secret::first_line(&text);
                Ok(())
            }
            // A pipe can be read only once.
            Err(why) if why.kind() == io::ErrorKind::InvalidInput => Ok(()),
            Err(why) => Err(io::Error::new(why.kind(), format!("cannot read {}: {why}", file.display()))),
        }
    }

    /// The password to try after the one that was `tried`, if `error` is a refusal and the file has
    /// another one now. So a password can be changed while the server runs, first in the file or
    /// first in the database.
    ///
    /// # Errors
    /// `error` if there is no other password, and [`SourceError::NotReadAgain`].
    pub(super) async fn next_password(
        &self,
        tried: &Secret,
        error: SourceError,
    ) -> Result<Secret, SourceError> {
        if !matches!(error, SourceError::Refused { .. }) {
            return Err(error);
        }
        if let Err(why) = self.read_again().await {
            return Err(SourceError::NotReadAgain { refused: Box::new(error), why: why.to_string() });
        }
        let password = self.password();
        if password == *tried { Err(error) } else { Ok(password) }
    }
}

/// A database on a server, and how to connect to it.
#[derive(Debug, Clone)]
pub struct DbServer {
    /// What kind of server it is.
    pub kind: ServerKind,
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// The database's name.
    pub database: String,
    /// The account that reads and edits.
    pub account: DbAccount,
    /// The administrator's account, with which setup creates the database and the account.
    pub admin: Option<DbAccount>,
    /// MySQL: the address that the account connects from, as the server sees it. `None` for the
    /// address of this machine.
    pub from: Option<String>,
}

impl DbServer {
    /// The address, for errors.
    pub(super) fn at(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(host, port) => format!("{host}:{port}"),
            Endpoint::Socket(path) => path.display().to_string(),
        }
    }

    /// The name for the log.
    pub(super) fn name(&self) -> String {
        format!("the {} database {} at {}", self.kind.name(), self.database, self.at())
    }

    /// The administrator's account, or the usual one if there is none or `is_admin` is not set.
    pub(super) fn account(&self, is_admin: bool) -> &DbAccount {
        self.admin.as_ref().filter(|_| is_admin).unwrap_or(&self.account)
    }

    /// The configuration of the next handshake; `None` without TLS.
    pub(super) async fn client_config(&self) -> Result<Option<Arc<ClientConfig>>, SourceError> {
        self.tls.client_config().await.map_err(|why| self.no_tls(why))
    }

    /// The name that the server's certificate must have. A Unix socket leads to this machine.
    pub(super) fn tls_name(&self) -> Result<ServerName<'static>, SourceError> {
        let host = match &self.endpoint {
            Endpoint::Tcp(host, _) => host,
            Endpoint::Socket(_) => "localhost",
        };
        self.tls.name(host).map_err(|why| self.no_tls(why))
    }

    /// The error of a failed handshake. `error` is that of the library, or has it as a cause.
    pub(super) fn handshake_failure(&self, error: &(dyn Error + 'static)) -> SourceError {
        self.no_tls(tls::explain(error))
    }

    pub(super) fn no_tls(&self, why: String) -> SourceError {
        SourceError::NoTls { at: self.at(), why }
    }

    /// The error of an account that may not connect. Servers say nothing more of the reason.
    pub(super) fn refused(&self, is_admin: bool) -> SourceError {
        let demands = match &self.tls {
            Tls::Off => "; TLS is off: turn it on if the account demands it",
            Tls::On { identity: None, .. } => {
                "; if the account demands a certificate of the client, give one with its key"
            }
            Tls::On { .. } => {
                "; if the account demands a certificate, check that it is the one that is given"
            }
        };
        SourceError::Refused { at: self.at(), user: self.account(is_admin).user.clone(), is_admin, demands }
    }

    /// The error of a statement.
    pub(super) fn statement(&self, what: &str, why: &str) -> SourceError {
        SourceError::Statement { what: what.into(), source_name: self.name(), why: one_line(why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connects to a server that knows one password. Returns the passwords that were tried.
    async fn connect(account: &DbAccount, known: &str) -> (Vec<String>, Result<(), SourceError>) {
        let (mut password, mut tried) = (account.password(), Vec::new());
        loop {
            tried.push(password.reveal().to_owned());
            if password.reveal() == known {
                return (tried, Ok(()));
            }
            let refused =
                SourceError::Refused { at: "x".into(), user: "u".into(), is_admin: false, demands: "" };
            match account.next_password(&password, refused).await {
                Ok(next) => password = next,
                Err(error) => return (tried, Err(error)),
            }
        }
    }

    #[test]
    fn a_refused_password_is_read_again_and_any_other_is_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("password");
            let account = DbAccount::new("u", Secret::new("old"), Some(file.clone()));
            std::fs::write(&file, "new\r\nnot this").expect("written");
            assert!(matches!(connect(&account, "old").await, (tried, Ok(())) if tried == ["old"]));
            let clone = account.clone();
            assert!(matches!(connect(&account, "new").await, (tried, Ok(())) if tried == ["old", "new"]));
            assert!(matches!(connect(&clone, "new").await, (tried, Ok(())) if tried == ["new"]));
            let (tried, refused) = connect(&account, "other").await;
            assert!(tried == ["new"] && matches!(refused, Err(SourceError::Refused { .. })));
            std::fs::remove_file(&file).expect("removed");
            let (tried, refused) = connect(&account, "other").await;
            let refused = refused.expect_err("refused").to_string();
            assert!(tried == ["new"] && refused.contains(&file.display().to_string()), "{refused}");
            assert!(matches!(connect(&account, "new").await, (tried, Ok(())) if tried == ["new"]));
            let typed = DbAccount::new("u", Secret::new("old"), None);
            assert!(matches!(connect(&typed, "new").await, (tried, Err(_)) if tried == ["old"]));
        });
    }
}
