//! Three nodes behind nginx, on a MariaDB and its replica. No client notices when one of them
//! fails. nginx runs with the configuration in `contrib/nginx`.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::client::{Connection, exchange, post, request};
use support::cluster::{Cluster, Node, Pair, at, replaced};
use support::load::{Load, Secure, sign_in};
use support::mariadb::Database;
use support::nginx::Nginx;
use support::proxy::Proxy;
use support::server::jitsiprovs;
use support::{source_of, wait_for};

const STREAM: &str = include_str!("../contrib/nginx/jitsiprovs-stream.conf");
/// The module in Debian's package that nginx needs to pass TLS through.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The databases that all tests of this file share.
fn pair() -> &'static Pair {
    static SHARED: OnceLock<Pair> = OnceLock::new();
    SHARED.get_or_init(Pair::start)
}

/// Three nodes that serve Alice, and their databases.
struct Setting {
    cluster: Cluster,
    primary: Database<'static>,
    /// The proxy between the second node and the primary.
    proxy: Proxy,
}

impl Setting {
    fn new(more: &[&str]) -> Setting {
        let (primary, replica) = pair().database();
        primary.script(
            "INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw'));
             INSERT INTO jitsi_property VALUES (1, 'default', 1, 1, 'v', '1', NULL)",
        );
        pair().wait_replicated();
        let proxy = Proxy::to(primary.server.port);
        let nodes = [primary.read(), proxy.options(&primary), replica.read()].map(|mut options| {
            options.extend(["--poll-interval", "0.1", "--reload-interval", "0"].map(str::to_owned));
            options.extend(more.iter().map(|arg| (*arg).to_owned()));
            options
        });
        Setting { cluster: Cluster::start(&nodes), primary, proxy }
    }

    fn set_value(&self, value: &str) {
        self.primary.script(&format!("UPDATE jitsi_property SET property_value = '{value}' WHERE id = 1"));
    }

    /// Clients that send requests all the time.
    fn load(&self) -> Load {
        let pause = Duration::from_millis(2);
        Load::on(&self.cluster, 4, pause, sign_in("alice@a.org", "pw"), |reply| {
            reply.text().starts_with("v=")
        })
    }
}

fn value_at(node: &Node) -> String {
    post(node.address, &[("username", "alice@a.org"), ("password", "pw")]).text().to_owned()
}

fn wait_served(node: &Node, value: &str) {
    let expected = format!("v={value}\n");
    wait_for(&format!("{expected:?}; {:#?}", node.server().log()), || {
        (value_at(node) == expected).then_some(())
    });
}

/// Fails if a request failed, or if there was none.
fn end(load: Load) {
    load.go_on(50);
    let seen = load.end();
    assert!(
        seen.failures.is_empty(),
        "{} of {}: {:#?}",
        seen.failures.len(),
        seen.micros.len(),
        seen.failures
    );
}

#[test]
fn an_edit_on_the_primary_is_served_by_all_nodes_and_noted_once_on_the_replica() {
    let setting = Setting::new(&[]);
    for value in ["2", "3"] {
        setting.set_value(value);
        setting.cluster.nodes.iter().for_each(|node| wait_served(node, value));
    }
    setting.primary.script(
        "INSERT INTO user_auth (username, domain, password) VALUES ('bob', 'a.org', md5('pw'));
         UPDATE user_auth SET id = id + 100 WHERE username = 'bob'; DELETE FROM user_auth WHERE username = 'bob'",
    );
    pair().wait_replicated();
    let all = "SELECT id, changed_table, changed_id, changed_at FROM jitsiprovs_change ORDER BY id";
    let noted = setting.primary.script(all);
    assert!(noted.lines().count() >= 8, "{noted}");
    assert_eq!(pair().replica.script(&setting.primary.name, all), noted);
}

#[test]
fn restarting_and_upgrading_nodes_one_after_the_other_fails_no_request() {
    let mut setting = Setting::new(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let upgraded = folder.path().join("jitsiprovs-next");
    std::fs::copy(jitsiprovs(&[]).get_program(), &upgraded).expect("copied");
    let load = setting.load();
    let as_before = setting.cluster.nodes[0].program.clone();
    // As fast as possible: when the next node goes down, nginx still treats the last one as down.
    for program in [as_before, vec![upgraded.clone()]] {
        for node in &mut setting.cluster.nodes {
            load.go_on(20);
            node.stop();
            node.program.clone_from(&program);
            node.start_again();
        }
    }
    for node in &setting.cluster.nodes {
        let runs = std::fs::read_link(format!("/proc/{}/exe", node.server().pid())).expect("Linux");
        assert_eq!(runs, upgraded.canonicalize().expect("a file"));
    }
    end(load);
}

#[test]
fn killing_a_node_fails_no_request() {
    let mut setting = Setting::new(&[]);
    let load = setting.load();
    for at in 0..3 {
        load.go_on(50);
        setting.cluster.nodes[at].kill();
        load.go_on(50);
        setting.cluster.nodes[at].start_again();
    }
    end(load);
}

#[test]
fn a_hanging_node_fails_no_request_and_delays_clients_for_a_limited_time() {
    let setting = Setting::new(&[]);
    let load = setting.load();
    load.go_on(50);
    let node = setting.cluster.nodes[0].server();
    node.signal("STOP");
    // A client met the hanging node, and another node answered it in time.
    wait_for("a request that met it", || (load.longest() > Duration::from_secs(2)).then_some(()));
    load.go_on(200);
    node.signal("CONT");
    wait_for("the node to be asked again", || {
        let before = setting.cluster.nodes[0].metric("jitsiprovs_requests_total{result=\"ok\"}");
        load.go_on(20);
        (setting.cluster.nodes[0].metric("jitsiprovs_requests_total{result=\"ok\"}") > before).then_some(())
    });
    end(load);
}

#[test]
fn a_node_cut_from_its_database_still_serves_and_does_not_delay_the_others() {
    let setting = Setting::new(&[]);
    let [first, cut, third] = &setting.cluster.nodes[..] else { panic!("three nodes") };
    let load = setting.load();
    load.go_on(50);
    setting.proxy.is_silent.store(true, Ordering::Relaxed);
    cut.server().wait_for_log("asking for changes failed");
    setting.set_value("2");
    wait_served(first, "2");
    wait_served(third, "2");
    load.go_on(50);
    assert_eq!(value_at(cut), "v=1\n", "what it knew last");
    let ready = exchange(cut.server().admin(), &request("GET", "/readyz", &[], b""));
    assert_eq!(ready.status, 200, "{ready:?}");
    setting.proxy.is_silent.store(false, Ordering::Relaxed);
    wait_served(cut, "2");
    end(load);
}

#[test]
fn a_node_that_is_behind_does_not_refuse_users_that_other_nodes_know() {
    let setting = Setting::new(&["--stale-after", "0.5"]);
    let [first, cut, third] = &setting.cluster.nodes[..] else { panic!("three nodes") };
    setting.proxy.is_silent.store(true, Ordering::Relaxed);
    cut.server().wait_for_log("asking for changes failed");
    setting.primary.script(
        "UPDATE user_auth SET password = md5('rotated') WHERE username = 'alice';
         INSERT INTO user_auth (username, domain, password) VALUES ('new', 'a.org', md5('pw'))",
    );
    let users = [("alice@a.org", "rotated"), ("new@a.org", "pw")];
    for (username, password) in users {
        let at = |node: &Node| post(node.address, &[("username", username), ("password", password)]).status;
        for node in [first, third] {
            wait_for("the edit to be served", || (at(node) == 200).then_some(()));
        }
        wait_for("the node to know that it is behind", || (at(cut) == 503).then_some(()));
    }
    let mut client = Secure::to(&setting.cluster);
    for round in 0..60 {
        for (username, password) in users {
            let reply = client.ask(&sign_in(username, password)).expect("an answer");
            assert_eq!(reply.status, 200, "round {round}: {reply:?}");
        }
    }
}

#[test]
fn nginx_does_not_retry_refused_credentials_on_another_node() {
    let setting = Setting::new(&["--auth-fail-limit", "2"]);
    let mut client = Secure::to(&setting.cluster);
    let mut ask = |password: String| client.ask(&sign_in("alice@a.org", &password)).expect("an answer");
    let mut heard = Vec::new();
    // Each node counts wrong passwords for itself.
    while heard.iter().filter(|status| **status == 429).count() < 10 {
        assert!(heard.len() < 100, "{heard:?}");
        let reply = ask(format!("wrong {}", heard.len()).replace(' ', "+"));
        assert!(reply.text().starts_with("# "), "{reply:?}");
        assert_eq!(reply.header("retry-after").is_some(), reply.status == 429, "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        heard.push(reply.status);
    }
    for (status, result) in [(401, "denied"), (429, "throttled")] {
        let name = format!("jitsiprovs_requests_total{{result=\"{result}\"}}");
        let counted: u64 = setting.cluster.nodes.iter().map(|node| node.metric(&name)).sum();
        assert_eq!(counted, heard.iter().filter(|one| **one == status).count() as u64, "{heard:?}");
    }
    assert!(heard.iter().all(|status| [401, 429].contains(status)), "{heard:?}");
}

#[test]
fn nodes_see_the_clients_address_and_operators_the_health_of_each_node() {
    let mut setting = Setting::new(&[]);
    let Cluster { nodes, nginx, monitor, tls, .. } = &mut setting.cluster;
    let client = Ipv4Addr::new(127, 0, 0, 9);
    let open = || Secure::open(client, nginx.address, tls).expect("connects");
    let post = sign_in("alice@a.org", "pw");
    let forged = String::from_utf8(post.clone()).expect("ASCII");
    let forged = forged.replacen("\r\n", "\r\nx-forwarded-for: 192.0.2.1\r\nx-request-id: mine\r\n", 1);
    let reply = open().ask(forged.as_bytes()).expect("an answer");
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{reply:?}");
    let line = wait_for("the request in a log", || {
        let lines = nodes.iter().flat_map(|node| node.server().log());
        lines.into_iter().find(|line| line.contains("request result=ok"))
    });
    assert!(line.contains("address=127.0.0.9 "), "{line}");
    let id = line.split("request=").nth(1).expect("a name");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "nginx' own: {line}");

    let big = request("POST", "/jitsiprovs/", &[], &[b'x'; 16 * 1024 + 1]);
    let reply = open().ask(&big).expect("an answer");
    assert_eq!((reply.status, reply.text()), (413, "# the body is over 16384 bytes\n"));

    let ask = |target: &str| exchange(*monitor, &request("GET", target, &[], b"")).status;
    let health = || ["/nodes/1/healthz", "/nodes/2/healthz", "/nodes/3/healthz"].map(ask);
    let mut outer = Connection::open_from(client, *monitor);
    assert_eq!(outer.ask(&request("GET", "/nodes/1/healthz", &[], b"")).status, 200, "loopback too");
    let front = || open().ask(&request("GET", "/healthz", &[], b"")).expect("an answer");
    assert_eq!((health(), front().status), ([200; 3], 200));
    nodes[1].kill();
    assert_eq!((health(), front().status), ([200, 502, 200], 200));
    nodes[0].kill();
    nodes[2].kill();
    for _ in 0..4 {
        let reply = open().ask(&post).expect("an answer");
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")), "{reply:?}");
        assert_eq!(reply.text(), "# no node answers, try again\n");
    }
    assert_eq!((health(), front().status), ([502; 3], 503));
    // nginx has just marked all nodes as down, and asks them all the same.
    nodes[2].start_again();
    assert_eq!(open().ask(&post).expect("an answer").status, 200);
}

/// Debian's nginx writes a PROXY header before each connection that it passes on.
#[test]
fn connections_that_are_passed_through_begin_with_the_clients_address() {
    let node = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = node.local_addr().expect("an address");
    let nginx = Nginx::with(|address_of_nginx, _| {
        let text = at(STREAM, "8443", &[address]);
        let text = replaced(&text, "listen 443;", &format!("listen {address_of_nginx};"));
        let load = Path::new(STREAM_MODULE).exists().then(|| format!("load_module {STREAM_MODULE};\n"));
        load.unwrap_or_default() + &text
    });
    let mut client = Connection::open_from(Ipv4Addr::new(127, 0, 0, 9), nginx.address);
    client.send(b"hello\n");
    // The first connection is the one that checked whether nginx listens.
    let both = wait_for("the client", || {
        let mut lines = BufReader::new(node.accept().expect("a connection").0).lines().map_while(Result::ok);
        let first = lines.next()?;
        first.starts_with("PROXY TCP4 127.0.0.9 127.0.0.1 ").then(|| [Some(first), lines.next()])
    });
    let expected = format!(" {}", nginx.address.port());
    assert!(both[0].as_ref().is_some_and(|first| first.ends_with(&expected)), "{both:?}");
    assert_eq!(both[1].as_deref(), Some("hello"), "{both:?}");
}

#[test]
fn nothing_is_pruned_on_a_replica_because_that_would_break_replication() {
    let (primary, replica) = pair().database();
    primary.script(
        "INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw')), ('bob', 'a.org', '');
         UPDATE jitsiprovs_change SET changed_at = now() - INTERVAL 2 DAY",
    );
    pair().wait_replicated();
    // As if the operator had forgotten `read_only`.
    replica.server.script("", "SET GLOBAL read_only = 0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let prune =
        |database: &Database<'_>| runtime.block_on(source_of(&database.all()).prune()).expect("it may");
    assert_eq!(prune(&replica), 0);
    assert!(prune(&primary) > 0);
    pair().wait_replicated();
    let left = |database: &Database<'_>| database.script("SELECT id FROM jitsiprovs_change");
    assert_eq!(left(&replica), left(&primary));
}
