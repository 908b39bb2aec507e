//! Arguments of `import` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::edits::Hash;
use super::shared::{Listed, TableArgs};
use crate::cli::options::DbTls;
use crate::cli::typed_names::tenant;
use crate::ops::transfer::csv_file::{TextEncoding, UnknownEncoding};

/// What is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Content {
    /// The settings of a Jitsi, props.hsql.script or sip-communicator.properties; each becomes a rule
    Properties,
    /// Users as CSV: username, domain, password, and further columns as attributes
    Users,
    /// Rules as CSV
    Rules,
    /// Rules as JSON
    RulesJson,
    /// Attributes as CSV: domain, username, name, value
    Attributes,
    /// Attributes as JSON
    AttributesJson,
    /// Users, rules and attributes as JSON
    Json,
    /// Another database of the original program or of jitsiprovs: --from names it
    Database,
    /// Users and preferences of Kamailio or OpenSIPS: --from names their database
    #[value(alias = "opensips")]
    Kamailio,
}

/// The database to import from.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// The database to read: a SQLite file, or mysql://user@host:port/name with its password in
    /// --from-pwd-file
    #[arg(long, value_name = "DATABASE")]
    pub from: Option<String>,
    /// File whose first line is the password of --from
    #[arg(long, value_name = "FILE")]
    pub from_pwd_file: Option<PathBuf>,
    /// Unix socket of the server of --from, instead of its address and port
    #[arg(long, value_name = "PATH")]
    pub from_socket: Option<PathBuf>,
    /// Encrypt the connection to the server of --from [default: off]
    #[arg(long, value_name = "HOW")]
    pub from_tls: Option<DbTls>,
    /// File with the certificates that --from-tls verify and verify-ca trust [default: the usual
    /// public ones]
    #[arg(long, value_name = "FILE")]
    pub from_tls_ca: Option<PathBuf>,
    /// File with the certificate that the server of --from asks for, if it does
    #[arg(long, value_name = "FILE")]
    pub from_tls_cert: Option<PathBuf>,
    /// File with the private key of --from-tls-cert
    #[arg(long, value_name = "FILE")]
    pub from_tls_key: Option<PathBuf>,
}

impl OriginArgs {
    /// Whether one of them is given.
    pub fn is_given(&self) -> bool {
        let OriginArgs {
            from,
            from_pwd_file,
            from_socket,
            from_tls,
            from_tls_ca,
            from_tls_cert,
            from_tls_key,
        } = self;
        let files = [from_pwd_file, from_socket, from_tls_ca, from_tls_cert, from_tls_key];
        from.is_some() || from_tls.is_some() || files.iter().any(|path| path.is_some())
    }
}

/// Options of `import`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct ImportArgs {
    /// What to import
    pub content: Content,
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub origin: OriginArgs,
    /// Users, kamailio: the tenant of users without one. Properties: the tenant of the rules [default: all
    /// tenants]. With --replace: the only tenant from which rows are removed
    #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
    pub domain: Option<String>,
    /// Properties: who the rules are for [default: default]. Rules with --replace: the only subject
    /// whose rules are removed
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// CSV: its encoding, such as utf-8, utf-16 or windows-1252 [default: the one that is recognised]
    #[arg(long, value_name = "ENCODING", value_parser = encoding)]
    pub encoding: Option<TextEncoding>,
    /// CSV: rename columns of the file, such as extension=username,secret=password; an empty name
    /// leaves the column out
    #[arg(long, value_name = "THEIRS=OURS", value_delimiter = ',', value_parser = renaming)]
    pub columns: Vec<(String, String)>,
    /// Users: the file has the passwords themselves; store them hashed like this. Kamailio: store
    /// hashes of the clear passwords, and not the hashes that are there
    #[arg(long, value_name = "FORMAT")]
    pub hash: Option<Hash>,
    /// Properties: priority of the rules among subjects [default: as for `rule add`]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub spriority: Option<i32>,
    /// Properties: replace this account's own values with ${username}, ${domain} and ${password}
    #[arg(long, alias = "lift", value_name = "USER@DOMAIN", conflicts_with = "templates")]
    pub templatize: Option<String>,
    /// Properties: the file contains placeholders; without this option, each $ stands for itself
    #[arg(long)]
    pub templates: bool,
    /// Properties: read the file as Java does, in ISO-8859-1, even if it is UTF-8 text
    #[arg(long)]
    pub latin1: bool,
    /// Rules: take the values as they are: $, backslashes and blanks in them stand for themselves
    #[arg(long)]
    pub literal: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove users, rules or attributes of the same kind that are not among the imported ones: those
    /// of the tenants (and, for rules, the subjects) that are imported or named by --domain and
    /// --subject
    #[arg(long)]
    pub replace: bool,
    /// With --replace: remove more than --max-shrink allows, or replace by a file without rows
    #[arg(long)]
    pub allow_shrink: bool,
    /// With --replace: ask before more than this share of the users, rules or attributes of a tenant
    /// or of all is removed
    #[arg(
        long,
        env = "JITSIPROVS_MAX_SHRINK",
        value_name = "PERCENT",
        default_value_t = 50,
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    pub max_shrink: u8,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}

fn encoding(name: &str) -> Result<TextEncoding, UnknownEncoding> {
    name.parse()
}

/// `THEIRS=OURS`, split at the last `=`, because only the names of other systems may have one.
fn renaming(text: &str) -> Result<(String, String), &'static str> {
    match text.rsplit_once('=').map(|(theirs, ours)| (theirs.trim(), ours.trim())) {
        Some((theirs, ours)) if !theirs.is_empty() => Ok((theirs.into(), ours.into())),
        _ => Err("write the column's name in the file, =, and the name to read it as"),
    }
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Exported {
    /// Rules of one subject as .properties
    Properties,
    /// Users as CSV, with their stored passwords, and with attributes as further columns
    Users,
    /// Rules as CSV
    Rules,
    /// Rules as JSON
    RulesJson,
    /// Attributes as CSV
    Attributes,
    /// Attributes as JSON
    AttributesJson,
    /// Users, rules and attributes as JSON
    Json,
}

/// Options of `export`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct ExportArgs {
    /// What to export
    pub content: Exported,
    /// Only users, rules or attributes of this tenant; empty for rules and attributes of all tenants
    #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
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
