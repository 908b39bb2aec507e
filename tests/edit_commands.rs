//! Commands that edit do what is meant, say so before they do it, and speak to programs.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Value, json};

use support::database::Kind;
use support::server::{Running, jitsiprovs, run};
use support::tables::Tables;
use support::terminal::terminal;
use support::texts;

/// All rules as `DOMAIN|subject|spriority|key=value`, by id.
fn rules(tables: &Tables) -> Vec<String> {
    let listed = tables.json(&["rule", "list"]);
    let mut rules = listed.as_array().expect("a list").clone();
    rules.sort_by_key(|rule| rule["id"].as_i64());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |rule: &Value| {
        let [domain, subject, key, value] =
            ["domain", "subject", "key", "value"].map(|name| text(&rule[name]));
        format!("{domain}|{subject}|{}|{key}={value}", rule["spriority"])
    };
    rules.iter().map(line).collect()
}

/// Everything in the tables.
fn all(tables: &Tables) -> String {
    tables.done(&["export", "json"])
}

support::on_each_server!(
    an_asterisk_and_an_address_in_the_tables_are_found_by_check,
    a_dry_run_refuses_what_the_edit_would_refuse,
);

#[test]
fn a_key_that_exists_for_the_tenant_and_the_subject_is_not_added_again() {
    for tables in Tables::each() {
        for args in [
            &["a.b=1"][..],
            &["a.b=1", "--domain", "a.org"],
            &["a.b=1", "--domain", "a.org", "--subject", "os=Linux"],
        ] {
            tables.done(&[&["rule", "add"], args].concat());
        }
        let before = rules(&tables);
        for (args, id) in [
            (&["a.b=hunter2"][..], 0),
            (&["a.b=1", "--subject", "DEFAULT"], 0),
            (&["a.b=1", "--domain", ""], 0),
            // Java reads the same key.
            (&["a\\u002eb=1"], 0),
            // Another priority does not make it another rule.
            (&["a.b=1", "--spriority", "3"], 0),
            (&["a.b=1", "--domain", "A.org "], 1),
            (&["a.b=1", "--domain", "a.org", "--subject", "osname=LINUX"], 2),
            (&["a.b=1", "--dry-run"], 0),
        ] {
            // One line: there is no warning about a rule that is not added.
            let said = tables.refused(&[&["rule", "add"], args].concat(), "", 1);
            let ids = tables.json(&["rule", "list"]);
            let mut ids: Vec<i64> = ids
                .as_array()
                .expect("a list")
                .iter()
                .map(|rule| rule["id"].as_i64().expect("an id"))
                .collect();
            ids.sort_unstable();
            let id = ids[id];
            assert!(
                said.starts_with(&format!("error: rule {id} has this key for "))
                    && said.contains("rule set")
                    && said.contains("--also")
                    && !said.contains("hunter2"),
                "{args:?}: {said}"
            );
            assert_eq!(rules(&tables), before, "{args:?}");
        }
        // Other keys, subjects and tenants are other rules.
        for args in [
            &["a.B=1"][..],
            &["a.b=1", "--domain", "b.org"],
            &["a.b=1", "--subject", "Linux"],
            &["a.b=2", "--spriority", "3", "--also"],
        ] {
            tables.done(&[&["rule", "add"], args].concat());
        }
        assert_eq!(rules(&tables).len(), 7);
    }
}

#[test]
fn set_with_a_property_adds_the_rule_or_changes_it() {
    for tables in Tables::each() {
        let set = |args: &[&str]| tables.json(&[&["rule", "set"], args].concat());
        for (args, action, expected) in [
            (&["k=1"][..], "added", &["|default|9|k=1"][..]),
            (&["k=1"], "unchanged", &["|default|9|k=1"]),
            (&["k=2"], "changed", &["|default|9|k=2"]),
            (&["k=2", "--spriority", "4"], "changed", &["|default|4|k=2"]),
            // A priority that is not given stays.
            (&["k= 3 $", "--literal"], "changed", &["|default|4|k=\\ 3 $$"]),
            (&["k=4", "--domain", "a.org"], "added", &["|default|4|k=\\ 3 $$", "a.org|default|7|k=4"]),
            (
                &["k=5", "--domain", "A.ORG", "--subject", "Default"],
                "changed",
                &["|default|4|k=\\ 3 $$", "a.org|default|7|k=5"],
            ),
            (
                &["k=6", "--domain", "a.org", "--subject", "alice"],
                "added",
                &["|default|4|k=\\ 3 $$", "a.org|default|7|k=5", "a.org|alice|5|k=6"],
            ),
        ] {
            let report = set(args);
            assert_eq!((&report["action"], &report["dry_run"]), (&json!(action), &json!(false)), "{report}");
            assert_eq!(report["before"].is_null(), action == "added", "{report}");
            assert!(report["rule"]["id"].is_i64() && report["audience"].is_string(), "{report}");
            assert_eq!(rules(&tables), expected, "{args:?}");
        }
        let said = tables.done(&["rule", "set", "k=7", "--domain", "a.org", "--subject", "alice"]);
        assert!(said.starts_with("changed rule ") && said.contains("for the user alice"), "{said}");
        let said = tables.done(&["rule", "set", "new=1"]);
        assert!(said.starts_with("added rule ") && said.ends_with("for everyone of all tenants\n"), "{said}");

        tables.done(&["rule", "add", "k=8", "--also"]);
        let before = rules(&tables);
        for (args, code, why) in [
            (&["k=9"][..], 1, "have this key for everyone of all tenants"),
            (&["k=9", "--dry-run"], 1, "rules "),
            (&["k"], 1, "key=value"),
            (&["k=1", "--value", "2"], 2, "write the id, or only KEY=VALUE"),
            (&["k=1", "--subject", ""], 1, "subject is empty"),
            (&["999", "--value", "1"], 1, "no rule id 999"),
        ] {
            let said = tables.refused(&[&["rule", "set"], args].concat(), "", code);
            assert!(said.contains(why), "{args:?}: {said}");
        }
        assert_eq!(rules(&tables), before);
    }
}

/// Runs a command at a terminal at which `answer` is typed, and returns its exit code.
fn answered(tables: &Tables, args: &[&str], answer: &str) -> Option<i32> {
    let (mut typing, end) = terminal();
    let mut command = jitsiprovs(args);
    command.args(&tables.args).stdin(end.try_clone().expect("a handle"));
    command.stdout(std::process::Stdio::null());
    let mut child = Running(command.spawn().expect("starts"));
    typing.write_all(answer.as_bytes()).expect("typed");
    child.0.wait().expect("ends").code()
}

#[test]
fn rules_are_removed_by_what_a_list_shows_after_asking() {
    for tables in Tables::each() {
        let fill = || {
            for (property, domain, subject) in [
                ("foo.a=1", "a.org", "alice"),
                ("foo.b=1", "a.org", "os=Linux"),
                ("bar=1", "a.org", "alice"),
                ("foo.a=1", "", "alice"),
            ] {
                tables.done(&["rule", "set", property, "--domain", domain, "--subject", subject]);
            }
        };
        fill();
        let before = rules(&tables);
        let left = |filter: &[&str]| {
            let listed = tables.json(&[&["rule", "list"], filter].concat());
            let listed = listed.as_array().expect("a list").len();
            let report = tables.json(&[&["rule", "remove", "--yes"], filter].concat());
            assert_eq!(
                (&report["action"], report["ids"]["rules"].as_array().map(Vec::len)),
                (&json!("removed"), Some(listed))
            );
            let left = rules(&tables);
            assert_eq!(left.len() + listed, 4, "{filter:?}");
            fill();
            left
        };
        assert_eq!(left(&["--domain", ""]).len(), 3);
        assert_eq!(
            left(&["--domain", "A.org", "--subject", "ALICE"]),
            ["a.org|os=Linux|5|foo.b=1", "|alice|5|foo.a=1"]
        );
        assert_eq!(left(&["--key", "foo"]), ["a.org|alice|5|bar=1"]);
        assert_eq!(left(&["--subject", "osname=linux"]).len(), 3);

        let count = || rules(&tables).len();
        for (args, code, why) in [
            (&["--key", "nothing"][..], 1, "no rule matches"),
            (&[], 2, "no rule is named"),
            (&["7", "--key", "foo"], 2, "cannot be used with"),
            (&["--key", "foo", "--format", "json"], 2, "--yes"),
            (&["999", "--dry-run"], 1, "no rule id 999"),
        ] {
            let said = tables.refused(&[&["rule", "remove"], args].concat(), "", code);
            assert!(said.contains(why), "{args:?}: {said}");
        }
        // Without a terminal, nobody can be asked; the rules are shown all the same.
        let output = tables.say(&["rule", "remove", "--key", "foo"], "yes\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("--yes"), "{said}");
        assert_eq!((String::from_utf8_lossy(&output.stdout).lines().count(), count()), (4, 4));
        let shown = tables.done(&["rule", "remove", "--key", "foo", "--dry-run"]);
        assert!(shown.lines().count() == 5 && shown.ends_with(" would be removed\n"), "{shown}");
        assert_eq!(answered(&tables, &["rule", "remove", "--key", "foo"], "no\n"), Some(1));
        assert_eq!(count(), before.len());
        assert_eq!(answered(&tables, &["rule", "remove", "--key", "foo"], "yes\n"), Some(0));
        assert_eq!(count(), 1);
    }
}

#[test]
fn the_rules_of_a_user_go_with_the_user_and_check_finds_those_that_are_kept() {
    for tables in Tables::each() {
        let fill = || {
            for user in ["alice@a.org", "alice@b.org", "bob@a.org", "00:1a:2b:3c:4d:5e@a.org"] {
                if tables.say(&["user", "show", user], "").status.code() == Some(1) {
                    tables.user(user, "pw");
                }
            }
            for (domain, subject) in [
                ("a.org", "Alice"),
                ("a.org", "user=alice"),
                ("", "alice"),
                ("b.org", "alice"),
                ("a.org", "bob"),
                ("a.org", "default"),
                ("a.org", "hwaddr=alice"),
                ("", "00:1a:2b:3c:4d:5e"),
            ] {
                tables.done(&["rule", "set", "k=v", "--domain", domain, "--subject", subject]);
            }
        };
        let codes = || {
            let output = tables.say(&["check", "--format", "json", "--ignore", "weak-hash"], "");
            let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let findings = found["findings"].as_array().expect("a list").clone();
            findings.iter().filter(|one| one["code"] == "no-such-user").count()
        };
        fill();
        let before = codes();
        // Another tenant has an alice, so the rule for all tenants is for her too.
        let output = tables.say(&["user", "remove", "alice@a.org"], "");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("another tenant also has a user"),
            "{output:?}"
        );
        let kept = ["|alice", "b.org|alice", "a.org|bob", "a.org|default", "a.org|hwaddr=alice"];
        let subjects = || -> BTreeSet<String> {
            rules(&tables).iter().map(|rule| rule.rsplitn(3, '|').last().expect("parts").to_owned()).collect()
        };
        let expected: BTreeSet<String> =
            kept.iter().chain(&["|00:1a:2b:3c:4d:5e"]).map(|text| (*text).to_owned()).collect();
        assert_eq!(subjects(), expected);
        assert_eq!(codes(), before);
        // Nobody else has this name: its rules for all tenants go too.
        tables.done(&["user", "remove", "alice@b.org"]);
        tables.done(&["user", "remove", "00:1a:2b:3c:4d:5e@a.org", "--with-rules"]);
        let expected: BTreeSet<String> = kept[2..].iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(subjects(), expected);

        fill();
        let output = tables.say(&["user", "remove", "alice@a.org", "--keep-rules"], "");
        assert!(String::from_utf8_lossy(&output.stderr).contains("rules "), "{output:?}");
        assert_eq!(subjects().len(), 8);
        // The bare name and the typed one.
        assert_eq!(codes(), before + 2);
        // This rule may be for a machine.
        tables.done(&["user", "remove", "00:1a:2b:3c:4d:5e@a.org", "--keep-rules"]);
        assert_eq!(codes(), before + 2);
        assert!(tables.say(&["check"], "").stdout.windows(12).any(|part| part == b"untyped-word"));
        tables.refused(&["user", "remove", "bob@a.org", "--keep-rules", "--with-rules"], "", 2);
    }
}

#[test]
fn no_tenant_is_called_asterisk() {
    let tables = Tables::sqlite();
    tables.user("alice@a.org", "pw");
    tables.done(&["rule", "add", "k=v"]);
    let id = tables.json(&["rule", "list"])[0]["id"].to_string();
    let before = all(&tables);
    for args in [
        &["rule", "add", "l=v", "--domain", "*"][..],
        &["rule", "set", "l=v", "--domain", " *"],
        &["rule", "set", &id, "--domain", "*"],
        &["rule", "list", "--domain", "*"],
        &["rule", "remove", "--domain", "*", "--yes"],
        &["user", "add", "bob@*", "--password-stdin"],
        &["user", "passwd", "alice@*", "--password-stdin"],
        &["user", "list", "--domain", "*"],
        &["user", "set", "alice@*", "x=y"],
        &["user", "unset", "alice@*", "x"],
        &["user", "disable", "alice@*"],
        &["user", "enable", "alice@*"],
        &["user", "show", "alice@*"],
        &["user", "remove", "alice@*"],
        &["tenant", "show", "*"],
        &["tenant", "set", "*", "x=y"],
        &["tenant", "unset", "*", "x"],
        &["tenant", "remove", "*", "--yes"],
        &["explain", "alice@*"],
        &["import", "properties", "--domain", "*"],
        &["export", "rules", "--domain", "*"],
        &["-n", "--default-domain", "*"],
    ] {
        let said = tables.refused(args, "pw", 2);
        assert!(
            said.starts_with("error: ") && said.contains("no tenant is called `*`: "),
            "{args:?}: {said}"
        );
    }
    for (content, file) in [
        ("rules", "domain,subject,key,value\n*,default,k,v\n"),
        ("rules-json", r#"[{"domain":"*","subject":"default","key":"k","value":"v"}]"#),
        ("users", "username,domain,password\nbob,*,x\n"),
        ("attributes", "domain,username,name,value\n*,,x,y\n"),
    ] {
        let said = tables.refused(&["import", content], file, 1);
        assert!(said.contains("no tenant is called `*`: "), "{content}: {said}");
    }
    let output = run(&["lock", "clear", "alice@*", "http://127.0.0.1:1"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no tenant is called `*`: "), "{output:?}");
    assert_eq!(all(&tables), before);
    assert!(tables.done(&["rule", "list"]).contains("  all tenants  default"));
    assert!(tables.done(&["tenant", "list"]).contains("all tenants  "));
    assert!(tables.done(&["tenant", "show", "--all"]).starts_with("all tenants: "));
}

fn an_asterisk_and_an_address_in_the_tables_are_found_by_check(kind: Kind) {
    let database = kind.database();
    let tables = Tables::of(database.all());
    database.script(
        "DELETE FROM jitsi_property;
         INSERT INTO user_auth (id, username, domain, password) VALUES (1, 'alice', 'a.org', NULL), (2, 'c@d', 'a.org', NULL);
         INSERT INTO jitsi_property (id, domain, subject, spriority, ppriority, property_key, property_value) VALUES
             (11, '*', 'default', 1, 1, 'k', 'v'), (12, NULL, 'alice@a.org', 1, 1, 'k', 'v'),
             (13, NULL, 'username=alice@a.org', 2, 1, 'k', 'v'), (14, NULL, 'c@d', 3, 1, 'k', 'v')",
    );
    let output = tables.say(&["check", "--format", "json"], "");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let said = |id: i64| {
        let findings = found["findings"].as_array().expect("a list").iter();
        let of_rule = findings.filter(|one| one["table"] == "jitsi_property" && one["id"] == id);
        of_rule.map(|one| format!("{} {}", one["code"], one["message"])).collect::<Vec<_>>().join("\n")
    };
    assert!(said(11).contains("no-users") && said(11).contains("leave its domain empty"), "{}", said(11));
    for id in [12, 13] {
        assert!(said(id).contains("no-such-user"), "{}", said(id));
        assert!(
            said(id).contains("write the subject as `alice`, and `a.org` as the rule's domain"),
            "{}",
            said(id)
        );
    }
    assert!(!said(14).contains("no-such-user"), "{}", said(14));
}

#[test]
fn an_address_is_no_subject_unless_a_user_is_called_so() {
    for tables in Tables::each() {
        tables.user("alice@a.org", "pw");
        tables.user("c@d@a.org", "pw");
        tables.done(&["rule", "add", "k=v"]);
        let id = tables.json(&["rule", "list"])[0]["id"].to_string();
        let before = all(&tables);
        for (args, right) in [
            (&["rule", "add", "l=v", "--subject", "alice@a.org"][..], "--subject alice --domain a.org"),
            (
                &["rule", "add", "l=v", "--subject", "Alice@a.org", "--dry-run"],
                "--subject Alice --domain a.org",
            ),
            (
                &["rule", "add", "l=v", "--subject", "user=alice@a.org", "--domain", "a.org"],
                "--subject user=alice --domain a.org",
            ),
            (&["rule", "set", "l=v", "--subject", "alice@a.org"], "--subject alice --domain a.org"),
            (&["rule", "set", &id, "--subject", "x@b@a.org"], "--subject x@b --domain a.org"),
        ] {
            let said = tables.refused(args, "", 1);
            assert!(said.contains(right), "{args:?}: {said}");
        }
        assert_eq!(all(&tables), before);
        tables.done(&["rule", "add", "l=v", "--subject", "c@d"]);
        tables.done(&["rule", "add", "l=v", "--subject", "hostname=alice@a.org"]);
        tables.done(&["rule", "add", "l=v", "--subject", "user.mail=alice@a.org"]);
    }
}

#[test]
fn a_rule_without_a_domain_says_for_which_tenants_it_is() {
    for tables in Tables::each() {
        let said = |args: &[&str]| {
            let output = tables.say(&[&["rule"], args].concat(), "");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stderr).expect("UTF-8")
        };
        tables.user("alice@a.org", "pw");
        tables.user("bob@A.org", "pw");
        assert_eq!(said(&["add", "a=1"]), "");
        tables.user("carol@b.org", "pw");
        let note = "note: without --domain, a rule is for all tenants, and 2 tenants have users: a.org, b.org; \
                    --domain '' says that this is meant\n";
        assert_eq!(said(&["add", "b=1"]), note);
        assert_eq!(said(&["set", "c=1", "--subject", "osname=Linux", "--dry-run"]), note);
        for args in
            [&["add", "d=1", "--domain", ""][..], &["add", "e=1", "--domain", "a.org"], &["set", "b=2"]]
        {
            assert_eq!(said(args), "", "{args:?}");
        }
    }
}

/// Every command that edits, with what it needs on standard input, in an order in which each can
/// run after those before.
const EDITS: [(&[&str], &str, &str); 17] = [
    (
        &["user", "add", "bob@a.org", "--password-stdin", "--hash", "md5", "--set", "extension=17"],
        "hunter2",
        "added",
    ),
    (
        &["user", "passwd", "alice@a.org", "--password-stdin", "--hash", "plain", "--pwd-fmt", "plain"],
        "hunter2",
        "changed",
    ),
    (&["user", "set", "alice@a.org", "extension=18", "group=a"], "", "changed"),
    (&["user", "set", "alice@a.org", "--value-stdin", "sip_password"], "hunter2", "changed"),
    (&["user", "set", "alice@a.org", "extension=18"], "", "unchanged"),
    (&["user", "unset", "alice@a.org", "extension"], "", "changed"),
    (&["user", "disable", "alice@a.org"], "", "changed"),
    (&["user", "enable", "alice@a.org"], "", "changed"),
    (&["user", "enable", "alice@a.org"], "", "unchanged"),
    (&["tenant", "set", "a.org", "branch=berlin"], "", "changed"),
    (&["tenant", "unset", "a.org", "branch"], "", "changed"),
    (&["rule", "add", "acc.PASSWORD=hunter2", "--subject", "alice"], "", "added"),
    (&["rule", "set", "k=w", "--domain", "a.org", "--subject", "alice"], "", "changed"),
    (&["rule", "set", "ID", "--value", "hunter2", "--key", "x.PASSWORD"], "", "changed"),
    (&["rule", "remove", "ID"], "", "removed"),
    (&["user", "remove", "alice@a.org"], "", "removed"),
    (&["tenant", "remove", "a.org", "--yes"], "", "removed"),
];

#[test]
fn every_edit_can_be_tried_and_reports_to_programs() {
    for tables in Tables::each() {
        tables.user("alice@a.org", "pw");
        tables.done(&["rule", "add", "k=v", "--domain", "a.org", "--subject", "alice"]);
        tables.done(&["rule", "add", "k=v", "--domain", "a.org", "--subject", "osname=Linux"]);
        let id = tables.json(&["rule", "list", "--subject", "osname=Linux"])[0]["id"].to_string();
        for (args, input, action) in EDITS {
            let args: Vec<&str> = args.iter().map(|arg| if *arg == "ID" { &*id } else { arg }).collect();
            let with = |more: &[&'static str]| [&args[..], more].concat();
            let before = all(&tables);
            let output = tables.say(&with(&["--dry-run"]), input);
            let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
            assert!(output.status.success() && text.contains("would be"), "{args:?}: {text}");
            let tried = tables.done_with(&with(&["--dry-run", "--format", "json"]), input);
            assert_eq!(all(&tables), before, "{args:?}");
            let done = tables.done_with(&with(&["--format", "json"]), input);
            assert_eq!(all(&tables) == before, action == "unchanged", "{args:?}");
            for said in [&text, &tried, &done] {
                assert!(!said.contains("hunter2"), "{args:?}: {said}");
            }
            let [tried, done]: [Value; 2] =
                [tried, done].map(|text| serde_json::from_str(&text).expect("JSON"));
            let fields = |report: &Value| -> Vec<String> {
                report.as_object().expect("an object").keys().cloned().collect()
            };
            let mut expected = [
                "action",
                "dry_run",
                "user",
                "tenant",
                "stored_as",
                "rule",
                "before",
                "audience",
                "attributes",
                "ids",
            ];
            expected.sort_unstable();
            for (report, dry_run) in [(&tried, true), (&done, false)] {
                let mut fields = fields(report);
                fields.sort_unstable();
                assert_eq!(fields, expected);
                assert_eq!(
                    (&report["action"], &report["dry_run"]),
                    (&json!(action), &json!(dry_run)),
                    "{args:?}"
                );
            }
            // Both say the same of all that is known before.
            for name in ["user", "tenant", "stored_as", "before", "audience", "attributes", "ids"] {
                assert_eq!(tried[name], done[name], "{args:?}: {name}");
            }
        }
    }
}

fn a_dry_run_refuses_what_the_edit_would_refuse(kind: Kind) {
    let database = kind.database();
    let tables = Tables::of(database.all());
    let reader = Tables::on(database.read());
    tables.user("alice@a.org", "pw");
    tables.done(&["user", "set", "alice@a.org", "x=y"]);
    let edits: [(&[&str], &str); 8] = [
        (&["user", "add", "bob@a.org", "--password-stdin"], "pw"),
        (&["user", "passwd", "alice@a.org", "--password-stdin", "--hash", "md5"], "pw"),
        (&["user", "set", "alice@a.org", "x=z"], ""),
        (&["user", "remove", "alice@a.org"], ""),
        (&["tenant", "set", "a.org", "x=y"], ""),
        (&["tenant", "remove", "a.org", "--yes"], ""),
        (&["rule", "add", "k=v"], ""),
        (&["rule", "remove", "1"], ""),
    ];
    // An account that may only read.
    for (args, input) in edits {
        let said = reader.refused(&[args, &["--dry-run"]].concat(), input, 1);
        assert_eq!(said, reader.refused(args, input, 1), "{args:?}");
    }
    for (args, input, why) in [
        (&["user", "add", "alice@A.org", "--password-stdin"][..], "pw", "exists already"),
        (&["user", "add", "bob@a.org", "--password-stdin"], "${password}", "clients send"),
        (&["user", "add", "bob@a.org", "--password-stdin", "--set", "1a=x"], "pw", "cannot be an attribute"),
        (&["user", "add", "bob@a.org", "--password-stdin", "--set", "PIN=4711"], "pw", "is a secret"),
        (&["user", "passwd", "bob@a.org", "--password-stdin"], "pw", "no user bob@a.org"),
        (
            &["user", "passwd", "alice@a.org", "--password-stdin", "--hash", "bcrypt"],
            &"hunter2".repeat(11),
            "72 bytes",
        ),
        (&["user", "unset", "alice@a.org", "y"], "", "no attribute"),
        (&["rule", "add", "k=v", "--rules-query", "SELECT 1"], "", "--rules-query"),
        (&["rule", "set", "999", "--value", "x"], "", "no rule id 999"),
        (&["tenant", "remove", "b.org"], "", "no tenant"),
    ] {
        let said = tables.refused(&[args, &["--dry-run"]].concat(), input, 1);
        assert!(
            said.contains(why) && !said.contains("hunter2") && !said.contains("4711"),
            "{args:?}: {said}"
        );
        assert_eq!(said, tables.refused(args, input, 1), "{args:?}");
    }
    // A dry run asks for no password.
    let said = tables.done(&["user", "passwd", "alice@a.org", "--dry-run"]);
    assert_eq!(said, "the password of alice@a.org would be changed, stored as argon2id\n");
}

#[test]
fn a_user_is_added_with_attributes_at_once() {
    for tables in Tables::each() {
        let args = [
            "user",
            "add",
            "alice@a.org",
            "--password-stdin",
            "--hash",
            "md5",
            "--set",
            "group=a",
            "--set",
            "group=b",
        ];
        let said = tables.done_with(&args, "pw");
        assert_eq!(said, "added alice@a.org, password stored as md5, with 1 attribute\n");
        let shown = tables.json(&["user", "show", "alice@a.org"]);
        let values = shown["attributes"].as_array().expect("a list").iter().map(|one| one["value"].clone());
        assert_eq!(json!(values.collect::<Vec<_>>()), json!(["a", "b"]));
        // If one of both cannot be, neither is.
        tables.refused(&["user", "add", "bob@a.org", "--password-stdin", "--set", "x"], "pw", 2);
        assert!(tables.refused(&["user", "show", "bob@a.org"], "", 1).contains("no user"));
    }
}

#[test]
fn all_errors_begin_alike_and_are_escaped() {
    let tables = Tables::sqlite();
    let args = texts(&tables.args);
    for (command, code) in [
        (&["user", "show", "bob\x1b[2J@a.org"][..], 1),
        (&["rule", "show", "1"], 1),
        (&["explain", "bob@a.org", "x\x1b[2J"], 2),
        (&["rule", "show", "\x1b[2J"], 2),
        (&["\x1b[2J"], 2),
        (&["rule", "list", "--domain", "*"], 2),
    ] {
        let output = run(&[command, &args[..]].concat());
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.starts_with("error: ") && !said.contains('\x1b'), "{said:?}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
    }
}

/// SQLite would apply a log that is left behind to another file that is put in this one's place.
#[test]
fn a_command_that_fails_leaves_no_write_ahead_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, log] = ["test.db", "test.db-wal"].map(|name| folder.path().join(name));
    let path = path.to_str().expect("UTF-8");
    assert!(run(&["--setup", "--db-path", path]).status.success());
    let leaves_a_log = |command: &[&str]| {
        assert!(!run(&[command, &["--db-path", path]].concat()).status.success());
        let is_left = log.exists();
        let _ = std::fs::remove_file(&log);
        is_left
    };
    for command in [&["user", "disable", "nobody@a.org"][..], &["rule", "set", "9999", "--value", "x"]] {
        // The end of a command waits 0.1 s for the log, which a busy machine may exceed.
        let left = (0..20).filter(|_| leaves_a_log(command)).count();
        assert!(left < 4, "{command:?} left a log {left} times out of 20");
    }
}
