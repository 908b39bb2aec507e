//! `--from`: another database, to be read.

use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::{ConfigError, absolute, password, usage};
use crate::source::{self, DbAccount, Endpoint, Mysql, Queries, Source, Tls};

/// What the other database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginKind {
    /// One of the original's or ours.
    Jitsiprovs,
    /// Kamailio's.
    Kamailio,
}

/// A database to import from.
pub struct ImportOrigin {
    /// To be read only.
    pub source: Arc<dyn Source>,
    /// What was typed, for errors.
    pub named: String,
}

impl ImportOrigin {
    /// Checks `--from` and `--from-pwd-file`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(
        kind: OriginKind,
        from: Option<String>,
        pwd_file: Option<PathBuf>,
    ) -> Result<ImportOrigin, ConfigError> {
        let Some(from) = from else {
            return usage("--from is missing: name a SQLite file, or mysql://user@host:port/name");
        };
        let queries = match kind {
            OriginKind::Jitsiprovs => Queries::default(),
            OriginKind::Kamailio => Queries {
                users: Some("SELECT username, domain, ha1 FROM subscriber".into()),
                // It has no rules: six columns, no rows.
                rules: Some("SELECT 1, 1, 1, 1, 1, 1 FROM subscriber WHERE 1 = 0".into()),
            },
        };
        let scheme = from.split_once("://").map(|(scheme, _)| scheme);
        let Some(url) = from.strip_prefix("mysql://") else {
            if scheme.is_some() {
                // It may hold a password, so it is not repeated.
                return usage(
                    "--from has another scheme: write mysql://user@host:port/name, or name a SQLite file",
                );
            }
            if pwd_file.is_some() {
                return usage("--from-pwd-file is for mysql://, but --from names a file: leave it out");
            }
            let path = absolute(PathBuf::from(&from));
            return Ok(ImportOrigin {
                source: source::foreign_sqlite(path, queries),
                named: format!("--from {from}"),
            });
        };
        let (account, place) = url.rsplit_once('@').unwrap_or(("jitsiprovs", url));
        if account.contains(':') || account.to_ascii_lowercase().contains("%3a") {
            // Everybody on this machine can read arguments.
            return usage("--from holds a password: write it to a file, and name that with --from-pwd-file");
        }
        let Some((host, database)) =
            place.split_once('/').filter(|(host, name)| !host.is_empty() && !name.is_empty())
        else {
            return usage(format!("--from {from}: write mysql://user@host:port/name"));
        };
        let (host, port) = match host.rsplit_once(':') {
            // An IPv6 address in brackets has colons of its own.
            Some((name, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (name, port),
                Err(_) => return usage(format!("--from {from}: {port:?} is no port")),
            },
            _ => (host, 3306),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = password(None, pwd_file, "--from", "--from-pwd-file")?.unwrap_or_default();
        let source = Mysql {
            endpoint: Endpoint::Tcp(host.into(), port),
            tls: Tls::Off,
            database: decoded(database),
            account: DbAccount { user: decoded(account), password },
            admin: None,
            from: None,
        };
        Ok(ImportOrigin { source: source.source(queries), named: format!("--from {from}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(from: &str) -> Result<ImportOrigin, ConfigError> {
        ImportOrigin::new(OriginKind::Jitsiprovs, Some(from.into()), None)
    }

    #[test]
    fn a_url_names_a_server_and_anything_else_is_a_file() {
        for (url, name) in [
            ("mysql://reader@db.example.org/old", "the MySQL database old at db.example.org:3306"),
            ("mysql://r%40x@10.0.0.5:3307/a%20b", "the MySQL database a b at 10.0.0.5:3307"),
            ("mysql://[::1]:1/x", "the MySQL database x at ::1:1"),
            ("mysql://[::1]/x", "the MySQL database x at ::1:3306"),
            ("/var/lib/old.db", "the SQLite database /var/lib/old.db"),
        ] {
            assert!(from(url).is_ok_and(|origin| origin.source.name() == name), "{url}");
        }
        for url in ["mysql://host", "mysql:///x", "mysql://host:port/x", "mysql://host/"] {
            assert!(from(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for (url, words) in [
            ("mysql://reader:hunter2@host/x", "--from-pwd-file"),
            ("mysql://reader%3Ahunter2@host/x", "--from-pwd-file"),
            ("mariadb://reader:hunter2@host/x", "mysql://user@"),
            ("MYSQL://reader:hunter2@host/x", "mysql://user@"),
        ] {
            let error = from(url).err().expect("refused").to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}
