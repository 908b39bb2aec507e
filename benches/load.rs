//! The real server over loopback, with a real MariaDB or PostgreSQL, while the database changes. Every answer is
//! checked, so that torn and outdated answers are counted, and not only errors.
//!
//! `cargo bench --bench load -- WHAT`, where WHAT is
//! - `reloads` (the default): latency and correctness during continuous reloads, bursts of SIGHUP
//!   and 50 edits a second, compared with an idle database;
//! - `commit`: a million users, on MariaDB and on PostgreSQL; the time from a commit to the first
//!   answer that includes it, under load;
//! - `full`: a million users with three rules each; how long a full load from PostgreSQL takes,
//!   relative to one from MariaDB;
//! - `memory`: a million users; how long a full load takes, and how much memory it and a thousand
//!   reloads of ten thousand users take;
//! - `outage`: the database is down for a minute under load.
//!
//! Ratios within one run are meaningful, absolute times are not.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jitsiprovs::process::priority;
use support::client::{Connection, form_request};
use support::database::{Database, DbServer, Kind, Session};
use support::figures::median;
use support::mariadb::MariaDb;
use support::server::{Server, resident, run};
use support::{PATIENCE, texts, wait_for};

const CONNECTIONS: u32 = 32;
/// Requests a second in total. The server can answer many more, so that the measurement shows
/// waiting and not a queue for the processor.
const RATE: u32 = 2000;
/// The number of rules that contain the version. An answer with two versions is torn.
const LINES: u32 = 50;
const POLL: f64 = 0.2;

fn main() {
    let what = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    match what.as_deref() {
        None | Some("reloads") => reloads(),
        Some("commit") => commit(),
        Some("full") => full(),
        Some("memory") => memory(),
        Some("outage") => outage(),
        Some(other) => panic!("there is no `{other}`: reloads, commit, full, memory or outage"),
    }
}

/// Creates tables like the original's, with `users` users, `own` rules for each user, and [`LINES`]
/// rules for everyone that contain the version.
fn fill(host: &DbServer, users: u32, own: u32) -> Database<'_> {
    let database = host.database();
    // Inserted before the triggers exist, because each row would also add a line of change.
    database.script(host.kind.original());
    let (all, lines) = (host.kind.count_to(users), host.kind.count_to(LINES));
    database.script(&format!(
        "INSERT INTO user_auth (username, domain, password)
             SELECT concat('user', lpad(concat(seq), 7, '0')), 'example.org', md5('pw') FROM {all};
         INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
             SELECT 'default', 10, seq, concat('version.', seq), '1' FROM {lines}"
    ));
    for key in ["DISPLAY_NAME", "SERVER_ADDRESS", "VOICEMAIL_URI"].iter().take(own as usize) {
        database.script(&format!(
            "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
                 SELECT concat('user', lpad(concat(seq), 7, '0')), 1, 1,
                     'net.java.sip.communicator.impl.protocol.sip.accsip.{key}',
                     concat('{key} of user ', lpad(concat(seq), 7, '0')) FROM {all}"
        ));
    }
    let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    database
}

fn serve(database: &Database<'_>, more: &[&str]) -> Server {
    Server::start(&[&texts(&database.read()), more].concat())
}

/// The results of the clients.
#[derive(Default)]
struct Seen {
    /// Microseconds from the time when a request was due to its answer.
    micros: Vec<u64>,
    failed: u64,
    torn: u64,
    /// Answers older than an answer that some client got before the request.
    backwards: u64,
}

struct Clients {
    stop: Arc<AtomicBool>,
    newest: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<Seen>>,
}

impl Clients {
    fn on(address: SocketAddr) -> Clients {
        let (stop, newest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let begun = Instant::now() + Duration::from_millis(100);
        let client = |at| {
            let (stop, newest) = (stop.clone(), newest.clone());
            std::thread::spawn(move || {
                let begun = begun + Duration::from_secs(1) * at / RATE;
                client(address, begun, &stop, &newest)
            })
        };
        let threads = (0..CONNECTIONS).map(client).collect();
        Clients { stop, newest, threads }
    }

    /// Waits until any client has received this version.
    fn wait_for(&self, version: u64) {
        wait_for("the version to be served", || {
            (self.newest.load(Ordering::SeqCst) >= version).then_some(())
        });
    }

    fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let seen = thread.join().expect("no panic");
            all.micros.extend(seen.micros);
            all.failed += seen.failed;
            all.torn += seen.torn;
            all.backwards += seen.backwards;
        }
        all.micros.sort_unstable();
        all
    }
}

fn client(address: SocketAddr, begun: Instant, stop: &AtomicBool, newest: &AtomicU64) -> Seen {
    let request = form_request(&[("username", "user0000001@example.org"), ("password", "pw")]);
    let mut connection = Connection::open(address);
    let mut seen = Seen::default();
    let mut due = begun;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let before = newest.load(Ordering::SeqCst);
        connection.send(&request);
        let reply = connection.receive();
        seen.micros.push(due.elapsed().as_micros() as u64);
        due += Duration::from_secs(1) * CONNECTIONS / RATE;
        let Some(reply) = reply.filter(|reply| reply.status == 200) else {
            seen.failed += 1;
            connection = Connection::open(address);
            continue;
        };
        let versions: Vec<&str> = reply
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix("version.")?.split_once('='))
            .map(|(_, version)| version)
            .collect();
        if versions.len() != LINES as usize || versions.iter().any(|version| *version != versions[0]) {
            seen.torn += 1;
            continue;
        }
        let version = versions[0].parse().expect("a number");
        seen.backwards += u64::from(version < before);
        newest.fetch_max(version, Ordering::SeqCst);
    }
    seen
}

fn report(what: &str, seen: &Seen) -> u64 {
    let at = |share: f64| seen.micros[((seen.micros.len() - 1) as f64 * share) as usize];
    println!(
        "{what:40} {:7} answers  {} failed  {} torn  {} backwards  p50 {:5} µs  p99 {:5} µs  p99.9 {:6} µs  most {:6} µs",
        seen.micros.len(),
        seen.failed,
        seen.torn,
        seen.backwards,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    assert_eq!((seen.failed, seen.torn, seen.backwards), (0, 0, 0), "all answers must be right");
    at(0.99)
}

/// Counts loads by their lines in the log. Each line is read once.
struct Loads<'s> {
    server: &'s Server,
    read: usize,
    count: usize,
}

impl<'s> Loads<'s> {
    fn of(server: &'s Server) -> Self {
        Loads { server, read: server.log().len(), count: 0 }
    }

    fn wait_for_one(&mut self) {
        let before = self.count;
        wait_for("a load", || {
            let lines = self.server.log_from(self.read);
            self.read += lines.len();
            self.count += lines.iter().filter(|line| line.contains("cause=\"SIGHUP\"")).count();
            (self.count > before).then_some(())
        });
    }
}

/// Makes 200 loads. Every twentieth is requested by a burst of signals.
fn load_back_to_back(server: &Server) -> usize {
    let mut loads = Loads::of(server);
    let mut shell = Command::new("sh").stdin(Stdio::piped()).spawn().expect("sh");
    for at in 0..200 {
        for _ in 0..if at % 20 == 0 { 50 } else { 1 } {
            let mut input = shell.stdin.as_ref().expect("a pipe");
            writeln!(input, "kill -HUP {}", server.pid()).expect("it listens");
        }
        loads.wait_for_one();
    }
    drop(shell.stdin.take());
    let _ = shell.wait();
    loads.count
}

fn reloads() {
    let mariadb = MariaDb::start(&[]);
    // The database and its editors are usually on other machines.
    mariadb.step_back();
    let (edited, other) = (fill(&mariadb, 1000, 3), fill(&mariadb, 1000, 3));
    let poll = POLL.to_string();
    let server = serve(&edited, &["--poll-interval", &poll, "--reload-interval", "0"]);
    // It shares the machine with the server that reloads, but nothing else.
    let bystander = serve(&other, &["--poll-interval", "0", "--reload-interval", "0"]);

    println!("{CONNECTIONS} connections, {RATE} requests a second, 1,000 users with three rules each:");
    let (mut of_idle, mut of_bystander) = (Vec::new(), Vec::new());
    let mut version = 1;
    for _ in 0..5 {
        let clients = Clients::on(server.address);
        std::thread::sleep(Duration::from_secs(8));
        let idle = report("idle", &clients.end());

        let clients = Clients::on(bystander.address);
        let what = stir(&server, &edited, &mut version);
        let beside = report(&format!("bystander of {what}"), &clients.end());

        let clients = Clients::on(server.address);
        let what = stir(&server, &edited, &mut version);
        clients.wait_for(version);
        let busy = report(&what, &clients.end());
        of_idle.push(busy as f64 / idle as f64);
        of_bystander.push(busy as f64 / beside as f64);
    }
    for (what, ratios) in [("idle", of_idle), ("the bystander's", of_bystander)] {
        let median = median(ratios.iter().copied());
        println!("p99 under reloads: {median:.2} of {what} (median of {ratios:.2?})");
    }
}

/// Makes 200 loads without a pause, and 50 edits a second of all rules for everyone.
fn stir(server: &Server, database: &Database<'_>, version: &mut u64) -> String {
    let begun = Instant::now();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            priority::step_back();
            let count = std::panic::catch_unwind(|| load_back_to_back(server));
            done.store(true, Ordering::Relaxed);
            count.expect("no panic")
        });
        let editing = scope.spawn(|| {
            priority::step_back();
            let mut session = Session::open(database);
            let mut edits = 0;
            while !done.load(Ordering::Relaxed) || begun.elapsed() < Duration::from_secs(8) {
                edits += 1;
                *version += 1;
                session.execute(&format!(
                    "UPDATE jitsi_property SET property_value = '{version}' WHERE subject = 'default'"
                ));
                let next = begun + Duration::from_millis(20) * edits;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            f64::from(edits) / begun.elapsed().as_secs_f64()
        });
        let (loads, edits) = (loading.join().expect("no panic"), editing.join().expect("no panic"));
        format!("{loads} loads, {edits:.0} edits/s")
    })
}

fn commit() {
    for kind in Kind::ALL {
        commit_on(kind);
    }
}

/// Makes 200 edits under load, and measures how long it takes until each is served.
fn commit_on(kind: Kind) {
    let host = kind.start_large();
    let database = fill(&host, 1_000_000, 3);
    let server = serve(&database, &["--poll-interval", "1", "--reload-interval", "0"]);
    println!("{}", server.wait_for_log("snapshot in use"));
    if kind == Kind::Postgres {
        server.wait_for_log("the database reports changes as they are committed");
    }
    let clients = Clients::on(server.address);
    let mut session = Session::open(&database);
    let mut times = Vec::new();
    for at in 0..200 {
        let user = fastrand::u32(1..=1_000_000);
        let request =
            form_request(&[("username", &format!("user{user:07}@example.org")), ("password", "pw")]);
        let mut connection = Connection::open(server.address);
        // At a random time between two polls.
        std::thread::sleep(Duration::from_millis(fastrand::u64(..1000)));
        session.execute(&format!(
            "UPDATE jitsi_property SET property_value = 'edit {at}'
                 WHERE subject = 'user{user:07}' AND property_key LIKE '%DISPLAY_NAME'"
        ));
        let committed = Instant::now();
        while {
            connection.send(&request);
            !connection.receive().expect("an answer").text().contains(&format!("=edit {at}\n"))
        } {
            assert!(committed.elapsed() < PATIENCE, "the edit is not served");
            std::thread::sleep(Duration::from_millis(1));
        }
        times.push(committed.elapsed().as_micros() as f64 / 1000.0);
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{kind:?}, commit to served, poll interval 1 s, {} edits under load: least {:.1} ms, p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        times.len(),
        times[0],
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    report("meanwhile", &clients.end());
    let mut swaps = server.log().into_iter().filter(|line| line.contains("snapshot in use"));
    println!("{}", swaps.next_back().expect("a swap"));
}

/// Compares the first loads of servers that read the same rows from MariaDB and from PostgreSQL, in
/// turns.
fn full() {
    let hosts = Kind::ALL.map(Kind::start_large);
    let databases = hosts.each_ref().map(|host| fill(host, 1_000_000, 3));
    for database in &databases {
        // As the database does by itself some time after so many edits.
        database.server.script(
            &database.name,
            match database.kind() {
                Kind::MariaDb => "ANALYZE TABLE user_auth, jitsi_property",
                Kind::Postgres => "VACUUM ANALYZE",
            },
        );
    }
    let mut ratios = Vec::new();
    for round in 0..7 {
        let [mariadb, postgres] = databases.each_ref().map(|database| {
            let begun = Instant::now();
            let server = serve(database, &["--poll-interval", "0", "--reload-interval", "0"]);
            let line = server.wait_for_log("snapshot in use");
            let took = begun.elapsed().as_secs_f64();
            if round == 0 {
                println!("{:?}: {line}", database.kind());
            }
            took
        });
        println!("first load: MariaDB {mariadb:.2} s, PostgreSQL {postgres:.2} s");
        ratios.push(postgres / mariadb);
    }
    let median = median(ratios.iter().copied());
    println!("PostgreSQL takes {median:.2} of MariaDB's time (median of {ratios:.2?})");
}

fn memory() {
    let mariadb = MariaDb::start(&["--innodb-buffer-pool-size=1G".into()]);
    let empty = fill(&mariadb, 1, 0);
    let (none, _) = resident(serve(&empty, &[]).pid());
    let reload = |server: &Server| {
        let mut loads = Loads::of(server);
        server.signal("HUP");
        loads.wait_for_one();
    };

    let database = fill(&mariadb, 1_000_000, 3);
    let server = serve(&database, &["--reload-interval", "0"]);
    println!("{}", server.wait_for_log("snapshot in use"));
    let (steady, first_peak) = resident(server.pid());
    println!(
        "1,000,000 users with three rules each: {} bytes a user, at most {:.2} times that during the first load",
        (steady - none) / 1_000_000,
        first_peak as f64 / steady as f64
    );
    // From here on, the maximum is that of reloads.
    let _ = std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5");
    for _ in 0..3 {
        reload(&server);
    }
    let (after, peak) = resident(server.pid());
    println!("{}", server.log().last().expect("a line"));
    println!(
        "after three reloads without changes {:.3} of that, at most {:.2}",
        after as f64 / steady as f64,
        peak as f64 / steady as f64
    );
    // Changes every rule of every user.
    database.script("DROP TRIGGER jitsiprovs_rule_update");
    database.script(
        "UPDATE jitsi_property SET property_value = concat(property_value, '!') WHERE subject LIKE 'user%'",
    );
    let _ = std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5");
    reload(&server);
    let (_, peak) = resident(server.pid());
    std::thread::sleep(Duration::from_secs(3));
    let (after, _) = resident(server.pid());
    println!("{}", server.log().last().expect("a line"));
    println!(
        "after a reload that changes every rule {:.3} of that, at most {:.2}",
        after as f64 / steady as f64,
        peak as f64 / steady as f64
    );
    drop(server);

    let database = fill(&mariadb, 10_000, 3);
    let server = serve(&database, &["--reload-interval", "0"]);
    let mut ten = 0;
    for at in 1..=1000 {
        database.script(&format!(
            "UPDATE jitsi_property SET property_value = '{at}' WHERE subject = 'default' OR id % 100 = {}",
            at % 100
        ));
        reload(&server);
        if at == 10 {
            ten = resident(server.pid()).0;
        }
    }
    let (thousand, _) = resident(server.pid());
    println!(
        "10,000 users, 1,000 reloads with edits between: {:.3} of the memory after ten",
        thousand as f64 / ten as f64
    );
}

fn outage() {
    let mariadb = MariaDb::start(&["--innodb-flush-log-at-trx-commit=1".into()]);
    let database = fill(&mariadb, 100_000, 3);
    let server = serve(&database, &["--reload-interval", "0"]);
    let clients = Clients::on(server.address);
    std::thread::sleep(Duration::from_secs(3));
    // In the middle of a load.
    server.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    mariadb.kill();
    std::thread::sleep(Duration::from_secs(60));
    mariadb.restart();
    let back = Instant::now();
    database.script("UPDATE jitsi_property SET property_value = '2' WHERE subject = 'default'");
    clients.wait_for(2);
    println!("served {} ms after the database took connections again", back.elapsed().as_millis());
    report("down for 60 s, 100,000 users", &clients.end());
    for line in server.log().iter().filter(|line| !line.contains("serving")) {
        println!("  {line}");
    }
}
