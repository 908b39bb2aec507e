//! A PostgreSQL server for the tests.

use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::database::{ADMIN_PASSWORD, DbServer, Kind, folder, free_port, give_to, is_root, stdout};
use crate::keeper::Keeper;
use crate::wait_for;

/// The administrator, whose password is [`ADMIN_PASSWORD`].
pub const ADMIN: &str = "postgres";

/// A running PostgreSQL.
pub struct Postgres(DbServer);

impl Deref for Postgres {
    type Target = DbServer;

    fn deref(&self) -> &DbServer {
        &self.0
    }
}

/// The server that all tests of this process share. Each test uses its own database.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start(&[]))
}

impl Postgres {
    /// Starts a server with additional settings, for example `max_connections=10`.
    pub fn start(settings: &[&str]) -> Postgres {
        Postgres(start(settings, &[]))
    }

    /// Starts a server with other files in its folder: names and contents. With `server.crt` and
    /// `server.key` and the setting `ssl=on` it offers TLS; `pg_hba.conf` says which connections it
    /// accepts.
    pub fn with_files(settings: &[&str], files: &[(&str, &str)]) -> Postgres {
        Postgres(start(settings, files))
    }
}

/// Starts a server with additional settings and files.
pub(crate) fn start(settings: &[&str], files: &[(&str, &str)]) -> DbServer {
    // The port is free when it is chosen, but another process may take it first.
    let mut started = (0..3).filter_map(|_| try_start(settings, files));
    started.next().expect("PostgreSQL starts; its log is above")
}

fn try_start(settings: &[&str], files: &[(&str, &str)]) -> Option<DbServer> {
    let folder = folder("jitsiprovs-postgres-");
    let (data, socket, password) = (folder.join("data"), folder.join("socket"), folder.join("password"));
    std::fs::create_dir(&data).expect("a folder");
    std::fs::create_dir(&socket).expect("a folder");
    std::fs::write(&password, ADMIN_PASSWORD).expect("written");
    give_to("postgres", &[&data, &socket, &password]);
    stdout(
        program("initdb")
            .args(["--auth=scram-sha-256", "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8"])
            .arg(format!("--username={ADMIN}"))
            .arg(format!("--pwfile={}", password.display()))
            .arg(format!("--pgdata={}", data.display()))
            .current_dir("/"),
    );
    for (name, content) in files {
        let path = data.join(name);
        std::fs::write(&path, content).expect("written");
        // The server refuses a private key that others can read.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
        give_to("postgres", &[&path]);
    }
    let port = free_port();
    let mut command = program("postgres");
    command.arg("-D").arg(&data);
    let own = format!("unix_socket_directories={}", socket.display());
    // The commits of a server that is killed are kept without `fsync`, because the system goes on.
    let fast = ["fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_wal_size=1GB"];
    // Memory that is shared by files in the folder is removed with it.
    let place = [own.as_str(), "listen_addresses=127.0.0.1", "dynamic_shared_memory_type=mmap"];
    for setting in place.iter().chain(&fast).chain(settings) {
        command.args(["-c", setting]);
    }
    command.args(["-p", &port.to_string()]);
    // Created now, so that the server also ends if the wait below fails. SIGQUIT does not wait for
    // clients.
    let keeper = Keeper::start(&folder, "QUIT", &command);
    let server = DbServer { kind: Kind::Postgres, port, folder, keeper };
    let answers = wait_for("PostgreSQL to start", || {
        let log = server.log();
        if log.contains("FATAL:  could not") || log.contains("database system is shut down") {
            eprintln!("{log}");
            return Some(false);
        }
        server.answers().then_some(true)
    });
    answers.then_some(server)
}

/// Whether the server takes connections. A server that recovers has a socket, but refuses clients.
pub(crate) fn answers(server: &DbServer) -> bool {
    let asked = Command::new(binary("pg_isready"))
        .args(["--quiet", "--dbname=postgres", "--port", &server.port.to_string()])
        .arg("--host")
        .arg(server.socket().with_file_name(""))
        .status();
    asked.expect("pg_isready starts").success()
}

/// The newest version of a program. Debian keeps the programs of all versions apart, and puts only
/// clients on PATH.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL; see tests/run");
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = versions.map(|entry| entry.expect("an entry").path());
    let newest = installed.filter(|path| path.join("bin/initdb").exists()).max_by_key(|path| version(path));
    newest.expect("PostgreSQL; see tests/run").join("bin").join(name)
}

/// A program of the server. It refuses to run as root, so it runs as its own user then.
fn program(name: &str) -> Command {
    as_postgres(&binary(name))
}

/// A program that runs as the user of PostgreSQL if the tests run as root.
pub(crate) fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

/// A client of the administrator.
pub(crate) fn client(server: &DbServer, database: &str) -> Command {
    let mut client = Command::new(binary("psql"));
    client
        .args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--field-separator=\t"])
        .args(["--pset=null=NULL", "--variable=ON_ERROR_STOP=1", "--variable=VERBOSITY=terse"])
        .arg("--host")
        .arg(server.socket().with_file_name(""))
        .args(["--port", &server.port.to_string(), "--username", ADMIN, "--dbname"])
        .arg(if database.is_empty() { "postgres" } else { database })
        .env("PGPASSWORD", ADMIN_PASSWORD)
        .env("PGCLIENTENCODING", "UTF8");
    client
}

/// Creates a database and its two accounts.
pub(crate) fn create(server: &DbServer, name: &str) {
    server.script(
        "",
        &format!(
            "CREATE ROLE {name}_all LOGIN PASSWORD 'all';
             CREATE ROLE {name}_read LOGIN PASSWORD 'read';
             CREATE DATABASE {name} OWNER {name}_all;"
        ),
    );
    server.script(
        name,
        &format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {name}_all GRANT SELECT ON TABLES TO {name}_read;
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {name}_read;
             ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {name}_all"
        ),
    );
}
