//! The real binary in the background, and what the system says of a process.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

use crate::server::{jitsiprovs, run_command, send_signal};
use crate::wait_for;

/// A port of this machine that nobody has.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a port").port()
}

/// The command for a server in the background, with `args` besides loopback,
/// `port`, and the pidfile `pid` in `folder`, from where it is started.
pub fn background(folder: &Path, port: u16, args: &[&str]) -> Command {
    let port = port.to_string();
    let own = ["--http-ip", "127.0.0.1", "--http-port", &port, "--pidfile", "pid"];
    let mut command = jitsiprovs(&[&own, args].concat());
    command.current_dir(folder);
    command
}

/// What the pidfile says, once it does.
pub fn pid_in(path: &Path) -> u32 {
    wait_for("the pidfile", || std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// A line of `/proc/PID/status`, without its name.
pub fn status_of(process: &str, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a line").trim().to_owned()
}

/// Whether a process has ended, even if nobody has asked how.
pub fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.map_or(true, |status| status.contains("\nState:\tZ"))
}

/// A server in the background; it ends with the test.
pub struct Daemon {
    pub pid: u32,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts it, and returns what its parent wrote too.
    pub fn start(folder: &Path, args: &[&str]) -> (Daemon, Output) {
        let port = free_port();
        let output = run_command(background(folder, port, args));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let pid = pid_in(&folder.join("pid"));
        (Daemon { pid, address: SocketAddr::from(([127, 0, 0, 1], port)) }, output)
    }

    /// Ends it, and waits until it has ended.
    pub fn stop(&self) {
        send_signal(self.pid, "TERM");
        wait_for("the daemon to end", || is_gone(self.pid).then_some(()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !is_gone(self.pid) {
            send_signal(self.pid, "KILL");
        }
    }
}
