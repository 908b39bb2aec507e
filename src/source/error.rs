//! Why a source could not be read, edited or set up.

use std::path::PathBuf;

use crate::core::model::Table;

/// Why a source could not be read, edited or set up. Each message is one line that says what
/// is wrong and what to do. No message contains a password. The command line adds the
/// options to check.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The SQLite file does not exist.
    #[error("there is no database at {}: create it, or name another file", .0.display())]
    NoFile(PathBuf),
    /// The SQLite file that the operator's own query reads does not exist.
    #[error("there is no database at {}: name the file that your own query reads", .0.display())]
    NoForeignFile(PathBuf),
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
    /// The server cannot be reached, or the connection broke.
    #[error("cannot reach the database at {at} ({why}): is it running, and is the address right?")]
    Unreachable {
        /// Address or socket.
        at: String,
        /// What the system says.
        why: String,
    },
    /// TLS to the database failed.
    #[error("no TLS with the database at {at}: {why}")]
    NoTls {
        /// Address or socket.
        at: String,
        /// Why, and what to do.
        why: String,
    },
    /// The account is unknown, or its password is wrong.
    #[error(
        "the database at {at} refuses the user `{user}`: check the name and the password, \
         and that the account may connect from this machine{demands}"
    )]
    Refused {
        /// Address or socket.
        at: String,
        /// The account.
        user: String,
        /// Whether it is the administrator's account, which only setup uses.
        is_admin: bool,
        /// What else the account may demand that the options do not give, after a semicolon.
        demands: &'static str,
    },
    /// The server accepts only connections with TLS.
    #[error("the database at {at} accepts only connections with TLS, but TLS is off: turn it on")]
    TlsDemanded {
        /// Address or socket.
        at: String,
    },
    /// The account is refused, and the file with its password cannot be read again.
    #[error("{refused}; the password may be another one now, but jitsiprovs {why}")]
    NotReadAgain {
        /// The refusal.
        refused: Box<SourceError>,
        /// "cannot read", the file, and what the system says.
        why: String,
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
        /// Whether it is the administrator's account, which only setup uses.
        is_admin: bool,
    },
    /// The database does not exist, or the account may not use it.
    #[error("the user `{user}` cannot use the database `{name}` at {at}: check its name, or create both")]
    NoDatabase {
        /// Address or socket.
        at: String,
        /// The database.
        name: String,
        /// The account.
        user: String,
    },
    /// The same for a database that the operator's own query reads.
    #[error(
        "the user `{user}` cannot use the database `{name}` at {at}: name the one that your own query reads, \
         and let the user read it"
    )]
    NoForeignDatabase {
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
    /// There are views in place of tables, and setup cannot work with them.
    #[error(
        "{source_name} has views in place of tables ({}): setup has changed nothing, because a view can have \
         no triggers and no further columns; serve the database without setup, or read the views with \
         queries of your own", names(.tables)
    )]
    Views {
        /// The tables.
        tables: Vec<Table>,
        /// The source's name.
        source_name: String,
    },
    /// A table of ours is missing that a server can do without.
    #[error("the table `{table}` is missing in {source_name}: set the database up to create it")]
    NoOwnTable {
        /// The missing table.
        table: &'static str,
        /// The source's name.
        source_name: String,
    },
    /// The operator's own query selects the wrong number of columns.
    #[error("the query for {table} selects {found} columns, but it must select {wanted}")]
    Columns {
        /// The table that the query replaces.
        table: Table,
        /// How many columns it selects.
        found: usize,
        /// The columns it must select.
        wanted: String,
    },
    /// A further column of the operator's own query cannot be an attribute.
    #[error("the query for {table} selects a column called `{column}`: {why}")]
    ColumnName {
        /// The table that the query replaces.
        table: Table,
        /// The column's name.
        column: String,
        /// What is wrong with it, and what to do.
        why: &'static str,
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
    /// The load was stopped, or nobody reads its rows any more.
    #[error("the load was cancelled")]
    Cancelled,
    /// Somebody else has removed the row to edit.
    #[error("{table} id {id} no longer exists: nothing was changed, so check the rows and repeat")]
    Gone {
        /// Its table.
        table: Table,
        /// Its id.
        id: i64,
    },
    /// The connection broke during the commit.
    #[error(
        "{source_name} did not say whether the edits are kept ({why}): check the rows before you repeat them"
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
        /// The table that the query replaces.
        table: Table,
        /// The source's name.
        source_name: String,
        /// What the database says.
        why: String,
    },
    /// The rows come from the operator's own query.
    #[error("{table} comes from a query of your own: edit it where the query reads it")]
    OwnQuery {
        /// The table that the query replaces.
        table: Table,
    },
    /// The rows are too many or too large to be kept in memory.
    #[error(
        "{what} sends more than {mib} MiB: check for a query that never ends, or allow more if there is memory for it"
    )]
    TooMuch {
        /// What was read.
        what: String,
        /// How many MiB of rows a load may read.
        mib: u64,
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
        "a table of users or rules has no transactions, so an edit that fails could not be undone: \
         ALTER TABLE user_auth ENGINE = InnoDB, and likewise for the other tables"
    )]
    NoTransactions,
}

fn names(tables: &[Table]) -> String {
    tables.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ")
}

impl SourceError {
    /// Whether the source itself cannot be reached. Then another attempt is worth trying as
    /// soon as it answers.
    pub fn is_unreachable(&self) -> bool {
        use SourceError::{CannotOpen, NoFile, NoForeignFile, NoTls, Unreachable};
        matches!(self, NoFile(_) | NoForeignFile(_) | CannotOpen { .. } | Unreachable { .. } | NoTls { .. })
    }
}

/// An error of a statement, and its kind for the code that all databases share.
pub(super) struct Failure {
    pub kind: FailureKind,
    pub error: SourceError,
}

/// The kinds of errors that the shared code handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// A table that the statement names does not exist.
    NoTable,
    /// The thing that the statement creates already exists.
    Exists,
    /// Somebody else holds a lock.
    Busy,
    /// The file of the database may only be read.
    ReadOnly,
    /// Only an administrator may do this.
    AdminsOnly,
    /// The server did not answer, so the statement may or may not have been carried out.
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

/// Puts a message into one line. Databases quote parts of statements, which may have several.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
