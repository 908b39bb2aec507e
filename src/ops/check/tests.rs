//! Tests with rows that have one mistake each.

use super::*;
use crate::core::client::{ALLOW_PREFIX, ClientState, ENFORCE_PREFIX, PropertyFate};
use crate::core::model::{AttributeRow, Cell, Row, RuleRow, Table, UserRow};
use crate::core::names::Comparison;
use crate::snapshot::Writer;
use proptest::prelude::*;
use proptest::sample::select;

/// An md5 hash.
const STORED: &str = "00112233445566778899aabbccddeeff";

fn user(id: i64, domain: &str, username: &str) -> Row {
    Row::User(UserRow::from_cells(id, [username.into(), domain.into(), STORED.into()]))
}

fn rule(id: i64, domain: &str, subject: &str, priorities: (i64, i64), key: &str, value: &str) -> Row {
    Row::Rule(RuleRow::from_cells(
        id,
        [domain.into(), subject.into(), priorities.0.into(), priorities.1.into(), key.into(), value.into()],
    ))
}

fn load(rows: &[Row]) -> (std::sync::Arc<Snapshot>, Vec<Problem>) {
    let (snapshot, problems) = Writer::build(Conventions::default(), rows.to_vec());
    (snapshot, problems.first)
}

fn report(rows: &[Row]) -> CheckReport {
    let (snapshot, problems) = load(rows);
    let settings = CheckSettings { ignored: vec![Code::WeakHash], each_user: false };
    check(&snapshot, problems, &Conventions::default(), &settings)
}

/// The findings, as code and id, for these rules of a tenant with the users alice and bob. A rule
/// is `(subject, (spriority, ppriority), key, value)`; ids start with 1.
fn found(rules: &[(&str, (i64, i64), &str, &str)]) -> Vec<(&'static str, i64)> {
    let mut rows = vec![user(1, "a.org", "alice"), user(2, "a.org", "bob")];
    rows.extend(rules.iter().zip(1..).map(|((subject, priorities, key, value), id)| {
        // A star at the beginning marks a subject for all tenants.
        let (domain, subject) =
            subject.strip_prefix('*').map_or(("a.org", *subject), |subject| ("", subject));
        rule(id, domain, subject, *priorities, key, value)
    }));
    report(&rows).findings.iter().map(|finding| (finding.code.name(), finding.id)).collect()
}

#[test]
fn a_rule_never_wins_if_one_that_applies_wherever_it_does_precedes_it() {
    let (first, second) = ((1, 1), (2, 1));
    for rules in [
        [("default", first, "k", "v"), ("default", second, "k", "w")],
        [("default", first, "k", "v"), ("alice", second, "k", "w")],
        [("*default", first, "k", "v"), ("osname=Linux", second, "k", "w")],
        [("*default", first, "k", "v"), ("default", second, "k", "w")],
        [("*alice", first, "k", "v"), ("alice", second, "k", "w")],
        [("*osname=Linux", first, "k", "v"), ("OSNAME=linux", second, "k", "w")],
        // Two spellings of the same subject.
        [("osname=Linux", first, "k", "v"), ("os=Linux", second, "k", "w")],
        [("*os=Linux", first, "k", "v"), ("osname=Linux", second, "k", "w")],
        [("*osname=Linux", first, "k", "v"), ("LINUX", second, "k", "w")],
        [("alice", first, "k", "v"), ("username=alice", second, "k", "w")],
        [("alice", first, "k", "v"), ("username=alice", first, "k", "w")],
        // Two spellings of the same key in Java.
        [("default", first, "k", "v"), ("default", second, "\\u006b", "w")],
        [("default", first, "k", "$username"), ("alice", second, "k", "w")],
        // If one of them applies, the other applies too.
        [("default", first, "k", "$hwaddr"), ("default", second, "k", "<$hwaddr>")],
        [("default", first, "k.$username", "v"), ("alice", second, "k.$username", "w")],
    ] {
        assert_eq!(found(&rules), [("never-wins", 2)], "{rules:?}");
    }
    for rules in [
        [("default", first, "k", "$hwaddr"), ("default", second, "k", "w")],
        [("default", first, "k", "$hwaddr"), ("default", second, "k", "$ipaddr")],
        [("alice", first, "k", "v"), ("default", second, "k", "w")],
        [("alice", first, "k", "v"), ("bob", second, "k", "w")],
        [("default", first, "k", "v"), ("*default", second, "k", "w")],
        [("default", first, "k.$username", "v"), ("default", second, "k.alice", "w")],
        [("default", first, "k", "v"), ("default", second, "K", "w")],
    ] {
        assert_eq!(found(&rules), [], "{rules:?}");
    }
}

#[test]
fn a_subject_of_all_tenants_that_is_elsewhere_a_users_name_beats_nothing_here() {
    let rows = [
        user(1, "a.org", "alice"),
        user(2, "b.org", "linux"),
        rule(1, "", "Linux", (1, 1), "k", "v"),
        rule(2, "a.org", "Linux", (2, 1), "k", "w"),
    ];
    let codes: Vec<_> = report(&rows).findings.iter().map(|found| (found.code.name(), found.id)).collect();
    assert_eq!(codes, [("ambiguous-subject", 1)]);
}

#[test]
fn a_user_or_domain_of_one_tenant_meets_no_other_tenants_rules() {
    let rows = |subject, domain| {
        let users = [user(1, "a.org", "alice"), user(2, "b.org", "zoe")];
        let rules = [rule(1, "", subject, (1, 1), "k", "v"), rule(2, domain, "default", (1, 1), "k", "w")];
        [users.to_vec(), rules.to_vec(), vec![rule(3, "b.org", "default", (9, 9), "l", "w")]].concat()
    };
    for subject in ["alice", "username=alice", "domain=a.org"] {
        assert_eq!(report(&rows(subject, "b.org")).findings, [], "{subject}");
        let found = report(&rows(subject, "a.org")).findings;
        assert_eq!(
            found.iter().map(|found| (found.code.name(), found.id)).collect::<Vec<_>>(),
            [("tie", 2)],
            "{subject}"
        );
    }
}

#[test]
fn a_users_name_that_clients_send_for_something_is_told_however_names_are_compared() {
    for comparison in [Comparison::default(), Comparison::Exact] {
        let options = Conventions { comparison, ..Conventions::default() };
        for name in ["Linux", "Windows 10", "AMD64"] {
            let rows = [user(1, "a.org", name), rule(1, "a.org", name, (1, 1), "k", "v")];
            let (snapshot, problems) = Writer::build(options.clone(), rows);
            let report = check(&snapshot, problems.first, &options, &CheckSettings::default());
            let codes: Vec<_> = report.findings.iter().map(|finding| finding.code.name()).collect();
            assert_eq!(codes, ["ambiguous-subject", "weak-hash"], "{name} {comparison:?}");
        }
    }
}

#[test]
fn a_tie_is_of_rules_that_may_meet_and_say_different_things() {
    let equal = (1, 1);
    for rules in [
        [("alice", equal, "k", "v"), ("default", equal, "k", "w")],
        [("osname=Linux", equal, "k", "v"), ("arch=amd64", equal, "k", "w")],
        [("osname=Linux", equal, "k", "v"), ("alice", equal, "k", "w")],
        [("Linux", equal, "k", "v"), ("username=bob", equal, "k", "w")],
        [("alice", equal, "k", "v"), ("*default", equal, "k", "w")],
        [("*username=alice", equal, "k", "v"), ("default", equal, "k", "w")],
        [("default", equal, "k", "$hwaddr"), ("default", equal, "k", "w")],
        [("osname=Windows*", equal, "k", "v"), ("osname=Windows 10", equal, "k", "w")],
        [("osname=Win*", equal, "k", "v"), ("os=*10", equal, "k", "w")],
        [("ipaddr=10.0.0.0/8", equal, "k", "v"), ("ipaddr=10.1.0.0/16", equal, "k", "w")],
        [("ipaddr=10.0.0.0/8", equal, "k", "v"), ("*ipaddr=10.1.2.3", equal, "k", "w")],
        [("hwaddr=001A*", equal, "k", "v"), ("hwaddr=00:1a:2b:3c:4d:5e", equal, "k", "w")],
        [("osname=Windows*", equal, "k", "v"), ("arch=amd64", equal, "k", "w")],
        [("alice", equal, "k", "${hwaddr:-v}"), ("default", equal, "k", "${hwaddr:-w}")],
    ] {
        assert_eq!(found(&rules), [("tie", 2)], "{rules:?}");
    }
    for rules in [
        [("alice", equal, "k", "v"), ("bob", equal, "k", "w")],
        [("alice", equal, "k", "v"), ("username=bob", equal, "k", "w")],
        [("osname=Linux", equal, "k", "v"), ("osname=Mac OS X", equal, "k", "w")],
        // Both may be values of `osname`.
        [("Linux", equal, "k", "v"), ("Windows 10", equal, "k", "w")],
        [("Linux", equal, "k", "v"), ("osname=Windows 10", equal, "k", "w")],
        [("osname=Windows*", equal, "k", "v"), ("osname=Linux", equal, "k", "w")],
        [("osname=Windows*", equal, "k", "v"), ("osname=Linux*", equal, "k", "w")],
        [("ipaddr=10.0.0.0/8", equal, "k", "v"), ("ipaddr=192.168.0.0/16", equal, "k", "w")],
        [("ipaddr=10.0.0.0/8", equal, "k", "v"), ("ipaddr=192.168.0.1", equal, "k", "w")],
        [("alice", equal, "k", "v"), ("default", equal, "k", "v")],
        [("alice", equal, "k", "v"), ("default", equal, "l", "w")],
        [("alice", (1, 1), "k", "v"), ("default", (1, 2), "k", "w")],
    ] {
        assert_eq!(found(&rules), [], "{rules:?}");
    }
}

#[test]
fn what_removes_by_the_beginning_of_keys_is_found_where_it_undoes_others() {
    let null = "${null}";
    for (rules, expected) in [
        ([("default", (1, 1), "a.b.c", "v"), ("default", (2, 1), "a.b", null)], Some(("null-undoes", 2))),
        ([("alice", (1, 1), "a.b.c", "v"), ("default", (2, 1), "a", null)], Some(("null-undoes", 2))),
        ([("alice", (1, 1), "a.b.c", "v"), ("alice", (2, 1), "a.b", null)], Some(("null-undoes", 2))),
        (
            [("default", (1, 1), "x.acc10.c", "v"), ("default", (2, 1), "x.acc1", null)],
            Some(("null-undoes", 2)),
        ),
        (
            [("default", (1, 1), "x.acc1.$username", "v"), ("default", (2, 1), "x", null)],
            Some(("null-undoes", 2)),
        ),
        (
            [("default", (1, 1), "x.acc1", null), ("default", (2, 1), "x.acc10.c", "v")],
            Some(("null-beyond-subtree", 1)),
        ),
        ([("default", (1, 1), "a.b", null), ("default", (2, 1), "a.b.c", "v")], None),
        (
            [("default", (1, 1), "x.acc10", "v"), ("default", (2, 1), "x.acc1", null)],
            Some(("null-undoes", 2)),
        ),
        ([("default", (1, 1), "x.acc1", "v"), ("default", (2, 1), "x.acc1.", null)], None),
        (
            [("default", (1, 1), "x.acc1.c", "v"), ("default", (2, 1), "x.acc1.", null)],
            Some(("null-undoes", 2)),
        ),
        // Passwords are stored as ENCRYPTED_PASSWORD.
        (
            [("default", (1, 1), "x.PASSWORD", "${password}"), ("default", (2, 1), "x.ENC", null)],
            Some(("null-undoes", 2)),
        ),
        ([("default", (1, 1), "x.PASSWORD", "${password}"), ("default", (2, 1), "x.PASS", null)], None),
        ([("alice", (1, 1), "a.b.c", "v"), ("bob", (2, 1), "a.b", null)], None),
        ([("default", (1, 1), "a.b.c", null), ("default", (2, 1), "a.b", null)], None),
        ([("default", (1, 1), "${system}.a.b", "v"), ("default", (2, 1), "${system}", null)], None),
    ] {
        assert_eq!(found(&rules), Vec::from_iter(expected), "{rules:?}");
    }
}

#[test]
fn lists_of_prefixes_are_found_where_they_undo_or_drop_others() {
    const FULL: &str = "a|net.java.sip.communicator.UUID|net.java.sip.communicator.plugin.provisioning.|\
        net.java.sip.communicator.impl.certservice.|net.java.sip.communicator.impl.credentialsstorage.";
    let lists = |first: (&str, &str), second: (&str, &str)| {
        found(&[("default", (1, 1), first.0, first.1), ("default", (2, 1), second.0, second.1)])
    };
    let set = ("b.c", "v");
    assert_eq!(lists((ENFORCE_PREFIX, FULL), set), []);
    assert_eq!(lists(set, (ENFORCE_PREFIX, FULL)), [("enforce-prefix-undoes", 2)]);
    assert_eq!(lists(("a.c", "v"), (ENFORCE_PREFIX, FULL)), []);
    assert_eq!(lists(("$username.c", "v"), (ENFORCE_PREFIX, FULL)), []);
    assert_eq!(lists((ENFORCE_PREFIX, "net.java"), set), []);
    assert_eq!(lists((ENFORCE_PREFIX, "a"), set), [("enforce-prefix-forgets", 1)]);
    assert_eq!(
        lists((ENFORCE_PREFIX, &FULL.replace('|', " | ")), set),
        [("enforce-prefix-forgets", 1), ("blank-in-prefix", 1)]
    );
    assert_eq!(lists((ALLOW_PREFIX, "a|b"), set), []);
    assert_eq!(lists((ALLOW_PREFIX, "a||"), set), [("allow-prefix-drops", 1)]);
    assert_eq!(lists(set, (ALLOW_PREFIX, "a")), []);
    assert_eq!(lists((ALLOW_PREFIX, "a||b"), set), [("blank-in-prefix", 1)]);
    assert_eq!(lists((ALLOW_PREFIX, "$domain"), set), []);
    assert_eq!(lists((ALLOW_PREFIX, "|"), set), []);
}

/// A list or removal has no effect on a client whose answer another rule overrides, nor on a
/// property that another rule overrides.
#[test]
fn what_is_overridden_acts_upon_nothing() {
    let (enforce, allow) = ("provisioning.ENFORCE_PREFIX", "provisioning.ALLOW_PREFIX");
    let (few, more) = ("net|a", "net|a|c");
    for (rules, expected) in [
        (
            vec![
                ("default", (1, 1), allow, few),
                ("alice", (0, 1), allow, more),
                ("alice", (5, 1), "c.x", "v"),
            ],
            None,
        ),
        (
            vec![
                ("*default", (1, 1), allow, few),
                ("default", (0, 1), allow, more),
                ("default", (5, 1), "c.x", "v"),
            ],
            None,
        ),
        (
            vec![
                ("default", (9, 1), enforce, few),
                ("alice", (5, 1), enforce, more),
                ("alice", (7, 1), "c.x", "v"),
            ],
            None,
        ),
        (
            vec![
                ("default", (9, 1), "x", "${null}"),
                ("alice", (1, 1), "x", "${null}"),
                ("alice", (5, 1), "x.y.z", "v"),
            ],
            None,
        ),
        (
            vec![
                ("default", (9, 1), "x", "${null}"),
                ("alice", (1, 1), "x", "v"),
                ("alice", (5, 1), "x.y.z", "v"),
            ],
            None,
        ),
        (
            vec![
                ("default", (5, 1), "x.y.z", "v"),
                ("alice", (9, 1), "x", "${null}"),
                ("alice", (1, 1), "x.y.z", "${null}"),
            ],
            None,
        ),
        // Bob has no list of his own, and alice may not send a parameter that her list needs.
        (
            vec![
                ("default", (1, 1), allow, few),
                ("alice", (0, 1), allow, more),
                ("alice", (5, 1), "c.x", "v"),
                ("bob", (5, 1), "c.x", "v"),
            ],
            Some(("allow-prefix-drops", 1)),
        ),
        (
            vec![
                ("default", (9, 1), "x", "${null}"),
                ("alice", (1, 1), "x", "$hwaddr"),
                ("alice", (5, 1), "x.y.z", "v"),
            ],
            Some(("null-undoes", 1)),
        ),
        // The client checks the prefix first, for every key.
        (
            vec![("default", (1, 1), allow, few), ("default", (2, 1), "${system}.java.x", "v")],
            Some(("allow-prefix-drops", 1)),
        ),
        (vec![("default", (1, 1), "${system}.java.x", "v"), ("default", (2, 1), enforce, few)], None),
    ] {
        assert_eq!(found(&rules), Vec::from_iter(expected), "{rules:?}");
    }
}

#[test]
fn a_rule_by_itself_is_looked_at_as_java_reads_it() {
    for (key, value, expected) in [
        ("a b", "v", vec![("split-key", 1)]),
        ("a\\ b", "v", vec![]),
        ("a.$username b", "v", vec![("split-key", 1)]),
        ("#a", "v", vec![("ignored-key", 1)]),
        ("", "v", vec![("ignored-key", 1)]),
        ("a.$usernmae", "v", vec![("unknown-parameter", 1)]),
        (
            "a",
            "$usernmae ${Usernmae} $user ${env.HOME}",
            // `$user` is unknown in a template, unless the client's URL uses this name.
            vec![("unknown-parameter", 1), ("unknown-parameter", 1), ("unknown-parameter", 1)],
        ),
        ("a", "$env.HOME", vec![("unknown-parameter", 1)]),
        ("a", "${branch:-main}", vec![]),
        ("${branch:-a=b}.k", "v", vec![("split-key", 1)]),
        ("${branch:-#}.k", "v", vec![("ignored-key", 1)]),
        ("${branch:-a}.k", "v", vec![]),
        ("a", "${hwaddr:-${username}}", vec![("stray-dollar", 1)]),
        ("a", "${branch}", vec![("own-parameter", 1)]),
        ("a.TOKEN", "abc", vec![("logged-secret", 1)]),
        ("a.pwd", "abc", vec![("logged-secret", 1)]),
        ("a.apiKey", "abc", vec![("logged-secret", 1)]),
        ("a.PIN", "123", vec![("logged-secret", 1)]),
        ("a.TOKEN", "${token}", vec![("logged-secret", 1), ("own-parameter", 1)]),
        ("a.SAVE_PASSWORD", "yes ", vec![]),
        ("a.SIP_PASSWORD", "483920", vec![("logged-secret", 1)]),
        ("a.PASSWORD_URL", "http\\://x", vec![]),
        ("a.$password", "v", vec![("logged-secret", 1)]),
        ("a.PASSWORD_LENGTH", "8", vec![]),
        ("a.password", "${null}", vec![]),
        ("a.PASSWORD", "abc", vec![]),
        ("a.AUTH", "<$password>", vec![("logged-secret", 1)]),
        ("a.PASSWORD", "${password}", vec![]),
        (
            "net.java.sip.communicator.plugin.provisioning.MANDATORY",
            " True",
            vec![("leading-blank", 1), ("mandatory", 1)],
        ),
        ("net.java.sip.communicator.plugin.provisioning.MANDATORY", "false", vec![]),
        ("my.plugin.provisioning.MANDATORY", "true", vec![]),
        ("net.java.sip.communicator", "\\${null}", vec![("null-forgets", 1)]),
        ("net.java.sip.communicator.impl", "${null}", vec![("null-resets", 1)]),
        ("net.java.sip.communicator.impl.protocol", "${null}", vec![]),
        ("provisioning.ENFORCE_PREFIX", "|", vec![("enforce-prefix-forgets", 1)]),
        ("a", "5$", vec![("stray-dollar", 1)]),
        ("a", "b\\", vec![("trailing-backslash", 1)]),
    ] {
        assert_eq!(found(&[("default", (1, 1), key, value)]), expected, "{key:?} {value:?}");
    }
    for (subject, expected) in [
        ("username=carol", Some("no-such-user")),
        ("*user=carol", Some("no-such-user")),
        ("user=BOB", None),
        ("osnmae=Linux", Some("unknown-parameter")),
        ("branch=berlin", Some("own-parameter")),
        ("hw=00:1a:2b:3c:4d:5e", None),
        ("hw=001A.2B3C.4D5E", None),
        ("hw=001A*", None),
        ("hw=00:1a", Some("bad-address")),
        ("hw=00:1g:*", Some("bad-address")),
        ("ipaddr=10.1.0.0/16", None),
        ("client.address=2001:DB8::1", None),
        ("ipaddr=10.1.*", None),
        ("ipaddr=10.1.0.0/33", Some("bad-address")),
        ("00:1a:2b:3c:4d:5e", Some("untyped-word")),
        ("*10.1.2.3", Some("untyped-word")),
        ("Linux", None),
        ("a.org", None),
        ("Windows*", Some("untyped-pattern")),
        ("Windows *", Some("untyped-pattern")),
        ("10.1.0.0/16", Some("untyped-pattern")),
        ("*2001:db8::/32", Some("untyped-pattern")),
        ("osname=Windows*", None),
        ("osnmae=Windows*", Some("unknown-parameter")),
    ] {
        let codes: Vec<_> = found(&[(subject, (1, 1), "k", "v")]).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, Vec::from_iter(expected), "{subject}");
    }
}

#[test]
fn names_that_are_a_users_and_something_else_are_told() {
    let names = ["linux", "192.168.1.7", "00:1a:2b:3c:4d:5e", "a.org"];
    for name in names {
        let rows = [user(1, "a.org", name), rule(1, "a.org", name, (1, 1), "k", "v")];
        let report = report(&rows);
        let [finding] = &report.findings[..] else { panic!("{name}: {:?}", report.findings) };
        assert_eq!((finding.code.name(), finding.id), ("ambiguous-subject", 1));
        assert!(finding.message.contains(&format!("={name}`")), "{}", finding.message);
    }
}

#[test]
fn tenants_without_rules_or_users_are_told_once() {
    let of = |rows: &[Row]| -> Vec<(&str, Table, i64)> {
        report(rows).findings.iter().map(|finding| (finding.code.name(), finding.table, finding.id)).collect()
    };
    let rows = [
        user(5, "a.org", "x"),
        user(6, "a.org", "y"),
        user(7, "b.org", "x"),
        rule(3, "b.org", "x", (1, 1), "k", "v"),
    ];
    assert_eq!(of(&rows), [("no-rules", Table::UserAuth, 5)]);
    let of_all = rule(4, "", "default", (1, 1), "l", "v");
    assert_eq!(of(&[&rows[..], &[of_all]].concat()), []);
    let rows = [rule(3, "c.org", "default", (1, 1), "k", "v"), rule(4, "c.org", "default", (1, 1), "l", "v")];
    assert_eq!(of(&rows), [("no-users", Table::JitsiProperty, 3)]);
}

#[test]
fn weak_hashes_are_told_once_a_tenant_or_each() {
    let rows = [
        user(2, "a.org", "x"),
        user(1, "a.org", "y"),
        user(3, "b.org", "z"),
        rule(1, "", "default", (1, 1), "k", "v"),
    ];
    let (snapshot, problems) = load(&rows);
    let ids = |each_user| -> Vec<i64> {
        let settings = CheckSettings { ignored: Vec::new(), each_user };
        let report = check(&snapshot, problems.clone(), &Conventions::default(), &settings);
        assert!(report.findings.iter().all(|finding| finding.code == Code::WeakHash));
        report.findings.iter().map(|finding| finding.id).collect()
    };
    assert_eq!(ids(false), [1, 3]);
    assert_eq!(ids(true), [1, 2, 3]);
}

/// Cells do not implement `Debug`, so tests generate words and convert them.
fn cell(word: &str) -> Cell {
    match word {
        "NULL" => Cell::Null,
        "no text" => Cell::Text(vec![0xff]),
        word => word.parse().map_or_else(|_| word.into(), Cell::Int),
    }
}

fn word() -> impl Strategy<Value = String> {
    let names = ["default", "alice", "Linux", "a.org", "os=linux", "a.b", "a", "${null}", STORED];
    let others = ["NULL", "no text", "-1", "0", "1", "2"];
    prop_oneof![
        "[ab$\\\\{} =]{0,4}",
        prop::sample::select([&names[..], &others].concat()).prop_map(str::to_owned),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let words = || [word(), word(), word()];
    prop_oneof![
        (1i64..6, words()).prop_map(|(id, words)| {
            let [username, domain, password] = words.map(|word| cell(&word));
            Row::User(UserRow::from_cells(id, [username, domain, password]))
        }),
        (1i64..9, words(), words()).prop_map(|(id, one, other)| {
            let [domain, subject, spriority] = one.map(|word| cell(&word));
            let [ppriority, key, value] = other.map(|word| cell(&word));
            Row::Rule(RuleRow::from_cells(id, [domain, subject, spriority, ppriority, key, value]))
        }),
    ]
}

proptest! {
    #[test]
    fn nothing_that_the_load_says_is_missing(rows in prop::collection::vec(row(), 0..24)) {
        let (snapshot, problems) = load(&rows);
        let report = check(&snapshot, problems.clone(), &Conventions::default(), &CheckSettings::default());
        for problem in problems {
            let is_it = |finding: &&Finding| {
                (finding.code, finding.table, finding.id, &finding.message)
                    == (problem.code, problem.table, problem.id, &problem.what)
            };
            prop_assert_eq!(report.findings.iter().filter(is_it).count(), 1, "{}", problem);
            prop_assert!(Code::ALL.contains(&problem.code), "{}", problem.code);
        }
    }

    /// Verifies the claim of `never-wins`: without these rules, every client gets the same
    /// answer.
    #[test]
    fn what_never_wins_is_missed_by_nobody(rows in prop::collection::vec(likely_rule(), 0..12)) {
        let users = [user(1, "a.org", "alice"), user(2, "b.org", "linux"), user(3, "a.org", "bob")];
        let rows: Vec<Row> = users.into_iter().chain(rows.into_iter().zip(1..).map(|(mut row, id)| {
            if let Row::Rule(row) = &mut row {
                row.id = id;
            }
            row
        })).collect();
        let dead: Vec<i64> =
            report(&rows).findings.iter().filter(|finding| finding.code == Code::NeverWins).map(|f| f.id).collect();
        let rest: Vec<Row> = rows
            .iter()
            .filter(|row| row.table() == Table::UserAuth || !dead.contains(&row.id()))
            .cloned()
            .collect();
        let (all, rest) = (load(&rows).0, load(&rest).0);
        for (user, domain) in [("alice", "a.org"), ("linux", "b.org"), ("bob", "a.org")] {
            for more in [&[][..], &[("osname", "linux")], &[("hwaddr", "bob"), ("osname", "x")], &[("arch", "linux"), ("hwaddr", "")]] {
                let own = [("username", user), ("domain", domain), ("password", "")];
                let params: crate::core::params::Params = own.iter().chain(more).copied().collect();
                prop_assert_eq!(
                    String::from_utf8(all.answer_to(user, domain, &params)),
                    String::from_utf8(rest.answer_to(user, domain, &params))
                );
            }
        }
    }
}

fn likely_rule() -> impl Strategy<Value = Row> {
    let pick = |texts: &[&'static str]| prop::sample::select(texts.to_vec());
    (
        pick(&["", "a.org", "b.org"]),
        pick(&["default", "alice", "linux", "osname=linux", "bob", "username=alice"]),
        (0i64..3, 0i64..2),
        pick(&["k", "k.$osname", "l", "k.x"]),
        pick(&["v", "w", "$osname", "$hwaddr", "${hwaddr:-x}$osname", "$username"]),
    )
        .prop_map(|(domain, subject, priorities, key, value)| {
            rule(0, domain, subject, priorities, key, value)
        })
}

fn attribute(id: i64, domain: &str, username: &str, name: &str, value: &str) -> Row {
    Row::Attribute(AttributeRow::from_cells(id, [domain.into(), username.into(), name.into(), value.into()]))
}

/// The findings, as code and id, for the user alice of a tenant, these rules for everyone, and
/// these attributes: username, name and value.
fn found_with(rules: &[(&str, &str, &str)], attributes: &[(&str, &str, &str)]) -> Vec<(&'static str, i64)> {
    let mut rows = vec![user(1, "a.org", "alice"), user(2, "a.org", "john.smith")];
    let rule = |((subject, key, value), id): (&(&str, &str, &str), i64)| {
        rule(id, "a.org", subject, (id, 1), key, value)
    };
    rows.extend(rules.iter().zip(1..).map(rule));
    let attribute =
        |((user, name, value), id): (&(&str, &str, &str), i64)| attribute(id, "a.org", user, name, value);
    rows.extend(attributes.iter().zip(1..).map(attribute));
    report(&rows).findings.iter().map(|finding| (finding.code.name(), finding.id)).collect()
}

#[test]
fn attributes_that_nobody_has_or_no_rule_uses_are_found() {
    let known = [("alice", "Extension", "17"), ("", "branch", "berlin")];
    let uses = [("default", "k1", "${user.extension}"), ("user.BRANCH=x", "k2", "v")];
    assert_eq!(found_with(&uses, &known), []);
    for (rule, expected) in [
        (("default", "k", "${user.extention}"), vec![("unknown-attribute", 3)]),
        (("default", "k.${user.brunch:-x}", "v"), vec![("unknown-attribute", 3)]),
        (("user.brnch=x", "k", "v"), vec![("unknown-attribute", 3)]),
        (("user.brnch=x*", "k", "v"), vec![("unknown-attribute", 3)]),
        (("user.branch=x*", "k", "v"), vec![]),
        (("default", "k", "${user.line2}"), vec![("unset-attribute", 3)]),
        (("default", "k", "${user.line2:-x}"), vec![]),
        (("user.disabled=yes", "k", "v"), vec![]),
    ] {
        assert_eq!(found_with(&[uses[0], uses[1], rule], &known), expected, "{rule:?}");
    }
    let unused = [("alice", "spare", "1"), ("", "spare", "2"), ("alice", "disabled", "yes")];
    assert_eq!(found_with(&[], &unused)[..], [("no-rules", 1), ("unused-attribute", 1)]);
}

#[test]
fn accounts_that_the_client_ignores_are_found() {
    const SIP: &str = "net.java.sip.communicator.impl.protocol.sip";
    let key = |end: &str| format!("{SIP}.{end}");
    for (rules, expected) in [
        (&[("default", "acc1", "acc1"), ("default", "acc1.X", "v")][..], &[][..]),
        (&[("default", "acc1.X", "v"), ("default", "acc1.Y", "v")], &[("no-account-line", 1)]),
        (&[("default", "acc1", "${null}"), ("default", "acc1.X", "v")], &[("no-account-line", 2)]),
        (&[("default", "acc1.X", "${null}")], &[]),
        (&[("default", "other.X", "v"), ("default", "NUMBER", "1")], &[]),
        // An account of alice, in whose name there is no dot.
        (&[("alice", "acc${username}", "x"), ("alice", "acc${username}.X", "v")], &[]),
        (
            &[("default", "acc${username}", "x"), ("default", "acc${username}.X", "v")],
            &[("ignored-account", 1), ("ignored-account", 2)],
        ),
        (&[("default", "acc1", "acc1"), ("default", "acc1.${username}", "v")], &[]),
        (&[("default", "acc${username:id}", "x"), ("default", "acc${username:id}.X", "v")], &[]),
        (&[("default", "acc${user.line}", "x")], &[("ignored-account", 1)]),
        (&[("default", "acc${user.ext}", "x")], &[]),
        (&[("default", "accjohn.smith", "accjohn.smith")], &[("ignored-account", 1)]),
        (&[("default", "acc${hwaddr}", "x"), ("default", "acc${osname}.X", "v")], &[("no-account-line", 2)]),
    ] {
        let keys: Vec<String> = rules.iter().map(|rule| key(rule.1)).collect();
        let mut all: Vec<(&str, &str, &str)> =
            rules.iter().zip(&keys).map(|(rule, key)| (rule.0, &**key, rule.2)).collect();
        all.push(("default", "uses", "${user.line} ${user.ext}"));
        let known = [("alice", "line", "1.2"), ("alice", "ext", "12")];
        assert_eq!(found_with(&all, &known), expected, "{rules:?}");
    }
}

#[test]
fn blanks_and_backslashes_that_java_leaves_out_are_found() {
    for (key, value, expected) in [
        ("k", " v", &[("leading-blank", 1)][..]),
        ("k", "\\ v", &[]),
        ("k", "${username} v", &[]),
        ("k", "C:\\dir", &[("dropped-backslash", 1)]),
        ("k", "C\\:\\\\dir", &[]),
        ("k", "${username}\\d", &[("dropped-backslash", 1)]),
        ("k\\d", "v", &[("dropped-backslash", 1)]),
        ("k", "${osname:-\\d}", &[("dropped-backslash", 1)]),
        ("k", "DOMAIN\\élan", &[("dropped-backslash", 1)]),
        ("k", "C:\\temp", &[("control-character", 1)]),
        ("k", "C:\\dir\\new", &[("dropped-backslash", 1), ("control-character", 1)]),
        ("k", "one\\ttwo", &[]),
    ] {
        assert_eq!(found_with(&[("default", key, value)], &[]), expected, "{key}={value}");
    }
}

/// Each list and removal leaves the client its identity, but not all that it has saved.
#[test]
fn what_the_client_has_saved_is_not_removed_unnoticed() {
    const SIP: &str = "net.java.sip.communicator.";
    let identity = format!("{SIP}UUID|{SIP}plugin.provisioning.METHOD|{SIP}plugin.provisioning.URL");
    let advised = format!("{SIP}UUID|{SIP}plugin.provisioning.");
    let cert = format!("{SIP}impl.certservice");
    let store = format!("{SIP}impl.credentialsstorage");
    let (password, dialog, unreadable) =
        ("password at each start", "certificates that its user has accepted", "cannot read saved passwords");
    let enforce = |list: String| (ENFORCE_PREFIX.to_owned(), list);
    let null = |key: &str| (format!("{SIP}{key}"), "${null}".to_owned());
    let cases: [((String, String), &[&str]); 15] = [
        (enforce(identity.clone()), &[password, dialog, unreadable]),
        // What an earlier version advised.
        (enforce(advised.clone()), &[dialog, unreadable]),
        (enforce(format!("{advised}|{cert}")), &[unreadable]),
        (enforce(format!("{advised}|{store}")), &[dialog]),
        (enforce(format!("{advised}|{cert}.param.|{store}")), &[dialog]),
        (enforce(format!("{identity}|{SIP}plugin.provisioning.auth|{cert}|{store}")), &[]),
        (enforce(format!("{identity}|{SIP}plugin.provisioning.auth.U|{cert}|{store}")), &[password]),
        (enforce(format!("{advised}|{cert}.|{store}.")), &[]),
        (null("plugin.provisioning.auth"), &[password]),
        (null("plugin.provisioning.auth.USERNAME"), &[password]),
        (null("impl.certservice"), &[dialog]),
        (null("impl.certservice.param"), &[dialog]),
        (null("impl.certservice.param.sip.example.org"), &[]),
        (null("impl.credentialsstorage.MASTER"), &[unreadable]),
        (null("impl.c"), &[dialog, unreadable]),
    ];
    for ((key, value), losses) in cases {
        let findings = report(&[rule(1, "", "default", (1, 1), &key, &value)]).findings;
        let code = if key == ENFORCE_PREFIX { Code::EnforcePrefixResets } else { Code::NullResets };
        let found: Vec<_> = findings.iter().filter(|finding| finding.code == code).collect();
        assert_eq!(found.len(), usize::from(!losses.is_empty()), "{key}={value}: {findings:?}");
        for (what, is_lost) in [password, dialog, unreadable].map(|what| (what, losses.contains(&what))) {
            assert_eq!(found.iter().any(|found| found.message.contains(what)), is_lost, "{key}={value}");
        }
    }
    // The advice is complete: after it, nothing is found.
    for list in ["a", &identity, &advised] {
        let advice = |list: &str| {
            let rows = [rule(1, "", "default", (1, 1), ENFORCE_PREFIX, list)];
            let findings = report(&rows).findings;
            let of_list = findings.into_iter().find(|finding| finding.code.name().starts_with("enforce-"));
            of_list.map(|finding| finding.message.rsplit_once(": add ").expect("advice").1.to_owned())
        };
        let added = advice(list).expect("something is missing");
        assert_eq!(advice(&format!("{list}|{added}")), None, "{list}");
    }
}

proptest! {
    /// `check` finds each property that the model of the client undoes or ignores.
    #[test]
    fn what_the_client_undoes_or_ignores_is_found(
        texts in prop::collection::vec((select(&KEYS_OF_CLIENTS[..]), select(&["v", "${null}", "a", "a.b|x"][..])), 0..9),
    ) {
        let mut answer: Vec<(&str, &str)> = Vec::new();
        for (key, value) in texts {
            if answer.iter().all(|(known, _)| *known != key) {
                answer.push((key, value));
            }
        }
        let rows: Vec<Row> =
            (1..).zip(&answer).map(|(id, (key, value))| rule(id, "", "default", (id, 1), key, value)).collect();
        let found: Vec<(Code, i64)> =
            report(&rows).findings.iter().map(|finding| (finding.code, finding.id)).collect();
        for fate in ClientState::after(&answer).fates {
            let (code, by) = match fate {
                PropertyFate::Obeyed => continue,
                PropertyFate::Undone(by) if answer[by].0 == ENFORCE_PREFIX => (Code::EnforcePrefixUndoes, by),
                PropertyFate::Undone(by) => (Code::NullUndoes, by),
                PropertyFate::Ignored(by) => (Code::AllowPrefixDrops, by),
            };
            prop_assert!(found.contains(&(code, by as i64 + 1)), "{:?}: {:?}", answer, found);
        }
    }
}

const KEYS_OF_CLIENTS: [&str; 9] = [
    "a",
    "a.b",
    "a.b.",
    "a.b.c",
    "a.PASSWORD",
    "a.EN",
    "x.y",
    "provisioning.ENFORCE_PREFIX",
    "provisioning.ALLOW_PREFIX",
];

#[test]
fn a_finding_of_a_backslash_says_what_the_client_reads_and_what_to_write() {
    let said = |key: &str, value: &str| {
        let row = RuleRow::from_cells(
            1,
            [Cell::Null, "default".into(), Cell::Int(1), Cell::Int(1), key.into(), value.into()],
        );
        let findings = check_rule(&row, &Conventions::default()).findings;
        findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>().join("; ")
    };
    for (key, value, words) in [
        (
            "k",
            "C:\\Program Files\\Jitsi",
            "reads `C:Program FilesJitsi`: write `C:\\\\Program Files\\\\Jitsi`",
        ),
        ("k", "DOMAIN\\alice", "reads `DOMAINalice`: write `DOMAIN\\\\alice`"),
        ("k", "DOMAIN\\a${username}", "reads `\\a` as `a`: write `\\\\a`"),
        ("k", "C:\\temp", "reads `\\t` as a tab, and the text looks like a path: write `C:\\\\temp`"),
        ("x.PASSWORD", "hun\\ter2 C:\\dir", "leaves out a single backslash: write `\\\\`"),
    ] {
        let said = said(key, value);
        assert!(said.contains(words), "{said}");
        assert!(key == "k" || !said.contains("dir"), "{said}");
    }
}

#[test]
fn a_persons_properties_are_found_in_rules_that_several_users_get() {
    const MASTER: &str = "net.java.sip.communicator.impl.credentialsstorage.MASTER";
    const OTHER: &str = "net.java.sip.communicator.plugin.provisioning.MANDATORY";
    let personal = &["personal-key"][..];
    for (domain, subject, key, value, expected) in [
        (None, "default", MASTER, "x", personal),
        (Some("a.org"), "default", MASTER, "x", personal),
        (Some("a.org"), "osname=Linux", MASTER, "x", personal),
        (Some("a.org"), "alice", MASTER, "x", &[]),
        (Some("a.org"), "username=alice", MASTER, "x", &[]),
        // Two tenants have a user alice, and one has a user bob.
        (None, "alice", MASTER, "x", personal),
        (None, "bob", MASTER, "x", &[]),
        (None, "default", MASTER, "${null}", &[]),
        (None, "default", MASTER, "", &[]),
        (None, "default", "net.java.sip.communicator.plugin.provisioning.auth.USERNAME", "${username}", &[]),
        (None, "default", OTHER, "false", &[]),
    ] {
        let users = [("a.org", "alice"), ("b.org", "alice"), ("b.org", "bob")];
        let users = (1..).zip(users).map(|(id, (domain, username))| user(id, domain, username));
        let domain = domain.map_or(Cell::Null, Cell::from);
        let cells = [domain, subject.into(), Cell::Int(1), Cell::Int(1), key.into(), value.into()];
        let rule = Row::Rule(RuleRow::from_cells(1, cells));
        let options = Conventions::default();
        let (snapshot, problems) = Writer::build(options.clone(), users.chain([rule]));
        let report = check(&snapshot, problems.first, &options, &CheckSettings::default());
        let found = report.findings.iter().map(|finding| finding.code.name());
        let found: Vec<&str> = found.filter(|name| name.starts_with("personal")).collect();
        assert_eq!(found, expected, "{subject}: {key}={value}");
    }
}
