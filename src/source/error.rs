//! Why a source could not be read, edited or set up.

use std::path::PathBuf;

use crate::core::model::Table;

/// Why a source could not be read, edited or set up. Each message is one line that
/// names the thing and what to do; none shows a password. The command line adds which
/// options are concerned.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The SQLite file does not exist.
    #[error("there is no database at {}: create it, or name another file", .0.display())]
    NoFile(PathBuf),
    /// The SQLite file cannot be opened or created.
    #[error(
        "cannot open the database {} ({why}): check its path, and that the file and its folder may be written",
        .path.display()
    )]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach the database at {at} ({why}): is it running, and is the address right?")]
    Unreachable {
        /// Address or socket.
        at: String,
        /// What the system says.
        why: String,
    },
    /// TLS to the database failed.
    #[error(
        "no TLS with the database at {at} ({why}): check that the server offers TLS, and its certificate"
    )]
    NoTls {
        /// Address or socket.
        at: String,
        /// What the library says.
        why: String,
    },
    /// The account is unknown, or its password is wrong.
    #[error(
        "the database at {at} refuses the user `{user}`: check the name and the password, \
         and that the account may connect from this machine"
    )]
    Refused {
        /// Address or socket.
        at: String,
        /// The account.
        user: String,
        /// Whether it is the administrator's, which only setup uses.
        is_admin: bool,
    },
    /// The account lacks a right.
    #[error("{what} failed in {source_name} ({why}): grant that right to `{user}`, or give another account")]
    Denied {
        /// What was tried.
        what: String,
        /// The source's name.
        source_name: String,
        /// What the database says.
        why: String,
        /// The account.
        user: String,
        /// Whether it is the administrator's, which only setup uses.
        is_admin: bool,
    },
    /// The database itself is missing or closed to the account.
    #[error("the user `{user}` cannot use the database `{name}` at {at}: check its name, or create both")]
    NoDatabase {
        /// Address or socket.
        at: String,
        /// The database.
        name: String,
        /// The account.
        user: String,
    },
    /// A table is missing.
    #[error("the table `{table}` is missing in {source_name}: create it, or give a query of your own")]
    NoTable {
        /// The missing table.
        table: Table,
        /// The source's name.
        source_name: String,
    },
    /// The operator's own query does not select what is needed.
    #[error("the query for {table} selects {found} columns, but it must select {wanted}")]
    Columns {
        /// The table it stands for.
        table: Table,
        /// How many columns it selects.
        found: usize,
        /// The columns it must select.
        wanted: String,
    },
    /// A statement failed.
    #[error("{what} failed in {source_name}: {why}")]
    Statement {
        /// What was tried.
        what: String,
        /// The source's name.
        source_name: String,
        /// What the database says.
        why: String,
    },
    /// The reader of the rows is gone.
    #[error("the load was cancelled")]
    Cancelled,
    /// Somebody else has removed a row that is to be edited.
    #[error("there is no {table} id {id} any more: nothing was changed, look again and repeat")]
    Gone {
        /// Its table.
        table: Table,
        /// Its id.
        id: i64,
    },
    /// The connection ended during the commit.
    #[error(
        "{source_name} did not say whether the edits are kept ({why}): look what is there before you repeat them"
    )]
    Uncertain {
        /// The source's name.
        source_name: String,
        /// What the system says.
        why: String,
    },
    /// Another edit took too long.
    #[error("somebody else is editing {0}: nothing was changed, try again when they are done")]
    Busy(String),
    /// The operator's own query failed.
    #[error("your query for {table} failed in {source_name}: {why}")]
    OwnQueryFailed {
        /// The table it stands for.
        table: Table,
        /// The source's name.
        source_name: String,
        /// What the database says.
        why: String,
    },
    /// The rows come from the operator's own query.
    #[error("{table} comes from a query of your own: edit it where the query reads it")]
    OwnQuery {
        /// The table it stands for.
        table: Table,
    },
    /// A table lacks a column, such as the one for the tenant of a rule.
    #[error("the table `{table}` has no column `{column}`: set the database up to add it")]
    NoColumn {
        /// The table.
        table: Table,
        /// The missing column.
        column: &'static str,
    },
    /// A table cannot undo an edit that fails half-way.
    #[error(
        "a table of users or rules has no transactions, so that edits could be made by halves: \
         ALTER TABLE user_auth ENGINE = InnoDB, and jitsi_property likewise"
    )]
    NoTransactions,
}

impl SourceError {
    /// Whether the source itself is out of reach, so that a sign of life from it is
    /// worth another attempt.
    pub fn is_unreachable(&self) -> bool {
        use SourceError::{CannotOpen, NoFile, NoTls, Unreachable};
        matches!(self, NoFile(_) | CannotOpen { .. } | Unreachable { .. } | NoTls { .. })
    }
}

/// An error of a statement, and whether it is one that the shared code has an answer to.
pub(super) struct Failure {
    pub kind: FailureKind,
    pub error: SourceError,
}

/// The errors of statements that the shared code has an answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// A table that the statement names does not exist.
    NoTable,
    /// What the statement creates exists already.
    Exists,
    /// Somebody else holds a lock.
    Busy,
    /// The server did not answer, so that it may or may not have done it.
    NoAnswer,
    /// Anything else.
    Other,
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        Failure { kind: FailureKind::Other, error }
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> SourceError {
        failure.error
    }
}

/// Databases quote from statements of several lines; the log has one.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
