//! What attacks cost other clients, and which information they reveal: the real server over
//! loopback, with everything limited.
//!
//! `cargo bench --bench attacks -- WHAT`, where WHAT is
//! - `slow`: 1,000 connections of slowhttptest that send heads slowly, send bodies slowly, or read
//!   answers slowly. Honest clients must keep 0.9 of their throughput and lose no request;
//! - `idle`: 20,000 idle connections, or as many as the system lets two processes open. The same
//!   limits apply, and the memory for each connection is measured;
//! - `timing`: whether the time of a refusal distinguishes an unknown user from a wrong password,
//!   and whether the test would detect a difference;
//! - `signins`: 400 connections that request slow hashes all the time. First sign-ins of other
//!   users may take three times as long as without an attack, and none may fail;
//! - `throttle`: ten million attackers with an address each. Memory must not grow beyond the
//!   tables, and throttled clients must stay throttled.
//!
//! The attacker shares the processors with the server, which real attackers do not do. So it runs
//! at nice 19, and the measurement shows what the server suffers. Ratios within one run are
//! meaningful, absolute times are not.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jitsiprovs::process;
use jitsiprovs::serve::throttle::{Account, Attempted, Throttle, ThrottleSettings};
use support::client::{Connection, request};
use support::figures::median;
use support::server::{Server, resident};
use support::sqlite::SqliteFile;
use support::{md5_hex, wait_for};

mod signins;

fn main() {
    process::raise_descriptors();
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    match args.first().map(String::as_str) {
        None | Some("slow") => slow(),
        Some("idle") => idle(),
        Some("timing") => timing(),
        Some("signins") => signins::signins(),
        // The `signins` bench starts this as a process.
        Some("attacker") => signins::attacker(&args[1..]),
        Some("throttle") => throttle(),
        Some(other) => panic!("there is no `{other}`: slow, idle, timing, signins or throttle"),
    }
}

/// A sign-in with a form, as a proxy forwards it.
fn sign_in(address: IpAddr, user: &str, domain: &str, password: Option<&str>) -> Vec<u8> {
    let mut body = format!("username={user}&domain={domain}");
    if let Some(password) = password {
        body.push_str(&format!("&password={password}"));
    }
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("x-forwarded-for", &address.to_string())];
    request("POST", "/jitsiprovs/", &headers, body.as_bytes())
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DOMAIN: &str = "example.org";

/// Adds users `user000000` and so on, all with the same stored password.
fn users(file: &SqliteFile, count: u32, stored: &str) {
    file.execute(&format!(
        "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < {count})
             INSERT INTO user_auth (domain, username, password)
             SELECT '{DOMAIN}', printf('user%06d', n), '{stored}' FROM number"
    ));
}

fn user(number: u32) -> String {
    format!("user{number:06}")
}

// ---- Honest clients, and their throughput ----

/// Clients that keep their connection, and clients that open one for each request.
const KEEPING: usize = 8;
const OPENING: usize = 4;
/// The duration of each turn.
const TURN: Duration = Duration::from_secs(3);
const ROUNDS: usize = 7;

#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Requests a second.
    rate: f64,
    /// Microseconds of the server's processor time for each request.
    cost: f64,
    failed: u64,
}

/// Runs honest clients that send their next request as soon as they are answered.
fn turn(server: &Server) -> Turn {
    let ask = sign_in(HERE, &user(0), DOMAIN, Some("right-pw"));
    let (begun, spent) = (Instant::now(), processor_time(server));
    let answered = AtomicU64::new(0);
    // One address has 28,000 ports, and the system reuses a port only after a minute.
    let opened = AtomicU64::new(0);
    let open = || {
        let number = opened.fetch_add(1, Ordering::Relaxed) / 5000;
        let from = Ipv4Addr::new(127, 1 + fastrand::u8(..100), number as u8, 1 + fastrand::u8(..200));
        Connection::open_from(from, server.address)
    };
    let client = |keeps: bool| {
        let mut failed = 0;
        let mut connection = open();
        while begun.elapsed() < TURN {
            connection.send(&ask);
            let is_right = connection.receive().is_some_and(|reply| reply.status == 200);
            failed += u64::from(!is_right);
            answered.fetch_add(u64::from(is_right), Ordering::Relaxed);
            if !keeps || !is_right {
                connection = open();
            }
        }
        failed
    };
    let failed = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..KEEPING + OPENING).map(|at| scope.spawn(move || client(at < KEEPING))).collect();
        // A client that waits too long panics.
        threads.into_iter().map(|thread| thread.join().unwrap_or(1)).sum()
    });
    let answered = answered.into_inner() as f64;
    Turn {
        rate: answered / begun.elapsed().as_secs_f64(),
        cost: (processor_time(server) - spent).as_secs_f64() * 1e6 / answered,
        failed,
    }
}

/// The processor time of all threads together.
fn processor_time(server: &Server) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("Linux");
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// The number of sockets that the server has open: its own, and connections. Its own are counted
/// before the first client connects, because connections end a little later than their clients.
fn sockets(server: &Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("Linux").flatten();
    let is_socket = |path: std::path::PathBuf| path.to_string_lossy().starts_with("socket:");
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(is_socket)).count()
}

/// Prints and checks the results of pairs of turns, alone and under attack.
fn compare(what: &str, turns: &[(Turn, Turn)]) {
    let ratios: Vec<f64> = turns.iter().map(|(alone, attacked)| attacked.rate / alone.rate).collect();
    let failed: u64 = turns.iter().map(|(alone, attacked)| alone.failed + attacked.failed).sum();
    let ratio = median(ratios.iter().copied());
    println!(
        "{what}: throughput under attack {ratio:.3} of alone (median of {ratios:.2?}; alone {:.0} a second), \
         server's processor time a request {:.1} µs, alone {:.1} µs ({:.3}); {failed} failed",
        median(turns.iter().map(|(alone, _)| alone.rate)),
        median(turns.iter().map(|(_, attacked)| attacked.cost)),
        median(turns.iter().map(|(alone, _)| alone.cost)),
        median(turns.iter().map(|(alone, attacked)| attacked.cost / alone.cost)),
    );
    assert_eq!(failed, 0, "no request may fail");
    assert!(ratio >= 0.9, "honest clients must keep 0.9 of their throughput");
}

fn describe() {
    println!(
        "{KEEPING} clients that keep their connection and {OPENING} that open one a request, as fast as they \
         are answered, {} s alone and under attack by turns; the attacker runs at nice 19",
        TURN.as_secs()
    );
}

// ---- slow ----

struct Attack(Child);

impl Attack {
    /// Starts an attack, which ends by itself after 40 seconds.
    fn start(options: &[&str], url: &str) -> Attack {
        let child = Command::new("nice")
            .args(["-n", "19", "slowhttptest", "-c", "1000", "-r", "1000", "-l", "40", "-u", url])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Attack(child.expect("slowhttptest starts (apt-get install slowhttptest)"))
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn slow() {
    let file = SqliteFile::seeded();
    users(&file, 100, &md5_hex("right-pw"));
    // An answer that is too large for the buffers of the system.
    for number in 0..64 {
        file.rule(None, &user(1), 1, &format!("large.{number}"), &"x".repeat(2000));
    }
    let server = Server::on_sqlite(&file.path, &["--no-access-log", "--trusted-proxy", "127.0.0.0/8"]);
    let url = format!("http://{}/jitsiprovs/", server.address);
    let large = format!("{url}?username={}&domain={DOMAIN}&password=right-pw", user(1));
    let form = "application/x-www-form-urlencoded";
    let attacks: [(&str, &[&str], &str); 3] = [
        ("slow heads", &["-H", "-i", "1", "-x", "24"], &url),
        ("slow bodies", &["-B", "-i", "1", "-x", "24", "-s", "8192", "-f", form], &url),
        ("slow reading", &["-X", "-w", "8", "-y", "64", "-n", "1", "-z", "8"], &large),
    ];
    let quiet = sockets(&server);
    describe();
    turn(&server);
    for (what, options, url) in attacks {
        let mut turns = Vec::new();
        let mut held = Vec::new();
        for _ in 0..ROUNDS {
            wait_for("connections to end", || (sockets(&server) <= quiet + 10).then_some(()));
            let alone = turn(&server);
            let attack = Attack::start(options, url);
            wait_for("the attack", || (sockets(&server) >= quiet + 990).then_some(()));
            let attacked = turn(&server);
            held.push(sockets(&server) - quiet);
            drop(attack);
            turns.push((alone, attacked));
        }
        compare(what, &turns);
        println!("  connections of the attacker at the end of each turn: {held:?}");
    }
}

// ---- idle ----

const IDLE: usize = 20_000;
/// Descriptors of each process that are not idle connections.
const SPARE: usize = 200;

fn idle() {
    let file = SqliteFile::seeded();
    users(&file, 100, &md5_hex("right-pw"));
    let most = process::raise_descriptors() as usize;
    let count = IDLE.min(most.saturating_sub(SPARE));
    describe();
    if count < IDLE {
        println!("a process may open {most} files here, so there are {count} idle connections");
    }
    let ask = sign_in(HERE, &user(0), DOMAIN, Some("right-pw"));
    for (what, has_asked) in [("idle, never asked", false), ("idle after an answer", true)] {
        let options = ["--no-access-log", "--trusted-proxy", "127.0.0.0/8", "--idle-timeout", "600"];
        let server = Server::on_sqlite(&file.path, &options);
        let quiet = sockets(&server);
        turn(&server);
        let mut bytes = None;
        let mut turns = Vec::new();
        for _ in 0..ROUNDS {
            wait_for("connections to end", || (sockets(&server) <= quiet).then_some(()));
            let before = resident(server.pid()).0;
            let alone = turn(&server);
            let mut held = Vec::new();
            for number in 0..count {
                // One address has at most 28,000 ports.
                let from = Ipv4Addr::new(127, 0, 0, 2 + (number % 8) as u8);
                let mut connection = Connection::open_from(from, server.address);
                if has_asked {
                    connection.send(&ask);
                    assert_eq!(connection.receive().expect("an answer").status, 200);
                }
                held.push(connection);
            }
            wait_for("the last connections", || (sockets(&server) >= quiet + count).then_some(()));
            // Later rounds reuse memory from the first one.
            bytes.get_or_insert((resident(server.pid()).0 - before) / count as u64);
            let attacked = turn(&server);
            assert!(sockets(&server) >= quiet + count, "all connections are still open");
            turns.push((alone, attacked));
        }
        compare(&format!("{count} connections {what}"), &turns);
        println!("  {} bytes of the server's memory for each", bytes.expect("a round"));
    }
}

// ---- timing ----

/// The measured requests of each kind, and the requests before them that are not measured.
const SAMPLES: usize = 10_000;
const WARM: usize = 500;
/// A difference counts if its probability by chance is below this in either test, in two runs.
const CHANCE: f64 = 0.001;

/// The kinds of requests. Each has its own names, so that no kind warms the caches for another.
const KINDS: [&str; 10] = [
    "wrong password",
    "unknown user",
    "unknown tenant",
    "wrong password of a user who signed in before",
    "no password",
    "no password of an unknown user",
    "right password",
    "the same wrong password again",
    "the same wrong password again of an unknown user",
    "the same wrong password again of a user who signed in before",
];
/// Beginning with this kind, each of a few names has one address and one password.
const REPEATED: usize = 7;
const REPEATED_NAMES: u32 = 100;
/// Pairs of kinds, and whether they must differ. One pair must differ, to show that the test
/// detects differences.
const PAIRS: [(usize, usize, bool); 7] =
    [(0, 1, false), (0, 2, false), (0, 3, false), (4, 5, false), (7, 8, false), (7, 9, false), (0, 6, true)];

fn timing() {
    for (form, stored) in [("md5", md5_hex("right-pw")), ("argon2id", argon2id("right-pw"))] {
        for limit in ["0", "10"] {
            let file = SqliteFile::seeded();
            users(&file, 100_000, &stored);
            let options = ["--trusted-proxy", "127.0.0.1", "--auth-fail-limit", limit];
            let server = Server::on_sqlite(&file.path, &options);
            println!("{form}, --auth-fail-limit {limit}, {SAMPLES} requests of each kind in random order:");
            // Without a limit, one attacker uses few names again and again; with a limit, each
            // request comes from another attacker and uses another name.
            let names = if limit == "0" { 100 } else { 10_000 };
            let found = look(&server, names);
            if !found.is_empty() {
                println!("again, because the difference may be chance:");
                let again = look(&server, names);
                let both = found.iter().filter(|pair| again.contains(pair)).count();
                assert_eq!(both, 0, "refusals can be told apart by the time they take");
            }
        }
    }
}

fn argon2id(password: &str) -> String {
    use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
    let params = argon2::Params::new(1024, 1, 1, None).expect("parameters");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let (salt, mut hash) = (b"sixteen of salt!", [0; 32]);
    argon2.hash_password_into(password.as_bytes(), salt, &mut hash).expect("a hash");
    let text = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
    format!("$argon2id$v=19$m=1024,t=1,p=1${}${}", text(salt), text(&hash))
}

/// The pairs that differ although they must not.
fn look(server: &Server, names: u32) -> Vec<(usize, usize)> {
    let mut connections: Vec<Connection> = (0..4).map(|_| Connection::open(server.address)).collect();
    // Signs in the users who must have signed in before.
    for number in 0..names {
        for kind in [3, 6, 9] {
            let right = sign_in(HERE, &user(kind * 10_000 + number), DOMAIN, Some("right-pw"));
            connections[0].send(&right);
            assert_eq!(connections[0].receive().expect("an answer").status, 200);
        }
    }
    let mut order: Vec<usize> =
        (0..KINDS.len()).flat_map(|kind| std::iter::repeat_n(kind, SAMPLES)).collect();
    fastrand::shuffle(&mut order);
    let mut warm: Vec<usize> = (0..WARM * KINDS.len()).map(|at| at % KINDS.len()).collect();
    fastrand::shuffle(&mut warm);

    let mut times = vec![Vec::with_capacity(SAMPLES); KINDS.len()];
    let mut asked = [0; KINDS.len()];
    for (number, kind) in warm.iter().chain(&order).copied().enumerate() {
        // All requests have the same length, and so have their answers.
        let digits = [number / 10_000, number / 100 % 100, number % 100].map(|part| 100 + part as u8);
        let (mut at, mut address) = (asked[kind] % names, [10, digits[0], digits[1], digits[2]]);
        if kind >= REPEATED {
            at %= REPEATED_NAMES;
            address = [11, 100, 100 + kind as u8, 100 + at as u8];
        }
        let address = Ipv4Addr::from(address).into();
        let name = user(kind as u32 * 10_000 + at);
        let name = if matches!(kind, 1 | 5 | 8) { name.replace("user", "nobo") } else { name };
        asked[kind] += 1;
        let domain = if kind == 2 { "example.net" } else { DOMAIN };
        let wrong = format!("{:08}", fastrand::u32(..100_000_000));
        let password = match kind {
            4 | 5 => None,
            6 => Some("right-pw"),
            REPEATED.. => Some("00000000"),
            _ => Some(&wrong[..]),
        };
        let ask = sign_in(address, &name, domain, password);
        let connection = &mut connections[number % 4];
        let begun = Instant::now();
        connection.send(&ask);
        let reply = connection.receive().expect("an answer");
        let taken = begun.elapsed();
        assert_eq!(reply.status, if kind == 6 { 200 } else { 401 }, "{}", KINDS[kind]);
        if number >= warm.len() {
            times[kind].push(taken.as_nanos() as f64);
        }
        if number % 1000 == 0 {
            server.forget_log();
        }
    }

    for (kind, times) in KINDS.iter().zip(&times) {
        let (mean, _) = moments(times);
        println!(
            "  {kind:60} mean {:8.2} µs  median {:8.2} µs",
            mean / 1e3,
            median(times.iter().copied()) / 1e3
        );
    }
    let mut found = Vec::new();
    for (one, other, must_differ) in PAIRS {
        let logs = |kind: usize| times[kind].iter().map(|time| time.ln()).collect::<Vec<_>>();
        let (difference, error) = welch(&logs(one), &logs(other));
        let (by_means, by_ranks) = (p(difference / error), p(mann_whitney(&times[one], &times[other])));
        let differ = by_means < CHANCE || by_ranks < CHANCE;
        println!(
            "  {} against {}: {:+.3} %, Welch p = {by_means:.2e}, Mann-Whitney p = {by_ranks:.2e}: {}; \
             a difference of {:.2} % would show",
            KINDS[one],
            KINDS[other],
            difference * 100.0,
            if differ { "differ" } else { "alike" },
            // The difference that is detected in four of five cases.
            (3.29 + 0.84) * error * 100.0
        );
        if must_differ {
            assert!(differ, "the test must detect this difference");
        } else if differ {
            found.push((one, other));
        }
    }
    found
}

/// Mean and variance.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0))
}

/// The difference of the means, second minus first, and its standard error.
fn welch(one: &[f64], other: &[f64]) -> (f64, f64) {
    let ((mean, variance), (other_mean, other_variance)) = (moments(one), moments(other));
    let error = (variance / one.len() as f64 + other_variance / other.len() as f64).sqrt();
    (other_mean - mean, error)
}

/// Mann-Whitney's U as a standard normal deviate; with this many values the normal distribution is
/// a good approximation.
fn mann_whitney(one: &[f64], other: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = one.iter().map(|&value| (value, true)).collect();
    all.extend(other.iter().map(|&value| (value, false)));
    all.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    let (mut ranks, mut ties, mut at) = (0.0, 0.0, 0);
    for same in all.chunk_by(|one, other| one.0 == other.0) {
        let size = same.len() as f64;
        // Equal values share the mean of their ranks.
        let rank = at as f64 + (size + 1.0) / 2.0;
        ranks += rank * same.iter().filter(|(_, is_one)| *is_one).count() as f64;
        ties += size.powi(3) - size;
        at += same.len();
    }
    let (n, m, total) = (one.len() as f64, other.len() as f64, all.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    let variance = n * m / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)));
    (u - n * m / 2.0) / variance.sqrt()
}

/// The two-sided probability of such a deviation by chance. (With 10,000 values each, Student's
/// distribution is nearly normal.) The complementary error function is the one of Numerical
/// Recipes, accurate to 7 digits.
fn p(deviation: f64) -> f64 {
    let z = deviation.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let terms = [
        -1.26551223,
        1.00002368,
        0.37409196,
        0.09678418,
        -0.18628806,
        0.27886807,
        -1.13520398,
        1.48851587,
        -0.82215223,
        0.17087277,
    ];
    t * (terms.iter().rev().fold(0.0, |sum, term| sum * t + term) - z * z).exp()
}

// ---- throttle ----

const ATTACKERS: u64 = 10_000_000;
/// The longest time that the attack over the wire may take, also on a busy machine. It is less than
/// the window, so that no failure is forgotten.
const MOST: Duration = Duration::from_secs(600);
/// Requests that a connection sends before it reads answers.
const AHEAD: u64 = 64;

/// A different address for each number below 2^24.
fn attacker(number: u64) -> IpAddr {
    let [.., a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(10, a, b, c).into()
}

fn throttle() {
    let bytes = throttle_alone();
    let file = SqliteFile::seeded();
    users(&file, 100_000, &md5_hex("right-pw"));
    let options = ["--no-access-log", "--trusted-proxy", "127.0.0.1", "--auth-fail-window", "900"];
    let server = Server::on_sqlite(&file.path, &options);
    let victim: IpAddr = "192.0.2.1".parse().expect("an address");
    let status = |connection: &mut Connection, from: IpAddr, number: u32, password: &str| {
        connection.send(&sign_in(from, &user(number), DOMAIN, Some(password)));
        connection.receive().expect("an answer").status
    };
    let mut connections: Vec<Connection> = (0..4).map(|_| Connection::open(server.address)).collect();
    // Makes each connection and each buffer reach its full size.
    for connection in &mut connections {
        let right = sign_in(victim, &user(1), DOMAIN, Some("right-pw"));
        for _ in 0..20 {
            connection.send(&right.repeat(AHEAD as usize));
            (0..AHEAD).for_each(|_| assert_eq!(connection.receive().expect("an answer").status, 200));
        }
    }
    for guess in 0..10 {
        assert_eq!(status(&mut connections[0], victim, 0, &format!("guess{guess}")), 401);
    }
    assert_eq!(status(&mut connections[0], victim, 0, "right-pw"), 429, "throttled now");

    let before = resident(server.pid()).0;
    let (next, refused, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                server.forget_log();
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let attack = |connection: &mut Connection| {
            while begun.elapsed() < MOST {
                let first = next.fetch_add(AHEAD, Ordering::Relaxed);
                if first >= ATTACKERS {
                    break;
                }
                let ask = |number: u64| {
                    // The password is unique to this attacker, and the user is none of the two
                    // above.
                    let name = user(2 + (number % 99_998) as u32);
                    sign_in(attacker(number), &name, DOMAIN, Some(&format!("guess{number}")))
                };
                connection.send(&(first..first + AHEAD).flat_map(ask).collect::<Vec<u8>>());
                for _ in 0..AHEAD {
                    match connection.receive().expect("an answer").status {
                        401 => {}
                        429 => _ = refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}"),
                    }
                }
            }
        };
        let threads: Vec<_> =
            connections.iter_mut().map(|connection| scope.spawn(move || attack(connection))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        done.store(true, Ordering::Relaxed);
    });
    let attackers = next.into_inner().min(ATTACKERS);
    let grown = resident(server.pid()).0.saturating_sub(before);
    println!(
        "over the wire {attackers} attackers in {:.0} s, {} of them refused: resident memory {:.1} MiB before, \
         {:.2} MiB more after, of which the tables may be {:.2} MiB",
        begun.elapsed().as_secs_f64(),
        refused.into_inner(),
        mib(before),
        mib(grown),
        mib(bytes)
    );
    let throttled = status(&mut connections[0], victim, 0, "right-pw");
    let elsewhere = status(&mut connections[0], "192.0.2.2".parse().expect("an address"), 0, "right-pw");
    let other = status(&mut connections[0], victim, 1, "right-pw");
    println!(
        "  who was throttled before gets {throttled}, the same account from elsewhere {elsewhere}, \
         another account from there {other}"
    );
    assert_eq!([throttled, elsewhere, other], [429, 200, 200]);
    assert!(grown <= bytes + (1 << 20), "within the tables, and a little for the allocator");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A sign-in as the throttle sees it.
fn attempted(address: IpAddr, username: &[u8]) -> Attempted<'_> {
    let account = Account { domain: b"example.org", username, stamp: 0 };
    Attempted { address, is_forwarded: false, account }
}

/// Measures the throttle alone; returns its memory in bytes.
fn throttle_alone() -> u64 {
    let settings = ThrottleSettings { limit: 10, window: Duration::from_secs(3600) };
    let now = Instant::now();
    let throttle = Throttle::new(settings, now);
    let victim: IpAddr = "192.0.2.1".parse().expect("an address");
    for guess in 0..10_u8 {
        throttle.fail(&attempted(victim, b"alice"), &[guess], now);
    }
    let is_throttled =
        |from: IpAddr, name: &str| throttle.check(&attempted(from, name.as_bytes()), now).is_err();
    assert!(is_throttled(victim, "alice"), "throttled now");
    let own = std::process::id();
    let before = resident(own).0;
    for (what, guesses) in [("fail once", 1), ("go on until they are throttled", 10)] {
        let begun = Instant::now();
        let refused = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for part in 0..2 {
                let (throttle, refused) = (&throttle, &refused);
                scope.spawn(move || {
                    for number in (part..ATTACKERS).step_by(2) {
                        let (from, name) = (attacker(number), (number % 1_000_000).to_le_bytes());
                        for guess in 0..guesses as u8 {
                            let attempted = attempted(from, &name);
                            if throttle.check(&attempted, now).is_err() {
                                refused.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                            throttle.fail(&attempted, &[guess], now);
                        }
                    }
                });
            }
        });
        let innocents = (0..1_000_000)
            .filter(|number| is_throttled(attacker(ATTACKERS + number), &format!("innocent{number}")))
            .count();
        let grown = resident(own).0.saturating_sub(before);
        println!(
            "{ATTACKERS} attackers who {what}, without the wire: {:.0} ns each, {} of them refused before that, \
             {:.2} MiB more (the tables have {:.2} MiB), {innocents} of 1,000,000 innocents refused",
            begun.elapsed().as_nanos() as f64 / ATTACKERS as f64,
            refused.into_inner(),
            mib(grown),
            mib(throttle.heap_bytes() as u64)
        );
        assert!(is_throttled(victim, "alice"), "still");
        assert!(innocents <= 100, "about one in 131,072 for each of three tables");
    }
    throttle.heap_bytes() as u64
}
