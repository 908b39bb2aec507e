//! What was typed → what is to be done, checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{self, DbTls, DbType};
use crate::credential;
use crate::http::client_address::TrustedProxies;
use crate::http::params;
use crate::model::{Aliases, Known, Secret, built_in_aliases};
use crate::reload;
use crate::server::{Limits, tls};
use crate::snapshot::{self, Comparison};
use crate::source::{Account, Endpoint, Mysql, Polling, Queries, Source, Sqlite, Tls};
use crate::telemetry;
use crate::throttle;

/// The longest interval, a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

const DEFAULT_PATH: &str = "/var/lib/jitsiprovs/jitsiprovs.db";

/// What the options ask for.
pub struct Config {
    /// The log.
    pub log: telemetry::Options,
    /// What to do.
    pub task: Task,
}

/// What to do.
pub enum Task {
    /// Answer requests.
    Serve(Box<Serve>),
    /// Make or upgrade the tables of a source.
    Setup(Arc<dyn Source>),
}

/// A server, ready to be started.
pub struct Serve {
    /// `--http-ip` and `--http-port`
    pub listen: SocketAddr,
    /// `--admin-ip` and `--admin-port`
    pub admin: Option<SocketAddr>,
    /// `--ssl-keyfile` and `--ssl-certfile`
    pub tls: Option<tls::Files>,
    /// `--trusted-proxy`
    pub proxies: TrustedProxies,
    /// How many connections, and how long they may take.
    pub limits: Limits,
    /// `--body-timeout`
    pub body_timeout: Duration,
    /// `--auth-fail-limit` and `--auth-fail-window`
    pub throttle: throttle::Settings,
    /// Where users and rules are.
    pub source: Arc<dyn Source>,
    /// How rows are understood.
    pub snapshot: snapshot::Options,
    /// When and how to reload.
    pub reload: reload::Settings,
    /// How requests are understood.
    pub params: params::Settings,
    /// Whether each request is logged.
    pub access_log: bool,
    /// `--metrics-tenants`
    pub metrics_tenants: bool,
}

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They contradict each other or something is missing: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// They name a file that cannot be read: exit code 1.
    #[error("cannot read {path} ({why}): check {option} and the file's permissions")]
    File {
        /// The file.
        path: String,
        /// The option that names it.
        option: &'static str,
        /// What the system says.
        why: std::io::Error,
    },
}

fn usage<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Usage(message.into()))
}

impl Config {
    /// Checks `options`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(options: cli::Options) -> Result<Config, Error> {
        // Without `..`: an option that is forgotten here does not compile.
        let cli::Options { listening, limits, database, setup, rows, reload, requests, process } = options;
        let cli::Listening {
            http_ip,
            http_port,
            ssl_keyfile,
            ssl_certfile,
            trusted_proxy,
            admin_ip,
            admin_port,
        } = listening;
        let cli::Limits {
            max_connections,
            header_timeout,
            body_timeout,
            idle_timeout,
            auth_fail_limit,
            auth_fail_window,
        } = limits;
        let cli::Process { foreground, verbose, log_format, no_access_log, metrics_tenants, drain_timeout } =
            process;
        let log = telemetry::Options { format: log_format, verbose };
        let is_setup = setup.setup;
        let source = source(database, setup)?;
        if is_setup {
            return Ok(Config { log, task: Task::Setup(source) });
        }
        if !foreground {
            return usage(
                "running in the background is not there yet: add -n (--foreground), \
                 and let a service manager or `&` do it",
            );
        }
        let params = request_settings(requests)?;
        let serve = Serve {
            listen: SocketAddr::new(http_ip, http_port),
            admin: admin_port.map(|port| SocketAddr::new(admin_ip, port)),
            tls: tls_files(ssl_keyfile, ssl_certfile)?,
            proxies: TrustedProxies::parse(&trusted_proxy)
                .or_else(|why| usage(format!("--trusted-proxy {why}")))?,
            limits: Limits {
                connections: max_connections as usize,
                header: seconds(header_timeout, "--header-timeout")?,
                idle: seconds(idle_timeout, "--idle-timeout")?,
                drain: Duration::from_secs(drain_timeout),
            },
            body_timeout: seconds(body_timeout, "--body-timeout")?,
            throttle: throttle_settings(auth_fail_limit, auth_fail_window)?,
            source,
            snapshot: snapshot_options(rows, params.aliases.clone()),
            reload: reload_settings(reload)?,
            params,
            access_log: !no_access_log,
            metrics_tenants,
        };
        Ok(Config { log, task: Task::Serve(Box::new(serve)) })
    }
}

fn tls_files(key: Option<PathBuf>, chain: Option<PathBuf>) -> Result<Option<tls::Files>, Error> {
    match (key, chain) {
        (Some(key), Some(chain)) => Ok(Some(tls::Files { key: absolute(key), chain: absolute(chain) })),
        (Some(_), None) => usage("--ssl-keyfile without --ssl-certfile: HTTPS needs both"),
        (None, Some(_)) => usage("--ssl-certfile without --ssl-keyfile: HTTPS needs both"),
        (None, None) => Ok(None),
    }
}

fn throttle_settings(limit: u32, window: f64) -> Result<throttle::Settings, Error> {
    let (most, longest) = (throttle::LARGEST_LIMIT, throttle::LONGEST_WINDOW);
    if limit > most {
        return usage(format!("--auth-fail-limit {limit}: at most {most}, or 0 for no limit"));
    }
    let window = seconds(window, "--auth-fail-window")?;
    if window > longest {
        return usage(format!("--auth-fail-window: at most {} seconds", longest.as_secs()));
    }
    Ok(throttle::Settings { limit, window })
}

/// It is to mean the same after a change of the working directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// A time that is neither nothing nor for ever.
fn seconds(seconds: f64, option: &str) -> Result<Duration, Error> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (Duration::from_millis(10)..=LONGEST).contains(&time) => Ok(time),
        _ => usage(format!("{option} {seconds}: seconds, at least 0.01 and at most {}", LONGEST.as_secs())),
    }
}

fn source(database: cli::Database, setup: cli::Setup) -> Result<Arc<dyn Source>, Error> {
    let cli::Database {
        db_type,
        db_path,
        db_ip,
        db_port,
        db_socket,
        db_name,
        db_user,
        db_pwd,
        db_pwd_file,
        db_tls,
        db_tls_ca,
        auth_query,
        rules_query,
    } = database;
    let cli::Setup { setup: is_setup, db_admin, db_apwd, db_apwd_file, db_from } = setup;
    let queries = Queries { users: auth_query, rules: rules_query };

    let mysql_only = [
        ("--db-ip", db_ip.is_some()),
        ("--db-port", db_port.is_some()),
        ("--db-socket", db_socket.is_some()),
        ("--db-name", db_name.is_some()),
        ("--db-user", db_user.is_some()),
        ("--db-pwd", db_pwd.is_some()),
        ("--db-pwd-file", db_pwd_file.is_some()),
        ("--db-tls", db_tls.is_some()),
        ("--db-tls-ca", db_tls_ca.is_some()),
        ("--db-admin", db_admin.is_some()),
        ("--db-apwd", db_apwd.is_some()),
        ("--db-apwd-file", db_apwd_file.is_some()),
        ("--db-from", db_from.is_some()),
    ];
    let mysql_only = mysql_only.into_iter().find_map(|(option, given)| given.then_some(option));
    match (db_type, &db_path, mysql_only) {
        (Some(DbType::Sqlite), _, Some(option)) => {
            return usage(format!("{option} is for MySQL, but --db-type is sqlite: leave out one of them"));
        }
        (Some(DbType::Mysql), Some(_), _) => {
            return usage("--db-path is for SQLite, but --db-type is mysql: leave out one of them");
        }
        (None, Some(_), Some(option)) => {
            return usage(format!("--db-path is for SQLite and {option} for MySQL: leave out one of them"));
        }
        _ => {}
    }
    if db_type == Some(DbType::Sqlite) || (db_type.is_none() && mysql_only.is_none()) {
        let path = absolute(db_path.unwrap_or_else(|| DEFAULT_PATH.into()));
        return Ok(Arc::new(Sqlite::new(path, queries)));
    }

    let endpoint = match db_socket {
        Some(_) if db_ip.is_some() || db_port.is_some() => {
            return usage("--db-socket replaces --db-ip and --db-port: leave out one or the others");
        }
        Some(path) => Endpoint::Socket(path),
        None => Endpoint::Tcp(db_ip.unwrap_or_else(|| "127.0.0.1".into()), db_port.unwrap_or(3306)),
    };
    let tls = match (db_tls.unwrap_or(DbTls::Off), db_tls_ca) {
        (DbTls::Verify, ca) => {
            if let Some(path) = &ca {
                read(path, "--db-tls-ca")?;
            }
            Tls::Verify(ca)
        }
        (_, Some(_)) => return usage("--db-tls-ca does nothing without --db-tls verify: add it"),
        (DbTls::Off, None) => Tls::Off,
        (DbTls::Require, None) => Tls::Require,
    };
    let user = db_user.unwrap_or_else(|| "jitsiprovs".into());
    let own_password = password(db_pwd, db_pwd_file, "--db-pwd", "--db-pwd-file")?.unwrap_or_default();
    let admin_password = password(db_apwd, db_apwd_file, "--db-apwd", "--db-apwd-file")?;
    let admin = (db_admin.is_some() || admin_password.is_some()).then(|| Account {
        user: db_admin.unwrap_or_else(|| "root".into()),
        password: admin_password.unwrap_or_default(),
    });
    if is_setup && admin.is_some() && own_password.reveal().is_empty() {
        return usage(
            "--setup with an administrator makes the account too: give it a password \
             with --db-pwd-file or JITSIPROVS_DB_PWD",
        );
    }
    Ok(Arc::new(Mysql {
        endpoint,
        tls,
        database: db_name.unwrap_or_else(|| "jitsiprovs".into()),
        account: Account { user, password: own_password },
        admin,
        from: db_from,
        queries,
        polling: Polling::default(),
    }))
}

fn password(
    typed: Option<String>,
    file: Option<PathBuf>,
    option: &'static str,
    file_option: &'static str,
) -> Result<Option<Secret>, Error> {
    match (typed, file) {
        (Some(_), Some(_)) => {
            usage(format!("{option} and {file_option} are both given: leave out one of them"))
        }
        (Some(typed), None) => Ok(Some(Secret::new(typed))),
        (None, Some(path)) => {
            let text = read(&path, file_option)?;
            Ok(Some(Secret::new(text.lines().next().unwrap_or_default())))
        }
        (None, None) => Ok(None),
    }
}

fn read(path: &Path, option: &'static str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|why| Error::File { path: path.display().to_string(), option, why })
}

fn snapshot_options(rows: cli::Rows, aliases: Aliases) -> snapshot::Options {
    let cli::Rows { pwd_fmt, realm, case_sensitive } = rows;
    snapshot::Options {
        comparison: if case_sensitive { Comparison::Exact } else { Comparison::Folded },
        pwd_fmt: match pwd_fmt {
            cli::PwdFmt::Md5 => credential::PwdFmt::Md5,
            cli::PwdFmt::Plain => credential::PwdFmt::Plain,
            cli::PwdFmt::Ha1 => credential::PwdFmt::Ha1,
            cli::PwdFmt::Ha1Sha256 => credential::PwdFmt::Ha1Sha256,
        },
        realm,
        aliases,
    }
}

fn reload_settings(reload: cli::Reload) -> Result<reload::Settings, Error> {
    let cli::Reload { reload_interval, poll_interval, max_shrink, allow_shrink, state_file } = reload;
    let interval = |seconds: f64, option: &str| match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if interval.is_zero() => Ok(None),
        Ok(interval) if interval < Duration::from_millis(10) => {
            usage(format!("{option} {seconds}: at least 0.01 seconds, or 0 for never"))
        }
        Ok(interval) if interval <= LONGEST => Ok(Some(interval)),
        _ => usage(format!("{option} {seconds}: seconds, at most {}, or 0 for never", LONGEST.as_secs())),
    };
    Ok(reload::Settings {
        reload_interval: interval(reload_interval, "--reload-interval")?,
        poll_interval: interval(poll_interval, "--poll-interval")?,
        max_shrink: if allow_shrink { 100 } else { max_shrink },
        state_file: state_file.map(absolute),
    })
}

fn request_settings(requests: cli::Requests) -> Result<params::Settings, Error> {
    let cli::Requests { default_domain, param_alias } = requests;
    if default_domain.trim().is_empty() {
        return usage("--default-domain is empty: give the domain of requests that name none");
    }
    Ok(params::Settings { default_domain, aliases: aliases(param_alias)? })
}

fn aliases(typed: Vec<String>) -> Result<Aliases, Error> {
    let mut aliases = Aliases::new();
    for typed in typed {
        let Some((alias, canonical)) = typed.split_once('=') else {
            return usage(format!("--param-alias {typed}: write NAME=PARAMETER, such as mac=hwaddr"));
        };
        let Some(known) = Known::from_name(canonical) else {
            let names = Known::ALL.map(Known::name).join(", ");
            return usage(format!("--param-alias {typed}: there is no parameter `{canonical}`, but {names}"));
        };
        if alias.is_empty() || Known::from_name(alias).is_some() {
            return usage(format!("--param-alias {typed}: `{alias}` cannot stand for another parameter"));
        }
        aliases.push((alias.to_owned(), known));
    }
    // The operator's come first, and so win over those built in.
    aliases.extend(built_in_aliases());
    Ok(aliases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn config(args: &[&str]) -> Result<Config, Error> {
        let typed = ["jitsiprovs"].iter().chain(args);
        Config::new(cli::Cli::try_parse_from(typed).expect("parses").serve)
    }

    fn source_name(args: &[&str]) -> String {
        match config(args).map(|config| config.task) {
            Ok(Task::Serve(serve)) => serve.source.name(),
            Ok(Task::Setup(source)) => source.name(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_option_of_the_original_is_taken_in_its_own_spelling() {
        let args = "-n --http_ip 127.0.0.1 --http_port 8081 --db_type mysql --db_ip 10.0.0.1 --db_port 3307 \
                    --db_name n --db_user u --db_pwd p --db_from f --pwd_fmt plain --db_admin a --db_apwd b \
                    --ssl_keyfile k --ssl_certfile c -v";
        let args: Vec<&str> = args.split_whitespace().collect();
        let Task::Serve(serve) = config(&args).expect("usable").task else { panic!("serves") };
        assert_eq!(serve.listen, "127.0.0.1:8081".parse().expect("an address"));
        assert_eq!(serve.source.name(), "the MySQL database n at 10.0.0.1:3307");
        assert_eq!(serve.snapshot.pwd_fmt, credential::PwdFmt::Plain);
        assert!(matches!(config(&["-n", "--setup", "--db-path", "x"]).expect("usable").task, Task::Setup(_)));
    }

    #[test]
    fn the_kind_of_database_follows_from_what_is_given() {
        for (args, expected) in [
            ("-n", "the SQLite database /var/lib/jitsiprovs/jitsiprovs.db"),
            ("-n --db-path /x", "the SQLite database /x"),
            ("-n --db-user u", "the MySQL database jitsiprovs at 127.0.0.1:3306"),
            ("-n --db-type mysql", "the MySQL database jitsiprovs at 127.0.0.1:3306"),
            ("-n --db-socket /s", "the MySQL database jitsiprovs at /s"),
        ] {
            assert_eq!(source_name(&args.split(' ').collect::<Vec<_>>()), expected);
        }
    }

    #[test]
    fn what_contradicts_itself_names_the_options() {
        for (args, named) in [
            ("-n --db-type sqlite --db-ip x", "--db-ip"),
            ("-n --db-type mysql --db-path x", "--db-path"),
            ("-n --db-path x --db-port 1", "--db-port"),
            ("-n --db-socket s --db-ip x", "--db-socket"),
            ("-n --db-pwd x --db-pwd-file y", "--db-pwd-file"),
            ("-n --db-pwd-file /no/such/file", "--db-pwd-file"),
            ("-n --db-tls off --db-tls-ca y", "--db-tls-ca"),
            ("--setup --db-admin root", "--db-pwd-file"),
            ("-n --ssl-keyfile k", "--ssl-certfile"),
            ("-n --ssl-certfile c", "--ssl-keyfile"),
            ("-n --trusted-proxy nonsense", "--trusted-proxy"),
            ("-n --idle-timeout 0", "--idle-timeout"),
            ("-n --auth-fail-window nan", "--auth-fail-window"),
            ("-n --auth-fail-window 86401", "--auth-fail-window"),
            ("-n --auth-fail-limit 1000", "--auth-fail-limit"),
            ("-n --param-alias mac", "NAME=PARAMETER"),
            ("-n --param-alias mac=mac", "hwaddr"),
            ("-n --param-alias arch=osname", "`arch`"),
            ("-n --default-domain=", "--default-domain"),
            ("--db-path x", "-n"),
        ] {
            let error = config(&args.split(' ').collect::<Vec<_>>()).err().expect(args).to_string();
            assert!(error.contains(named) && !error.contains('\n'), "{args}: {error}");
        }
    }

    #[test]
    fn the_operators_aliases_win_over_those_built_in() {
        let args = ["-n", "--param-alias", "mac=hwaddr,os=arch"];
        let Task::Serve(serve) = config(&args).expect("usable").task else { panic!("serves") };
        let find = |name: &str| serve.params.aliases.iter().find(|(alias, _)| alias == name).map(|(_, k)| *k);
        assert_eq!(find("mac"), Some(Known::Hwaddr));
        assert_eq!(find("os"), Some(Known::Arch));
        assert_eq!(find("user"), Some(Known::Username));
    }
}
