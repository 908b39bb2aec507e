//! Where a database server is, and how to connect to it.

use std::path::PathBuf;

use super::SourceError;
use super::error::one_line;
use super::tls::Tls;
use crate::core::secret::Secret;

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

/// An account of the database.
#[derive(Debug, Clone)]
pub struct DbAccount {
    /// The user.
    pub user: String,
    /// The user's password; empty for none.
    pub password: Secret,
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
