//! The commands and their arguments.

mod attributes;
mod compare;
mod discovery;
mod edits;
mod fetch;
mod history;
mod lock;
mod operator;
mod shared;
mod sql;
mod transfer;

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::options::{DatabaseOptions, ServerOptions};
use crate::cli::typed_names::account;
use crate::core::problem::Code;

pub use attributes::SetArgs;
pub use compare::CompareArgs;
pub use discovery::{DiscoveryArgs, UrlArgs, UrlForm, UrlParts};
pub use edits::{Hash, PasswordArgs, RuleCommand, RuleFilter, TenantCommand, UserCommand};
pub use fetch::{FetchCommand, FetchListArgs};
pub use history::{HistoryArgs, HistoryCommand, HistoryListArgs};
pub use lock::{LockClearArgs, LockCommand, LockListArgs};
pub use operator::{ConsoleUsers, OperatorAddArgs, OperatorCommand, OperatorListArgs, OperatorRemoveArgs};
pub use shared::{AdminAccess, AdminTrust, EditArgs, ListFormat, Listed, TableArgs};
pub use sql::{QueryRows, SqlCommand, SqlTriggersArgs};
pub use transfer::{Content, ExportArgs, Exported, ImportArgs, OriginArgs};

/// A command. Without one, the program serves.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Says that this is an option
    #[command(hide = true)]
    Setup(Surplus),
    /// Says that this needs no command
    #[command(hide = true)]
    Serve(Surplus),
    /// Try it out: serve a small example on this machine, and show example requests
    Demo(DemoArgs),
    /// Add, change, show and remove users
    #[command(subcommand)]
    User(UserCommand),
    /// List tenants
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Add, change, show and remove rules
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Show what a client would get, and why
    Explain(ExplainArgs),
    /// Look for mistakes in all users and rules; the exit code is 1 if there are any
    Check(CheckArgs),
    /// Import users, rules or a whole database, all or nothing
    Import(ImportArgs),
    /// Write users or rules to standard output, in the form that `import` reads
    Export(ExportArgs),
    /// Compare what a node serves with what is in the database
    Diff(DiffArgs),
    /// Ask two provisioning servers for users, and show in what their answers differ
    Compare(CompareArgs),
    /// Ask the admin listeners of all nodes for their state, and show whether they agree
    Status(StatusArgs),
    /// Show the losses that nodes withhold, and confirm that they are intended
    Confirm(ConfirmArgs),
    /// Show who fetched what, and why not
    #[command(subcommand)]
    Fetch(FetchCommand),
    /// Show and lift the locks after too many wrong passwords
    #[command(subcommand)]
    Lock(LockCommand),
    /// List the edits of users, rules and attributes, show what changed, and undo them
    History(HistoryArgs),
    /// Add, list and remove the operators of the console
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Print the URL for Jitsi's settings, or what announces it to clients
    Url(UrlArgs),
    /// Answer clients that look for the server by DHCP, without privileges
    Discovery(DiscoveryArgs),
    /// Print statements for the client of the database
    #[command(subcommand)]
    Sql(SqlCommand),
    /// Print the values of the server's options and where they come from, or check them
    Config(Box<ConfigArgs>),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages to a folder
    Man(ManArgs),
}

/// The rest of a command line that is refused anyway.
#[derive(Debug, Args)]
pub struct Surplus {
    /// What follows
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    pub rest: Vec<std::ffi::OsString>,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(
        long,
        alias = "http_port",
        env = "JITSIPROVS_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 8080
    )]
    pub http_port: u16,
}

/// Options of `explain`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct ExplainArgs {
    /// What the client sends as its username: user@domain
    #[arg(value_parser = account)]
    pub user: String,
    /// Other parameters that the client sends; user.NAME=VALUE tries an attribute that is not
    /// stored, and client.address=IP an address
    #[arg(value_name = "PARAM=VALUE")]
    pub params: Vec<String>,
    /// Use what the user's own client sent last, as `fetch list` shows it; PARAM=VALUE replaces parts of
    /// it
    #[arg(long)]
    pub last: bool,
    /// Read the client's password from the first line of standard input, in case rules use it
    #[arg(long)]
    pub password_stdin: bool,
    /// Print the answer itself, byte for byte
    #[arg(long, conflicts_with = "format")]
    pub properties: bool,
    /// List all rules, even those of other users, and even more than ten for one key
    #[arg(long, conflicts_with = "properties")]
    pub all: bool,
    /// Show only properties whose keys contain this text, in any case
    #[arg(long, value_name = "PART", conflicts_with = "properties")]
    pub key: Option<String>,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Options of `check`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct CheckArgs {
    /// Leave out findings of this kind; can be repeated
    #[arg(long, value_name = "CODE", value_delimiter = ',', hide_possible_values = true)]
    pub ignore: Vec<Code>,
    /// List all findings, even more than ten of one kind, and every user with a weak hash
    #[arg(long)]
    pub verbose: bool,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}

impl ValueEnum for Code {
    fn value_variants<'a>() -> &'a [Code] {
        Code::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Options of `diff`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct DiffArgs {
    /// The node's admin listener, such as http://10.0.0.1:8090
    pub url: String,
    /// The node's own --admin-secret-file, whose first line is the secret for comparing rows
    #[arg(long, env = "JITSIPROVS_ADMIN_SECRET_FILE", value_name = "FILE")]
    pub admin_secret_file: PathBuf,
    /// Seconds for which rows may differ; if some still differ after that, the exit code is 1
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub max_lag: u64,
    #[command(flatten)]
    pub trust: AdminTrust,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Options of `status`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct StatusArgs {
    /// The nodes' admin listeners, such as http://10.0.0.1:8090
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// Seconds for which nodes may differ, be behind the database, or be unable to read it; if
    /// one of these lasts longer, the exit code is 1
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub max_lag: u64,
    #[command(flatten)]
    pub access: AdminAccess,
    #[command(flatten)]
    pub database: DatabaseOptions,
    #[command(flatten)]
    pub listed: Listed,
}

/// Options of `confirm`.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The nodes' admin listeners, such as http://10.0.0.1:8090
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// Confirm without asking
    #[arg(long)]
    pub yes: bool,
    /// How to get past the admin listeners' token
    #[command(flatten)]
    pub access: AdminAccess,
}

/// Options of `config`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct ConfigArgs {
    /// Only print the value of this option, such as http-port
    #[arg(value_name = "OPTION")]
    pub option: Option<String>,
    /// Check whether a server could start with these options; the exit code is 1 if not
    #[arg(long, conflicts_with = "option")]
    pub check: bool,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub server: ServerOptions,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder; created if it does not exist
    pub folder: PathBuf,
}
