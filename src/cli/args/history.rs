//! Arguments of `history`.

use clap::{Args, Subcommand};

use super::shared::{EditArgs, Listed, TableArgs};
use crate::cli::moment::moment;
use crate::cli::typed_names::account;

/// `history`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(missing_docs, reason = "the help texts")]
pub struct HistoryArgs {
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
    #[command(flatten)]
    pub list: HistoryListArgs,
}

/// A subcommand of `history`.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the help texts")]
pub enum HistoryCommand {
    /// Show the rows of an edit, before and after it
    Show {
        /// The id of the edit
        id: i64,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: Box<TableArgs>,
    },
    /// Undo an edit, unless its rows have changed since
    Undo {
        /// The id of the edit
        id: i64,
        /// Undo it without asking
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        edit: Box<EditArgs>,
    },
}

/// Options of `history` without a subcommand.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct HistoryListArgs {
    /// Only edits of this user, of the user's attributes, and of rules for the username in this tenant
    #[arg(long, value_name = "USER@DOMAIN", value_parser = account)]
    pub user: Option<String>,
    /// Only edits of the rule with this id
    #[arg(long, value_name = "ID", conflicts_with = "user")]
    pub rule: Option<i64>,
    /// Only edits since then: how long ago, such as 2h or 3d, or a date, such as 2026-11-27
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<i64>,
    /// How many edits to list at most
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub most: u32,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: Box<TableArgs>,
}
