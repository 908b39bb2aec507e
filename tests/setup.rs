//! `--setup` on databases as operators run them.

use support::client::post;
use support::mariadb::{Database, MariaDb, ROOT_PASSWORD, mariadb};
use support::proxy::{Proxy, REFUSAL};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::texts;

/// Runs `--setup`. Returns its exit code and all that it said.
fn setup(args: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&["--setup"], args].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

fn add_rule(database: &[String]) {
    let output = run(&[&["rule", "add", "foo.bar=2"], &texts(database)[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Options for an account that may not exist yet, and for the administrator.
fn with_admin<'a>(port: &'a str, database: &'a str, user: &'a str, admin: [&'a str; 2]) -> Vec<&'a str> {
    let account = ["--db-port", port, "--db-name", database, "--db-user", user, "--db-pwd", "own"];
    [&account[..], &["--db-admin", admin[0], "--db-apwd", admin[1]]].concat()
}

fn triggers(database: &Database<'_>) -> String {
    let sql = "SELECT count(*), min(definer), max(definer), min(sql_mode), max(sql_mode)
                   FROM information_schema.triggers WHERE trigger_schema = DATABASE()";
    database.script(sql).trim().replace('\t', " ")
}

/// Such a server lets only administrators create triggers.
#[test]
fn a_server_with_a_binary_log_is_set_up_with_an_administrator() {
    let server = MariaDb::start(&["--log-bin=binary".into(), "--server-id=1".into()]);
    let database = server.database();
    let (code, said) = setup(&texts(&database.all()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("binary log") && said.contains("administrator"), "{said}");
    assert!(triggers(&database).starts_with("0 "));

    let port = server.port.to_string();
    let user = format!("own@{}", database.name);
    server.script(
        "",
        "CREATE USER boss@'%' IDENTIFIED BY 'boss'; GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION",
    );
    let args = with_admin(&port, &database.name, &user, ["boss"; 2]);
    let (code, said) = setup(&args);
    assert!(code == Some(0) && said.contains("applied mysql/005_history"), "{said}");
    let mode = "STRICT_ALL_TABLES";
    let all = format!("18 {user}@localhost {user}@localhost {mode} {mode}");
    assert_eq!(triggers(&database), all);
    database.script("DROP TRIGGER jitsiprovs_user_insert");
    let (code, said) = setup(&args);
    assert!(code == Some(0) && said.contains("the trigger jitsiprovs_user_insert again"), "{said}");
    assert_eq!(triggers(&database), all);

    // The administrator is not needed any more, and others can edit.
    server.script("", "DROP USER boss@'%'");
    database.script("DELETE FROM jitsiprovs_change; DELETE FROM jitsiprovs_history");
    add_rule(&database.all());
    database.script("INSERT INTO user_auth (username, domain) VALUES ('alice', 'a.org')");
    let noted = "SELECT (SELECT count(*) FROM jitsiprovs_change), (SELECT count(*) FROM jitsiprovs_history)";
    assert_eq!(database.script(noted).trim(), "2\t2");
    assert!(setup(&args[..8]).1.starts_with("nothing to do"));
}

/// The proxy answers as Galera does. The rest is a real server.
#[test]
fn a_server_without_named_locks_is_set_up_with_a_warning() {
    let database = mariadb().database();
    let proxy = Proxy::to(mariadb().port);
    *proxy.refused.lock().expect("no panic") = "GET_LOCK";
    let args = proxy.through(database.all());
    let (code, said) = setup(&texts(&args));
    assert!(code == Some(0) && said.contains("applied mysql/006_fetch"), "{said}");
    let warning = said.lines().find(|line| line.starts_with("warning: ")).expect("a warning");
    assert!(warning.contains(REFUSAL) && warning.contains("repeat it"), "{warning}");
    add_rule(&args);

    // An error of the connection is no such refusal.
    *proxy.refused.lock().expect("no panic") = "";
    *proxy.last_words.lock().expect("no panic") = "GET_LOCK";
    let (code, said) = setup(&texts(&args));
    assert!(code == Some(1) && said.contains("cannot reach the database"), "{said}");
}

const VIEWS: &str = "
    CREATE TABLE people (id INTEGER PRIMARY KEY, username TEXT, domain TEXT, password TEXT);
    INSERT INTO people VALUES (1, 'alice', 'a.org', '8fe4c11451281c094a6578e6ddbf5eed');
    CREATE VIEW user_auth AS SELECT * FROM people;
    CREATE TABLE jitsi_property (id INTEGER PRIMARY KEY, subject VARCHAR(50), spriority INT, ppriority INT,
        property_key TEXT, property_value TEXT);
    INSERT INTO jitsi_property VALUES (1, 'default', 1, 1, 'v', '1');
    CREATE VIEW user_attribute AS SELECT id, domain, username, 'a' AS name, 'b' AS value FROM people;";

fn refuses_views(said: &str) {
    for words in ["user_auth, user_attribute", "changed nothing", "--auth-query, --attribute-query"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn setup_refuses_views_before_it_changes_anything() {
    let database = mariadb().database();
    database.script(VIEWS);
    let state =
        || database.script("SHOW FULL TABLES; SHOW COLUMNS FROM jitsi_property; SELECT user FROM mysql.user");
    let before = state();
    let port = mariadb().port.to_string();
    let all = database.all();
    for args in
        [with_admin(&port, &database.name, "not_there", ["root", ROOT_PASSWORD]), texts(&all).to_vec()]
    {
        let (code, said) = setup(&args);
        assert_eq!(code, Some(1), "{said}");
        refuses_views(&said);
    }
    assert_eq!(state(), before);
    let server = Server::start(&texts(&database.read()));
    let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
    assert_eq!(reply.text(), "v=1\n");
}

#[test]
fn setup_refuses_views_in_a_file_too() {
    let file = SqliteFile::seeded();
    let path = file.folder.path().join("views.db");
    let views = rusqlite::Connection::open(&path).expect("opens");
    views.execute_batch(VIEWS).expect("created");
    let (code, said) = setup(&["--db-path", path.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(1), "{said}");
    refuses_views(&said);
    let count: u32 = views
        .query_row("SELECT count(*) FROM sqlite_master WHERE sql IS NOT NULL", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(count, 4);
}
