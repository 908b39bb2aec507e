//! A 401 makes a client forget its password. So the server sends none while it may not know the
//! user or the password yet.

use std::sync::atomic::Ordering;

use support::client::{Reply, exchange, post, request};
use support::database::{Database, Kind};
use support::proxy::Proxy;
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{texts, wait_for};

const POLLING: [&str; 6] = ["--poll-interval", "0.1", "--reload-interval", "0", "--stale-after", "0.5"];

fn sign_in(server: &Server, name: &str, password: &str) -> Reply {
    post(server.address, &[("username", &format!("{name}@a.org")), ("password", password)])
}

fn status(server: &Server, name: &str, password: &str) -> u16 {
    sign_in(server, name, password).status
}

fn wait_status(server: &Server, name: &str, password: &str, expected: u16) {
    wait_for(&format!("{expected} for {name}; {:#?}", server.log()), || {
        (status(server, name, password) == expected).then_some(())
    });
}

fn database_of_alice(kind: Kind) -> Database<'static> {
    let database = kind.database();
    let set_up = run(&[&["--setup"], &texts(&database.all())[..]].concat());
    assert!(set_up.status.success(), "{set_up:?}");
    database
        .script("INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw'))");
    database
}

/// Checks that only known credentials are accepted, and that all other clients are asked to try
/// again.
fn is_stale(server: &Server) {
    assert_eq!(status(server, "alice", "pw"), 200);
    for (name, password) in [("alice", "rotated"), ("new", "pw")] {
        let reply = sign_in(server, name, password);
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")), "{reply:?}");
        assert!(reply.text().starts_with("# ") && reply.header("www-authenticate").is_none(), "{reply:?}");
    }
    server.wait_for_log("result=stale");
    // A request without credentials gets a 401, because no newer data could change that.
    let reply = exchange(server.address, &request("GET", "/jitsiprovs/", &[], b""));
    assert_eq!((reply.status, reply.header("www-authenticate").is_some()), (401, true), "{reply:?}");
}

#[test]
fn after_a_start_from_the_state_file_failed_sign_ins_get_503_until_the_database_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let sqlite = SqliteFile::empty();
    sqlite.user("a.org", "alice", "pw");
    let path = sqlite.path.to_str().expect("UTF-8");
    let mut places = vec![(vec!["--db-path".to_owned(), path.to_owned()], None)];
    for kind in Kind::ALL {
        let database = database_of_alice(kind);
        let proxy = Proxy::to(database.server.port);
        places.push((proxy.options(&database), Some(proxy)));
    }
    for (own, proxy) in places {
        let args = [&texts(&own)[..], &POLLING, &["--state-file", state.to_str().expect("UTF-8")]].concat();
        let first = Server::start(&args);
        wait_status(&first, "alice", "rotated", 401);
        first.signal("TERM");
        assert!(first.wait().success());

        let away = sqlite.path.with_extension("away");
        match &proxy {
            None => std::fs::rename(&sqlite.path, &away).expect("renamed"),
            Some(proxy) => proxy.is_silent.store(true, Ordering::Relaxed),
        }
        let second = Server::start(&args);
        second.wait_for_log("from the state file");
        is_stale(&second);
        match &proxy {
            None => std::fs::rename(&away, &sqlite.path).expect("renamed"),
            Some(proxy) => proxy.is_silent.store(false, Ordering::Relaxed),
        }
        wait_status(&second, "alice", "rotated", 401);
        assert_eq!((status(&second, "new", "pw"), status(&second, "alice", "pw")), (401, 200));
        second.signal("TERM");
        assert!(second.wait().success());
        std::fs::remove_file(&state).expect("removed");
    }
}

#[test]
fn during_a_long_outage_failed_sign_ins_get_503() {
    let sqlite = SqliteFile::empty();
    sqlite.user("a.org", "alice", "pw");
    let path = sqlite.path.to_str().expect("UTF-8");

    let server = Server::start(&[&["--db-path", path][..], &POLLING].concat());
    assert_eq!(status(&server, "new", "pw"), 401);
    sqlite.execute("ALTER TABLE user_auth RENAME TO elsewhere");
    server.signal("HUP");
    wait_status(&server, "new", "pw", 503);
    is_stale(&server);
    sqlite.execute("ALTER TABLE elsewhere RENAME TO user_auth");
    wait_status(&server, "new", "pw", 401);

    for kind in Kind::ALL {
        let database = database_of_alice(kind);
        let proxy = Proxy::to(database.server.port);
        let server = Server::start(&[&texts(&proxy.options(&database))[..], &POLLING].concat());
        assert_eq!(status(&server, "new", "pw"), 401);
        proxy.is_silent.store(true, Ordering::Relaxed);
        wait_status(&server, "new", "pw", 503);
        is_stale(&server);
        proxy.is_silent.store(false, Ordering::Relaxed);
        wait_status(&server, "new", "pw", 401);
    }
}

#[test]
fn wrong_passwords_are_throttled_while_the_data_is_stale() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let path = file.path.to_str().expect("UTF-8");
    let args = ["--db-path", path, "--state-file", state.to_str().expect("UTF-8"), "--auth-fail-limit", "3"];
    let first = Server::start(&args);
    first.signal("TERM");
    assert!(first.wait().success());
    std::fs::remove_file(&file.path).expect("removed");
    let server = Server::start(&args);
    let guesses: Vec<u16> = (0..5).map(|at| status(&server, "alice", &format!("guess {at}"))).collect();
    assert_eq!(guesses, [503, 503, 503, 429, 429], "{:#?}", server.log());
    assert!(!server.log().iter().any(|line| line.contains("authentication failed")));
}

#[test]
fn a_refusal_is_no_401_while_the_account_is_withheld_or_was_changed_a_moment_ago() {
    let file = SqliteFile::empty();
    for at in 0..40 {
        file.user("a.org", &format!("user{at}"), "pw");
    }
    let path = file.path.to_str().expect("UTF-8");
    let server = Server::start(&["--db-path", path, "--poll-interval", "0.1", "--settle", "1"]);
    assert_eq!(status(&server, "user1", "wrong"), 401);
    file.execute("DELETE FROM user_auth WHERE username = 'user39'");
    wait_for("the deletion", || (status(&server, "user39", "pw") != 200).then_some(()));
    wait_for("a certain refusal", || (status(&server, "user39", "pw") == 401).then_some(()));

    file.execute("DELETE FROM user_auth WHERE username <> 'user0'");
    server.wait_for_log("a loss is withheld");
    file.user("a.org", "new", "pw");
    wait_for("the new user", || (status(&server, "new", "pw") == 200).then_some(()));
    assert_eq!((status(&server, "user1", "pw"), status(&server, "user1", "wrong")), (200, 503));
    assert_eq!((status(&server, "user0", "wrong"), status(&server, "nobody", "pw")), (401, 401));
    // A request without a password gets a 401, because no newer data could change that.
    assert_eq!(post(server.address, &[("username", "new@a.org")]).status, 401);
}

#[test]
fn while_nobody_can_sign_in_no_refusal_is_certain() {
    let file = SqliteFile::empty();
    let server = Server::on_sqlite(&file.path, &["--poll-interval", "0.1"]);
    assert_eq!(status(&server, "alice", "pw"), 503);
    file.user("a.org", "bob", "pw");
    wait_for("the user", || (status(&server, "alice", "pw") == 401).then_some(()));
}
