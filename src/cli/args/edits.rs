//! Arguments of the commands that list and edit users, tenants and rules.

use clap::{Args, Subcommand, ValueEnum};

use super::attributes::SetArgs;
use super::shared::{EditArgs, Listed, TableArgs};
use crate::cli::typed_names::{account, tenant};

/// The forms in which commands can store a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hash {
    /// Recommended
    Argon2id,
    /// Takes passwords of 72 bytes at most
    Bcrypt,
    /// As in /etc/shadow
    #[value(name = "sha512-crypt")]
    Sha512Crypt,
    /// Hexadecimal md5 of the password, as in the original program
    Md5,
    /// The password itself
    Plain,
    /// Hexadecimal md5 of username:realm:password, as SIP servers use it
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
    /// How to store it; md5, plain, ha1 and ha1_sha256 only if --pwd-fmt is the same
    /// [default: argon2id; if --pwd-fmt is ha1 or ha1_sha256, the same]
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
        #[arg(value_parser = account)]
        user: String,
        /// A password or an attribute in the wrong place; refused
        #[arg(hide = true)]
        surplus: Vec<String>,
        #[command(flatten)]
        password: PasswordArgs,
        /// An attribute of the user, such as extension=17; can be repeated
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// Change a user's password
    Passwd {
        /// The user, as user@domain
        #[arg(value_parser = account)]
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// List users; shows how each password is stored, but never the password
    List {
        /// Only users of this tenant
        #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
        domain: Option<String>,
        /// Only users whose name contains this
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// Also show these attributes: what templates take for ${user.NAME}
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        with: Vec<String>,
        /// Also show passwords in attributes
        #[arg(long, requires = "with")]
        show_secrets: bool,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Set attributes of a user: what templates know as ${user.NAME}
    Set {
        /// The user, as user@domain
        #[arg(value_parser = account)]
        user: String,
        /// An attribute, such as extension=17; a name that is given several times gets several values
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Remove attributes of a user
    Unset {
        /// The user, as user@domain
        #[arg(value_parser = account)]
        user: String,
        /// The attributes' names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// Switch a user off: with the right password, only rules for user.disabled=yes apply
    Disable {
        /// The user, as user@domain
        #[arg(value_parser = account)]
        user: String,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// Switch a user on again
    Enable {
        /// The user, as user@domain
        #[arg(value_parser = account)]
        user: String,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// Show one user with their attributes and their own rules
    Show {
        /// The user, as user@domain
        #[arg(value_parser = account)]
        user: String,
        /// Also show passwords in attributes and rules
        #[arg(long)]
        show_secrets: bool,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Remove a user with their attributes and their own rules
    Remove {
        /// The user, as user@domain
        #[arg(value_parser = account)]
        user: String,
        /// Keep the user's own rules; otherwise they are removed, those for all tenants only if no other
        /// user has this name
        #[arg(long)]
        keep_rules: bool,
        /// The default now
        #[arg(long, hide = true, conflicts_with = "keep_rules")]
        with_rules: bool,
        /// If several rows have this name, remove all of them
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// If several rows have this name, remove only the row with this id
        #[arg(long)]
        id: Option<i64>,
        #[command(flatten)]
        edit: EditArgs,
    },
}

/// `tenant`
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the help texts")]
pub enum TenantCommand {
    /// List tenants: how many users, rules and attributes each has
    List {
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Show one tenant: how much it has, and its own attributes
    #[command(override_usage = "jitsiprovs tenant show [OPTIONS] <DOMAIN|--all>")]
    Show {
        /// The tenant
        #[arg(value_name = "DOMAIN", value_parser = tenant, required_unless_present = "all")]
        domain: Option<String>,
        /// Show what is for all tenants
        #[arg(long, conflicts_with = "domain")]
        all: bool,
        /// Also show passwords in attributes
        #[arg(long)]
        show_secrets: bool,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: TableArgs,
    },
    /// Set attributes of all users of a tenant, unless they have their own
    #[command(override_usage = "jitsiprovs tenant set [OPTIONS] <DOMAIN|--all> <NAME=VALUE>...")]
    Set {
        /// The tenant, and attributes such as branch=berlin
        #[arg(value_name = "DOMAIN|NAME=VALUE")]
        words: Vec<String>,
        /// Set attributes of the users of all tenants, unless they or their tenant have their own
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Remove attributes of a tenant
    #[command(override_usage = "jitsiprovs tenant unset [OPTIONS] <DOMAIN|--all> <NAME>...")]
    Unset {
        /// The tenant, and the names of attributes
        #[arg(value_name = "DOMAIN|NAME")]
        words: Vec<String>,
        /// Remove attributes of all tenants
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// Remove a tenant with all its users, rules and attributes
    Remove {
        /// The tenant
        #[arg(value_parser = tenant)]
        domain: String,
        /// Remove without asking
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        edit: EditArgs,
    },
}

/// Which rules to list or to remove.
#[derive(Debug, Args)]
pub struct RuleFilter {
    /// Only rules of this tenant; empty for rules that apply to all tenants
    #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
    pub domain: Option<String>,
    /// Only rules for this subject, in any spelling
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
        #[arg(value_name = "KEY=VALUE")]
        property: String,
        /// Words that belong to the property, such as the value after a blank; refused
        #[arg(hide = true)]
        surplus: Vec<String>,
        /// Take the value as it is: $, backslashes and blanks in it stand for themselves
        #[arg(long)]
        literal: bool,
        /// The tenant [default: all tenants]
        #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
        domain: Option<String>,
        /// Who it is for: default, a username, or param=value such as osname=Linux
        #[arg(long, value_name = "SUBJECT", default_value = "default")]
        subject: String,
        /// Priority among subjects; the smallest wins [default: 5; for the subject `default` 7, or 9
        /// without --domain; rules that --setup creates have 10]
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        spriority: Option<i32>,
        /// Priority among rules of the same --spriority, and position in the answer
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, default_value_t = 10)]
        ppriority: i32,
        /// Add it although the same tenant and subject have a rule with this key
        #[arg(long)]
        also: bool,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// List rules in order of precedence; passwords are shown as ***
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
    /// Change a rule, or with key=value add it if it is not there; what is not given stays as it is
    Set {
        /// The rule's id, or the property as key=value; then --domain and --subject say which rule it is
        #[arg(value_name = "ID|KEY=VALUE")]
        what: String,
        /// By id: the new key
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// By id: the new value
        #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
        value: Option<String>,
        /// Take the value as it is: $, backslashes and blanks in it stand for themselves
        #[arg(long)]
        literal: bool,
        /// By id: the new tenant, empty for all tenants; with key=value: the tenant [default: all tenants]
        #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
        domain: Option<String>,
        /// By id: the new subject; with key=value: who it is for [default: default]
        #[arg(long, value_name = "SUBJECT")]
        subject: Option<String>,
        /// Priority among subjects [default for a new rule: as for `rule add`]
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        spriority: Option<i32>,
        /// Priority among rules of the same --spriority [default for a new rule: 10]
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        ppriority: Option<i32>,
        #[command(flatten)]
        edit: EditArgs,
    },
    /// Remove rules: by id at once, or those that `rule list` shows for the same options, after asking
    #[command(override_usage = "jitsiprovs rule remove [OPTIONS] <ID>...\n       \
                               jitsiprovs rule remove [OPTIONS] --domain, --subject or --key")]
    Remove {
        /// The rules' ids
        #[arg(value_name = "ID", conflicts_with_all = ["domain", "subject", "key"])]
        ids: Vec<i64>,
        #[command(flatten)]
        filter: RuleFilter,
        /// Remove without asking
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        edit: EditArgs,
    },
}
