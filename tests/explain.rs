//! `jitsiprovs explain`, next to a server on the same database.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use support::client::{exchange, post, request};
use support::database::Kind;
use support::server::{Server, jitsiprovs, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts};

/// Explains with a password on standard input.
fn with_password(args: &[&str], password: &str) -> Output {
    let mut command = jitsiprovs(&[&["explain", "--password-stdin"], args].concat());
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().expect("the binary starts");
    // The process may have ended already because an option is missing.
    let _ = writeln!(child.stdin.take().expect("a pipe"), "{password}");
    child.wait_with_output().expect("its output")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

support::on_each_server!(a_database_is_read_with_an_account_that_may_only_select,);

#[test]
fn fifty_random_databases_are_explained_exactly_as_they_are_served() {
    // A server that is asked for reloads makes one a second.
    std::thread::scope(|scope| (0..10).for_each(|seed| drop(scope.spawn(move || explained(5, seed)))));
}

/// Compares explanations and answers for this many databases.
fn explained(databases: u32, seed: u64) {
    const NAMES: [&str; 7] = ["alice", "Bob", "Linux", "default", "osname=linux", "mac=x", "branch=a b"];
    const DOMAINS: [Option<&str>; 4] = [None, Some("a.org"), Some("B.org"), Some("")];
    const KEYS: [&str; 8] =
        ["a", "b", "\\u0061", "x.$username", "x.alice", "$osname", "c.${branch:-x}", "PASSWORD"];
    const VALUES: [&str; 9] =
        ["1", "", "2$", "$password", "${hwaddr}", "${null}", "é\n\\", "${branch:-z}", "C:\\$osname"];
    const SENT: [&str; 6] = ["osname", "os", "mac", "branch", "hwaddr", "x"];
    const SENT_VALUES: [&str; 8] = ["", "Linux", "bob", "x", "a b", "${osname}", "NA", "é=\\\n&%41+"];
    let mut random = fastrand::Rng::with_seed(seed);
    let file = SqliteFile::empty();
    let understood = ["--default-domain", "b.org", "--param-alias", "mac=hwaddr"];
    let serving = ["--admin-port", "0", "--poll-interval", "0", "--allow-shrink"];
    let server = Server::on_sqlite(&file.path, &[&serving[..], &understood].concat());
    for _ in 0..databases {
        file.execute("BEGIN; DELETE FROM user_auth; DELETE FROM jitsi_property");
        for name in &NAMES[..3] {
            file.user("a.org", name, "pass word").user("b.org", name, "pass word");
        }
        for _ in 0..random.usize(..20) {
            let mut pick = |from: &[&'static str]| from[random.usize(..from.len())];
            let (subject, key, value) = (pick(&NAMES), pick(&KEYS), pick(&VALUES));
            file.rule(DOMAINS[random.usize(..4)], subject, random.i64(..3), key, value);
        }
        file.execute("COMMIT");
        assert_eq!(exchange(server.admin(), &request("POST", "/reload", &[], b"")).status, 200);
        for _ in 0..4 {
            let name = NAMES[random.usize(..3)];
            let username = format!("{name}{}", ["", "@a.org", "@B.org"][random.usize(..3)]);
            let sent: Vec<(&str, &str)> = (0..random.usize(..4))
                .map(|_| (SENT[random.usize(..SENT.len())], SENT_VALUES[random.usize(..SENT_VALUES.len())]))
                .collect();
            let own = [("username", username.as_str()), ("password", "pass word")];
            let reply = post(server.address, &[&own[..], &sent].concat());
            let typed: Vec<String> = sent.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let options = ["--properties", "--db-path", text(&file.path), &username];
            let output = with_password(&[&options[..], &understood, &texts(&typed)].concat(), "pass word");
            assert_eq!((reply.status, output.status.code()), (200, Some(0)), "{}", said(&output));
            assert!(output.stdout == reply.body, "{username} {sent:?}");
            assert_eq!(said(&output), "");
        }
    }
}

fn office() -> SqliteFile {
    // The ids begin with 60.
    let file = SqliteFile::empty();
    file.user("example.org", "alice", "wonderland").user("example.org", "bob", "builder");
    file.rule(None, "default", 100, "acc.PASSWORD", "${password}")
        .rule(None, "default", 100, "acc.SERVER", "sip.example.org")
        .rule(Some("example.org"), "osname=Linux", 50, "acc.SERVER", "linux.example.org")
        .rule(None, "bob", 50, "acc.SERVER", "bob.example.org")
        .rule(Some("other.org"), "default", 1, "acc.SERVER", "other.example.org");
    file
}

#[test]
fn the_table_shows_the_winning_rule_of_each_key_and_the_losing_ones() {
    let file = office();
    let explain = |args: &[&str]| {
        let output = run(&[&["explain", "--db-path", text(&file.path)], args].concat());
        assert!(output.status.success(), "{}", said(&output));
        (String::from_utf8(output.stdout.clone()).expect("UTF-8"), said(&output))
    };
    let words = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let (table, note) = explain(&["alice@example.org", "osname=Linux"]);
    assert_eq!(
        words(&table),
        [
            "KEY VALUE ID DOMAIN SUBJECT SPRIORITY PPRIORITY WHY",
            "acc.SERVER linux.example.org 62 example.org osname=Linux 50 10 won",
            "acc.SERVER sip.example.org 61 all tenants default 100 10 lost to rule 62: lower priority",
            "acc.PASSWORD *** 60 all tenants default 100 10 won",
            "1 more that does not match this client: --all lists it",
        ]
    );
    assert!(table.lines().nth(2).is_some_and(|line| line.starts_with("  acc.SERVER")), "{table}");
    assert!(note.contains("(60)") && note.contains("--password-stdin"), "{note}");
    let (table, _) = explain(&["alice@example.org", "--all"]);
    let lines = words(&table);
    assert!(lines.iter().any(|line| line.ends_with("the client did not send osname")), "{table}");
    assert!(lines.iter().any(|line| line.ends_with("for another user")), "{table}");
    assert!(!table.contains("other.example.org") && !table.contains('\x1b'), "{table}");

    let (json, _) = explain(&["Alice", "domain=example.org", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json["username"].as_str(), json["domain"].as_str()), (Some("Alice"), Some("example.org")));
    let key = &json["keys"][1];
    assert_eq!((key["key"].as_str(), key["value"].as_str()), (Some("acc.SERVER"), Some("sip.example.org")));
    let rules: Vec<_> =
        key["rules"].as_array().expect("rules").iter().map(|rule| rule["verdict"].as_str()).collect();
    assert_eq!(rules, [Some("won"), Some("mismatch")]);
    assert_eq!(key["rules"][1]["parameter"].as_str(), Some("osname"));
    let domains: Vec<_> = json["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .flat_map(|key| key["rules"].as_array().expect("rules").iter().map(|rule| rule["domain"].as_str()))
        .collect();
    assert!(domains.contains(&None) && !domains.contains(&Some("")), "{domains:?}");
    assert_eq!(json["without_password"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["left_out"].as_u64(), Some(1));

    let (properties, note) = explain(&["alice@example.org", "--properties"]);
    assert_eq!(properties, "acc.PASSWORD=\nacc.SERVER=sip.example.org\n");
    assert!(note.contains("left empty"), "{note}");
}

#[test]
fn errors_name_the_cause_and_contain_no_password() {
    let file = office();
    let path = ["--db-path", text(&file.path)];
    for (args, password, code, expected) in [
        (&["alcie@example.org"][..], None, 1, "did you mean alice?"),
        (&["alice@exmaple.org"], None, 1, "did you mean example.org?"),
        (
            &["alice"],
            None,
            1,
            "no tenant \"localdomain\": `jitsiprovs tenant list` lists them: did you mean alice@example.org?",
        ),
        (&["@example.org"], None, 1, "write user@domain"),
        (&["alice@example.org"], Some("guess-1"), 1, "the server would answer 401"),
        (&["alice@example.org", "pass=guess-1"], None, 1, "--password-stdin"),
        (&["alice@example.org", "Linux"], None, 2, "write param=value"),
        (&["alice@example.org", "--properties", "--format", "json"], None, 2, "cannot be used with"),
    ] {
        let args = [&path[..], args].concat();
        let output = match password {
            Some(password) => with_password(&args, password),
            None => run(&[&["explain"], &args[..]].concat()),
        };
        let said = said(&output);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{said}");
        assert!(said.contains(expected) && !said.contains("guess-1"), "{said}");
        assert!(code == 2 || said.lines().count() == 1, "{said}");
        assert!(code == 1 || said.contains("Usage: jitsiprovs explain "), "{said}");
    }
}

fn a_database_is_read_with_an_account_that_may_only_select(kind: Kind) {
    let database = kind.database();
    let owner = database.all();
    assert!(run(&[&["--setup"], &texts(&owner)[..]].concat()).status.success());
    let stored = md5_hex("wonderland");
    database.script(&format!(
        "INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{stored}')"
    ));
    let read = database.read();
    let server = Server::start(&texts(&read));
    let reply =
        post(server.address, &[("username", "ALICE@a.org"), ("password", "wonderland"), ("os", "Linux")]);
    let output = with_password(
        &[&["--properties", "ALICE@a.org", "os=Linux"], &texts(&read)[..]].concat(),
        "wonderland",
    );
    assert!(
        reply.status == 200 && output.stdout == reply.body && reply.body.len() > 3000,
        "{}",
        said(&output)
    );
}
