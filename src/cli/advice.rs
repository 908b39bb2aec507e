//! Which options an error concerns. Errors of the lower layers say what is wrong; they do
//! not know how the program was called.

use crate::core::model::Table;
use crate::reload::LoadError;
use crate::source::SourceError;

/// The options to look at, in brackets, to be added to the message of `error`; empty if no
/// option is concerned.
pub fn of(error: &anyhow::Error) -> String {
    let source = error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(LoadError::Source(error)) => Some(error),
        _ => cause.downcast_ref(),
    });
    source.map(of_source).unwrap_or_default()
}

/// The same for an error of the database that `import` reads.
pub fn of_origin(error: &anyhow::Error) -> &'static str {
    use SourceError as E;
    match error.chain().find_map(|cause| cause.downcast_ref()) {
        Some(E::NoTls { .. }) => " (--from-tls, --from-tls-ca, --from-tls-cert)",
        Some(E::TlsDemanded { .. }) => " (--from-tls)",
        Some(E::Refused { .. }) => " (--from, --from-pwd-file, --from-tls, --from-tls-cert)",
        Some(E::Unreachable { .. }) => " (--from, --from-socket)",
        _ => "",
    }
}

/// The same for an error of the database: the options to look at, in brackets.
pub fn of_source(error: &SourceError) -> String {
    let query = |table: &Table| match table {
        Table::UserAuth => "--auth-query",
        Table::JitsiProperty => "--rules-query",
        Table::UserAttribute => "--attribute-query",
    };
    use SourceError as E;
    let queries: Vec<&str>;
    let options: &[&str] = match error {
        E::NoFile(_) => &["`jitsiprovs --setup`", "--db-path"],
        E::NoForeignFile(_) | E::CannotOpen { .. } => &["--db-path"],
        E::Unreachable { .. } => &["--db-ip", "--db-port", "--db-socket"],
        E::NoTls { .. } => &["--db-tls", "--db-tls-ca", "--db-tls-cert"],
        E::NotReadAgain { .. } => &["--db-user", "--db-pwd-file"],
        E::TlsDemanded { .. } => &["--db-tls"],
        E::Refused { is_admin: false, .. } => {
            &["--db-user", "--db-pwd", "--db-from", "--db-tls", "--db-tls-cert"]
        }
        E::Refused { is_admin: true, .. } => &["--db-admin", "--db-apwd", "--db-tls", "--db-tls-cert"],
        E::Denied { is_admin: false, .. } => &["--db-user"],
        E::Denied { is_admin: true, .. } => &["--db-admin"],
        E::NoDatabase { .. } => &["--db-name", "--setup with --db-admin and --db-apwd-file"],
        E::NoForeignDatabase { .. } => &["--db-name", "--db-user"],
        E::NoTable { table, .. } => &["--setup", query(table)],
        E::Columns { table, .. }
        | E::ColumnName { table, .. }
        | E::OwnQuery { table }
        | E::OwnQueryFailed { table, .. } => &[query(table)],
        E::Views { tables, .. } => {
            queries = tables.iter().map(query).collect();
            &queries
        }
        E::NoColumn { .. } | E::NoOwnTable { .. } => &["--setup"],
        E::TooMuch { .. } => &["--max-load"],
        E::Statement { .. }
        | E::Cancelled
        | E::Gone { .. }
        | E::Uncertain { .. }
        | E::Busy(_)
        | E::NoTransactions => return String::new(),
    };
    format!(" ({})", options.join(", "))
}
