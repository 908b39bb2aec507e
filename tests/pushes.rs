//! PostgreSQL reports changes when they are committed. Polls are only for when it cannot.

use support::client::post;
use support::database::{Database, Kind, Session};
use support::pgbouncer::PgBouncer;
use support::server::{Server, run};
use support::{md5_hex, texts, wait_for};

/// No test waits for a poll, nor for a load of everything.
const NEVER: [&str; 6] = ["--poll-interval", "3600", "--reload-interval", "0", "--settle", "0"];
const POLLING: [&str; 6] = ["--poll-interval", "0.1", "--reload-interval", "0", "--settle", "0"];

const PUSHED: &str = "the database reports changes as they are committed";

/// The user alice, and two rules for everyone.
fn fill(database: &Database<'_>) {
    let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hash = md5_hex("pw");
    database.script(&format!(
        "DELETE FROM jitsi_property;
         INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{hash}');
         INSERT INTO jitsi_property VALUES (1, 'default', 1, 1, 'v', '1', NULL), (2, 'default', 1, 1, 'w', '1', NULL)"
    ));
}

fn set_up() -> Database<'static> {
    let database = Kind::Postgres.database();
    fill(&database);
    database
}

/// Serves a database, and waits until it reports changes.
fn serve_pushed(database: &Database<'_>, more: &[&str]) -> Server {
    let server = Server::start(&[&texts(&database.read()), &NEVER[..], more].concat());
    server.wait_for_log(PUSHED);
    server
}

fn set(database: &Database<'_>, id: u32, value: &str) {
    database.script(&format!("UPDATE jitsi_property SET property_value = '{value}' WHERE id = {id}"));
}

fn wait_served(server: &Server, expected: &str) {
    wait_for(&format!("{expected:?} to be served; {:#?}", server.log()), || {
        let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
        (reply.text() == expected).then_some(())
    });
}

/// Waits until the server has said for the `times`th time that it hears of changes.
fn wait_pushed(server: &Server, times: usize) {
    wait_for("changes to be reported again", || {
        (server.log().iter().filter(|line| line.contains(PUSHED)).count() >= times).then_some(())
    });
}

#[test]
fn edits_of_every_kind_are_served_without_a_poll() {
    let database = set_up();
    let server = serve_pushed(&database, &["--allow-shrink"]);
    set(&database, 1, "2");
    wait_served(&server, "v=2\nw=1\n");
    database.script("DELETE FROM jitsi_property WHERE id = 2");
    wait_served(&server, "v=2\n");
    database.script(
        "COPY jitsi_property (subject, spriority, ppriority, property_key, property_value) FROM STDIN;\n\
         default\t1\t1\tx\t${user.ext:-none}\n\\.\n",
    );
    wait_served(&server, "v=2\nx=none\n");
    database.script(
        "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', 'ext', '17')",
    );
    wait_served(&server, "v=2\nx=17\n");
    database.script("TRUNCATE user_attribute, jitsi_property");
    wait_served(&server, "");
    assert!(server.log().iter().all(|line| !line.contains("that no trigger noted")), "{:#?}", server.log());
}

/// The first transaction gets its id of a change before the second, and commits after it. A poll
/// for `id > last seen` never finds it.
#[test]
fn transactions_that_commit_out_of_order_lose_nothing_with_and_without_pushes() {
    let database = set_up();
    let pooler = PgBouncer::before(&database);
    let pushed = serve_pushed(&database, &[]);
    let polling = Server::start(&[&texts(&pooler.through(database.read())), &POLLING[..]].concat());
    polling.wait_for_log("so only polls notice them");
    let (mut late, mut early) = (Session::open(&database), Session::open(&database));
    let newest =
        "SELECT max(id) FROM jitsiprovs_change WHERE changed_table = 'jitsi_property' AND changed_id";
    for round in 2..5 {
        late.execute(&format!("BEGIN; UPDATE jitsi_property SET property_value = '{round}' WHERE id = 1"));
        early.execute(&format!(
            "BEGIN; UPDATE jitsi_property SET property_value = '{round}' WHERE id = 2; COMMIT"
        ));
        for server in [&pushed, &polling] {
            wait_served(server, &format!("v={}\nw={round}\n", round - 1));
        }
        late.execute("COMMIT");
        for server in [&pushed, &polling] {
            wait_served(server, &format!("v={round}\nw={round}\n"));
        }
        let is_lower = format!("SELECT ({newest} = 1) < ({newest} = 2)");
        assert_eq!(database.script(&is_lower), "t\n", "a poll for `id > last seen` finds both");
    }
}

#[test]
fn a_connection_that_is_ended_loses_no_change_and_is_replaced() {
    let database = set_up();
    let server = serve_pushed(&database, &[]);
    for round in 2..5 {
        database.disconnect("read");
        set(&database, 1, &round.to_string());
        wait_served(&server, &format!("v={round}\nw=1\n"));
        wait_pushed(&server, round);
        set(&database, 2, "9");
        wait_served(&server, &format!("v={round}\nw=9\n"));
        set(&database, 2, "1");
        wait_served(&server, &format!("v={round}\nw=1\n"));
    }
}

#[test]
fn a_restart_of_the_database_loses_no_change_and_pushes_come_back() {
    let host = Kind::Postgres.start();
    let database = host.database();
    fill(&database);
    let server = serve_pushed(&database, &[]);
    host.kill();
    server.wait_for_log("the database no longer reports changes");
    host.restart();
    set(&database, 1, "2");
    wait_served(&server, "v=2\nw=1\n");
    wait_pushed(&server, 2);
    set(&database, 1, "3");
    wait_served(&server, "v=3\nw=1\n");
}

/// Copies that have gone their own way take the place of the database, as a standby does.
#[test]
fn a_failover_to_a_copy_with_other_ids_of_changes_loses_no_change() {
    let database = set_up();
    let (name, admin) = (&database.name, |sql: &str| database.server.script("", sql));
    let copies = [("lower", 1), ("higher", 1_000_000)];
    for (copy, first) in copies {
        admin(&format!("CREATE DATABASE {name}_{copy} TEMPLATE {name} OWNER {name}_all"));
        database.server.script(
            &format!("{name}_{copy}"),
            &format!(
                "TRUNCATE jitsiprovs_change; ALTER TABLE jitsiprovs_change ALTER id RESTART WITH {first};
                 UPDATE jitsi_property SET property_value = '{copy}' WHERE id = 1"
            ),
        );
    }
    let server = serve_pushed(&database, &[]);
    for value in ["2", "3"] {
        set(&database, 1, value);
        wait_served(&server, &format!("v={value}\nw=1\n"));
    }
    for (round, (copy, _)) in copies.iter().enumerate() {
        admin(&format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
             SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}';
             ALTER DATABASE {name} RENAME TO {name}_before_{copy};
             ALTER DATABASE {name}_{copy} RENAME TO {name}"
        ));
        wait_served(&server, &format!("v={copy}\nw=1\n"));
        wait_pushed(&server, round + 2);
        set(&database, 2, copy);
        wait_served(&server, &format!("v={copy}\nw={copy}\n"));
        set(&database, 2, "1");
        wait_served(&server, &format!("v={copy}\nw=1\n"));
    }
}

#[test]
fn behind_a_pooler_polls_notice_changes_and_the_log_says_so() {
    let database = set_up();
    let pooler = PgBouncer::before(&database);
    let args = pooler.through(database.read());
    let server = Server::start(&[&texts(&args), &POLLING[..]].concat());
    let line = server.wait_for_log("so only polls notice them");
    assert!(line.contains("PgBouncer"), "{line}");
    for value in ["2", "3"] {
        set(&database, 1, value);
        wait_served(&server, &format!("v={value}\nw=1\n"));
    }
    // Commands work through it, too.
    let args = pooler.through(database.all());
    for command in [&["rule", "set", "1", "--value", "4"][..], &["rule", "list"], &["check"], &["--setup"]] {
        let output = run(&[command, &texts(&args)].concat());
        assert!(output.status.code() < Some(2), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    wait_served(&server, "v=4\nw=1\n");
    assert!(server.log().iter().all(|line| !line.contains(PUSHED)), "{:#?}", server.log());
}
