//! Tables of other programs, which the operator's own queries read.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use support::client::post;
use support::database::{Database, Kind};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::tables::Tables;
use support::{texts, wait_for};

/// A query for each table that a query can replace, all of which read nothing of ours.
const QUERIES: [(&str, &str, &str); 3] = [
    ("--auth-query", "SELECT 'alice', 'a.org', 'pw'", "user_auth"),
    ("--rules-query", "SELECT '', 'default', 1, 1, 'k', 'v'", "jitsi_property"),
    ("--attribute-query", "SELECT 'a.org', 'alice', 'n', 'v'", "user_attribute"),
];
/// The tables of each database, and what lists its tables, indexes and triggers by their tables.
const OF_SQLITE: &str = "SELECT group_concat(tbl_name || ' ' || name, char(10)) FROM sqlite_master";
const OF_MYSQL: &str = "SELECT concat(table_name, ' ', table_name) FROM information_schema.tables
    WHERE table_schema = DATABASE() UNION
    SELECT concat(event_object_table, ' ', trigger_name) FROM information_schema.triggers
    WHERE trigger_schema = DATABASE() UNION
    SELECT concat(table_name, ' ', index_name) FROM information_schema.statistics
    WHERE table_schema = DATABASE()";
const OF_POSTGRES: &str = "SELECT relname || ' ' || relname FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace UNION
    SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE NOT tgisinternal UNION
    SELECT tablename || ' ' || indexname FROM pg_indexes WHERE schemaname = 'public'";

fn stdout(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Statements that `sql triggers` prints.
fn triggers(db_type: &str, args: &[&str]) -> String {
    stdout(&run(&[&["sql", "triggers", "--db-type", db_type], args].concat()))
}

/// Whether anything belongs to a table, in lines of a table and a name.
fn has(things: &str, table: &str) -> bool {
    things.lines().any(|line| line.split(' ').next() == Some(table))
}

/// Checks setup with queries that replace these tables, and then without the queries.
fn set_up_around(replaced: &[usize], args: &[String], things: impl Fn() -> String) -> Vec<String> {
    let tables = Tables::on(args.to_vec());
    let own: Vec<&str> = replaced.iter().flat_map(|at| [QUERIES[*at].0, QUERIES[*at].1]).collect();
    let with = || tables.done(&[&["--setup"], &own[..]].concat());
    let said = with();
    let is_replaced = |table: &str| replaced.iter().any(|at| QUERIES[*at].2 == table);
    for (_, _, table) in QUERIES {
        assert_eq!(has(&things(), table), !is_replaced(table), "{}", things());
        let is_left_out = said.lines().any(|line| line.contains(" without ") && line.contains(table));
        assert_eq!(is_left_out, is_replaced(table), "{said}");
    }
    for table in ["jitsiprovs_change", "jitsiprovs_history", "jitsiprovs_fetch"] {
        assert!(has(&things(), table), "{}", things());
    }
    let (before, again) = (things(), with());
    assert!(again.starts_with("nothing to do") && before == things(), "{again}");
    // Without the queries, the tables are needed, and setup creates all of them.
    let said = tables.done(&["--setup"]);
    assert_eq!(said.contains("seeded"), is_replaced("jitsi_property"), "{said}");
    assert!(tables.done(&["--setup"]).starts_with("nothing to do"));
    let mut all: Vec<String> = things().lines().map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn setup_creates_no_table_that_a_query_replaces_until_the_query_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let of_sqlite = |replaced: &[usize]| {
        let path = folder.path().join(format!("sip{replaced:?}.db"));
        let args = ["--db-path".to_owned(), path.to_str().expect("UTF-8").to_owned()];
        set_up_around(replaced, &args, || {
            let file = rusqlite::Connection::open(&path).expect("opens");
            file.query_row(OF_SQLITE, [], |row| row.get(0)).expect("a text")
        })
    };
    let usual = of_sqlite(&[]);
    for replaced in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        assert_eq!(of_sqlite(replaced), usual, "{replaced:?}");
    }
    for (kind, things) in [(Kind::MariaDb, OF_MYSQL), (Kind::Postgres, OF_POSTGRES)] {
        let of_server = |replaced: &[usize]| {
            let database = kind.database();
            set_up_around(replaced, &database.all(), || database.script(things))
        };
        assert_eq!(of_server(&[0, 1, 2]), of_server(&[]), "{kind:?}");
    }
}

#[test]
fn a_foreign_table_with_our_name_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sip.db");
    let file = rusqlite::Connection::open(&path).expect("opens");
    let definition = "CREATE TABLE user_auth (login TEXT, realm TEXT, secret TEXT)";
    file.execute_batch(&format!(
        "{definition}; CREATE TABLE jitsi_property (x); INSERT INTO user_auth VALUES ('alice', 'a.org', 'pw')"
    ))
    .expect("tables");
    let args = ["--db-path", path.to_str().expect("UTF-8")];
    let queries = [
        "--pwd-fmt",
        "plain",
        "--auth-query",
        "SELECT login, realm, secret FROM user_auth",
        QUERIES[1].0,
        QUERIES[1].1,
    ];
    let args = [&args, &queries[..]].concat();
    stdout(&run(&[&["--setup"], &args[..]].concat()));
    let schema = "SELECT group_concat(sql, char(10)) FROM sqlite_master
        WHERE tbl_name IN ('user_auth', 'jitsi_property')";
    let schema: String = file.query_row(schema, [], |row| row.get(0)).expect("a text");
    assert_eq!(schema, format!("{definition}\nCREATE TABLE jitsi_property (x)"));
    let mode: String = file.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a text");
    assert_eq!(mode, "delete", "another program decides how its file is written");
    let server = Server::start(&args);
    assert_eq!(get(&server, "alice", "a.org", "pw"), (200, "k=v\n".to_owned()));
}

#[test]
fn nothing_advises_a_setup_for_a_database_of_another_program() {
    let missing = run(&["-n", "--db-path", "/nowhere/sip.db", QUERIES[0].0, QUERIES[0].1]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("--db-path") && !said.contains("--setup"), "{said}");
    for (kind, create) in [
        (Kind::MariaDb, "CREATE USER nowhere_read@'%' IDENTIFIED BY 'read'"),
        (Kind::Postgres, "CREATE ROLE nowhere_read LOGIN PASSWORD 'read'"),
    ] {
        let database = Database { server: kind.server(), name: "nowhere".into() };
        database.server.script("", create);
        let args = database.read();
        let args = [&["-n"], &texts(&args)[..], &[QUERIES[0].0, QUERIES[0].1]].concat();
        let said = String::from_utf8_lossy(&run(&args).stderr).into_owned();
        assert!(said.contains("nowhere") && said.contains("--db-name"), "{said}");
        assert!(!said.contains("--setup"), "{said}");
    }
}

fn get(server: &Server, username: &str, domain: &str, password: &str) -> (u16, String) {
    let asked = [("username", username), ("domain", domain), ("password", password)];
    let reply = post(server.address, &asked);
    (reply.status, reply.text().to_owned())
}

/// How many lines there are for the whole of a table.
fn count(ask: &dyn Fn(&str) -> String, table: &str) -> u32 {
    let sql =
        format!("SELECT count(*) FROM jitsiprovs_change WHERE changed_table = '{table}' AND changed_id = 0");
    ask(&sql).trim().parse().expect("a number")
}

/// Changes a table with triggers, and says how many lines each change must add.
fn change(ask: &dyn Fn(&str) -> String, changes: &[(&str, u32)], replaced: &str) {
    for (sql, added) in changes {
        let before = count(ask, replaced);
        ask(sql);
        assert_eq!(count(ask, replaced) - before, *added, "{sql}");
    }
}

const SUBSCRIBER: &str = "CREATE TABLE subscriber (id INTEGER PRIMARY KEY, username VARCHAR(64) NOT NULL,
    domain VARCHAR(64) NOT NULL, ha1 VARCHAR(64), last_seen INTEGER);
    INSERT INTO subscriber VALUES (1, 'alice', 'a.org', 'x', 1), (2, 'bob', 'a.org', NULL, 1);";

#[test]
fn triggers_note_what_changes_the_named_columns() {
    let file = SqliteFile::empty();
    file.execute(SUBSCRIBER);
    let printed = triggers("sqlite", &["--for", "subscriber(username, domain, ha1)"]);
    let client = |sql: &str| {
        let path = file.path.to_str().expect("UTF-8").to_owned();
        stdout(&fed(Command::new("sqlite3").args(["-bail", &path]), sql))
    };
    for _ in 0..2 {
        client(&printed);
    }
    let ask: &dyn Fn(&str) -> String = &client;
    let changes = [
        ("UPDATE subscriber SET last_seen = 7", 0),
        ("UPDATE subscriber SET ha1 = 'y' WHERE id = 1", 1),
        ("UPDATE subscriber SET ha1 = 'z'", 2),
        ("INSERT INTO subscriber VALUES (3, 'carol', 'a.org', 'x', 1)", 1),
        ("DELETE FROM subscriber WHERE id = 3", 1),
    ];
    change(ask, &changes, "user_auth");

    let database = Kind::MariaDb.database();
    Tables::of(database.all());
    database.script(SUBSCRIBER);
    let printed = triggers("mysql", &["--of", "rules", "--for", "subscriber(username,domain,`ha1`)"]);
    for _ in 0..2 {
        database.script(&printed);
    }
    let ask: &dyn Fn(&str) -> String = &|sql| database.script(sql);
    change(ask, &changes, "jitsi_property");
    let changes = [
        ("UPDATE subscriber SET ha1 = 'Z' WHERE id = 1", 1),
        ("UPDATE subscriber SET ha1 = 'Z' WHERE id = 1", 0),
        ("UPDATE subscriber SET username = 'alice ' WHERE id = 1", 1),
        ("UPDATE subscriber SET ha1 = NULL", 2),
        ("UPDATE subscriber SET ha1 = NULL, last_seen = 9", 0),
        ("REPLACE INTO subscriber VALUES (1, 'alice', 'a.org', 'x', 1)", 2),
    ];
    change(ask, &changes, "jitsi_property");
    assert_eq!(count(ask, "user_auth"), 0);
}

/// The tables of another program are in a schema of their own, and its account may not write ours.
#[test]
fn triggers_of_postgres_note_each_statement_once_for_accounts_without_rights() {
    let database = Kind::Postgres.database();
    Tables::of(database.all());
    database.script(&format!(
        "{SUBSCRIBER} CREATE SCHEMA sip; ALTER TABLE subscriber SET SCHEMA sip;
         ALTER TABLE sip.subscriber RENAME TO \"Sub scriber\";"
    ));
    let table = "SIP.\"Sub scriber\"(username, domain, HA1)";
    for _ in 0..2 {
        database.script(&triggers("postgres", &["--for", table]));
    }
    let name = &database.name;
    database.script(&format!(
        "GRANT USAGE ON SCHEMA sip TO {name}_read; GRANT ALL ON ALL TABLES IN SCHEMA sip TO {name}_read"
    ));
    let ask: &dyn Fn(&str) -> String = &|sql| {
        let program = format!("SET ROLE {name}_read; {sql};");
        let is_change = !sql.starts_with("SELECT");
        if is_change { database.server.script(name, &program) } else { database.script(sql) }
    };
    let changes = [
        ("UPDATE sip.\"Sub scriber\" SET last_seen = 7", 0),
        ("UPDATE sip.\"Sub scriber\" SET ha1 = 'z'", 1),
        (
            "INSERT INTO sip.\"Sub scriber\" SELECT n, 'u' || n, 'a.org', 'x', 1 FROM generate_series(10, 1000) n",
            1,
        ),
        ("DELETE FROM sip.\"Sub scriber\" WHERE id > 3", 1),
        ("TRUNCATE sip.\"Sub scriber\"", 1),
        // Not even a table of the session is written in place of ours.
        (
            "CREATE TEMP TABLE jitsiprovs_change (changed_table TEXT, changed_id INT);
             INSERT INTO sip.\"Sub scriber\" VALUES (1, 'alice', 'a.org', 'x', 1)",
            1,
        ),
    ];
    change(ask, &changes, "user_auth");
}

#[test]
fn a_mysql_table_of_another_database_notes_its_changes_in_ours() {
    let [ours, theirs] = [(); 2].map(|()| Kind::MariaDb.database());
    Tables::of(ours.all());
    theirs.script("CREATE TABLE `the users` (`user name` TEXT, x INT)");
    let table = format!("{}.`the users`(`user name`)", theirs.name);
    let printed = triggers("mysql", &["--db-name", &ours.name, "--for", &table]);
    ours.script(&printed);
    theirs.script("INSERT INTO `the users` VALUES ('alice', 1)");
    theirs.script("UPDATE `the users` SET x = 2");
    assert_eq!(count(&|sql| ours.script(sql), "user_auth"), 1);
}

#[test]
fn tables_that_no_trigger_can_be_for_are_refused() {
    for (args, words) in [
        (&["--for", "subscriber"][..], "subscriber(username, domain)"),
        (&["--for", "a(b)", "--for", "a(c)"], "comes twice"),
        (&["--for", "other.a(b)"], "leave out `other.`"),
        (&[], "--for"),
    ] {
        let refused = run(&[&["sql", "triggers", "--db-type", "sqlite"], args].concat());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && refused.stdout.is_empty(), "{said}");
    }
    let refused = run(&["sql", "triggers", "--for", "a(b)"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--db-type"));
}

/// Runs a client of a database with `sql` on its standard input.
fn fed(client: &mut Command, sql: &str) -> Output {
    let piped = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = piped.spawn().expect("the client starts");
    client.stdin.take().expect("a pipe").write_all(sql.as_bytes()).expect("it reads");
    client.wait_with_output().expect("its output")
}

/// Each own query is run again as soon as a line says so, and a change without a line is found by a
/// load.
#[test]
fn lines_of_each_kind_make_the_server_run_that_query_again() {
    for (kind, db_type) in [(Kind::MariaDb, "mysql"), (Kind::Postgres, "postgres")] {
        follow(&kind.database(), db_type);
    }
}

fn follow(database: &Database<'_>, db_type: &str) {
    Tables::of(database.all());
    database.script(
        "CREATE TABLE account (name TEXT, pw TEXT);
         CREATE TABLE phone_rule (k VARCHAR(64), v TEXT);
         CREATE TABLE attribute (name VARCHAR(64), value TEXT);
         INSERT INTO account VALUES ('alice', 'pw');
         INSERT INTO phone_rule VALUES ('a', '1'), ('n', '${user.zip:-none}')",
    );
    let args = [
        "--pwd-fmt",
        "plain",
        "--poll-interval",
        "0.05",
        "--reload-interval",
        "0",
        "--auth-query",
        "SELECT name, 'a.org', pw FROM account",
        "--rules-query",
        "SELECT NULL, 'default', 1, 1, k, v FROM phone_rule ORDER BY k",
        "--attribute-query",
        "SELECT 'a.org', 'alice', name, value FROM attribute",
    ];
    let server = Server::start(&[&texts(&database.read())[..], &args].concat());
    assert_eq!(get(&server, "alice", "a.org", "pw"), (200, "a=1\nn=none\n".to_owned()));
    let wait = |password: &str, answer: &str| {
        let expected = (200, answer.to_owned());
        wait_for(answer, || (get(&server, "alice", "a.org", password) == expected).then_some(()));
    };
    // Without triggers, only a load finds it, and says so.
    database.script("UPDATE phone_rule SET v = '2' WHERE k = 'a'");
    server.signal("HUP");
    wait("pw", "a=2\nn=none\n");
    server.wait_for_log("`jitsiprovs sql triggers` prints triggers");
    for args in [
        &["--for", "account(name, pw)"][..],
        &["--of", "rules", "--for", "phone_rule(k, v)"],
        &["--of", "attributes", "--for", "attribute(name, value)"],
    ] {
        database.script(&triggers(db_type, args));
    }
    database.script("UPDATE phone_rule SET v = '3' WHERE k = 'a'");
    wait("pw", "a=3\nn=none\n");
    database.script("INSERT INTO attribute VALUES ('zip', '4')");
    wait("pw", "a=3\nn=4\n");
    database.script("UPDATE account SET pw = 'new'");
    wait("new", "a=3\nn=4\n");
    assert!(!server.log().iter().any(|line| line.contains("--setup")), "{:#?}", server.log());
}
