//! Answers as Java's own parser reads them.

use std::cell::RefCell;

use std::sync::Arc;

use jitsiprovs::core::conventions::Conventions;
use jitsiprovs::core::credential::PwdFmt;
use jitsiprovs::core::model::{Cell, Row, RuleRow, UserRow};
use jitsiprovs::core::params::Params;
use jitsiprovs::snapshot::{SignIn, Snapshot, Writer};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use support::java::Java;

const CASES: u32 = 4000;

fn snapshot(users: &[(&str, &str)], rules: &[(String, String)]) -> Arc<Snapshot> {
    let users = (1..).zip(users).map(|(id, (username, password))| {
        let (username, password) = ((*username).into(), (*password).into());
        Row::User(UserRow::from_cells(id, [username, "a.org".into(), password]))
    });
    let rules = (1..).zip(rules).map(|(id, (key, value))| {
        let (key, value) = (key.as_str().into(), value.as_str().into());
        let (spriority, ppriority) = (Cell::Int(1), Cell::Int(1));
        let (domain, subject) = (Cell::Null, "default".into());
        Row::Rule(RuleRow::from_cells(id, [domain, subject, spriority, ppriority, key, value]))
    });
    Writer::build(Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() }, users.chain(rules)).0
}

fn answer(snapshot: &Snapshot, params: &[(&str, &str)]) -> Option<Vec<u8>> {
    let params: Params = params.iter().copied().collect();
    match snapshot.authenticate(&params) {
        SignIn::Granted(session) => Some(snapshot.answer(session, &params).body),
        _ => None,
    }
}

fn rules(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Texts that are likely to cause trouble.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\\", "\n", "\r", "=", ":", " ", "\t", "#", "!", "é", "€", "😀", "\0", "\u{7f}", "\\u", "u0041",
        "${null}", "a", "x=y\n", "\u{85}", "\u{2028}", "\u{feff}", "\x0c", "$", "{", "}",
    ]);
    prop_oneof![
        prop::collection::vec(pieces, 1..8).prop_map(|pieces| pieces.concat()),
        any::<String>().prop_filter("not empty", |text| !text.is_empty()),
    ]
}

#[test]
fn parameters_arrive_exactly_and_no_other_property_changes() {
    let java = RefCell::new(Java::start());
    let rules = rules(&[
        ("first", "1"),
        ("pw", "${password}"),
        ("user", "<${username}>"),
        ("key.${osname}.x", "1"),
        ("${hwaddr}", "at the start"),
        ("two", "${osname}${hwaddr}"),
        ("escaped\\:", "Jabber\\:${osname}\\\\${hwaddr}"),
        ("backslash", "C:\\${osname}"),
        ("unicode", "\\u00e9${osname}é"),
        ("last", "end"),
    ]);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let parameters = (nasty(), nasty(), nasty(), nasty());
    let result = runner.run(&parameters, |(username, password, osname, hwaddr)| {
        // These values would equal fixed keys of the rules, and compete with them.
        prop_assume!(
            !["first", "pw", "user", "two", "escaped:", "backslash", "unicode", "last"]
                .contains(&hwaddr.as_str())
        );
        prop_assume!(!username.trim_end_matches(' ').is_empty());
        let snapshot = snapshot(&[(&username, &password)], &rules);
        let params = [
            ("username", &*username),
            ("domain", "a.org"),
            ("password", &*password),
            ("osname", &*osname),
            ("hwaddr", &*hwaddr),
        ];
        // A stored password that looks like a hash is treated as a hash.
        prop_assume!(!password.starts_with('$'));
        let answer = answer(&snapshot, &params).expect("the password is right");
        prop_assert!(answer.is_ascii());
        let mut expected = vec![
            ("first".to_owned(), "1".to_owned()),
            ("pw".into(), password.clone()),
            // A stored name ends before its trailing blanks.
            ("user".into(), format!("<{}>", username.trim_end_matches(' '))),
            (format!("key.{osname}.x"), "1".into()),
            (hwaddr.clone(), "at the start".into()),
            ("two".into(), format!("{osname}{hwaddr}")),
            ("escaped:".into(), format!("Jabber:{osname}\\{hwaddr}")),
            ("backslash".into(), format!("C:{osname}")),
            ("unicode".into(), format!("é{osname}é")),
            ("last".into(), "end".into()),
        ];
        if hwaddr == format!("key.{osname}.x") {
            expected.remove(4);
        }
        prop_assert_eq!(java.borrow_mut().load(&answer), Ok(expected));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn stored_text_never_adds_drops_or_breaks_a_property() {
    let java = RefCell::new(Java::start());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let stored = (nasty(), nasty(), nasty());
    let result = runner.run(&stored, |(key, value, osname)| {
        prop_assume!(key.len() <= 1024);
        let rules =
            rules(&[("first", "1"), (&format!("x.{key}"), &value), ("k.${osname}", &value), ("last", "end")]);
        let snapshot = snapshot(&[("alice", "pw")], &rules);
        let params = [("username", "alice"), ("domain", "a.org"), ("password", "pw"), ("osname", &*osname)];
        let answer = answer(&snapshot, &params).expect("the password is right");
        let loaded = java.borrow_mut().load(&answer).map_err(TestCaseError::fail)?;
        // A rule is left out if its own template lacks a parameter.
        let lines = answer.iter().filter(|&&byte| byte == b'\n').count();
        prop_assert_eq!(loaded.len(), lines);
        prop_assert_eq!(&loaded[0], &("first".to_owned(), "1".to_owned()));
        prop_assert_eq!(&loaded[loaded.len() - 1], &("last".to_owned(), "end".to_owned()));
        let mut keys: Vec<&String> = loaded.iter().map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        prop_assert_eq!(keys.len(), loaded.len(), "a key came twice");
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// The fuzz targets use their own reader as a judge, because Java is too slow.
#[test]
fn the_reader_of_the_fuzz_targets_reads_as_java_does() {
    let java = RefCell::new(Java::start());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let pieces = prop::sample::select(vec![
        "\\", "\\", "\n", "\r", "\r\n", "=", ":", " ", "\t", "\x0c", "#", "!", "\\u", "0041", "+041", "d83d",
        "a", "b", "t", "f", "é",
    ]);
    let result = runner.run(&prop::collection::vec(pieces, 0..16), |pieces| {
        let text = pieces.concat() + "\nlast=1\n";
        let text: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let loaded = java.borrow_mut().load(&text).map_err(drop);
        let ours = fuzz_targets::java::load(&text).map_err(drop).map(|properties| {
            let text = |units: Vec<u16>| String::from_utf16_lossy(&units);
            properties.into_iter().map(|(key, value)| (text(key), text(value))).collect::<Vec<_>>()
        });
        prop_assert_eq!(ours, loaded, "{}", text.escape_ascii());
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
