//! Checks the options and turns them into settings for the server and the commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::error::{ConfigError, usage};
use crate::cli::option_files::{absolute, read, regular};
use crate::cli::warnings::{self, Facts};
use crate::cli::{args, options, source};
use crate::core::conventions::Conventions;
use crate::core::credential::{self, SignInRecords};
use crate::core::names::Comparison;
use crate::core::params::{Aliases, Known, built_in_aliases, is_reserved};
use crate::core::request;
use crate::core::secret::Secret;
use crate::ops::nodes;
use crate::process::privileges::Identity;
use crate::process::sockets::PassedSockets;
use crate::process::{self, memory, pidfile};
use crate::reload;
use crate::serve::app::Serve;
use crate::serve::fetches::FetchSettings;
use crate::serve::http;
use crate::serve::http::admin_key::{self, AdminKey};
use crate::serve::http::admin_token::{self, AdminToken};
use crate::serve::http::client_address::TrustedProxies;
use crate::serve::http::console::Console;
use crate::serve::http::console::accounts::Accounts;
use crate::serve::http::console::peers::Peers;
use crate::serve::listener::ConnectionLimits;
use crate::serve::sign_ins::SignInFile;
use crate::serve::throttle;
use crate::serve::tls;
use crate::source::Source;
use crate::telemetry;

/// The longest interval: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the options ask for.
pub struct Config {
    /// How to log.
    pub log: telemetry::LogOptions,
    /// The user and group to run as.
    pub identity: Option<Identity>,
    /// What is dangerous about the options; one line each.
    pub warnings: Vec<String>,
    /// What to do.
    pub task: Task,
}

/// What to do.
pub enum Task {
    /// Answer requests.
    Serve(Daemon, Box<Serve>),
    /// Create or upgrade the tables of a source.
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
    /// How rows are interpreted.
    pub snapshot: Conventions,
    /// How requests are interpreted.
    pub params: request::ParamSettings,
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
            admin_token_file,
            admin_tls,
            admin_ssl_keyfile,
            admin_ssl_certfile,
            console_users,
            peer,
            admin_ca,
            admin_insecure,
        } = listening;
        let options::ProcessOptions {
            foreground,
            pidfile,
            user,
            group,
            verbose,
            log_format,
            log_file,
            syslog_facility,
            no_access_log,
            fetches,
            keep_fetches,
            no_fetches,
            client_dialects,
            metrics_tenants,
            workers,
            drain_timeout,
        } = process;
        let is_setup = setup.setup;
        let in_background = !foreground && !is_setup;
        let syslog = in_background.then_some(syslog_facility);
        let log = telemetry::LogOptions { format: log_format, verbose, syslog, file: log_file.map(absolute) };
        let identity = Identity::find(user.as_deref(), group.as_deref()).map_err(ConfigError::Usage)?;
        let db_pwd_file = database.db_pwd_file.clone();
        let max_bytes = reload.max_load.map_or_else(memory::half, |mib| Some(mib << 20));
        let source = source::open(database, setup, stored_format(&rows), max_bytes)?;
        if is_setup {
            return Ok(Config { log, identity, warnings: Vec::new(), task: Task::Setup(source) });
        }
        let sockets = PassedSockets::take().or_else(usage)?;
        if in_background && !sockets.is_empty() {
            return usage("a service manager has passed sockets (LISTEN_FDS): -n is missing");
        }
        let tls = tls_files([ssl_keyfile, ssl_certfile], false)?;
        let own = tls_files([admin_ssl_keyfile, admin_ssl_certfile], true)?;
        if admin_tls && own.is_none() && tls.is_none() {
            return usage(
                "--admin-tls without a certificate: give --ssl-keyfile and --ssl-certfile, or                  --admin-ssl-keyfile and --admin-ssl-certfile",
            );
        }
        let has_console = console_users.is_some();
        let has_admin_tls = admin_tls || own.is_some();
        let (ssl_keyfile, admin_keyfile) =
            (tls.as_ref().map(|files| &files.key), own.as_ref().map(|files| &files.key));
        let warnings = warnings::of(&Facts {
            console_ip: (has_console && !has_admin_tls).then_some(admin_ip),
            http_ip,
            has_tls: tls.is_some(),
            has_proxy: !trusted_proxy.is_empty(),
            changes_user: user.is_some(),
            secrets: &[
                ("--db-pwd-file", db_pwd_file.as_ref()),
                ("--ssl-keyfile", ssl_keyfile),
                ("--admin-ssl-keyfile", admin_keyfile),
                ("--admin-secret-file", admin_secret_file.as_ref()),
                ("--admin-token-file", admin_token_file.as_ref()),
                ("--console-users", console_users.as_ref()),
            ],
        });
        let default = in_background.then(|| pidfile::DEFAULT.into());
        let place = Daemon { in_background, pidfile: pidfile.map(absolute).or(default) };
        let meaning = meaning(&rows, &requests);
        let params = request_settings(requests, comparison(&rows))?;
        let key = admin_secret_file.map(|path| admin_key(&path)).transpose()?;
        let is_guarded = admin_token_file.is_some() || admin_insecure || admin_port.is_none();
        if !is_guarded && !admin_ip.to_canonical().is_loopback() {
            return usage(format!(
                "--admin-ip {admin_ip}: everybody who reaches this address could read and reload; give \
                 --admin-token-file, or --admin-insecure if only operators reach it"
            ));
        }
        let token = admin_token_file.map(|path| admin_token(&path)).transpose()?;
        let sign_ins = sign_in_file(&reload, key.as_ref())?;
        if console_users.is_some() && admin_port.is_none() && sockets.admin.is_none() {
            return usage("--console-users without --admin-port: the console is on the admin listener");
        }
        let operators = console_users.map(|path| console_accounts(path, comparison(&rows))).transpose()?;
        let throttle = throttle_settings(limits.auth_fail_limit, limits.auth_fail_window)?;
        let conventions = snapshot_options(rows, params.aliases.clone());
        let token_of_peers = token.as_ref().map(admin_token::authorization);
        let peers = Peers::new(peer, node_client(admin_ca.as_deref())?.with(token_of_peers))
            .or_else(|why| usage(format!("--peer: {why:#}")))?;
        let console = operators
            .map(|operators| Console::new(source.clone(), conventions.clone(), operators, throttle, peers));
        let serve = Serve {
            listen: SocketAddr::new(http_ip, http_port),
            admin: admin_port.map(|port| SocketAddr::new(admin_ip, port)),
            sockets,
            admin_tls: own.or_else(|| tls.clone().filter(|_| admin_tls)),
            tls,
            proxies: TrustedProxies::parse(&trusted_proxy)
                .or_else(|why| usage(format!("--trusted-proxy {why}")))?,
            body_timeout: seconds(limits.body_timeout, "--body-timeout")?,
            throttle,
            limits: connection_limits(limits, drain_timeout)?,
            workers: workers.map_or_else(process::cores, |workers| workers as usize),
            source,
            snapshot: conventions,
            reload: reload::ReloadSettings {
                default_domain: Some(params.default_domain.clone()),
                ..reload_settings(reload, meaning)?
            },
            params,
            client_dialects: client_dialects == options::OnOff::On,
            access_log: !no_access_log,
            metrics_tenants,
            operators: http::Admin {
                hosts: admin_host,
                key,
                token: token.as_ref().map(AdminToken::new),
                has_tls: has_admin_tls,
                console: console.map(Arc::new),
            },
            sign_ins,
            fetches: (!no_fetches).then(|| FetchSettings {
                most: fetches as usize,
                keep: (keep_fetches > 0).then(|| Duration::from_secs(u64::from(keep_fetches) * 24 * 3600)),
            }),
        };
        Ok(Config { log, identity, warnings, task: Task::Serve(place, Box::new(serve)) })
    }
}

impl TableAccess {
    /// Checks `options`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(options: args::TableArgs) -> Result<TableAccess, ConfigError> {
        let args::TableArgs { database, rows, requests } = options;
        let source = source::open(database, options::SetupOptions::default(), stored_format(&rows), None)?;
        let params = request_settings(requests, comparison(&rows))?;
        Ok(TableAccess { source, snapshot: snapshot_options(rows, params.aliases.clone()), params })
    }
}

/// The pair of two options, which are those of the admin listener if `is_admin`.
fn tls_files(pair: [Option<PathBuf>; 2], is_admin: bool) -> Result<Option<tls::Files>, ConfigError> {
    let prefix = if is_admin { "--admin-ssl-" } else { "--ssl-" };
    match pair {
        [Some(key), Some(chain)] => {
            Ok(Some(tls::Files { is_admin, key: absolute(key), chain: absolute(chain) }))
        }
        [Some(_), None] => usage(format!("{prefix}keyfile without {prefix}certfile: HTTPS needs both")),
        [None, Some(_)] => usage(format!("{prefix}certfile without {prefix}keyfile: HTTPS needs both")),
        [None, None] => Ok(None),
    }
}

fn connection_limits(
    limits: options::LimitOptions,
    drain_timeout: u64,
) -> Result<ConnectionLimits, ConfigError> {
    // Without `..`: an option that is forgotten here does not compile.
    let options::LimitOptions {
        max_connections,
        max_connections_per_address,
        header_timeout,
        idle_timeout,
        client_idle_timeout,
        body_timeout: _,
        auth_fail_limit: _,
        auth_fail_window: _,
    } = limits;
    Ok(ConnectionLimits {
        connections: max_connections as usize,
        per_address: max_connections_per_address.map(|most| most as usize),
        header: seconds(header_timeout, "--header-timeout")?,
        idle: seconds(idle_timeout, "--idle-timeout")?,
        client_idle: seconds(client_idle_timeout, "--client-idle-timeout")?,
        drain: Duration::from_secs(drain_timeout),
    })
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

/// A time between 10 ms and [`LONGEST`].
fn seconds(seconds: f64, option: &str) -> Result<Duration, ConfigError> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (Duration::from_millis(10)..=LONGEST).contains(&time) => Ok(time),
        _ => usage(format!("{option} {seconds}: seconds, at least 0.01 and at most {}", LONGEST.as_secs())),
    }
}

/// The secret that all nodes share.
///
/// # Errors
/// When the file cannot be read, or the secret is so short that it can be guessed.
pub fn admin_key(path: &Path) -> Result<AdminKey, ConfigError> {
    Ok(AdminKey::new(&shared_secret(path, "--admin-secret-file")?))
}

/// The operators of the console.
fn console_accounts(path: PathBuf, comparison: Comparison) -> Result<Accounts, ConfigError> {
    let text = regular(&path, "--console-users")?;
    let shown = path.display().to_string();
    Accounts::new(absolute(path), text, comparison)
        .or_else(|why| usage(format!("--console-users {shown}: {why}")))
}

/// The token of the admin listener.
///
/// # Errors
/// When the file cannot be read, or the token is so short that it can be guessed.
pub fn admin_token(path: &Path) -> Result<Secret, ConfigError> {
    shared_secret(path, "--admin-token-file")
}

impl args::AdminAccess {
    /// Asks with the token, if there is one.
    ///
    /// # Errors
    /// As [`admin_token()`], and as [`args::AdminTrust::client`].
    pub fn client(&self) -> anyhow::Result<nodes::Client> {
        let token = self.admin_token_file.as_deref().map(admin_token).transpose()?;
        Ok(self.trust.client()?.with(token.as_ref().map(admin_token::authorization)))
    }
}

impl args::AdminTrust {
    /// Asks without a token.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn client(&self) -> anyhow::Result<nodes::Client> {
        Ok(node_client(self.admin_ca.as_deref())?)
    }
}

fn node_client(ca: Option<&Path>) -> Result<nodes::Client, ConfigError> {
    let Some(path) = ca else { return Ok(nodes::Client::new()) };
    let text = read(path, "--admin-ca")?;
    nodes::Client::trusting(text.as_bytes())
        .or_else(|why| usage(format!("--admin-ca {}: {why}", path.display())))
}

fn shared_secret(path: &Path, option: &'static str) -> Result<Secret, ConfigError> {
    let text = read(path, option)?;
    let secret = text.lines().next().unwrap_or_default().trim();
    let is_plain = secret.bytes().all(|byte| byte.is_ascii_graphic());
    if secret.len() < admin_key::SHORTEST || (option == "--admin-token-file" && !is_plain) {
        return usage(format!(
            "{option} {}: its first line must have at least {} characters; `openssl rand -hex 32` creates one",
            path.display(),
            admin_key::SHORTEST
        ));
    }
    Ok(Secret::new(secret))
}

/// The file of `--remember-sign-ins`, next to the state file.
fn sign_in_file(
    reload: &options::ReloadOptions,
    key: Option<&AdminKey>,
) -> Result<Option<SignInFile>, ConfigError> {
    let (path, key) = match (reload.remember_sign_ins, &reload.state_file, key) {
        (false, ..) => return Ok(None),
        (true, Some(path), Some(key)) => (path.clone(), key),
        (true, None, _) => {
            return usage("--remember-sign-ins without --state-file: the file is kept next to that one");
        }
        (true, _, None) => {
            return usage(
                "--remember-sign-ins without --admin-secret-file: its secret is the key of the file",
            );
        }
    };
    let mut path = absolute(path).into_os_string();
    path.push(".sign-ins");
    Ok(Some(SignInFile::new(path.into(), SignInRecords::new(key.of_sign_ins()))))
}

fn comparison(rows: &options::RowOptions) -> Comparison {
    if rows.case_sensitive { Comparison::Exact } else { Comparison::Folded }
}

fn snapshot_options(rows: options::RowOptions, aliases: Aliases) -> Conventions {
    let (comparison, pwd_fmt) = (comparison(&rows), stored_format(&rows));
    let options::RowOptions { pwd_fmt: _, realm, case_sensitive: _ } = rows;
    Conventions { comparison, pwd_fmt, realm, aliases }
}

fn stored_format(rows: &options::RowOptions) -> credential::PwdFmt {
    match rows.pwd_fmt {
        options::PwdFmtOption::Md5 => credential::PwdFmt::Md5,
        options::PwdFmtOption::Plain => credential::PwdFmt::Plain,
        options::PwdFmtOption::Ha1 => credential::PwdFmt::Ha1,
        options::PwdFmtOption::Ha1Sha256 => credential::PwdFmt::Ha1Sha256,
    }
}

/// The options that decide what rows and requests mean, as they would be typed.
fn meaning(rows: &options::RowOptions, requests: &options::RequestOptions) -> String {
    let options::RowOptions { pwd_fmt, realm, case_sensitive } = rows;
    let options::RequestOptions { default_domain, param_alias } = requests;
    let pwd_fmt = clap::ValueEnum::to_possible_value(pwd_fmt).map(|value| value.get_name().to_owned());
    let mut typed = vec![format!("--pwd-fmt {}", pwd_fmt.unwrap_or_default())];
    typed.extend(realm.iter().map(|realm| format!("--realm {realm}")));
    typed.extend(case_sensitive.then(|| "--case-sensitive".to_owned()));
    typed.push(format!("--default-domain {default_domain}"));
    typed.extend(param_alias.iter().map(|alias| format!("--param-alias {alias}")));
    typed.join(" ")
}

fn reload_settings(
    reload: options::ReloadOptions,
    meaning: String,
) -> Result<reload::ReloadSettings, ConfigError> {
    let options::ReloadOptions {
        reload_interval,
        poll_interval,
        max_shrink,
        allow_shrink,
        settle,
        accept_rows,
        state_file,
        remember_sign_ins: _,
        stale_after,
        max_load: _,
        keep_history,
    } = reload;
    let time = |seconds: f64, option: &str| match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= LONGEST => Ok(time),
        _ => usage(format!("{option} {seconds}: seconds, at most {}", LONGEST.as_secs())),
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
        settle: time(settle, "--settle")?,
        state_file: state_file.map(absolute),
        meaning,
        stale_after: time(stale_after, "--stale-after")?,
        default_domain: None,
        accept_rows,
        keep_history,
        advice: crate::cli::advice::of_source,
    })
}

fn request_settings(
    requests: options::RequestOptions,
    comparison: Comparison,
) -> Result<request::ParamSettings, ConfigError> {
    let options::RequestOptions { default_domain, param_alias } = requests;
    if default_domain.trim().is_empty() {
        return usage("--default-domain is empty: give the domain of requests that do not name one");
    }
    let aliases = aliases(param_alias)?;
    Ok(request::ParamSettings { default_domain, aliases, comparison, ..Default::default() })
}

fn aliases(typed: Vec<String>) -> Result<Aliases, ConfigError> {
    let mut aliases = Aliases::new();
    for typed in typed {
        let Some((alias, canonical)) = typed.split_once('=') else {
            return usage(format!("--param-alias {typed}: write NAME=PARAMETER, such as mac=hwaddr"));
        };
        let Some(known) = Known::from_name(canonical) else {
            let names = Known::ALL.map(Known::name).join(", ");
            return usage(format!(
                "--param-alias {typed}: there is no parameter `{canonical}`; use one of {names}"
            ));
        };
        if alias.is_empty() || Known::from_name(alias).is_some() {
            return usage(format!("--param-alias {typed}: `{alias}` cannot stand for another parameter"));
        }
        if is_reserved(alias) {
            return usage(format!(
                "--param-alias {typed}: names that begin with `user.` or `client.` are the server's, and what \
                 clients send by such a name is ignored: use another name"
            ));
        }
        aliases.push((alias.to_owned(), known));
    }
    // The operator's aliases come first, so they win over the built-in ones.
    aliases.extend(built_in_aliases());
    Ok(aliases)
}

#[cfg(test)]
mod tests;
