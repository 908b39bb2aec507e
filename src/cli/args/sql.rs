//! Arguments of `sql`.

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::options::DbType;
use crate::core::model::Table;
use crate::ops::triggers::ForeignTable;

/// `sql`
#[derive(Debug, Subcommand)]
pub enum SqlCommand {
    /// Print triggers for the tables that a query of your own reads, so that changes of them are
    /// served at once
    Triggers(SqlTriggersArgs),
}

/// Options of `sql triggers`.
#[derive(Debug, Args)]
pub struct SqlTriggersArgs {
    /// A table that the query reads, and the columns whose updates count, such as
    /// 'subscriber(username, domain)'; can be repeated
    #[arg(long = "for", required = true, value_name = "TABLE(COLUMNS)")]
    pub tables: Vec<ForeignTable>,
    /// What the query returns
    #[arg(long, value_name = "WHAT", default_value = "users")]
    pub of: QueryRows,
    /// Kind of database
    #[arg(long, alias = "db_type", env = "JITSIPROVS_DB_TYPE", value_name = "KIND")]
    pub db_type: DbType,
    /// MySQL: the database with jitsiprovs_change, for tables of other databases
    #[arg(
        long,
        alias = "db_name",
        env = "JITSIPROVS_DB_NAME",
        value_name = "NAME",
        default_value = "jitsiprovs"
    )]
    pub db_name: String,
}

/// What a query of the operator's own returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueryRows {
    /// The query is that of --auth-query
    Users,
    /// The query is that of --rules-query
    Rules,
    /// The query is that of --attribute-query
    Attributes,
}

impl QueryRows {
    /// The table that the query replaces.
    pub fn table(self) -> Table {
        match self {
            QueryRows::Users => Table::UserAuth,
            QueryRows::Rules => Table::JitsiProperty,
            QueryRows::Attributes => Table::UserAttribute,
        }
    }
}
