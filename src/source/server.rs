//! Where a database server is, and how to connect to it.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::SourceError;
use super::error::one_line;
use super::tls::{self, Tls};
use crate::core::secret::Secret;

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

    /// The name for the log. `kind` is that of the server.
    pub(super) fn name(&self, kind: &str) -> String {
        format!("the {kind} database {} at {}", self.database, self.at())
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
    pub(super) fn statement(&self, kind: &str, what: &str, why: &str) -> SourceError {
        SourceError::Statement { what: what.into(), source_name: self.name(kind), why: one_line(why) }
    }
}
