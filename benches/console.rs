//! What operators and the record of fetches cost clients: the real server over loopback.
//!
//! `cargo bench --bench console -- WHAT`, where WHAT is
//! - `operators`: the 99th percentile of the time that clients wait, with a million users, in turns
//!   without and with ten operators who follow links and one search a second; and the memory of a
//!   server without and of one with a console, at the start, while operators use it, and after that;
//! - `fetches`: requests a second and processor time a request, in turns to a server that records
//!   fetches and two with `--no-fetches`, which show how much two equal servers differ.
//!
//! Clients and operators share the processors with the server, which people do not do. Ratios
//! within one run are meaningful, absolute times are not.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jitsiprovs::process::priority::take_short_turns;
use support::client::{Connection, form_request, request};
use support::figures::median;
use support::server::{Server, jitsiprovs, processor, resident, run_command, send_signal};
use support::sqlite::SqliteFile;
use support::{md5_hex, wait_for};

const DOMAIN: &str = "example.org";
const OPERATOR: &str = "ada";
const PASSWORD: &str = "operators-password";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    match args.first().map(String::as_str) {
        None | Some("operators") => operators(),
        Some("fetches") => fetches(),
        Some(other) => panic!("there is no `{other}`: operators or fetches"),
    }
}

fn users(count: u32) -> SqliteFile {
    let file = SqliteFile::seeded();
    let stored = md5_hex("right-pw");
    file.execute(&format!(
        "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < {count})
             INSERT INTO user_auth (domain, username, password)
             SELECT '{DOMAIN}', printf('user%06d', n), '{stored}' FROM number"
    ));
    file
}

fn sign_in(number: u32) -> Vec<u8> {
    let uuid = format!("1b671a64-40d5-491e-99b0-da01{number:08}");
    form_request(&[
        ("username", &format!("user{number:06}")),
        ("domain", DOMAIN),
        ("password", "right-pw"),
        ("osname", "Windows 10"),
        ("build", "2.11.5633"),
        ("uuid", &uuid),
    ])
}

// ---- Operators ----

const USERS: u32 = 1_000_000;
const OPERATORS: usize = 10;
const CLIENTS: usize = 4;
/// How many users sign in, fewer than there is room for in the table of fetches.
const FETCHED: u32 = 50_000;
/// Each client sends a request so often.
const PACE: Duration = Duration::from_millis(2);
const TURN: Duration = Duration::from_secs(5);
const ROUNDS: usize = 16;

fn operators() {
    let file = users(USERS);
    let plain = Server::on_sqlite(&file.path, &["--no-access-log"]);
    let accounts = accounts();
    let accounts = accounts.to_str().expect("UTF-8");
    let server =
        Server::on_sqlite(&file.path, &["--no-access-log", "--admin-port", "0", "--console-users", accounts]);
    let console = server.admin();
    std::thread::sleep(TURN);
    let servers = [&plain, &server];
    print_memory("at the start", servers.map(mebibytes));
    servers.into_iter().for_each(sign_all_in);
    let cookie = cookie(console);
    let mut rounds: Vec<[f64; 2]> = Vec::new();
    for round in 0..ROUNDS {
        let mut times = [0.0; 2];
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            times[at] = turn(&server, (at == 1).then_some((console, &*cookie)));
        }
        println!(
            "p99 without {:.0} µs, with operators {:.0} µs, ratio {:.3}",
            times[0],
            times[1],
            times[1] / times[0]
        );
        rounds.push(times);
    }
    println!("median ratio of p99: {:.3}", median(rounds.iter().map(|[without, with]| with / without)));
    std::thread::scope(|scope| {
        // Clients of both, because what they send takes memory until it is written.
        scope.spawn(|| turn(&plain, None));
        let busy = scope.spawn(|| turn(&server, Some((console, &*cookie))));
        watch_memory("while operators click", servers, || busy.is_finished());
    });
    // So long that both write their fetches to the database.
    let begun = Instant::now();
    watch_memory("after that", servers, || begun.elapsed() > 4 * TURN);
}

/// So that a server has the fetches of all of them in memory.
fn sign_all_in(server: &Server) {
    let mut connection = Connection::open(server.address);
    for user in 0..FETCHED {
        assert_eq!(connection.ask(&sign_in(user)).status, 200);
    }
}

/// Samples the memory until `is_over`, and prints its mean and its maximum.
fn watch_memory(when: &str, servers: [&Server; 2], is_over: impl Fn() -> bool) {
    let mut samples = [Vec::new(), Vec::new()];
    while !is_over() {
        samples.iter_mut().zip(servers).for_each(|(own, server)| own.push(mebibytes(server)));
        std::thread::sleep(Duration::from_millis(20));
    }
    print_memory(&format!("{when}, mean"), [0, 1].map(|at| mean(&samples[at])));
    print_memory(
        &format!("{when}, at most"),
        [0, 1].map(|at| samples[at].iter().copied().fold(0.0, f64::max)),
    );
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}

fn mebibytes(server: &Server) -> f64 {
    resident(server.pid()).0 as f64 / 1_048_576.0
}

fn print_memory(when: &str, [without, with]: [f64; 2]) {
    println!("memory {when}: without console {without:.1} MiB, with {with:.1} MiB");
}

/// The 99th percentile of the time that clients wait, in microseconds.
fn turn(server: &Server, operators: Option<(SocketAddr, &str)>) -> f64 {
    let (begun, over) = (Instant::now(), AtomicBool::new(false));
    let (times, clicks, slowest) = (Mutex::new(Vec::new()), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        if let Some((console, cookie)) = operators {
            let (over, clicks, slowest) = (&over, &clicks, &slowest);
            for operator in 0..OPERATORS {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(operator as u64 * 100));
                    while !over.load(Ordering::Relaxed) {
                        click(console, cookie, &path(clicks.fetch_add(1, Ordering::Relaxed)));
                        std::thread::sleep(Duration::from_secs(1));
                    }
                });
            }
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    click(console, cookie, &format!("/console/users?q=nobody{}", fastrand::u16(..)));
                    slowest.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
                }
            });
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    // In reality clients are on other machines, and wait for no operator's work.
                    take_short_turns();
                    let (mut own, mut connection) = (Vec::new(), Connection::open(server.address));
                    while begun.elapsed() < TURN {
                        let ask = sign_in(fastrand::u32(..FETCHED));
                        let sent = Instant::now();
                        assert_eq!(connection.ask(&ask).status, 200);
                        own.push(sent.elapsed());
                        std::thread::sleep(PACE);
                    }
                    times.lock().expect("times").extend(own);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("a client"));
        over.store(true, Ordering::Relaxed);
    });
    if operators.is_some() {
        println!("  {} clicks, slowest search {} ms", clicks.into_inner(), slowest.into_inner());
    }
    let mut times = times.into_inner().expect("times");
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64() * 1e6
}

/// Where the next click leads.
fn path(click: u64) -> String {
    match click % 6 {
        0 => "/console".into(),
        1 => "/console/tenants".into(),
        2 => format!("/console/users/{DOMAIN}/user{:06}", fastrand::u32(..USERS)),
        3 => "/console/rules".into(),
        4 => "/console/fetches".into(),
        _ => "/console/history".into(),
    }
}

fn click(console: SocketAddr, cookie: &str, path: &str) {
    let reply = Connection::open(console).ask(&request("GET", path, &[("cookie", cookie)], b""));
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
}

/// A file with one operator.
fn accounts() -> PathBuf {
    let path = std::env::temp_dir().join(format!("console-users-{}", std::process::id()));
    let command = format!(
        "printf '%s\\n' {PASSWORD} | \"$0\" operator add {OPERATOR} --role edit --password-stdin \
         --console-users {}",
        path.display()
    );
    let program = jitsiprovs(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &command]).arg(program.get_program()).env("JITSIPROVS_CONFIG", "");
    let done = run_command(shell);
    assert!(done.status.success(), "{done:?}");
    path
}

/// Signs in and returns the cookie.
fn cookie(console: SocketAddr) -> String {
    let form = format!("name={OPERATOR}&password={PASSWORD}");
    // The console accepts forms only from its own pages.
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "http://localhost")];
    let reply =
        Connection::open(console).ask(&request("POST", "/console/sign-in", &headers, form.as_bytes()));
    let cookie = reply.header("set-cookie").unwrap_or_else(|| panic!("{} {}", reply.status, reply.text()));
    cookie.split(';').next().expect("a cookie").to_owned()
}

// ---- Fetches ----

const AT_ONCE: u32 = 8;
/// How many users each client has. There are no others, so that loading them takes no time.
const OF_CLIENT: u32 = 2000;
const EVERYBODY: u32 = AT_ONCE * OF_CLIENT;
/// How often all servers are started, because how a server's memory lies changes its speed by some
/// percent.
const STARTS: usize = 8;
const FETCH_ROUNDS: usize = 4;
/// As often as fetches are written to a file. A server that was stopped does that as soon as it goes
/// on, so in shorter turns it would do it more often.
const FETCH_TURN: Duration = Duration::from_secs(5);

fn fetches() {
    let args = [&["--no-access-log"][..], &["--no-access-log", "--no-fetches"]];
    let asks: Vec<Vec<Vec<u8>>> = (0..AT_ONCE)
        .map(|client| (0..OF_CLIENT).map(|user| sign_in(user * AT_ONCE + client)).collect())
        .collect();
    let (mut rounds, mut spent) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        // Each has its file, because a server also reads what another one writes to it.
        let files = [(); 3].map(|()| users(EVERYBODY));
        let servers = [0, 1, 2].map(|at| Server::on_sqlite(&files[at].path, args[at.min(1)]));
        for server in &servers {
            flood(server, &asks);
        }
        wait_for("the fetches to be written", || {
            // Not all, because in a full set of the table the oldest makes room.
            let written = "SELECT count(*) || '' FROM jitsiprovs_fetch";
            (files[0].ask(written).parse::<u32>().ok()? >= EVERYBODY / 100 * 99).then_some(())
        });
        // A server that waits for its turn is stopped, so that what it does takes no time of another.
        servers.iter().for_each(|server| send_signal(server.pid(), "STOP"));
        let (mut answered, before) = ([0.0; 3], [0, 1, 2].map(|at| processor(servers[at].pid())));
        for _ in 0..FETCH_ROUNDS {
            let (mut rates, mut order) = ([0.0; 3], [0, 1, 2]);
            fastrand::shuffle(&mut order);
            for at in order {
                send_signal(servers[at].pid(), "CONT");
                let (count, seconds) = flood(&servers[at], &asks);
                send_signal(servers[at].pid(), "STOP");
                rates[at] = count / seconds;
                answered[at] += count;
            }
            let ratios = compared(rates);
            println!(
                "without fetches {:.0}/s and {:.0}/s, with fetches {:.0}/s, ratio {:.3}",
                rates[1], rates[2], rates[0], ratios[0]
            );
            rounds.push(ratios);
        }
        let of = |at: usize| (processor(servers[at].pid()) - before[at]) * 1e6 / answered[at];
        spent.push(compared([0, 1, 2].map(of)));
    }
    print_ratios("requests/s", &rounds);
    print_ratios("processor time a request, with what is written meanwhile", &spent);
}

/// The figure of the server with fetches, in relation to the two without, and of one of these in
/// relation to the other.
fn compared([with, without, again]: [f64; 3]) -> [f64; 2] {
    [with * 2.0 / (without + again), again / without]
}

fn print_ratios(what: &str, all: &[[f64; 2]]) {
    let [with, equal] = [0, 1].map(|at| median(all.iter().map(|ratios| ratios[at])));
    println!("median ratio of {what}: {with:.3}; of two equal servers {equal:.3}");
}

/// Sends requests for some seconds, by clients that keep their connections and send several
/// requests at a time. Their users come again and again, as people do. Returns how many were
/// answered, and in how many seconds.
fn flood(server: &Server, asks: &[Vec<Vec<u8>>]) -> (f64, f64) {
    let (begun, answered) = (Instant::now(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for own in asks {
            let answered = &answered;
            scope.spawn(move || {
                let mut connection = Connection::open(server.address);
                for some in own.chunks(16).cycle().take_while(|_| begun.elapsed() < FETCH_TURN) {
                    connection.send(&some.concat());
                    for _ in some {
                        assert_eq!(connection.receive().expect("an answer").status, 200);
                    }
                    answered.fetch_add(some.len() as u64, Ordering::Relaxed);
                }
            });
        }
    });
    (answered.into_inner() as f64, begun.elapsed().as_secs_f64())
}
