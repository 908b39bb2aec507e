//! From rows in a SQLite file to properties on the wire.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use support::client::{Connection, exchange, form_request, post, request};
use support::java::Java;
use support::server::{Server, jitsiprovs, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, wait_for};

fn get(server: &Server, username: &str, more: &[(&str, &str)]) -> String {
    let reply = post(server.address, &[&[("username", username), ("password", "pw")], more].concat());
    assert_eq!(reply.status, 200, "{username}");
    reply.text().to_owned()
}

#[test]
fn users_do_not_get_properties_of_other_users_or_tenants() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").user("a.org", "bob", "pw").user("b.org", "alice", "pw");
    file.rule(Some("a.org"), "bob", 1, "bobs", "1")
        .rule(Some("a.org"), "alice", 1, "mine", "a")
        .rule(Some("b.org"), "alice", 1, "mine", "b")
        .rule(Some("b.org"), "default", 5, "tenant", "b")
        .rule(None, "default", 9, "all", "1");
    let server = Server::on_sqlite(&file.path, &[]);
    for param in ["hwaddr", "osname", "uuid", "default", "domain "] {
        assert_eq!(get(&server, "alice@a.org", &[(param, "bob")]), "mine=a\nall=1\n", "{param}");
    }
    assert_eq!(get(&server, "alice@b.org", &[]), "mine=b\ntenant=b\nall=1\n");
    assert_eq!(get(&server, "bob@a.org", &[]), "bobs=1\nall=1\n");
    assert_eq!(get(&server, "bob@b.org", &[("domain", "a.org")]), "bobs=1\nall=1\n");
}

#[test]
fn difficult_texts_are_read_exactly_by_java_over_the_wire() {
    let hurting = [
        "a\nb=c",
        "\\",
        "\\\\u0041",
        "=:",
        "é",
        "€",
        "😀",
        " lead",
        "#x",
        "tab\t",
        "\r\n",
        "${null}x",
        "\u{7f}",
    ];
    let file = SqliteFile::empty();
    for text in hurting {
        file.stored_user("a.org", text, &md5_hex(text));
    }
    file.rule(None, "default", 1, "before", "1")
        .rule(None, "default", 2, "user", "${username}")
        .rule(None, "default", 3, "password", "${password}")
        .rule(None, "default", 4, "after", "1");
    let server = Server::on_sqlite(&file.path, &[]);
    let mut java = Java::start();
    for text in hurting {
        let reply = post(server.address, &[("username", text), ("domain", "a.org"), ("password", text)]);
        assert_eq!(reply.status, 200, "{text:?}");
        let expected = [("before", "1"), ("user", text), ("password", text), ("after", "1")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(java.load(&reply.body), Ok(expected.into()), "{text:?}");
    }
}

#[test]
fn the_default_properties_are_served_after_setup() {
    let file = SqliteFile::seeded();
    file.user("a.org", "alice", "pw");
    let server = Server::on_sqlite(&file.path, &[]);
    let loaded = Java::start().load(get(&server, "alice@a.org", &[]).as_bytes()).expect("Java reads it");
    assert_eq!(loaded.len(), 59);
    let uid = "net.java.sip.communicator.impl.protocol.sip.accsip.ACCOUNT_UID";
    assert!(loaded.contains(&(uid.into(), "SIP:alice@a.org".into())), "{loaded:?}");
}

#[test]
fn every_password_format_signs_in_over_the_wire_and_slow_ones_repeatedly() {
    // Hashes of the password `pw`, made with htpasswd and mkpasswd.
    let bcrypt = "$2y$04$ePxY/R.XNg4puUJsZNgmIOLHUrFSFlNZj.jrFWTX8keDpRqHYPCQK";
    let sha512 = "$6$rounds=1000$4rtBg6xnmgJ4Hk6K$HGpme3MEe3khedbEq/VagRgENW1VCR4G90OhjK9zyp8FgkCtfwVx0XZ8jTkojwEhcI2YNmzqVfrmBeQ2ry1my1";
    let file = SqliteFile::empty();
    file.rule(None, "default", 1, "in", "1")
        .stored_user("a.org", "bcrypt", bcrypt)
        .stored_user("a.org", "sha512", sha512)
        .stored_user("a.org", "md5", &md5_hex("pw").to_uppercase());
    let server = Server::on_sqlite(&file.path, &[]);
    for username in ["bcrypt", "sha512", "md5", "bcrypt", "sha512"] {
        assert_eq!(get(&server, &format!("{username}@a.org"), &[]), "in=1\n");
        let wrong = post(server.address, &[("username", &format!("{username}@a.org")), ("password", "no")]);
        assert_eq!(wrong.status, 401);
    }

    let file = SqliteFile::empty();
    file.rule(None, "default", 1, "in", "1").stored_user("a.org", "alice", &md5_hex("alice:sip:pw"));
    let server = Server::on_sqlite(&file.path, &["--pwd-fmt", "ha1", "--realm", "sip"]);
    assert_eq!(get(&server, "Alice@A.org", &[]), "in=1\n");
}

#[test]
fn sighup_loads_the_edited_database_and_a_failed_reload_keeps_the_old_snapshot() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "version", "1");
    let server = Server::on_sqlite(&file.path, &[]);
    assert_eq!(get(&server, "alice@a.org", &[]), "version=1\n");

    server.signal("HUP");
    let line = server.wait_for_log("nothing has changed");
    assert!(line.contains("cause=\"SIGHUP\""), "{line}");

    file.execute("UPDATE jitsi_property SET property_value = '2'");
    server.signal("HUP");
    wait_for("the edit to be served", || (get(&server, "alice@a.org", &[]) == "version=2\n").then_some(()));
    let line = server.wait_for_log("version=2");
    for part in ["added=0", "changed=1", "removed=0", "users=1", "rules=1", "tenants=1", "bytes=", "ms="] {
        assert!(line.contains(part), "{line}");
    }

    file.execute("ALTER TABLE jitsi_property RENAME TO elsewhere");
    server.signal("HUP");
    let line = server.wait_for_log("reload failed");
    assert!(line.contains("jitsi_property") && line.contains("--setup"), "{line}");
    assert_eq!(get(&server, "alice@a.org", &[]), "version=2\n");

    file.execute(
        "ALTER TABLE elsewhere RENAME TO jitsi_property; UPDATE jitsi_property SET property_value = '3'",
    );
    server.signal("HUP");
    wait_for("the edit to be served", || (get(&server, "alice@a.org", &[]) == "version=3\n").then_some(()));
}

#[test]
fn bad_rows_are_named_in_the_log_up_to_twenty_and_the_rest_is_served() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "good", "1");
    for _ in 0..25 {
        file.execute("INSERT INTO jitsi_property (subject, property_key) VALUES ('default', 'no value')");
    }
    file.stored_user("a.org", "eve", "not-a-hash");
    let server = Server::on_sqlite(&file.path, &[]);
    assert_eq!(get(&server, "alice@a.org", &[]), "good=1\n");
    let log = server.log();
    let named = log.iter().filter(|line| line.contains("bad row: ")).count();
    assert_eq!(named, 20, "{log:#?}");
    assert!(log.iter().any(|line| line.contains("and 6 more bad rows")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("table=user_auth id=2")), "{log:#?}");
    assert!(log.iter().all(|line| !line.contains("not-a-hash")));
}

#[test]
fn a_rule_whose_parameter_is_missing_is_logged_at_debug_with_its_id() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw")
        .rule(None, "default", 1, "os", "${osname}")
        .rule(None, "default", 2, "os", "?");
    let server = Server::on_sqlite(&file.path, &["-v"]);
    assert_eq!(get(&server, "alice@a.org", &[]), "os=?\n");
    let line = server.wait_for_log("a rule does not apply");
    assert!(line.contains("parameter=osname") && line.contains("rule="), "{line}");
}

#[test]
fn the_log_can_be_written_as_json() {
    let file = SqliteFile::empty();
    let server = Server::on_sqlite(&file.path, &["--log-format", "json"]);
    for line in server.log() {
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn options_come_from_the_environment_too_and_arguments_win() {
    let file = SqliteFile::empty();
    file.user("home", "alice", "pw").rule(None, "default", 1, "in", "1");
    let mut command = jitsiprovs(&["--http-port", "0"]);
    command
        .env("JITSIPROVS_HTTP_IP", "127.0.0.1")
        .env("JITSIPROVS_HTTP_PORT", "1")
        .env("JITSIPROVS_FOREGROUND", "1")
        .env("JITSIPROVS_SETUP", "0")
        // An empty value, as in files of service managers, means that the option is not given.
        .env("JITSIPROVS_DB_PWD", "")
        .env("JITSIPROVS_PARAM_ALIAS", "")
        .env("JITSIPROVS_DB_PATH", &file.path)
        .env("JITSIPROVS_DEFAULT_DOMAIN", "home");
    let server = Server::spawn(command);
    assert_eq!(get(&server, "alice", &[]), "in=1\n");
}

#[test]
fn sigterm_finishes_the_requests_in_progress_and_exits_with_0() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "in", "1");
    let server = Server::on_sqlite(&file.path, &[]);
    let whole = form_request(&[("username", "alice@a.org"), ("password", "pw")]);
    let (first, rest) = whole.split_at(whole.len() - 5);
    let mut under_way = Connection::open(server.address);
    under_way.send(first);
    let mut idle = Connection::open(server.address);
    idle.send(&whole);
    assert_eq!(idle.receive().expect("an answer").status, 200);

    server.signal("TERM");
    server.wait_for_log("finishing the requests under way");
    assert!(idle.is_closed());
    under_way.send(rest);
    assert_eq!(under_way.receive().expect("an answer").text(), "in=1\n");
    assert!(server.wait().success());
}

#[test]
fn clients_that_connected_before_sigterm_are_answered() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "in", "1");
    let whole = form_request(&[("username", "alice@a.org"), ("password", "pw")]);
    for workers in ["1", "2", "16"] {
        let server = Server::on_sqlite(&file.path, &["--workers", workers]);
        let mut accepted = Connection::open(server.address);
        // The kernel has completed these connections, but the server has not accepted them.
        server.signal("STOP");
        let mut queued: Vec<Connection> = (0..100).map(|_| Connection::open(server.address)).collect();
        queued.iter_mut().for_each(|connection| connection.send(&whole));
        accepted.send(&whole);
        server.signal("TERM");
        server.signal("CONT");
        for connection in &mut queued {
            assert_eq!(connection.receive().expect("an answer").text(), "in=1\n");
        }
        // The same holds for a connection that was accepted before its request arrived.
        assert_eq!(accepted.receive().expect("an answer").text(), "in=1\n");
        assert!(server.wait().success());
    }
}

#[test]
fn setup_twice_is_harmless_and_keeps_every_row() {
    let file = SqliteFile::seeded();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "own", "1");
    file.execute("DELETE FROM jitsi_property WHERE id = 1");
    let dump = || {
        let sql = "SELECT group_concat(id || property_key || property_value || coalesce(domain, 'null')) FROM jitsi_property";
        file.connection.query_row(sql, [], |row| row.get::<_, String>(0)).expect("rows")
    };
    let before = dump();
    let output = run(&["-n", "--setup", "--db-path", file.path.to_str().expect("UTF-8")]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("nothing to do"));
    assert_eq!(dump(), before);
}

#[test]
fn edits_leave_a_line_in_the_change_table() {
    let file = SqliteFile::empty();
    file.execute("DELETE FROM jitsiprovs_change");
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v");
    file.execute("UPDATE user_auth SET password = ''; UPDATE jitsi_property SET property_value = 'x'");
    file.execute("UPDATE user_auth SET id = 70; DELETE FROM user_auth; DELETE FROM jitsi_property");
    let mut changes = file
        .connection
        .prepare("SELECT changed_table || ' ' || changed_id FROM jitsiprovs_change")
        .expect("SQL");
    let changes: Vec<String> =
        changes.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("text")).collect();
    assert_eq!(
        changes,
        [
            "user_auth 1",
            "jitsi_property 60",
            "user_auth 1",
            "jitsi_property 60",
            "user_auth 1",
            "user_auth 70",
            "user_auth 70",
            "jitsi_property 60"
        ]
    );
}

#[test]
fn the_operators_own_tables_are_read_with_their_queries() {
    let file = SqliteFile::empty();
    file.execute(&format!(
        "CREATE TABLE subscriber (username, domain, ha1); CREATE TABLE rule (who, k, v);
         INSERT INTO subscriber VALUES ('alice', 'a.org', '{}');
         INSERT INTO rule VALUES ('default', 'k', '$username'), ('alice', 'k2', 'v2')",
        md5_hex("alice:a.org:pw")
    ));
    let queries = [
        "--pwd-fmt",
        "ha1",
        "--auth-query",
        "SELECT username, domain, ha1 FROM subscriber",
        "--rules-query",
        "SELECT NULL, who, 1, 1, k, v FROM rule",
    ];
    let server = Server::on_sqlite(&file.path, &queries);
    assert_eq!(get(&server, "alice@a.org", &[]), "k=alice\nk2=v2\n");
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn an_account_has_the_stored_name_however_it_was_typed() {
    let file = SqliteFile::empty();
    file.user("example.org", "alice", "pw").user("Tenant.org", "John.Smith", "pw");
    file.rule(None, "default", 1, "acc${username:id:-x}", "${username}@${domain}").rule(
        None,
        "default",
        2,
        "typed",
        "[${client.username}]",
    );
    let server = Server::on_sqlite(&file.path, &["--default-domain", "example.org"]);
    let is = |sent: &[(&str, &str)], expected: &str| {
        let reply = post(server.address, &[sent, &[("password", "pw")]].concat());
        assert_eq!((reply.status, reply.text()), (200, expected), "{sent:?}");
    };
    is(&[("username", "ALICE@EXAMPLE.ORG")], "accalice=alice@example.org\ntyped=[ALICE]\n");
    is(&[("username", "alice "), ("domain", "")], "accalice=alice@example.org\ntyped=[alice ]\n");
    is(
        &[("username", "john.smith"), ("domain", "TENANT.ORG ")],
        "accJohnSmith=John.Smith@Tenant.org\ntyped=[john.smith]\n",
    );
}

#[test]
fn templates_and_subjects_know_the_address_from_which_the_client_asks() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    file.rule(None, "default", 1, "address", "${client.address}")
        .rule(None, "client.address=198.51.100.7", 1, "office", "1")
        .rule(None, "client.address=2001:db8::7", 1, "office", "2");
    let ask = |server: &Server, header: &str| {
        let body = b"username=alice@a.org&password=pw&client.address=10.0.0.1";
        let sent = request("POST", "/jitsiprovs/", &[FORM, ("x-forwarded-for", header)], body);
        exchange(server.address, &sent).text().to_owned()
    };
    let open = Server::on_sqlite(&file.path, &[]);
    assert_eq!(ask(&open, "198.51.100.7"), "address=127.0.0.1\n");
    let behind = Server::on_sqlite(&file.path, &["--trusted-proxy", "127.0.0.0/8"]);
    for (header, expected) in [
        ("1.1.1.1, 198.51.100.7", "address=198.51.100.7\noffice=1\n"),
        ("::ffff:198.51.100.7", "address=198.51.100.7\noffice=1\n"),
        ("[2001:DB8:0::7]:4711", "address=2001:db8::7\noffice=2\n"),
        ("203.0.113.9", "address=203.0.113.9\n"),
        ("unknown", "address=127.0.0.1\n"),
    ] {
        assert_eq!(ask(&behind, header), expected, "{header}");
    }
}

#[test]
fn what_a_client_leaves_out_of_its_parameters_comes_from_basic() {
    let file = SqliteFile::empty();
    file.user("example.org", "alice", "p=w&x");
    file.rule(None, "default", 1, "account", "${username}@${domain}").rule(
        None,
        "default",
        2,
        "password",
        "${password}",
    );
    let server = Server::on_sqlite(&file.path, &[]);
    let ask = |kind, body: &str, basic: &str| {
        let basic = format!("Basic {}", BASE64.encode(basic));
        let sent = request("POST", "/jitsiprovs/", &[kind, ("authorization", &basic)], body.as_bytes());
        let reply = exchange(server.address, &sent);
        (reply.status, reply.text().to_owned())
    };
    let granted = (200, "account=alice@example.org\npassword=p=w&x\n".to_owned());
    // `username=${username}@example.org` in the URL, and a client that has no username yet.
    assert_eq!(ask(FORM, "username=%40example.org&password=${password}", "alice:p=w&x"), granted);
    let atalk = r#"{"username":"alice@example.org","password":"p"}"#;
    assert_eq!(ask(JSON, atalk, "alice:p=w&x"), granted);
    assert_eq!(ask(JSON, atalk, "bob:p=w&x").0, 401);
    assert_eq!(ask(JSON, atalk, "alice@other.org:p=w&x").0, 401);
}
