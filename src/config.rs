//! What was typed → what is to be done, checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{self, DbTls, DbType};
use crate::credential;
use crate::http::params;
use crate::model::{Aliases, Known, Secret, built_in_aliases};
use crate::process::pidfile;
use crate::process::privileges::Identity;
use crate::reload;
use crate::snapshot::{self, Comparison};
use crate::source::{Account, Endpoint, Mysql, Polling, Queries, Source, Sqlite, Tls};
use crate::telemetry;

/// The longest interval, a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

const DEFAULT_PATH: &str = "/var/lib/jitsiprovs/jitsiprovs.db";

/// What the options ask for.
pub struct Config {
    /// The log.
    pub log: telemetry::Options,
    /// Who to be.
    pub identity: Option<Identity>,
    /// What to do.
    pub task: Task,
}

/// What to do.
pub enum Task {
    /// Answer requests.
    Serve(Place, Box<Serve>),
    /// Make or upgrade the tables of a source.
    Setup(Arc<dyn Source>),
}

/// Where a server runs.
pub struct Place {
    /// Whether it leaves the terminal.
    pub in_background: bool,
    /// `--pidfile`
    pub pidfile: Option<PathBuf>,
}

/// A server, ready to be started.
pub struct Serve {
    /// `--http-ip` and `--http-port`
    pub listen: SocketAddr,
    /// Where users and rules are.
    pub source: Arc<dyn Source>,
    /// How rows are understood.
    pub snapshot: snapshot::Options,
    /// When and how to reload.
    pub reload: reload::Settings,
    /// How requests are understood.
    pub requests: params::Settings,
    /// `--drain-timeout`
    pub drain_timeout: Duration,
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
        let cli::Options { listening, database, setup, rows, reload, requests, process } = options;
        let cli::Listening { http_ip, http_port } = listening;
        let cli::Process {
            foreground,
            pidfile,
            user,
            group,
            verbose,
            log_format,
            syslog_facility,
            drain_timeout,
        } = process;
        let is_setup = setup.setup;
        let in_background = !foreground && !is_setup;
        let syslog = in_background.then_some(syslog_facility);
        let log = telemetry::Options { format: log_format, verbose, syslog };
        let identity = Identity::find(user.as_deref(), group.as_deref()).map_err(Error::Usage)?;
        let source = source(database, setup)?;
        if is_setup {
            return Ok(Config { log, identity, task: Task::Setup(source) });
        }
        let default = in_background.then(|| pidfile::DEFAULT.into());
        let place = Place { in_background, pidfile: pidfile.map(absolute).or(default) };
        let requests = request_settings(requests)?;
        let serve = Serve {
            listen: SocketAddr::new(http_ip, http_port),
            source,
            snapshot: snapshot_options(rows, requests.aliases.clone()),
            reload: reload_settings(reload)?,
            requests,
            drain_timeout: Duration::from_secs(drain_timeout),
        };
        Ok(Config { log, identity, task: Task::Serve(place, Box::new(serve)) })
    }
}

/// What is to mean the same after a change of the working directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
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
        Some(path) => Endpoint::Socket(absolute(path)),
        None => Endpoint::Tcp(db_ip.unwrap_or_else(|| "127.0.0.1".into()), db_port.unwrap_or(3306)),
    };
    let tls = match (db_tls.unwrap_or(DbTls::Off), db_tls_ca) {
        (DbTls::Verify, ca) => {
            let ca = ca.map(absolute);
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
            Ok(Task::Serve(_, serve)) => serve.source.name(),
            Ok(Task::Setup(source)) => source.name(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_option_of_the_original_is_taken_in_its_own_spelling() {
        let args = "-n --http_ip 127.0.0.1 --http_port 8081 --db_type mysql --db_ip 10.0.0.1 --db_port 3307 \
                    --db_name n --db_user u --db_pwd p --db_from f --pwd_fmt plain --db_admin a --db_apwd b -v";
        let args: Vec<&str> = args.split_whitespace().collect();
        let Task::Serve(_, serve) = config(&args).expect("usable").task else { panic!("serves") };
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
            ("-n --param-alias mac", "NAME=PARAMETER"),
            ("-n --param-alias mac=mac", "hwaddr"),
            ("-n --param-alias arch=osname", "`arch`"),
            ("-n --default-domain=", "--default-domain"),
            ("-n --user no-such-user", "--user no-such-user"),
            ("-n --group no-such-group", "--group no-such-group"),
        ] {
            let error = config(&args.split(' ').collect::<Vec<_>>()).err().expect(args).to_string();
            assert!(error.contains(named) && !error.contains('\n'), "{args}: {error}");
        }
    }

    #[test]
    fn without_n_it_goes_to_the_background_with_a_pidfile_and_syslog() {
        let found = |args: &[&str]| {
            let Config { log, task, .. } = config(args).expect("usable");
            let Task::Serve(place, _) = task else { panic!("serves") };
            (place.in_background, place.pidfile, log.syslog.is_some())
        };
        assert_eq!(found(&[]), (true, Some(pidfile::DEFAULT.into()), true));
        assert_eq!(found(&["-n"]), (false, None, false));
        assert_eq!(found(&["-n", "--pidfile", "/x"]), (false, Some("/x".into()), false));
        let (_, relative, _) = found(&["--pidfile", "x"]);
        assert!(relative.is_some_and(|path| path.is_absolute()));
    }

    #[test]
    fn the_operators_aliases_win_over_those_built_in() {
        let args = ["-n", "--param-alias", "mac=hwaddr,os=arch"];
        let Task::Serve(_, serve) = config(&args).expect("usable").task else { panic!("serves") };
        let find =
            |name: &str| serve.requests.aliases.iter().find(|(alias, _)| alias == name).map(|(_, k)| *k);
        assert_eq!(find("mac"), Some(Known::Hwaddr));
        assert_eq!(find("os"), Some(Known::Arch));
        assert_eq!(find("user"), Some(Known::Username));
    }
}
