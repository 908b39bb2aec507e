//! Outages of the database of every kind: no request fails, and missed changes are served soon
//! after the database is back.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::client::{Connection, form_request, post};
use support::database::{Database, DbServer, Kind};
use support::proxy::Proxy;
use support::server::{Server, jitsiprovs, run};
use support::sqlite::SqliteFile;
use support::{texts, wait_for};

const POLLING: [&str; 4] = ["--poll-interval", "0.1", "--reload-interval", "0"];

support::on_each_server!(
    killing_and_restarting_the_database_fails_no_request_and_edits_follow_soon,
    killing_the_database_during_a_load_fails_no_request_and_the_load_is_repeated,
    a_dead_database_connection_is_noticed_and_replaced,
    dropping_and_restoring_a_table_fails_no_request,
    a_server_starts_from_its_state_file_while_the_database_is_down,
    a_database_that_does_not_answer_delays_a_start_with_a_state_file_by_half_a_second,
);

/// Alice, and `users` others.
fn set_up(server: &DbServer, users: u32) -> Database<'_> {
    let database = server.database();
    let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    database.script(&format!(
        "DELETE FROM jitsi_property;
         INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw'));
         INSERT INTO jitsi_property VALUES (1, 'default', 1, 1, 'v', '1', NULL), (2, 'default', 1, 1, 'w', '1', NULL);
         INSERT INTO user_auth (username, domain, password)
             SELECT concat('user', seq), 'a.org', md5('pw') FROM {}",
        server.kind.count_to(users)
    ));
    database
}

fn set_version(database: &Database<'_>, version: u32) {
    database.script(&format!("UPDATE jitsi_property SET property_value = '{version}' WHERE id <= 2"));
}

fn ask(server: &Server) -> String {
    let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
    assert_eq!(reply.status, 200, "{reply:?}; {:#?}", server.log());
    reply.text().to_owned()
}

fn wait_served(server: &Server, version: u32) {
    wait_for(&format!("version {version}; {:#?}", server.log()), || {
        (ask(server) == format!("v={version}\nw={version}\n")).then_some(())
    });
}

/// Clients that send requests all the time, and accept only complete answers.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Load {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (stop, asked) = (stop.clone(), asked.clone());
            std::thread::spawn(move || {
                let request = form_request(&[("username", "alice@a.org"), ("password", "pw")]);
                let mut connection = Connection::open(address);
                while !stop.load(Ordering::Relaxed) {
                    connection.send(&request);
                    let reply = connection.receive().expect("an answer");
                    assert_eq!(reply.status, 200);
                    let values: Vec<&str> = reply.text().lines().map(|line| &line[2..]).collect();
                    assert!(values.len() == 2 && values[0] == values[1], "torn: {:?}", reply.text());
                    asked.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let clients = (0..8).map(client).collect();
        Load { stop, asked, clients }
    }

    /// Waits for some more answers.
    fn go_on(&self) {
        let before = self.asked.load(Ordering::Relaxed);
        wait_for("requests to be answered", || {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client failed");
            (self.asked.load(Ordering::Relaxed) > before + 100).then_some(())
        });
    }

    fn end(self) {
        self.go_on();
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("no request failed"));
    }
}

fn killing_and_restarting_the_database_fails_no_request_and_edits_follow_soon(kind: Kind) {
    let host = kind.start();
    let database = set_up(&host, 1000);
    let server = Server::start(&[&texts(&database.read())[..], &POLLING].concat());
    let load = Load::on(server.address);
    for (round, version) in [(1, 2), (2, 3)] {
        let wait_again = |text: &str| {
            let begun = Instant::now();
            wait_for(text, || {
                assert!(begun.elapsed() < Duration::from_secs(30), "{text}: {:#?}", server.log());
                (server.log().iter().filter(|line| line.contains(text)).count() >= round).then_some(())
            });
        };
        load.go_on();
        host.kill();
        wait_again("asking for changes failed");
        // A requested load fails now and is reported as failed, without other effects.
        server.signal("HUP");
        wait_again("reload failed");
        load.go_on();
        host.restart();
        set_version(&database, version);
        let back = Instant::now();
        wait_served(&server, version);
        assert!(back.elapsed() < Duration::from_secs(20), "that is the wait of a full backoff");
        wait_again("the database can be read again");
    }
    load.end();
}

fn killing_the_database_during_a_load_fails_no_request_and_the_load_is_repeated(kind: Kind) {
    let host = kind.start();
    let database = set_up(&host, 20_000);
    let proxy = Proxy::to(host.port);
    let server = Server::start(&[&texts(&proxy.options(&database))[..], &POLLING].concat());
    let load = Load::on(server.address);
    // Slow results are waited for, and block no request.
    proxy.delay.store(5_000, Ordering::Relaxed);
    server.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    load.go_on();
    host.kill();
    server.wait_for_log("reload failed");
    proxy.delay.store(0, Ordering::Relaxed);
    host.restart();
    set_version(&database, 2);
    wait_served(&server, 2);
    server.wait_for_log("the database can be read again");
    load.end();
    assert!(
        server
            .log()
            .iter()
            .filter(|line| line.contains("snapshot in use"))
            .all(|line| line.contains("users=20001"))
    );
}

fn a_dead_database_connection_is_noticed_and_replaced(kind: Kind) {
    let database = set_up(kind.server(), 5000);
    let proxy = Proxy::to(database.server.port);
    let server = Server::start(&[&texts(&proxy.options(&database))[..], &POLLING].concat());
    let load = Load::on(server.address);
    proxy.is_silent.store(true, Ordering::Relaxed);
    // One load hangs with the connection.
    server.signal("HUP");
    let line = server.wait_for_log("asking for changes failed");
    assert!(line.contains("no answer"), "{line}");
    set_version(&database, 2);
    load.go_on();
    proxy.is_silent.store(false, Ordering::Relaxed);
    wait_served(&server, 2);
    server.wait_for_log("the database can be read again");
    load.end();
}

fn dropping_and_restoring_a_table_fails_no_request(kind: Kind) {
    let database = set_up(kind.server(), 100);
    let server = Server::start(&[&texts(&database.read())[..], &POLLING].concat());
    wait_served(&server, 1);
    database.script("ALTER TABLE user_auth RENAME TO elsewhere");
    server.signal("HUP");
    let line = server.wait_for_log("reload failed");
    assert!(line.contains("`user_auth` is missing"), "{line}");
    wait_served(&server, 1);
    database.script("ALTER TABLE elsewhere RENAME TO user_auth");
    set_version(&database, 2);
    wait_served(&server, 2);
    server.wait_for_log("nothing has changed");
}

fn a_server_starts_from_its_state_file_while_the_database_is_down(kind: Kind) {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let host = kind.start();
    let database = set_up(&host, 10_000);
    let own = database.read();
    let args = [&texts(&own)[..], &POLLING, &["--state-file", state.to_str().expect("UTF-8")]].concat();
    let first = Server::start(&args);
    first.wait_for_log("snapshot in use");
    // The state file also contains changes found by polls.
    set_version(&database, 2);
    wait_served(&first, 2);
    first.signal("TERM");
    assert!(first.wait().success());

    host.kill();
    let second = Server::start(&args);
    wait_served(&second, 2);
    let line = second.wait_for_log("from the state file");
    assert!(line.contains("ready: snapshot 1 from the state file, the database cannot be read"), "{line}");
    let line = second.wait_for_log("snapshot in use");
    assert!(line.contains("users=10001") && line.contains("cause=\"state file\""), "{line}");

    host.restart();
    wait_for("the database to be read", || {
        second.log().iter().any(|line| line.contains("the database can be read again")).then_some(())
    });
    // The database has the same rows, so only later changes cause a swap.
    second.wait_for_log("nothing has changed");
    set_version(&database, 3);
    wait_served(&second, 3);
}

fn a_database_that_does_not_answer_delays_a_start_with_a_state_file_by_half_a_second(kind: Kind) {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let database = set_up(kind.server(), 100);
    let proxy = Proxy::to(database.server.port);
    let own = proxy.options(&database);
    let args = [&texts(&own)[..], &POLLING, &["--state-file", state.to_str().expect("UTF-8")]].concat();
    Server::start(&args).signal("TERM");
    let first = Server::start(&args);
    first.wait_for_log("snapshot in use");
    first.signal("TERM");
    assert!(first.wait().success());
    proxy.is_silent.store(true, Ordering::Relaxed);
    let second = Server::start(&args);
    wait_served(&second, 1);
    second.wait_for_log("cause=\"state file\"");
    proxy.is_silent.store(false, Ordering::Relaxed);
    set_version(&database, 2);
    wait_served(&second, 2);
}

#[test]
fn a_damaged_or_foreign_state_file_is_reported_and_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let nowhere = folder.path().join("nowhere.db");
    let start = |db: &Path| Server::on_sqlite(db, &["--state-file", state.to_str().expect("UTF-8")]);
    // Without a database and a usable state file, clients are asked to try again.
    std::fs::write(&state, "jitsiprovs state 2\nand then something else").expect("written");
    let server = start(&nowhere);
    server.wait_for_log("is damaged");
    let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")), "{reply:?}");
    assert!(reply.text().starts_with("# ") && reply.header("www-authenticate").is_none());
    drop(server);

    // A file that is not a state file of ours is never overwritten.
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "v", "1").rule(None, "default", 1, "w", "1");
    std::fs::write(&state, "precious").expect("written");
    let server = start(&file.path);
    server.wait_for_log("no state file of jitsiprovs");
    wait_served(&server, 1);
    server.signal("TERM");
    assert!(server.wait().success());
    assert_eq!(std::fs::read_to_string(&state).expect("readable"), "precious");

    // The state file of another database is not served.
    std::fs::remove_file(&state).expect("removed");
    let server = start(&file.path);
    wait_served(&server, 1);
    server.signal("TERM");
    assert!(server.wait().success());
    let server = start(&nowhere);
    server.wait_for_log("which is not the one in use");
    assert_eq!(post(server.address, &[("username", "alice@a.org"), ("password", "pw")]).status, 503);
}

fn status_of(address: SocketAddr, username: &str) -> u16 {
    post(address, &[("username", username), ("password", "pw")]).status
}

/// Moves the database of a file away, or back.
fn move_database(file: &SqliteFile, from: &str, to: &str) {
    for ending in ["", "-wal", "-shm"] {
        let at = |name: &str| file.folder.path().join(format!("{name}{ending}"));
        if at(from).exists() {
            std::fs::rename(at(from), at(to)).expect("renamed");
        }
    }
}

#[test]
fn without_the_database_a_server_starts_with_any_content_of_the_state_file() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let state = file.folder.path().join("state");
    let magic = "jitsiprovs state 2\n";
    let (nothing, begun) = (Vec::new(), |len| magic.as_bytes()[..len].to_vec());
    let short = [nothing, begun(1), b"x".to_vec(), begun(18), vec![b'x'; 18], vec![0; 18]];
    for content in short.into_iter().chain([b"precious notes, longer than that".to_vec(), vec![0; 4096]]) {
        std::fs::write(&state, &content).expect("written");
        move_database(&file, "test.db", "away");
        let server = Server::on_sqlite(&file.path, &["--state-file", state.to_str().expect("UTF-8")]);
        server.wait_for_log("requests are answered with 503 until the database is read");
        let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("5")), "{content:?}");
        move_database(&file, "away", "test.db");
        wait_for("alice to be served", || (status_of(server.address, "alice@a.org") == 200).then_some(()));
        let reported = server.log().iter().filter(|line| line.contains("the state file")).count();
        assert!(reported <= 1, "{:#?}", server.log());
        server.signal("TERM");
        assert!(server.wait().success());
        // A state file of ours is written again; any other file is left alone.
        let is_ours = magic.as_bytes().starts_with(&content);
        let now = std::fs::read(&state).expect("readable");
        assert_eq!(now.starts_with(magic.as_bytes()), is_ours, "{content:?}");
        assert!(is_ours || now == content);
    }
}

#[test]
fn users_after_the_damage_in_a_state_file_are_not_refused() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let state = file.folder.path().join("state");
    let args = ["--state-file", state.to_str().expect("UTF-8")];
    let server = Server::on_sqlite(&file.path, &args);
    for number in 1..=40 {
        let user = format!("user{number}");
        file.user("a.org", &user, "pw");
        let user = format!("{user}@a.org");
        wait_for(&user, || (status_of(server.address, &user) == 200).then_some(()));
    }
    server.signal("TERM");
    assert!(server.wait().success());
    move_database(&file, "test.db", "away");
    let whole = std::fs::read(&state).expect("a file");
    assert!(whole.len() > 2500, "{}", whole.len());
    let damaged = |damage: &dyn Fn(&mut Vec<u8>), expected: u16| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&state, bytes).expect("written");
        let server = Server::on_sqlite(&file.path, &args);
        for user in ["alice@a.org", "user20@a.org", "user40@a.org"] {
            assert_eq!(status_of(server.address, user), expected, "{user}: {:#?}", server.log());
        }
        let is_reported = server.log().iter().any(|line| line.contains("is damaged: nothing of it is used"));
        assert_eq!(is_reported, expected == 503);
    };
    damaged(&|_| {}, 200);
    for part in 1..8 {
        damaged(&|bytes| bytes[whole.len() * part / 8] ^= 1, 503);
    }
    damaged(&|bytes| bytes[1024..1536].fill(0), 503);
    damaged(&|bytes| bytes[whole.len() - 512..].fill(0), 503);
    damaged(&|bytes| bytes.extend([0; 512]), 503);
}

/// `ulimit -f` makes writes fail like a full disk, in whole blocks.
#[test]
fn a_full_disk_is_reported_and_affects_only_the_state_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let database = set_up(Kind::MariaDb.server(), 5000);
    let own = database.read();
    let args = [&texts(&own)[..], &POLLING, &["--state-file", state.to_str().expect("UTF-8")]].concat();
    let whole = [&["-n", "--http-ip", "127.0.0.1", "--http-port", "0"], &args[..]].concat();
    let binary = jitsiprovs(&[]).get_program().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""]).arg(binary).args(&whole);
    let server = Server::spawn(command);
    let line = server.wait_for_log("cannot write the state file");
    assert!(line.contains("the old snapshot") || line.contains("check the space"), "{line}");
    set_version(&database, 2);
    wait_served(&server, 2);
    assert!(!state.exists());
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left over");
}
