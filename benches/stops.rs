//! Restarts under load: which connections are refused, and for how long.
//!
//! `cargo bench --bench stops`. Clients open a connection for each request and leave it open, as
//! Jitsi does. The server is restarted 100 times, once with a listener that its parent keeps open,
//! as systemd does, and once with its own. With the parent's listener, no connection may be refused
//! and no request may fail.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jitsiprovs::process;
use support::client::{Connection, form_request};
use support::daemon::free_port;
use support::server::{jitsiprovs, send_signal, with_sockets};
use support::sqlite::SqliteFile;
use support::{md5_hex, wait_for};

const RESTARTS: usize = 100;
const CLIENTS: usize = 4;
/// How many connections each client leaves open.
const OPEN: usize = 50;
/// How long the server serves between two restarts.
const PAUSE: Duration = Duration::from_millis(50);

/// What the clients saw.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    /// When the first connection was refused since the last restart.
    first_refused: Mutex<Option<Instant>>,
}

fn main() {
    process::raise_descriptors();
    let file = SqliteFile::empty();
    file.execute(&format!(
        "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 9999)
             INSERT INTO user_auth (domain, username, password)
             SELECT 'example.org', 'user' || n, '{}' FROM number",
        md5_hex("pw")
    ));
    let path = file.path.to_str().expect("UTF-8");
    let more = ["--max-connections-per-address", "50000", "--no-access-log", "--db-path", path];

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let args = [&["-n"], &more[..]].concat();
    let kept =
        restarts("a listener that stays open", address, || with_sockets([&listener; 2], "http", &args));
    assert_eq!((kept.refused.into_inner(), kept.failed.into_inner()), (0, 0));

    let port = free_port();
    let number = port.to_string();
    let args = [&["-n", "--http-ip", "127.0.0.1", "--http-port", &number], &more[..]].concat();
    restarts("its own listener", SocketAddr::from(([127, 0, 0, 1], port)), || jitsiprovs(&args));
}

fn restarts(what: &str, address: SocketAddr, command: impl Fn() -> Command) -> Seen {
    let start = || -> Child {
        let child = command().stderr(Stdio::null()).spawn().expect("the binary starts");
        // A listener that stays open accepts before the server can answer.
        wait_for("an answer", || {
            answered(&mut Connection::on(TcpStream::connect(address).ok()?)).then_some(())
        });
        child
    };
    let (seen, stop) = (Seen::default(), AtomicBool::new(false));
    let (mut stops, mut closed, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let mut child = start();
        (0..CLIENTS).for_each(|_| drop(scope.spawn(|| ask(address, &seen, &stop))));
        for _ in 0..RESTARTS {
            std::thread::sleep(PAUSE);
            seen.first_refused.lock().expect("a time").take();
            send_signal(child.id(), "TERM");
            let signalled = Instant::now();
            assert!(child.wait().expect("it ends").success());
            let ended = Instant::now();
            child = start();
            let refused = seen.first_refused.lock().expect("a time").take();
            stops.push(ended - signalled);
            closed.push(refused.map_or(Duration::ZERO, |refused| ended.saturating_duration_since(refused)));
            gaps.push(refused.map_or(Duration::ZERO, |refused| refused.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
        send_signal(child.id(), "TERM");
        child.wait().expect("it ends");
    });
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{what}: {RESTARTS} restarts, {} answered, {} refused, {} failed",
        count(&seen.answered),
        count(&seen.refused),
        count(&seen.failed)
    );
    for (what, times) in [
        ("from the signal to the end of the process", stops),
        ("from the first refusal to the end of the process", closed),
        ("from the first refusal to the next answer", gaps),
    ] {
        let mut millis: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
        millis.sort_by(f64::total_cmp);
        println!("    {what}: median {:.1} ms, most {:.1} ms", millis[RESTARTS / 2], millis[RESTARTS - 1]);
    }
    seen
}

/// Sends a request, and returns whether it is answered as it should.
fn answered(connection: &mut Connection) -> bool {
    connection.send(&form_request(&[("username", "user1@example.org"), ("password", "pw")]));
    connection.try_receive().is_ok_and(|reply| reply.is_some_and(|reply| reply.status == 200))
}

/// Asks on one connection after the other.
fn ask(address: SocketAddr, seen: &Seen, stop: &AtomicBool) {
    let mut open = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(stream) = TcpStream::connect(address) else {
            seen.refused.fetch_add(1, Ordering::Relaxed);
            seen.first_refused.lock().expect("a time").get_or_insert_with(Instant::now);
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut connection = Connection::on(stream);
        let counter = if answered(&mut connection) { &seen.answered } else { &seen.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        open.push_back(connection);
        if open.len() > OPEN {
            open.pop_front();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
