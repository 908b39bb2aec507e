//! Loads do not read tables that have not changed, and miss no change because of that.

use std::path::Path;
use std::time::Duration;

use support::client::{exchange, post, request};
use support::database::{Database, Kind};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts, wait_for};

/// Only loads that a test asks for.
const ONLY_ASKED: [&str; 5] = ["--reload-interval", "0", "--poll-interval", "0", "--allow-shrink"];

support::on_each_server!(
    of_sixteen_loads_of_unchanged_tables_one_reads_them,
    each_kind_of_change_that_nothing_announces_is_seen_by_the_next_load,
    rows_that_a_poll_has_changed_are_read_by_the_next_load,
    own_queries_are_added_up_if_they_select_a_unique_number,
);

/// Tables as the original creates them, so that nothing announces changes: two users, and three
/// rules for everyone.
fn tables(kind: Kind) -> Database<'static> {
    let database = kind.database();
    database.script(kind.original());
    database.script(&format!(
        "INSERT INTO user_auth VALUES (1, 'alice', 'a.org', '{hash}'), (2, 'bob', 'a.org', '{hash}');
         INSERT INTO jitsi_property VALUES (1, 'default', 1, 1, 'u', '1'), (2, 'default', 1, 2, 'v', '2'),
             (3, 'default', 1, 3, 'w', '3')",
        hash = md5_hex("pw")
    ));
    // PostgreSQL does not count ids that were given.
    for table in ["user_auth", "jitsi_property"] {
        database.script(&kind.count_from(table, 4));
    }
    database
}

/// One rule, which needs the attribute `extension`.
const FROM_ATTRIBUTE: &str = "SELECT NULL, 'default', 1, 1, 'e', '${user.extension}'";

fn serve(database: &Database<'_>, more: &[&str]) -> Server {
    Server::start(&[&texts(&database.read()), &ONLY_ASKED[..], more].concat())
}

fn get(server: &Server, username: &str) -> String {
    post(server.address, &[("username", username), ("domain", "a.org"), ("password", "pw")]).text().to_owned()
}

/// Loads, and returns how many rows were read.
fn load(server: &Server) -> u64 {
    // Other loads may run at the same time, because the file has changed.
    let is_asked = |line: &&String| line.contains("cause=\"SIGHUP\"");
    let rows = |line: &String| line.split("rows_read=").nth(1)?.split(' ').next()?.parse().ok();
    let loads = || server.log().iter().filter(is_asked).filter_map(rows).collect::<Vec<u64>>();
    let before = loads().len();
    server.signal("HUP");
    wait_for("a load", || loads().get(before).copied())
}

/// Loads until the rows are left unread.
fn rest(server: &Server) {
    wait_for("a load that reads nothing", || (load(server) == 0).then_some(()));
}

fn of_sixteen_loads_of_unchanged_tables_one_reads_them(kind: Kind) {
    let database = tables(kind);
    let server = serve(&database, &["--admin-port", "0"]);
    assert_eq!([load(&server), load(&server)], [5, 5]);
    for _ in 0..15 {
        assert_eq!(load(&server), 0);
    }
    assert_eq!([load(&server), load(&server)], [5, 0]);
    let metrics = exchange(server.admin(), &request("GET", "/metrics", &[], b"")).text().to_owned();
    assert!(metrics.contains("jitsiprovs_load_rows_total 20\n"), "{metrics}");
    assert!(metrics.contains("jitsiprovs_load_tables_unread_total 32\n"), "{metrics}");
    assert_eq!(get(&server, "alice"), "u=1\nv=2\nw=3\n");
}

fn each_kind_of_change_that_nothing_announces_is_seen_by_the_next_load(kind: Kind) {
    let database = tables(kind);
    let server = serve(&database, &[]);
    let set = |what: &str| format!("UPDATE jitsi_property SET {what}");
    for (change, expected) in [
        (set("property_value = '' WHERE id = 1"), "u=\nv=2\nw=3\n"),
        // A value that is NULL makes the row unusable.
        (set("property_value = NULL WHERE id = 1"), "v=2\nw=3\n"),
        (set("property_value = '' WHERE id = 1"), "u=\nv=2\nw=3\n"),
        // Two rows exchange values of the same length.
        (
            set("property_value = CASE property_value WHEN '2' THEN '3' ELSE '2' END WHERE id IN (2, 3)"),
            "u=\nv=3\nw=2\n",
        ),
        (set("ppriority = 5 - ppriority WHERE id IN (2, 3)"), "u=\nw=2\nv=3\n"),
        // Two columns of a row exchange values.
        (set("property_key = '3', property_value = 'v' WHERE id = 2"), "u=\nw=2\n3=v\n"),
        (set("property_key = 'v', property_value = '3' WHERE id = 2"), "u=\nw=2\nv=3\n"),
        // Equal priorities count by id.
        (set("ppriority = 1"), "u=\nv=3\nw=2\n"),
        (set("id = 9 WHERE id = 1"), "v=3\nw=2\nu=\n"),
        ("DELETE FROM jitsi_property WHERE id = 2".into(), "w=2\nu=\n"),
        ("INSERT INTO jitsi_property VALUES (4, 'default', 1, 1, 'v', '4')".into(), "w=2\nv=4\nu=\n"),
        ("TRUNCATE jitsi_property".into(), ""),
    ] {
        rest(&server);
        database.script(&change);
        load(&server);
        assert_eq!(get(&server, "alice"), expected, "{change}");
    }
    rest(&server);
    database.script("UPDATE user_auth SET username = 'carol' WHERE id = 2");
    assert_ne!(load(&server), 0);
    let status = |username| {
        post(server.address, &[("username", username), ("domain", "a.org"), ("password", "pw")]).status
    };
    assert_eq!((status("carol"), status("alice")), (200, 200));
}

#[test]
fn the_same_bytes_in_another_character_set_are_another_state() {
    let database = tables(Kind::MariaDb);
    database.script("ALTER TABLE jitsi_property MODIFY property_value TEXT CHARACTER SET latin1");
    database.script("UPDATE jitsi_property SET property_value = 'Ã¼' WHERE id = 1");
    let server = serve(&database, &[]);
    assert_eq!(get(&server, "alice"), "u=\\u00C3\\u00BC\nv=2\nw=3\n");
    rest(&server);
    database.script(
        "ALTER TABLE jitsi_property MODIFY property_value BLOB;
         ALTER TABLE jitsi_property MODIFY property_value TEXT CHARACTER SET utf8mb4",
    );
    load(&server);
    assert_eq!(get(&server, "alice"), "u=\\u00FC\nv=2\nw=3\n");
    // Bytes that are no text.
    database.script("ALTER TABLE jitsi_property MODIFY property_value BLOB");
    database.script("UPDATE jitsi_property SET property_value = x'3f' WHERE id = 1");
    rest(&server);
    database.script("UPDATE jitsi_property SET property_value = x'ff' WHERE id = 1");
    load(&server);
    assert_eq!(get(&server, "alice"), "v=2\nw=3\n");
}

fn rows_that_a_poll_has_changed_are_read_by_the_next_load(kind: Kind) {
    let database = tables(kind);
    assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
    database.script("DELETE FROM jitsi_property WHERE id > 3");
    let polling = ["--reload-interval", "0", "--poll-interval", "0.1", "--settle", "0"];
    let server = Server::start(&[&texts(&database.read()), &polling[..]].concat());
    rest(&server);
    let expect = |text: &str| {
        wait_for(&format!("{text:?}"), || (get(&server, "alice") == text).then_some(()));
    };
    database.script("UPDATE jitsi_property SET property_value = '7' WHERE id = 1");
    expect("u=7\nv=2\nw=3\n");
    // Back to the rows that have the mark, which no trigger announces.
    database.script(&kind.drop_trigger("jitsiprovs_rule_update", "jitsi_property"));
    database.script("UPDATE jitsi_property SET property_value = '1' WHERE id = 1");
    // The users are still unread.
    assert_eq!(load(&server), 3);
    expect("u=1\nv=2\nw=3\n");
}

fn own_queries_are_added_up_if_they_select_a_unique_number(kind: Kind) {
    let database = tables(kind);
    let users = "SELECT username, domain, password, id FROM user_auth WHERE id < 5 ORDER BY id LIMIT 9";
    let rules =
        "SELECT NULL, subject, spriority, ppriority, property_key, property_value FROM jitsi_property";
    let server = serve(&database, &["--auth-query", users, "--rules-query", rules]);
    for _ in 0..3 {
        load(&server);
    }
    // Without an id, the order of the rules counts, and a sum cannot tell it.
    assert_eq!(load(&server), 3);
    database.script("UPDATE user_auth SET username = 'carol' WHERE id = 2");
    assert_eq!(load(&server), 5);
    assert_eq!(get(&server, "carol"), "u=1\nv=2\nw=3\n");
    // Attributes are added up too. Without an id they are read, even if a number comes last.
    database.script("ALTER TABLE user_auth ADD extension INT; ALTER TABLE user_auth ADD note TEXT");
    database.script("UPDATE user_auth SET extension = 17");
    for (more, is_summed) in [("id, extension, note", true), ("extension", false)] {
        let users = format!("SELECT username, domain, password, {more} FROM user_auth");
        let server = serve(&database, &["--auth-query", &users, "--rules-query", FROM_ATTRIBUTE]);
        (0..4).for_each(|_| assert_ne!(load(&server), 0));
        assert_eq!(load(&server), if is_summed { 1 } else { 3 }, "{more}");
        for extension in ["18", "NULL", "17"] {
            database.script(&format!("UPDATE user_auth SET extension = {extension} WHERE id = 1"));
            load(&server);
            let expected =
                extension.parse().map_or_else(|_| String::new(), |number: u32| format!("e={number}\n"));
            assert_eq!(get(&server, "alice"), expected, "{more}");
        }
    }
    // An id that is no number of 32 bits, and a query that cannot be part of another.
    for id in ["-id", "id * 10000000000", "concat('x', id)"] {
        let users = format!("SELECT username, domain, password, {id} FROM user_auth;");
        let server = serve(&database, &["--auth-query", &users]);
        for _ in 0..4 {
            assert!(load(&server) >= 2, "{id}");
        }
        database.script("UPDATE user_auth SET username = concat('x', username) WHERE id = 2");
        assert!(load(&server) >= 2, "{id}");
    }
}

fn sqlite() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").user("a.org", "bob", "pw").rule(None, "default", 1, "v", "1");
    file
}

/// A file with other values that is as long as `file`.
fn other(file: &Path) {
    let connection = rusqlite::Connection::open(file).expect("opens");
    connection
        .execute_batch("UPDATE jitsi_property SET property_value = '2'; PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("updates");
}

#[test]
fn a_sqlite_file_is_read_again_however_it_was_changed() {
    let file = sqlite();
    let server = Server::on_sqlite(&file.path, &ONLY_ASKED);
    file.execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE");
    let copy = file.folder.path().join("copy");
    let keep = |from: &Path, to: &Path| {
        // Like `cp -p`: even the time of the last write is the same.
        let written = std::fs::metadata(&file.path).and_then(|found| found.modified()).expect("a time");
        std::fs::copy(from, to).expect("copied");
        std::fs::File::options()
            .append(true)
            .open(to)
            .and_then(|copy| copy.set_modified(written))
            .expect("set");
    };
    keep(&file.path, &copy);
    other(&copy);
    rest(&server);
    // Overwritten in place, by a file that is as long and as old.
    keep(&copy, &file.path);
    assert_ne!(load(&server), 0);
    assert_eq!(get(&server, "alice"), "v=2\n");
    rest(&server);
    // Replaced by another file.
    std::fs::rename(&copy, &file.path).expect("renamed");
    assert_ne!(load(&server), 0);
    assert_eq!(get(&server, "alice"), "v=2\n");
    rest(&server);
    // Written into the log beside it, without a trigger.
    let connection = rusqlite::Connection::open(&file.path).expect("opens");
    let edit = "PRAGMA journal_mode = WAL; DROP TRIGGER jitsiprovs_rule_update;
                UPDATE jitsi_property SET property_value = '3'";
    connection.execute_batch(edit).expect("updates");
    assert_ne!(load(&server), 0);
    assert_eq!(get(&server, "alice"), "v=3\n");
}

#[test]
fn what_a_sqlite_file_does_not_hold_itself_is_always_read() {
    let file = sqlite();
    let users = "SELECT username, domain, password, id FROM user_auth";
    let server = Server::on_sqlite(&file.path, &[&ONLY_ASKED[..], &["--auth-query", users]].concat());
    // A view may depend on the time.
    file.execute(
        "ALTER TABLE jitsi_property RENAME TO rules; CREATE VIEW jitsi_property AS SELECT * FROM rules",
    );
    let file_settles = Duration::from_millis(2100);
    std::thread::sleep(file_settles);
    for _ in 0..4 {
        assert_eq!(load(&server), 3);
    }
}
