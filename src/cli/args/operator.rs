//! Arguments of `operator`.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};

use super::shared::Listed;
use crate::cli::typed_names::tenant;
use crate::serve::http::console::Role;

/// `operator`
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Add an operator of the console
    Add(OperatorAddArgs),
    /// List the operators of the console
    List(OperatorListArgs),
    /// Remove an operator of the console; the operator's sessions end
    Remove(OperatorRemoveArgs),
}

/// The file of `--console-users`.
#[derive(Debug, Args)]
pub struct ConsoleUsers {
    /// The file with the operators, as the server has it
    #[arg(long, env = "JITSIPROVS_CONSOLE_USERS", value_name = "FILE")]
    pub console_users: PathBuf,
}

/// Options of `operator add`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct OperatorAddArgs {
    /// The name with which the operator signs in
    pub name: String,
    /// What the operator may do
    #[arg(long)]
    pub role: Role,
    /// A tenant that the operator may see; can be repeated [default: all tenants]
    #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
    pub tenant: Vec<String>,
    /// Read the password from the first line of standard input, instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
    #[command(flatten)]
    pub file: ConsoleUsers,
}

/// Options of `operator list`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct OperatorListArgs {
    #[command(flatten)]
    pub file: ConsoleUsers,
    #[command(flatten)]
    pub listed: Listed,
}

/// Options of `operator remove`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct OperatorRemoveArgs {
    /// The operator's name
    pub name: String,
    #[command(flatten)]
    pub file: ConsoleUsers,
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Role] {
        &Role::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Role::View => "Look at everything",
            Role::Help => "Also lift locks, reset passwords, and disable and enable users",
            Role::Edit => "Also edit users and rules, undo edits and confirm losses",
        }))
    }
}
