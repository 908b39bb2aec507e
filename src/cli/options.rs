//! The server's options as typed. `config` checks them and interprets them.
//!
//! Every option of the original program is also accepted in its old spelling with
//! underscores. The spelling with hyphens is documented.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::cli::typed_names::tenant;
use crate::telemetry::{Facility, Format};

/// A flag in the environment is set unless its value is empty, 0, no, false or off.
fn flag() -> FalseyValueParser {
    FalseyValueParser::new()
}

/// Options of the server and of --setup.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts below")]
pub struct ServerOptions {
    #[command(flatten)]
    pub listening: ListenOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub database: DatabaseOptions,
    #[command(flatten)]
    pub setup: SetupOptions,
    #[command(flatten)]
    pub rows: RowOptions,
    #[command(flatten)]
    pub reload: ReloadOptions,
    #[command(flatten)]
    pub requests: RequestOptions,
    #[command(flatten)]
    pub process: ProcessOptions,
}

/// Where to listen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub struct ListenOptions {
    /// Address to listen on
    #[arg(long, alias = "http_ip", env = "JITSIPROVS_HTTP_IP", value_name = "IP", default_value = "0.0.0.0")]
    pub http_ip: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(
        long,
        alias = "http_port",
        env = "JITSIPROVS_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 8080
    )]
    pub http_port: u16,
    /// File with the private key, for HTTPS
    #[arg(long, alias = "ssl_keyfile", env = "JITSIPROVS_SSL_KEYFILE", value_name = "FILE")]
    pub ssl_keyfile: Option<PathBuf>,
    /// File with the certificate, followed by its intermediate certificates
    #[arg(long, alias = "ssl_certfile", env = "JITSIPROVS_SSL_CERTFILE", value_name = "FILE")]
    pub ssl_certfile: Option<PathBuf>,
    /// Address or network of proxies whose X-Forwarded-For or PROXY header is trusted; can be repeated
    #[arg(long, env = "JITSIPROVS_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Vec<String>,
    /// Address of the admin listener: /healthz, /readyz, /metrics, /status, POST /reload
    #[arg(long, env = "JITSIPROVS_ADMIN_IP", value_name = "IP", default_value = "127.0.0.1")]
    pub admin_ip: IpAddr,
    /// Port of the admin listener [default: none]
    #[arg(long, env = "JITSIPROVS_ADMIN_PORT", value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Host name that admin requests may use, besides IP addresses and localhost; can be repeated
    #[arg(long, env = "JITSIPROVS_ADMIN_HOST", value_name = "NAME", value_delimiter = ',')]
    pub admin_host: Vec<String>,
    /// HTTPS for the admin listener too, with the same key and certificate as for clients
    #[arg(long, env = "JITSIPROVS_ADMIN_TLS", value_parser = flag())]
    pub admin_tls: bool,
    /// File with another private key, for HTTPS on the admin listener
    #[arg(long, env = "JITSIPROVS_ADMIN_SSL_KEYFILE", value_name = "FILE")]
    pub admin_ssl_keyfile: Option<PathBuf>,
    /// File with the certificate that belongs to it, followed by its intermediate certificates
    #[arg(long, env = "JITSIPROVS_ADMIN_SSL_CERTFILE", value_name = "FILE")]
    pub admin_ssl_certfile: Option<PathBuf>,
    /// File whose first line is a secret that all nodes share, so that `status` and `diff` can compare
    /// rows; it has 32 characters or more
    #[arg(long, env = "JITSIPROVS_ADMIN_SECRET_FILE", value_name = "FILE")]
    pub admin_secret_file: Option<PathBuf>,
    /// File whose first line is a token that admin requests must carry, except /healthz; it has
    /// 32 characters or more
    #[arg(long, env = "JITSIPROVS_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// File with the operators of the console, which are web pages on the admin listener; without it
    /// there is no console
    #[arg(long, env = "JITSIPROVS_CONSOLE_USERS", value_name = "FILE")]
    pub console_users: Option<PathBuf>,
    /// Admin listener of another node, such as https://node2:8090, whose state the console shows and on
    /// which it also lifts locks; can be repeated
    #[arg(long, env = "JITSIPROVS_PEER", value_name = "URL", value_delimiter = ',')]
    pub peer: Vec<String>,
    /// File with the certificates that are trusted for HTTPS to other nodes' admin listeners
    /// [default: the usual public ones]
    #[arg(long, env = "JITSIPROVS_ADMIN_CA", value_name = "FILE")]
    pub admin_ca: Option<PathBuf>,
    /// Let everybody who reaches --admin-ip read and reload, although it is not a loopback address
    #[arg(long, env = "JITSIPROVS_ADMIN_INSECURE", value_parser = flag())]
    pub admin_insecure: bool,
}

/// Limits on what clients may do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Maximum number of connections at once; for further ones, those idle for longest are closed
    #[arg(
        long,
        env = "JITSIPROVS_MAX_CONNECTIONS",
        value_name = "NUMBER",
        default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_connections: u32,
    /// Maximum number of connections of one address, or of one IPv6 /64 network; trusted proxies have no
    /// such limit [default: a fifth of all]
    #[arg(
        long,
        env = "JITSIPROVS_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_connections_per_address: Option<u32>,
    /// Seconds for a PROXY header, for a TLS handshake and for the head of a request
    #[arg(long, env = "JITSIPROVS_HEADER_TIMEOUT", value_name = "SECONDS", default_value_t = 10.0)]
    pub header_timeout: f64,
    /// Seconds for the body of a request
    #[arg(long, env = "JITSIPROVS_BODY_TIMEOUT", value_name = "SECONDS", default_value_t = 10.0)]
    pub body_timeout: f64,
    /// Seconds between two requests of a trusted proxy's connection, and for a client to read an answer
    #[arg(long, env = "JITSIPROVS_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = 75.0)]
    pub idle_timeout: f64,
    /// Seconds between two requests of any other connection; under 2, it is closed after each answer
    #[arg(long, env = "JITSIPROVS_CLIENT_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = 5.0)]
    pub client_idle_timeout: f64,
    /// Wrong passwords for one account from one address until the answer is 429; the limit is ten times
    /// as high for all accounts from one address, and for one account from all addresses; 0 for no limit
    #[arg(long, env = "JITSIPROVS_AUTH_FAIL_LIMIT", value_name = "NUMBER", default_value_t = 10)]
    pub auth_fail_limit: u32,
    /// Seconds during which wrong passwords are counted
    #[arg(long, env = "JITSIPROVS_AUTH_FAIL_WINDOW", value_name = "SECONDS", default_value_t = 60.0)]
    pub auth_fail_window: f64,
}

/// Which database.
#[derive(Debug, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseOptions {
    /// Kind of database [default: mysql if an option for a server is given, else sqlite]
    #[arg(long, alias = "db_type", env = "JITSIPROVS_DB_TYPE", value_name = "KIND")]
    pub db_type: Option<DbType>,
    /// SQLite: the file [default: /var/lib/jitsiprovs/jitsiprovs.db]
    #[arg(long, env = "JITSIPROVS_DB_PATH", value_name = "FILE")]
    pub db_path: Option<PathBuf>,
    /// Server: its address [default: 127.0.0.1]
    #[arg(long, alias = "db_ip", env = "JITSIPROVS_DB_IP", value_name = "HOST")]
    pub db_ip: Option<String>,
    /// Server: its port [default: 3306; PostgreSQL: 5432]
    #[arg(long, alias = "db_port", env = "JITSIPROVS_DB_PORT", value_name = "PORT")]
    pub db_port: Option<u16>,
    /// Server: its Unix socket, instead of address and port
    #[arg(long, env = "JITSIPROVS_DB_SOCKET", value_name = "PATH")]
    pub db_socket: Option<PathBuf>,
    /// Server: name of the database [default: jitsiprovs]
    #[arg(long, alias = "db_name", env = "JITSIPROVS_DB_NAME", value_name = "NAME")]
    pub db_name: Option<String>,
    /// Server: account [default: jitsiprovs]
    #[arg(long, alias = "db_user", env = "JITSIPROVS_DB_USER", value_name = "NAME")]
    pub db_user: Option<String>,
    /// Server: password of the account; safer in the environment or in a file [default: none]
    #[arg(
        long,
        alias = "db_pwd",
        env = "JITSIPROVS_DB_PWD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub db_pwd: Option<String>,
    /// Server: file whose first line is the password; it is read again when the database refuses the
    /// password, and on SIGHUP
    #[arg(long, env = "JITSIPROVS_DB_PWD_FILE", value_name = "FILE")]
    pub db_pwd_file: Option<PathBuf>,
    /// Server: encrypt the connection [default: off]
    #[arg(long, env = "JITSIPROVS_DB_TLS", value_name = "HOW")]
    pub db_tls: Option<DbTls>,
    /// Server: file with the certificates that --db-tls verify and verify-ca trust [default: the usual
    /// public ones]
    #[arg(long, env = "JITSIPROVS_DB_TLS_CA", value_name = "FILE")]
    pub db_tls_ca: Option<PathBuf>,
    /// Server: file with the certificate that the server asks for, if it does
    #[arg(long, env = "JITSIPROVS_DB_TLS_CERT", value_name = "FILE")]
    pub db_tls_cert: Option<PathBuf>,
    /// Server: file with the private key of --db-tls-cert
    #[arg(long, env = "JITSIPROVS_DB_TLS_KEY", value_name = "FILE")]
    pub db_tls_key: Option<PathBuf>,
    /// SELECT of username, domain and password, in place of the usual table; further columns go by
    /// their names: `id` is the id, and the others are attributes of the user
    #[arg(long, env = "JITSIPROVS_AUTH_QUERY", value_name = "SQL")]
    pub auth_query: Option<String>,
    /// SELECT of domain, subject, spriority, ppriority, key, value and, optionally, id, in place of
    /// the usual table
    #[arg(long, env = "JITSIPROVS_RULES_QUERY", value_name = "SQL")]
    pub rules_query: Option<String>,
    /// SELECT of domain, username, name, value and, optionally, id, in place of the usual table
    #[arg(long, env = "JITSIPROVS_ATTRIBUTE_QUERY", value_name = "SQL")]
    pub attribute_query: Option<String>,
}

/// Creating the database.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Setup")]
pub struct SetupOptions {
    /// Create or upgrade the tables, except those that a query of your own replaces, keep what is in them,
    /// and exit
    #[arg(long, env = "JITSIPROVS_SETUP", value_parser = flag())]
    pub setup: bool,
    /// Server: administrator, who also creates the database, the account, and the triggers where a
    /// binary log is on [default: root, or postgres, if a password is given]
    #[arg(long, alias = "db_admin", env = "JITSIPROVS_DB_ADMIN", value_name = "NAME")]
    pub db_admin: Option<String>,
    /// Server: the administrator's password [default: none]
    #[arg(
        long,
        alias = "db_apwd",
        env = "JITSIPROVS_DB_APWD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub db_apwd: Option<String>,
    /// Server: file whose first line is the administrator's password
    #[arg(long, env = "JITSIPROVS_DB_APWD_FILE", value_name = "FILE")]
    pub db_apwd_file: Option<PathBuf>,
    /// MySQL: client address from which the new account may connect [default: the address of this machine
    /// as the MySQL server sees it]
    #[arg(long, alias = "db_from", env = "JITSIPROVS_DB_FROM", value_name = "HOST")]
    pub db_from: Option<String>,
}

/// How rows are interpreted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Users and rules")]
pub struct RowOptions {
    /// How passwords are stored; argon2id, bcrypt and SHA-crypt hashes are always recognised
    #[arg(long, alias = "pwd_fmt", env = "JITSIPROVS_PWD_FMT", value_name = "FORMAT", default_value = "md5")]
    pub pwd_fmt: PwdFmtOption,
    /// Realm in ha1 passwords [default: the user's domain]
    #[arg(long, env = "JITSIPROVS_REALM", value_name = "REALM")]
    pub realm: Option<String>,
    /// Compare names exactly, including case and trailing spaces
    #[arg(long, env = "JITSIPROVS_CASE_SENSITIVE", value_parser = flag())]
    pub case_sensitive: bool,
}

/// Keeping up with the database.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reload")]
pub struct ReloadOptions {
    /// Seconds between full reloads, in addition to loads of changes; 0 for never. Tables that have
    /// not changed are not read
    #[arg(long, env = "JITSIPROVS_RELOAD_INTERVAL", value_name = "SECONDS", default_value_t = 300.0)]
    pub reload_interval: f64,
    /// Seconds between polls for changes, if --setup has created the table of changes; 0 for never
    #[arg(long, env = "JITSIPROVS_POLL_INTERVAL", value_name = "SECONDS", default_value_t = 1.0)]
    pub poll_interval: f64,
    /// Withhold the loss of more than this share of the users or rules, of a tenant or of all
    #[arg(
        long,
        env = "JITSIPROVS_MAX_SHRINK",
        value_name = "PERCENT",
        default_value_t = 50,
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    pub max_shrink: u8,
    /// Never withhold a loss
    #[arg(long, env = "JITSIPROVS_ALLOW_SHRINK", value_parser = flag())]
    pub allow_shrink: bool,
    /// Seconds for which a row that is gone or changed may come back; until then, its user's failed
    /// sign-ins get 503, and rows that only a load misses are served
    #[arg(long, env = "JITSIPROVS_SETTLE", value_name = "SECONDS", default_value_t = 10.0)]
    pub settle: f64,
    /// Start even if nine of ten stored passwords of a tenant with three users or more look like another
    /// format than --pwd-fmt
    #[arg(long, env = "JITSIPROVS_ACCEPT_ROWS", value_parser = flag())]
    pub accept_rows: bool,
    /// MiB of rows that a load may read, with 128 bytes for each row in addition to its text; a load that
    /// would read more fails, and the old snapshot stays in use
    /// [default: half of the memory of the machine or the control group]
    #[arg(
        long,
        env = "JITSIPROVS_MAX_LOAD",
        value_name = "MIB",
        value_parser = clap::value_parser!(u64).range(1..=1 << 30)
    )]
    pub max_load: Option<u64>,
    /// Days for which the history keeps edits; 0 for ever
    #[arg(
        long,
        env = "JITSIPROVS_KEEP_HISTORY",
        value_name = "DAYS",
        default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(0..=36_500)
    )]
    pub keep_history: u32,
    /// Also keep what is served in this file, and start from it while the database is down
    #[arg(long, env = "JITSIPROVS_STATE_FILE", value_name = "FILE")]
    pub state_file: Option<PathBuf>,
    /// Also keep keyed records of right passwords in a file next to the state file, so that a restart
    /// computes no slow hash again; needs --state-file and --admin-secret-file
    #[arg(long, env = "JITSIPROVS_REMEMBER_SIGN_INS", value_parser = flag())]
    pub remember_sign_ins: bool,
    /// Answer failed sign-ins with 503 once the database has been unreachable for this many seconds
    #[arg(long, env = "JITSIPROVS_STALE_AFTER", value_name = "SECONDS", default_value_t = 60.0)]
    pub stale_after: f64,
}

/// How requests are interpreted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub struct RequestOptions {
    /// Tenant of requests that do not name one
    #[arg(
        long,
        env = "JITSIPROVS_DEFAULT_DOMAIN",
        value_name = "DOMAIN",
        value_parser = tenant,
        default_value = "localdomain"
    )]
    pub default_domain: String,
    /// Another name for a parameter, besides user, pass, os and hw; can be repeated
    #[arg(long, env = "JITSIPROVS_PARAM_ALIAS", value_name = "NAME=PARAMETER", value_delimiter = ',')]
    pub param_alias: Vec<String>,
}

/// The process.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessOptions {
    /// Stay in the foreground and log to standard error [default: go to the background and log to syslog]
    #[arg(short = 'n', long, env = "JITSIPROVS_FOREGROUND", value_parser = flag())]
    pub foreground: bool,
    /// File that holds the process id while the server runs [default in the background:
    /// /run/jitsiprovs.pid]
    #[arg(long, env = "JITSIPROVS_PIDFILE", value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Run as this user, given by name or number
    #[arg(long, env = "JITSIPROVS_USER", value_name = "USER")]
    pub user: Option<String>,
    /// Run as this group [default: the user's]
    #[arg(long, env = "JITSIPROVS_GROUP", value_name = "GROUP")]
    pub group: Option<String>,
    /// Also log debug messages
    #[arg(short, long, env = "JITSIPROVS_VERBOSE", value_parser = flag())]
    pub verbose: bool,
    /// Format of log lines
    #[arg(long, env = "JITSIPROVS_LOG_FORMAT", value_name = "FORMAT", default_value = "human")]
    pub log_format: Format,
    /// Log to this file, instead of standard error or syslog
    /// [default in the background without syslog: /var/log/jitsiprovs.log]
    #[arg(long, env = "JITSIPROVS_LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Syslog facility to log to in the background
    #[arg(
        long,
        env = "JITSIPROVS_SYSLOG_FACILITY",
        value_name = "FACILITY",
        default_value = "daemon",
        value_parser = facility()
    )]
    pub syslog_facility: Facility,
    /// Do not log each request
    #[arg(long, env = "JITSIPROVS_NO_ACCESS_LOG", value_parser = flag())]
    pub no_access_log: bool,
    /// How many fetches to keep in memory: the last success and the last failure of each device;
    /// 16 to 10000000
    #[arg(
        long,
        env = "JITSIPROVS_FETCHES",
        value_name = "NUMBER",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(16..=10_000_000)
    )]
    pub fetches: u32,
    /// Days for which fetches stay in the database; 0 for ever
    #[arg(long, env = "JITSIPROVS_KEEP_FETCHES", value_name = "DAYS", default_value_t = 90)]
    pub keep_fetches: u16,
    /// Do not keep who fetched what, neither in memory nor in the database
    #[arg(long, env = "JITSIPROVS_NO_FETCHES", value_parser = flag())]
    pub no_fetches: bool,
    /// Speak with MaX UC, recognised by its User-Agent, as it expects
    #[arg(long, env = "JITSIPROVS_CLIENT_DIALECTS", value_name = "ON|OFF", default_value = "on")]
    pub client_dialects: OnOff,
    /// Also count requests for each tenant
    #[arg(long, env = "JITSIPROVS_METRICS_TENANTS", value_parser = flag())]
    pub metrics_tenants: bool,
    /// Number of threads that answer requests, at most 1024 [default: the number of processors that the server may use]
    #[arg(
        long,
        env = "JITSIPROVS_WORKERS",
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    pub workers: Option<u32>,
    /// Seconds to wait for requests in progress when the server stops
    #[arg(long, env = "JITSIPROVS_DRAIN_TIMEOUT", value_name = "SECONDS", default_value_t = 10)]
    pub drain_timeout: u64,
}

/// Values of options that are on unless they are switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// Used
    On,
    /// Not used
    Off,
}

/// Values of --db-type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DbType {
    /// An embedded database in a file
    Sqlite,
    /// MySQL or MariaDB
    Mysql,
    /// PostgreSQL
    #[value(alias = "postgresql")]
    Postgres,
}

/// Values of --db-tls and --from-tls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DbTls {
    /// Plain text
    Off,
    /// Encrypted, but the server's certificate is not checked
    Require,
    /// Encrypted, and the authority of the server's certificate is checked, but not its name
    VerifyCa,
    /// Encrypted, and the server's certificate is checked
    #[value(alias = "verify-full")]
    Verify,
}

/// Values of --pwd-fmt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PwdFmtOption {
    /// Hexadecimal md5 of the password
    Md5,
    /// The password itself
    Plain,
    /// Hexadecimal md5 of username:realm:password
    Ha1,
    /// Hexadecimal SHA-256 of username:realm:password
    #[value(name = "ha1_sha256", alias = "ha1-sha256")]
    Ha1Sha256,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Format] {
        &[Format::Human, Format::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Format::Human => PossibleValue::new("human").help("A line of text, coloured on a terminal"),
            Format::Json => PossibleValue::new("json").help("One JSON object per line"),
        })
    }
}

/// Values of --syslog-facility.
const FACILITIES: [(&str, Facility); 18] = [
    ("auth", Facility::Auth),
    ("authpriv", Facility::AuthPriv),
    ("cron", Facility::Cron),
    ("daemon", Facility::Daemon),
    ("ftp", Facility::Ftp),
    ("lpr", Facility::Lpr),
    ("mail", Facility::Mail),
    ("news", Facility::News),
    ("user", Facility::User),
    ("uucp", Facility::Uucp),
    ("local0", Facility::Local0),
    ("local1", Facility::Local1),
    ("local2", Facility::Local2),
    ("local3", Facility::Local3),
    ("local4", Facility::Local4),
    ("local5", Facility::Local5),
    ("local6", Facility::Local6),
    ("local7", Facility::Local7),
];

fn facility() -> impl TypedValueParser<Value = Facility> {
    let named =
        |name: String| FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, facility)| *facility);
    PossibleValuesParser::new(FACILITIES.map(|(name, _)| name))
        .map(move |name| named(name).unwrap_or(Facility::Daemon))
}
