//! Translates the server's errors.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::super::SourceError;
use super::super::error::{Failure, FailureKind, one_line};
use super::super::tls::{Tls, tls_error};
use super::{Postgres, STALL};

impl Postgres {
    pub(super) fn statement(&self, what: &str, why: &str) -> SourceError {
        self.server.statement(what, why)
    }

    pub(super) fn stalled(&self, what: &str) -> Failure {
        let error = self.statement(what, &format!("nothing arrived for {} s", STALL.as_secs()));
        Failure { kind: FailureKind::NoAnswer, error }
    }

    /// Translates an error of the library. `is_admin` says whether it happened on the
    /// administrator's connection.
    pub(super) fn failure(&self, what: &str, error: &Error, is_admin: bool) -> Failure {
        if let Some(server) = error.as_db_error() {
            return Failure { kind: kind(server.code()), error: self.server_error(what, server, is_admin) };
        }
        // The library's text says what failed, and not why.
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let (at, why) = (self.server.at(), one_line(&format!("{error}{cause}")));
        let is_of_tls = why.contains("TLS") || tls_error(error).is_some();
        let (kind, error) = if is_of_tls && !matches!(self.server.tls, Tls::Off) {
            (FailureKind::Other, self.server.handshake_failure(error))
        } else if why.contains("password missing") {
            (FailureKind::Other, self.server.refused(is_admin))
        } else {
            (FailureKind::NoAnswer, SourceError::Unreachable { at, why })
        };
        Failure { kind, error }
    }

    fn server_error(&self, what: &str, error: &DbError, is_admin: bool) -> SourceError {
        let (at, user) = (self.server.at(), self.server.account(is_admin).user.clone());
        let why = one_line(error.message());
        match error.code() {
            // The server's rules (pg_hba.conf) have one for this account, if any, only with TLS.
            &SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                if matches!(self.server.tls, Tls::Off)
                    && ["no encryption", "SSL off"].iter().any(|words| why.contains(words)) =>
            {
                SourceError::TlsDemanded { at }
            }
            &SqlState::INVALID_AUTHORIZATION_SPECIFICATION | &SqlState::INVALID_PASSWORD => {
                self.server.refused(is_admin)
            }
            &SqlState::INVALID_CATALOG_NAME => {
                SourceError::NoDatabase { at, name: self.server.database.clone(), user }
            }
            &SqlState::INSUFFICIENT_PRIVILEGE => {
                let (what, source_name) = (what.into(), self.server.name());
                SourceError::Denied { what, source_name, why, user, is_admin }
            }
            code if is_gone(code) => SourceError::Unreachable { at, why },
            // The server's message may quote the statement, which may contain a password.
            &SqlState::SYNTAX_ERROR if is_admin => {
                self.statement(what, "the server does not understand the statement")
            }
            _ => self.statement(what, &why),
        }
    }
}

/// Whether the server ends this connection, or takes none yet.
fn is_gone(code: &SqlState) -> bool {
    let ended = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    code.code().starts_with("08") || ended.contains(code)
}

fn kind(code: &SqlState) -> FailureKind {
    let is_one_of = |codes: &[SqlState]| codes.contains(code);
    if is_one_of(&[SqlState::UNDEFINED_TABLE]) {
        FailureKind::NoTable
    } else if is_one_of(&[SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_COLUMN, SqlState::DUPLICATE_OBJECT])
    {
        FailureKind::Exists
    } else if is_one_of(&[
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ]) {
        FailureKind::Busy
    } else if is_gone(code) {
        FailureKind::NoAnswer
    } else {
        FailureKind::Other
    }
}
