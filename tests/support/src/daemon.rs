//! The real binary in the background, and what the system reports about a process.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};

use crate::server::{jitsiprovs, run_command, send_signal};
use crate::wait_for;

/// A port of this machine that is not in use.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    free.expect("a port").port()
}

/// The command for a server in the background, with `args`, the loopback address, `port`, and the
/// pidfile `pid`. It is started in `folder`.
pub fn background(folder: &Path, port: u16, args: &[&str]) -> Command {
    let port = port.to_string();
    let own = ["--http-ip", "127.0.0.1", "--http-port", &port, "--pidfile", "pid"];
    let mut command = jitsiprovs(&[&own, args].concat());
    command.current_dir(folder);
    if !Path::new("/dev/log").exists() {
        // Instead of the file for all servers of this machine.
        command.env("JITSIPROVS_LOG_FILE", folder.join("log"));
    }
    command
}

/// Waits for the pidfile, and returns the process id in it.
pub fn pid_in(path: &Path) -> u32 {
    wait_for("the pidfile", || std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// The value of a line in `/proc/PID/status`.
pub fn status_of(process: &str, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a line").trim().to_owned()
}

/// Whether a process has ended. It may still be a zombie.
pub fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.map_or(true, |status| status.contains("\nState:\tZ"))
}

/// A server in the background, which ends with the test.
pub struct Daemon {
    pub pid: u32,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts the server, and also returns the output of its parent.
    pub fn start(folder: &Path, args: &[&str]) -> (Daemon, Output) {
        let port = free_port();
        let output = run_command(background(folder, port, args));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let pid = pid_in(&folder.join("pid"));
        (Daemon { pid, address: SocketAddr::from(([127, 0, 0, 1], port)) }, output)
    }

    /// Ends the server, and waits until it has ended.
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
