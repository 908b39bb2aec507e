//! MySQL behaviour, against a real MariaDB.

use std::path::Path;

use support::client::post;
use support::mariadb::{Database, MariaDb, ROOT_PASSWORD, mariadb};
use support::server::{Server, jitsiprovs, run, run_command};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts, wait_for};

/// Runs `--setup` and returns its output.
fn setup(args: &[&str]) -> String {
    let output = run(&[&["--setup"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn set_up() -> Database<'static> {
    let database = mariadb().database();
    setup(&texts(&database.all()));
    database
}

fn get(server: &Server, username: &str) -> (u16, String) {
    let reply = post(server.address, &[("username", username), ("password", "pw")]);
    (reply.status, reply.text().to_owned())
}

#[test]
fn setup_makes_database_account_tables_and_defaults_once() {
    let server = mariadb();
    let folder = tempfile::tempdir().expect("a folder");
    let (admin, own) = (folder.path().join("admin"), folder.path().join("own"));
    let own_password = "it's `own` \\ \"password\"";
    std::fs::write(&admin, format!("{ROOT_PASSWORD}\n")).expect("written");
    std::fs::write(&own, format!("{own_password}\nnot this")).expect("written");
    let (port, admin, own) = (server.port.to_string(), admin.to_string_lossy(), own.to_string_lossy());
    let account =
        ["--db-port", &port, "--db-name", "made_by%setup", "--db-user", "made'by", "--db-pwd-file", &own];
    let whole = [&account[..], &["--db-admin", "root", "--db-apwd-file", &admin]].concat();
    let said = setup(&whole);
    for part in [
        "made_by%setup",
        "001_original",
        "002_tenant",
        "003_change",
        "004_attribute",
        "005_history",
        "006_fetch",
        "seeded 59",
        "seeded 3",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(own_password));
    let again = setup(&whole);
    assert!(!again.contains("applied") && !again.contains("seeded"), "{again}");
    assert!(setup(&account).starts_with("nothing to do"));

    server.script(
        "made_by%setup",
        &format!(
            "INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{}')",
            md5_hex("pw")
        ),
    );
    let serving = Server::start(&account);
    assert_eq!(get(&serving, "alice@a.org").1.lines().count(), 59);
}

#[test]
fn an_interrupted_setup_is_finished_by_the_next_one() {
    let database = mariadb().database();
    database.script(
        "CREATE TABLE jitsi_property (id INT PRIMARY KEY AUTO_INCREMENT, subject VARCHAR(50), spriority INT,
             ppriority INT, property_key TEXT, property_value TEXT, domain VARCHAR(255));
         CREATE TABLE jitsiprovs_schema (version INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL,
             applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);",
    );
    let said = setup(&texts(&database.all()));
    assert!(said.contains("002_tenant") && said.contains("seeded"), "{said}");
    assert_eq!(
        database.script("SELECT group_concat(version ORDER BY version) FROM jitsiprovs_schema").trim(),
        "-2,-1,0,1,2,3,4,5,6,7"
    );
}

#[test]
fn setup_accepts_tables_of_old_servers() {
    let database = mariadb().database();
    // Row formats that allow only short indexes, and another character set.
    database.script(
        "CREATE TABLE user_auth (id INT PRIMARY KEY AUTO_INCREMENT, username TEXT, domain TEXT, password TEXT)
             ROW_FORMAT=COMPACT CHARACTER SET utf8mb4;
         CREATE TABLE jitsi_property (id INT PRIMARY KEY AUTO_INCREMENT,
             subject VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, spriority INT, ppriority INT,
             property_key TEXT, property_value TEXT, KEY subjectIndex (subject)) ROW_FORMAT=COMPACT CHARACTER SET latin1;
         INSERT INTO jitsi_property (subject, property_key, property_value) VALUES ('żółć', 'k', 'v')",
    );
    let rows = "SELECT id, hex(subject), property_key, property_value FROM jitsi_property
                    WHERE subject <> 'user.disabled=yes'";
    let before = database.script(rows);
    assert!(setup(&texts(&database.all())).contains("003_change"));
    assert_eq!(database.script(rows), before);
}

#[test]
fn two_setups_at_once_do_the_work_once() {
    let database = mariadb().database();
    let args = database.all();
    let both = std::thread::scope(|scope| {
        [scope.spawn(|| setup(&texts(&args))), scope.spawn(|| setup(&texts(&args)))]
            .map(|one| one.join().expect("no panic"))
    });
    assert_eq!(both.iter().filter(|said| said.contains("seeded 59")).count(), 1, "{both:?}");
    assert_eq!(both.iter().filter(|said| said.contains("seeded 3 rules")).count(), 1, "{both:?}");
    assert_eq!(database.script("SELECT count(*) FROM jitsi_property").trim(), "62");
}

#[test]
fn deleted_default_properties_are_not_added_again() {
    let database = set_up();
    database.script("DELETE FROM jitsi_property");
    setup(&texts(&database.all()));
    assert_eq!(database.script("SELECT count(*) FROM jitsi_property").trim(), "0");
}

#[test]
fn edits_leave_a_line_in_the_change_table() {
    let database = set_up();
    database.script(
        "DELETE FROM jitsiprovs_change;
         INSERT INTO user_auth (id, username) VALUES (7, 'x');
         INSERT INTO jitsi_property (id, subject) VALUES (700, 'x');
         UPDATE user_auth SET username = 'y';
         UPDATE user_auth SET id = 8;
         UPDATE jitsi_property SET subject = 'y' WHERE id = 700;
         DELETE FROM user_auth;
         DELETE FROM jitsi_property WHERE id = 700;",
    );
    let changes =
        database.script("SELECT concat(changed_table, ' ', changed_id) FROM jitsiprovs_change ORDER BY id");
    let expected = "user_auth 7,jitsi_property 700,user_auth 7,user_auth 7,user_auth 8,jitsi_property 700,user_auth 8,jitsi_property 700";
    assert_eq!(changes.trim().replace('\n', ","), expected);
}

#[test]
fn after_sighup_the_edited_database_is_served() {
    let database = set_up();
    database.script(&format!(
        "DELETE FROM jitsi_property;
         INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{}');
         INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value) VALUES ('default', 1, 1, 'v', '1')",
        md5_hex("pw")
    ));
    let server = Server::start(&texts(&database.read()));
    assert_eq!(get(&server, "alice@a.org"), (200, "v=1\n".into()));
    database.script("UPDATE jitsi_property SET property_value = '2'");
    server.signal("HUP");
    wait_for("the edit to be served", || (get(&server, "alice@a.org").1 == "v=2\n").then_some(()));
    assert!(server.wait_for_log("version=2").contains("cursor="));
}

#[test]
fn a_database_that_does_not_answer_delays_reloads_but_no_requests() {
    let database = set_up();
    database.script(&format!(
        "INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{}')",
        md5_hex("pw")
    ));
    let server = Server::start(&texts(&database.read()));
    let holder = database.hold("user_auth", 8);
    server.signal("HUP");
    let answers = || {
        assert_eq!(get(&server, "alice@a.org").0, 200);
        server.log().into_iter().find(|line| line.contains("reload failed"))
    };
    let line = wait_for("the reload to be given up", answers);
    assert!(line.contains("the old snapshot stays in use") && line.contains("user_auth"), "{line}");
    holder.join().expect("no panic");
    server.signal("HUP");
    server.wait_for_log("nothing has changed");
}

#[test]
fn a_kamailio_table_is_read_with_the_operators_query() {
    let database = set_up();
    let ha1 = md5_hex("alice:a.org:pw");
    database.script(&format!(
        "DELETE FROM jitsi_property;
         CREATE TABLE subscriber (id INT PRIMARY KEY, username VARCHAR(64), domain VARCHAR(64), ha1 VARCHAR(128));
         INSERT INTO subscriber VALUES (1, 'alice', 'a.org', '{ha1}');
         INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value) VALUES ('default', 1, 1, 'v', '1')"
    ));
    let own = database.read();
    let query = ["--pwd-fmt", "ha1", "--auth-query", "SELECT username, domain, ha1 FROM subscriber"];
    let server = Server::start(&[&texts(&own)[..], &query].concat());
    assert_eq!(get(&server, "alice@a.org"), (200, "v=1\n".into()));
    assert_eq!(get(&server, "bob@a.org").0, 401);
}

#[test]
fn tables_in_latin1_and_names_beyond_it_are_read_as_text() {
    let database = mariadb().database();
    database.script(&format!(
        "ALTER DATABASE {} CHARACTER SET latin1;
         CREATE TABLE user_auth (id INT PRIMARY KEY AUTO_INCREMENT, username TEXT, domain TEXT, password TEXT) CHARACTER SET latin1;
         CREATE TABLE jitsi_property (id INT PRIMARY KEY AUTO_INCREMENT, subject VARCHAR(50), spriority INT, ppriority INT,
             property_key TEXT, property_value TEXT) CHARACTER SET utf8mb4;
         INSERT INTO user_auth (username, domain, password) VALUES ('rené', 'a.org', '{}');
         INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value) VALUES ('RENÉ', 1, 1, 'k', '€😀')",
        database.name,
        md5_hex("pw")
    ));
    let server = Server::start(&texts(&database.read()));
    assert_eq!(get(&server, "rené@a.org"), (200, "k=\\u20AC\\uD83D\\uDE00\n".into()));
}

#[test]
fn a_unix_socket_serves_as_well_as_tcp() {
    let database = set_up();
    let socket = mariadb().socket();
    let user = format!("{}_read", database.name);
    let args =
        ["--db-socket", path(&socket), "--db-name", &database.name, "--db-user", &user, "--db-pwd", "read"];
    database
        .script("INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw'))");
    let server = Server::start(&args);
    assert_eq!(get(&server, "nobody@a.org").0, 401);
    let url = format!("mysql://{user}@localhost/{}", database.name);
    let import = import_from(&url, &["--from-socket", path(&socket)]);
    assert_eq!(import, (Some(0), "users: 1 added, 0 changed, 0 removed, 0 as they were\n".into()));
}

/// Imports the users of another database, read with the account that may only SELECT, into an empty
/// one. Returns the exit code, and what was said about users or the error.
fn import_from(url: &str, more: &[&str]) -> (Option<i32>, String) {
    let file = SqliteFile::empty();
    let password = file.folder.path().join("password");
    std::fs::write(&password, "read\n").expect("written");
    let to = ["import", "database", "--db-path", path(&file.path)];
    let from = ["--from", url, "--from-pwd-file", path(&password)];
    let output = run(&[&to, &from, more].concat());
    let said = if output.status.success() { output.stdout } else { output.stderr };
    let said = String::from_utf8(said).expect("UTF-8");
    (output.status.code(), said.split_inclusive('\n').next().unwrap_or_default().into())
}

/// The password of the account is changed in the usual orders while the server runs.
#[test]
fn a_new_password_of_the_account_needs_no_restart() {
    let database = set_up();
    let (user, port) = (format!("{}_read", database.name), mariadb().port.to_string());
    let file = tempfile::NamedTempFile::new().expect("a file");
    let put = |password: &str| std::fs::write(file.path(), format!("{password}\n")).expect("written");
    put("read");
    database.script(
        "DELETE FROM jitsi_property;
         INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw'));
         INSERT INTO jitsi_property (id, subject, spriority, ppriority, property_key, property_value)
             VALUES (700, 'default', 1, 1, 'v', '0')",
    );
    let account = ["--db-port", &port, "--db-name", &database.name, "--db-user", &user];
    let server = Server::start(&[&account[..], &["--db-pwd-file", path(file.path())]].concat());
    // Connections that are open stay open with an old password.
    let disconnect = || database.script(&format!("KILL CONNECTION USER {user}"));
    let edit = |value: &str| {
        database.script(&format!("UPDATE jitsi_property SET property_value = '{value}' WHERE id = 700"));
        let expected = format!("v={value}\n");
        wait_for("the edit", || (get(&server, "alice@a.org").1 == expected).then_some(()));
    };
    let identify = |how: &str| database.script(&format!("ALTER USER {user}@'%' IDENTIFIED {how}"));

    put("second");
    edit("1");
    identify("BY 'second'");
    disconnect();
    edit("2");

    // Where both passwords are right, SIGHUP is the moment from which the new one is used.
    let native = "mysql_native_password USING PASSWORD";
    identify(&format!("VIA {native}('second') OR {native}('third')"));
    put("third");
    server.signal("HUP");
    server.wait_for_log("cause=\"SIGHUP\"");
    std::fs::remove_file(file.path()).expect("removed");
    identify("BY 'third'");
    disconnect();
    edit("3");

    identify("BY 'fourth'");
    disconnect();
    let line = server.wait_for_log("refuses the user");
    assert!(line.contains("cannot read") && line.contains(path(file.path())), "{line}");
    put("fourth");
    edit("4");
    let log = server.log().join("\n");
    for password in ["second", "third", "fourth"] {
        assert!(!log.contains(password), "{log}");
    }
}

#[test]
fn tls_is_off_required_or_verified_as_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let mut ca = rcgen::CertificateParams::new(vec![]).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::Issuer::new(ca.clone(), rcgen::KeyPair::generate().expect("a key"));
    let ca = ca.self_signed(authority.key()).expect("signed");
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate =
        rcgen::CertificateParams::new(names).expect("names").signed_by(&key, &authority).expect("signed");
    for (name, pem) in
        [("ca", ca.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem()), ("none", String::new())]
    {
        std::fs::write(file(name), pem).expect("written");
    }
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("permissions");

    let options = ["ca", "cert", "key"].map(|name| format!("--ssl-{name}={}", path(&file(name))));
    let with_tls = MariaDb::start(&options);
    let database = with_tls.database();
    setup(&texts(&database.all()));
    database
        .script("INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw'))");
    database.script(&format!("ALTER USER {}_read@'%' REQUIRE SSL", database.name));
    let own = database.read();
    let try_with = |more: &[&str]| {
        let args = [&["-n", "--http-ip", "127.0.0.1", "--http-port", "0"], &texts(&own)[..], more].concat();
        // The command that would serve is not run to its end: it is stopped at once.
        let mut command = jitsiprovs(&[]);
        command.args(args);
        command
    };
    for refused in [&[][..], &["--db-tls", "off"], &["--db-tls", "verify"]] {
        let output = run_command(try_with(refused));
        assert_eq!(output.status.code(), Some(1), "{refused:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let wanted = if refused.contains(&"verify") { "--db-tls" } else { "--db-user" };
        assert!(stderr.contains(wanted), "{refused:?}: {stderr}");
    }
    let (ca, wrong) = (file("ca"), file("missing"));
    for accepted in [&["--db-tls", "require"][..], &["--db-tls", "verify", "--db-tls-ca", path(&ca)]] {
        let server = Server::spawn(try_with(accepted));
        assert_eq!(get(&server, "nobody@a.org").0, 401, "{accepted:?}");
    }
    let url = format!("mysql://{0}_read@127.0.0.1:{1}/{0}", database.name, with_tls.port);
    for (options, is_accepted, words) in [
        (&[][..], false, "--from-tls"),
        (&["--from-tls", "off"], false, "--from-tls"),
        (&["--from-tls", "verify"], false, "--from-tls, --from-tls-ca"),
        (&["--from-tls", "require"], true, "users: 1 added"),
        (&["--from-tls", "verify", "--from-tls-ca", path(&ca)], true, "users: 1 added"),
    ] {
        let (code, said) = import_from(&url, options);
        assert_eq!(code, Some(i32::from(!is_accepted)), "{options:?}: {said}");
        assert!(said.contains(words) && !said.contains("--db-"), "{options:?}: {said}");
    }
    let output = run_command(try_with(&["--db-tls", "verify", "--db-tls-ca", path(&wrong)]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--db-tls-ca"));

    let plain = mariadb().database();
    let own = plain.read();
    let output = run(&[&["-n", "--http-port", "0", "--db-tls", "require"], &texts(&own)[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("offers none") && stderr.contains("--db-tls"), "{stderr}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
