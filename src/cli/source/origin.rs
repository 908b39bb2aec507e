//! `--from`: the other database that `import` reads.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::tls;
use crate::cli::advice;
use crate::cli::args::OriginArgs;
use crate::cli::error::{ConfigError, usage};
use crate::cli::option_files::{absolute, password};
use crate::source::{self, DbAccount, DbServer, Endpoint, Queries, ServerKind, Source, Tls};

/// A database to import from. It is only read.
pub struct ImportOrigin {
    place: Place,
    /// The option as typed, for errors.
    pub named: String,
}

enum Place {
    File(PathBuf),
    Server(Box<DbServer>),
}

impl ImportOrigin {
    /// Checks `--from` and the options that belong to it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(options: OriginArgs) -> Result<ImportOrigin, ConfigError> {
        let OriginArgs {
            from,
            from_pwd_file,
            from_socket,
            from_tls,
            from_tls_ca,
            from_tls_cert,
            from_tls_key,
        } = options;
        let Some(from) = from else {
            return usage(
                "--from is missing: name a SQLite file, or mysql://user@host:port/name, or postgres://…",
            );
        };
        if from.contains("://") {
            let server = DbServer {
                tls: tls(
                    from_tls,
                    [from_tls_ca, from_tls_cert, from_tls_key],
                    ["--from-tls", "--from-tls-ca", "--from-tls-cert", "--from-tls-key"],
                )?,
                ..of_url(&from, from_socket, from_pwd_file)?
            };
            return Ok(ImportOrigin {
                place: Place::Server(Box::new(server)),
                named: format!("--from {from}"),
            });
        }
        let for_servers = [
            ("--from-pwd-file", from_pwd_file.is_some()),
            ("--from-socket", from_socket.is_some()),
            ("--from-tls", from_tls.is_some()),
            ("--from-tls-ca", from_tls_ca.is_some()),
            ("--from-tls-cert", from_tls_cert.is_some()),
            ("--from-tls-key", from_tls_key.is_some()),
        ];
        if let Some((option, _)) = for_servers.into_iter().find(|(_, is_given)| *is_given) {
            return usage(format!("{option} is for servers, but --from names a file: leave it out"));
        }
        let place = Place::File(absolute(PathBuf::from(&from)));
        Ok(ImportOrigin { place, named: format!("--from {from}") })
    }

    /// The database, read with `queries`.
    pub fn source(&self, queries: Queries) -> Arc<dyn Source> {
        match &self.place {
            Place::File(path) => source::foreign_sqlite(path, queries),
            Place::Server(server) => source::on_server((**server).clone(), queries),
        }
    }

    /// An error of this database, as text with the options that concern it. Otherwise those of
    /// the database that is written to would be named.
    pub fn failure(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let error = error.into();
        anyhow!("{}: {error:#}{}", self.named, advice::of_origin(&error))
    }
}

/// `from` may contain a password, so errors do not repeat it until that is ruled out.
fn of_url(from: &str, socket: Option<PathBuf>, pwd_file: Option<PathBuf>) -> Result<DbServer, ConfigError> {
    let wrong = |why: &str| {
        usage(format!("--from: {why}; write mysql://user@host:port/name or postgres://user@host:port/name"))
    };
    let url = match Url::parse(from) {
        Ok(url) => url,
        Err(why) => return wrong(&why.to_string()),
    };
    let kind = match url.scheme() {
        "mysql" => ServerKind::Mysql,
        "postgres" | "postgresql" => ServerKind::Postgres,
        _ => return wrong("other servers are not supported, and a SQLite file is named without ://"),
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
    let endpoint = match socket {
        None => Endpoint::Tcp(host, url.port().unwrap_or(kind.port())),
        Some(path) if host == "localhost" && url.port().is_none() => Endpoint::Socket(absolute(path)),
        Some(_) => {
            return usage(format!(
                "--from-socket replaces host and port: write {}://user@localhost/name with it",
                url.scheme()
            ));
        }
    };
    let password = password(None, pwd_file, "--from", "--from-pwd-file")?.unwrap_or_default();
    let user = if user.is_empty() { "jitsiprovs".into() } else { user };
    let account = DbAccount::new(user, password, None);
    Ok(DbServer { kind, endpoint, tls: Tls::Off, database, account, admin: None, from: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::DbTls;

    fn from(from: &str) -> Result<ImportOrigin, ConfigError> {
        with(from, |_| ())
    }

    fn with(from: &str, change: impl FnOnce(&mut OriginArgs)) -> Result<ImportOrigin, ConfigError> {
        let mut options = OriginArgs {
            from: Some(from.into()),
            from_pwd_file: None,
            from_socket: None,
            from_tls: None,
            from_tls_ca: None,
            from_tls_cert: None,
            from_tls_key: None,
        };
        change(&mut options);
        ImportOrigin::new(options)
    }

    fn name(origin: &ImportOrigin) -> String {
        origin.source(Queries::default()).name()
    }

    #[test]
    fn a_url_names_a_server_and_anything_else_is_a_file() {
        for (url, name) in [
            ("mysql://reader@db.example.org/old", "the MySQL database old at db.example.org:3306"),
            ("mysql://r%40x@10.0.0.5:3307/a%20b", "the MySQL database a b at 10.0.0.5:3307"),
            ("mysql://[::1]:1/x", "the MySQL database x at ::1:1"),
            ("mysql://[::1]/x", "the MySQL database x at ::1:3306"),
            ("postgres://r@10.0.0.5/sip", "the PostgreSQL database sip at 10.0.0.5:5432"),
            ("PostgreSQL://r@host:7/sip", "the PostgreSQL database sip at host:7"),
            ("/var/lib/old.db", "the SQLite database /var/lib/old.db"),
        ] {
            assert!(from(url).is_ok_and(|origin| self::name(&origin) == name), "{url}");
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

    #[test]
    fn a_socket_replaces_host_and_port_of_a_server() {
        let socket = |from: &str| with(from, |options| options.from_socket = Some("/run/x.sock".into()));
        let origin = socket("mysql://reader@localhost/sip").expect("a socket");
        assert_eq!(name(&origin), "the MySQL database sip at /run/x.sock");
        for (url, words) in [
            ("mysql://reader@db.example.org/sip", "write mysql://user@localhost/name"),
            ("mysql://reader@localhost:3306/sip", "write mysql://user@localhost/name"),
            ("/var/lib/sip.db", "--from-socket is for servers"),
        ] {
            let error = socket(url).err().expect("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn tls_is_for_servers_and_a_certificate_for_verify() {
        for (url, how, words) in [
            ("mysql://reader@host/sip", Some(DbTls::Require), "without --from-tls verify"),
            ("mysql://reader@host/sip", None, "without --from-tls verify"),
            ("mysql://reader@host/sip", Some(DbTls::Verify), "--from-tls-ca"),
            ("/var/lib/sip.db", Some(DbTls::Require), "--from-tls is for servers"),
        ] {
            let set = |options: &mut OriginArgs| {
                (options.from_tls, options.from_tls_ca) = (how, Some("/no/such/ca.pem".into()));
            };
            let error = with(url, set).err().expect("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
