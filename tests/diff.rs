//! `jitsiprovs diff`, and the generated completions and manual pages.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jitsiprovs::core::model::{Cell, Row, UserRow};
use jitsiprovs::snapshot::content;
use support::client::{exchange, post, request};
use support::database::Kind;
use support::server::{ADMIN_SECRET, Server, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts, wait_for};

/// Options of a node that never polls, so that it does not notice edits.
const DEAF: [&str; 8] = [
    "--poll-interval",
    "0",
    "--reload-interval",
    "0",
    "--admin-port",
    "0",
    "--admin-secret-file",
    ADMIN_SECRET,
];

/// Options of a node that polls, so that it notices edits.
const HEARING: [&str; 4] = ["--admin-port", "0", "--admin-secret-file", ADMIN_SECRET];

/// Makes `diff` not wait for the node to catch up.
const AT_ONCE: [&str; 2] = ["--max-lag", "0"];

fn diff(server: &Server, file: &SqliteFile, more: &[&str]) -> (Option<i32>, String) {
    let (url, path) = (format!("http://{}", server.admin()), file.path.to_str().expect("UTF-8"));
    let own = ["diff", &url, "--db-path", path, "--admin-secret-file", ADMIN_SECRET];
    let output = run(&[&own, more].concat());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
}

/// Adds, changes and removes rows of the file at `path` a hundred times a second while `work` runs.
fn while_editing<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let connection = rusqlite::Connection::open(path).expect("opens");
            connection.busy_timeout(Duration::from_secs(10)).expect("set");
            for at in (0..).take_while(|_| !is_done.load(Ordering::Relaxed)) {
                let sql = format!(
                    "INSERT INTO user_auth (username, domain, password) VALUES ('new{at}', 'b.org', 'x');
                     UPDATE user_auth SET password = '{at}' WHERE username = 'busy';
                     UPDATE user_auth SET password = '{at}' WHERE username = 'new{}';
                     DELETE FROM user_auth WHERE username = 'new{}'",
                    at - at.min(5),
                    at - at.min(10),
                );
                connection.execute_batch(&sql).expect(&sql);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_done.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn ongoing_edits_are_no_difference_if_the_node_follows_them() {
    let file = SqliteFile::empty();
    file.user("a.org", "busy", "pw").user("a.org", "alice", "pw");
    let server = Server::on_sqlite(&file.path, &HEARING);
    while_editing(&file.path, || {
        for _ in 0..5 {
            let (code, text) = diff(&server, &file, &["--max-lag", "30"]);
            assert_eq!(code, Some(0), "{text}");
            assert!(text.starts_with("TABLE") && text.contains("\n0 of "), "{text}");
        }
    });
}

#[test]
fn a_node_that_does_not_follow_is_found_during_ongoing_edits() {
    let (file, other) = (SqliteFile::empty(), SqliteFile::empty());
    for file in [&file, &other] {
        file.user("a.org", "busy", "pw").user("a.org", "alice", "pw").user("a.org", "bob", "pw");
    }
    let server = Server::on_sqlite(&file.path, &DEAF);
    other.execute("UPDATE user_auth SET password = 'x' WHERE username IN ('alice', 'busy')");
    other.execute("DELETE FROM user_auth WHERE username = 'bob'");
    let (code, text) = while_editing(&other.path, || diff(&server, &other, &["--max-lag", "1"]));
    assert_eq!(code, Some(1), "{text}");
    let tells = |what: &str, row: &str| {
        text.lines().any(|line| line.starts_with("user_auth") && line.contains(what) && line.ends_with(row))
    };
    // The row that is edited all the time was never served either.
    assert!(tells("other", "alice@a.org") && tells("gone", "gone") && tells("other", "busy@a.org"), "{text}");
}

#[test]
fn a_node_is_compared_with_the_database_row_by_row() {
    let file = SqliteFile::seeded();
    file.user("a.org", "alice", "pw").user("a.org", "bob", "pw").rule(None, "bob", 1, "own", "v");
    let server = Server::on_sqlite(&file.path, &DEAF);
    let (code, text) = diff(&server, &file, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("0 of 65 rows differ\n"), "{text}");

    // Another file with the same rows, which the node does not watch.
    let other = SqliteFile::empty();
    other.execute(&format!(
        "DELETE FROM jitsi_property; ATTACH '{}' AS first;
         INSERT INTO user_auth SELECT * FROM first.user_auth;
         INSERT INTO jitsi_property SELECT * FROM first.jitsi_property;",
        file.path.display()
    ));
    assert_eq!(diff(&server, &other, &AT_ONCE).0, Some(0));
    other.execute(
        "UPDATE user_auth SET password = 'x' WHERE username = 'alice';
         DELETE FROM user_auth WHERE username = 'bob';
         UPDATE jitsi_property SET property_value = 'w' WHERE subject = 'bob';",
    );
    other.user("a.org", "carol", "pw");
    let (code, text) = diff(&server, &other, &AT_ONCE);
    assert_eq!(code, Some(1), "{text}");
    for (what, row) in
        [("other", "alice@a.org"), ("not served", "carol@a.org"), ("gone", ""), ("other", "bob own")]
    {
        let is_it = |line: &str| line.contains(what) && line.ends_with(row);
        assert!(text.lines().any(is_it), "{what} {row}: {text}");
    }
    assert!(text.ends_with("4 of 65 rows differ\n"), "{text}");
    let (code, text) = diff(&server, &other, &["--format", "json", "--max-lag", "1"]);
    let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, list.as_array().map(Vec::len)), (Some(1), Some(4)));
    assert_eq!(list[0]["table"], "user_auth");
}

#[test]
fn many_rows_are_compared_page_by_page() {
    let file = SqliteFile::empty();
    // A page has 10,000 rows, so there are three.
    file.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
         INSERT INTO user_auth (username, domain, password) SELECT 'user' || i, 'a.org', '9dd4e461268c8034f5c8564e155c67a6' FROM n",
    );
    let server = Server::on_sqlite(&file.path, &HEARING);
    let (code, text) = diff(&server, &file, &[]);
    assert_eq!(code, Some(0), "{text}");
    file.execute("UPDATE user_auth SET password = '098f6bcd4621d373cade4e832627b4f6' WHERE id = 24999");
    let alice = [("username", "user24999@a.org"), ("password", "test")];
    wait_for("the edit", || (post(server.address, &alice).status == 200).then_some(()));
    assert_eq!(diff(&server, &file, &[]).0, Some(0));
}

#[test]
fn a_node_that_cannot_be_asked_is_named() {
    let file = SqliteFile::empty();
    let path = file.path.to_str().expect("UTF-8");
    let own = ["--db-path", path, "--admin-secret-file", ADMIN_SECRET];
    let output = run(&[&["diff", "http://127.0.0.1:1"], &own[..]].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("error: asking 127.0.0.1:1: cannot connect"), "{text}");
}

/// Clients that reach the listener learn nothing about a row that lets them test passwords: neither
/// from the pages that anyone can read, nor by asking with a key of their own.
#[test]
fn rows_are_sent_only_to_clients_that_have_the_secret() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "letmein");
    let (url, path) =
        (|server: &Server| format!("http://{}", server.admin()), file.path.to_str().expect("UTF-8"));
    let row =
        Row::User(UserRow::from_cells(1, ["alice".into(), "a.org".into(), Cell::from(&*md5_hex("letmein"))]));
    let guess = content(&row);
    let rows = |server: &Server, headers: &[(&str, &str)]| {
        let target = format!("/rows?user_auth={}", i64::MIN);
        exchange(server.admin(), &request("GET", &target, headers, b""))
    };
    let told = |server: &Server| {
        let status = exchange(server.admin(), &request("GET", "/status", &[], b""));
        let status: serde_json::Value = serde_json::from_slice(&status.body).expect("JSON");
        status["digest"].as_str().expect("text").to_owned()
    };
    let forms = [format!("{guess:016x}"), format!("{:016x}", guess >> 8)];

    let server = Server::on_sqlite(&file.path, &["--admin-port", "0"]);
    assert_eq!((rows(&server, &[]).status, told(&server)), (404, String::new()));
    let own = ["--db-path", path, "--admin-secret-file", ADMIN_SECRET];
    let output = run(&[&["diff", &url(&server)], &own[..]].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("404") && text.contains("--admin-secret-file"), "{text}");
    drop(server);

    let server = Server::on_sqlite(&file.path, &HEARING);
    let key = "0123456789abcdef0123456789abcdef";
    for headers in
        [&[][..], &[("authorization", key)], &[("authorization", "jitsiprovs 00")], &[("x-key", key)]]
    {
        let reply = rows(&server, headers);
        assert_eq!(reply.status, 403, "{headers:?}");
        assert!(forms.iter().all(|form| !reply.text().contains(form)));
    }
    let digest = told(&server);
    assert!(digest.len() == 16 && !forms.contains(&digest), "{digest}");
    assert_eq!(diff(&server, &file, &AT_ONCE).0, Some(0));

    let other = file.folder.path().join("other-secret");
    std::fs::write(&other, "another secret of the right length").expect("written");
    let other = other.to_str().expect("UTF-8");
    let output = run(&["diff", &url(&server), "--db-path", path, "--admin-secret-file", other]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("403"), "{text}");
    std::fs::write(other, "short").expect("written");
    let output = run(&["diff", &url(&server), "--db-path", path, "--admin-secret-file", other]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("at least 32"), "{text}");
}

support::on_each_server!(the_same_rows_are_equal_in_sqlite_and_on_a_server);

/// Servers send numbers as text, and those of `DECIMAL` columns with decimal places.
fn the_same_rows_are_equal_in_sqlite_and_on_a_server(kind: Kind) {
    let rows = "
        DELETE FROM jitsi_property;
        INSERT INTO user_auth (id, username, domain, password)
            VALUES (1, 'alice', 'a.org', '8fe4c11451281c094a6578e6ddbf5eed'), (2, '017', 'a.org', NULL);
        INSERT INTO jitsi_property (id, domain, subject, spriority, ppriority, property_key, property_value)
            VALUES (1, NULL, 'default', 10, 10, 'k', '10'), (2, 'a.org', 'alice', 9, 10, 'k', '9'),
                   (3, 'a.org', 'alice', 9, 9, 'l', '8'), (4, NULL, 'default', NULL, -1, 'm', '');
        INSERT INTO user_attribute (id, domain, username, name, value)
            VALUES (1, 'a.org', 'alice', 'extension', '17');";
    let (file, database) = (SqliteFile::empty(), kind.database());
    assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
    file.execute(rows);
    database.script(rows);
    let on_file = Server::on_sqlite(&file.path, &HEARING);
    let answer = |server: &Server| {
        post(server.address, &[("username", "alice@a.org"), ("password", "pw")]).text().to_owned()
    };
    assert_eq!(answer(&on_file), "m=\nl=8\nk=9\n");
    let own = database.read();
    let types = match kind {
        Kind::MariaDb => {
            ["", "MODIFY spriority DECIMAL(10,2), MODIFY ppriority VARCHAR(9)", "MODIFY spriority TEXT"]
        }
        Kind::Postgres => [
            "",
            "ALTER spriority TYPE DECIMAL(10,2), ALTER ppriority TYPE VARCHAR(9)",
            "ALTER spriority TYPE TEXT",
        ],
    };
    for columns in types {
        if !columns.is_empty() {
            database.script(&format!("ALTER TABLE jitsi_property {columns}"));
            database.script("UPDATE jitsi_property SET ppriority = ' 9' WHERE id = 3");
        }
        let on_server = Server::start(&[&texts(&own)[..], &HEARING].concat());
        assert_eq!(answer(&on_server), answer(&on_file), "{columns}");
        let url = format!("http://{}", on_server.admin());
        let output = run(&["status", &url, &format!("http://{}", on_file.admin()), "--format", "json"]);
        let nodes =
            serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")["nodes"].take();
        assert_eq!(nodes[0]["digest"], nodes[1]["digest"], "{columns}: {nodes}");
        assert!(nodes[0]["digest"].as_str().is_some_and(|digest| !digest.is_empty()), "{nodes}");
        let (code, text) = diff(&on_server, &file, &AT_ONCE);
        assert_eq!((code, text.ends_with("0 of 7 rows differ\n")), (Some(0), true), "{columns}: {text}");
        let file_url = format!("http://{}", on_file.admin());
        let secret = ["--admin-secret-file", ADMIN_SECRET];
        let output = run(&[&["diff", &file_url], &texts(&own)[..], &secret, &AT_ONCE].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success() && text.contains("explain") && text.contains("db-path"), "{shell}");
        let script = folder.path().join(shell);
        std::fs::write(&script, text).expect("writes");
        let read = Command::new(shell).arg("-n").arg(script).output().expect(shell);
        assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
    }
    let output = run(&["man", folder.path().to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(page("jitsiprovs.1").contains("http") && page("jitsiprovs-user-add.1").contains("domain"));
    assert!(page("jitsiprovs-import.1").contains("dry"));
    for section in ["\"EXIT STATUS\"", "SIGNALS", "FILES", "ENVIRONMENT", "EXAMPLES"] {
        let heading = format!("\n.SH {section}\n");
        assert_eq!(page("jitsiprovs.1").matches(&heading).count(), 1, "{section}");
    }
    for entry in std::fs::read_dir(folder.path()).expect("pages") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(!name.ends_with(".1") || page(&name).contains("\n.SH \"EXIT STATUS\"\n"), "{name}");
    }
}

#[test]
fn attributes_are_compared_too() {
    let file = SqliteFile::empty();
    let rows = "INSERT INTO user_attribute (domain, username, name, value)
                    VALUES ('a.org', 'alice', 'extension', 'secret-17'), ('a.org', NULL, 'proxy', 'p')";
    file.user("a.org", "alice", "pw").execute(rows);
    let server = Server::on_sqlite(&file.path, &DEAF);
    let other = SqliteFile::empty();
    other.user("a.org", "alice", "pw").execute(rows);
    let (code, text) = diff(&server, &other, &AT_ONCE);
    assert_eq!((code, text.ends_with("0 of 3 rows differ\n")), (Some(0), true), "{text}");
    other.execute(
        "UPDATE user_attribute SET value = 'secret-18' WHERE id = 1; DELETE FROM user_attribute WHERE id = 2",
    );
    let (code, text) = diff(&server, &other, &AT_ONCE);
    assert_eq!((code, text.ends_with("2 of 2 rows differ\n")), (Some(1), true), "{text}");
    let other = text.lines().find(|line| line.contains("other")).expect("a line");
    assert!(other.starts_with("user_attribute") && !text.contains("secret"), "{text}");
}
