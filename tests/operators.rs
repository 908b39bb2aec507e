//! The operators' interface: health, readiness, metrics, requested reloads, and a log line for each
//! request.

use std::net::SocketAddr;
use std::time::Instant;

use support::client::{Connection, Reply, exchange, form_request, post, request};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::wait_for;

const ALICE: [(&str, &str); 2] = [("username", "alice@a.org"), ("password", "pw")];

fn server(more: &[&str]) -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v");
    let server = Server::on_sqlite(&file.path, &[&["--admin-port", "0"], more].concat());
    (file, server)
}

fn get(address: SocketAddr, path: &str) -> Reply {
    exchange(address, &request("GET", path, &[], b""))
}

/// The value of the metric with this name and these labels.
fn metric(server: &Server, name: &str) -> Option<f64> {
    let reply = get(server.admin(), "/metrics");
    assert_eq!(reply.status, 200);
    let text = String::from_utf8(reply.body).expect("UTF-8");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map(|value| value.parse().expect("a number"))
}

#[test]
fn health_is_on_both_listeners_and_the_rest_only_on_the_admin_listener() {
    let (_file, server) = server(&[]);
    for address in [server.address, server.admin()] {
        let reply = get(address, "/healthz");
        assert_eq!((reply.status, reply.text()), (200, "ok\n"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        // Some load balancers send HEAD.
        let mut connection = Connection::open(address);
        connection.send(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(connection.receive_head().status, 200);
    }
    for path in ["/readyz", "/metrics", "/reload"] {
        assert_eq!(get(server.address, path).status, 404, "{path}");
    }
    assert_eq!(get(server.admin(), "/jitsiprovs/").status, 404);
    assert_eq!(get(server.admin(), "/readyz").text(), "ready: snapshot 1\n");
    for (method, path, allowed) in [("GET", "/reload", "POST"), ("POST", "/metrics", "GET, HEAD")] {
        let reply = exchange(server.admin(), &request(method, path, &[], b""));
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allowed)));
    }
}

#[test]
fn metrics_count_events_and_contain_no_user_names() {
    let (_file, server) = server(&[]);
    for (pairs, status) in [
        (&ALICE[..], 200),
        (&[("username", "alice@a.org"), ("password", "wrong")], 401),
        (&[("username", "mallory@nowhere.org"), ("password", "x")], 401),
    ] {
        assert_eq!(post(server.address, pairs).status, status);
    }
    get(server.address, "/elsewhere");
    get(server.address, "/healthz");
    for (name, value) in [
        ("jitsiprovs_requests_total{result=\"ok\"}", 1.0),
        ("jitsiprovs_requests_total{result=\"denied\"}", 2.0),
        ("jitsiprovs_requests_total{result=\"not_found\"}", 1.0),
        ("jitsiprovs_requests_total{result=\"health\"}", 1.0),
        // The request of the health check does not count.
        ("jitsiprovs_request_duration_seconds_count", 4.0),
        ("jitsiprovs_auth_failures_total", 2.0),
        ("jitsiprovs_snapshot_version", 1.0),
        ("jitsiprovs_snapshot_tenants", 1.0),
        ("jitsiprovs_snapshot_users", 1.0),
        ("jitsiprovs_snapshot_rules", 1.0),
        ("jitsiprovs_bad_rows", 0.0),
        ("jitsiprovs_ready", 1.0),
        ("jitsiprovs_source_up", 1.0),
        ("jitsiprovs_withheld_users", 0.0),
        ("jitsiprovs_withheld_rules", 0.0),
        ("jitsiprovs_reloads_total{cause=\"start\",outcome=\"swapped\"}", 1.0),
    ] {
        assert_eq!(metric(&server, name), Some(value), "{name}");
    }
    let _open = Connection::open(server.address);
    wait_for("the connection to be counted", || {
        (metric(&server, "jitsiprovs_connections") >= Some(1.0)).then_some(())
    });
    let reply = get(server.admin(), "/metrics");
    let text = reply.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("alice") && !text.contains("a.org") && !text.contains("mallory"), "{text}");
}

#[test]
fn tenants_are_counted_on_request_but_only_those_that_exist() {
    let (_file, server) = server(&["--metrics-tenants"]);
    post(server.address, &ALICE);
    post(server.address, &[("username", "alice@a.org"), ("password", "wrong")]);
    post(server.address, &[("username", "x@made-up.org"), ("password", "wrong")]);
    // All spellings of a tenant's name are counted as one tenant.
    for domain in ["A.org", "a.ORG", "a.org ", "a.org   "] {
        post(server.address, &[("username", "alice"), ("domain", domain), ("password", "wrong")]);
    }
    let name = |result| format!("jitsiprovs_tenant_requests_total{{tenant=\"a.org\",result=\"{result}\"}}");
    assert_eq!(metric(&server, &name("ok")), Some(1.0));
    assert_eq!(metric(&server, &name("denied")), Some(5.0));
    let metrics = get(server.admin(), "/metrics");
    let tenants = metrics.text().lines().filter(|line| line.contains("{tenant=")).count();
    assert_eq!(tenants, 2, "{}", metrics.text());
}

#[test]
fn a_requested_reload_reports_its_outcome() {
    let (file, server) = server(&["--poll-interval", "0", "--reload-interval", "0"]);
    let reload = || {
        let reply = exchange(server.admin(), &request("POST", "/reload", &[], b""));
        (reply.status, reply.text().to_owned())
    };
    assert_eq!(reload(), (200, "loaded: nothing has changed\n".into()));
    file.rule(None, "default", 1, "l", "w");
    // The file is watched too, so the watcher may have loaded the change first.
    let (status, said) = reload();
    assert_eq!(status, 200, "{said}");
    assert_eq!(post(server.address, &ALICE).text(), "k=v\nl=w\n");
    // All clients that ask get an answer as soon as the load is over.
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..8).map(|_| scope.spawn(reload)).collect();
        for asker in askers {
            assert_eq!(asker.join().expect("an answer").0, 200);
        }
    });
    assert!(metric(&server, "jitsiprovs_reloads_total{cause=\"admin\",outcome=\"unchanged\"}") >= Some(1.0));
    // Without its tables the database cannot be read.
    file.execute("ALTER TABLE user_auth RENAME TO hidden");
    let (status, said) = reload();
    assert!(status == 503 && said.starts_with("failed: "), "{status} {said}");
    assert_eq!(metric(&server, "jitsiprovs_source_up"), Some(0.0));
    assert_eq!(post(server.address, &ALICE).status, 200);
    assert!(get(server.admin(), "/readyz").text().contains("the database cannot be read"));
}

/// The number of loads that were requested through the admin listener.
fn asked_loads(server: &Server) -> f64 {
    let outcomes = ["unchanged", "swapped"].map(|outcome| {
        metric(server, &format!("jitsiprovs_reloads_total{{cause=\"admin\",outcome=\"{outcome}\"}}"))
    });
    outcomes.iter().flatten().sum()
}

#[test]
fn constant_requests_for_reloads_do_not_keep_the_database_busy() {
    let (_file, server) = server(&["--poll-interval", "0", "--reload-interval", "0"]);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let reply = exchange(server.admin(), &request("POST", "/reload", &[], b""));
                    assert_eq!(reply.status, 200, "{reply:?}");
                }
            });
        }
    });
    let (loads, seconds) = (asked_loads(&server), begun.elapsed().as_secs_f64());
    assert!((4.0..=seconds + 1.0).contains(&loads), "{loads} loads in {seconds} s");
}

#[test]
fn requests_from_web_pages_are_refused() {
    let (_file, server) = server(&["--admin-host", "node1.example.org,node2", "--poll-interval", "0"]);
    let address = server.admin();
    let ask = |method: &str, path: &str, host: &str, origin: &str| {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n");
        if !origin.is_empty() {
            head.push_str(&format!("origin: {origin}\r\n"));
        }
        exchange(address, (head + "\r\n").as_bytes()).status
    };
    let own = format!("http://{address}");
    for (method, path) in
        [("GET", "/metrics"), ("GET", "/readyz"), ("GET", "/status"), ("POST", "/reload"), ("GET", "/x")]
    {
        let answered = if path == "/x" { 404 } else { 200 };
        // A page whose own host name leads here, and a page that only posts here.
        assert_eq!(ask(method, path, &format!("evil.org:{}", address.port()), ""), 403, "{path}");
        assert_eq!(ask(method, path, &address.to_string(), "http://evil.org"), 403, "{path}");
        assert_eq!(ask(method, path, &address.to_string(), "null"), 403, "{path}");
        assert_eq!(ask(method, path, &address.to_string(), &own), answered, "{path}");
        for host in ["localhost", "127.0.0.1", "[::1]:80", "NODE1.example.org:8090", "node2"] {
            assert_eq!(ask(method, path, host, ""), answered, "{path} {host}");
        }
    }
    assert_eq!(ask("GET", "/rows?user_auth=0", "evil.org", ""), 403);
    // Health checks reveal nothing, and browsers always send a host.
    assert_eq!(ask("GET", "/healthz", "lb.example.org", ""), 200);
    let mut old = Connection::open(address);
    assert_eq!(old.ask(b"GET /readyz HTTP/1.0\r\n\r\n").status, 200);
    assert!(asked_loads(&server) >= 1.0);
}

#[test]
fn with_a_token_only_requests_that_carry_it_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let token = "0123456789abcdef0123456789abcdef";
    let (right, wrong) = (file("token", &format!("{token}\n")), file("other", &token.replace('0', "1")));
    let (_file, server) = server(&["--admin-token-file", &right]);
    let ask = |method: &str, path: &str, value: &str| {
        exchange(server.admin(), &request(method, path, &[("authorization", value)], b""))
    };
    let shown = format!("Bearer {token}");
    for (method, path) in [
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/status"),
        ("GET", "/locks"),
        ("POST", "/locks/clear?all"),
        ("POST", "/reload"),
    ] {
        for refused in ["", "Bearer", "Bearer x", &shown[..shown.len() - 1], token] {
            let reply = ask(method, path, refused);
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")), "{path}");
            assert!(!reply.text().contains(token));
        }
        assert_eq!(ask(method, path, &shown).status, 200, "{path}");
    }
    assert_eq!(ask("GET", "/elsewhere", "").status, 401);
    assert_eq!(get(server.admin(), "/healthz").status, 200);

    let node = format!("http://{}", server.admin());
    for (command, token, code) in [
        (&["status", "--max-lag", "0"][..], None, 1),
        (&["status", "--max-lag", "0"], Some(&wrong), 1),
        (&["status"], Some(&right), 0),
        (&["lock", "list"], None, 1),
        (&["lock", "list"], Some(&right), 0),
        (&["lock", "clear", "--all"], Some(&right), 0),
    ] {
        let more: Vec<&str> = token.iter().flat_map(|token| ["--admin-token-file", token]).collect();
        let output = run(&[command, &more, &[&*node]].concat());
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{command:?} {said}");
        assert!(code == 0 || said.contains("401 Unauthorized"), "{said}");
    }
    assert!(!server.log().join("\n").contains(token));
}

#[test]
fn an_address_that_others_reach_wants_a_token_or_a_word_that_it_is_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "short").expect("written");
    let token = token.to_str().expect("UTF-8");
    let start = |more: &[&str]| {
        let own = ["-n", "--http-port", "0", "--http-ip", "127.0.0.1", "--db-path", "/no/such/file"];
        let output = run(&[&own, more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for address in ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"] {
        let (code, said) = start(&["--admin-port", "0", "--admin-ip", address]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("--admin-token-file") && said.contains("--admin-insecure"), "{said}");
    }
    let (code, said) = start(&["--admin-port", "0", "--admin-ip", "0.0.0.0", "--admin-token-file", token]);
    assert!(code == Some(2) && said.contains("at least 32 characters"), "{said}");
    // These fail later, because there is no database.
    for more in [
        &["--admin-port", "0", "--admin-ip", "0.0.0.0", "--admin-insecure"][..],
        &["--admin-port", "0", "--admin-ip", "::ffff:127.0.0.1"],
        &["--admin-ip", "0.0.0.0"],
    ] {
        let (code, said) = start(more);
        assert_eq!(code, Some(1), "{more:?} {said}");
    }
}

#[test]
fn a_reload_with_a_loss_gets_a_409_until_it_is_confirmed() {
    let (file, server) = server(&["--poll-interval", "0", "--reload-interval", "0"]);
    for number in 0..40 {
        file.user("a.org", &format!("user{number}"), "pw");
    }
    let reload = || exchange(server.admin(), &request("POST", "/reload", &[], b"")).status;
    assert_eq!(reload(), 200);
    file.execute("DELETE FROM user_auth WHERE username LIKE 'user%'");
    assert_eq!(reload(), 409);
    assert_eq!(metric(&server, "jitsiprovs_withheld_users"), Some(40.0));
    assert_eq!(metric(&server, "jitsiprovs_snapshot_users"), Some(41.0));
    let confirm = || exchange(server.admin(), &request("POST", "/reload?confirm", &[], b"")).status;
    assert_eq!(confirm(), 200);
    assert_eq!(metric(&server, "jitsiprovs_withheld_users"), Some(0.0));
    assert_eq!(metric(&server, "jitsiprovs_snapshot_users"), Some(1.0));
}

#[test]
fn each_request_is_logged_unless_the_access_log_is_off() {
    let (_file, server) = server(&[]);
    post(server.address, &[ALICE[0], ALICE[1], ("x", "secret-parameter")]);
    post(server.address, &[("username", "mallory\n FAKE"), ("password", "secret-password")]);
    get(server.address, "/healthz");
    get(server.address, "/elsewhere?password=secret-query");
    server.wait_for_log("result=not_found");
    let lines: Vec<String> =
        server.log().into_iter().filter(|line| line.contains(" INFO request ")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let ok = "request result=ok status=200 tenant=\"a.org\" username=\"alice\" address=127.0.0.1 bytes=4 us=";
    assert!(lines[0].contains(ok) && lines[0].contains(" snapshot=1 request="), "{}", lines[0]);
    let denied = "result=denied status=401 tenant=\"localdomain\" username=\"mallory\\n FAKE\"";
    assert!(lines[1].contains(denied), "{}", lines[1]);
    assert!(!server.log().join("\n").contains("secret"));

    let (_file, quiet) = self::server(&["--no-access-log"]);
    post(quiet.address, &ALICE);
    post(quiet.address, &[("username", "alice@a.org"), ("password", "wrong")]);
    quiet.wait_for_log("authentication failed");
    assert!(quiet.log().iter().all(|line| !line.contains(" INFO request ")));
}

#[test]
fn a_server_that_is_shutting_down_is_not_ready_but_answers_operators() {
    let (_file, server) = server(&["--drain-timeout", "60"]);
    // A request in progress keeps the server from ending.
    let mut connection = Connection::open(server.address);
    let sent = form_request(&ALICE);
    let (first, last) = sent.split_at(sent.len() - 1);
    connection.send(first);
    server.wait_for_log("for operators");
    wait_for("the request to be under way", || {
        (metric(&server, "jitsiprovs_connections") == Some(1.0)).then_some(())
    });
    server.signal("TERM");
    server.wait_for_log("finishing the requests under way");
    wait_for("readiness to end", || (get(server.admin(), "/readyz").status == 503).then_some(()));
    assert_eq!(metric(&server, "jitsiprovs_ready"), Some(0.0));
    assert_eq!(get(server.admin(), "/healthz").status, 200);
    connection.send(last);
    assert_eq!(connection.receive().expect("an answer").status, 200);
    assert!(server.wait().success());
}
