//! Where users and rules come from: one trait, one file a database.

mod cursor;
mod edit;
mod mysql;
mod schema;
mod sqlite;

use std::borrow::Cow;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::sync::mpsc;

use crate::core::model::{Cell, Change, Row, RuleRow, Table, UserRow};

pub use cursor::Cursor;
pub use edit::{Columns, Edit, Transaction, columns};
pub use mysql::{DbAccount, Endpoint, Mysql, Polling, Tls};
pub use schema::default_properties;
pub use sqlite::Sqlite;

/// Rows travel from a source in batches of this many.
const BATCH: usize = 128;

/// What the tables of users and rules are read with, if not with the schema of
/// the original.
#[derive(Debug, Clone, Default)]
pub struct Queries {
    /// `--auth-query`: selects username, domain, password and, if it likes, id.
    pub users: Option<String>,
    /// `--rules-query`: selects domain, subject, spriority, ppriority, key,
    /// value and, if it likes, id.
    pub rules: Option<String>,
}

/// Which rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// None.
    None,
    /// Those of both tables.
    All,
    /// Those of one table.
    Of(Table),
    /// One, by its id; if the table is the operator's own query, all of it.
    One(Table, i64),
}

/// A future that can be kept behind a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database of users and rules.
pub trait Source: Send + Sync {
    /// What it is, for the log: never a secret.
    fn name(&self) -> String;

    /// Sends rows, all as of one moment. Returns the place in the changes
    /// that it was, if it is wanted; `None` if none are noted there, as in the
    /// original's schema.
    fn load(
        &self,
        which: Which,
        rows: mpsc::Sender<Vec<Row>>,
        wants_cursor: bool,
    ) -> Boxed<'_, Result<Option<Cursor>, SourceError>>;

    /// What changed since `cursor`, as of one moment. Without one, it only
    /// finds out whether the source can be reached.
    fn changes<'s>(&'s self, cursor: Option<&'s Cursor>) -> Boxed<'s, Result<Changes, SourceError>>;

    /// Removes what was noted of changes more than a day ago, by the
    /// database's clock. Returns how many lines that was.
    fn prune(&self) -> Boxed<'_, Result<u64, SourceError>>;

    /// The files whose change is a change of the source.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Finds out whether rows of a table can be edited at all, without asking
    /// the database.
    ///
    /// # Errors
    /// [`SourceError::NotEditable`]
    fn editable(&self, table: Table) -> Result<(), SourceError>;

    /// Reads, and makes edits, all of them or none, in one transaction. Until it
    /// is over, others that edit in this way wait.
    fn edit(&self, transaction: Transaction) -> Boxed<'_, Result<(), SourceError>>;

    /// Makes or upgrades tables and keeps what is in them. Doing it again does
    /// nothing. Returns what was done, a line each.
    fn setup(&self) -> Boxed<'_, Result<Vec<String>, SourceError>>;
}

/// What [`Source::changes`] found.
#[derive(Debug)]
pub enum Changes {
    /// These, and where to go on.
    Rows {
        /// What became of each row that changed.
        changes: Vec<Change>,
        /// Where the next poll begins; `None` if there was no place to begin
        /// this one.
        cursor: Option<Cursor>,
        /// Whether the connection is a new one: what answers there may be
        /// another server.
        is_reconnected: bool,
    },
    /// More than can be told row by row: everything must be loaded. In words
    /// for the log.
    Unknown(&'static str),
}

/// More rows than these are faster read with all the others.
const MANY: usize = 50_000;
/// Rows are asked for by so many ids at once.
const IDS: usize = 500;

/// Why a source could not be read or set up. Each message is one line that
/// names the thing and what to do; none shows a password.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The SQLite file is not there.
    #[error("there is no database at {}: create it with --setup, or name another with --db-path", .0.display())]
    NoFile(PathBuf),
    /// The SQLite file cannot be opened or created.
    #[error("cannot open the database {} ({why}): check the path of --db-path, and that the file and its folder may be written", .path.display())]
    CannotOpen {
        /// `--db-path`
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// No connection, or it broke.
    #[error(
        "cannot reach the database at {at} ({why}): is it running, and do --db-ip, --db-port or --db-socket name it?"
    )]
    Unreachable {
        /// Address or socket.
        at: String,
        /// What the system says.
        why: String,
    },
    /// TLS to the database failed.
    #[error(
        "no TLS with the database at {at} ({why}): check --db-tls and --db-tls-ca, and that the server offers TLS"
    )]
    NoTls {
        /// Address or socket.
        at: String,
        /// What the library says.
        why: String,
    },
    /// The account is unknown, or its password is another.
    #[error(
        "the database at {at} refuses the user `{user}`: check {user_option} and {password_option}, \
         and that the account may connect from this machine{from_option}"
    )]
    Refused {
        /// Address or socket.
        at: String,
        /// The account.
        user: String,
        /// The option that names the account.
        user_option: &'static str,
        /// The option that has its password.
        password_option: &'static str,
        /// The option that names this machine, where it is one of setup's.
        from_option: &'static str,
    },
    /// The account lacks a right.
    #[error(
        "{what} failed in {source_name} ({why}): grant that right to `{user}`, or give another {user_option}"
    )]
    Denied {
        /// What was tried.
        what: String,
        /// [`Source::name`]
        source_name: String,
        /// What the database says.
        why: String,
        /// The account.
        user: String,
        /// The option that names the account.
        user_option: &'static str,
    },
    /// The database itself is missing or closed to the account.
    #[error(
        "the user `{user}` cannot use the database `{name}` at {at}: check --db-name, or create both with --setup --db-admin NAME --db-apwd-file FILE"
    )]
    NoDatabase {
        /// Address or socket.
        at: String,
        /// `--db-name`
        name: String,
        /// The account.
        user: String,
    },
    /// A table is missing.
    #[error(
        "the table `{table}` is missing in {source_name}: create it with --setup, or name your own with {option}"
    )]
    NoTable {
        /// Which.
        table: Table,
        /// [`Source::name`]
        source_name: String,
        /// The option that replaces it.
        option: &'static str,
    },
    /// The operator's own query does not select what is needed.
    #[error("{option} selects {found} columns, but it must select {wanted}")]
    Columns {
        /// `--auth-query` or `--rules-query`
        option: &'static str,
        /// How many there are.
        found: usize,
        /// Which there must be.
        wanted: &'static str,
    },
    /// A statement failed.
    #[error("{what} failed in {source_name}: {why}")]
    Statement {
        /// Which one.
        what: String,
        /// [`Source::name`]
        source_name: String,
        /// What the database says.
        why: String,
    },
    /// Nobody wants the rows any more.
    #[error("the load was cancelled")]
    Cancelled,
    /// Somebody else has removed a row that is to be edited.
    #[error("there is no {table} id {id} any more: nothing was changed, look again and repeat")]
    Gone {
        /// Where it was.
        table: Table,
        /// The row.
        id: i64,
    },
    /// The connection ended while it committed.
    #[error(
        "{source_name} did not say whether the edits are kept ({why}): look what is there before you repeat them"
    )]
    Uncertain {
        /// [`Source::name`]
        source_name: String,
        /// What the system says.
        why: String,
    },
    /// Others are editing for longer than one waits.
    #[error("somebody else is editing {0}: nothing was changed, try again when they are done")]
    Busy(String),
    /// The table is the operator's own query, or lacks a column.
    #[error("{0}")]
    NotEditable(&'static str),
}

impl SourceError {
    /// Whether the source itself is out of reach, so that a sign of life from
    /// it is worth another attempt.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            SourceError::NoFile(_)
                | SourceError::CannotOpen { .. }
                | SourceError::Unreachable { .. }
                | SourceError::NoTls { .. }
        )
    }
}

/// What one table is read with, for the code that is the same for both
/// databases.
struct Query<'q> {
    table: Table,
    sql: Cow<'q, str>,
    /// Whether it is the operator's own.
    is_own: bool,
    /// The option that has the operator's own.
    option: &'static str,
    /// Least number of columns; one more is the id.
    columns: usize,
    wanted: &'static str,
}

impl Queries {
    /// Whether the tables are ours to edit.
    fn editable(&self, table: Table) -> Result<(), SourceError> {
        match table {
            Table::UserAuth if self.users.is_some() => {
                Err(SourceError::NotEditable("users come from --auth-query: edit them where it reads them"))
            }
            Table::JitsiProperty if self.rules.is_some() => {
                Err(SourceError::NotEditable("rules come from --rules-query: edit them where it reads them"))
            }
            _ => Ok(()),
        }
    }

    /// What a table is read with, where nothing is read.
    fn of(&self, table: Table) -> Query<'_> {
        match table {
            Table::UserAuth => self.users(),
            Table::JitsiProperty => self.rules(false),
        }
    }

    fn users(&self) -> Query<'_> {
        let ours = || "SELECT username, domain, password, id FROM user_auth".into();
        Query {
            table: Table::UserAuth,
            sql: self.users.as_deref().map_or_else(ours, Cow::Borrowed),
            is_own: self.users.is_some(),
            option: "--auth-query",
            columns: 3,
            wanted: "username, domain, password and optionally id, in this order",
        }
    }

    /// The original's table has no `domain`: there, every rule is for all
    /// tenants.
    fn rules(&self, has_domain: bool) -> Query<'_> {
        let domain = if has_domain { "domain" } else { "NULL" };
        let columns = "subject, spriority, ppriority, property_key, property_value, id";
        let ours = || format!("SELECT {domain}, {columns} FROM jitsi_property").into();
        Query {
            table: Table::JitsiProperty,
            sql: self.rules.as_deref().map_or_else(ours, Cow::Borrowed),
            is_own: self.rules.is_some(),
            option: "--rules-query",
            columns: 6,
            wanted: "domain, subject, spriority, ppriority, key, value and optionally id, in this order",
        }
    }
}

impl Query<'_> {
    /// The same for those rows, if it reads any of them.
    fn narrowed(mut self, which: Which) -> Option<Self> {
        match which {
            Which::All => {}
            Which::Of(table) if table == self.table => {}
            Which::One(table, id) if table == self.table => {
                if !self.is_own {
                    self.sql = self.of_ids(&[id]).into();
                }
            }
            Which::None | Which::Of(_) | Which::One(..) => return None,
        }
        Some(self)
    }

    /// The same for rows of certain ids. Only of our own.
    fn of_ids(&self, ids: &[i64]) -> String {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        format!("{} WHERE id IN ({})", self.sql, ids.join(","))
    }

    /// What is done with it, for errors: the operator's own is known by its
    /// option.
    fn reading(&self) -> String {
        if self.is_own { self.option.to_owned() } else { format!("reading `{}`", self.table) }
    }

    fn check(&self, found: usize) -> Result<(), SourceError> {
        if found == self.columns || found == self.columns + 1 {
            return Ok(());
        }
        Err(SourceError::Columns { option: self.option, found, wanted: self.wanted })
    }

    /// A row from its cells, which [`Query::check`] has counted. Without an id
    /// of its own it is known by its place in the result.
    fn row(&self, mut cells: impl Iterator<Item = Cell>, place: i64) -> Row {
        let mut next = || cells.next().unwrap_or(Cell::Null);
        let id = |cell: Cell| cell.int().ok().flatten().unwrap_or(place);
        match self.table {
            Table::UserAuth => {
                Row::User(UserRow { username: next(), domain: next(), password: next(), id: id(next()) })
            }
            Table::JitsiProperty => Row::Rule(RuleRow {
                domain: next(),
                subject: next(),
                spriority: next(),
                ppriority: next(),
                key: next(),
                value: next(),
                id: id(next()),
            }),
        }
    }

    fn no_table(&self, source_name: String) -> SourceError {
        SourceError::NoTable { table: self.table, source_name, option: self.option }
    }
}

const NO_DOMAIN: SourceError =
    SourceError::NotEditable("the table of rules has no column for a tenant's domain: --setup adds it");

/// Databases quote from statements of several lines; the log has one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
