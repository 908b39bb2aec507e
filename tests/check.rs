//! `jitsiprovs check`.

use std::collections::BTreeSet;
use std::process::Output;

use jitsiprovs::core::problem::Code;
use jitsiprovs::source::default_properties;
use serde_json::{Value, json};

use support::mariadb::mariadb;
use support::server::run;
use support::sqlite::SqliteFile;
use support::texts;

/// The finding that each fault of the fixture causes.
const PLANTED: [(&str, &str, &str, i64); 39] = [
    ("error", "bad-password", "user_auth", 5),
    ("error", "bad-row", "user_auth", 6),
    ("error", "bad-row", "jitsi_property", 11),
    ("error", "colliding-user", "user_auth", 3),
    ("error", "enforce-prefix-forgets", "jitsi_property", 25),
    ("error", "ignored-account", "jitsi_property", 35),
    ("error", "ignored-key", "jitsi_property", 7),
    ("error", "null-forgets", "jitsi_property", 29),
    ("error", "split-key", "jitsi_property", 6),
    ("warning", "allow-prefix-drops", "jitsi_property", 27),
    ("warning", "ambiguous-subject", "jitsi_property", 16),
    ("warning", "backslash-before-placeholder", "jitsi_property", 3),
    ("warning", "bad-address", "jitsi_property", 37),
    ("warning", "bad-unicode-escape", "jitsi_property", 4),
    ("warning", "blank-in-prefix", "jitsi_property", 28),
    ("warning", "dropped-backslash", "jitsi_property", 30),
    ("warning", "enforce-prefix-resets", "jitsi_property", 45),
    ("warning", "enforce-prefix-undoes", "jitsi_property", 26),
    ("warning", "leading-blank", "jitsi_property", 31),
    ("warning", "line-break", "jitsi_property", 5),
    ("warning", "logged-secret", "jitsi_property", 23),
    ("warning", "mandatory", "jitsi_property", 24),
    ("warning", "never-wins", "jitsi_property", 13),
    ("warning", "no-account-line", "jitsi_property", 34),
    ("warning", "no-password", "user_auth", 4),
    ("warning", "no-rules", "user_auth", 9),
    ("warning", "no-such-user", "jitsi_property", 17),
    ("warning", "no-users", "jitsi_property", 18),
    ("warning", "null-beyond-subtree", "jitsi_property", 21),
    ("warning", "null-priority", "jitsi_property", 10),
    ("warning", "null-resets", "jitsi_property", 46),
    ("warning", "null-undoes", "jitsi_property", 20),
    ("warning", "personal-key", "jitsi_property", 40),
    ("warning", "stray-dollar", "jitsi_property", 1),
    ("warning", "tie", "jitsi_property", 15),
    ("warning", "trailing-backslash", "jitsi_property", 2),
    ("warning", "unknown-attribute", "jitsi_property", 32),
    ("warning", "unknown-parameter", "jitsi_property", 8),
    ("warning", "untyped-pattern", "jitsi_property", 38),
];
const WEAK: (&str, &str, &str, i64) = ("warning", "weak-hash", "user_auth", 8);
const HINTS: [(&str, &str, &str, i64); 5] = [
    ("hint", "control-character", "jitsi_property", 39),
    ("hint", "own-parameter", "jitsi_property", 9),
    ("hint", "unset-attribute", "jitsi_property", 33),
    ("hint", "untyped-word", "jitsi_property", 70),
    ("hint", "unused-attribute", "user_attribute", 2),
];

/// Users with an argon2id hash who are in use.
const SLOW_USERS: usize = 7;

/// A database file that has each fault once.
fn planted() -> SqliteFile {
    let file = SqliteFile::empty();
    file.execute(include_str!("fixtures/check.sql"));
    file
}

fn check(file: &SqliteFile, more: &[&str]) -> Output {
    run(&[&["check", "--db-path", file.path.to_str().expect("UTF-8")], more].concat())
}

fn printed(output: &Output) -> Value {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The findings as severity, code, table and id.
fn found(printed: &Value) -> Vec<(&str, &str, &str, i64)> {
    let findings = printed["findings"].as_array().expect("a list").iter();
    findings
        .map(|finding| {
            assert_eq!(finding.as_object().expect("an object").len(), 5);
            let part = |name: &str| finding[name].as_str().expect("text");
            assert!(!part("message").is_empty());
            (part("severity"), part("code"), part("table"), finding["id"].as_i64().expect("a number"))
        })
        .collect()
}

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    let file = planted();
    let output = check(&file, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let printed = printed(&output);
    assert_eq!(found(&printed), [&PLANTED[..], &[WEAK], &HINTS].concat());
    let mut summary =
        json!({ "users": 10, "rules": 42, "tenants": 2, "errors": 9, "warnings": 31, "hints": 5 });
    // It is measured on this machine.
    let cold = &printed["summary"]["cold_sign_ins"];
    assert!(cold.as_f64() > Some(0.0), "{cold}");
    (summary["slow_users"], summary["cold_sign_ins"]) = (SLOW_USERS.into(), cold.clone());
    assert_eq!(printed["summary"], summary);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret-value"));
    // Faults that need other options are tested below.
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    let planted = found(&printed).into_iter().map(|(_, code, ..)| code);
    assert_eq!(known, planted.chain(["bad-attribute", "duplicate-id", "weak-ha1"]).collect());
}

#[test]
fn people_get_a_line_for_each_finding_and_a_count() {
    let file = planted();
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    // Each finding, the line about slow hashes, and the summary.
    assert_eq!(lines.len(), PLANTED.len() + 1 + HINTS.len() + 2, "{text}");
    let dollar =
        "warning: [stray-dollar] jitsi_property id 1: property_value: a `$` that begins no placeholder";
    assert!(lines.iter().any(|line| line.starts_with(dollar)), "{text}");
    let near = "did you mean `username`?";
    assert!(lines.iter().any(|line| line.contains("[unknown-parameter]") && line.contains(near)), "{text}");
    assert!(
        lines[lines.len() - 2]
            .starts_with(&format!("slow hashes: {SLOW_USERS} users of 10; on this machine, ")),
        "{text}"
    );
    assert_eq!(
        lines[lines.len() - 1],
        "9 errors, 31 warnings and 5 hints in 10 users and 42 rules of 2 tenants"
    );
    assert!(!text.contains('\x1b') && !text.contains("no hash at all"));
}

#[test]
fn with_many_findings_of_a_kind_the_first_are_named_and_the_rest_counted() {
    let file = SqliteFile::empty();
    for number in 0..25 {
        file.user("a.org", &format!("user{number}"), "pw").rule(
            None,
            "default",
            1,
            &format!("k{number}"),
            "5$",
        );
    }
    let text = |more: &[&str]| String::from_utf8(check(&file, more).stdout).expect("UTF-8");
    let short = text(&[]);
    assert_eq!(short.matches("[stray-dollar] jitsi_property").count(), 10);
    assert!(short.contains("warning: [stray-dollar] 15 more: --verbose names them\n"), "{short}");
    assert!(short.contains("[weak-hash] user_auth id 1: 25 passwords of a.org"), "{short}");
    let long = text(&["--verbose"]);
    assert_eq!(long.matches("[stray-dollar] jitsi_property").count(), 25);
    assert_eq!(long.matches("[weak-hash] user_auth").count(), 25);
}

#[test]
fn errors_and_warnings_exit_with_1_and_kinds_can_be_left_out() {
    let file = SqliteFile::empty();
    file.rule(None, "default", 1, "k", "${branch}");
    let output = check(&file, &["--format", "json"]);
    assert_eq!((output.status.code(), found(&printed(&output)).len()), (Some(0), 1));
    file.user("a.org", "alice", "pw");
    assert_eq!(check(&file, &[]).status.code(), Some(1));
    let output = check(&file, &["--ignore", "weak-hash,own-parameter", "--format", "json"]);
    assert_eq!((output.status.code(), found(&printed(&output)).len()), (Some(0), 0));
    assert_eq!(check(&file, &["--ignore", "weak-hsah"]).status.code(), Some(2));
    let absent = run(&["check", "--db-path", "/nonexistent/x.db"]);
    assert_eq!((absent.status.code(), &absent.stdout[..]), (Some(1), &b""[..]));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("there is no database at /nonexistent/x.db"));
}

#[test]
fn faults_that_need_other_options_are_found_with_those_options() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v").rule(None, "default", 1, "l", "v");
    let output = check(&file, &["--format", "json", "--pwd-fmt", "ha1"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(found(&printed(&output)), [("hint", "weak-ha1", "user_auth", 1)]);
    let query =
        "SELECT domain, subject, spriority, ppriority, property_key, property_value, 7 FROM jitsi_property";
    let output = check(&file, &["--format", "json", "--ignore", "weak-hash", "--rules-query", query]);
    assert_eq!(found(&printed(&output)), [("error", "duplicate-id", "jitsi_property", 7)]);
    let query = "SELECT username, domain, password, id, x'ff' AS photo, 17 AS extension FROM user_auth";
    let output = check(&file, &["--format", "json", "--ignore", "weak-hash", "--auth-query", query]);
    let printed = printed(&output);
    assert_eq!(found(&printed), [("error", "bad-attribute", "user_auth", 1)]);
    let message = printed["findings"][0]["message"].as_str().expect("text");
    assert!(message.starts_with("photo is not UTF-8"), "{message}");
}

#[test]
fn nothing_is_wrong_with_the_default_properties() {
    let output = check(&SqliteFile::seeded(), &["--format", "json"]);
    assert_eq!((output.status.code(), found(&printed(&output))), (Some(0), vec![]));
}

#[test]
fn the_key_that_the_originals_seed_has_twice_is_found() {
    let database = mariadb().database();
    let schema = include_str!("fixtures/original.sql").split("INSERT INTO").next().expect("a schema");
    database.script(schema);
    let doubled = "net.java.sip.communicator.impl.gui.main.configforms.SHOW_OPTIONS_WINDOW";
    let mut rows = Vec::new();
    for (key, value) in default_properties() {
        let row = format!("('default', 10, 10, '{key}', '{}')", value.replace('\\', "\\\\"));
        rows.extend(vec![row; if key == doubled { 2 } else { 1 }]);
    }
    database.script(&format!(
        "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value) VALUES {}",
        rows.join(", ")
    ));
    let args = database.read();
    let output = run(&[&["check", "--format", "json"], &texts(&args)[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let printed = printed(&output);
    assert_eq!(found(&printed), [("warning", "never-wins", "jitsi_property", 3)]);
    assert_eq!(printed["summary"]["rules"], 60);
    let message = printed["findings"][0]["message"].as_str().expect("text");
    assert!(message.starts_with("id 2, ") && message.ends_with("remove one of them"), "{message}");
}
