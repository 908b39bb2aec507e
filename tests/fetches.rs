//! Fetches: who fetched what, and why not.

use serde_json::Value;
use support::client::{exchange, post, request};
use support::database::{Database, DbServer, Kind};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts, wait_for};

support::on_each_server!(
    all_nodes_write_to_one_list,
    an_account_that_may_not_write_is_reported_once_and_serves,
    fetches_during_an_outage_are_written_afterwards,
);

/// The fetches that a command lists as JSON.
fn listed(args: &[&str]) -> Vec<Value> {
    let output = run(&[&["fetch", "list", "--format", "json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn shown(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn ask(server: &Server, username: &str, password: &str, more: &[(&str, &str)]) -> u16 {
    let own = [("username", username), ("domain", "a.org"), ("password", password)];
    post(server.address, &[&own[..], more].concat()).status
}

/// The names and reasons of fetches, in the order of names.
fn reasons(fetches: &[Value]) -> Vec<(&str, &str)> {
    let mut reasons: Vec<_> = fetches
        .iter()
        .map(|fetch| (fetch["username"].as_str().expect("a name"), fetch["reason"].as_str().unwrap_or("ok")))
        .collect();
    reasons.sort_unstable();
    reasons
}

#[test]
fn each_reason_is_in_the_log_and_in_the_list_and_passwords_are_nowhere() {
    let file = SqliteFile::seeded();
    for name in ["alice", "bob", "carol", "dave"] {
        file.user("a.org", name, "right-secret");
    }
    file.stored_user("a.org", "erin", "").user("b.org", "frank", "right-secret");
    file.execute("INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'dave', 'disabled', 'yes')");
    let options = ["--admin-port", "0", "--settle", "0", "--auth-fail-limit", "1"];
    let server = Server::on_sqlite(&file.path, &options);
    let path = file.path.to_str().expect("UTF-8");
    let client = [("uuid", "u-1"), ("osname", "Linux"), ("hostname", "desk"), ("copy", "right-secret")];
    assert_eq!(ask(&server, "Alice", "right-secret", &client), 200);
    assert_eq!(ask(&server, "bob", "wrong-secret", &[("uuid", "u-2")]), 401);
    assert_eq!(ask(&server, "bob", "right-secret", &[]), 429);
    assert_eq!(ask(&server, "carol", "", &[]), 401);
    assert_eq!(ask(&server, "dave", "right-secret", &[]), 200);
    assert_eq!(ask(&server, "erin", "wrong-secret", &[]), 401);
    assert_eq!(ask(&server, "nobody", "wrong-secret", &[]), 401);
    let log = || server.log().join("\n");
    for reason in ["wrong password", "locked", "no password", "disabled", "no such user"] {
        server.wait_for_log(&format!("reason=\"{reason}\""));
    }
    assert!(!log().contains("result=ok status=200 tenant=\"a.org\" username=\"Alice\" reason"));

    // In the memory of the node, with the names that do not exist.
    let url = format!("http://{}", server.admin());
    let seen = listed(&[&url]);
    let known = [
        ("alice", "ok"),
        ("bob", "locked"),
        ("carol", "no password"),
        ("dave", "disabled"),
        ("erin", "no password"),
    ];
    assert_eq!(reasons(&seen), [&known[..], &[("nobody", "no such user")]].concat());
    // In the database, without them.
    let stored = wait_for("the fetches", || Some(listed(&["--db-path", path])).filter(|all| all.len() >= 5));
    assert_eq!(reasons(&stored), known);
    let alice = stored.iter().find(|fetch| fetch["username"] == "alice").expect("alice");
    assert_eq!((&alice["device"], &alice["ok"]), (&"u-1".into(), &true.into()));
    assert_eq!(
        alice["parameters"],
        serde_json::json!({"uuid": "u-1", "osname": "Linux", "hostname": "desk"})
    );
    assert!(alice["properties"].as_u64().is_some_and(|count| count > 50));

    let failed = ["--db-path", path, "--domain", "A.org", "--failed"];
    assert_eq!(reasons(&listed(&failed)), known[1..]);
    assert_eq!(reasons(&listed(&["--db-path", path, "--user", "BOB@a.org", "--since", "1h"])), known[1..2]);
    assert_eq!(listed(&["--db-path", path, "--most", "2"]).len(), 2);
    assert_eq!(reasons(&listed(&["--db-path", path, "--address", "127.0."])), known);
    assert_eq!(listed(&["--db-path", path, "--address", "127.1"]).len(), 0);
    assert_eq!(listed(&[&url, "--address", "127.0."]).len(), 6);
    assert_eq!(listed(&[&url, "--address", "::ffff"]).len(), 0);
    let output = run(&["fetch", "list", "--db-path", path, "--address", "example.org"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("such as 192.0.2."), "{output:?}");
    let metrics = exchange(server.admin(), &request("GET", "/metrics", &[], b""));
    assert!(metrics.text().contains("jitsiprovs_fetches 6\n"));
    assert!(metrics.text().contains("jitsiprovs_fetches_dropped_total 0\n"));

    let user = shown(&["user", "show", "alice@a.org", "--db-path", path]);
    assert!(user.contains("u-1"), "{user}");
    let explained =
        shown(&["explain", "alice@a.org", "--last", "hostname=other", "--format", "json", "--db-path", path]);
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    let sent = explained["parameters"].to_string();
    assert!(sent.contains("Linux") && sent.contains("other") && !sent.contains("desk"), "{sent}");
    let output = run(&["explain", "frank@b.org", "--last", "--db-path", path]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("PARAM=VALUE"), "{error}");
    let all = format!("{seen:?}{stored:?}{}", log());
    assert!(!all.contains("secret"), "{all}");
}

#[test]
fn nothing_is_kept_if_nobody_wants_it() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0", "--no-fetches"]);
    assert_eq!(ask(&server, "alice", "pw", &[]), 200);
    assert_eq!(exchange(server.admin(), &request("GET", "/fetches", &[], b"")).status, 404);
}

#[test]
fn what_is_known_when_the_server_stops_is_written_and_old_fetches_are_removed() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    file.execute(
        "INSERT INTO jitsiprovs_fetch VALUES ('1', 'a.org', 'old', 'd', 1000, 1, NULL, '192.0.2.1', '', 'n', NULL, 0, '{}')",
    );
    let server = Server::on_sqlite(&file.path, &["--keep-fetches", "1"]);
    assert_eq!(ask(&server, "alice", "pw", &[]), 200);
    wait_for("the old one to go", || {
        (file.ask("SELECT CAST(count(*) AS TEXT) FROM jitsiprovs_fetch WHERE username = 'old'") == "0")
            .then_some(())
    });
    assert_eq!(ask(&server, "alice", "pw", &[("uuid", "last")]), 200);
    server.signal("TERM");
    assert!(server.wait().success());
    let devices = listed(&["--db-path", file.path.to_str().expect("UTF-8")]);
    assert!(devices.iter().any(|fetch| fetch["device"] == "last"), "{devices:?}");
}

#[test]
fn strangers_push_out_no_known_names() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").user("a.org", "bob", "pw");
    let options = ["--admin-port", "0", "--fetches", "64", "--auth-fail-limit", "0", "--settle", "0"];
    let server = Server::on_sqlite(&file.path, &options);
    assert_eq!(ask(&server, "alice", "pw", &[("uuid", "u-1")]), 200);
    assert_eq!(ask(&server, "bob", "no", &[("uuid", "u-2")]), 401);
    for stranger in 0..300 {
        ask(&server, &format!("stranger{stranger}"), "no", &[("uuid", &format!("s-{stranger}"))]);
    }
    let seen = listed(&["--most", "1000", &format!("http://{}", server.admin())]);
    assert!(seen.len() <= 6, "{}", seen.len());
    assert_eq!(reasons(&seen)[..2], [("alice", "ok"), ("bob", "wrong password")]);
}

/// A database with the user alice.
fn seeded(server: &DbServer) -> Database<'_> {
    let database = server.database();
    assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
    let hash = md5_hex("pw");
    database.script(&format!(
        "INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{hash}')"
    ));
    database
}

fn all_nodes_write_to_one_list(kind: Kind) {
    let database = seeded(kind.server());
    let options = database.all();
    let nodes: Vec<Server> = (0..3).map(|_| Server::start(&texts(&options))).collect();
    for (at, node) in nodes.iter().enumerate() {
        assert_eq!(ask(node, "alice", "pw", &[("uuid", &format!("u-{at}"))]), 200);
        assert_eq!(ask(node, "alice", "pw", &[("uuid", "shared")]), 200);
    }
    let all = wait_for("the fetches", || Some(listed(&texts(&options))).filter(|all| all.len() >= 4));
    let mut devices: Vec<_> = all.iter().map(|fetch| fetch["device"].as_str().expect("a name")).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["shared", "u-0", "u-1", "u-2"]);
    let at = |begin| listed(&[&texts(&options)[..], &["--address", begin]].concat()).len();
    assert_eq!((at("127."), at("127.0.0.1"), at("126."), at("128")), (4, 4, 0, 0));
}

fn an_account_that_may_not_write_is_reported_once_and_serves(kind: Kind) {
    let database = seeded(kind.server());
    let server = Server::start(&[&texts(&database.read())[..], &["--admin-port", "0"]].concat());
    assert_eq!(ask(&server, "alice", "pw", &[]), 200);
    server.wait_for_log("fetches are kept in memory only");
    assert_eq!(listed(&[&format!("http://{}", server.admin())]).len(), 1);
    // With the right to write, SIGHUP is enough.
    database.let_write("jitsiprovs_fetch");
    server.signal("HUP");
    assert_eq!(ask(&server, "alice", "pw", &[("uuid", "u-1")]), 200);
    wait_for("the fetch", || listed(&texts(&database.read())).pop());
    let reports = server.log().iter().filter(|line| line.contains("in memory only")).count();
    assert_eq!(reports, 1);
}

fn fetches_during_an_outage_are_written_afterwards(kind: Kind) {
    let server = kind.start();
    let database = seeded(&server);
    let node = Server::start(&[&texts(&database.all())[..], &["--admin-port", "0"]].concat());
    server.kill();
    assert_eq!(ask(&node, "alice", "pw", &[("uuid", "during")]), 200);
    node.wait_for_log("fetches are written when the database takes them again");
    assert_eq!(ask(&node, "alice", "pw", &[("uuid", "later")]), 200);
    server.restart();
    let all = wait_for("the fetches", || Some(listed(&texts(&database.all()))).filter(|all| all.len() >= 2));
    assert_eq!(all.len(), 2);
    let metrics = exchange(node.admin(), &request("GET", "/metrics", &[], b""));
    assert!(metrics.text().contains("jitsiprovs_fetches_dropped_total 0\n"));
}

#[test]
fn a_user_who_is_locked_out_and_disabled_signs_in_at_once_when_enabled() {
    let file = SqliteFile::seeded();
    file.user("a.org", "alice", "pw");
    let path = file.path.to_str().expect("UTF-8");
    let options = ["--settle", "0", "--auth-fail-limit", "1", "--poll-interval", "0.1", "--admin-port", "0"];
    let server = Server::on_sqlite(&file.path, &options);
    assert_eq!(ask(&server, "alice", "guess", &[]), 401);
    assert_eq!(ask(&server, "alice", "pw", &[]), 429);
    shown(&["user", "disable", "alice@a.org", "--db-path", path]);
    // Disabled users get an answer, but no properties of their own.
    wait_for("the lock to end", || (ask(&server, "alice", "pw", &[]) == 200).then_some(()));
    let locks = || exchange(server.admin(), &request("GET", "/locks", &[], b"")).text().trim() == "[]";
    wait_for("the lock to be forgotten", || locks().then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(700));
    shown(&["user", "enable", "alice@a.org", "--db-path", path]);
    let properties = |reply: &str| reply.lines().count() > 10;
    let answer = wait_for("alice's own properties", || {
        let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
        assert_eq!(reply.status, 200);
        Some(reply.text().to_owned()).filter(|text| properties(text))
    });
    assert!(properties(&answer));
}
