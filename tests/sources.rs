//! Users, rules and attributes from the operator's own queries.

use support::client::post;
use support::database::Kind;
use support::server::{Server, run};
use support::{md5_hex, texts, wait_for};

/// Tables of a SIP server, and rules in a table of the operator's.
fn tables() -> String {
    let ha1 = |name: &str| md5_hex(&format!("{name}:example.org:pw"));
    let (alice, bob) = (ha1("alice"), ha1("bob"));
    format!(
        "CREATE TABLE subscriber (id INTEGER PRIMARY KEY, username VARCHAR(64), domain VARCHAR(64),
             password VARCHAR(64), ha1 VARCHAR(128), extension INTEGER, caller_name VARCHAR(64));
         CREATE TABLE usr_preferences (id INTEGER PRIMARY KEY, uuid VARCHAR(64), username VARCHAR(64),
             domain VARCHAR(64), attribute VARCHAR(32), type INTEGER, value VARCHAR(128));
         CREATE TABLE phone_rule (id INTEGER PRIMARY KEY, subject VARCHAR(64), k TEXT, v TEXT);
         INSERT INTO subscriber VALUES (7, 'alice', 'example.org', 'a\\b$c', '{alice}', 17, 'Alice Á'),
             (9, 'bob', 'example.org', '', '{bob}', NULL, 'Bob');
         INSERT INTO usr_preferences VALUES (1, '', 'alice', 'example.org', 'grp', 0, 'sales'),
             (2, '', 'alice', 'example.org', 'grp', 0, 'support'), (3, '', '', 'example.org', 'proxy', 0, 'p1'),
             (4, '', 'bob', 'example.org', 'proxy', 0, 'p2'), (5, '', 'bob', 'example.org', 'call-fwd', 0, 'x');
         INSERT INTO phone_rule VALUES (1, 'default', 'name', '${{user.caller_name}}'),
             (2, 'default', 'ext', '${{user.extension}}'), (3, 'default', 'sip', '${{user.sip_password:-none}}'),
             (4, 'default', 'proxy', '${{user.proxy}}'), (5, 'user.grp=support', 'queue', '${{user.grp}}')"
    )
}

const QUERIES: [&str; 8] = [
    "--pwd-fmt",
    "ha1",
    "--auth-query",
    "SELECT username, domain, ha1, id, extension, caller_name, nullif(password, '') AS SIP_password FROM subscriber",
    "--attribute-query",
    "SELECT domain, username, attribute, value, id FROM usr_preferences",
    "--rules-query",
    "SELECT NULL, subject, id, 1, k, v, id FROM phone_rule",
];
const ALICE: &str = "name=Alice \\u00C1\next=17\nsip=a\\\\b$c\nproxy=p1\nqueue=sales\n";
const BOB: &str = "name=Bob\nsip=none\nproxy=p2\n";

fn get(server: &Server, username: &str) -> String {
    let reply =
        post(server.address, &[("username", username), ("domain", "example.org"), ("password", "pw")]);
    assert_eq!(reply.status, 200);
    reply.text().to_owned()
}

/// Serves the tables, and edits them with `edit` meanwhile.
fn follow(database: &[&str], edit: impl Fn(&str)) {
    let server =
        Server::start(&[database, &QUERIES, &["--reload-interval", "0", "--poll-interval", "0"]].concat());
    assert_eq!([get(&server, "alice"), get(&server, "bob")], [ALICE, BOB]);
    assert!(server.log().iter().any(|line| line.contains("the name is no name")));
    edit("UPDATE subscriber SET extension = 18, caller_name = NULL WHERE id = 7");
    edit("UPDATE usr_preferences SET value = 'p3' WHERE id = 3");
    server.signal("HUP");
    let expected = ALICE.replace("17", "18").replace("p1", "p3").replace("name=Alice \\u00C1\n", "");
    wait_for("the new attributes", || (get(&server, "alice") == expected).then_some(()));
    edit("DELETE FROM usr_preferences WHERE username = 'alice'");
    server.signal("HUP");
    let expected = expected.replace("queue=sales\n", "");
    wait_for("the group to be gone", || (get(&server, "alice") == expected).then_some(()));
    assert_eq!(get(&server, "bob"), BOB);
}

#[test]
fn users_and_preferences_of_a_sip_server_are_attributes_with_select_only() {
    for kind in Kind::ALL {
        let database = kind.database();
        // MariaDB takes a backslash in a text for an escape.
        let escape = if kind == Kind::MariaDb { "\\\\" } else { "\\" };
        database.script(&tables().replace('\\', escape));
        follow(&texts(&database.read()), |sql| drop(database.script(sql)));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sip.db");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.execute_batch(&tables()).expect("tables");
    let edit = |sql: &str| connection.execute_batch(sql).expect("an edit");
    follow(&["--db-path", path.to_str().expect("UTF-8")], edit);
}

#[test]
fn attributes_of_queries_are_in_the_state_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sip.db");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.execute_batch(&tables()).expect("tables");
    let state = folder.path().join("state");
    let args = ["--db-path", path.to_str().expect("UTF-8"), "--state-file", state.to_str().expect("UTF-8")];
    let args = [&args, &QUERIES[..]].concat();
    let server = Server::start(&args);
    wait_for("the state file", || state.exists().then_some(()));
    server.signal("TERM");
    assert!(server.wait().success());
    drop(connection);
    std::fs::rename(&path, folder.path().join("away")).expect("renamed");
    let server = Server::start(&args);
    assert_eq!([get(&server, "alice"), get(&server, "bob")], [ALICE, BOB]);
}

#[test]
fn a_query_that_cannot_be_used_is_named_with_its_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sip.db");
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.execute_batch(&tables()).expect("tables");
    let users = "SELECT username, domain, ha1";
    for (option, query, words) in [
        (
            "--auth-query",
            format!("{users}, id, max(extension) FROM subscriber"),
            "a column called `max(extension)`",
        ),
        (
            "--auth-query",
            format!("{users}, id, extension, 1 AS Extension FROM subscriber"),
            "called `Extension`",
        ),
        ("--auth-query", "SELECT username, domain FROM subscriber".into(), "selects 2 columns"),
        ("--attribute-query", "SELECT 1, 2, 3".into(), "domain, username, name, value and optionally id"),
        ("--attribute-query", "SELECT * FROM nowhere".into(), "your query for user_attribute failed"),
    ] {
        let database = ["check", "--db-path", path.to_str().expect("UTF-8")];
        let mut queries = QUERIES;
        let at = queries.iter().position(|given| *given == option).expect("the option");
        queries[at + 1] = &query;
        let output = run(&[&database, &queries[..]].concat());
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(words) && error.contains(option), "{query}: {error}");
    }
}
