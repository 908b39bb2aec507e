//! Tests of what is known of users.

use proptest::sample::select;

use super::*;
use crate::core::model::{AttributeRow, Table};

pub(super) type AttributeText<'a> = (&'a str, &'a str, &'a str, &'a str);

pub(super) fn attribute_row(id: i64, (domain, username, name, value): AttributeText<'_>) -> Row {
    Row::Attribute(AttributeRow::from_cells(id, [domain.into(), username.into(), name.into(), value.into()]))
}

fn known(users: &[UserEntry<'_>], rules: &[RuleRef<'_>], attributes: &[AttributeText<'_>]) -> Vec<Row> {
    let users = (1..).zip(users).map(|(id, user)| user_row(id, *user));
    let rules = (1..).zip(rules).map(|(id, rule)| rule_row(id, *rule));
    let attributes = (1..).zip(attributes).map(|(id, attribute)| attribute_row(id, *attribute));
    users.chain(rules).chain(attributes).collect()
}

#[test]
fn the_most_specific_level_that_has_a_name_counts() {
    let users = [("a.org", "alice", "pw"), ("a.org", "bob", "pw"), ("b.org", "carol", "pw")];
    let rules = [
        ("", "default", 1, "proxy", "${user.proxy}"),
        ("", "default", 2, "line", "${user.line2}"),
        ("", "default", 3, "name", "${user.display_name:-nobody}"),
        ("", "user.group=support", 4, "group", "support"),
        ("", "user.group=sales", 5, "group2", "sales"),
    ];
    let attributes = [
        ("", "", "proxy", "everyone"),
        ("a.org", "", "Proxy", "a"),
        ("A.ORG", "Alice", "proxy", "first"),
        ("a.org", "alice", "proxy", "second"),
        ("a.org", "bob", "line2", " a\\b$c"),
        ("a.org", "alice", "group", "Sales"),
        ("a.org", "alice", "group", "support"),
        ("a.org", "", "group", "other"),
        ("b.org", "alice", "line2", "of another tenant"),
    ];
    let (snapshot, problems) = build(plain(), known(&users, &rules, &attributes));
    assert_eq!((problems, snapshot.counts().attributes), (vec![], 9));
    let answers = |name, domain| ask_as(&snapshot, name, domain, &[("group", "support")]).expect("signs in");
    assert_eq!(answers("alice", "a.org"), "proxy=first\nname=nobody\ngroup=support\ngroup2=sales\n");
    assert_eq!(answers("bob", "a.org"), "proxy=a\nline=\\ a\\\\b$c\nname=nobody\n");
    assert_eq!(answers("carol", "b.org"), "proxy=everyone\nname=nobody\n");
}

#[test]
fn a_row_without_a_meaning_is_left_out() {
    let attributes = [
        ("", "alice", "x", "no domain"),
        ("a.org", "alice", "9x", "begins with a digit"),
        ("a.org", "alice", "a b", "a blank"),
        ("a.org", "alice", "", "no name"),
        ("a.org", "alice", "ok", "v"),
    ];
    let (snapshot, problems) = build(plain(), known(&[("a.org", "alice", "pw")], &[], &attributes));
    assert_eq!((problems.len(), snapshot.counts().attributes), (4, 1));
    assert!(problems.iter().all(|problem| problem.contains("user_attribute")), "{problems:?}");
}

#[test]
fn names_are_written_as_they_are_stored() {
    let users = [("Example.org", "Alice ", "pw"), ("b.org", "bob", "pw")];
    let rules = [("", "default", 1, "id", "$username@${domain} ${client.username}")];
    let (snapshot, _) = build(plain(), known(&users, &rules, &[]));
    let answer = |name, domain| ask_as(&snapshot, name, domain, &[]).expect("signs in");
    assert_eq!(answer("ALICE", "EXAMPLE.ORG "), "id=Alice@Example.org ALICE\n");
    assert_eq!(answer("Bob", "b.org"), "id=bob@b.org Bob\n");
}

#[test]
fn who_is_disabled_gets_the_rules_for_that_and_no_others() {
    let users = [("a.org", "alice", "pw"), ("a.org", "bob", "pw"), ("b.org", "carol", "pw")];
    let rules = [
        ("", "default", 1, "account", "$username"),
        ("", "user.disabled=YES", 2, "account", "${null}"),
        ("a.org", "user.disabled=yes", 1, "only", "$domain"),
        ("a.org", "alice", 1, "own", "x"),
        ("b.org", "default", 1, "b", "x"),
    ];
    for (attributes, alice, bob, carol) in [
        (&[][..], false, false, false),
        (&[("a.org", "alice", "disabled", "1")][..], true, false, false),
        (&[("a.org", "", "Disabled", "true"), ("a.org", "bob", "disabled", "No")][..], true, false, false),
        (&[("a.org", "alice", "disabled", ""), ("b.org", "carol", "disabled", " ")][..], false, false, false),
        (
            &[("a.org", "alice", "disabled", "0"), ("a.org", "alice", "disabled", "1")][..],
            false,
            false,
            false,
        ),
        (&[("b.org", "carol", "disabled", "yes"), ("", "", "disabled", "false")][..], false, false, true),
    ] {
        let (snapshot, _) = build(plain(), known(&users, &rules, attributes));
        let answer = |name, domain| ask_as(&snapshot, name, domain, &[]).expect("signs in");
        let of_a = "only=a.org\naccount=${null}\n";
        assert_eq!(answer("alice", "a.org") == of_a, alice, "{attributes:?}");
        assert_eq!(answer("bob", "a.org") == of_a, bob, "{attributes:?}");
        assert_eq!(answer("carol", "b.org") == "account=${null}\n", carol, "{attributes:?}");
    }
}

fn some_row() -> impl Strategy<Value = Row> {
    let name = select(&["alice", "bob", ""][..]);
    let domain = select(&["a.org", "b.org", ""][..]);
    let attribute = select(&["x", "disabled", "group"][..]);
    let value = select(&["1", "2", "no"][..]);
    let attributes = (1..9_i64, domain.clone(), name, attribute, value)
        .prop_map(|(id, domain, username, name, value)| attribute_row(id, (domain, username, name, value)));
    let subject = select(&["default", "alice", "user.group=1", "user.disabled=yes"][..]);
    let template = select(&["${user.x}", "${user.group:-none}", "fixed"][..]);
    let rules = (1..6_i64, domain.clone(), subject, select(&["k", "l"][..]), template)
        .prop_map(|(id, domain, subject, key, value)| rule_row(id, (domain, subject, id, key, value)));
    let users = (1..4_i64, select(&["a.org", "B.org"][..]), select(&["alice", "Bob"][..]))
        .prop_map(|(id, domain, name)| user_row(id, (domain, name, "pw")));
    prop_oneof![4 => attributes, 2 => rules, 1 => users]
}

proptest! {
    #[test]
    fn edits_give_the_same_snapshot_as_all_rows_at_once(
        edits in prop::collection::vec((some_row(), prop::bool::weighted(0.3)), 1..30), at_once in 1..6_usize,
    ) {
        let mut writer = Writer::new(plain());
        let mut rows: Vec<Row> = Vec::new();
        for some in edits.chunks(at_once) {
            let mut draft = writer.draft();
            for (row, is_gone) in some {
                rows.retain(|known| (known.table(), known.id()) != (row.table(), row.id()));
                if *is_gone {
                    draft.apply(Change::Gone(row.table(), row.id()));
                } else {
                    rows.push(row.clone());
                    draft.apply(Change::Put(row.clone()));
                }
            }
            draft.commit();
        }
        let (fresh, _) = Writer::build(plain(), rows.clone());
        prop_assert!(*writer.current() == *fresh);
        prop_assert_eq!(writer.current().counts().bytes, fresh.counts().bytes);
        for (name, domain) in [("alice", "a.org"), ("bob", "a.org"), ("alice", "b.org"), ("bob", "b.org")] {
            prop_assert_eq!(ask_as(writer.current(), name, domain, &[]), ask_as(&fresh, name, domain, &[]));
        }
        let Counts { users, rules, attributes, .. } = fresh.counts();
        prop_assert_eq!(writer.left_out(), rows.len() - users - rules - attributes);
        writer.begin_load();
        let mut draft = writer.draft_of_load();
        draft.sweep(|_, _| ());
        draft.commit();
        prop_assert!(*writer.current() == *Writer::build(plain(), []).0);
    }
}

#[test]
fn a_large_loss_of_attributes_is_withheld_and_comes_back() {
    let limits = LossLimits { max_shrink: 50, settle: Duration::ZERO, is_suspect: false };
    let users = [("a.org", "alice", "pw"), ("a.org", "bob", "pw")];
    let rules = [("", "default", 1, "sip", "${user.sip}")];
    let attributes = [
        ("a.org", "alice", "sip", "1"),
        ("a.org", "bob", "sip", "2"),
        ("a.org", "", "x", "3"),
        ("a.org", "", "y", "4"),
    ];
    let all = known(&users, &rules, &attributes);
    let mut writer = Writer::new(plain());
    let mut draft = writer.draft();
    for row in &all {
        draft.put(row);
    }
    draft.commit_within(&limits, Instant::now());
    let sip = |writer: &Writer, name| ask_as(writer.current(), name, "a.org", &[]).expect("signs in");

    // One of four is no large loss.
    let gone = |writer: &mut Writer, ids: &[i64]| {
        let mut draft = writer.draft();
        ids.iter().for_each(|id| draft.apply(Change::Gone(Table::UserAttribute, *id)));
        draft.commit_within(&limits, Instant::now()).summary
    };
    assert_eq!((gone(&mut writer, &[4]).withheld, writer.withheld().attributes), (0, 0));
    // With three of four, all of them are served again.
    assert_eq!(gone(&mut writer, &[1, 3]).withheld, 3);
    let withheld = writer.withheld();
    let tenant = WithheldTenant { domain: "a.org".into(), users: 0, rules: 0, attributes: 3 };
    assert_eq!((withheld.attributes, withheld.is_loss(), withheld.tenants), (3, true, vec![tenant]));
    assert_eq!((sip(&writer, "alice"), sip(&writer, "bob")), ("sip=1\n".into(), "sip=2\n".into()));
    assert_eq!(writer.left_out(), 0);
    // What is edited meanwhile is served at once.
    let mut draft = writer.draft();
    draft.apply(Change::Put(attribute_row(2, ("a.org", "bob", "sip", "20"))));
    draft.commit_within(&limits, Instant::now());
    assert_eq!(sip(&writer, "bob"), "sip=20\n");
    // It comes back with another value.
    let mut draft = writer.draft();
    draft.apply(Change::Put(attribute_row(1, ("a.org", "alice", "sip", "10"))));
    draft.apply(Change::Put(attribute_row(3, ("a.org", "", "x", "3"))));
    draft.commit_within(&limits, Instant::now());
    assert_eq!((writer.withheld().attributes, sip(&writer, "alice")), (0, "sip=10\n".into()));
    // A confirmed loss is final. The one that was lost first belongs to it.
    assert_eq!(gone(&mut writer, &[1, 2, 3]).withheld, 4);
    writer.draft().commit_losses();
    assert_eq!((writer.withheld(), sip(&writer, "alice")), (Withheld::default(), String::new()));
    assert_eq!(writer.current().counts().attributes, 0);
}
