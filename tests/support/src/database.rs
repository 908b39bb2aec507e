//! Database servers for the tests, and what tests do with either kind of them.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::keeper::Keeper;
use crate::{mariadb, postgres, wait_for};

/// The administrator's password on every server.
pub const ADMIN_PASSWORD: &str = "root's \"own\" \\ password";

/// A kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    MariaDb,
    Postgres,
}

/// Makes a test for each kind of database server from functions that take a [`Kind`].
#[macro_export]
macro_rules! on_each_server {
    ($($test:ident),+ $(,)?) => {
        mod on_mariadb {
            $(#[test] fn $test() { super::$test($crate::database::Kind::MariaDb) })+
        }
        mod on_postgres {
            $(#[test] fn $test() { super::$test($crate::database::Kind::Postgres) })+
        }
    };
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::MariaDb, Kind::Postgres];

    /// The server that all tests of this process share. Each test uses its own database.
    pub fn server(self) -> &'static DbServer {
        match self {
            Kind::MariaDb => mariadb::mariadb(),
            Kind::Postgres => postgres::postgres(),
        }
    }

    /// Another server. It loses no committed transaction when it is killed.
    pub fn start(self) -> DbServer {
        match self {
            Kind::MariaDb => mariadb::start(&["--innodb-flush-log-at-trx-commit=1".to_owned()]),
            Kind::Postgres => postgres::start(&[], &[]),
        }
    }

    /// Another server, with memory for a million users.
    pub fn start_large(self) -> DbServer {
        match self {
            Kind::MariaDb => mariadb::start(&["--innodb-buffer-pool-size=1G".to_owned()]),
            Kind::Postgres => postgres::start(&["shared_buffers=1GB"], &[]),
        }
    }

    /// A new database on the server that all tests share.
    pub fn database(self) -> Database<'static> {
        self.server().database()
    }

    /// The scheme of URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Kind::MariaDb => "mysql",
            Kind::Postgres => "postgres",
        }
    }

    /// Statements that create tables as the original has them.
    pub fn original(self) -> &'static str {
        match self {
            Kind::MariaDb => include_str!("../../../sql/mysql/001_original.sql"),
            Kind::Postgres => include_str!("../../../sql/postgres/001_original.sql"),
        }
    }

    /// A statement after which the next id of a table is at least `first`.
    pub fn count_from(self, table: &str, first: u32) -> String {
        match self {
            Kind::MariaDb => format!("ALTER TABLE {table} AUTO_INCREMENT = {first}"),
            Kind::Postgres => format!("ALTER TABLE {table} ALTER id RESTART WITH {first}"),
        }
    }

    /// A statement that removes a trigger.
    pub fn drop_trigger(self, trigger: &str, table: &str) -> String {
        match self {
            Kind::MariaDb => format!("DROP TRIGGER {trigger}"),
            Kind::Postgres => format!("DROP TRIGGER {trigger} ON {table}"),
        }
    }

    /// A statement that waits.
    pub fn sleep(self, seconds: f32) -> String {
        match self {
            Kind::MariaDb => format!("DO SLEEP({seconds})"),
            Kind::Postgres => format!("SELECT pg_sleep({seconds})"),
        }
    }

    /// A table for SELECT whose column `seq` counts from 1 to `last`.
    pub fn count_to(self, last: u32) -> String {
        match self {
            Kind::MariaDb => format!("seq_1_to_{last}"),
            Kind::Postgres => format!("generate_series(1, {last}) AS seq"),
        }
    }
}

/// A running database server, with its own data, socket and port.
pub struct DbServer {
    pub kind: Kind,
    pub port: u16,
    pub(crate) folder: PathBuf,
    pub(crate) keeper: Keeper,
}

impl DbServer {
    /// Kills the server with SIGKILL.
    pub fn kill(&self) {
        self.keeper.order("kill");
    }

    /// Starts the server again after [`DbServer::kill`].
    pub fn restart(&self) {
        self.keeper.order("start");
        wait_for("the database server to start again", || self.answers().then_some(()));
    }

    /// Whether the server takes connections.
    pub(crate) fn answers(&self) -> bool {
        match self.kind {
            Kind::MariaDb => std::os::unix::net::UnixStream::connect(self.socket()).is_ok(),
            Kind::Postgres => postgres::answers(self),
        }
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Lowers the priority of the server and of new connections, as if the server ran on another
    /// machine.
    pub fn step_back(&self) {
        stdout(Command::new("chrt").args(["--idle", "-p", "0", &self.pid().to_string()]));
    }

    pub fn pid(&self) -> u32 {
        let file = match self.kind {
            Kind::MariaDb => self.folder.join("pid"),
            Kind::Postgres => self.folder.join("data/postmaster.pid"),
        };
        let text = std::fs::read_to_string(file).expect("a file");
        text.lines().next().and_then(|pid| pid.trim().parse().ok()).expect("a number")
    }

    pub fn socket(&self) -> PathBuf {
        let socket = self.folder.join("socket");
        match self.kind {
            Kind::MariaDb => socket,
            Kind::Postgres => socket.join(format!(".s.PGSQL.{}", self.port)),
        }
    }

    /// Runs statements as the administrator, and returns the rows that they select: a line for each
    /// row, separated by tabs, without headers.
    pub fn script(&self, database: &str, sql: &str) -> String {
        run_script(self.client(database), sql)
    }

    /// A client of the administrator, which reads statements and writes rows.
    fn client(&self, database: &str) -> Command {
        match self.kind {
            Kind::MariaDb => mariadb::client(&self.socket(), database, ADMIN_PASSWORD),
            Kind::Postgres => postgres::client(self, database),
        }
    }

    /// A new database with two accounts: one with all privileges there, and one that may only
    /// SELECT.
    pub fn database(&self) -> Database<'_> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        match self.kind {
            Kind::MariaDb => mariadb::create(self, &name),
            Kind::Postgres => postgres::create(self, &name),
        }
        Database { server: self, name }
    }
}

/// The database of one test.
pub struct Database<'s> {
    pub server: &'s DbServer,
    pub name: String,
}

impl Database<'_> {
    pub fn kind(&self) -> Kind {
        self.server.kind
    }

    /// Runs statements with all privileges on this database, and returns the rows that they select.
    pub fn script(&self, sql: &str) -> String {
        run_script(self.client(), sql)
    }

    fn client(&self) -> Command {
        let mut client = self.server.client(&self.name);
        if self.kind() == Kind::Postgres {
            // Tables belong to the account that may change them later.
            client.env("PGOPTIONS", format!("-c role={}_all", self.name));
        }
        client
    }

    /// Options to connect over TCP with the account that has all privileges.
    pub fn all(&self) -> Vec<String> {
        self.options("all")
    }

    /// Options to connect over TCP with the account that may only SELECT.
    pub fn read(&self) -> Vec<String> {
        self.options("read")
    }

    fn options(&self, account: &str) -> Vec<String> {
        let (port, user) = (self.server.port.to_string(), format!("{}_{account}", self.name));
        let kind: &[&str] = match self.kind() {
            Kind::MariaDb => &[],
            Kind::Postgres => &["--db-type", "postgres"],
        };
        let place = ["--db-ip", "127.0.0.1", "--db-port", &port, "--db-name", &self.name];
        let account = ["--db-user", &user, "--db-pwd", account];
        [&place[..], &account, kind].concat().into_iter().map(str::to_owned).collect()
    }

    /// The address for `--from`, with the account that has all privileges (`all`) or the one that
    /// may only SELECT (`read`).
    pub fn url(&self, account: &str) -> String {
        let (scheme, port, name) = (self.kind().scheme(), self.server.port, &self.name);
        format!("{scheme}://{name}_{account}@127.0.0.1:{port}/{name}")
    }

    /// Takes the right to SELECT from the account that has only this one.
    pub fn hide(&self, table: &str) {
        let name = &self.name;
        match self.kind() {
            Kind::MariaDb => self.script(&format!(
                "REVOKE SELECT ON {name}.* FROM {name}_read@'%'; GRANT INSERT ON {name}.* TO {name}_read@'%'"
            )),
            Kind::Postgres => self.script(&format!("REVOKE SELECT ON {table} FROM {name}_read")),
        };
    }

    /// Lets the account that may only SELECT also change the rows of a table.
    pub fn let_write(&self, table: &str) {
        let name = &self.name;
        let (table, account) = match self.kind() {
            Kind::MariaDb => (format!("{name}.{table}"), format!("{name}_read@'%'")),
            Kind::Postgres => (table.to_owned(), format!("{name}_read")),
        };
        self.script(&format!("GRANT INSERT, UPDATE, DELETE ON {table} TO {account}"));
    }

    /// Ends all connections of an account.
    pub fn disconnect(&self, account: &str) {
        let user = format!("{}_{account}", self.name);
        match self.kind() {
            Kind::MariaDb => drop(self.server.script("", &format!("KILL USER {user}"))),
            Kind::Postgres => drop(self.server.script(
                "",
                &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'"),
            )),
        }
    }
}

impl Database<'static> {
    /// Locks a table against reads for some seconds, beginning when this returns. The handle ends
    /// with the lock.
    pub fn hold(&self, table: &str, seconds: u32) -> JoinHandle<()> {
        let (server, name) = (self.server, self.name.clone());
        let (sql, held) = match self.kind() {
            Kind::MariaDb => (
                format!("LOCK TABLES {table} WRITE; SELECT SLEEP({seconds})"),
                format!("SHOW OPEN TABLES FROM {name} WHERE In_use > 0"),
            ),
            Kind::Postgres => (
                format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep({seconds})"),
                "SELECT relation::regclass FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    .to_owned(),
            ),
        };
        let holder = std::thread::spawn(move || drop(server.script(&name, &sql)));
        wait_for("the lock", || self.script(&held).contains(table).then_some(()));
        holder
    }

    /// Waits until a session waits for a locked table.
    pub fn wait_for_waiting(&self) {
        wait_for("somebody to wait for the lock", || {
            let waits = match self.kind() {
                Kind::MariaDb => self.script("SHOW FULL PROCESSLIST").contains("Waiting for table"),
                Kind::Postgres => self.waits_for_lock(),
            };
            waits.then_some(())
        });
    }

    /// Waits until a transaction waits for a locked row.
    pub fn wait_for_waiting_row(&self) {
        wait_for("somebody to wait for the row", || {
            let waits = match self.kind() {
                Kind::MariaDb => {
                    // InnoDB shows an old list if it is asked again within 100 ms.
                    std::thread::sleep(std::time::Duration::from_millis(150));
                    let waiting = "SELECT count(*) FROM information_schema.innodb_trx JOIN
                        information_schema.processlist AS p ON p.id = trx_mysql_thread_id
                        WHERE p.db = database() AND trx_state = 'LOCK WAIT'";
                    self.script(waiting).trim() != "0"
                }
                Kind::Postgres => self.waits_for_lock(),
            };
            waits.then_some(())
        });
    }

    /// PostgreSQL: whether a session waits for a lock.
    fn waits_for_lock(&self) -> bool {
        // The administrator sees what other accounts do.
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.server.script(&self.name, waiting).trim() != "0"
    }
}

/// A separate connection, whose transaction stays open until it is ended.
pub struct Session {
    client: Child,
    replies: BufReader<ChildStdout>,
    /// What writes a last line after statements, also if they failed.
    end: &'static str,
}

impl Session {
    pub fn open(database: &Database<'_>) -> Session {
        let mut client = database.client();
        let end = match database.kind() {
            Kind::MariaDb => {
                client.args(["--unbuffered", "--force"]);
                "; SELECT 'done';"
            }
            Kind::Postgres => {
                client.args(["--variable=ON_ERROR_STOP=0"]);
                ";\n\\echo done"
            }
        };
        let mut client = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the client starts");
        let replies = BufReader::new(client.stdout.take().expect("a pipe"));
        Session { client, replies, end }
    }

    /// Runs statements that select nothing, and waits until they are done. Errors are ignored, for
    /// example in a deadlock.
    pub fn execute(&mut self, sql: &str) {
        self.ask(sql);
    }

    /// Runs statements, and returns the selected lines.
    pub fn ask(&mut self, sql: &str) -> String {
        let input = self.client.stdin.as_mut().expect("a pipe");
        writeln!(input, "{sql}{}", self.end).expect("it listens");
        let mut lines = String::new();
        while lines.lines().last() != Some("done") {
            assert_ne!(self.replies.read_line(&mut lines).expect("a reply"), 0, "it has ended");
        }
        lines.truncate(lines.len() - "done\n".len());
        lines
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Gives statements to a client, and returns what it writes.
pub(crate) fn run_script(mut client: Command, sql: &str) -> String {
    let mut client = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{client:?}: {error}; see tests/run"));
    // Written by another thread while this one reads, because either pipe may be full.
    let mut input = client.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(sql.as_bytes()));
        client.wait_with_output().expect("its output")
    });
    assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub(crate) fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; see tests/run"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether the tests run as root, which database servers refuse to be started by.
pub(crate) fn is_root() -> bool {
    stdout(Command::new("id").arg("-u")).trim() == "0"
}

/// A folder that others may enter, and that its keeper removes.
pub(crate) fn folder(prefix: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().expect("a folder").keep();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&folder, open).expect("permissions");
    folder
}

/// Gives files to the user that a server runs as.
pub(crate) fn give_to(user: &str, files: &[&Path]) {
    if is_root() {
        stdout(Command::new("chown").arg(user).args(files));
    }
}

/// A port that is free now. Another process may take it first.
pub(crate) fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a port").port()
}
