//! Requests that arrive at fixed times, whatever the server does, while the server loads all rows
//! back to back. The latency of a request counts from the time when it was due, so a server that
//! stops for a moment is charged for all requests that were due then.
//!
//! `cargo bench --bench arrivals -- WHAT`, where WHAT is
//! - `reloads` (the default): 10,000 users with three rules each, on MariaDB and on SQLite;
//! - `million`: 1,000,000 users with three rules each, on MariaDB;
//! - `mass`: 300,000 of 3,000,000 rules are changed by one statement.
//!
//! The clients run at real-time priority, because they would measure their own waiting otherwise.
//! That needs root, or a limit of real-time priority (`ulimit -r`) of 10.
//!
//! Ratios within one run are meaningful, absolute times are not.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::client::{Connection, form_request, request};
use support::figures::median_and_range;
use support::mariadb::{Database, MariaDb};
use support::server::{Server, processor, resident, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts};

const CONNECTIONS: u32 = 32;
const ROUNDS: usize = 7;
/// How long each part of a round takes.
const PART: Duration = Duration::from_secs(6);
/// The priority of the clients among real-time threads.
const REAL_TIME: i32 = 10;

fn main() {
    let what = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    match what.as_deref() {
        None | Some("reloads") => reloads(),
        Some("million") => million(),
        Some("mass") => mass(),
        Some(other) => panic!("there is no `{other}`: reloads, million or mass"),
    }
}

fn reloads() {
    {
        let mariadb = MariaDb::start(&[]);
        let database = filled(&mariadb, 10_000);
        let served = Served::new("MariaDB", &database.read(), 10_000, Some(mariadb.pid()));
        served.compare(ROUNDS);
    }
    let file = SqliteFile::empty();
    file.execute(
        "CREATE TEMP TABLE numbers AS
             WITH RECURSIVE s(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < 10000)
             SELECT seq FROM s",
    );
    rows("numbers", "sqlite", |sql| file.execute(sql));
    let path = file.path.to_str().expect("UTF-8").to_owned();
    Served::new("SQLite", &["--db-path".into(), path], 10_000, None).compare(ROUNDS);
}

fn million() {
    let mariadb = MariaDb::start(&["--innodb-buffer-pool-size=2G".into()]);
    let database = filled(&mariadb, 1_000_000);
    Served::new("MariaDB, a million users", &database.read(), 1_000_000, Some(mariadb.pid())).compare(3);
}

/// A database with `users` users.
fn filled(mariadb: &MariaDb, users: u32) -> Database<'_> {
    let database = mariadb.database();
    // Inserted before the triggers exist, because each row would also add a line of change.
    database.script(include_str!("../sql/mysql/001_original.sql"));
    rows(&format!("seq_1_to_{users}"), "concat", |sql| drop(database.script(sql)));
    let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    database
}

/// Adds users with three rules each, numbered by the column `seq` of `numbers`.
fn rows(numbers: &str, dialect: &str, execute: impl Fn(&str)) {
    let digest = md5_hex("pw");
    let (padded, value) = match dialect {
        "sqlite" => ("'user' || printf('%07d', seq)", "KEY || seq"),
        _ => ("concat('user', lpad(seq, 7, '0'))", "concat(KEY, seq)"),
    };
    execute(&format!(
        "INSERT INTO user_auth (username, domain, password)
             SELECT {padded}, 'example.org', '{digest}' FROM {numbers};
         INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
             VALUES ('default', 10, 1, 'version', '1')"
    ));
    for key in ["DISPLAY_NAME", "SERVER_ADDRESS", "VOICEMAIL_URI"] {
        let value = value.replace("KEY", &format!("'{key} of user '"));
        execute(&format!(
            "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
                 SELECT {padded}, 1, 1, 'net.java.sip.communicator.impl.protocol.sip.acc.{key}', {value}
                 FROM {numbers}"
        ));
    }
}

/// A server and its database.
struct Served {
    name: &'static str,
    server: Server,
    admin: SocketAddr,
    users: u32,
    database: Option<u32>,
}

/// What one part of a round has measured.
#[derive(Debug, Clone, Copy)]
struct Part {
    p50: u64,
    p99: u64,
    p999: u64,
    failed: u64,
    loads: f64,
}

impl Served {
    fn new(name: &'static str, args: &[String], users: u32, database: Option<u32>) -> Served {
        let own = ["--no-access-log", "--reload-interval", "0", "--admin-port", "0"];
        let server = Server::start(&[&texts(args)[..], &own].concat());
        let admin = server.admin();
        Served { name, server, admin, users, database }
    }

    /// How many loads were made.
    fn loads(&self) -> f64 {
        let reply = Connection::open(self.admin).ask(&request("GET", "/metrics", &[], b""));
        let lines = reply.text().lines().filter(|line| line.starts_with("jitsiprovs_reloads_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Processor time of the server and of its database, in seconds.
    fn time(&self) -> [f64; 2] {
        [processor(self.server.pid()), self.database.map_or(0.0, processor)]
    }

    /// Asks for loads without a pause until `stop`.
    fn keep_loading(&self, stop: &AtomicBool) {
        let pid = Pid::from_raw(self.server.pid() as i32).expect("a process");
        while !stop.load(Ordering::Relaxed) {
            kill_process(pid, Signal::HUP).expect("it runs");
            // A signal during a load asks for the next one.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs `clients` with loads or without, and returns their result and the loads a second.
    fn during_loads<T>(&self, loads: bool, clients: impl FnOnce() -> T) -> (T, f64) {
        let (before, begun, stop) = (self.loads(), Instant::now(), AtomicBool::new(false));
        let result = std::thread::scope(|scope| {
            if loads {
                scope.spawn(|| self.keep_loading(&stop));
            }
            let result = clients();
            stop.store(true, Ordering::Relaxed);
            result
        });
        (result, (self.loads() - before) / begun.elapsed().as_secs_f64())
    }

    fn arrivals(&self, rate: u32, loads: bool) -> Part {
        let ((mut micros, failed), loads) =
            self.during_loads(loads, || arrivals(self.server.address, self.users, rate, PART));
        micros.sort_unstable();
        let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
        Part { p50: at(0.5), p99: at(0.99), p999: at(0.999), failed, loads }
    }

    /// Requests a second of clients that do not pause.
    fn throughput(&self, loads: bool) -> (f64, f64) {
        self.during_loads(loads, || closed_loop(self.server.address, self.users, PART))
    }

    fn compare(&self, rounds: usize) {
        let (capacity, _) = self.throughput(false);
        println!("{}: {capacity:.0} requests/s at most", self.name);
        for rate in [2000, capacity as u32 / 3] {
            let (mut p99, mut p999) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let (idle, busy) = (self.arrivals(rate, false), self.arrivals(rate, true));
                println!(
                    "  {rate:5}/s  p50 {:4} {:4}  p99 {:5} {:5}  p99.9 {:5} {:5} µs  {} {} failed  {:.1} loads/s",
                    idle.p50,
                    busy.p50,
                    idle.p99,
                    busy.p99,
                    idle.p999,
                    busy.p999,
                    idle.failed,
                    busy.failed,
                    busy.loads,
                );
                assert_eq!(idle.failed + busy.failed, 0, "all requests must be answered");
                p99.push(busy.p99 as f64 / idle.p99 as f64);
                p999.push(busy.p999 as f64 / idle.p999 as f64);
            }
            println!(
                "{}, {rate}/s: p99 under loads {} of idle, p99.9 {}",
                self.name,
                median_and_range(p99),
                median_and_range(p999)
            );
        }
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let ((idle, _), (busy, loads)) = (self.throughput(false), self.throughput(true));
            ratios.push(busy / idle);
            rates.push(loads);
        }
        println!(
            "{}: requests/s under loads {} of idle, {} loads/s",
            self.name,
            median_and_range(ratios),
            median_and_range(rates)
        );
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (time, loads) = (self.time(), self.loads());
            self.during_loads(true, || std::thread::sleep(PART / 2));
            let (after, loads) = (self.time(), self.loads() - loads);
            own.push((after[0] - time[0]) * 1000.0 / loads);
            others.push((after[1] - time[1]) * 1000.0 / loads);
        }
        println!(
            "{}: a load takes {} ms of the server, {} ms of the database",
            self.name,
            median_and_range(own),
            median_and_range(others)
        );
    }
}

/// Sends `rate` requests a second, and returns the microseconds from the time when each was due to
/// its answer, and how many failed.
fn arrivals(address: SocketAddr, users: u32, rate: u32, time: Duration) -> (Vec<u64>, u64) {
    let begin = Instant::now() + Duration::from_millis(100);
    let client = |number: u32| {
        let mut connection = Connection::open(address);
        be_real_time();
        let (mut micros, mut failed) = (Vec::new(), 0);
        let mut due = begin + Duration::from_secs(1) * number / rate;
        for at in 0.. {
            if due > begin + time {
                break;
            }
            let request = of_user(number * 7919 + at * 104_729, users);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.send(&request);
            match connection.receive().filter(|reply| reply.status == 200) {
                Some(_) => micros.push(due.elapsed().as_micros() as u64),
                None => {
                    failed += 1;
                    connection = Connection::open(address);
                }
            }
            due += Duration::from_secs(1) * CONNECTIONS / rate;
        }
        (micros, failed)
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).fold(
            (Vec::new(), 0),
            |mut all, seen| {
                all.0.extend(seen.0);
                (all.0, all.1 + seen.1)
            },
        )
    })
}

/// Sends requests without a pause, and returns how many were answered a second.
fn closed_loop(address: SocketAddr, users: u32, time: Duration) -> f64 {
    let answered = AtomicU32::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let answered = &answered;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                let mut at = number * 7919;
                while begun.elapsed() < time {
                    at = at.wrapping_add(104_729);
                    assert_eq!(connection.ask(&of_user(at, users)).status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    f64::from(answered.into_inner()) / begun.elapsed().as_secs_f64()
}

fn of_user(number: u32, users: u32) -> Vec<u8> {
    let name = format!("user{:07}@example.org", number % users + 1);
    form_request(&[("username", &name), ("password", "pw")])
}

/// Lets this thread run whenever it can.
fn be_real_time() {
    let param = uapi::c::sched_param { sched_priority: REAL_TIME };
    uapi::sched_setscheduler(0, uapi::c::SCHED_FIFO, &param)
        .expect("real-time priority: run this as root, or with `ulimit -r 10`");
}

/// Changes every tenth of three million rules by one statement under load.
fn mass() {
    let mariadb = MariaDb::start(&["--innodb-buffer-pool-size=2G".into()]);
    let database = filled(&mariadb, 1_000_000);
    let served = Served::new("MariaDB, a million users", &database.read(), 1_000_000, Some(mariadb.pid()));
    for round in 1..=3 {
        let idle = served.arrivals(2000, false);
        let _ = std::fs::write(format!("/proc/{}/clear_refs", served.server.pid()), "5");
        let (steady, _) = resident(served.server.pid());
        let stop = AtomicBool::new(false);
        let (mut micros, took) = std::thread::scope(|scope| {
            let clients = scope.spawn(|| {
                let (mut all, mut failed) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let (micros, more) =
                        arrivals(served.server.address, 1_000_000, 2000, Duration::from_secs(1));
                    all.extend(micros);
                    failed += more;
                }
                assert_eq!(failed, 0, "all requests must be answered");
                all
            });
            database.script(&format!(
                "UPDATE jitsi_property SET property_value = concat('round {round} ', id)
                     WHERE id % 10 = {round}"
            ));
            let begun = Instant::now();
            let last = database.script(&format!(
                "SELECT concat(subject, ' ', property_value) FROM jitsi_property
                     WHERE id % 10 = {round} AND subject LIKE 'user%' ORDER BY id DESC LIMIT 1"
            ));
            let (user, value) = last.trim().split_once(' ').expect("a rule");
            let ask = form_request(&[("username", &format!("{user}@example.org")), ("password", "pw")]);
            let mut connection = Connection::open(served.server.address);
            while !connection.ask(&ask).text().contains(value) {
                assert!(begun.elapsed() < Duration::from_secs(300), "the change is not served");
                std::thread::sleep(Duration::from_millis(20));
            }
            let took = begun.elapsed();
            stop.store(true, Ordering::Relaxed);
            (clients.join().expect("no panic"), took)
        });
        micros.sort_unstable();
        let p99 = micros[(micros.len() - 1) * 99 / 100];
        let (_, peak) = resident(served.server.pid());
        println!(
            "300,000 of 3,000,000 rules changed: served after {:.1} s, p99 {p99} µs, {:.2} of idle, peak memory {:.2} of before",
            took.as_secs_f64(),
            p99 as f64 / idle.p99 as f64,
            peak as f64 / steady as f64
        );
    }
}
