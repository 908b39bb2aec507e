use hashbrown::HashSet;
use proptest::prelude::*;

use super::*;
use crate::core::params::Params;
use crate::core::properties::{self, Side};

/// A list with one rule.
fn rule(order: (i32, i32, i64), key: &str, value: &str) -> Rules {
    let (spriority, ppriority, id) = order;
    let order = RuleOrder { spriority: Some(spriority), ppriority: Some(ppriority), id };
    Rules::default().with(|_| false, vec![compiled(order, key, value)])
}

fn compiled(order: RuleOrder, key: &str, value: &str) -> Compiled {
    let value = Template::parse(value, Side::Value, |_| {});
    Compiled { order, key: Arc::new(CompiledKey::parse(key, |_| {})), value }
}

fn each(lists: &[Rules]) -> Vec<RuleRef<'_>> {
    lists.iter().flat_map(Rules::iter).collect()
}

fn params(pairs: &[(&str, &str)]) -> Params {
    [("username", "alice"), ("domain", "a.org"), ("password", "pw")]
        .into_iter()
        .chain(pairs.iter().copied())
        .collect()
}

fn text(base: &[Rules], extras: &[Rules], pairs: &[(&str, &str)]) -> String {
    let set = RuleSet::merge(each(base));
    let answer = answer(&set, &each(extras), &params(pairs));
    String::from_utf8(answer.body).expect("ASCII")
}

#[test]
fn a_null_priority_sorts_before_every_number() {
    let order = |spriority, ppriority, id| RuleOrder { spriority, ppriority, id };
    let sorted = [
        order(None, None, 9),
        order(None, Some(i32::MIN), 1),
        order(Some(i32::MIN), None, 1),
        order(Some(1), Some(5), 2),
        order(Some(1), Some(5), 10),
        order(Some(2), Some(-1), 1),
    ];
    assert!(sorted.is_sorted());
}

#[test]
fn the_first_rule_of_a_key_wins_and_stands_at_its_own_place() {
    let base = [rule((10, 1, 1), "a", "1"), rule((10, 2, 2), "b", "2"), rule((10, 3, 3), "a", "3")];
    assert_eq!(text(&base, &[], &[]), "a=1\nb=2\n");
    assert_eq!(text(&base, &[rule((5, 0, 9), "b", "x")], &[]), "b=x\na=1\n");
    assert_eq!(text(&base, &[rule((10, 1, 9), "b", "x")], &[]), "a=1\nb=x\n");
    assert_eq!(text(&base, &[rule((10, 2, 9), "b", "x")], &[]), "a=1\nb=2\n");
    assert_eq!(text(&base, &[rule((20, 0, 9), "c", "x")], &[]), "a=1\nb=2\nc=x\n");
}

#[test]
fn a_rule_without_its_parameter_leaves_the_key_to_the_next() {
    let base = [rule((1, 1, 1), "a", "$osname"), rule((1, 1, 2), "a", "$arch"), rule((1, 1, 3), "a", "z")];
    assert_eq!(text(&base, &[], &[("osname", "Linux")]), "a=Linux\n");
    assert_eq!(text(&base, &[], &[("arch", "arm")]), "a=arm\n");
    assert_eq!(text(&base, &[], &[]), "a=z\n");
    let set = RuleSet::merge(each(&base));
    let answer = answer(&set, &[], &params(&[]));
    assert_eq!(answer.skipped.iter().map(|skipped| skipped.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(answer.skipped[0].missing.to_string(), "osname");
}

#[test]
fn keys_are_compared_as_the_client_reads_them() {
    let base = [
        rule((1, 1, 1), "acc.$username", "1"),
        rule((1, 1, 2), "acc.alice", "2"),
        rule((1, 1, 3), "acc\\u002Ealice", "3"),
        rule((1, 1, 4), " acc.alice", "4"),
        rule((1, 1, 5), "acc.bob", "5"),
    ];
    assert_eq!(text(&base, &[], &[]), "acc.alice=1\nacc.bob=5\n");
    assert_eq!(
        text(&base[1..], &[rule((0, 0, 9), "acc.$x", "x")], &[("x", "bob")]),
        "acc.bob=x\nacc.alice=2\n"
    );
}

#[test]
fn null_on_a_subtree_precedes_what_is_set_inside_it() {
    let base = [rule((1, 1, 1), "acc", "${null}"), rule((1, 2, 2), "acc.x", "1")];
    assert_eq!(text(&base, &[rule((1, 1, 3), "acc.y", "2")], &[]), "acc=${null}\nacc.y=2\nacc.x=1\n");
}

/// A literal implementation of the specification, without any shortcuts.
fn reference(base: &[Rules], extras: &[Rules], params: &Params) -> String {
    let mut all = [each(base), each(extras)].concat();
    all.sort_by_key(|rule| rule.order());
    let (mut taken, mut out) = (Vec::new(), Vec::new());
    for rule in all {
        if rule.missing(params).is_some() {
            continue;
        }
        let mut key = Vec::new();
        rule.key().render(params, &mut key);
        let seen = properties::client_key(&key);
        if taken.contains(&seen) {
            continue;
        }
        taken.push(seen);
        out.extend(key);
        out.push(b'=');
        rule.value().render(params, &mut out);
        out.push(b'\n');
    }
    String::from_utf8(out).expect("ASCII")
}

fn any_rules(ids: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Rules>> {
    let key = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "d.e",
        " a",
        "\\u0061",
        "$osname",
        "x.$username",
        "x.alice",
        "${arch}",
        "${arch:-a}",
        "x.${username:lower}",
        "${arch:upper:-a}",
    ]);
    let value = prop::sample::select(vec!["1", "", "$osname", "${arch:-z}", "$username", "${null}", "é"]);
    let order = (0..3, 0..3, ids);
    prop::collection::vec((order, key, value), 0..12).prop_map(|rules| {
        let mut ids = HashSet::new();
        let mut rules: Vec<Rules> = rules
            .into_iter()
            .filter(|(order, ..)| ids.insert(order.2))
            .map(|(order, key, value)| rule(order, key, value))
            .collect();
        rules.sort_by_key(|list| list.iter().next().map(RuleRef::order));
        rules
    })
}

#[test]
fn keys_with_different_forms_are_different_properties() {
    let identity = |text: &str| CompiledKey::parse(text, |_| ()).identity();
    assert_eq!(identity("acc${username:id}"), identity("a\\u0063c${username:id}"));
    for other in ["acc${username}", "acc${username:lower}", "acc${username:id:-x}", "acc${uuid:id}"] {
        assert_ne!(identity("acc${username:id}"), identity(other), "{other}");
    }
}

#[test]
fn a_list_is_in_order_and_compact_whatever_was_put_in_and_taken_out() {
    let order = |priority, id| RuleOrder { spriority: Some(priority), ppriority: None, id };
    let (a, b) = (compiled(order(1, 2), "a", "é$username"), compiled(order(2, 4), "b", "$domain"));
    let c = compiled(order(3, 1), "c", "${arch:-x} and $osname");
    let gone = compiled(order(2, 3), "b", "$uuid gone");
    let list = Rules::default().with(|_| false, vec![c.clone(), a.clone(), gone]);
    assert!(list.has(3));
    let list = list.with(|id| id == 3, vec![b.clone()]);
    assert!(!list.has(3));
    assert_eq!(list.iter().map(|rule| rule.order().id).collect::<Vec<_>>(), [2, 4, 1]);
    let straight = Rules::default().with(|_| true, vec![a, b, c]);
    assert!(list == straight && list.heap_bytes() == straight.heap_bytes());
    assert_eq!(text(&[list], &[], &[("osname", "Linux")]), "a=\\u00E9alice\nb=a.org\nc=x and Linux\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_answer_is_that_of_the_plain_algorithm(
        base in any_rules(0..40),
        extras in any_rules(40..80),
        osname in prop::option::of(prop::sample::select(vec!["a", "b", "x.alice", "q"])),
        arch in prop::option::of(prop::sample::select(vec!["a", "d.e", ""])),
    ) {
        let pairs: Vec<_> = osname.map(|v| ("osname", v)).into_iter().chain(arch.map(|v| ("arch", v))).collect();
        prop_assert_eq!(text(&base, &extras, &pairs), reference(&base, &extras, &params(&pairs)));
    }
}
