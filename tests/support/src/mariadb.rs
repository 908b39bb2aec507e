//! A MariaDB server for the tests.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

pub use crate::database::{ADMIN_PASSWORD as ROOT_PASSWORD, Database, Session};
use crate::database::{DbServer, Kind, folder, free_port, give_to, is_root, run_script, stdout};
use crate::keeper::Keeper;
use crate::wait_for;

/// A running MariaDB.
pub struct MariaDb(DbServer);

impl Deref for MariaDb {
    type Target = DbServer;

    fn deref(&self) -> &DbServer {
        &self.0
    }
}

/// The server that all tests of this process share. Each test uses its own database.
pub fn mariadb() -> &'static MariaDb {
    static SHARED: OnceLock<MariaDb> = OnceLock::new();
    SHARED.get_or_init(|| MariaDb::start(&[]))
}

impl MariaDb {
    /// Starts a server with additional options.
    pub fn start(options: &[String]) -> MariaDb {
        MariaDb(start(options))
    }
}

/// Starts a server with additional options.
pub(crate) fn start(options: &[String]) -> DbServer {
    // The port is free when it is chosen, but another process may take it first.
    let mut started = (0..3).filter_map(|_| try_start(options));
    let server = started.next().expect("MariaDB starts; its log is above");
    let password = ROOT_PASSWORD.replace('\\', "\\\\").replace('\'', "''");
    run_script(
        client(&server.socket(), "", ""),
        &format!(
            "ALTER USER root@localhost IDENTIFIED BY '{password}';
             CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}';
             GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;"
        ),
    );
    server
}

fn try_start(options: &[String]) -> Option<DbServer> {
    let folder = folder("jitsiprovs-mariadb-");
    let (data, socket) = (folder.join("data"), folder.join("socket"));
    // Each server needs its own folder, because at its start a server removes all temporary
    // tables that it finds, including those of other servers.
    let temporary = folder.join("tmp");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::create_dir(&temporary).expect("a folder");
    // The server refuses to run as root, so it gets its own user.
    let user: &[&str] = if is_root() { &["--user=mysql"] } else { &[] };
    give_to("mysql", &[&folder, &data, &temporary]);
    stdout(
        Command::new("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={}", data.display()))
            .env("TMPDIR", &temporary)
            .args(user),
    );
    let port = free_port();
    let mut command = Command::new("mariadbd");
    command
        .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin"])
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .arg(format!("--port={port}"))
        .args(["--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"])
        .args(user)
        .args(options)
        .env("TMPDIR", &temporary);
    // Created now, so that the server also ends if the wait below fails.
    let keeper = Keeper::start(&folder, "TERM", &command);
    let server = DbServer { kind: Kind::MariaDb, port, folder, keeper };
    let answers = wait_for("MariaDB to start", || {
        let log = server.log();
        if log.contains("[ERROR] Aborting") {
            eprintln!("{log}");
            return Some(false);
        }
        server.answers().then_some(true)
    });
    answers.then_some(server)
}

/// A client of the administrator.
pub(crate) fn client(socket: &Path, database: &str, password: &str) -> Command {
    let mut client = Command::new("mariadb");
    client
        .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
        .arg("--default-character-set=utf8mb4")
        .arg(format!("--socket={}", socket.display()))
        .arg(database)
        .env("MYSQL_PWD", password);
    client
}

/// Creates a database and its two accounts.
pub(crate) fn create(server: &DbServer, name: &str) {
    server.script(
        "",
        &format!(
            "CREATE DATABASE {name} CHARACTER SET utf8mb4;
             CREATE USER {name}_all@'%' IDENTIFIED BY 'all';
             GRANT ALL ON {name}.* TO {name}_all@'%';
             CREATE USER {name}_read@'%' IDENTIFIED BY 'read';
             GRANT SELECT ON {name}.* TO {name}_read@'%';"
        ),
    );
}
