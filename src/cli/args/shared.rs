//! Arguments that most commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::options::{DatabaseOptions, RequestOptions, RowOptions};

/// Where users and rules are, and what they mean. The server has the same options.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "groups of options, documented one by one")]
pub struct TableArgs {
    #[command(flatten)]
    pub database: DatabaseOptions,
    #[command(flatten)]
    pub rows: RowOptions,
    #[command(flatten)]
    pub requests: RequestOptions,
}

/// How to ask admin listeners.
#[derive(Debug, Args)]
pub struct AdminAccess {
    /// The nodes' --admin-token-file, if they have one
    #[arg(long, env = "JITSIPROVS_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// How to trust them
    #[command(flatten)]
    pub trust: AdminTrust,
}

/// Certificate authorities to trust for HTTPS.
#[derive(Debug, Args)]
pub struct AdminTrust {
    /// File with the certificates that are trusted for HTTPS
    /// [default: the usual public ones]
    #[arg(long, env = "JITSIPROVS_ADMIN_CA", value_name = "FILE")]
    pub admin_ca: Option<PathBuf>,
}

/// Forms in which a list can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// The options that say how a list is printed.
#[derive(Debug, Clone, Copy, Args)]
pub struct Listed {
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Do not cut long keys and values in tables to the width of the terminal
    #[arg(long)]
    pub wide: bool,
}

/// How an edit is made and reported.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "groups of options, documented one by one")]
pub struct EditArgs {
    /// Check everything and say what would be done, but change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}
