//! `jitsiprovs sql`: prints statements for the client of the database.

use std::process::ExitCode;

use crate::cli::args::{SqlCommand, SqlTriggersArgs};
use crate::cli::error::usage;
use crate::cli::options::DbType;
use crate::cli::print;
use crate::ops::triggers::{self, Dialect};

/// Prints the statements.
///
/// # Errors
/// When a name cannot be one of the database.
pub fn sql(command: SqlCommand) -> anyhow::Result<ExitCode> {
    let SqlCommand::Triggers(SqlTriggersArgs { tables, of, db_type, db_name }) = command;
    let dialect = match db_type {
        DbType::Sqlite => Dialect::Sqlite,
        DbType::Mysql => Dialect::Mysql,
        DbType::Postgres => Dialect::Postgres,
    };
    match triggers::statements(dialect, of.table(), &tables, &db_name) {
        Ok(statements) => print::exact(statements.as_bytes()).map(|()| ExitCode::SUCCESS),
        Err(why) => Ok(usage(format!("--for: {why}"))?),
    }
}
