//! Translates the server's errors.

use mysql_async::{DriverError, Error, IoError, ServerError};

use super::super::SourceError;
use super::super::error::{Failure, FailureKind, one_line};
use super::Mysql;

/// The error codes of the server that are handled separately.
mod code {
    pub const DATABASE_DENIED: u16 = 1044;
    pub const ACCESS_DENIED: u16 = 1045;
    pub const NO_SUCH_DATABASE: u16 = 1049;
    pub const TABLE_EXISTS: u16 = 1050;
    pub const COLUMN_EXISTS: u16 = 1060;
    pub const INDEX_EXISTS: u16 = 1061;
    pub const SYNTAX: u16 = 1064;
    pub const HOST_DENIED: u16 = 1130;
    pub const TABLE_DENIED: u16 = 1142;
    pub const COLUMN_DENIED: u16 = 1143;
    pub const NO_SUCH_TABLE: u16 = 1146;
    pub const LOCKED_TOO_LONG: u16 = 1205;
    pub const DEADLOCK: u16 = 1213;
    pub const PRIVILEGE_MISSING: u16 = 1227;
    pub const TRIGGER_EXISTS: u16 = 1359;
    pub const WRONG_CHARACTERS: u16 = 1366;
    pub const TRIGGERS_NEED_SUPER: u16 = 1419;
    pub const ACCESS_DENIED_NO_PASSWORD: u16 = 1698;
    pub const TLS_DEMANDED: u16 = 3159;
}

impl Mysql {
    pub(super) fn statement(&self, what: &str, why: &str) -> SourceError {
        self.server.statement(what, why)
    }

    /// Translates an error of the library. `is_admin` says whether it happened on the
    /// administrator's connection.
    pub(super) fn failure(&self, what: &str, error: &Error, is_admin: bool) -> Failure {
        let at = self.server.at();
        let (kind, error) = match error {
            Error::Io(IoError::Io(why)) => {
                (FailureKind::NoAnswer, SourceError::Unreachable { at, why: why.to_string() })
            }
            Error::Driver(DriverError::ConnectionClosed) => (
                FailureKind::NoAnswer,
                SourceError::Unreachable { at, why: "the connection was closed".into() },
            ),
            Error::Server(server) => (kind(server.code), self.server_error(what, server, is_admin)),
            other => (FailureKind::NoAnswer, self.statement(what, &other.to_string())),
        };
        Failure { kind, error }
    }

    fn server_error(&self, what: &str, error: &ServerError, is_admin: bool) -> SourceError {
        let (at, user) = (self.server.at(), self.server.account(is_admin).user.clone());
        match error.code {
            code::ACCESS_DENIED | code::ACCESS_DENIED_NO_PASSWORD | code::HOST_DENIED => {
                self.server.refused(is_admin)
            }
            code::TLS_DEMANDED => SourceError::TlsDemanded { at },
            code::NO_SUCH_DATABASE => {
                SourceError::NoDatabase { at, name: self.server.database.clone(), user }
            }
            code::DATABASE_DENIED if !is_admin => {
                SourceError::NoDatabase { at, name: self.server.database.clone(), user }
            }
            code::DATABASE_DENIED | code::TABLE_DENIED | code::COLUMN_DENIED | code::PRIVILEGE_MISSING => {
                let (what, source_name, why) = (what.into(), self.name(), one_line(&error.message));
                SourceError::Denied { what, source_name, why, user, is_admin }
            }
            // The server's message quotes the statement, which may contain a password.
            code::SYNTAX if is_admin => self.statement(what, "the server does not understand the statement"),
            // The server's message quotes the value, which may be a password.
            code::WRONG_CHARACTERS => {
                self.statement(what, "a column cannot hold some of the characters: make it utf8mb4")
            }
            code::TRIGGERS_NEED_SUPER => self.statement(
                what,
                "the server writes a binary log and lets only accounts with the right SUPER create triggers: \
                 repeat the setup with an administrator who has it, or set the server's \
                 log_bin_trust_function_creators to 1 and repeat the setup",
            ),
            _ => self.statement(what, &error.message),
        }
    }
}

fn kind(code: u16) -> FailureKind {
    match code {
        code::NO_SUCH_TABLE => FailureKind::NoTable,
        code::TABLE_EXISTS | code::COLUMN_EXISTS | code::INDEX_EXISTS | code::TRIGGER_EXISTS => {
            FailureKind::Exists
        }
        code::LOCKED_TOO_LONG | code::DEADLOCK => FailureKind::Busy,
        code::TRIGGERS_NEED_SUPER => FailureKind::AdminsOnly,
        _ => FailureKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::server::{DbAccount, DbServer, Endpoint, ServerKind};
    use super::super::super::tls::Tls;
    use super::*;
    use crate::core::model::Table;
    use crate::core::secret::Secret;

    fn source() -> Mysql {
        let account = |user: &str, password| DbAccount::new(user, Secret::new(password), None);
        let server = DbServer {
            kind: ServerKind::Mysql,
            endpoint: Endpoint::Tcp("127.0.0.1".into(), 1),
            tls: Tls::Off,
            database: "d".into(),
            account: account("u", "hunter2"),
            admin: Some(account("root", "hunter3")),
            from: None,
        };
        Mysql { server, noted: [true; Table::COUNT] }
    }

    #[test]
    fn a_statement_that_sets_a_password_is_not_quoted() {
        let source = source();
        let message = "You have an error near 'hunter2'".to_owned();
        let error = ServerError { code: code::SYNTAX, message, state: "42000".into() };
        let error = source.server_error("creating the account", &error, true);
        assert!(error.to_string().contains("creating the account") && !error.to_string().contains("hunter"));
        assert!(!format!("{:?}", source.server).contains("hunter"));
    }

    #[test]
    fn what_is_denied_names_the_account_and_whose_it_is() {
        let source = source();
        let message = "CREATE command denied\nto user".to_owned();
        let error = ServerError { code: code::TABLE_DENIED, message, state: "42000".into() };
        for (is_admin, name) in [(false, "`u`"), (true, "`root`")] {
            let error = source.server_error("creating", &error, is_admin);
            let SourceError::Denied { is_admin: told, .. } = &error else { panic!("{error}") };
            assert_eq!(*told, is_admin);
            let error = error.to_string();
            assert!(error.contains(name) && !error.contains('\n'), "{error}");
        }
    }
}
