//! Commands besides serving.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::options::{DatabaseOptions, RequestOptions, RowOptions};
use crate::core::problem::Code;

/// What can be done besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Try it out: serve a small example on this machine, and say what to ask it
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
    /// Say what a client would get, and why
    Explain(ExplainArgs),
    /// Look for mistakes in all users and rules; ends with code 1 if there are any
    Check(CheckArgs),
    /// Bring in users, rules or a whole database, all or nothing
    Import(ImportArgs),
    /// Write users or rules to standard output, as `import` reads them
    Export(ExportArgs),
    /// Compare what a node serves with what the database says
    Diff(DiffArgs),
    /// Ask the admin listeners of all nodes how they are, and whether they agree
    Status(StatusArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages to a folder
    Man(ManArgs),
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

/// Where users and rules are, and what they mean: as for the server.
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

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// How a list is printed.
#[derive(Debug, Args)]
pub struct Listed {
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

/// How passwords are stored by commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hash {
    /// The one to choose
    Argon2id,
    /// Takes passwords of 72 bytes at most
    Bcrypt,
    /// As in /etc/shadow
    #[value(name = "sha512-crypt")]
    Sha512Crypt,
    /// Hexadecimal md5 of the password, as the original had it
    Md5,
    /// The password itself
    Plain,
    /// Hexadecimal md5 of username:realm:password, as SIP servers have it
    Ha1,
    /// Hexadecimal SHA-256 of username:realm:password
    #[value(name = "ha1_sha256", alias = "ha1-sha256")]
    Ha1Sha256,
}

/// A password, which is never an argument: it is asked for, unless it comes on
/// standard input.
#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// How to store it; md5, plain and ha1 must be the --pwd-fmt [default: argon2id, but where
    /// --pwd-fmt is ha1 or ha1_sha256, that]
    #[arg(long, value_name = "FORMAT")]
    pub hash: Option<Hash>,
}

/// `user`
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the help texts")]
pub enum UserCommand {
    /// Add a user
    Add {
        /// The user, as user@domain
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Change a user's password
    Passwd {
        /// The user, as user@domain
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// List users; passwords are never shown, but how they are stored
    List {
        /// Only users of this tenant
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// Only users whose name contains this
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Show one user with the rules of their own
    Show {
        /// The user, as user@domain
        user: String,
        /// Show passwords in rules, too
        #[arg(long)]
        show_secrets: bool,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Remove a user
    Remove {
        /// The user, as user@domain
        user: String,
        /// Remove the rules of their own, too; those for all tenants only if nobody else has the name
        #[arg(long)]
        with_rules: bool,
        /// Remove every row of this name, if there are several
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// Remove the row of this id alone, if there are several
        #[arg(long)]
        id: Option<i64>,
        #[command(flatten)]
        tables: TableArgs,
    },
}

/// `tenant`
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the help texts")]
pub enum TenantCommand {
    /// List tenants: how many users and rules each has
    List {
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
}

/// Which rules.
#[derive(Debug, Args)]
pub struct RuleFilter {
    /// Only rules of this tenant; empty for those of all tenants
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Only rules for this subject
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Only rules whose key contains this
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
}

/// `rule`
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the help texts")]
pub enum RuleCommand {
    /// Add a rule: a property, and whom it is for
    Add {
        /// The property, as key=value in .properties syntax; $name stands for a parameter
        property: String,
        /// The tenant [default: all tenants]
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// Whom it is for: default, a username, or param=value such as osname=Linux
        #[arg(long, value_name = "SUBJECT", default_value = "default")]
        subject: String,
        /// Priority among subjects, the smallest wins [default: 5; for `default` 7, of all tenants 9;
        /// what --setup makes has 10]
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        spriority: Option<i32>,
        /// Priority, and place in the answer, among those of equal priority
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, default_value_t = 10)]
        ppriority: i32,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// List rules in the order in which they count; passwords are shown as ***
    List {
        #[command(flatten)]
        filter: RuleFilter,
        /// Show passwords, too
        #[arg(long)]
        show_secrets: bool,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Show one rule
    Show {
        /// The rule's id
        id: i64,
        /// Show passwords, too
        #[arg(long)]
        show_secrets: bool,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Change a rule; what is not given stays
    #[command(group(ArgGroup::new("change").required(true).multiple(true).args(
        ["key", "value", "domain", "subject", "spriority", "ppriority"]
    )))]
    Set {
        /// The rule's id
        id: i64,
        /// Another key
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Another value
        #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
        value: Option<String>,
        /// Another tenant; empty for all tenants
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// Another subject
        #[arg(long, value_name = "SUBJECT")]
        subject: Option<String>,
        /// Another priority among subjects
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        spriority: Option<i32>,
        /// Another priority among those
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        ppriority: Option<i32>,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Remove rules
    Remove {
        /// The rules' ids
        #[arg(required = true)]
        ids: Vec<i64>,
        #[command(flatten)]
        tables: TableArgs,
    },
}

/// Options of `explain`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct ExplainArgs {
    /// What the client sends as its username: user@domain
    pub user: String,
    /// What else the client sends
    #[arg(value_name = "PARAM=VALUE")]
    pub params: Vec<String>,
    /// The client's password, where rules use it, is the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Print the answer itself, byte for byte
    #[arg(long, conflicts_with = "format")]
    pub properties: bool,
    /// List rules of other users too, and however many there are for one key
    #[arg(long, conflicts_with = "properties")]
    pub all: bool,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Options of `check`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct CheckArgs {
    /// Leave out findings of this kind; may be repeated
    #[arg(long, value_name = "CODE", value_delimiter = ',', hide_possible_values = true)]
    pub ignore: Vec<Code>,
    /// Name all findings, however many of a kind, and every user with a weak hash
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

/// What is brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Content {
    /// A sip-communicator.properties of Jitsi; each property becomes a rule
    Properties,
    /// Users as CSV: username, domain, password
    Users,
    /// Rules as CSV
    Rules,
    /// Rules as JSON
    RulesJson,
    /// Another database of the original or of jitsiprovs: --from names it
    Database,
    /// A Kamailio subscriber table: --from names its database
    Kamailio,
}

/// Options of `import`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct ImportArgs {
    /// What it is
    pub content: Content,
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The database to read: a SQLite file, or mysql://user@host:port/name with its password in
    /// --from-pwd-file
    #[arg(long, value_name = "DATABASE")]
    pub from: Option<String>,
    /// File whose first line is the password of --from
    #[arg(long, value_name = "FILE")]
    pub from_pwd_file: Option<PathBuf>,
    /// Properties: the tenant of the rules [default: all tenants]
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Properties: whom the rules are for [default: default]
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Properties: priority of the rules among subjects [default: as for `rule add`]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub spriority: Option<i32>,
    /// Properties: put ${username}, ${domain} and ${password} in place of this account's own values
    #[arg(long, alias = "lift", value_name = "USER@DOMAIN", conflicts_with = "templates")]
    pub templatize: Option<String>,
    /// Properties: the file has placeholders; without this, each $ stands for itself
    #[arg(long)]
    pub templates: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove users or rules of the same kind that are not in what is brought in
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Exported {
    /// Rules of one subject as .properties
    Properties,
    /// Users as CSV, with their stored passwords
    Users,
    /// Rules as CSV
    Rules,
    /// Rules as JSON
    RulesJson,
}

/// Options of `export`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct ExportArgs {
    /// What to write
    pub content: Exported,
    /// Only users or rules of this tenant; empty for rules of all tenants
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Only rules for this subject [default for properties: default]
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// Properties: write placeholders as they are, for `import properties --templates`
    #[arg(long)]
    pub templates: bool,
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Options of `diff`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct DiffArgs {
    /// The node's admin listener, such as http://10.0.0.1:8090
    pub url: String,
    /// The file that the node has been given: its first line is the secret that rows are compared with
    #[arg(long, env = "JITSIPROVS_ADMIN_SECRET_FILE", value_name = "FILE")]
    pub admin_secret_file: PathBuf,
    /// For how long rows may differ, in seconds; if some do after that, it ends with code 1
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub max_lag: u64,
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
    /// For how long nodes may differ, in seconds; after that it ends with code 1
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub max_lag: u64,
    #[command(flatten)]
    pub listed: Listed,
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
    /// The folder
    pub folder: PathBuf,
}
