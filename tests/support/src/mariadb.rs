//! A MariaDB server for the tests, with its own data, socket and port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::JoinHandle;

use crate::wait_for;

/// The administrator's password.
pub const ROOT_PASSWORD: &str = "root's \"own\" \\ password";

/// A running server. It ends, and its folder is removed, when the process that started it ends for
/// any reason: a shell that ignores signals waits until our end of a pipe is closed.
pub struct MariaDb {
    folder: PathBuf,
    pub port: u16,
    keeper: Child,
    /// The keeper's replies to orders.
    replies: Mutex<ChildStdout>,
}

/// The keeper's script. Its arguments are the folder and the server's command.
const KEEPER: &str = r#"
    trap '' INT HUP TERM
    exec 3<&0
    folder=$1
    shift
    "$@" </dev/null >/dev/null &
    server=$!
    while read -r order <&3; do
        case $order in
        kill) kill -KILL $server && wait $server ;;
        start) "$@" </dev/null >/dev/null & server=$! ;;
        esac
        echo done
    done 2>/dev/null
    kill $server
    wait $server
    rm -rf "$folder"
"#;

/// The server that all tests of this process share. Each test uses its own database.
pub fn mariadb() -> &'static MariaDb {
    static SHARED: OnceLock<MariaDb> = OnceLock::new();
    SHARED.get_or_init(|| MariaDb::start(&[]))
}

impl MariaDb {
    /// Starts a server with additional options.
    pub fn start(options: &[String]) -> MariaDb {
        // The port is free when it is chosen, but another process may take it first.
        let mut started = (0..3).filter_map(|_| MariaDb::try_start(options));
        let server = started.next().expect("MariaDB starts; its log is above");
        let password = ROOT_PASSWORD.replace('\\', "\\\\").replace('\'', "''");
        server.script_as(
            "",
            "",
            &format!(
                "ALTER USER root@localhost IDENTIFIED BY '{password}';
                 CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}';
                 GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;"
            ),
        );
        server
    }

    fn try_start(options: &[String]) -> Option<MariaDb> {
        let folder =
            tempfile::Builder::new().prefix("jitsiprovs-mariadb-").tempdir().expect("a folder").keep();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("permissions");
        let (data, log, socket) = (folder.join("data"), folder.join("log"), folder.join("socket"));
        // Each server needs its own folder, because at its start a server removes all temporary
        // tables that it finds, including those of other servers.
        let temporary = folder.join("tmp");
        std::fs::create_dir(&data).expect("a folder");
        std::fs::create_dir(&temporary).expect("a folder");
        // The server refuses to run as root, so it gets its own user.
        let is_root = stdout(Command::new("id").arg("-u")).trim() == "0";
        let user: &[&str] = if is_root { &["--user=mysql"] } else { &[] };
        if is_root {
            stdout(Command::new("chown").arg("mysql").args([&folder, &data, &temporary]));
        }
        stdout(
            Command::new("mariadb-install-db")
                .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
                .arg(format!("--datadir={}", data.display()))
                .env("TMPDIR", &temporary)
                .args(user),
        );
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .args(["mariadbd", "--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--port={port}"))
            .args(["--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"])
            .args(user)
            .args(options)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("sh starts");
        // Created now, so that the server also ends if the wait below fails.
        let replies = Mutex::new(keeper.stdout.take().expect("a pipe"));
        let server = MariaDb { folder, port, keeper, replies };
        let answers = wait_for("MariaDB to start", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            if log.contains("[ERROR] Aborting") {
                eprintln!("{log}");
                return Some(false);
            }
            std::os::unix::net::UnixStream::connect(&socket).ok().map(|_| true)
        });
        answers.then_some(server)
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&self) {
        self.order("kill");
    }

    /// Starts the server again after [`MariaDb::kill`].
    pub fn restart(&self) {
        self.order("start");
        wait_for("MariaDB to start again", || std::os::unix::net::UnixStream::connect(self.socket()).ok());
    }

    /// Lowers the priority of the server and of new connections, as if the server ran on another
    /// machine.
    pub fn step_back(&self) {
        stdout(Command::new("chrt").args(["--idle", "-p", "0", &self.pid().to_string()]));
    }

    pub fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.folder.join("pid")).expect("a file");
        pid.trim().parse().expect("a number")
    }

    fn order(&self, what: &str) {
        writeln!(self.keeper.stdin.as_ref().expect("a pipe"), "{what}").expect("it listens");
        let mut reply = [0; 5];
        self.replies.lock().expect("a pipe").read_exact(&mut reply).expect("it answers");
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// Runs statements as the administrator, and returns the rows that they select: a line for each
    /// row, separated by tabs, without headers.
    pub fn script(&self, database: &str, sql: &str) -> String {
        self.script_as(database, ROOT_PASSWORD, sql)
    }

    fn script_as(&self, database: &str, password: &str, sql: &str) -> String {
        let mut client = Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
            .arg("--default-character-set=utf8mb4")
            .arg(format!("--socket={}", self.socket().display()))
            .arg(database)
            .env("MYSQL_PWD", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the mariadb client starts");
        // Written by another thread while this one reads, because either pipe may be full.
        let mut input = client.stdin.take().expect("a pipe");
        let output = std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(sql.as_bytes()));
            client.wait_with_output().expect("its output")
        });
        assert!(output.status.success(), "{sql}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A new database with two accounts: one with all privileges there, and one that may only
    /// SELECT.
    pub fn database(&self) -> Database<'_> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.script(
            "",
            &format!(
                "CREATE DATABASE {name} CHARACTER SET utf8mb4;
                 CREATE USER {name}_all@'%' IDENTIFIED BY 'all';
                 GRANT ALL ON {name}.* TO {name}_all@'%';
                 CREATE USER {name}_read@'%' IDENTIFIED BY 'read';
                 GRANT SELECT ON {name}.* TO {name}_read@'%';"
            ),
        );
        Database { server: self, name }
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The database of one test.
pub struct Database<'s> {
    pub server: &'s MariaDb,
    pub name: String,
}

impl Database<'_> {
    pub fn script(&self, sql: &str) -> String {
        self.server.script(&self.name, sql)
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
        [
            "--db-ip",
            "127.0.0.1",
            "--db-port",
            &port,
            "--db-name",
            &self.name,
            "--db-user",
            &user,
            "--db-pwd",
            account,
        ]
        .map(str::to_owned)
        .into()
    }
}

impl Database<'static> {
    /// Locks a table against reads for some seconds, beginning when this returns. The handle ends
    /// with the lock.
    pub fn hold(&self, table: &str, seconds: u32) -> JoinHandle<()> {
        let (server, name) = (self.server, self.name.clone());
        let sql = format!("LOCK TABLES {table} WRITE; SELECT SLEEP({seconds})");
        let holder = std::thread::spawn(move || drop(server.script(&name, &sql)));
        wait_for("the lock", || {
            let locked = self.script(&format!("SHOW OPEN TABLES FROM {} WHERE In_use > 0", self.name));
            locked.contains(table).then_some(())
        });
        holder
    }

    /// Waits until a session waits for a locked table.
    pub fn wait_for_waiting(&self) {
        wait_for("somebody to wait for the lock", || {
            self.script("SHOW FULL PROCESSLIST").contains("Waiting for table").then_some(())
        });
    }
}

/// A separate connection, whose transaction stays open until it is ended.
pub struct Session {
    client: Child,
    replies: BufReader<ChildStdout>,
}

impl Session {
    pub fn open(database: &Database<'_>) -> Session {
        let mut client = Command::new("mariadb")
            .args([
                "--no-defaults",
                "--user=root",
                "--batch",
                "--skip-column-names",
                "--unbuffered",
                "--force",
            ])
            .arg(format!("--socket={}", database.server.socket().display()))
            .arg(&database.name)
            .env("MYSQL_PWD", ROOT_PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the mariadb client starts");
        let replies = BufReader::new(client.stdout.take().expect("a pipe"));
        Session { client, replies }
    }

    /// Runs statements that select nothing, and waits until they are done. Errors are ignored, for
    /// example in a deadlock.
    pub fn execute(&mut self, sql: &str) {
        self.ask(sql);
    }

    /// Runs statements, and returns the selected lines.
    pub fn ask(&mut self, sql: &str) -> String {
        let input = self.client.stdin.as_mut().expect("a pipe");
        writeln!(input, "{sql}; SELECT 'done';").expect("it listens");
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

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; see tests/run"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
