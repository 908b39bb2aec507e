use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::credential::PwdFmt;
use crate::core::model::{Cell, Change, Row, RuleRow, Table};
use crate::core::request::ParamSettings;
use crate::core::rules;
use crate::snapshot::Fate;

type RuleText<'a> = (&'a str, &'a str, i64, &'a str, &'a str);

fn user(id: i64, domain: &str, username: &str, password: &str) -> UserRow {
    UserRow::from_cells(id, [username.into(), domain.into(), password.into()])
}

fn rule(id: i64, (domain, subject, priority, key, value): RuleText<'_>) -> RuleRow {
    RuleRow::from_cells(
        id,
        [domain.into(), subject.into(), priority.into(), 10.into(), key.into(), value.into()],
    )
}

fn rules(rules: &[RuleText<'_>]) -> Vec<RuleRow> {
    (1..).zip(rules).map(|(id, text)| rule(id, *text)).collect()
}

fn table_rows(users: &[UserRow], rules: &[RuleRow]) -> TableRows {
    TableRows { users: users.to_vec(), rules: rules.to_vec(), ..TableRows::default() }
}

fn plain() -> Conventions {
    Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() }
}

fn pairs(sent: &[(&str, &str)]) -> Vec<(String, String)> {
    sent.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The report for alice of a.org, and her answer.
fn explained(
    rules: &[RuleRow],
    sent: &[(&str, &str)],
    password: Option<&str>,
    all: bool,
) -> (ExplainReport, String) {
    let users = [user(1, "a.org", "alice", "secret"), user(2, "a.org", "bob", "pw")];
    let snapshot = snapshot(plain(), &table_rows(&users, rules));
    let password = password.map(Secret::new);
    let request =
        ClientRequest::read("alice@a.org", &pairs(sent), password.as_ref(), &ParamSettings::default());
    let request = request.expect("well-formed");
    let session = request.sign_in(&snapshot, &users).expect("granted");
    let listing = Listing { all, key: None };
    let report = ExplainReport::new(&snapshot, &plain(), session, &request, rules, &listing);
    let body = snapshot.answer(session, request.params()).body;
    (report, String::from_utf8(body).expect("ASCII"))
}

/// The id, verdict and explanation of every rule of every key.
fn verdicts(report: &ExplainReport) -> Vec<(i64, &str, &str)> {
    let all = report.keys.iter().flat_map(|key| &key.rules);
    all.map(|rule| (rule.id, rule.verdict, rule.why.as_str())).collect()
}

#[test]
fn every_rule_of_a_key_is_told_with_its_reason() {
    let rows = rules(&[
        ("", "default", 100, "k", "for all"),
        ("a.org", "alice", 50, "k", "hers"),
        ("a.org", "alice", 50, "k", "hers too"),
        ("", "osname=Windows 10", 10, "k", "windows"),
        ("", "default", 1, "k", "$branch"),
        ("", "hwaddr=x", 10, "k", "phone"),
        ("", "bob", 10, "k", "bobs"),
        ("a.org", "username=bob", 10, "k", "bobs"),
        ("", "Sales", 10, "k", "sales"),
        ("b.org", "default", 1, "k", "another tenant's"),
        ("", "default", 5, "first", "1"),
    ]);
    let (report, answer) = explained(&rows, &[("osname", "Linux"), ("arch", "BOB")], None, false);
    assert_eq!(answer, "first=1\nk=hers\n");
    assert_eq!(
        verdicts(&report),
        [
            (11, "won", "won"),
            (2, "won", "won"),
            (5, "lacks", "the client did not send branch"),
            (4, "mismatch", "the client sent osname=Linux"),
            (6, "mismatch", "the client did not send hwaddr"),
            (7, "mismatch", "only for the user with that name, not for other users who send it"),
            (3, "lost", "lost to rule 2: same priorities, larger id"),
            (1, "lost", "lost to rule 2: lower priority"),
        ]
    );
    assert_eq!(report.left_out, 2);
    assert_eq!(report.keys[1].value.as_deref(), Some("hers"));
    let (report, _) = explained(&rows, &[], None, true);
    assert!(
        verdicts(&report).contains(&(8, "mismatch", "the client did send username=alice"))
            || report.left_out == 0
    );
}

#[test]
fn what_the_client_undoes_or_ignores_has_not_won() {
    let rows = rules(&[
        ("", "default", 1, "a.${username}", "1"),
        ("", "default", 2, "b.c", "${osname}"),
        ("", "default", 3, "a", "\\u0024{null}"),
        ("", "default", 4, "a.d", "2"),
        ("a.org", "default", 5, "provisioning.ENFORCE_PREFIX", "a.|${osname}"),
        ("", "default", 6, "b.e", "3"),
        ("a.org", "alice", 7, "provisioning.ALLOW_PREFIX", "a.|b."),
        ("", "default", 8, "c", "4"),
        ("", "alice", 8, "b.c", "5"),
    ]);
    let (report, answer) = explained(&rows, &[("osname", "Linux")], None, false);
    assert_eq!(answer.lines().count(), 8);
    assert_eq!(
        verdicts(&report),
        [
            (1, "undone", "undone by rule 3"),
            (2, "undone", "undone by rule 5 (ENFORCE_PREFIX)"),
            (9, "lost", "lost to rule 2: lower priority"),
            (3, "won", "won"),
            (4, "won", "won"),
            (5, "won", "won"),
            (6, "won", "won"),
            (7, "won", "won"),
            (8, "ignored", "ignored because of rule 7 (ALLOW_PREFIX)"),
        ]
    );
    let named = |rule: &RuleReport| (rule.id, rule.undone_by, rule.ignored_by);
    let all: Vec<_> = report.keys.iter().flat_map(|key| &key.rules).map(named).collect();
    assert_eq!((all[0], all[1], all[8]), ((1, Some(3), None), (2, Some(5), None), (8, None, Some(7))));
}

#[test]
fn only_properties_with_a_part_of_the_key_are_listed() {
    let rows = rules(&[
        ("", "default", 1, "x.acc1.PASSWORD", "${password}"),
        ("", "default", 2, "x.acc1.SERVER", "1"),
        ("", "bob", 2, "x.acc1.SERVER", "2"),
        ("", "bob", 2, "x.acc1.USER", "3"),
        ("", "default", 3, "x.${username}", "4"),
        ("", "default", 4, "x", "${null}"),
    ]);
    let users = [user(1, "a.org", "alice", "secret"), user(2, "a.org", "bob", "pw")];
    let snapshot = snapshot(plain(), &table_rows(&users, &rows));
    let request = ClientRequest::read("alice@a.org", &[], None, &ParamSettings::default()).expect("read");
    let session = request.sign_in(&snapshot, &users).expect("granted");
    for (part, ids, left_out) in
        [("server", &[2][..], 1), ("ALICE", &[5], 0), ("acc1", &[1, 2], 2), ("y", &[], 0)]
    {
        let listing = Listing { all: false, key: Some(part.to_owned()) };
        let report = ExplainReport::new(&snapshot, &plain(), session, &request, &rows, &listing);
        let listed: Vec<i64> = verdicts(&report).iter().map(|verdict| verdict.0).collect();
        assert_eq!((&*listed, report.left_out), (ids, left_out), "{part}");
        // The client acts upon the whole answer.
        assert!(verdicts(&report).iter().all(|verdict| verdict.2 == "undone by rule 6"), "{part}");
        assert_eq!(report.without_password.len(), usize::from(ids.contains(&1)));
    }
}

#[test]
fn a_pattern_that_does_not_match_is_told_with_the_value() {
    let rows = rules(&[
        ("", "osname=Windows*", 1, "k", "1"),
        ("", "ipaddr=10.1.2.3/16", 2, "k", "2"),
        ("", "username=b*", 3, "k", "3"),
        ("", "hwaddr=00*", 4, "k", "4"),
        ("", "osname=l?nux", 5, "k", "5"),
    ]);
    let (report, answer) = explained(&rows, &[("osname", "Linux"), ("ipaddr", "10.2.0.1")], None, false);
    assert_eq!(answer, "k=5\n");
    assert_eq!(
        verdicts(&report),
        [
            (5, "won", "won"),
            (1, "mismatch", "the client sent osname=Linux, which does not match windows*"),
            (2, "mismatch", "the client sent ipaddr=10.2.0.1, which is not in 10.1.0.0/16"),
            (3, "mismatch", "the client sent username=alice, which does not match b*"),
            (4, "mismatch", "the client did not send hwaddr"),
        ]
    );
}

#[test]
fn keys_that_nobody_sets_come_last_and_bad_rows_say_why() {
    let mut rows = rules(&[
        ("", "default", 1, "never", "$branch"),
        ("", "default", 1, "$branch.key", "v"),
        ("", "default", 2, "set", "v"),
        ("", "default", 2, "set", "v"),
    ]);
    rows[3].value = Cell::Null;
    let (report, answer) = explained(&rows, &[], None, false);
    assert_eq!(answer, "set=v\n");
    assert_eq!(
        report.keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(),
        ["set", "never", "$branch.key"]
    );
    assert_eq!(
        verdicts(&report),
        [
            (3, "won", "won"),
            (4, "bad", "bad row: property_value is NULL; the row is left out: correct or remove it"),
            (1, "lacks", "the client did not send branch"),
            (2, "lacks", "the client did not send branch"),
        ]
    );
    assert_eq!(report.keys[1].rules[0].value, "$branch");
}

#[test]
fn of_rows_with_one_id_as_a_query_may_select_them_the_first_counts() {
    let texts =
        [("b.org", "default", 1, "k", "1"), ("", "default", 1, "k", "2"), ("", "default", 1, "k", "3")];
    let mut rows = rules(&texts);
    rows[1].id = 1;
    let (report, answer) = explained(&rows, &[], None, false);
    assert_eq!(answer, "k=3\n");
    let why = "bad row: another row with this id came before; the row is left out: correct or remove it";
    assert_eq!(verdicts(&report), [(3, "won", "won"), (1, "bad", why)]);
}

#[test]
fn rules_of_others_are_left_out_and_of_very_many_values_some_are_listed() {
    let texts: Vec<String> = (0..50).map(|at| format!("hwaddr=phone{at}")).collect();
    let mut rows = rules(&texts.iter().map(|text| ("", text.as_str(), 1, "k", "v")).collect::<Vec<_>>());
    rows.push(rule(99, ("", "bob", 1, "k", "v")));
    let (report, _) = explained(&rows, &[], None, false);
    assert_eq!((verdicts(&report).len(), report.left_out), (10, 41));
    let (report, _) = explained(&rows, &[], None, true);
    assert_eq!((verdicts(&report).len(), report.left_out), (51, 0));
}

#[test]
fn passwords_are_hidden_wherever_they_stand() {
    let rows = rules(&[
        ("", "default", 1, "acc.PASSWORD", "${password}"),
        ("", "default", 1, "acc\\u002Epassword x", "stored-secret"),
        ("", "default", 1, "url", "sip:${username}:$password@x"),
        ("", "password=secret", 1, "typed", "1"),
        ("", "pass=other", 1, "typed", "1"),
        ("", "default", 1, "${branch:-a b}.PASSWORD", "stored-secret"),
        ("", "default", 1, "$branch.PASSWORD", "stored-secret"),
    ]);
    for password in [None, Some("secret")] {
        let (report, answer) = explained(&rows, &[], password, true);
        let text = serde_json::to_string(&report).expect("JSON");
        assert!(!text.contains("secret") && !text.contains("other\""), "{text}");
        assert!(text.contains("sip:alice:***@x"), "{text}");
        match password {
            Some(_) => {
                assert!(
                    answer.starts_with("acc.PASSWORD=secret\n") && answer.contains("typed=1\n"),
                    "{answer}"
                );
                assert_eq!(report.without_password, [] as [i64; 0]);
            }
            None => {
                assert!(answer.starts_with("acc.PASSWORD=\n") && !answer.contains("typed"), "{answer}");
                assert_eq!(report.without_password, [1, 3, 4, 5]);
            }
        }
    }
}

#[test]
fn a_request_is_read_as_the_server_reads_it() {
    let settings = ParamSettings { default_domain: "home.org".into(), ..ParamSettings::default() };
    let read = |user: &str, sent: &[(&str, &str)]| ClientRequest::read(user, &pairs(sent), None, &settings);
    for (user, sent, name) in [
        ("alice@x@a.org", &[][..], "alice@x@a.org"),
        ("alice", &[], "alice@home.org"),
        ("alice@a.org", &[("domain", "b.org")], "alice@b.org"),
        ("alice@a.org", &[("username", "bob"), ("user", "carol")], "alice@a.org"),
        ("Ål & +%41=", &[], "Ål & +%41=@home.org"),
    ] {
        assert_eq!(read(user, sent).expect("well-formed").name(), name);
    }
    let request =
        read("alice", &[("hw", "NA"), ("osname", "${osname}"), ("os", "Linux"), ("x", "1"), ("x", "2")]);
    let request = request.expect("well-formed");
    assert_eq!(request.params().known(Known::Hwaddr), None);
    assert_eq!(request.params().known(Known::Osname), Some("Linux"));
    assert_eq!(request.params().others().filter(|(name, _)| *name == "x").collect::<Vec<_>>(), [("x", "1")]);
    let refused = |user: &str, sent: &[(&str, &str)]| read(user, sent).err().map(|why| why.to_string());
    assert!(refused("@a.org", &[]).is_some_and(|why| why.contains("names no user")));
    assert!(refused("a", &[("pass", "s3cret")]).is_some_and(|why| why.contains("never an argument")));
    assert!(refused("a", &[("x", ""); 64]).is_some_and(|why| why.contains("64 parameters")));
}

#[test]
fn who_is_not_there_is_told_who_is() {
    let users = [
        user(1, "example.org", "alice", "pw"),
        user(2, "example.org", "alicia", "pw"),
        user(3, "b.org", "Bob", "pw"),
        user(4, "b.org", "unusable", ""),
    ];
    let snapshot = snapshot(plain(), &table_rows(&users, &[]));
    let sign_in = |name: &str, password: Option<&str>| {
        let password = password.map(Secret::new);
        let request = ClientRequest::read(name, &[], password.as_ref(), &ParamSettings::default())
            .expect("well-formed");
        request.sign_in(&snapshot, &users).map(|session| session.can_sign_in()).map_err(|why| why.to_string())
    };
    assert_eq!(sign_in("ALICE@Example.org", None), Ok(true));
    assert_eq!(sign_in("unusable@b.org", None), Ok(false));
    assert_eq!(sign_in("alice@example.org", Some("pw")), Ok(true));
    for (name, password, expected) in [
        ("alcie@example.org", None, "did you mean alice or alicia?"),
        ("alici@example.org", None, "did you mean alice or alicia?"),
        ("bob@example.org", None, "did you mean Bob@b.org?"),
        ("nobody@example.org", Some("pw"), "`jitsiprovs user list` lists them"),
        ("alice@exmaple.org", None, "no tenant \"exmaple.org\": did you mean example.org?"),
        ("alice@elsewhere.net", None, "`jitsiprovs tenant list` lists them"),
        ("alice@example.org", Some("hunter2"), "is wrong: the server would answer 401"),
        ("alice@example.org", Some(""), "is wrong"),
        ("unusable@b.org", Some("pw"), "is wrong"),
    ] {
        let why = sign_in(name, password).expect_err(name);
        assert!(why.contains(expected) && !why.contains("hunter2") && !why.contains('\n'), "{why}");
    }
}

/// Test data with many names that collide and many unusual values. Nearly every requested user
/// exists.
const NAMES: [&str; 9] =
    ["alice", "ALICE ", "bob", "Linux", "default", "osname=linux", "Dept=bob", "hw=x", "branch=a b"];
const DOMAINS: [&str; 4] = ["a.org", "A.ORG", "b.org", ""];
const KEYS: [&str; 9] =
    ["a", "b", "\\u0061", " a", "$osname", "x.$username", "x.alice", "acc.${branch:-x}", "# $arch"];
const VALUES: [&str; 10] =
    ["1", "", "2$", "$arch", "$password", "${null}", "é\n\\", "${branch:-z\\}", "${env.HOME}", "C:\\$osname"];
const SENT: [&str; 8] = ["osname", "os", "hw", "arch", "branch", "Dept", "env.HOME", "domain"];
const SENT_VALUES: [&str; 10] =
    ["", "Linux", "linux", "bob", "x", "a b", "${osname}", "NA", "é=\\\n&%41+", "b.org"];

/// Rows as texts that can be printed. The priority 3 stands for NULL, and 4 for text that is not
/// a number.
type Texts = (Vec<(&'static str, &'static str, &'static str)>, Vec<(i64, RuleText<'static>)>);

fn any_texts() -> impl Strategy<Value = Texts> {
    let user = (select(&DOMAINS[..]), select(&NAMES[..4]), select(vec!["pw", "other", ""]));
    let priority = prop_oneof![8 => 0..3_i64, 1 => 3..5_i64];
    let rule = (select(&DOMAINS[..]), select(&NAMES[..]), priority, select(&KEYS[..]), select(&VALUES[..]));
    (prop::collection::vec(user, 1..6), prop::collection::vec((0..30_i64, rule), 0..14))
}

fn rows((users, texts): &Texts) -> (Vec<UserRow>, Vec<RuleRow>) {
    let users = (1..).zip(users).map(|(id, (domain, name, password))| user(id, domain, name, password));
    let mut rules: Vec<RuleRow> = texts
        .iter()
        .map(|(id, text)| match text.2 {
            3 => RuleRow { spriority: Cell::Null, ..rule(*id, *text) },
            4 => RuleRow { spriority: "x".into(), ..rule(*id, *text) },
            _ => rule(*id, *text),
        })
        .collect();
    rules.sort_by_key(|row| row.id);
    rules.dedup_by_key(|row| row.id);
    (users.collect(), rules)
}

/// Sends the same request without the code under test, as a form, a query or JSON.
fn ask(snapshot: &Snapshot, sent: &[(String, String)], how: u8, settings: &ParamSettings) -> Option<Vec<u8>> {
    let side = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let encoded: Vec<String> =
        sent.iter().map(|(name, value)| format!("{}={}", side(name), side(value))).collect();
    let form = encoded.join("&");
    let text = |text: &str| serde_json::to_string(text).expect("a text");
    let members: Vec<String> =
        sent.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    let json = format!("{{{}}}", members.join(","));
    let (params, _) = match how {
        0 => request::read("", Body::Form(form.as_bytes()), None, settings),
        1 => request::read(&form, Body::Empty, None, settings),
        _ => request::read("", Body::Json(json.as_bytes()), None, settings),
    }
    .expect("well-formed");
    match snapshot.authenticate(&params) {
        SignIn::Granted(session) => Some(snapshot.answer(session, &params).body),
        SignIn::Denied => None,
        SignIn::Pending(_) => unreachable!("no slow hash here"),
    }
}

/// A server that has loaded these rows after other rows were added and removed.
fn served(users: &[UserRow], rules: &[RuleRow]) -> Arc<Snapshot> {
    let mut writer = Writer::new(plain());
    let mut draft = writer.draft();
    draft.apply(Change::Put(Row::User(user(77, "a.org", "osname=linux", "pw"))));
    draft.apply(Change::Put(Row::Rule(rule(77, ("a.org", "default", 0, "a", "old")))));
    draft.commit();
    let mut draft = writer.draft();
    rules.iter().rev().for_each(|row| draft.apply(Change::Put(Row::Rule(row.clone()))));
    draft.commit();
    let mut draft = writer.draft();
    draft.apply(Change::Gone(Table::UserAuth, 77));
    draft.apply(Change::Gone(Table::JitsiProperty, 77));
    users.iter().rev().for_each(|row| draft.apply(Change::Put(Row::User(row.clone()))));
    draft.commit().0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_bytes_are_those_of_the_server_and_the_winners_are_its_lines(
        texts in any_texts(),
        asking in any::<prop::sample::Index>(),
        is_named_apart: bool,
        is_wrong in prop::bool::weighted(0.1),
        sent in prop::collection::vec((select(&SENT[..]), select(&SENT_VALUES[..])), 0..5),
        how in 0..3_u8,
    ) {
        let settings = ParamSettings { default_domain: "b.org".into(), ..ParamSettings::default() };
        let (users, rules) = rows(&texts);
        let text = |cell: &Cell| cell.text().expect("UTF-8").expect("not NULL").into_owned();
        let row = asking.get(&users);
        let (name, domain, stored) = (text(&row.username), text(&row.domain), text(&row.password));
        let password = if is_wrong { "wrong".to_owned() } else { stored };
        let mut sent = pairs(&sent);
        let username = if is_named_apart {
            sent.insert(0, ("domain".into(), domain));
            name
        } else {
            format!("{name}@{domain}")
        };

        let own = [("username".to_owned(), username.clone()), ("password".to_owned(), password.clone())];
        let answer = ask(&served(&users, &rules), &[&own[..], &sent].concat(), how, &settings);

        let snapshot = snapshot(plain(), &table_rows(&users, &rules));
        let password = Secret::new(password);
        let request = ClientRequest::read(&username, &sent, Some(&password), &settings);
        let request = request.expect("well-formed");
        let session = request.sign_in(&snapshot, &users).ok();
        let explained = session.map(|session| snapshot.answer(session, request.params()).body);
        prop_assert_eq!(&explained, &answer);
        // Without a password, the user gets the same answer except where the password is used.
        let unsigned = ClientRequest::read(&username, &sent, None, &settings).expect("well-formed");
        for request in [Some(&request).filter(|_| session.is_some()), Some(&unsigned)].into_iter().flatten() {
            let Ok(session) = request.sign_in(&snapshot, &users) else { continue };
            let mut lines = Vec::new();
            let values = session.values(request.params());
            let traced = snapshot.trace(&plain(), session, request.params(), &rules);
            for traced in &traced {
                if let (Fate::Matches(rules::RuleOutcome::Won), Some(rule)) = (&traced.fate, &traced.rule) {
                    lines.extend(rule.render_key(&values));
                    lines.push(b'=');
                    lines.extend(rule.render_value(&values));
                    lines.push(b'\n');
                }
            }
            prop_assert_eq!(&lines, &snapshot.answer(session, request.params()).body);
            let listing = Listing { all: true, key: None };
            let report = ExplainReport::new(&snapshot, &plain(), session, request, &rules, &listing);
            let winners: Vec<_> = report.keys.iter().filter(|key| key.value.is_some()).collect();
            prop_assert_eq!(winners.len(), lines.iter().filter(|byte| **byte == b'\n').count());
            let listed: usize = report.keys.iter().map(|key| key.rules.len()).sum();
            prop_assert_eq!((listed, report.left_out), (traced.len(), 0));
        }
    }
}
