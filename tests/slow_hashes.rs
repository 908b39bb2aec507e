//! The cost of a sign-in with a slow hash, counted in hashes and not in time. Attackers must not
//! make the server compute a hash again and again, nor delay other users. A test may connect from
//! every address in 127.0.0.0/8.

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use support::client::{Connection, form_request, request};
use support::server::{ADMIN_SECRET, Server, run};
use support::sqlite::SqliteFile;
use support::wait_for;

/// A server whose only user is Alice, with a hash of this cost.
fn server(cost: u32, args: &[&str]) -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.stored_user("a.org", "alice", &bcrypt::hash("pw", cost).expect("a hash"));
    let server = Server::on_sqlite(&file.path, &[&["--admin-port", "0"], args].concat());
    (file, server)
}

fn caller(server: &Server, last: u8) -> Connection {
    Connection::open_from(Ipv4Addr::new(127, 0, 0, last), server.address)
}

fn sign_in(username: &str, password: &str) -> Vec<u8> {
    form_request(&[("username", username), ("domain", "a.org"), ("password", password)])
}

fn metric(server: &Server, name: &str) -> u64 {
    let reply = Connection::open(server.admin()).ask(&request("GET", "/metrics", &[], b""));
    let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("the metric is there").parse().expect("a number")
}

fn computed(server: &Server) -> u64 {
    metric(server, "jitsiprovs_slow_hashes_total")
}

#[test]
fn a_request_without_a_username_or_a_password_costs_no_hash() {
    let (_file, server) = server(4, &[]);
    let mut here = caller(&server, 2);
    let mut answers = Vec::new();
    for username in ["alice@a.org", "nobody@a.org", "alice@nowhere.org"] {
        for more in [&[][..], &[("password", "")], &[("pass", "")], &[("password", "${password}")]] {
            let mut reply = here.ask(&form_request(&[&[("username", username)], more].concat()));
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, None), "{username} {more:?}");
            reply.headers.retain(|(name, _)| name != "date");
            answers.push(reply);
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let anonymous = here.ask(&request("GET", "/jitsiprovs/", &[], b""));
    assert!(anonymous.status == 401 && anonymous.header("www-authenticate").is_some(), "{anonymous:?}");
    // Without a username it does not count as a guess either, so it must cost no hash.
    for pairs in [&[("password", "wrong")][..], &[("password", "pw"), ("username", "@a.org")]] {
        assert_eq!(here.ask(&form_request(pairs)).status, 401, "{pairs:?}");
    }
    assert_eq!(computed(&server), 0);
    assert_eq!(here.ask(&sign_in("alice", "pw")).status, 200);
    assert_eq!(computed(&server), 1);
}

#[test]
fn the_same_wrong_password_again_costs_no_hash_whether_the_user_exists_or_not() {
    let (_file, server) = server(4, &[]);
    for (at, username) in ["alice", "nobody"].into_iter().enumerate() {
        let credentials = BASE64.encode(format!("{username}@a.org:wrong"));
        let ways = [
            sign_in(username, "wrong"),
            sign_in(&username.to_uppercase(), "wrong"),
            request("GET", &format!("/jitsiprovs/?user={username}@A.ORG&pass=wrong"), &[], b""),
            request("GET", "/jitsiprovs/", &[("authorization", &format!("Basic {credentials}"))], b""),
        ];
        for last in 2..7 {
            for way in &ways {
                assert_eq!(caller(&server, last).ask(way).status, 401, "{username}");
            }
        }
        assert_eq!(computed(&server), at as u64 + 1, "{username}");
    }
    assert_eq!(caller(&server, 2).ask(&sign_in("alice", "pw")).status, 200);
    assert_eq!(caller(&server, 2).ask(&sign_in("alice", "other")).status, 401);
    assert_eq!(computed(&server), 4);
}

#[test]
fn the_same_wrong_password_sent_many_times_at_once_costs_few_hashes() {
    let (_file, server) = server(9, &[]);
    for username in ["alice", "nobody"] {
        let before = computed(&server);
        let mut connections: Vec<_> = (0..60).map(|last| caller(&server, 2 + last)).collect();
        connections.iter_mut().for_each(|connection| connection.send(&sign_in(username, "wrong")));
        for connection in &mut connections {
            assert_eq!(connection.receive().expect("an answer").status, 401);
        }
        let at_once = std::thread::available_parallelism().expect("a number").get() as u64;
        let computed = computed(&server) - before;
        assert!((1..=at_once.div_ceil(2)).contains(&computed), "{computed} for {username}");
    }
}

#[test]
fn a_password_that_was_wrong_is_accepted_after_the_row_changes() {
    let (file, server) = server(4, &["--settle", "0"]);
    let mut here = caller(&server, 2);
    for username in ["alice", "bob"] {
        assert_eq!(here.ask(&sign_in(username, "new")).status, 401);
    }
    let hash = bcrypt::hash("new", 4).expect("a hash");
    file.execute(&format!("UPDATE user_auth SET password = '{hash}' WHERE username = 'alice'"));
    file.stored_user("a.org", "bob", &hash);
    for username in ["alice", "bob"] {
        wait_for("the new password", || (here.ask(&sign_in(username, "new")).status == 200).then_some(()));
    }
    assert_eq!(here.ask(&sign_in("alice", "pw")).status, 401);
}

#[test]
fn many_wrong_passwords_from_one_address_do_not_delay_other_addresses() {
    // The throttle is off, and each hash takes long.
    jitsiprovs::process::raise_descriptors();
    let (_file, server) = server(10, &["--auth-fail-limit", "0"]);
    let mut attackers: Vec<Connection> = (0..1000).map(|_| caller(&server, 2)).collect();
    for (number, attacker) in attackers.iter_mut().enumerate() {
        attacker.send(&sign_in("alice", &format!("wrong {number}")));
    }
    // More requests than may wait for one address.
    wait_for("a full line", || {
        (metric(&server, "jitsiprovs_requests_total{result=\"busy\"}") >= 100).then_some(())
    });
    assert_eq!(caller(&server, 3).ask(&sign_in("alice", "pw")).status, 200, "another address is served");
    let refused = attackers.iter_mut().rev().filter(|attacker| attacker.has_news());
    let refused = refused.filter_map(Connection::receive).find(|reply| reply.status == 503);
    let refused = refused.expect("the last ones found no room");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(refused.text().starts_with("# "), "{refused:?}");
    let before = computed(&server);
    drop(attackers);
    // Clients that hang up leave the queue, so that the server has no work left.
    assert_eq!(caller(&server, 2).ask(&sign_in("alice", "one more")).status, 401);
    let after = computed(&server) - before;
    assert!(after < 100, "{after} hashes for clients that are gone");
}

/// Fails if there is no 200.
fn let_in(connections: &mut [Connection]) {
    for (number, connection) in connections.iter_mut().enumerate() {
        assert_eq!(connection.receive().expect("an answer").status, 200, "user{number}");
    }
}

#[test]
fn six_hundred_users_who_start_at_once_are_all_let_in_even_behind_one_address() {
    const USERS: u8 = 200;
    let file = SqliteFile::empty();
    // Cheap, because other tests run at the same time.
    let hash = bcrypt::hash("pw", 4).expect("a hash");
    file.execute("BEGIN");
    for tenant in ["a.org", "b.org", "c.org"] {
        (0..USERS).for_each(|user| _ = file.stored_user(tenant, &format!("user{user}"), &hash));
    }
    file.execute("COMMIT");
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0"]);
    jitsiprovs::process::raise_descriptors();
    let mut connections: Vec<Connection> = (0..600).map(|_| caller(&server, 2)).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        let (user, tenant) = (number / 3, ["a.org", "b.org", "c.org"][number % 3]);
        let user = format!("user{user}@{tenant}");
        connection.send(&form_request(&[("username", &user), ("password", "pw")]));
    }
    let_in(&mut connections);
    assert_eq!(computed(&server), 600);
    assert_eq!(metric(&server, "jitsiprovs_requests_total{result=\"busy\"}"), 0);
}

#[test]
fn with_remembered_sign_ins_a_restart_computes_no_hash_again() {
    let file = SqliteFile::empty();
    let hash = bcrypt::hash("pw", 4).expect("a hash");
    (0..20).for_each(|user| _ = file.stored_user("a.org", &format!("user{user}"), &hash));
    let state = file.folder.path().join("state");
    let records = file.folder.path().join("state.sign-ins");
    let state = state.to_str().expect("UTF-8");
    let all = ["--admin-port", "0", "--state-file", state, "--admin-secret-file", ADMIN_SECRET];
    let start = || Server::on_sqlite(&file.path, &[&all[..], &["--remember-sign-ins"]].concat());
    let sign_all_in = |server: &Server| {
        let before = computed(server);
        let mut here = caller(server, 2);
        for user in 0..20 {
            assert_eq!(here.ask(&sign_in(&format!("user{user}"), "pw")).status, 200);
        }
        assert_eq!(here.ask(&sign_in("user0", "wrong")).status, 401);
        assert_eq!(here.ask(&sign_in("nobody", "pw")).status, 401);
        computed(server) - before
    };
    let stop = |server: Server| {
        server.signal("TERM");
        assert!(server.wait().success());
    };
    let first = start();
    assert_eq!(sign_all_in(&first), 22);
    stop(first);
    let mode = std::os::unix::fs::PermissionsExt::mode(&records.metadata().expect("written").permissions());
    assert_eq!(mode & 0o777, 0o600);

    // One row changes meanwhile.
    let other = bcrypt::hash("pw", 4).expect("a hash");
    file.execute(&format!("UPDATE user_auth SET password = '{other}' WHERE username = 'user7'"));
    let second = start();
    second.wait_for_log("sign-ins of earlier processes are known count=20");
    assert_eq!(sign_all_in(&second), 3, "user7, the wrong password and the unknown user");
    stop(second);
    let third = start();
    assert_eq!(sign_all_in(&third), 2);
    stop(third);

    let kept = std::fs::read(&records).expect("the records");
    std::fs::write(&records, &kept[..kept.len() - 1]).expect("written");
    let damaged = start();
    damaged.wait_for_log("of earlier sign-ins is ignored (it is damaged");
    assert_eq!(sign_all_in(&damaged), 22);
    stop(damaged);
    // Without the option nothing is read.
    let without = Server::on_sqlite(&file.path, &all);
    assert_eq!(sign_all_in(&without), 22);
}

#[test]
fn status_and_check_say_how_many_first_sign_ins_a_second_are_possible() {
    let (file, server) = server(4, &[]);
    file.user("a.org", "bob", "pw");
    let node = format!("http://{}", server.admin());
    let status = wait_for("the measurement", || {
        let text = String::from_utf8(run(&["status", &node]).stdout).expect("UTF-8");
        text.contains("first sign-ins a second").then_some(text)
    });
    assert!(status.contains("all nodes agree"), "{status}");
    let check = |more: &[&str]| {
        let args = [&["check", "--db-path", file.path.to_str().expect("UTF-8")], more].concat();
        String::from_utf8(run(&args).stdout).expect("UTF-8")
    };
    let text = check(&[]);
    assert!(text.contains("slow hashes: 1 user of 2; on this machine, "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&check(&["--format", "json"])).expect("JSON");
    assert_eq!(json["summary"]["slow_users"], 1);
    assert!(json["summary"]["cold_sign_ins"].as_f64() > Some(0.0), "{json}");
}

#[test]
fn three_nodes_agree_about_which_names_cost_a_hash() {
    let (file, first) = server(4, &["--auth-fail-limit", "0"]);
    // Half of the users have a slow hash.
    for number in 0..24 {
        file.user("a.org", &format!("fast{number}"), "pw");
        file.stored_user("a.org", &format!("slow{number}"), &bcrypt::hash("pw", 4).expect("a hash"));
    }
    let more = || Server::on_sqlite(&file.path, &["--admin-port", "0", "--auth-fail-limit", "0"]);
    let nodes = [first, more(), more()];
    wait_for("the users", || (metric(&nodes[0], "jitsiprovs_snapshot_users") == 49).then_some(()));
    let costs = |node: &Server| {
        let cost = |number: usize| {
            let before = computed(node);
            assert_eq!(caller(node, 2).ask(&sign_in(&format!("nobody{number}"), "wrong")).status, 401);
            computed(node) - before
        };
        (0..48).map(cost).collect::<Vec<u64>>()
    };
    let [one, two, three] = nodes.each_ref().map(costs);
    assert!(one == two && two == three, "{one:?}\n{two:?}\n{three:?}");
    let slow = one.iter().sum::<u64>();
    assert!((5..=43).contains(&slow), "{slow} of 48 names that do not exist, half of those that do");
}
