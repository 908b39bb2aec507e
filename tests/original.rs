//! The original's database, served without changes.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use jitsiprovs::source::default_properties;
use serde_json::json;

use support::client::post;
use support::java::Java;
use support::mariadb::{Database, mariadb};
use support::server::Server;
use support::texts;

type Params = BTreeMap<&'static str, String>;

/// A database of the original, with its default properties.
fn original() -> Database<'static> {
    let database = mariadb().database();
    database.script(include_str!("fixtures/original.sql"));
    for (key, value) in default_properties() {
        let value = value.replace('\\', "\\\\");
        database.script(&format!(
            "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
             VALUES ('default', 10, 10, '{key}', '{value}')"
        ));
    }
    database
}

fn serve(database: &Database<'_>) -> Server {
    let args = database.read();
    Server::start(&texts(&args))
}

/// Every combination of parameters that the clients of a small service send.
fn requests() -> Vec<Params> {
    let users = [
        ("alice", "localdomain", "pw"),
        ("ALICE", "localdomain", "pw"),
        ("bob", "localdomain", "pw"),
        ("alice", "example.org", "pw"),
        ("carol", "example.org", "secret=1"),
        ("dave", "example.net", "pw"),
    ];
    let others: [(&str, &[&str]); 5] = [
        ("osname", &["", "Linux", "linux", "Windows 10", "Mac OS X"]),
        ("hwaddr", &["", "00:1a:2b:3c:4d:5e", "00:1A:2B:3C:4D:5E", "trailing"]),
        ("ipaddr", &["", "192.168.1.7"]),
        ("arch", &["", "amd64"]),
        ("uuid", &["", "a1b2c3d4-0000-4000-8000-a1b2c3d4e5f6"]),
    ];
    let mut requests: Vec<Params> = users
        .iter()
        .map(|(username, domain, password)| {
            let pairs = [("username", username), ("domain", domain), ("password", password)];
            pairs.map(|(name, value)| (name, (*value).to_owned())).into()
        })
        .collect();
    for (name, values) in others {
        requests = requests
            .iter()
            .flat_map(|params| {
                values.iter().map(|value| {
                    let mut params = params.clone();
                    if !value.is_empty() {
                        params.insert(name, (*value).to_owned());
                    }
                    // A rule of one client needs it; the operator's own URL would send it.
                    params.insert("custom", "from the URL".into());
                    params.insert("build", "5.10.5550".into());
                    params
                })
            })
            .collect();
    }
    requests
}

/// The original's answers, from its own query and Python's own templates.
fn originals_answers(database: &Database<'_>, requests: &[Params]) -> Vec<Option<String>> {
    let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    let filters = ["username", "password", "osname", "ipaddr", "hwaddr", "build", "uuid", "arch"];
    let mut script = String::new();
    for params in requests {
        let mut subjects = vec!["subject = 'default'".to_owned()];
        for name in filters {
            subjects.extend(params.get(name).map(|value| format!("subject = {}", quote(value))));
        }
        // Here the id decides ties; in the original they depend on how the server sorts. Bare words
        // are usernames here.
        script.push_str(&format!(
            "SELECT hex(property_key), hex(property_value) FROM jitsi_property WHERE ({})
             AND subject NOT IN ('pw', 'trailing') AND property_key IS NOT NULL AND property_value IS NOT NULL
             ORDER BY spriority, ppriority, id; SELECT 'end';",
            subjects.join(" OR ")
        ));
    }
    let unhex = |hex: &str| {
        let bytes =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"));
        String::from_utf8(bytes.collect()).expect("UTF-8")
    };
    let (mut cases, mut rows) = (Vec::new(), Vec::new());
    for line in database.script(&script).lines() {
        match line.split_once('\t') {
            Some((key, value)) => rows.push(json!([unhex(key), unhex(value)])),
            None => {
                let params = &requests[cases.len()];
                cases.push(json!({ "params": params, "rows": std::mem::take(&mut rows) }));
            }
        }
    }
    assert_eq!(cases.len(), requests.len());
    let mut python = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/original.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python3: {error}; see tests/run"));
    let cases = serde_json::to_vec(&cases).expect("JSON");
    let mut input = python.stdin.take().expect("a pipe");
    let writing = std::thread::spawn(move || input.write_all(&cases));
    let output = python.wait_with_output().expect("its output");
    writing.join().expect("no panic").expect("it reads");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_request_gets_the_originals_properties_with_a_read_only_account() {
    let database = original();
    let server = serve(&database);
    let requests = requests();
    // Here an answer has the name as it is stored; there, as it was typed.
    let stored = |params: &Params| {
        let mut params = params.clone();
        let (username, domain) = match &*params["username"] {
            "ALICE" => ("alice", "localdomain"),
            "dave" => ("Dave", "Example.NET"),
            _ => return params,
        };
        params.insert("username", username.into());
        params.insert("domain", domain.into());
        params
    };
    let stored: Vec<Params> = requests.iter().map(stored).collect();
    let expected = originals_answers(&database, &stored);
    assert_eq!((requests.len(), expected.len()), (960, 960));
    let mut java = Java::start();
    for (params, expected) in requests.iter().zip(expected) {
        let expected = expected.expect("the original answers each of these");
        let pairs: Vec<(&str, &str)> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = post(server.address, &pairs);
        assert_eq!(reply.status, 200, "{params:?}");
        let sorted = |answer: &[u8], java: &mut Java| {
            let mut properties = java.load(answer).expect("Java reads it");
            properties.sort();
            properties
        };
        assert_eq!(
            sorted(&reply.body, &mut java),
            sorted(expected.as_bytes(), &mut java),
            "{params:?}\n{}\n{expected}",
            reply.text()
        );
    }
}

#[test]
fn the_database_is_not_changed_and_bad_rows_are_named() {
    let database = original();
    let before = database.script("CHECKSUM TABLE user_auth, jitsi_property; SHOW TABLES");
    let server = serve(&database);
    let log = server.log().join("\n");
    for (table, column, count) in [
        ("jitsi_property", "`pw` is taken for a username", 1),
        ("jitsi_property", "`trailing` is taken for a username", 1),
        ("user_auth", "username is NULL", 1),
        ("user_auth", "domain is NULL", 1),
        ("user_auth", "no password is stored", 1),
        ("jitsi_property", "subject is NULL", 1),
        ("jitsi_property", "property_key is NULL", 1),
        ("jitsi_property", "property_value is NULL", 1),
        ("jitsi_property", "spriority is NULL", 1),
        ("jitsi_property", "ppriority is NULL", 1),
    ] {
        let named = log.lines().filter(|line| line.contains(table) && line.contains(column));
        assert_eq!(named.count(), count, "{table} {column}\n{log}");
    }
    post(server.address, &[("username", "alice"), ("password", "pw")]);
    assert_eq!(database.script("CHECKSUM TABLE user_auth, jitsi_property; SHOW TABLES"), before);
}

#[test]
fn setup_keeps_every_row_of_the_originals_database_and_adds_tenants() {
    let database = original();
    let rows = "SELECT * FROM user_auth ORDER BY id;
                SELECT id, subject, spriority, ppriority, property_key, property_value FROM jitsi_property
                    WHERE subject IS NULL OR subject <> 'user.disabled=yes' ORDER BY id";
    // Only the two removals get another priority.
    let mut expected = database.script(rows);
    for key in ["gui.accounts", "protocol"] {
        let removal = |spriority| {
            format!("\tdefault\t{spriority}\t10\tnet.java.sip.communicator.impl.{key}\t${{null}}\n")
        };
        assert_eq!(expected.matches(&removal(10)).count(), 1);
        expected = expected.replace(&removal(10), &removal(0));
    }
    let own = database.all();
    let args = [&["-n", "--setup"], &texts(&own)[..]].concat();
    for _ in 0..2 {
        let output = support::server::run(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(database.script(rows), expected);
    }
    // The original's own INSERT, which sets no domain, still works.
    database.script(
        "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
             VALUES ('default', 1, 1, 'for.all', '1');
         INSERT INTO jitsi_property (domain, subject, spriority, ppriority, property_key, property_value)
             VALUES ('example.org', 'default', 1, 1, 'for.tenant', '1')",
    );
    let server = serve(&database);
    let get =
        |username| post(server.address, &[("username", username), ("password", "pw")]).text().to_owned();
    let (theirs, others) = (get("alice@example.org"), get("alice"));
    assert!(theirs.contains("for.all=1\n") && theirs.contains("for.tenant=1\n"));
    assert!(others.contains("for.all=1\n") && !others.contains("for.tenant"));
}

/// The answers that differ on purpose; docs/differences.md lists each difference with its reason.
#[test]
fn the_differences_are_those_of_the_documentation() {
    let database = mariadb().database();
    database.script(include_str!("fixtures/original.sql"));
    database.script(
        "DELETE FROM jitsi_property;
         UPDATE user_auth SET password = UPPER(password) WHERE username = 'bob';
         INSERT INTO user_auth (username, domain, password) VALUES ('Alice', 'localdomain', MD5('pw')), ('émile', 'localdomain', MD5('pä'));
         INSERT INTO jitsi_property (id, subject, spriority, ppriority, property_key, property_value) VALUES
             (1, 'bob', 1, 1, 'bobs', '1'),
             (200, 'default', 5, 5, 'tie', '200'), (300, 'default', 5, 5, 'tie', '300'), (257, 'default', 5, 5, 'tie', '257'),
             (2, 'default', 9, 1, 'os', '${osname}'), (3, 'default', 9, 2, 'os', 'unknown'),
             (4, 'default', 9, 3, 'stray', '5$'),
             (5, 'default', 9, 4, 'name', '<${username}>'),
             (6, 'émile', 9, 5, 'é', 'ü')",
    );
    let server = serve(&database);
    let ask = |pairs: &[(&str, &str)]| post(server.address, pairs);
    let alice = [("username", "alice"), ("password", "pw")];
    let all = "tie=200\nos=unknown\nstray=5$\nname=<alice>\n";
    let text = |pairs: &[(&str, &str)]| ask(pairs).text().to_owned();
    // The lowest id wins a tie; a missing parameter costs one rule, not the answer; a stray dollar
    // stands for itself; usernames that differ only in case are one user.
    assert_eq!(text(&alice), all);
    // No parameter is kept from one request to the next.
    assert_eq!(ask(&[]).status, 401);
    assert_eq!(ask(&[("default", "bob"), ("null", "x"), ("username", "x@evil.org")]).status, 401);
    assert_eq!(text(&alice), all);
    // No parameter reaches another user's rules.
    assert_eq!(text(&[alice[0], alice[1], ("hwaddr", "bob")]), all);
    // Missing credentials are refused for every user.
    assert_eq!(ask(&[("username", "alice")]).status, 401);
    // Upper-case md5 matches.
    assert_eq!(ask(&[("username", "bob"), ("password", "pw")]).status, 200);
    // Names and values beyond ASCII work, and are written as escapes.
    let emile = text(&[("username", "émile"), ("password", "pä")]);
    assert!(emile.ends_with("name=<\\u00E9mile>\n\\u00E9=\\u00FC\n"), "{emile}");
    // Two @ are no error: the last one separates user and domain.
    assert_eq!(ask(&[("username", "a@b@localdomain"), ("password", "pw")]).status, 401);
    // A line break in a parameter stays inside its property.
    let broken = text(&[alice[0], alice[1], ("osname", "x\ninjected=1")]);
    assert!(broken.contains("os=x\\ninjected=1\n"), "{broken}");
    // Properties are text/plain, not text/html.
    assert_eq!(ask(&alice).header("content-type"), Some("text/plain; charset=iso-8859-1"));
}
