//! Three nodes behind nginx, on a MariaDB and its replica: what happens when nodes are restarted,
//! fail or receive edits, and what an additional node contributes. The scenarios are those of
//! `tests/cluster.rs`, but run longer.
//!
//! `cargo bench --bench nodes -- WHAT`, where WHAT is
//! - `restart` (the default): rolling restarts under load;
//! - `faults`: nodes that are killed, stopped or cut from the database, under load;
//! - `edits`: 200 edits on the primary; when each node serves them, and how far the replica is
//!   behind;
//! - `throughput`: one, two and three nodes with one worker each, and what a request costs nodes
//!   and nginx.
//!
//! Failures are counted and printed, but not asserted.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::client::{Connection, form_request};
use support::cluster::{Cluster, Node, Pair};
use support::figures::median;
use support::load::{Load, Seen, sign_in};
use support::mariadb::{Database, Session};
use support::proxy::Proxy;
use support::server::{jitsiprovs, processor};
use support::wait_for;

const USERS: u32 = 10_000;
/// The number of rules for everyone: an answer has about 4 KB.
const LINES: u32 = 60;

fn main() {
    let what = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let pair = Pair::start();
    let setting = Setting::new(&pair);
    match what.as_deref() {
        None | Some("restart") => restart(&setting),
        Some("faults") => faults(&setting),
        Some("edits") => edits(&setting),
        Some("throughput") => throughput(&setting),
        Some(other) => panic!("there is no `{other}`: restart, faults, edits or throughput"),
    }
}

/// The databases, and the options of the three nodes.
struct Setting<'p> {
    primary: Database<'p>,
    replica: Database<'p>,
    /// The proxy between the second node and the primary.
    proxy: Proxy,
    nodes: [Vec<String>; 3],
}

impl<'p> Setting<'p> {
    fn new(pair: &'p Pair) -> Self {
        let (primary, replica) = pair.database();
        primary.script(&format!(
            "INSERT INTO user_auth (username, domain, password)
                 SELECT concat('user', seq), 'example.org', md5('pw') FROM seq_1_to_{USERS};
             INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
                 SELECT concat('user', seq), 1, 1, 'edited', '0' FROM seq_1_to_{USERS};
             INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
                 SELECT 'default', 10, seq, concat('net.java.sip.communicator.version.', seq), rpad('', 24, 'x')
                 FROM seq_1_to_{LINES}"
        ));
        pair.wait_replicated();
        let proxy = Proxy::to(primary.server.port);
        let nodes = [primary.read(), proxy.options(&primary), replica.read()].map(|mut options| {
            options.extend(
                ["--poll-interval", "1", "--reload-interval", "0", "--no-access-log"].map(str::to_owned),
            );
            options
        });
        Setting { primary, replica, proxy, nodes }
    }
}

/// Clients that send requests all the time.
fn load(cluster: &Cluster, clients: usize, pause: Duration) -> Load {
    let right = |reply: &support::client::Reply| reply.text().lines().count() == LINES as usize + 1;
    Load::on(cluster, clients, pause, sign_in("user1@example.org", "pw"), right)
}

fn report(what: &str, seen: &Seen) {
    let at = |share: f64| seen.micros[((seen.micros.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "{what:44} {:7} requests  {} failed  p50 {:.1}  p99 {:.1}  p99.9 {:.1}  most {:.1} ms  over 1 s: {}",
        seen.micros.len(),
        seen.failures.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        seen.micros.iter().filter(|micros| **micros > 1_000_000).count()
    );
    for failure in seen.failures.iter().take(5) {
        println!("    {failure}");
    }
}

const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);

fn restart(setting: &Setting<'_>) {
    let mut cluster = Cluster::start(&setting.nodes);
    let idle = load(&cluster, CLIENTS, PAUSE);
    std::thread::sleep(Duration::from_secs(10));
    report("nothing happens", &idle.end());
    let folder = tempfile::tempdir().expect("a folder");
    let next = folder.path().join("jitsiprovs-next");
    std::fs::copy(jitsiprovs(&[]).get_program(), &next).expect("copied");
    let programs = [cluster.nodes[0].program.clone(), vec![next]];
    for (what, rest) in [("at once", Duration::ZERO), ("a second between", Duration::from_secs(1))] {
        let load = load(&cluster, CLIENTS, PAUSE);
        for round in 0..20 {
            for node in &mut cluster.nodes {
                node.stop();
                node.program.clone_from(&programs[(round + 1) % 2]);
                node.start_again();
                std::thread::sleep(rest);
            }
        }
        report(&format!("60 restarts, each another binary, {what}"), &load.end());
    }
}

fn faults(setting: &Setting<'_>) {
    let mut cluster = Cluster::start(&setting.nodes);
    let begun = load(&cluster, CLIENTS, PAUSE);
    for round in 0..30 {
        begun.go_on(100);
        cluster.nodes[round % 3].kill();
        begun.go_on(100);
        cluster.nodes[round % 3].start_again();
    }
    report("30 times SIGKILL, started again", &begun.end());

    let begun = load(&cluster, CLIENTS, PAUSE);
    for node in &cluster.nodes {
        node.server().signal("STOP");
        std::thread::sleep(Duration::from_secs(30));
        node.server().signal("CONT");
        std::thread::sleep(Duration::from_secs(12));
    }
    report("3 times SIGSTOP for 30 s", &begun.end());

    let begun = load(&cluster, CLIENTS, PAUSE);
    setting.proxy.is_silent.store(true, Ordering::Relaxed);
    cluster.nodes[1].server().wait_for_log("asking for changes failed");
    std::thread::sleep(Duration::from_secs(30));
    setting.proxy.is_silent.store(false, Ordering::Relaxed);
    cluster.nodes[1].server().wait_for_log("the database can be read again");
    report("cut from the database for 30 s", &begun.end());
}

fn edits(setting: &Setting<'_>) {
    const EDITS: usize = 200;
    let cluster = Cluster::start(&setting.nodes);
    let (mut primary, mut replica) = (Session::open(&setting.primary), Session::open(&setting.replica));
    let (mut lags, mut times) = (Vec::new(), [const { Vec::new() }; 3]);
    for at in 1..=EDITS {
        let user = fastrand::u32(1..=USERS);
        let request = form_request(&[("username", &format!("user{user}@example.org")), ("password", "pw")]);
        let line = format!("edited=edit {at}\n");
        // At a random time between two polls.
        std::thread::sleep(Duration::from_millis(fastrand::u64(..1000)));
        primary.execute(&format!(
            "UPDATE jitsi_property SET property_value = 'edit {at}' WHERE subject = 'user{user}'"
        ));
        let committed = Instant::now();
        std::thread::scope(|scope| {
            let (request, line) = (&request, &line);
            let serving: Vec<_> = cluster
                .nodes
                .iter()
                .map(|node| scope.spawn(move || served(node, request, line, committed)))
                .collect();
            let position = primary.ask("SELECT @@last_gtid");
            let waited = replica.ask(&format!("SELECT MASTER_GTID_WAIT('{}', 60)", position.trim()));
            assert_eq!(waited.trim(), "0", "the replica is far behind");
            lags.push(committed.elapsed());
            for (times, serving) in times.iter_mut().zip(serving) {
                times.push(serving.join().expect("no panic"));
            }
        });
    }
    let late = |node: usize, at: usize| {
        let lag = if node == 2 { lags[at] } else { Duration::ZERO };
        times[node][at].saturating_sub(Duration::from_secs(1) + lag)
    };
    let over: Vec<Duration> = (0..3)
        .flat_map(|node| (0..EDITS).map(move |at| (node, at)))
        .map(|(node, at)| late(node, at))
        .collect();
    println!("{EDITS} edits, poll interval 1 s, from commit to served:");
    for (what, times) in
        ["node 1, on the primary", "node 2, on the primary", "node 3, on the replica"].iter().zip(&times)
    {
        distribution(what, times);
    }
    distribution("the replica has it", &lags);
    let within = over.iter().filter(|over| **over <= Duration::from_millis(100)).count();
    println!(
        "within poll interval + lag + 100 ms: {within} of {}; the latest {} ms after poll interval + lag",
        over.len(),
        over.iter().max().expect("some").as_millis()
    );
}

fn served(node: &Node, request: &[u8], line: &str, committed: Instant) -> Duration {
    let mut connection = Connection::open(node.address);
    wait_for("the edit to be served", || {
        // The pause leaves the nodes time to work, because three threads wait here.
        std::thread::sleep(Duration::from_millis(1));
        connection.ask(request).text().contains(line).then(|| committed.elapsed())
    })
}

fn distribution(what: &str, times: &[Duration]) {
    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "  {what:24} least {:.1}  p50 {:.1}  p90 {:.1}  p99 {:.1}  most {:.1} ms",
        at(0.0),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// The results of one round with some number of nodes.
struct Round {
    a_second: f64,
    /// Microseconds of processor time for each request.
    node: f64,
    nginx: f64,
}

fn throughput(setting: &Setting<'_>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores, shared by nodes, nginx, clients and databases; each node has one worker:");
    if cores < 5 {
        println!("too few for three nodes to be faster than one; what counts is the cost of a request");
    }
    println!("at full speed, 16 clients:");
    compare(setting, |_| (16, Duration::ZERO));
    // A node with fewer requests handles fewer of them each time it wakes up. So the costs of a
    // request can be compared only if each node gets the same load.
    println!("the same load for each node, 8 clients that rest for 10 ms:");
    compare(setting, |nodes| (8 * nodes, Duration::from_millis(10)));
}

fn compare(setting: &Setting<'_>, clients: impl Fn(usize) -> (usize, Duration)) {
    // A node has as many workers as it may use cores.
    let own = PathBuf::from(jitsiprovs(&[]).get_program());
    let program = ["/usr/bin/taskset".into(), "-c".into(), "0".into(), own];
    let mut rounds: [Vec<Round>; 3] = Default::default();
    for _ in 0..5 {
        for nodes in 1..=3 {
            let cluster = Cluster::of(&program, &setting.nodes[..nodes]);
            let (count, pause) = clients(nodes);
            rounds[nodes - 1].push(round(&cluster, load(&cluster, count, pause)));
        }
    }
    let median = |nodes: usize, of: fn(&Round) -> f64| median(rounds[nodes - 1].iter().map(of));
    for nodes in 1..=3 {
        let of = |what| (median(nodes, what), median(nodes, what) / median(1, what));
        let (a_second, node, nginx) = (of(|r| r.a_second), of(|r| r.node), of(|r| r.nginx));
        println!(
            "  {nodes} nodes {:6.0} requests/s ({:.2} of 1)  a request: node {:5.1} µs ({:.2} of 1)  nginx {:5.1} µs ({:.2} of 1)",
            a_second.0, a_second.1, node.0, node.1, nginx.0, nginx.1
        );
    }
}

fn round(cluster: &Cluster, load: Load) -> Round {
    load.go_on(500);
    let sum = |of: &dyn Fn(&Node) -> f64| cluster.nodes.iter().map(of).sum::<f64>();
    let so_far = || {
        let answered = sum(&|node| node.metric("jitsiprovs_requests_total{result=\"ok\"}") as f64);
        (answered, sum(&|node| processor(node.server().pid())), processor(cluster.nginx.pid()))
    };
    let (before, begun) = (so_far(), Instant::now());
    std::thread::sleep(Duration::from_secs(6));
    let (after, seconds) = (so_far(), begun.elapsed().as_secs_f64());
    let seen = load.end();
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    let requests = after.0 - before.0;
    Round {
        a_second: requests / seconds,
        node: (after.1 - before.1) / requests * 1e6,
        nginx: (after.2 - before.2) / requests * 1e6,
    }
}
