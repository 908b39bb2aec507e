//! Databases from before there were attributes: they are served, and `--setup` adds what they lack.

use support::client::post;
use support::mariadb::mariadb;
use support::server::{Server, run};
use support::{md5_hex, texts, wait_for};

/// The steps of the version before, with what it noted of them.
fn before(steps: [&str; 3]) -> String {
    let hash = md5_hex("pw");
    let seed = [
        "CREATE TABLE jitsiprovs_schema (version INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL,
             applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
        "INSERT INTO jitsiprovs_schema (version, name)
             VALUES (1, '001'), (2, '002'), (3, '003'), (0, 'default_properties')",
        &format!(
            "INSERT INTO user_auth (username, domain, password)
                 VALUES ('alice', 'a.org', '{hash}'), ('bob', 'b.org', '{hash}')"
        ),
        "INSERT INTO jitsi_property (domain, subject, spriority, ppriority, property_key, property_value)
             VALUES (NULL, 'default', 1, 1, 'ext', '${user.ext}'), ('a.org', 'default', 2, 1, 'v', '1')",
    ]
    .map(|statement| format!("{};\n", statement.trim_end().trim_end_matches(';')));
    steps.join("\n") + &seed.concat()
}

const ROWS: &str = "SELECT 'u', id, username, domain, password, '', '' FROM user_auth
    UNION ALL SELECT domain, id, subject, spriority, ppriority, property_key, property_value FROM jitsi_property
        WHERE subject <> 'user.disabled=yes' ORDER BY 2, 3";

fn expect(server: &Server, text: &str) {
    let alice = [("username", "alice"), ("domain", "a.org"), ("password", "pw")];
    wait_for(&format!("{text:?}"), || (post(server.address, &alice).text() == text).then_some(()));
}

/// `execute` runs statements, and `dump` returns the rows of [`ROWS`].
fn follow(args: &[&str], execute: &dyn Fn(&str), dump: &dyn Fn() -> String) {
    // The commands for rows, too, do without the table.
    assert!(run(&[&["export", "users"], args].concat()).status.success());
    let polling = ["--poll-interval", "0.05", "--reload-interval", "0", "--settle", "0"];
    let server = Server::start(&[args, &polling[..]].concat());
    expect(&server, "v=1\n");
    execute("UPDATE jitsi_property SET property_value = '2' WHERE property_key = 'v'");
    expect(&server, "v=2\n");
    assert!(server.log().iter().all(|line| !line.contains("user_attribute")), "{:?}", server.log());
    let rows = dump();
    let output = run(&[&["--setup"], args].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("004_attribute") && said.contains("seeded 3"), "{said}");
    assert_eq!(dump(), rows);
    // The server that has been running all the time reads the new table.
    execute(
        "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', 'ext', '17')",
    );
    expect(&server, "ext=17\nv=2\n");
    execute("UPDATE user_attribute SET value = '18'");
    expect(&server, "ext=18\nv=2\n");
    assert!(run(&[&["--setup"], args].concat()).stdout.starts_with(b"nothing to do"));
    assert_eq!(dump(), rows);
}

#[test]
fn a_sqlite_database_from_before_attributes_is_served_and_upgraded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("old.db");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    let execute = |sql: &str| connection.execute_batch(sql).expect("runs");
    execute(&before([
        include_str!("../sql/sqlite/001_original.sql"),
        include_str!("../sql/sqlite/002_tenant.sql"),
        include_str!("../sql/sqlite/003_change.sql"),
    ]));
    execute("PRAGMA journal_mode = WAL");
    let dump = || {
        let mut statement = connection.prepare(ROWS).expect("a query");
        let row = |row: &rusqlite::Row<'_>| (0..7).map(|at| row.get(at)).collect::<Result<Vec<_>, _>>();
        let rows: Result<Vec<Vec<rusqlite::types::Value>>, _> =
            statement.query_map([], row).expect("rows").collect();
        format!("{:?}", rows.expect("rows"))
    };
    follow(&["--db-path", path.to_str().expect("UTF-8")], &execute, &dump);
}

#[test]
fn a_mysql_database_from_before_attributes_is_served_and_upgraded() {
    let database = mariadb().database();
    database.script(&before([
        include_str!("../sql/mysql/001_original.sql"),
        include_str!("../sql/mysql/002_tenant.sql"),
        include_str!("../sql/mysql/003_change.sql"),
    ]));
    follow(&texts(&database.all()), &|sql| drop(database.script(sql)), &|| database.script(ROWS));
}
