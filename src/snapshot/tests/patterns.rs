//! Patterns, networks and addresses in subjects, against a model that compares with all of them.

use std::net::IpAddr;

use super::*;
use crate::core::model::AttributeRow;

fn keys(answer: Option<String>) -> Vec<String> {
    let answer = answer.expect("the password is right");
    answer.lines().map(|line| line.split_once('=').expect("a property").0.to_owned()).collect()
}

#[test]
fn a_pattern_matches_the_values_of_its_parameter() {
    let snapshot = snapshot(
        &[("a.org", "alice", "pw"), ("b.org", "bob", "pw")],
        &[
            ("a.org", "os=Windows*", 1, "windows", "1"),
            ("", "Dept=S?les*", 2, "sales", "1"),
            ("a.org", "username=al*", 3, "al", "1"),
            ("a.org", "hwaddr=001A*", 4, "vendor", "1"),
            ("a.org", "hwaddr=00-1A-2B-3C-4D-5E", 5, "machine", "1"),
            ("", "ipaddr=10.1.0.0/16", 6, "net", "1"),
            ("a.org", "ipaddr=2001:DB8::/32", 7, "net6", "1"),
            ("a.org", "ipaddr=2001:db8:0::1", 8, "ip6", "1"),
            ("a.org", r"hostname=a\*", 9, "star", "1"),
            ("a.org", "domain=*", 10, "any", "1"),
            ("a.org", "Windows*", 11, "untyped", "1"),
        ],
    );
    for (sent, expected) in [
        (("osname", "WINDOWS 11"), vec!["windows"]),
        (("osname", "Linux"), vec![]),
        (("osname", ""), vec![]),
        (("osname", "Windows*"), vec!["windows"]),
        (("dept", "Sáles"), vec!["sales"]),
        (("dept", "sles"), vec![]),
        (("hwaddr", "00:1a:00:00:00:01"), vec!["vendor"]),
        (("hwaddr", "001a.2b3c.4d5e"), vec!["vendor", "machine"]),
        (("ipaddr", "10.1.2.3"), vec!["net"]),
        (("ipaddr", "::ffff:10.1.2.3"), vec!["net"]),
        (("ipaddr", "10.2.2.3"), vec![]),
        (("ipaddr", "2001:db8::0:1"), vec!["net6", "ip6"]),
        (("ipaddr", "no address"), vec![]),
        (("hostname", "a*"), vec!["star"]),
        (("hostname", "ab"), vec![]),
    ] {
        let mut all = expected.clone();
        let at = all.iter().position(|key| *key != "windows" && *key != "sales").unwrap_or(all.len());
        all.insert(at, "al");
        all.push("any");
        assert_eq!(keys(ask_as(&snapshot, "alice", "a.org", &[sent])), all, "{sent:?}");
    }
    let others = [("osname", "Windows"), ("dept", "sales 2"), ("ipaddr", "10.1.0.1"), ("username", "al")];
    assert_eq!(keys(ask_as(&snapshot, "bob", "b.org", &others)), ["sales", "net"]);
}

#[test]
fn attributes_and_the_address_of_the_client_match_patterns_too() {
    let attribute = |id, name: &str, value: &str| {
        let row = ["a.org".into(), "alice".into(), name.into(), value.into()];
        Row::Attribute(AttributeRow::from_cells(id, row))
    };
    let rules = [
        ("a.org", "user.branch=ber*", 1, "b", "1"),
        ("a.org", "user.branch=*urg", 2, "h", "1"),
        ("a.org", "client.address=10.0.0.0/8", 3, "inside", "1"),
        ("a.org", "client.address=192.0.2.*", 4, "outside", "1"),
    ];
    let rows = [user_row(1, ("a.org", "alice", "pw"))].into_iter();
    let rows = rows.chain([attribute(1, "branch", "Berlin"), attribute(2, "branch", "Hamburg")]);
    let rows = rows.chain((1..).zip(&rules).map(|(id, rule)| rule_row(id, *rule)));
    let (snapshot, problems) = build(plain(), rows);
    assert_eq!(problems, Vec::<String>::new());
    for (address, expected) in
        [("10.9.8.7", vec!["b", "h", "inside"]), ("192.0.2.1", vec!["b", "h", "outside"])]
    {
        let sent = [("username", "alice"), ("domain", "a.org"), ("password", "pw"), ("user.branch", "x")];
        let mut params: Params = sent.into_iter().collect();
        params.set_address(address.parse().expect("an address"));
        let SignIn::Granted(session) = snapshot.authenticate(&params) else { panic!("refused") };
        let answer = String::from_utf8(snapshot.answer(session, &params).body).expect("ASCII");
        assert_eq!(keys(Some(answer)), expected, "{address}");
    }
}

#[test]
fn subjects_that_look_like_patterns_are_reported_and_long_ones_left_out() {
    let long = format!("osname={}*", "x".repeat(300));
    let rules = [
        ("", "Windows *", 1, "k", "v"),
        ("", "10.1.0.0/16", 1, "k", "v"),
        ("", &*long, 1, "k", "v"),
        ("", "osname=Windows*", 1, "k", "v"),
    ];
    let (snapshot, problems) = build(plain(), (1..).zip(rules).map(|(id, rule)| rule_row(id, rule)));
    assert_eq!(snapshot.counts().rules, 3);
    assert!(problems.iter().any(|what| what.contains("`osname=windows *`")), "{problems:?}");
    assert!(problems.iter().any(|what| what.contains("`client.address=10.1.0.0/16`")), "{problems:?}");
    assert!(problems.iter().any(|what| what.contains("longer than 255 bytes")), "{problems:?}");
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn a_very_long_value_matches_no_pattern() {
    let snapshot = snapshot(&[("a.org", "alice", "pw")], &[("", "x=a*", 1, "k", "v")]);
    for (length, expected) in [(1024, "k=v\n"), (1025, "")] {
        let answer = ask_as(&snapshot, "alice", "a.org", &[("x", &"a".repeat(length))]);
        assert_eq!(answer.as_deref(), Some(expected), "{length}");
    }
}

/// Whether a value matches, by the definitions.
fn is_match(param: &str, wanted: &str, value: &str) -> bool {
    let [wanted, value] = [wanted, value].map(str::to_lowercase);
    let net = wanted.split_once('/').filter(|_| param == "ipaddr");
    let digits = |text: &str| text.replace([':', '-', '.'], "");
    if let Some((net, len)) = net {
        let bits = |text: &str| -> Option<String> {
            Some(match text.parse::<IpAddr>().ok()?.to_canonical() {
                IpAddr::V4(address) => format!("4{:032b}", address.to_bits()),
                IpAddr::V6(address) => format!("6{:0128b}", address.to_bits()),
            })
        };
        let len: usize = len.parse().expect("a length");
        return bits(net).zip(bits(&value)).is_some_and(|(net, value)| net[..=len] == value[..=len]);
    }
    if param == "hwaddr" && !wanted.contains(['*', '?']) {
        return digits(&wanted) == digits(&value);
    }
    fn like(pattern: &[u8], value: &[u8]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some((b'*', rest)) => (0..=value.len()).any(|at| like(rest, &value[at..])),
            Some((&c, rest)) => {
                value.first().is_some_and(|first| c == b'?' || c == *first) && like(rest, &value[1..])
            }
        }
    }
    !value.is_empty() && like(wanted.as_bytes(), value.as_bytes())
}

/// Parameter and value of a subject: patterns with and without literals, networks, and MAC
/// addresses in different spellings.
fn any_subject() -> impl Strategy<Value = (&'static str, String)> {
    let address = || {
        prop_oneof![
            (0..3_u8, 0..3_u8).prop_map(|(b, d)| format!("10.{b}.0.{d}")),
            (0..3_u8).prop_map(|d| format!("2001:db8::{d}")),
        ]
    };
    let network = (address(), 0..=32_u8).prop_map(|(address, len)| format!("{address}/{len}"));
    prop_oneof![
        4 => "[AbC*?-]{1,6}".prop_map(|text| ("osname", text)),
        2 => "[ab]{1,2}[*]".prop_map(|text| ("dept", text)),
        3 => prop_oneof![network, address()].prop_map(|text| ("ipaddr", text)),
        1 => any_mac().prop_map(|text| ("hwaddr", text)),
    ]
}

fn any_mac() -> impl Strategy<Value = String> {
    (0..3_u8, 0..4_usize).prop_map(|(last, form)| match form {
        0 => format!("00:1a:2b:3c:4d:0{last}"),
        1 => format!("00-1A-2B-3C-4D-0{last}"),
        2 => format!("001a.2b3c.4d0{last}"),
        _ => format!("001A2B3C4D0{last}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_request_gets_the_rules_whose_patterns_match(
        subjects in prop::collection::vec((0..2_usize, any_subject()), 0..80),
        osname in "[abc-]{0,6}", dept in "[ABC]{0,3}", mac in any_mac(), b in 0..4_u8, d in 0..4_u8, form in 0..3,
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let ipaddr = match form {
            0 => format!("10.{b}.0.{d}"),
            1 => format!("::FFFF:10.{b}.0.{d}"),
            _ => format!("2001:DB8:0:0::{d}"),
        };
        let values = [("osname", &*osname), ("dept", &dept), ("hwaddr", &mac), ("ipaddr", &ipaddr)];
        let rules: Vec<_> = subjects.iter().map(|(at, (param, text))| {
            (["a.org", ""][*at], format!("{param}={text}"), *param, text)
        }).collect();
        let row = |at: usize| {
            let (domain, subject, ..) = &rules[at];
            rule_row(at as i64 + 1, (domain, subject, 1, &format!("k{at}"), "v"))
        };
        let mut writer = Writer::new(plain());
        let mut draft = writer.draft();
        draft.put(&user_row(1, ("a.org", "alice", "pw")));
        for at in 0..rules.len() {
            draft.put(&row(at));
        }
        draft.commit();
        let mut left: Vec<usize> = (0..rules.len()).collect();
        let mut draft = writer.draft();
        for index in gone.iter().filter(|_| !subjects.is_empty()) {
            let at = index.index(rules.len());
            draft.remove(crate::core::model::Table::JitsiProperty, at as i64 + 1);
            left.retain(|other| *other != at);
        }
        draft.commit();
        let rows = left.iter().map(|at| row(*at)).chain([user_row(1, ("a.org", "alice", "pw"))]);
        let (fresh, _) = Writer::build(plain(), rows);
        prop_assert!(*writer.current() == *fresh);
        prop_assert_eq!(writer.current().counts().bytes, fresh.counts().bytes);
        let expected = left.iter().filter(|at| {
            let (_, _, param, text) = &rules[**at];
            let value = values.iter().find(|(name, _)| name == param).expect("sent").1;
            match *param {
                "ipaddr" if !text.contains('/') => {
                    text.parse::<IpAddr>().ok() == value.parse().ok().map(|ip: IpAddr| ip.to_canonical())
                }
                _ => is_match(param, text, value),
            }
        });
        let expected: Vec<String> = expected.map(|at| format!("k{at}")).collect();
        prop_assert_eq!(keys(ask_as(writer.current(), "alice", "a.org", &values)), expected);
    }
}

#[test]
fn only_the_patterns_of_the_tenant_and_of_all_are_looked_at() {
    let users: Vec<String> = (0..40).map(|at| format!("t{at}.org")).collect();
    let subjects: Vec<String> = (0..40).map(|at| format!("hostname=*x{at:02}y*")).collect();
    let mut rules: Vec<RuleRef<'_>> = Vec::new();
    for domain in &users {
        rules.extend(subjects.iter().map(|subject| (&**domain, &**subject, 1, &subject[9..], "v")));
    }
    let users: Vec<UserEntry<'_>> = users.iter().map(|domain| (&**domain, "alice", "pw")).collect();
    let snapshot = snapshot(&users, &rules);
    let sent = [("hostname", "pc-X07Y-x39y")];
    let answer = keys(ask_as(&snapshot, "alice", "t3.org", &sent));
    assert_eq!(answer, ["*x07y*", "*x39y*"]);
    let tenant = snapshot.tenant(b"t3.org").expect("a tenant");
    let indexed: usize = tenant.patterns().iter().map(|(_, index)| index.entries().count()).sum();
    assert_eq!(indexed, subjects.len());
}
