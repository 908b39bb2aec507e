//! The real binary.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use crate::client::{Connection, request};
use crate::{PATIENCE, wait_for};

/// A command for the binary with `args`, without the settings of the environment and of this
/// machine.
pub fn jitsiprovs(args: &[&str]) -> Command {
    // `cargo test` and `cargo bench` set this variable for the tests of the package; a macro would
    // not know it here.
    let program = std::env::var_os("CARGO_BIN_EXE_jitsiprovs").expect("run by cargo");
    let mut command = Command::new(program);
    command.args(args).env_clear().env("JITSIPROVS_CONFIG", "").stdin(Stdio::null());
    command
}

/// A command for the binary with `args`, to which these sockets are passed as a service manager
/// passes them. `names` are separated by colons.
pub fn with_sockets<S: AsFd>(sockets: [&S; 2], names: &str, args: &[&str]) -> Command {
    let own = jitsiprovs(args);
    let mut command = Command::new("/bin/sh");
    // The process id stays the same when the shell becomes the server.
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(own.get_program()).args(own.get_args()).env_clear();
    let count = names.split(':').count().to_string();
    command.envs([("LISTEN_FDS", &count[..]), ("LISTEN_FDNAMES", names), ("JITSIPROVS_CONFIG", "")]);
    let [stdin, stdout] = sockets.map(|socket| socket.as_fd().try_clone_to_owned().expect("a socket"));
    command.stdin(stdin).stdout(stdout);
    command
}

/// Runs the binary to its end.
pub fn run(args: &[&str]) -> Output {
    run_command(jitsiprovs(args))
}

pub fn run_command(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let pid = child.id();
    let (sender, ended) = std::sync::mpsc::channel();
    // The output may be larger than a pipe holds.
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("its output"),
        Err(_) => {
            send_signal(pid, "KILL");
            panic!("{command:?} did not end");
        }
    }
}

/// Sends a signal, given by its name.
pub fn send_signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).status();
    assert!(status.expect("sh").success());
}

/// Seconds of processor time that a process has used, including time in the kernel.
pub fn processor(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux");
    // The state and ten numbers follow the name, which may contain any characters.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    // There are 100 ticks a second, independent of the kernel's own timer.
    (ticks(11) + ticks(12)) / 100.0
}

/// Resident memory of a process in bytes, and its maximum so far.
pub fn resident(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    };
    (value("VmRSS:"), value("VmHWM:"))
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server on its own port, which ends with the test.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server in the foreground with `args`, on loopback and a free port.
    pub fn start(args: &[&str]) -> Server {
        let own = ["-n", "--http-ip", "127.0.0.1", "--http-port", "0"];
        Server::spawn(jitsiprovs(&[&own, args].concat()))
    }

    /// Starts a server for the SQLite file at `path`.
    pub fn on_sqlite(path: &Path, args: &[&str]) -> Server {
        let own = ["--db-path", path.to_str().expect("UTF-8")];
        Server::start(&[&own, args].concat())
    }

    pub fn spawn(mut command: Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().expect("the log").push(line);
            }
        });
        let mut server = Server { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, log };
        let line = wait_for("the server to serve", || {
            if let Some(status) = server.child.try_wait().expect("a child") {
                panic!("it ended with {status}: {:?}", server.log());
            }
            server.log().into_iter().find(|line| line.contains("serving http"))
        });
        let address = line.split("://").nth(1).and_then(|rest| rest.split('/').next());
        server.address = address.and_then(|address| address.parse().ok()).expect("an address");
        server
    }

    pub fn log(&self) -> Vec<String> {
        self.log_from(0)
    }

    /// The lines of the log, beginning with line `first`.
    pub fn log_from(&self, first: usize) -> Vec<String> {
        self.log.lock().expect("the log")[first..].to_vec()
    }

    /// The address of the admin listener; the server needs `--admin-port`.
    pub fn admin(&self) -> SocketAddr {
        let line = self.wait_for_log("for operators http://");
        let address = line.split("://").nth(1).and_then(|rest| rest.split('/').next());
        address.and_then(|address| address.parse().ok()).expect("an address")
    }

    /// How many connections of clients each worker has.
    pub fn worker_connections(&self) -> Vec<usize> {
        let reply = Connection::open(self.admin()).ask(&request("GET", "/metrics", &[], b""));
        let counts = reply.text().lines().filter_map(|line| {
            let (worker, count) =
                line.strip_prefix("jitsiprovs_worker_connections{worker=\"")?.split_once("\"} ")?;
            Some((worker.parse::<usize>().expect("a number"), count.parse().expect("a number")))
        });
        let counts: BTreeMap<usize, usize> = counts.collect();
        assert!(counts.keys().copied().eq(0..counts.len()), "{counts:?}");
        counts.into_values().collect()
    }

    /// Clears the log so far, which may have millions of lines.
    pub fn forget_log(&self) {
        self.log.lock().expect("the log").clear();
    }

    /// Waits for a log line that contains the text, and returns the line.
    pub fn wait_for_log(&self, text: &str) -> String {
        wait_for(text, || self.log().into_iter().find(|line| line.contains(text)))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, given by its name.
    pub fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// Waits until the server has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        wait_for("the server to end", || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file for `--admin-secret-file`.
pub const ADMIN_SECRET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/admin-secret");
