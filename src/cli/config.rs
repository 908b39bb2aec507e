//! What was typed → what is to be done, checked.

mod origin;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args;
use crate::cli::options::{self, DbTls, DbType};
use crate::core::conventions::Conventions;
use crate::core::credential;
use crate::core::names::Comparison;
use crate::core::params::{Aliases, Known, built_in_aliases};
use crate::core::request;
use crate::core::secret::Secret;
use crate::process::files;
use crate::process::pidfile;
use crate::process::privileges::Identity;
use crate::reload;
use crate::serve::app::Serve;
use crate::serve::http;
use crate::serve::http::admin_key::{self, AdminKey};
use crate::serve::http::client_address::TrustedProxies;
use crate::serve::listener::ConnectionLimits;
use crate::serve::throttle;
use crate::serve::tls;
use crate::source::{DbAccount, Endpoint, Mysql, Polling, Queries, Source, Sqlite, Tls};
use crate::telemetry;

pub use origin::{ImportOrigin, OriginKind};

/// The longest interval, a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

const DEFAULT_PATH: &str = "/var/lib/jitsiprovs/jitsiprovs.db";

/// What the options ask for.
pub struct Config {
    /// The log.
    pub log: telemetry::LogOptions,
    /// Who to be.
    pub identity: Option<Identity>,
    /// What to do.
    pub task: Task,
}

/// What to do.
pub enum Task {
    /// Answer requests.
    Serve(Daemon, Box<Serve>),
    /// Make or upgrade the tables of a source.
    Setup(Arc<dyn Source>),
}

/// Where a server runs.
pub struct Daemon {
    /// Whether it leaves the terminal.
    pub in_background: bool,
    /// `--pidfile`
    pub pidfile: Option<PathBuf>,
}

/// The tables that a command works on.
pub struct TableAccess {
    /// Where users and rules are.
    pub source: Arc<dyn Source>,
    /// How rows are understood.
    pub snapshot: Conventions,
    /// How requests are understood.
    pub params: request::ParamSettings,
}

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
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

fn usage<T>(message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Usage(message.into()))
}

impl Config {
    /// Checks `options`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(options: options::ServerOptions) -> Result<Config, ConfigError> {
        // Without `..`: an option that is forgotten here does not compile.
        let options::ServerOptions { listening, limits, database, setup, rows, reload, requests, process } =
            options;
        let options::ListenOptions {
            http_ip,
            http_port,
            ssl_keyfile,
            ssl_certfile,
            trusted_proxy,
            admin_ip,
            admin_port,
            admin_host,
            admin_secret_file,
        } = listening;
        let options::LimitOptions {
            max_connections,
            header_timeout,
            body_timeout,
            idle_timeout,
            auth_fail_limit,
            auth_fail_window,
        } = limits;
        let options::ProcessOptions {
            foreground,
            pidfile,
            user,
            group,
            verbose,
            log_format,
            syslog_facility,
            no_access_log,
            metrics_tenants,
            drain_timeout,
        } = process;
        let is_setup = setup.setup;
        let in_background = !foreground && !is_setup;
        let syslog = in_background.then_some(syslog_facility);
        let log = telemetry::LogOptions { format: log_format, verbose, syslog };
        let identity = Identity::find(user.as_deref(), group.as_deref()).map_err(ConfigError::Usage)?;
        let source = source(database, setup)?;
        if is_setup {
            return Ok(Config { log, identity, task: Task::Setup(source) });
        }
        let default = in_background.then(|| pidfile::DEFAULT.into());
        let place = Daemon { in_background, pidfile: pidfile.map(absolute).or(default) };
        let params = request_settings(requests)?;
        let serve = Serve {
            listen: SocketAddr::new(http_ip, http_port),
            admin: admin_port.map(|port| SocketAddr::new(admin_ip, port)),
            tls: tls_files(ssl_keyfile, ssl_certfile)?,
            proxies: TrustedProxies::parse(&trusted_proxy)
                .or_else(|why| usage(format!("--trusted-proxy {why}")))?,
            limits: ConnectionLimits {
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
            operators: http::Admin {
                hosts: admin_host,
                key: admin_secret_file.map(|path| admin_key(&path)).transpose()?,
            },
        };
        Ok(Config { log, identity, task: Task::Serve(place, Box::new(serve)) })
    }
}

impl TableAccess {
    /// Checks `options`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(options: args::TableArgs) -> Result<TableAccess, ConfigError> {
        let args::TableArgs { database, rows, requests } = options;
        let source = source(database, options::SetupOptions::default())?;
        let params = request_settings(requests)?;
        Ok(TableAccess { source, snapshot: snapshot_options(rows, params.aliases.clone()), params })
    }
}

fn tls_files(key: Option<PathBuf>, chain: Option<PathBuf>) -> Result<Option<tls::Files>, ConfigError> {
    match (key, chain) {
        (Some(key), Some(chain)) => Ok(Some(tls::Files { key: absolute(key), chain: absolute(chain) })),
        (Some(_), None) => usage("--ssl-keyfile without --ssl-certfile: HTTPS needs both"),
        (None, Some(_)) => usage("--ssl-certfile without --ssl-keyfile: HTTPS needs both"),
        (None, None) => Ok(None),
    }
}

fn throttle_settings(limit: u32, window: f64) -> Result<throttle::ThrottleSettings, ConfigError> {
    let (most, longest) = (throttle::LARGEST_LIMIT, throttle::LONGEST_WINDOW);
    if limit > most {
        return usage(format!("--auth-fail-limit {limit}: at most {most}, or 0 for no limit"));
    }
    let window = seconds(window, "--auth-fail-window")?;
    if window > longest {
        return usage(format!("--auth-fail-window: at most {} seconds", longest.as_secs()));
    }
    Ok(throttle::ThrottleSettings { limit, window })
}

/// What is to mean the same after a change of the working directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// A time that is neither nothing nor for ever.
fn seconds(seconds: f64, option: &str) -> Result<Duration, ConfigError> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (Duration::from_millis(10)..=LONGEST).contains(&time) => Ok(time),
        _ => usage(format!("{option} {seconds}: seconds, at least 0.01 and at most {}", LONGEST.as_secs())),
    }
}

fn source(
    database: options::DatabaseOptions,
    setup: options::SetupOptions,
) -> Result<Arc<dyn Source>, ConfigError> {
    let options::DatabaseOptions {
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
    let options::SetupOptions { setup: is_setup, db_admin, db_apwd, db_apwd_file, db_from } = setup;
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
            return usage(format!(
                "--db-path is for SQLite and {option} for MySQL, given here or in the environment: leave out one of them"
            ));
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
        Some(path) => Endpoint::Socket(absolute(path)),
        None => Endpoint::Tcp(db_ip.unwrap_or_else(|| "127.0.0.1".into()), db_port.unwrap_or(3306)),
    };
    let tls = match (db_tls.unwrap_or(DbTls::Off), db_tls_ca) {
        (DbTls::Verify, ca) => {
            let ca = ca.map(absolute);
            if let Some(path) = &ca {
                regular(path, "--db-tls-ca")?;
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
    let admin = (db_admin.is_some() || admin_password.is_some()).then(|| DbAccount {
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
        account: DbAccount { user, password: own_password },
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
) -> Result<Option<Secret>, ConfigError> {
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

/// The secret of all nodes.
///
/// # Errors
/// When the file cannot be read, or what is in it can be guessed.
pub fn admin_key(path: &Path) -> Result<AdminKey, ConfigError> {
    let text = read(path, "--admin-secret-file")?;
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.len() < admin_key::SHORTEST {
        return usage(format!(
            "--admin-secret-file {}: its first line must have at least {} characters; `openssl rand -hex 32` \
             makes one",
            path.display(),
            admin_key::SHORTEST
        ));
    }
    Ok(AdminKey::new(&Secret::new(secret)))
}

/// What is handed over in a file. It may be a pipe, as shells make them, if
/// somebody writes to it.
#[allow(clippy::disallowed_methods, reason = "read before anything is served")]
fn read(path: &Path, option: &'static str) -> Result<String, ConfigError> {
    read_by(std::fs::read_to_string::<PathBuf>, path, option)
}

/// What will be read again while the server runs.
fn regular(path: &Path, option: &'static str) -> Result<Vec<u8>, ConfigError> {
    read_by(|path| files::read(&path), path, option)
}

fn read_by<T: Send + 'static>(
    read: fn(PathBuf) -> std::io::Result<T>,
    path: &Path,
    option: &'static str,
) -> Result<T, ConfigError> {
    let at = path.to_owned();
    let text = files::within_bound(move || read(at)).flatten();
    text.map_err(|why| ConfigError::File { path: path.display().to_string(), option, why })
}

fn snapshot_options(rows: options::RowOptions, aliases: Aliases) -> Conventions {
    let options::RowOptions { pwd_fmt, realm, case_sensitive } = rows;
    Conventions {
        comparison: if case_sensitive { Comparison::Exact } else { Comparison::Folded },
        pwd_fmt: match pwd_fmt {
            options::PwdFmtOption::Md5 => credential::PwdFmt::Md5,
            options::PwdFmtOption::Plain => credential::PwdFmt::Plain,
            options::PwdFmtOption::Ha1 => credential::PwdFmt::Ha1,
            options::PwdFmtOption::Ha1Sha256 => credential::PwdFmt::Ha1Sha256,
        },
        realm,
        aliases,
    }
}

fn reload_settings(reload: options::ReloadOptions) -> Result<reload::ReloadSettings, ConfigError> {
    let options::ReloadOptions {
        reload_interval,
        poll_interval,
        max_shrink,
        allow_shrink,
        state_file,
        stale_after,
    } = reload;
    let stale_after = match Duration::try_from_secs_f64(stale_after) {
        Ok(time) if time <= LONGEST => time,
        _ => return usage(format!("--stale-after {stale_after}: seconds, at most {}", LONGEST.as_secs())),
    };
    let interval = |seconds: f64, option: &str| match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if interval.is_zero() => Ok(None),
        Ok(interval) if interval < Duration::from_millis(10) => {
            usage(format!("{option} {seconds}: at least 0.01 seconds, or 0 for never"))
        }
        Ok(interval) if interval <= LONGEST => Ok(Some(interval)),
        _ => usage(format!("{option} {seconds}: seconds, at most {}, or 0 for never", LONGEST.as_secs())),
    };
    Ok(reload::ReloadSettings {
        reload_interval: interval(reload_interval, "--reload-interval")?,
        poll_interval: interval(poll_interval, "--poll-interval")?,
        max_shrink: if allow_shrink { 100 } else { max_shrink },
        state_file: state_file.map(absolute),
        stale_after,
    })
}

fn request_settings(requests: options::RequestOptions) -> Result<request::ParamSettings, ConfigError> {
    let options::RequestOptions { default_domain, param_alias } = requests;
    if default_domain.trim().is_empty() {
        return usage("--default-domain is empty: give the domain of requests that name none");
    }
    Ok(request::ParamSettings { default_domain, aliases: aliases(param_alias)? })
}

fn aliases(typed: Vec<String>) -> Result<Aliases, ConfigError> {
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
mod tests;
