//! The seeded rules that remove subtrees, in databases that the original has set up: `--setup` moves
//! them before the rules that operators add.

use jitsiprovs::core::client::ClientState;
use jitsiprovs::source::default_properties;

use support::client::post;
use support::database::Kind;
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts};

const PROTOCOL: &str = "net.java.sip.communicator.impl.protocol";

/// A database as the original has set it up, with the user alice.
struct Original {
    args: Vec<String>,
    execute: Box<dyn Fn(&str)>,
}

impl Original {
    fn each() -> Vec<Original> {
        let file = SqliteFile::seeded();
        file.execute(
            "DROP TABLE jitsi_property; DROP TABLE user_auth; DROP TABLE user_attribute;
             DROP TABLE jitsiprovs_schema; DROP TABLE jitsiprovs_change",
        );
        let args = ["--db-path", file.path.to_str().expect("UTF-8")].map(str::to_owned).into();
        let sqlite = Original { args, execute: Box::new(move |sql| file.execute(sql)) };
        sqlite.fill(include_str!("../sql/sqlite/001_original.sql"));
        let on_server = |kind: Kind| {
            let database = kind.database();
            let args = database.all();
            let original = Original { args, execute: Box::new(move |sql| drop(database.script(sql))) };
            original.fill(kind.original());
            original
        };
        [sqlite].into_iter().chain(Kind::ALL.map(on_server)).collect()
    }

    fn fill(&self, tables: &str) {
        (self.execute)(tables);
        let hash = md5_hex("pw");
        (self.execute)(&format!(
            "INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{hash}')"
        ));
        for (key, value) in default_properties() {
            // Backslashes are escaped only in MariaDB; which values have them does not matter here.
            let value = value.replace('\\', "");
            self.add(10, key, &value);
        }
    }

    fn add(&self, spriority: i64, key: &str, value: &str) {
        (self.execute)(&format!(
            "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
                 VALUES ('default', {spriority}, 10, '{key}', '{value}')"
        ));
    }

    fn run(&self, args: &[&str]) -> String {
        let output = run(&[args, &texts(&self.args)].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The lines of alice's answer.
    fn answer(&self) -> Vec<String> {
        let server = Server::start(&texts(&self.args));
        let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
        assert_eq!(reply.status, 200);
        reply.text().lines().map(str::to_owned).collect()
    }

    /// The reason in `explain` for the rule that sets a key.
    fn why(&self, key: &str) -> String {
        let json = self.run(&["explain", "alice@a.org", "--key", key, "--format", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        json["keys"][0]["rules"][0]["why"].as_str().expect("a text").to_owned()
    }
}

/// What the client has after an answer: keys with their values.
fn settings(answer: &[String]) -> Vec<(String, String)> {
    let pairs: Vec<(&str, &str)> = answer.iter().filter_map(|line| line.split_once('=')).collect();
    let stored = ClientState::after(&pairs).stored;
    stored.into_iter().map(|(key, at)| (key.into_owned(), pairs[at].1.to_owned())).collect()
}

#[test]
fn setup_moves_the_removals_before_what_operators_add() {
    for database in Original::each() {
        let own = format!("{PROTOCOL}.sip.accsip.FORCE_P2P_MODE");
        database.add(9, &own, "true");
        database.add(7, &format!("{PROTOCOL}.sip.accsip.XIVO_ENABLE"), "true");
        database.run(&["check", "--ignore", "weak-hash,null-undoes,no-account-line,never-wins,tie"]);
        assert!(!settings(&database.answer()).iter().any(|(key, _)| *key == own));
        assert_eq!(database.why(&own), "undone by rule 8");
        let said = database.run(&["--setup"]);
        assert!(said.contains("moved 2 seeded rules (id 7, 8) from spriority 10 to 0"), "{said}");
        assert!(said.contains("own accounts, chat rooms and last status"), "{said}");
        assert!(settings(&database.answer()).contains(&(own.clone(), "true".into())));
        assert_eq!(database.why(&own), "won");
        // An operator may move them back.
        assert!(database.run(&["--setup"]).starts_with("nothing to do"));
        (database.execute)("UPDATE jitsi_property SET spriority = 10 WHERE id = 8");
        assert!(database.run(&["--setup"]).starts_with("nothing to do"));
        assert_eq!(database.why(&own), "undone by rule 8");
    }
}

#[test]
fn without_own_rules_clients_get_the_same_after_setup() {
    for database in Original::each() {
        let before = database.answer();
        assert!(database.run(&["--setup"]).contains("moved 2 seeded rules"));
        let after = database.answer();
        assert_ne!(before, after);
        assert_eq!(settings(&before), settings(&after));
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        assert_eq!(sorted(before), sorted(after));
    }
}

#[test]
fn changed_removals_stay_where_they_are() {
    for database in Original::each() {
        // One was changed, and another rule would lose to the other one in front.
        (database.execute)("UPDATE jitsi_property SET ppriority = 11 WHERE id = 7");
        database.add(5, PROTOCOL, "x");
        let said = database.run(&["--setup"]);
        for part in [
            "left rule 7 as it is, because it was changed",
            "left rule 8 as it is, because rule 60 sets the same key",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("moved"), "{said}");
        assert!(database.answer().contains(&format!("{PROTOCOL}=x")));
        assert!(database.run(&["--setup"]).starts_with("nothing to do"));
    }
}

#[test]
fn new_databases_have_the_removals_in_front_and_setup_says_what_they_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new.db");
    let args = ["--setup", "--db-path", path.to_str().expect("UTF-8")];
    let said = String::from_utf8(run(&args).stdout).expect("UTF-8");
    assert!(said.contains("own accounts, chat rooms and last status"), "{said}");
    assert!(!said.contains("moved") && !said.contains("left rule"), "{said}");
    let rules = run(&["rule", "list", "--db-path", args[2], "--format", "json", "--key", "net.java"]);
    let rules: serde_json::Value = serde_json::from_slice(&rules.stdout).expect("JSON");
    let (first, second) = (&rules[0], &rules[1]);
    assert!([first, second].iter().all(|rule| rule["spriority"] == 0), "{first} {second}");
}

#[test]
fn rule_add_and_rule_set_warn_of_rules_that_undo_the_new_one() {
    let file = SqliteFile::empty();
    let path = ["--db-path", file.path.to_str().expect("UTF-8")];
    let list = "net.java.sip.communicator.|a.";
    file.rule(None, "default", 10, "a.b", "${null}")
        .rule(Some("a.org"), "default", 20, "provisioning.ENFORCE_PREFIX", list)
        .rule(Some("b.org"), "default", 0, "provisioning.ALLOW_PREFIX", list);
    for (args, warning) in [
        (&["add", "a.b.c=1"][..], Some("remove this property again, because of rule 60:")),
        (&["add", "a.b.d=1", "--spriority", "11"], None),
        (&["add", "a.c=1"], None),
        (&["add", "x=1", "--domain", "a.org"], Some("list in rule 61 (ENFORCE_PREFIX)")),
        (&["add", "x=2", "--domain", "b.org"], Some("ignore this property, because the list in rule 62")),
        (&["add", "x=3", "--domain", "c.org"], None),
        (&["set", "64", "--spriority", "9"], Some("because of rule 60:")),
        (&["set", "64", "--spriority", "12"], None),
    ] {
        let output = run(&[&["rule"], args, &path].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        let warnings = said.lines().filter(|line| line.starts_with("warning: ")).count();
        assert_eq!(warnings, usize::from(warning.is_some()), "{args:?}: {said}");
        assert!(warning.is_none_or(|warning| said.contains(warning)), "{args:?}: {said}");
    }
}

/// The rules that the manual shows: they keep what a user has added.
#[test]
fn the_narrow_removals_of_the_manual_keep_the_users_own_accounts() {
    let manual = include_str!("../docs/rules.md");
    let file = SqliteFile::seeded();
    file.user("a.org", "alice", "pw");
    let path = ["--db-path", file.path.to_str().expect("UTF-8")];
    let (_, section) = manual.split_once("## The rules that `--setup` creates").expect("the section");
    let commands = section.lines().filter_map(|line| line.strip_prefix("    jitsiprovs "));
    for command in commands {
        let words = command.split('#').next().unwrap_or_default().split_whitespace();
        let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).collect();
        let output = run(&[&words[..], &path].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    let output = run(&[&["explain", "alice@a.org", "--properties"], &path[..]].concat());
    let answer = String::from_utf8(output.stdout).expect("UTF-8");
    let old = [
        "net.java.sip.communicator.impl.gui.accounts.acc17.lastAccountStatus=Online",
        "net.java.sip.communicator.impl.protocol.sip.acc17=acc17",
        "net.java.sip.communicator.impl.protocol.sip.acc17.USER_ID=own",
        "net.java.sip.communicator.impl.protocol.sip.accsip.OLD=1",
    ];
    let answer: Vec<String> = old.into_iter().chain(answer.lines()).map(str::to_owned).collect();
    let settings = settings(&answer);
    let has = |key: &str| settings.iter().any(|(known, _)| known == key);
    let keys = old.map(|line| has(line.split_once('=').expect("a property").0));
    assert_eq!(keys, [true, true, true, false]);
    assert!(has(&format!("{PROTOCOL}.sip.accsip")) && has(&format!("{PROTOCOL}.jabber.accxmpp.USER_ID")));
    let output = run(&[&["check", "--ignore", "weak-hash"], &path[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
