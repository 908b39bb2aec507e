//! The commands. Each is a thin layer that calls the other modules.

mod check;
mod compare;
mod config;
mod confirm;
mod demo;
mod diff;
mod discovery;
mod explain;
mod export;
mod fetch;
mod generate;
mod history;
mod import;
mod lock;
mod operator;
mod rule;
mod setup;
mod sql;
mod status;
mod tenant;
mod url;
mod user;

use std::process::ExitCode;

use crate::cli::args::Command;
use crate::cli::error::usage;
use crate::cli::settings::Settings;

pub use setup::setup;

/// Runs `command` and returns the exit code.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn run(command: Command, settings: &Settings) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup(_) => usage("setup is an option, not a command: write `jitsiprovs --setup`")?,
        Command::Serve(_) => usage(
            "serving needs no command: write `jitsiprovs -n`, or `jitsiprovs` to serve in the background",
        )?,
        Command::Demo(options) => demo::demo(options).await.map(|()| ExitCode::SUCCESS),
        Command::User(options) => user::user(options).await,
        Command::Tenant(options) => tenant::tenant(options).await,
        Command::Rule(options) => rule::rule(options).await,
        Command::Explain(options) => explain::explain(options).await,
        Command::Check(options) => check::check(options).await,
        Command::Import(options) => import::import(options).await,
        Command::Export(options) => export::export(options).await,
        Command::Diff(options) => diff::diff(options).await,
        Command::Compare(options) => compare::compare(options).await,
        Command::Status(options) => status::status(options).await,
        Command::Confirm(options) => confirm::confirm(options).await,
        Command::Fetch(command) => fetch::fetch(command).await,
        Command::Lock(command) => lock::lock(command).await,
        Command::History(args) => history::history(args).await,
        Command::Operator(command) => operator::operator(command),
        Command::Discovery(options) => discovery::discovery(options).await,
        Command::Url(options) => url::url(options),
        Command::Sql(command) => sql::sql(command),
        Command::Config(options) => config::config(*options, settings).await,
        Command::Completions(options) => generate::completions(options),
        Command::Man(options) => generate::man(options),
    }
}
