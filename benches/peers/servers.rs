//! The servers that are compared.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jitsiprovs::process::cores;
use support::client::request;
use support::daemon::free_port;
use support::nginx::{Nginx, http_with};
use support::server::{Running, jitsiprovs};
use support::sqlite::SqliteFile;
use support::wait_for;

use crate::bare::{DEFAULT_RUNTIME, MIO, ONE_RUNTIME_A_CORE};
use crate::generator::message;

/// The servers that others are compared with.
pub const BARE_HYPER: &str = "bare hyper, one runtime a core";
pub const BARE_HYPER_BY_DEFAULT: &str = "bare hyper, tokio's default runtime";
pub const NGINX_WITH_LOG: &str = "nginx, a file, access log";
/// This server as it is run by default.
pub const OWN_WITH_LOG: &str = "jitsiprovs, access log";

/// A running server, and how to ask it.
pub struct Peer {
    pub name: &'static str,
    pub address: SocketAddr,
    /// All processes that answer.
    pub processes: Vec<u32>,
    pub request: Vec<u8>,
}

/// All servers, which end with this value.
pub struct Peers {
    pub all: Vec<Peer>,
    /// The length of an answer's body, in bytes.
    pub length: usize,
    _processes: Vec<Running>,
    _nginx: Vec<Nginx>,
    _file: SqliteFile,
}

impl Peers {
    pub fn start() -> Peers {
        let file = SqliteFile::seeded();
        file.user("example.org", "alice", "correct-horse");
        let folder = file.folder.path();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let form = b"username=alice%40example.org&password=correct-horse";
        let form = request("POST", "/jitsiprovs/", &headers, form);
        let own = [
            ("jitsiprovs, no access log", &["--no-access-log"][..]),
            (OWN_WITH_LOG, &[]),
            ("jitsiprovs, access log as JSON", &["--log-format", "json"]),
        ];
        let own = own.map(|(name, options)| {
            let db = file.path.to_str().expect("UTF-8");
            let (address, running) = own_server(folder, &[&["--db-path", db], options].concat());
            (name, address, running, form.clone())
        });
        // The other servers answer with these bytes.
        let answer = answer_of(own[0].1, &form);
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let (whole, page) = (folder.join("answer"), folder.join("page"));
        std::fs::write(&whole, &answer).expect("written");
        std::fs::write(&page, &answer[head..]).expect("written");

        let bare = [
            ("a loop with mio, the same bytes", MIO),
            (BARE_HYPER, ONE_RUNTIME_A_CORE),
            (BARE_HYPER_BY_DEFAULT, DEFAULT_RUNTIME),
        ];
        let bare = bare.map(|(name, kind)| {
            let (address, running) = bare_server(kind, &whole);
            (name, address, running, form.clone())
        });
        let (mut all, mut running) = (Vec::new(), Vec::new());
        for (name, address, process, request) in bare.into_iter().chain(own) {
            all.push(Peer { name, address, processes: vec![process.0.id()], request });
            running.push(process);
        }
        let nginx = [("nginx, a file", "off"), (NGINX_WITH_LOG, "access.log")];
        let nginx = nginx.map(|(name, log)| {
            let nginx = file_server(folder, log);
            let processes = wait_for("nginx' workers", || {
                let workers = children(nginx.pid());
                (workers.len() == cores()).then_some(workers)
            });
            let get = request("GET", "/page", &[], b"");
            all.push(Peer { name, address: nginx.address, processes, request: get });
            nginx
        });
        let length = answer.len() - head;
        Peers { all, length, _processes: running, _nginx: nginx.into(), _file: file }
    }
}

/// Starts this server on a port of its own. Its log goes to a file in `folder`.
pub fn own_server(folder: &Path, options: &[&str]) -> (SocketAddr, Running) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let port = address.port().to_string();
    let mut command = jitsiprovs(&["-n", "--http-ip", "127.0.0.1", "--http-port", &port]);
    let log = File::create(folder.join(format!("{port}.log"))).expect("a file");
    let running = Running(command.args(options).stderr(log).spawn().expect("the binary starts"));
    wait_for("the server to serve", || TcpStream::connect(address).ok());
    (address, running)
}

fn bare_server(kind: &str, answer: &Path) -> (SocketAddr, Running) {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["serve", kind])
        .arg(answer)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bench starts itself");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    (line.trim().parse().expect("an address"), Running(child))
}

/// Starts an nginx that serves the files in `folder`, set up to be fast.
fn file_server(folder: &Path, log: &str) -> Nginx {
    Nginx::with_workers(cores(), |address, own| {
        let log = if log == "off" { log.to_owned() } else { own.join(log).display().to_string() };
        // Each worker has a listener of its own, because otherwise one may get all connections.
        let server = format!(
            "server {{
                 listen {address} reuseport;
                 root {};
                 default_type text/plain;
                 sendfile on;
                 tcp_nopush on;
                 keepalive_requests 1000000000;
                 access_log {log};
             }}",
            folder.display()
        );
        http_with(own, &server)
    })
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).expect("Linux");
    text.split_whitespace().map(|pid| pid.parse().expect("a number")).collect()
}

/// All bytes of an answer.
fn answer_of(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    stream.write_all(request).expect("sends");
    let mut answer = Vec::new();
    while message(&answer) != Some(answer.len()) {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..read]);
    }
    answer
}
