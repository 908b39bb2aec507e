//! `--from`: the other database that `import` reads.

use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::cli::error::{ConfigError, usage};
use crate::cli::option_files::{absolute, password};
use crate::source::{self, DbAccount, Endpoint, Mysql, Queries, Source, Tls};

/// What the other database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginKind {
    /// A database of the original program or of jitsiprovs.
    Jitsiprovs,
    /// A database of Kamailio.
    Kamailio,
}

/// A database to import from.
pub struct ImportOrigin {
    /// The database. It is only read.
    pub source: Arc<dyn Source>,
    /// The option as typed, for errors.
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
                // Kamailio has no rules: this query has six columns and returns no rows.
                rules: Some("SELECT 1, 1, 1, 1, 1, 1 FROM subscriber WHERE 1 = 0".into()),
                attributes: None,
                max_bytes: None,
            },
        };
        if from.contains("://") {
            return of_url(from, pwd_file, queries);
        }
        if pwd_file.is_some() {
            return usage("--from-pwd-file is for mysql://, but --from names a file: leave it out");
        }
        let path = absolute(PathBuf::from(&from));
        Ok(ImportOrigin { source: source::foreign_sqlite(path, queries), named: format!("--from {from}") })
    }
}

/// `from` may contain a password, so errors do not repeat it until that is ruled out.
fn of_url(from: String, pwd_file: Option<PathBuf>, queries: Queries) -> Result<ImportOrigin, ConfigError> {
    let wrong = |why: &str| usage(format!("--from: {why}; write mysql://user@host:port/name"));
    let url = match Url::parse(&from) {
        Ok(url) if url.scheme() == "mysql" => url,
        Ok(_) => return wrong("only mysql:// is supported, and a SQLite file is named without ://"),
        Err(why) => return wrong(&why.to_string()),
    };
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = decoded(url.username());
    // If a password contains a slash or a question mark, the URL ends its authority there,
    // and the rest of the password looks like the name of the database.
    let is_cut = url.path().contains('@') || url.query().is_some() || url.fragment().is_some();
    if url.password().is_some() || user.contains(':') || is_cut {
        // Everybody on this machine can read the arguments of a process.
        return wrong("it contains a password, which belongs in a file named by --from-pwd-file");
    }
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => decoded(name),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Domain(_)) | None => return wrong("the host is missing"),
    };
    let database = decoded(url.path().trim_start_matches('/'));
    if database.is_empty() {
        return wrong("the name of the database is missing");
    }
    let password = password(None, pwd_file, "--from", "--from-pwd-file")?.unwrap_or_default();
    let user = if user.is_empty() { "jitsiprovs".into() } else { user };
    let source = Mysql {
        endpoint: Endpoint::Tcp(host, url.port().unwrap_or(3306)),
        tls: Tls::Off,
        database,
        account: DbAccount { user, password },
        admin: None,
        from: None,
    };
    Ok(ImportOrigin { source: source.source(queries), named: format!("--from {from}") })
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
            ("mysql://reader:hunter2@host:port/x", "port number"),
            ("mysql://reader:hun/ter2@host/x", "port number"),
            ("mysql://reader:1/hunter2@host/x", "--from-pwd-file"),
            ("mysql://reader:1?hunter2@host/x", "--from-pwd-file"),
        ] {
            let error = from(url).err().expect("refused").to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}
