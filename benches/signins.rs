//! `attacks -- signins`: first sign-ins with slow hashes while an attacker tries to keep the server
//! from computing them.
//!
//! Turns alone and under attack alternate. The attackers are a separate process: 400 connections
//! from eight addresses, with TLS, over HTTP/1.1 or h2. Each sends its next request as soon as it
//! is answered. Honest clients come one after the other; each is a user who has not signed in
//! before, with a new address and a new connection.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jitsiprovs::core::credential::{Owner, Storage, hash};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{DOMAIN, user, users};
use support::client::{Connection, request};
use support::figures::median;
use support::server::Server;
use support::sqlite::SqliteFile;

/// Connections of the attackers, and the addresses that they come from.
const CONNECTIONS: u32 = 400;
const ADDRESSES: u32 = 8;
/// Simultaneous requests on each h2 connection.
const STREAMS: usize = 4;
/// Honest sign-ins in each turn, and pairs of turns.
const SIGN_INS: u32 = 20;
const ROUNDS: u32 = 3;
/// Users before this one are honest.
const ATTACKED: u32 = 10_000;
const USERS: u32 = 20_000;

const KINDS: [&str; 5] = [
    "no password",
    "the same wrong password",
    "wrong passwords of one user",
    "wrong passwords of many users",
    "users who do not exist",
];
const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];

pub fn signins() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (key, chain, root) =
        (folder.path().join("key"), folder.path().join("chain"), folder.path().join("root"));
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    std::fs::write(&chain, made.cert.pem()).expect("written");
    std::fs::write(&root, made.cert.der()).expect("written");
    let owner = Owner { username: "", realm: "" };
    let stored = hash(Storage::Argon2id, "right-pw", owner).expect("a hash");
    let file = SqliteFile::empty();
    users(&file, USERS, &stored);

    println!(
        "{SIGN_INS} first sign-ins with argon2id one after the other, alone and under attack by turns; the \
         attacker has {CONNECTIONS} connections from {ADDRESSES} addresses and runs at nice 19. Medians of \
         {ROUNDS} rounds:"
    );
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (key, chain) = (text(&key), text(&chain));
    let options = ["--no-access-log", "--admin-port", "0", "--ssl-keyfile", &key, "--ssl-certfile", &chain];
    let server = Server::on_sqlite(&file.path, &options);
    // Read now, because the address is in the log, which is cleared later.
    let admin = server.admin();
    let honest = Honest::new(server.address, &root);
    honest.turn(0);
    let mut turns = 1;
    let mut worst = 0.0_f64;
    for kind in KINDS {
        for protocol in PROTOCOLS {
            let mut rounds = Vec::new();
            let before = counts(admin);
            for _ in 0..ROUNDS {
                let alone = honest.turn(turns);
                let attack = Attack::start(kind, protocol, turns, server.address, &root);
                let attacked = honest.turn(turns + 1);
                drop(attack);
                server.forget_log();
                rounds.push((alone, attacked));
                turns += 2;
            }
            let ratio = |pick: &dyn Fn(&Turn) -> f64| {
                median(rounds.iter().map(|(alone, attacked)| pick(attacked) / pick(alone)))
            };
            let (mean, most) = (ratio(&|turn| turn.mean), ratio(&|turn| turn.most));
            let failed: u32 = rounds.iter().map(|(alone, attacked)| alone.failed + attacked.failed).sum();
            println!(
                "  {kind:30} {protocol:8} {:5.1} ms alone, {:5.1} ms under attack: {mean:.2}; the slowest one \
                 {most:.2} of the slowest; {failed} failed; {}",
                median(rounds.iter().map(|(alone, _)| alone.mean * 1e3)),
                median(rounds.iter().map(|(_, attacked)| attacked.mean * 1e3)),
                difference(&before, &counts(admin)),
            );
            worst = worst.max(mean).max(f64::from(failed) * 100.0);
        }
    }
    assert!(worst <= 3.0, "first sign-ins take at most three times as long under attack, and none fails");
}

/// The server's counters that show what became of the attack.
const COUNTED: [(&str, &str); 4] = [
    ("jitsiprovs_slow_hashes_total", "hashes"),
    ("jitsiprovs_requests_total{result=\"denied\"}", "401"),
    ("jitsiprovs_requests_total{result=\"throttled\"}", "429"),
    ("jitsiprovs_requests_total{result=\"busy\"}", "503"),
];

fn counts(admin: SocketAddr) -> [u64; COUNTED.len()] {
    let reply = Connection::open(admin).ask(&request("GET", "/metrics", &[], b""));
    COUNTED.map(|(name, _)| {
        let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        // An older version may lack this metric.
        value.map_or(0, |value| value.parse().expect("a number"))
    })
}

fn difference(before: &[u64], after: &[u64]) -> String {
    let each = COUNTED.iter().zip(before.iter().zip(after));
    each.map(|((_, what), (before, after))| format!("{what} {}", after - before))
        .collect::<Vec<_>>()
        .join(", ")
}

// ---- Honest clients ----

struct Honest {
    address: SocketAddr,
    tls: TlsConnector,
    runtime: tokio::runtime::Runtime,
}

/// Seconds.
struct Turn {
    mean: f64,
    most: f64,
    failed: u32,
}

impl Honest {
    fn new(address: SocketAddr, root: &Path) -> Honest {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Honest { address, tls: connector(root, "http/1.1"), runtime: runtime.expect("a runtime") }
    }

    fn turn(&self, turn: u32) -> Turn {
        let (mut times, mut failed) = (Vec::new(), 0);
        for number in turn * SIGN_INS..(turn + 1) * SIGN_INS {
            assert!(number < ATTACKED, "there are enough users");
            let from = Ipv4Addr::new(127, 200, (number >> 8) as u8, number as u8);
            let form = format!("username={}&domain={DOMAIN}&password=right-pw", user(number));
            let begun = Instant::now();
            let answered = self.runtime.block_on(async {
                let stream = connect(from, self.address, &self.tls).await?;
                let mut sender = Sender::new(stream, "http/1.1").await?;
                tokio::time::timeout(Duration::from_secs(20), sender.ask(form)).await.ok()?
            });
            times.push(begun.elapsed().as_secs_f64());
            failed += u32::from(answered != Some(200));
        }
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        Turn { mean, most: times.into_iter().fold(0.0, f64::max), failed }
    }
}

// ---- Attackers ----

struct Attack(Child);

impl Attack {
    /// Starts the attack, and returns when all connections are open. It ends by itself after a
    /// minute.
    fn start(kind: &str, protocol: &str, turn: u32, server: SocketAddr, root: &Path) -> Attack {
        let mut child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe().expect("this program"))
            .args(["attacker", kind, protocol, &turn.to_string(), &server.to_string()])
            .arg(root)
            .stdout(Stdio::piped())
            .spawn()
            .expect("nice starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "attacking\n");
        Attack(child)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The attackers' process. The arguments are the kind, the protocol, the turn, the server's
/// address, and the file with its certificate.
pub fn attacker(args: &[String]) {
    let [kind, protocol, turn, server, root] = args else { panic!("{args:?}") };
    let kind = KINDS.iter().position(|known| known == kind).expect("a kind");
    let protocol = PROTOCOLS.into_iter().find(|known| known == protocol).expect("a protocol");
    let turn: u32 = turn.parse().expect("a number");
    let server: SocketAddr = server.parse().expect("an address");
    let tls = connector(Path::new(root), protocol);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut senders = Vec::new();
        for number in 0..CONNECTIONS {
            // Each turn uses other addresses, so that no throttling from the turn before remains.
            let from = Ipv4Addr::new(127, 100, turn as u8, 1 + (number % ADDRESSES) as u8);
            let stream = connect(from, server, &tls).await.expect("a connection");
            senders.push(Sender::new(stream, protocol).await.expect("HTTP"));
        }
        println!("attacking");
        for (number, sender) in (0..).zip(senders) {
            let streams = if protocol == "h2" { STREAMS } else { 1 };
            for (stream, mut sender) in sender.split(streams).into_iter().enumerate() {
                tokio::task::spawn_local(async move {
                    let mut at = 0;
                    while sender.ask(form(kind, turn, number, stream, at)).await.is_some() {
                        at += 1;
                    }
                });
            }
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

/// The form that a connection of the attacker sends.
fn form(kind: usize, turn: u32, connection: u32, stream: usize, at: u32) -> String {
    let one = user(ATTACKED + turn);
    let unique = format!("{turn}-{connection}-{stream}-{at}");
    let other = user(ATTACKED + 1000 + (connection * 7919 + at * 31) % (USERS - ATTACKED - 1000));
    let (name, password) = match kind {
        0 => return format!("username={one}&domain={DOMAIN}"),
        1 => (one, "always-the-same".to_owned()),
        2 => (one, unique),
        3 => (other, unique),
        _ => (format!("nobody-{unique}"), unique),
    };
    format!("username={name}&domain={DOMAIN}&password={password}")
}

// ---- Connections ----

fn connector(root: &Path, protocol: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(root).expect("a certificate"))).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(from: Ipv4Addr, to: SocketAddr, tls: &TlsConnector) -> Option<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(from.into(), 0)).ok()?;
    let stream = socket.connect(to).await.ok()?;
    stream.set_nodelay(true).ok()?;
    tls.connect(ServerName::try_from("localhost").expect("a name"), stream).await.ok()
}

type Form = Full<Bytes>;

enum Sender {
    Http1(http1::SendRequest<Form>),
    H2(http2::SendRequest<Form>),
}

impl Sender {
    async fn new(stream: TlsStream<TcpStream>, protocol: &str) -> Option<Sender> {
        let io = TokioIo::new(stream);
        if protocol == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
            tokio::spawn(connection);
            Some(Sender::H2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await.ok()?;
            tokio::spawn(connection);
            Some(Sender::Http1(sender))
        }
    }

    /// One sender for each simultaneous request.
    fn split(self, streams: usize) -> Vec<Sender> {
        match self {
            Sender::Http1(_) => vec![self],
            Sender::H2(sender) => (0..streams).map(|_| Sender::H2(sender.clone())).collect(),
        }
    }

    /// Sends a form, and returns the status once the answer is read.
    async fn ask(&mut self, form: String) -> Option<u16> {
        let request = Request::post("https://localhost/jitsiprovs/")
            .header("host", "localhost")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form))
            .expect("a request");
        let response = match self {
            Sender::Http1(sender) => {
                sender.ready().await.ok()?;
                sender.send_request(request).await.ok()?
            }
            Sender::H2(sender) => {
                sender.ready().await.ok()?;
                sender.send_request(request).await.ok()?
            }
        };
        let status = response.status().as_u16();
        response.into_body().collect().await.ok()?;
        Some(status)
    }
}
