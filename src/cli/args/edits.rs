//! Arguments of the commands that edit users and rules one by one.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::shared::{Listed, TableArgs};

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

/// A password. It is never an argument: the command asks for it, or reads it from
/// standard input.
#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// How to store it; md5, plain and ha1 only if --pwd-fmt is the same [default: argon2id, but
    /// with --pwd-fmt ha1 or ha1_sha256, that]
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
    /// List users; shows how passwords are stored, never the passwords
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
    /// Show one user with their own rules
    Show {
        /// The user, as user@domain
        user: String,
        /// Also show passwords in rules
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
        /// Also remove the user's own rules; those for all tenants only if no other user has the name
        #[arg(long)]
        with_rules: bool,
        /// If several rows have this name, remove all of them
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// If several rows have this name, remove only the row of this id
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
    /// Add a rule: a property, and who it is for
    Add {
        /// The property, as key=value in .properties syntax; $name stands for a parameter
        property: String,
        /// The tenant [default: all tenants]
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        /// Who it is for: default, a username, or param=value such as osname=Linux
        #[arg(long, value_name = "SUBJECT", default_value = "default")]
        subject: String,
        /// Priority among subjects; the smallest wins [default: 5; for `default` 7, of all tenants 9;
        /// what --setup creates has 10]
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        spriority: Option<i32>,
        /// Priority among rules of the same --spriority, and place in the answer
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, default_value_t = 10)]
        ppriority: i32,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// List rules in the order in which they count; passwords are shown as ***
    List {
        #[command(flatten)]
        filter: RuleFilter,
        /// Also show passwords
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
        /// Also show passwords
        #[arg(long)]
        show_secrets: bool,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Change a rule; what is not given stays as it is
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
        /// Another priority among rules of the same --spriority
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
