//! `jitsiprovs import` and `jitsiprovs export`.

use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tempfile::TempDir;

use support::database::{Database, Kind, Session};
use support::java::{Java, stored_properties};
use support::server::jitsiprovs;
use support::sqlite::SqliteFile;
use support::{PATIENCE, md5_hex, texts, wait_for};

const HEADS: &str = "username,domain,password\n";
const RULE_HEADS: &str = "domain,subject,spriority,ppriority,key,value\n";

/// A database of a test, of any kind.
enum Tables {
    Sqlite(SqliteFile),
    Server(Database<'static>),
}

impl Tables {
    /// One of each kind, as `--setup` creates it, without the default properties.
    fn each() -> Vec<Tables> {
        let on_server = |kind: Kind| {
            let database = kind.database();
            assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
            database.script("DELETE FROM jitsi_property");
            Tables::Server(database)
        };
        [Tables::Sqlite(SqliteFile::empty())].into_iter().chain(Kind::ALL.map(on_server)).collect()
    }

    fn options(&self) -> Vec<String> {
        match self {
            Tables::Sqlite(file) => vec!["--db-path".into(), file.path.to_str().expect("UTF-8").into()],
            Tables::Server(database) => database.all(),
        }
    }

    fn execute(&self, sql: &str) {
        match self {
            Tables::Sqlite(file) => file.execute(sql),
            Tables::Server(database) => drop(database.script(sql)),
        }
    }

    fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        match self {
            Tables::Sqlite(file) => file.connection.query_row(&sql, [], |row| row.get(0)).expect("a count"),
            Tables::Server(database) => database.script(&sql).trim().parse().expect("a count"),
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        run(&[args, &texts(&self.options())].concat())
    }

    /// Runs a command that must succeed, and returns its output.
    fn well(&self, args: &[&str]) -> Vec<u8> {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        output.stdout
    }

    fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.well(args)).expect("UTF-8")
    }
}

/// Runs the binary to its end. Its output may be larger than a pipe holds.
fn run(args: &[&str]) -> Output {
    let mut written = [(); 2].map(|()| tempfile::tempfile().expect("a file"));
    let [stdout, stderr] = written.each_ref().map(|file| file.try_clone().expect("a file"));
    let mut child = jitsiprovs(args).stdout(stdout).stderr(stderr).spawn().expect("the binary starts");
    let status = wait_for("the binary to end", || child.try_wait().expect("a child"));
    let [stdout, stderr] = written.each_mut().map(|file| {
        let mut text = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut text)).expect("reads");
        text
    });
    Output { status, stdout, stderr }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder for files to import.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.to_str().expect("UTF-8").into()
    }
}

/// Users in the order of an export.
fn users(count: usize) -> String {
    let hash = md5_hex("secret");
    let mut text = String::from(HEADS);
    for at in 0..count {
        text.push_str(&format!("user{at:07},tenant{:03}.example.org,{hash}\n", at * 200 / count));
    }
    text
}

#[test]
fn a_jitsis_properties_come_back_byte_for_byte_and_java_reads_the_same() {
    let stored = stored_properties(1500);
    let files = Files::new();
    let path = files.write("sip-communicator.properties", &stored);
    // Comments, such as the date, are not kept.
    let text = String::from_utf8(stored.clone()).expect("ASCII");
    let expected: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(expected.lines().count(), 1500);
    let mut java = Java::start();
    for tables in Tables::each() {
        let said = tables.text(&["import", "properties", &path, "--domain", "a.org", "--subject", "alice"]);
        assert_eq!(said, "rules: 1500 added, 0 changed, 0 removed, 0 as they were\n");
        let written = tables.text(&["export", "properties", "--domain", "a.org", "--subject", "alice"]);
        assert!(written == expected, "the export differs from the import");
        // No rule was added for other subjects, and another import changes nothing.
        assert_eq!(tables.text(&["export", "properties"]), "");
        let said = tables.text(&[
            "import",
            "properties",
            &path,
            "--domain",
            "A.org",
            "--subject",
            "ALICE",
            "--replace",
            "--dry-run",
        ]);
        assert!(
            said.ends_with("rules: 0 to add, 1500 to change, 0 to remove, 0 as they should be\n"),
            "{said}"
        );
        // Rules survive an export and an import too.
        for content in ["rules", "rules-json"] {
            let rules = tables.well(&["export", content]);
            let path = files.write(content, &rules);
            tables.execute("DELETE FROM jitsi_property");
            tables.well(&["import", content, &path]);
            assert!(tables.well(&["export", content]) == rules, "{content} come back otherwise");
        }
        let again = tables.well(&["export", "properties", "--domain", "a.org", "--subject", "alice"]);
        assert_eq!(java.load(&again), java.load(&stored));
    }
}

#[test]
fn java_reads_the_same_from_a_file_and_from_its_import() {
    let mut java = Java::start();
    let file = SqliteFile::empty();
    let options = ["--db-path", file.path.to_str().expect("UTF-8")];
    let files = Files::new();
    // Many small files are joined into one, because starting the binary for each would take long.
    let pieces = prop::sample::select(vec![
        "\\", "\\\n", "\n", "\r", "\r\n", "=", ":", " ", "\t", "#", "!", "\u{e9}", "\\u00e9", "a", "b",
        "\x0c", "$", "\\ ", "c=",
    ]);
    let strategy = prop::collection::vec(pieces, 1..300);
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let java = std::cell::RefCell::new(&mut java);
    let run = |pieces: Vec<&str>| {
        // Java reads ISO-8859-1.
        let text: Vec<u8> = pieces.concat().chars().map(|c| c as u8).collect();
        file.execute("DELETE FROM jitsi_property");
        let path = files.write("any", &text);
        let output = run(&[&["import", "properties", &path], &options[..]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let written = run(&[&["export", "properties"], &options[..]].concat()).stdout;
        let load = |text: &[u8]| {
            let mut all = std::collections::BTreeMap::new();
            all.extend(java.borrow_mut().load(text).expect("Java reads it"));
            all
        };
        prop_assert_eq!(load(&written), load(&text));
        Ok(())
    };
    runner.run(&strategy, run).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn users_come_back_byte_for_byte_and_only_differences_are_written() {
    let files = Files::new();
    let all = users(6000);
    let path = files.write("users.csv", &all);
    for tables in Tables::each() {
        assert_eq!(
            tables.text(&["import", "users", &path]),
            "users: 6000 added, 0 changed, 0 removed, 0 as they were\n"
        );
        assert!(tables.text(&["export", "users"]) == all, "they come back otherwise");
        let changes = tables.count("jitsiprovs_change");
        let changed =
            all.replacen("user0000001,tenant000.example.org,", "USER0000001,tenant000.example.org,$6$x", 1);
        let changed = changed.replacen("user0000002,", "new,", 1);
        let path = files.write("changed.csv", changed.as_bytes());
        let args = ["import", "users", &path, "--replace"];
        let dry = tables.run(&[&args[..], &["--dry-run"]].concat());
        let said = String::from_utf8_lossy(&dry.stdout);
        assert_eq!(
            said,
            "- user0000002@tenant000.example.org\n~ USER0000001@tenant000.example.org (username, password)\n\
             + new@tenant000.example.org\nusers: 1 to add, 1 to change, 1 to remove, 5998 as they should be\n"
        );
        assert!(
            stderr(&dry).contains("1 user cannot sign in") && !stderr(&dry).contains("$6$"),
            "{}",
            stderr(&dry)
        );
        let told: Value =
            serde_json::from_str(&tables.text(&[&args[..], &["--dry-run", "--format", "json"]].concat()))
                .expect("JSON");
        let id = |at: usize| told["users"]["edits"][at]["id"].as_i64().expect("an id");
        let (gone, other) = ("user0000002@tenant000.example.org", "USER0000001@tenant000.example.org");
        let edits = json!([
            { "what": "remove", "id": id(0), "row": gone, "columns": [] },
            { "what": "change", "id": id(1), "row": other, "columns": ["username", "password"] },
            { "what": "add", "id": null, "row": "new@tenant000.example.org", "columns": [] },
        ]);
        let users = json!({ "added": 1, "changed": 1, "removed": 1, "kept": 5998, "edits": edits });
        assert_eq!(told, json!({ "users": users, "rules": null, "attributes": null }));
        assert_eq!(tables.count("jitsiprovs_change"), changes);
        assert_eq!(tables.text(&args), "users: 1 added, 1 changed, 1 removed, 5998 as they were\n");
        // Users who stay the same cause no changes for servers.
        assert_eq!(tables.count("jitsiprovs_change"), changes + 3);
        assert_eq!(
            tables.text(&["export", "users", "--domain", "TENANT199.example.org"]).lines().count(),
            31
        );
    }
}

/// A user whose password cannot be read still counts as a user.
#[test]
fn a_user_with_an_unreadable_password_is_not_added_again() {
    let files = Files::new();
    for tables in Tables::each() {
        match &tables {
            // It has no texts that are not UTF-8.
            Tables::Server(database) if database.kind() == Kind::Postgres => continue,
            Tables::Server(database) => drop(database.script("ALTER TABLE user_auth MODIFY password BLOB")),
            Tables::Sqlite(_) => {}
        }
        let columns = "INTO user_auth (id, username, domain, password)";
        tables.execute(&format!("INSERT {columns} VALUES (1, 'alice', 'a.org', X'ff')"));
        let output = tables.run(&["export", "users"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{HEADS}alice,a.org,\n"));
        assert!(stderr(&output).contains("user_auth id 1: the password is not UTF-8"), "{}", stderr(&output));
        let path = files.write("users.csv", format!("{HEADS}alice,a.org,secret\n"));
        assert_eq!(
            tables.text(&["import", "users", &path]),
            "users: 0 added, 1 changed, 0 removed, 0 as they were\n"
        );
        assert_eq!(tables.text(&["export", "users"]), format!("{HEADS}alice,a.org,secret\n"));
    }
}

#[test]
fn ids_of_a_dump_are_left_to_the_database() {
    let files = Files::new();
    for tables in Tables::each() {
        let csv = "id,subject,spriority,ppriority,property_key,property_value\n700,default,1,1,k,v\n";
        tables.well(&["import", "rules", &files.write("rules.csv", csv)]);
        let json = r#"[{"id": 701, "subject": "default", "key": "l", "value": "w"}]"#;
        tables.well(&["import", "rules-json", &files.write("rules.json", json)]);
        tables.well(&[
            "import",
            "users",
            &files.write("users.csv", "id,username,domain,password\n9,a,a.org,x\n"),
        ]);
        let rules = format!("{RULE_HEADS},default,1,1,k,v\n,default,9,10,l,w\n");
        assert_eq!(tables.text(&["export", "rules"]), rules);
        assert_eq!(tables.text(&["export", "users"]), format!("{HEADS}a,a.org,x\n"));
    }
}

#[test]
fn a_bad_line_is_named_and_nothing_is_changed() {
    let files = Files::new();
    let bad = [
        ("users", format!("{HEADS}a,a.org,x\n,a.org,hunter2\n"), "line 3: username is empty"),
        ("users", format!("{HEADS}a,a.org,x\n\" \",a.org,hunter2\n"), "line 3: username is empty"),
        (
            "users",
            format!("{HEADS}a,a.org,x\nb,b.org,x\nA,A.org,hunter2\n"),
            "line 4: A@A.org is in line 2 already",
        ),
        ("rules", format!("{RULE_HEADS},default,1,1,k,v\n,default,one,1,k,hunter2\n"), "line 3: spriority"),
        ("rules", format!("{RULE_HEADS},default,1,1,k,v\n,osname=,1,1,k,hunter2\n"), "line 3: the subject"),
        (
            "rules-json",
            "[\n{\"subject\":\"osname=\",\"key\":\"k\",\"value\":\"hunter2\"}]".into(),
            "line 2: not",
        ),
        ("rules-json", "[\n{\"subject\":\"a\",\"key\":\"k\",\"value\":7}]".into(), "line 2: "),
        ("properties", "a=1\nb=\\uhunter2\n".into(), "line 2: `\\u` without"),
    ];
    for tables in Tables::each() {
        for (content, text, words) in &bad {
            let path = files.write("bad", text);
            let output = tables.run(&["import", content, &path, "--replace"]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(words) && said.lines().count() == 1 && !said.contains("hunter2"), "{said}");
            assert_eq!(tables.count("user_auth") + tables.count("jitsi_property"), 0);
        }
        // The database itself may refuse a line. Then no line is imported.
        if let Tables::Server(database) = &tables {
            if database.kind() == Kind::Postgres {
                database.script("ALTER TABLE user_auth ALTER password TYPE VARCHAR(65535)");
            }
            let long = format!("{HEADS}a,a.org,x\nb,b.org,{}\n", "x".repeat(70_000));
            let path = files.write("long", long);
            let output = tables.run(&["import", "users", &path]);
            assert_eq!(output.status.code(), Some(1));
            assert!(!stderr(&output).contains("xxxx"), "{}", stderr(&output));
            assert_eq!(tables.count("user_auth"), 0);
        }
    }
    for (args, words) in [
        (&["import", "users", "x", "--lift", "a@b"][..], "--templatize"),
        (&["import", "users", "--from", "x"], "--from"),
        (&["import", "database"], "--from"),
        (&["import", "kamailio"], "--from"),
        (&["import", "users", "x", "--from-tls", "require"], "--from"),
        (&["export", "users", "--subject", "x"], "--subject"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

#[test]
fn values_of_one_account_become_placeholders() {
    let file = Tables::Sqlite(SqliteFile::empty());
    let text = "p.acc1.ACCOUNT_UID=SIP\\:alice@example.org\np.acc1.ENCRYPTED_PASSWORD=c2VjcmV0\n\
                p.acc1.ENCRYPTED_PASSWORD=c2VjcmV1\nq=$x\n";
    let files = Files::new();
    let path = files.write("p", text);
    let output =
        file.run(&["import", "properties", &path, "--lift", "alice@example.org", "--domain", "example.org"]);
    let said = stderr(&output);
    assert!(said.contains("line 3 counts") && said.contains("3 placeholders"), "{said}");
    assert!(
        said.contains("p.acc1.PASSWORD is now the password that the client sends") && !said.contains("c2V"),
        "{said}"
    );
    let args = ["export", "properties", "--domain", "example.org"];
    let refused = file.run(&args);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--templates"), "{}", stderr(&refused));
    let templates = file.text(&[&args[..], &["--templates"]].concat());
    assert_eq!(
        templates,
        "p.acc1.ACCOUNT_UID=SIP\\:${username}@${domain}\np.acc1.PASSWORD=${password}\nq=$$x\n"
    );
    let path = files.write("t", &templates);
    let said =
        file.text(&["import", "properties", &path, "--templates", "--domain", "example.org", "--replace"]);
    assert_eq!(said, "rules: 0 added, 0 changed, 0 removed, 3 as they were\n");
    // Without --templatize, values of one account are stored for all accounts, and the command
    // warns about it.
    let path = files.write("p", text);
    let output = file.run(&["import", "properties", &path, "--dry-run"]);
    assert!(stderr(&output).contains("--templatize"), "{}", stderr(&output));
}

#[test]
fn a_whole_database_of_the_original_or_of_a_kamailio_can_be_imported() {
    let folder = tempfile::tempdir().expect("a folder");
    let original = folder.path().join("original.db");
    let connection = rusqlite::Connection::open(&original).expect("opens");
    let tables = "CREATE TABLE user_auth (id INTEGER PRIMARY KEY, username TEXT, domain TEXT, password TEXT);
         CREATE TABLE jitsi_property (id INTEGER PRIMARY KEY, subject TEXT, spriority INT, ppriority INT,
             property_key TEXT, property_value TEXT);
         INSERT INTO user_auth VALUES (1, 'bob', 'a.org', 'B'), (2, 'alice', 'a.org', 'A'), (3, 'ALICE', 'a.org', 'X'),
             (4, NULL, 'a.org', 'X');
         INSERT INTO jitsi_property VALUES (1, 'default', 10, 10, 'second', '${username}'),
             (2, 'default', NULL, 10, 'first', ''), (3, 'default', 10, 10, 'second', 'twice');";
    connection.execute_batch(tables).expect("tables");
    drop(connection);
    let before = std::fs::read(&original).expect("a file");
    let from = original.to_str().expect("UTF-8");
    let password = folder.path().join("password");
    std::fs::write(&password, "all\n").expect("writes");
    let password = password.to_str().expect("UTF-8");
    let sips = Kind::ALL.map(Kind::database);
    for sip in &sips {
        sip.script(
            "CREATE TABLE subscriber (id INT PRIMARY KEY, username VARCHAR(64), domain VARCHAR(64),
                 password VARCHAR(64), ha1 VARCHAR(128));
             INSERT INTO subscriber VALUES (1, 'carol', 'sip.org', '', '0123456789abcdef0123456789abcdef')",
        );
    }
    for tables in Tables::each() {
        let missing = tables.run(&["import", "database", "--from", "/no/such/file.db"]);
        let why = stderr(&missing);
        // The options of the database that is written to do not help.
        assert!(why.contains("--from /no/such/file.db") && !why.contains("--db-"), "{why}");
        let output = tables.run(&["import", "database", "--from", from, "--pwd-fmt", "plain"]);
        let (said, noted) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr(&output));
        assert_eq!(
            said,
            "users: 2 added, 0 changed, 0 removed, 0 as they were\nrules: 3 added, 0 changed, 0 removed, 0 as they were\n",
            "{noted}"
        );
        assert!(noted.contains("user_auth id 3: ALICE@a.org has the same name as id 2"), "{noted}");
        assert!(noted.contains("user_auth id 4: ") && noted.lines().count() == 2, "{noted}");
        assert_eq!(tables.text(&["export", "users"]), format!("{HEADS}alice,a.org,A\nbob,a.org,B\n"));
        let rules = ",default,,10,first,\n,default,10,10,second,${username}\n,default,10,10,second,twice\n";
        assert_eq!(tables.text(&["export", "rules"]), format!("{RULE_HEADS}{rules}"));
        let said = tables.text(&["import", "database", "--from", from, "--pwd-fmt", "plain", "--replace"]);
        assert!(said.contains("users: 0 added, 0 changed, 0 removed, 2 as they were"), "{said}");

        for (sip, said) in sips.iter().zip([
            "users: 1 added, 0 changed, 0 removed, 0 as they were\n",
            "users: 0 added, 0 changed, 0 removed, 1 as they were\n",
        ]) {
            let url = sip.url("all");
            let kamailio =
                ["import", "kamailio", "--from", &url, "--from-pwd-file", password, "--pwd-fmt", "ha1"];
            assert_eq!(tables.text(&kamailio), said);
        }
        let carol = "carol,sip.org,0123456789abcdef0123456789abcdef";
        assert!(tables.text(&["export", "users"]).contains(carol));
        // A whole database of ours can be imported too, including its tenants.
        if let Tables::Server(database) = &tables {
            tables.execute("UPDATE jitsi_property SET domain = 'a.org' WHERE property_key = 'first'");
            let url = database.url("all");
            let copy = Tables::Sqlite(SqliteFile::seeded());
            let args = ["import", "database", "--from", &url, "--from-pwd-file", password, "--replace"];
            copy.well(&[&args[..], &["--allow-shrink"]].concat());
            for content in ["users", "rules", "rules-json"] {
                assert_eq!(copy.text(&["export", content]), tables.text(&["export", content]));
            }
        }
    }
    assert!(std::fs::read(&original).expect("a file") == before, "it was written to");
}

/// Starts an import, and kills it while its transaction runs. Returns false if the import ended
/// before.
fn kill_in_the_middle(tables: &Tables, path: &str) -> bool {
    // The transaction waits for a locked row, so that it cannot end before it is seen.
    let _holder = match tables {
        Tables::Sqlite(_) => None,
        Tables::Server(database) => {
            // Read before the lock, because a query for it after would lock every row.
            let first = database.script("SELECT min(id) FROM user_auth");
            let mut holder = Session::open(database);
            holder.execute(&format!(
                "BEGIN; UPDATE user_auth SET password = 'held' WHERE id = {}",
                first.trim()
            ));
            Some(holder)
        }
    };
    let is_under_way = || match tables {
        Tables::Sqlite(file) => {
            let wal = PathBuf::from(format!("{}-wal", file.path.display()));
            std::fs::metadata(wal).is_ok_and(|file| file.len() > 1_000_000)
        }
        Tables::Server(database) if database.kind() == Kind::Postgres => {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
            database.server.script(&database.name, waiting).trim() == "1"
        }
        Tables::Server(database) => {
            // If asked more often, the server repeats its last result.
            std::thread::sleep(Duration::from_millis(200));
            let account = format!("{}_all", database.name);
            let sql = format!(
                "SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist p
                 ON p.id = trx_mysql_thread_id WHERE p.user = '{account}' AND trx_state = 'LOCK WAIT'
                 AND trx_rows_modified > 900"
            );
            database.script(&sql).trim() == "1"
        }
    };
    let options = tables.options();
    let mut child = jitsiprovs(
        &[&["import", "users", path, "--replace", "--allow-shrink"], &texts(&options)[..]].concat(),
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .expect("the binary starts");
    let begun = Instant::now();
    while !is_under_way() {
        assert!(begun.elapsed() < PATIENCE, "no transaction seen");
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
    }
    child.kill().expect("SIGKILL");
    !child.wait().expect("a child").success()
}

#[test]
fn an_import_that_is_killed_halfway_changes_nothing() {
    let files = Files::new();
    let before = users(1000);
    let first = files.write("before.csv", &before);
    // The first row differs, the other old rows are removed, and all other rows are new.
    let many = users(30_000).replacen(&md5_hex("secret"), &md5_hex("other"), 1);
    let path = files.write("many.csv", &many);
    for tables in Tables::each() {
        let changes = (0..10).find_map(|_| {
            tables.well(&["import", "users", &first, "--replace", "--allow-shrink"]);
            let changes = tables.count("jitsiprovs_change");
            if let Tables::Sqlite(file) = &tables {
                // Earlier content of the write-ahead log must not look like the transaction.
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)");
            }
            kill_in_the_middle(&tables, &path).then_some(changes)
        });
        let changes = changes.expect("one of ten can be killed before it is done");
        assert!(tables.text(&["export", "users"]) == before, "something is left of it");
        assert_eq!(tables.count("jitsiprovs_change"), changes);
        // The same import succeeds afterwards.
        tables.well(&["import", "users", &path, "--replace", "--allow-shrink"]);
        assert!(tables.text(&["export", "users"]) == many, "they come back otherwise");
    }
}

#[test]
fn a_backup_with_a_write_ahead_log_is_read_and_not_changed() {
    let live = SqliteFile::seeded();
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("a backup?.db");
    let log = |of: &PathBuf| PathBuf::from(format!("{}-wal", of.display()));
    // While this connection is open, new rows stay in the write-ahead log.
    let open = rusqlite::Connection::open(&live.path).expect("opens");
    open.execute_batch(
        "PRAGMA wal_autocheckpoint = 0; INSERT INTO user_auth (username, domain) VALUES ('zoe', 'a.org')",
    )
    .expect("written");
    std::fs::copy(&live.path, &copy)
        .and_then(|_| std::fs::copy(log(&live.path), log(&copy)))
        .expect("copied");
    let files = || [&copy, &log(&copy)].map(|file| std::fs::read(file).expect("a file"));
    let before = files();
    let tables = Tables::Sqlite(SqliteFile::empty());
    let from = copy.to_str().expect("UTF-8");
    tables.well(&["import", "database", "--from", from, "--dry-run"]);
    tables.well(&["import", "database", "--from", from]);
    assert!(tables.text(&["export", "users"]).contains("zoe,a.org"), "the log is read too");
    assert!(files() == before, "it was written to");
}

#[test]
fn files_that_end_too_soon_remove_nothing() {
    let tables = Tables::Sqlite(SqliteFile::seeded());
    let files = Files::new();
    tables.well(&["import", "users", &files.write("users.csv", users(3))]);
    let (rules, all) = (tables.count("jitsi_property"), tables.count("user_auth"));
    for (content, text, why) in [
        ("properties", "", "no property in it"),
        ("properties", "# what an export that failed leaves\n", "no property in it"),
        (
            "users",
            "username,domain,password\na,a.org,\"x\nb,a.org,y\n",
            "line 2: a field begins with a quote",
        ),
        ("rules", "", "line 1"),
        ("rules-json", "", "line 1"),
    ] {
        let path = files.write("cut", text.as_bytes());
        let output = tables.run(&["import", content, &path, "--replace"]);
        assert!(!output.status.success() && stderr(&output).contains(why), "{text:?}: {}", stderr(&output));
    }
    assert_eq!((tables.count("jitsi_property"), tables.count("user_auth")), (rules, all));
}

#[test]
fn exported_properties_lack_losing_rules_and_placeholder_passwords_are_not_secrets() {
    let tables = Tables::Sqlite(SqliteFile::empty());
    for (property, spriority) in [("k=own", "9"), ("k=seed", "10"), ("a.PASSWORD=${password}", "10")] {
        tables.well(&["rule", "add", property, "--spriority", spriority, "--also"]);
    }
    let output = tables.run(&["export", "properties", "--templates"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "k=own\na.PASSWORD=${password}\n");
    assert!(stderr(&output).contains("left out: k: another rule of this key precedes it"));
    let files = Files::new();
    let path = files.write("back", &output.stdout);
    let output = tables.run(&["import", "properties", "--templates", &path]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn import_reads_standard_input_if_no_file_is_given() {
    let tables = Tables::Sqlite(SqliteFile::empty());
    for args in [&["import", "users"][..], &["import", "users", "-"]] {
        let options = tables.options();
        let mut child = jitsiprovs(&[args, &texts(&options)].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(users(10).as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("its output");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    }
    assert_eq!(tables.count("user_auth"), 10);
}
