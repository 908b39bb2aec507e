//! Tests from rows to answers.

mod attributes;
mod losses;
mod model;
mod patterns;

use proptest::prelude::*;

use super::*;
use crate::core::conventions::Conventions;
use crate::core::credential::PwdFmt;
use crate::core::model::{Cell, Change, Row, RuleRow, UserRow};
use crate::core::params::Params;

type UserEntry<'a> = (&'a str, &'a str, &'a str);
type RuleRef<'a> = (&'a str, &'a str, i64, &'a str, &'a str);

fn user_row(id: i64, (domain, username, password): UserEntry<'_>) -> Row {
    Row::User(UserRow::from_cells(id, [username.into(), domain.into(), password.into()]))
}

fn rule_row(id: i64, (domain, subject, priority, key, value): RuleRef<'_>) -> Row {
    let (spriority, ppriority) = (priority.into(), 10.into());
    Row::Rule(RuleRow::from_cells(
        id,
        [domain.into(), subject.into(), spriority, ppriority, key.into(), value.into()],
    ))
}

fn plain() -> Conventions {
    Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() }
}

fn build(options: Conventions, rows: impl IntoIterator<Item = Row>) -> (Snapshot, Vec<String>) {
    let (snapshot, problems) = Writer::build(options, rows);
    assert_eq!(problems.total, problems.first.len());
    (Arc::unwrap_or_clone(snapshot), problems.first.iter().map(ToString::to_string).collect())
}

fn snapshot(users: &[UserEntry<'_>], rules: &[RuleRef<'_>]) -> Snapshot {
    let users = (1..).zip(users).map(|(id, user)| user_row(id, *user));
    let rules = (1..).zip(rules).map(|(id, rule)| rule_row(id, *rule));
    build(plain(), users.chain(rules)).0
}

/// The answer, or `None` if access is denied.
fn ask(snapshot: &Snapshot, params: &[(&str, &str)]) -> Option<String> {
    let params: Params = params.iter().copied().collect();
    match snapshot.authenticate(&params) {
        SignIn::Granted(session) => {
            Some(String::from_utf8(snapshot.answer(session, &params).body).expect("ASCII"))
        }
        SignIn::Denied => None,
        SignIn::Pending(_) => panic!("no slow hash here"),
    }
}

fn ask_as(snapshot: &Snapshot, username: &str, domain: &str, more: &[(&str, &str)]) -> Option<String> {
    let own = [("username", username), ("domain", domain), ("password", "pw")];
    ask(snapshot, &[&own, more].concat())
}

#[test]
fn only_the_right_password_of_the_right_tenant_is_granted() {
    let snapshot =
        snapshot(&[("a.org", "alice", "pw"), ("b.org", "alice", "other"), ("a.org", "eve", "")], &[]);
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &[]), Some("".into()));
    assert_eq!(ask_as(&snapshot, "Alice ", "A.ORG", &[]), Some("".into()));
    assert_eq!(ask_as(&snapshot, "alice", "b.org", &[]), None);
    assert_eq!(ask_as(&snapshot, "alice", "c.org", &[]), None);
    assert_eq!(ask_as(&snapshot, "bob", "a.org", &[]), None);
    assert_eq!(ask(&snapshot, &[("username", "alice"), ("domain", "a.org")]), None);
    assert_eq!(ask(&snapshot, &[("username", "eve"), ("domain", "a.org"), ("password", "")]), None);
    assert_eq!(ask(&snapshot, &[]), None);
}

#[test]
fn a_client_reaches_another_users_rules_by_no_parameter() {
    let snapshot = snapshot(
        &[("a.org", "alice", "pw"), ("a.org", "bob", "pw"), ("b.org", "carol", "pw")],
        &[
            ("a.org", "bob", 1, "k", "bobs"),
            ("", "BOB", 2, "g", "bobs too"),
            ("", "carol", 1, "c", "carols"),
            ("a.org", "printer", 1, "w", "$hwaddr"),
            ("a.org", "hwaddr=printer", 1, "p", "$hwaddr"),
        ],
    );
    for param in Known::ALL
        .map(Known::name)
        .into_iter()
        .filter(|name| !["username", "domain", "password"].contains(name))
    {
        assert_eq!(ask_as(&snapshot, "alice", "a.org", &[(param, "bob")]), Some("".into()), "{param}");
        // Carol is a user of another tenant, but the rule applies there too.
        assert_eq!(ask_as(&snapshot, "alice", "a.org", &[(param, "carol")]), Some("".into()), "{param}");
    }
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &[("hwaddr", "printer")]), Some("p=printer\n".into()));
    assert_eq!(ask_as(&snapshot, "bob", "a.org", &[]), Some("k=bobs\ng=bobs too\n".into()));
    assert_eq!(ask_as(&snapshot, "carol", "b.org", &[]), Some("c=carols\n".into()));
}

#[test]
fn tenants_see_their_own_rules_and_those_of_all() {
    let snapshot = snapshot(
        &[("a.org", "alice", "pw"), ("b.org", "alice", "pw"), ("c.org", "alice", "pw")],
        &[
            ("", "default", 10, "who", "all"),
            ("a.org", "default", 5, "who", "a"),
            ("a.org", "alice", 1, "mine", "a"),
            ("b.org", "alice", 1, "mine", "b"),
            ("b.org", "Linux", 20, "who", "late"),
            ("b.org", "Linux", 20, "os", "b"),
        ],
    );
    let linux = [("osname", "Linux")];
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &linux), Some("mine=a\nwho=a\n".into()));
    assert_eq!(ask_as(&snapshot, "alice", "b.org", &linux), Some("mine=b\nwho=all\nos=b\n".into()));
    assert_eq!(ask_as(&snapshot, "alice", "c.org", &linux), Some("who=all\n".into()));
}

#[test]
fn a_typed_subject_matches_its_parameter_alone() {
    let snapshot = snapshot(
        &[("a.org", "linux", "pw"), ("a.org", "bob", "pw")],
        &[
            ("a.org", "osname=Linux", 1, "os", "1"),
            ("a.org", "username=bob", 1, "user", "bob"),
            ("", "dept=Sales", 1, "dept", "1"),
            ("a.org", "linux", 1, "plain", "1"),
        ],
    );
    assert_eq!(ask_as(&snapshot, "bob", "a.org", &[("osname", "linux")]), Some("os=1\nuser=bob\n".into()));
    assert_eq!(ask_as(&snapshot, "linux", "a.org", &[("hwaddr", "bob")]), Some("plain=1\n".into()));
    assert_eq!(ask_as(&snapshot, "linux", "a.org", &[("dept", "SALES")]), Some("dept=1\nplain=1\n".into()));
    assert_eq!(ask_as(&snapshot, "linux", "a.org", &[("arch", "dept=Sales")]), Some("plain=1\n".into()));
}

#[test]
fn an_empty_parameter_matches_nothing_and_renders_as_nothing() {
    let snapshot = snapshot(
        &[("a.org", "alice", "pw")],
        &[
            ("a.org", "", 1, "x", "1"),
            ("a.org", "osname=", 1, "y", "1"),
            ("", "default", 1, "z", "[$osname]"),
        ],
    );
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &[("osname", "")]), Some("z=[]\n".into()));
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &[]), Some("".into()));
}

#[test]
fn one_rule_selected_by_two_parameters_is_answered_once() {
    let rules = [("", "dept=x", 1, "a", "1"), ("", "dept=x", 2, "b", "2")];
    let snapshot = snapshot(&[("a.org", "alice", "pw")], &rules);
    let twice = [("dept", "x"), ("Dept", "X")];
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &twice), Some("a=1\nb=2\n".into()));
}

#[test]
fn exact_comparison_makes_case_count() {
    let options = Conventions { comparison: Comparison::Exact, ..plain() };
    let rows = [
        user_row(1, ("a.org", "Alice", "pw")),
        user_row(2, ("a.org", "alice", "pw")),
        rule_row(1, ("", "ALICE", 1, "k", "v")),
    ];
    let (snapshot, problems) = build(options, rows);
    assert!(problems.len() == 1 && problems[0].contains("`ALICE` is taken for a username"), "{problems:?}");
    assert_eq!(ask_as(&snapshot, "Alice", "a.org", &[]), Some("".into()));
    assert_eq!(ask_as(&snapshot, "ALICE", "a.org", &[]), None);
}

#[test]
fn a_bad_row_is_reported_and_the_others_are_used() {
    let bad_rule = |id, change: fn(&mut RuleRow)| {
        let Row::Rule(mut row) = rule_row(id, ("", "default", 1, "bad", "v")) else { unreachable!() };
        change(&mut row);
        Row::Rule(row)
    };
    let bad_user = |id, change: fn(&mut UserRow)| {
        let Row::User(mut row) = user_row(id, ("a.org", "bob", "pw")) else { unreachable!() };
        change(&mut row);
        Row::User(row)
    };
    let rows = [
        user_row(7, ("a.org", "ALICE", "first")),
        user_row(3, ("a.org", "alice", "pw")),
        user_row(9, ("a.org", "alice ", "last")),
        bad_user(20, |row| row.username = Cell::Null),
        bad_user(21, |row| row.domain = Cell::Null),
        bad_user(22, |row| row.password = Cell::Null),
        bad_user(23, |row| row.domain = "".into()),
        bad_user(24, |row| row.username = Cell::Text(vec![0xff])),
        bad_rule(30, |row| row.subject = Cell::Null),
        bad_rule(31, |row| row.key = Cell::Null),
        bad_rule(32, |row| row.value = Cell::Null),
        bad_rule(33, |row| row.spriority = "high".into()),
        bad_rule(34, |row| row.ppriority = Cell::Int(1 << 40)),
        bad_rule(35, |row| row.key = "k".repeat(1025).as_str().into()),
        bad_rule(36, |row| row.value = Cell::Text(vec![0xff])),
        bad_rule(37, |row| row.subject = " ".into()),
        bad_rule(38, |row| row.value = "${username:ID}".into()),
        bad_rule(39, |row| row.key = "acc${username:ids}".into()),
        bad_rule(40, |row| (row.key, row.spriority) = ("null".into(), Cell::Null)),
        bad_rule(41, |row| (row.key, row.value) = ("stray".into(), "5$ and \\".into())),
        rule_row(50, ("", "bob", 1, "bobs", "1")),
    ];
    let (snapshot, problems) = build(plain(), rows);
    let mut ids: Vec<i64> =
        problems.iter().map(|text| text.split([' ', ':']).nth(2).unwrap().parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(
        ids,
        [7, 9, 20, 21, 22, 23, 24, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 41],
        "{problems:#?}"
    );
    assert!(problems.iter().all(|text| !text.contains("pw") && !text.contains("5$ and")));
    // Bob cannot sign in, but is still a user.
    assert_eq!(
        ask_as(&snapshot, "alice", "a.org", &[("hwaddr", "bob")]),
        Some("null=v\nstray=5$ and \\\\\n".into())
    );
    assert_eq!(ask_as(&snapshot, "bob", "a.org", &[]), None);
    assert_eq!(snapshot.counts().users, 2);
    assert_eq!(snapshot.counts().rules, 3);
}

#[test]
fn a_subject_that_clients_send_for_another_parameter_is_reported_when_a_user_has_that_name() {
    let rows = [
        user_row(1, ("a.org", "linux", "pw")),
        rule_row(5, ("a.org", "Linux", 1, "k", "v")),
        rule_row(6, ("", "Linux", 1, "k", "v")),
    ];
    let (_, mut problems) = build(plain(), rows);
    problems.sort_unstable();
    assert_eq!(problems.len(), 2);
    assert!(
        problems[0].starts_with("jitsi_property id 5:") && problems[0].contains("`osname=linux`"),
        "{problems:?}"
    );
}

#[test]
fn such_a_subject_of_all_tenants_is_reported_once_however_many_have_the_user() {
    let users = (1..).zip(["a.org", "b.org", "c.org"]);
    let users = users.map(|(id, domain)| user_row(id, (domain, "linux", "pw")));
    let (_, problems) = build(plain(), users.chain([rule_row(6, ("", "Linux", 1, "k", "v"))]));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn rows_give_the_same_snapshot_in_any_order() {
    let users =
        [(1, ("a.org", "alice", "pw")), (2, ("a.org", "bob", "pw"))].map(|(id, user)| user_row(id, user));
    let rules = [("a.org", "bob", 1, "k", "bobs"), ("", "bob", 1, "g", "bobs")];
    let rules = [rule_row(1, rules[0]), rule_row(2, rules[1])];
    let (snapshot, _) = build(plain(), rules.into_iter().chain(users));
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &[("hwaddr", "bob")]), Some("".into()));
    assert_eq!(ask_as(&snapshot, "bob", "a.org", &[]), Some("k=bobs\ng=bobs\n".into()));
}

#[test]
fn unknown_users_are_compared_with_decoys_of_the_tenants_kinds() {
    let bcrypt = "$2y$04$rMMY6FBZ6XwCAgPTs2aiWOnxxS2rPs.jiZBkUilLlRk28W35op.WG";
    let snapshot = snapshot(&[("slow.org", "alice", bcrypt), ("fast.org", "alice", "pw")], &[]);
    let pending = |domain: &str, name: &str| {
        let params = [("username", name), ("domain", domain), ("password", "pässwörd")].into_iter().collect();
        matches!(snapshot.authenticate(&params), SignIn::Pending(_))
    };
    assert!(pending("slow.org", "alice") && pending("slow.org", "nobody"));
    assert!(!pending("fast.org", "alice") && !pending("fast.org", "nobody"));
    // The password of the user that the decoy was copied from is refused too.
    let params: Params =
        [("username", "nobody"), ("domain", "slow.org"), ("password", "pässwörd")].into_iter().collect();
    let SignIn::Pending(pending) = snapshot.authenticate(&params) else { panic!("a slow tenant") };
    let right = pending.work("pässwörd".into())();
    assert!(!right && pending.settle(true).is_none());
}

#[test]
fn many_users_of_one_kind_of_hash_are_one_decoy() {
    let hash = |salt: usize| format!("$6${salt:08}${}.", "a".repeat(85));
    let users: Vec<(String, String)> = (0..50).map(|id| (format!("user{id}"), hash(id))).collect();
    let users: Vec<UserEntry<'_>> = users.iter().map(|(name, hash)| ("a.org", &**name, &**hash)).collect();
    let snapshot = snapshot(&users, &[]);
    assert_eq!(snapshot.decoys.kinds(), 1);
}

#[test]
fn a_slow_password_is_remembered_over_a_reload_of_the_same_row() {
    let bcrypt = "$2y$04$rMMY6FBZ6XwCAgPTs2aiWOnxxS2rPs.jiZBkUilLlRk28W35op.WG";
    let mut writer = Writer::new(plain());
    let mut put = |id, more: &str| {
        let mut draft = writer.draft();
        draft.put(&user_row(id, ("a.org", "alice", &format!("{bcrypt}{more}"))));
        draft.commit().0
    };
    let params: Params =
        [("username", "alice"), ("domain", "a.org"), ("password", "pässwörd")].into_iter().collect();
    let first = put(5, "");
    let SignIn::Pending(pending) = first.authenticate(&params) else { panic!("a slow hash") };
    let right = pending.work("pässwörd".into())();
    assert!(pending.settle(right).is_some());
    // A new row with the same user and hash, as after importing everything again.
    assert!(matches!(put(3, "").authenticate(&params), SignIn::Granted(_)));
    assert!(matches!(put(3, " ").authenticate(&params), SignIn::Denied));
    assert!(matches!(put(3, "").authenticate(&params), SignIn::Pending(_)));
}

#[test]
fn a_typed_subject_is_its_parameters_whoever_has_its_text_as_a_name() {
    let rows = [
        user_row(1, ("a.org", "bob", "pw")),
        user_row(2, ("a.org", "username=bob", "pw")),
        user_row(3, ("a.org", "hostname=bob", "pw")),
        rule_row(1, ("a.org", "username=bob", 1, "k", "bobs")),
        rule_row(2, ("", "User=bob", 1, "g", "bobs")),
        rule_row(3, ("", "Hostname=Bob", 1, "h", "host")),
        rule_row(4, ("", "username=hostname=bob", 1, "own", "1")),
    ];
    let (snapshot, problems) = build(plain(), rows);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|text| text.starts_with("user_auth id") && text.contains("`username=`")));
    assert_eq!(ask_as(&snapshot, "bob", "a.org", &[]), Some("k=bobs\ng=bobs\n".into()));
    assert_eq!(ask_as(&snapshot, "username=bob", "a.org", &[]), Some("".into()));
    assert_eq!(ask_as(&snapshot, "hostname=bob", "a.org", &[]), Some("own=1\n".into()));
    assert_eq!(
        ask_as(&snapshot, "bob", "a.org", &[("hostname", "bob")]),
        Some("k=bobs\ng=bobs\nh=host\n".into())
    );
}

#[test]
fn a_bare_word_stays_a_username_when_the_user_goes() {
    let mut writer = Writer::new(plain());
    let mut commit = |changes: Vec<Change>| {
        let mut draft = writer.draft();
        changes.into_iter().for_each(|change| draft.apply(change));
        draft.commit()
    };
    let sent: Vec<(&str, &str)> =
        Known::ALL.map(Known::name).iter().skip(3).map(|name| (*name, "bob")).collect();
    let rows = [
        user_row(1, ("a.org", "bob", "pw")),
        user_row(2, ("b.org", "eve", "pw")),
        rule_row(1, ("", "bob", 1, "k", "bobs")),
        rule_row(2, ("", "b.org", 1, "tenant", "1")),
    ];
    let (snapshot, problems) = commit(rows.into_iter().map(Change::Put).collect());
    assert_eq!((problems.total, ask_as(&snapshot, "bob", "a.org", &[])), (0, Some("k=bobs\n".into())));
    let (snapshot, problems) = commit(vec![Change::Gone(crate::core::model::Table::UserAuth, 1)]);
    let problems: Vec<String> = problems.first.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("jitsi_property id 1:") && problems[0].contains("`hostname=bob`"));
    assert_eq!(ask_as(&snapshot, "eve", "b.org", &sent), Some("tenant=1\n".into()));
    // A tenant of that name does not make the word a parameter's value either.
    let (snapshot, _) = commit(vec![Change::Put(user_row(3, ("bob", "eve", "pw")))]);
    assert_eq!(ask_as(&snapshot, "eve", "bob", &sent), Some("".into()));
}

#[test]
fn a_typed_subjects_value_may_end_like_a_typed_subject_without_one() {
    let rules = [("", "token=Zm9vYg==", 1, "k", "v"), ("", "token= ", 1, "empty", "v")];
    let snapshot = snapshot(&[("a.org", "alice", "pw")], &rules);
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &[("token", "Zm9vYg==")]), Some("k=v\n".into()));
    assert_eq!(snapshot.counts().rules, 1);
}

#[test]
fn a_typed_subject_may_use_an_alias_and_is_as_safe() {
    let users = [("a.org", "alice", "pw"), ("a.org", "bob", "pw")];
    let snapshot =
        snapshot(&users, &[("", "user=bob", 1, "bobs", "1"), ("", "hw=00:1A", 1, "hardware", "1")]);
    assert_eq!(ask_as(&snapshot, "alice", "a.org", &[("user", "bob")]), Some("".into()));
    assert_eq!(
        ask_as(&snapshot, "bob", "a.org", &[("hwaddr", "00:1a")]),
        Some("bobs=1\nhardware=1\n".into())
    );
}

#[test]
fn a_username_of_blanks_is_none_and_lets_nobody_in() {
    let rows = [user_row(1, ("a.org", "  ", "pw")), rule_row(1, ("", "default", 1, "k", "[$username]"))];
    let (snapshot, problems) = build(plain(), rows);
    assert_eq!(problems.len(), 1);
    assert_eq!(ask(&snapshot, &[("domain", "a.org"), ("password", "pw")]), None);
}

#[test]
fn a_tenants_few_default_rules_are_laid_over_those_of_all() {
    let keys: Vec<String> = (0..40).map(|at| format!("k{at}")).collect();
    let mut rules: Vec<RuleRef<'_>> =
        keys.iter().map(|key| ("", "default", 10, key.as_str(), "all")).collect();
    rules.push(("few.org", "default", 5, "k7", "few"));
    rules.extend(keys.iter().take(20).map(|key| ("many.org", "default", 5, key.as_str(), "many")));
    let snapshot = snapshot(&[("few.org", "alice", "pw"), ("many.org", "alice", "pw")], &rules);
    let few = ask_as(&snapshot, "alice", "few.org", &[]).expect("granted");
    assert!(few.starts_with("k7=few\nk0=all\n") && few.lines().count() == 40, "{few}");
    let many = ask_as(&snapshot, "alice", "many.org", &[]).expect("granted");
    assert!(
        many.starts_with("k0=many\n") && many.ends_with("k39=all\n") && many.lines().count() == 40,
        "{many}"
    );
}

const NAMES: [&str; 6] = ["alice", "bob", "Linux", "linux", "default", "osname=linux"];
const DOMAINS: [&str; 3] = ["a.org", "b.org", ""];

/// Whether a rule applies, computed directly from the specification, without an index.
fn selects(rule: &RuleRef<'_>, users: &[UserEntry<'_>], params: &[(&str, &str)]) -> bool {
    let fold = |name: &str| name.to_lowercase();
    let get = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| fold(value));
    let (domain, subject) = (rule.0, fold(rule.1));
    if !domain.is_empty() && get("domain").as_deref() != Some(domain) {
        return false;
    }
    if subject == "default" {
        return true;
    }
    if let Some((name, value)) = subject.split_once('=') {
        return get(name).as_deref() == Some(value);
    }
    let is_user =
        |(tenant, name, _): &UserEntry<'_>| fold(name) == subject && (domain.is_empty() || *tenant == domain);
    if subject == "linux" && !users.iter().any(is_user) {
        return get("osname") == Some(subject);
    }
    get("username") == Some(subject)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn a_request_gets_just_the_rules_that_the_spec_gives_it(
        users in prop::collection::vec((0..2_usize, 0..4_usize), 1..5),
        rules in prop::collection::vec((0..3_usize, 0..6_usize, 0..3_i64), 0..10),
        asking in any::<prop::sample::Index>(),
        osname in prop::option::of(prop::sample::select(NAMES.to_vec())),
        hwaddr in prop::option::of(prop::sample::select(NAMES.to_vec())),
    ) {
        let users: Vec<UserEntry<'_>> = users.iter().map(|(d, n)| (DOMAINS[*d], NAMES[*n], "pw")).collect();
        let keys: Vec<String> = (0..rules.len()).map(|at| format!("k{at}")).collect();
        let rules: Vec<RuleRef<'_>> = rules.iter().zip(&keys)
            .map(|((d, s, priority), key)| (DOMAINS[*d], NAMES[*s], *priority, key.as_str(), "v")).collect();
        let (domain, username, password) = *asking.get(&users);
        let mut params = vec![("username", username), ("domain", domain), ("password", password)];
        params.extend(osname.map(|value| ("osname", value)));
        params.extend(hwaddr.map(|value| ("hwaddr", value)));

        let mut expected: Vec<&RuleRef<'_>> = rules.iter().filter(|rule| selects(rule, &users, &params)).collect();
        expected.sort_by_key(|rule| rule.2);
        let expected: String = expected.iter().map(|rule| format!("{}=v\n", rule.3)).collect();
        prop_assert_eq!(ask(&snapshot(&users, &rules), &params), Some(expected));
    }
}

/// A row from a small set of names, so that the same name occurs as a user and as a subject of
/// one tenant and of all, typed and not, colliding and bad.
fn any_row() -> impl Strategy<Value = Row> {
    let names = vec![
        "alice",
        "ALICE",
        "bob",
        "Linux",
        "default",
        "osname=linux",
        "Dept=bob",
        "hw=x",
        "",
        "osname=l*",
        "dept=?ob",
        "username=A*",
        "ipaddr=10.0.0.0/8",
        "os=*",
    ];
    let domains = vec!["a.org", "A.ORG", "b.org", ""];
    let passwords = vec!["pw", "other", "", "$2y$04$rMMY6FBZ6XwCAgPTs2aiWOnxxS2rPs.jiZBkUilLlRk28W35op.WG"];
    let pick = |from: Vec<&'static str>| prop::sample::select(from);
    let user = (1..12_i64, pick(domains.clone()), pick(names.clone()), pick(passwords));
    let keys = vec!["a", "b", "$osname", "x.$username"];
    let rule =
        ((1..30_i64, 0..3_i64), pick(domains), pick(names), pick(keys), pick(vec!["1", "2$", "$arch"]));
    prop_oneof![
        1 => user.prop_map(|(id, domain, name, password)| user_row(id, (domain, name, password))),
        2 => rule.prop_map(|((id, priority), domain, subject, key, value)| {
            rule_row(id, (domain, subject, priority, key, value))
        }),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let gone = |(row, is_gone): (Row, bool)| match is_gone {
        true => Change::Gone(row.table(), row.id()),
        false => Change::Put(row),
    };
    (any_row(), prop::bool::weighted(0.3)).prop_map(gone)
}

type Rows = std::collections::BTreeMap<(crate::core::model::Table, i64), Row>;

fn note(rows: &mut Rows, change: Change) {
    match change {
        Change::Put(row) => drop(rows.insert((row.table(), row.id()), row)),
        Change::Gone(table, id) => drop(rows.remove(&(table, id))),
    }
}

/// Loads all `rows` into a writer that may already have some of them.
fn load(writer: &mut Writer, rows: &Rows) {
    writer.begin_load();
    let news: Vec<Row> = rows.values().filter(|row| writer.is_news(row)).cloned().collect();
    let mut draft = writer.draft_of_load();
    news.into_iter().for_each(|row| draft.apply(Change::Put(row)));
    draft.sweep(|_, _| {});
    draft.commit();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn changes_one_after_another_come_to_what_a_load_of_everything_would_give(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 0..12), 1..8),
        unnoticed in prop::collection::vec(any_change(), 0..12),
    ) {
        let (mut writer, mut rows) = (Writer::new(plain()), Rows::new());
        for batch in batches {
            let before = writer.current().clone();
            let unchanged = before.clone();
            let mut draft = writer.draft();
            for change in &batch {
                draft.apply(change.clone());
            }
            // A draft that is dropped must not change anything.
            drop(draft);
            prop_assert!(*writer.current() == before);
            let mut draft = writer.draft();
            for change in batch {
                draft.apply(change.clone());
                note(&mut rows, change);
            }
            draft.commit();
            prop_assert!(before == unchanged, "a snapshot that others read has changed");
            let (fresh, _) = Writer::build(plain(), rows.values().cloned());
            prop_assert!(*writer.current() == *fresh);
            prop_assert_eq!(writer.current().counts().bytes, fresh.counts().bytes);
            prop_assert_eq!(writer.rows(), rows.len());
        }
        unnoticed.into_iter().for_each(|change| note(&mut rows, change));
        load(&mut writer, &rows);
        let (fresh, _) = Writer::build(plain(), rows.values().cloned());
        prop_assert!(*writer.current() == *fresh);
        prop_assert_eq!(writer.rows(), rows.len());
    }
}

#[test]
fn changes_made_during_a_load_outlive_it() {
    let mut writer = Writer::new(plain());
    let user = |id, name: &'static str, password: &'static str| user_row(id, ("a.org", name, password));
    let old = [user(1, "stays", "old"), user(2, "goes", "old"), user(3, "edited", "old")];
    let mut draft = writer.draft();
    old.iter().for_each(|row| assert!(draft.put(row)));
    draft.commit();

    writer.begin_load();
    // The rows that the load reads are older than these changes.
    let mut draft = writer.draft();
    draft.apply(Change::Gone(crate::core::model::Table::UserAuth, 2));
    draft.apply(Change::Put(user(3, "edited", "new")));
    draft.apply(Change::Put(user(4, "came", "new")));
    // This row was added and removed between two polls, but the load has read it.
    draft.apply(Change::Gone(crate::core::model::Table::UserAuth, 5));
    draft.apply(Change::Put(user(1, "stays", "old")));
    draft.commit();
    let old = old.into_iter().chain([user(5, "brief", "old")]);
    let news: Vec<Row> = old.filter(|row| writer.is_news(row)).collect();
    let mut draft = writer.draft_of_load();
    news.iter().for_each(|row| assert!(!draft.put(row)));
    draft.sweep(|table, id| panic!("{table} {id} is swept away"));
    assert!(draft.summary().is_empty());
    let (_, problems) = draft.commit();
    assert_eq!(problems.total, 0, "{:?}", problems.first);
    let signs_in = |name, password| {
        ask(writer.current(), &[("username", name), ("domain", "a.org"), ("password", password)]).is_some()
    };
    assert!(signs_in("stays", "old") && signs_in("edited", "new") && signs_in("came", "new"));
    assert!(!signs_in("goes", "old"));
}

#[test]
fn a_user_who_moves_to_another_id_collides_with_nobody() {
    let mut writer = Writer::new(plain());
    let mut draft = writer.draft();
    draft.put(&user_row(3, ("a.org", "alice", "pw")));
    draft.commit();
    let mut draft = writer.draft();
    draft.apply(Change::Put(user_row(7, ("a.org", "alice", "pw"))));
    draft.apply(Change::Gone(crate::core::model::Table::UserAuth, 3));
    assert_eq!(draft.commit().1.total, 0);
}

#[test]
fn after_very_many_loads_rows_that_go_are_still_noticed() {
    let mut writer = Writer::new(plain());
    let mut rows = Rows::new();
    note(&mut rows, Change::Put(user_row(1, ("a.org", "alice", "pw"))));
    note(&mut rows, Change::Put(user_row(2, ("a.org", "bob", "pw"))));
    load(&mut writer, &rows);
    // The database is down for a while.
    for _ in 0..255 {
        writer.begin_load();
        writer.abandon_load();
    }
    note(&mut rows, Change::Gone(crate::core::model::Table::UserAuth, 2));
    load(&mut writer, &rows);
    assert_eq!(writer.current().counts().users, 1);
}

#[test]
fn of_two_rows_with_one_id_in_a_load_the_first_counts() {
    let mut writer = Writer::new(plain());
    let rows = [user_row(1, ("a.org", "alice", "pw")), user_row(1, ("a.org", "bob", "pw"))];
    for _ in 0..2 {
        writer.begin_load();
        let news: Vec<Row> = rows.iter().filter(|row| writer.is_news(row)).cloned().collect();
        let mut draft = writer.draft_of_load();
        news.into_iter().for_each(|row| draft.apply(Change::Put(row)));
        draft.sweep(|_, _| panic!("nothing goes"));
        let (snapshot, problems) = draft.commit();
        assert_eq!((snapshot.counts().users, problems.total), (1, 1));
        assert!(ask_as(&snapshot, "alice", "a.org", &[]).is_some());
    }
}

#[test]
fn a_user_takes_no_more_than_two_lines_of_the_processors_cache() {
    assert!(size_of::<Entry>() + size_of::<usize>() <= 128);
}

#[test]
fn nothing_is_the_same_whether_or_not_it_was_committed() {
    assert!(*Writer::new(plain()).current() == *Writer::build(plain(), []).0);
}
