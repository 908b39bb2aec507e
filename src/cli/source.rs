//! Opens the database that the options name.

pub mod origin;

use std::path::PathBuf;
use std::sync::Arc;

use super::error::{ConfigError, usage};
use super::option_files::{absolute, password, regular};
use super::options::{DatabaseOptions, DbTls, DbType, SetupOptions};
use crate::core::credential::PwdFmt;
use crate::source::{self, Check, DbAccount, DbServer, Endpoint, Identity, Queries, ServerKind, Source, Tls};

/// The SQLite file if no option names another database.
pub const DEFAULT_PATH: &str = "/var/lib/jitsiprovs/jitsiprovs.db";

/// The source that the options name, whose passwords are stored in the format `pwd_fmt`. A load may
/// read `max_bytes` bytes of rows.
///
/// # Errors
/// When they contradict each other, or a file that they name cannot be read.
pub fn open(
    mut database: DatabaseOptions,
    setup: SetupOptions,
    pwd_fmt: PwdFmt,
    max_bytes: Option<u64>,
) -> Result<Arc<dyn Source>, ConfigError> {
    let kind = kind(&database, &setup)?;
    let queries = Queries {
        users: database.auth_query.take(),
        rules: database.rules_query.take(),
        attributes: database.attribute_query.take(),
        pwd_fmt,
        max_bytes,
    };
    match kind {
        DbType::Sqlite => {
            let path = absolute(database.db_path.unwrap_or_else(|| DEFAULT_PATH.into()));
            Ok(source::sqlite(path, queries))
        }
        DbType::Mysql => Ok(source::on_server(server(ServerKind::Mysql, database, setup)?, queries)),
        DbType::Postgres => Ok(source::on_server(server(ServerKind::Postgres, database, setup)?, queries)),
    }
}

/// Whether options name a database.
pub fn is_named(database: &DatabaseOptions) -> bool {
    let DatabaseOptions { db_type, db_path, db_ip, db_port, db_socket, db_name, .. } = database;
    db_type.is_some()
        || [db_path, db_socket].iter().any(|path| path.is_some())
        || [db_ip, db_name].iter().any(|name| name.is_some())
        || db_port.is_some()
}

/// The kind of database: given by `--db-type`, or by an option that only one kind has.
fn kind(database: &DatabaseOptions, setup: &SetupOptions) -> Result<DbType, ConfigError> {
    let for_servers = [
        ("--db-ip", database.db_ip.is_some()),
        ("--db-port", database.db_port.is_some()),
        ("--db-socket", database.db_socket.is_some()),
        ("--db-name", database.db_name.is_some()),
        ("--db-user", database.db_user.is_some()),
        ("--db-pwd", database.db_pwd.is_some()),
        ("--db-pwd-file", database.db_pwd_file.is_some()),
        ("--db-tls", database.db_tls.is_some()),
        ("--db-tls-ca", database.db_tls_ca.is_some()),
        ("--db-tls-cert", database.db_tls_cert.is_some()),
        ("--db-tls-key", database.db_tls_key.is_some()),
        ("--db-admin", setup.db_admin.is_some()),
        ("--db-apwd", setup.db_apwd.is_some()),
        ("--db-apwd-file", setup.db_apwd_file.is_some()),
        ("--db-from", setup.db_from.is_some()),
    ];
    let for_servers = for_servers.into_iter().find_map(|(option, given)| given.then_some(option));
    match (database.db_type, &database.db_path, for_servers) {
        (Some(DbType::Sqlite), _, Some(option)) => {
            usage(format!("{option} is for a server, but --db-type is sqlite: leave out one of them"))
        }
        (Some(DbType::Mysql), Some(_), _) => {
            usage("--db-path is for SQLite, but --db-type is mysql: leave out one of them")
        }
        (Some(DbType::Postgres), Some(_), _) => {
            usage("--db-path is for SQLite, but --db-type is postgres: leave out one of them")
        }
        (Some(DbType::Postgres), ..) if setup.db_from.is_some() => {
            usage("--db-from is for MySQL, but --db-type is postgres: leave it out")
        }
        (None, Some(_), Some(option)) => usage(format!(
            "--db-path is for SQLite but {option} is for a server; check the environment too, and leave out one of them"
        )),
        (Some(kind), ..) => Ok(kind),
        (None, _, Some(_)) => Ok(DbType::Mysql),
        (None, _, None) => Ok(DbType::Sqlite),
    }
}

fn server(kind: ServerKind, database: DatabaseOptions, setup: SetupOptions) -> Result<DbServer, ConfigError> {
    let DatabaseOptions { db_ip, db_port, db_socket, db_tls, db_tls_ca, db_tls_cert, db_tls_key, .. } =
        database;
    let SetupOptions { setup: is_setup, db_admin, db_apwd, db_apwd_file, db_from } = setup;
    // The server reads it again when the database refuses the password.
    let own_file = database.db_pwd_file.clone().map(absolute);
    let own_password = password(database.db_pwd, database.db_pwd_file, "--db-pwd", "--db-pwd-file")?;
    let own_password = own_password.unwrap_or_default();
    let admin_password = password(db_apwd, db_apwd_file, "--db-apwd", "--db-apwd-file")?;
    let admin = (db_admin.is_some() || admin_password.is_some()).then(|| {
        let user = db_admin.unwrap_or_else(|| kind.admin().into());
        DbAccount::new(user, admin_password.unwrap_or_default(), None)
    });
    if is_setup && admin.is_some() && own_password.reveal().is_empty() {
        return usage(
            "--setup with an administrator also creates the account: give it a password \
             with --db-pwd-file or JITSIPROVS_DB_PWD",
        );
    }
    let user = database.db_user.unwrap_or_else(|| "jitsiprovs".into());
    Ok(DbServer {
        kind,
        endpoint: endpoint(kind, db_ip, db_port, db_socket)?,
        tls: tls(
            db_tls,
            [db_tls_ca, db_tls_cert, db_tls_key],
            ["--db-tls", "--db-tls-ca", "--db-tls-cert", "--db-tls-key"],
        )?,
        database: database.db_name.unwrap_or_else(|| "jitsiprovs".into()),
        account: DbAccount::new(user, own_password, own_file),
        admin,
        from: db_from,
    })
}

fn endpoint(
    kind: ServerKind,
    host: Option<String>,
    port: Option<u16>,
    socket: Option<PathBuf>,
) -> Result<Endpoint, ConfigError> {
    match socket {
        Some(_) if host.is_some() || port.is_some() => {
            usage("--db-socket replaces --db-ip and --db-port: leave out the first or the other two")
        }
        Some(path) => Ok(Endpoint::Socket(absolute(path))),
        None => Ok(Endpoint::Tcp(host.unwrap_or_else(|| "127.0.0.1".into()), port.unwrap_or(kind.port()))),
    }
}

/// `files` are those of the authorities, of our certificate and of its key. `options` are the
/// names of all four options, for errors.
fn tls(
    how: Option<DbTls>,
    files: [Option<PathBuf>; 3],
    options: [&'static str; 4],
) -> Result<Tls, ConfigError> {
    let [how_option, ca_option, cert_option, key_option] = options;
    let [ca, cert, key] = files.map(|file| file.map(absolute));
    let named = [(ca.clone(), ca_option), (cert.clone(), cert_option), (key.clone(), key_option)];
    let identity = match (cert, key) {
        (Some(chain), Some(key)) => Some(Identity { chain, key }),
        (None, None) => None,
        (Some(_), None) => return usage(format!("{cert_option} needs its private key: add {key_option}")),
        (None, Some(_)) => return usage(format!("{key_option} needs its certificate: add {cert_option}")),
    };
    let check = match (how.unwrap_or(DbTls::Off), ca) {
        (DbTls::Verify, ca) => Check::Name(ca),
        (DbTls::VerifyCa, Some(ca)) => Check::Authority(ca),
        // A public authority signs certificates of everybody.
        (DbTls::VerifyCa, None) => {
            return usage(format!(
                "{how_option} verify-ca accepts every certificate of an authority: name yours with {ca_option}"
            ));
        }
        (_, Some(_)) => {
            return usage(format!(
                "{ca_option} does nothing without {how_option} verify or verify-ca: add it"
            ));
        }
        (DbTls::Off, None) if identity.is_some() => {
            return usage(format!("{cert_option} does nothing without {how_option}: add it"));
        }
        (DbTls::Off, None) => return Ok(Tls::Off),
        (DbTls::Require, None) => Check::Nothing,
    };
    for (path, option) in named {
        path.map(|path| regular(&path, option)).transpose()?;
    }
    Ok(Tls::On { check, identity })
}
