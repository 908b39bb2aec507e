use super::*;
use crate::core::model::{Cell, Row, RuleRow, UserRow};
use proptest::prelude::*;

fn user(username: &str, password: &str) -> UserRow {
    UserRow::from_cells(0, [username.into(), "a.org".into(), password.into()])
}

fn rule(subject: &str, ppriority: i32, key: &str, value: &str) -> RuleRow {
    let (spriority, ppriority) = (Cell::Int(1), Cell::Int(ppriority.into()));
    RuleRow::from_cells(0, [Cell::Null, subject.into(), spriority, ppriority, key.into(), value.into()])
}

fn plan<T: Item>(there: Vec<T>, wanted: Vec<T>, replace: bool) -> Plan<T> {
    let there = (1..).zip(there.into_iter().map(Some)).collect();
    let wanted = (2..).zip(wanted).collect();
    Plan::new(there, wanted, replace, &Conventions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The contents of the table after the edits.
fn made(there: Vec<RuleRow>, edits: impl Iterator<Item = Edit>) -> Vec<(i64, RuleRow)> {
    let mut table: Vec<(i64, RuleRow)> = (1..).zip(there).collect();
    let mut last = table.len() as i64;
    let read = |row: Row| match row {
        Row::Rule(row) => {
            let rule = row.canonical(&Conventions::default()).unwrap_or_else(|why| panic!("{why}"));
            (row.id, RuleRow { id: 0, ..rule })
        }
        Row::User(_) | Row::Attribute(_) => panic!("no rule"),
    };
    for edit in edits {
        match edit {
            Edit::Add(row) => {
                last += 1;
                table.push((last, read(row).1));
            }
            Edit::Set(row, _) => {
                let (id, rule) = read(row);
                table.iter_mut().find(|(known, _)| *known == id).expect("a row").1 = rule;
            }
            Edit::Remove(_, id) => table.retain(|(known, _)| *known != id),
            Edit::Restore(_) => panic!("a plan restores nothing"),
        }
    }
    table.sort_by_key(|(id, rule)| (rule.order(), *id));
    table
}

#[test]
fn users_are_matched_as_the_server_compares_them() {
    let there = || vec![user("alice", "1"), user("bob", "2"), user("ALICE", "3"), user("carol", "4")];
    let wanted = || vec![user("Alice", "1"), user("bob", "x"), user("carol", "4"), user("dave", "5")];
    let without = plan(there(), wanted(), false);
    assert_eq!(without.counts, PlanCounts { added: 1, set: 2, removed: 0, kept: 1 });
    let lines = ["~ Alice@a.org (username)", "~ bob@a.org (password)", "+ dave@a.org"];
    assert_eq!(without.lines(9, &Conventions::default()), lines);
    assert_eq!(without.lines(1, &Conventions::default()), [lines[0], "~ ... and 1 more", lines[2]]);
    let with = plan(there(), wanted(), true);
    assert_eq!(with.lines(9, &Conventions::default())[0], "- ALICE@a.org");
    assert_eq!(with.counts.edits(), with.edits().count());
}

#[test]
fn a_user_who_is_in_the_file_twice_is_an_error() {
    let wanted = vec![(2, user("alice", "1")), (3, user("bob", "1")), (4, user("ALICE ", "1"))];
    let error = Plan::new(Vec::new(), wanted, false, &Conventions::default()).err().expect("refused");
    assert_eq!(error.to_string(), "line 4: ALICE @a.org is in line 2 already: leave out one of them");
}

#[test]
fn rows_that_cannot_be_used_go_only_when_everything_is_replaced() {
    let there = || vec![(7, None), (8, Some(user("alice", "1")))];
    let exact = Conventions { comparison: Comparison::Exact, ..Conventions::default() };
    let plan = |replace| Plan::new(there(), vec![(2, user("alice", "1"))], replace, &exact);
    assert_eq!(plan(false).expect("a plan").counts.edits(), 0);
    let lines = plan(true).expect("a plan").lines(9, &Conventions::default());
    assert_eq!(lines, ["- user_auth id 7, which cannot be used"]);
}

#[test]
fn a_key_that_java_reads_alike_is_the_same_one() {
    let there = || vec![rule("a", 1, "x\\:y", "v"), rule("a", 1, "z${arch}\\u0041", "v")];
    let wanted = vec![rule("a", 1, "z$arch\\A", "v"), rule("a", 1, "x\\u003ay", "w")];
    let plan = plan(there(), wanted, false);
    let changed = ["~ a of all tenants: z$arch\\A (key)", "~ a of all tenants: x\\u003ay (key, value)"];
    assert_eq!(plan.lines(9, &Conventions::default()), changed);
}

#[test]
fn a_password_that_a_subject_names_is_not_shown() {
    let plan = plan(vec![], vec![rule("password=hunter2", 1, "k", "v")], false);
    assert_eq!(plan.lines(9, &Conventions::default()), ["+ password=*** of all tenants: k"]);
}

#[test]
fn rules_of_one_key_are_matched_in_the_order_in_which_they_count() {
    let there = || vec![rule("a", 20, "k", "second"), rule("a", 10, "k", "first")];
    let wanted = || vec![rule("A", 20, "k", "second"), rule("A", 10, "k", "first")];
    let plan = |wanted| plan(there(), wanted, false).lines(9, &Conventions::default());
    assert_eq!(plan(wanted()), ["~ A of all tenants: k (subject)"; 2]);
    // The rule with equal priority is chosen, not one that overrides it.
    let changed = ["~ a of all tenants: k (value)"];
    assert_eq!(plan(vec![rule("a", 20, "k", "other")]), changed);
    // A rule that already exists is not mistaken for another one.
    assert_eq!(plan(vec![rule("a", 20, "k", "second")]), [""; 0]);
}

proptest! {
    #[test]
    fn what_is_replaced_says_what_the_file_says_in_its_order(
        there in prop::collection::vec((0..3_i32, "[ab]", "[kl]", "[vw]"), 0..8),
        wanted in prop::collection::vec((0..3_i32, "[ab]", "[kl]", "[vw]"), 0..8),
    ) {
        let rules = |texts: &[(i32, String, String, String)]| -> Vec<RuleRow> {
            texts.iter().map(|(ppriority, subject, key, value)| rule(subject, *ppriority, key, value)).collect()
        };
        let plan = plan(rules(&there), rules(&wanted), true);
        prop_assert!(plan.counts.added + plan.counts.set + plan.counts.kept == wanted.len());
        let table = made(rules(&there), plan.edits());
        let mut expected = rules(&wanted);
        expected.sort_by_key(Item::order);
        prop_assert!(table.into_iter().map(|(_, rule)| rule).collect::<Vec<_>>() == expected);
    }

    #[test]
    fn a_second_import_finds_all_of_the_first(
        there in prop::collection::vec((0..3_i32, "[ab]", "[kl]", "[vw]"), 0..8),
        wanted in prop::collection::vec((0..3_i32, "[ab]", "[kl]", "[vw]"), 0..8),
        replace: bool,
    ) {
        let rules = |texts: &[(i32, String, String, String)]| -> Vec<RuleRow> {
            texts.iter().map(|(ppriority, subject, key, value)| rule(subject, *ppriority, key, value)).collect()
        };
        let table = made(rules(&there), plan(rules(&there), rules(&wanted), replace).edits());
        let table = table.into_iter().map(|(_, rule)| rule).collect();
        prop_assert_eq!(plan(table, rules(&wanted), replace).counts.edits(), 0);
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone(
        there in prop::collection::vec((0..3_i32, "[ab]", "[kl]", "[vw]"), 0..8),
    ) {
        let rules = || there.iter().map(|(ppriority, subject, key, value)| rule(subject, *ppriority, key, value));
        let mut in_order: Vec<RuleRow> = rules().collect();
        in_order.sort_by_key(Item::order);
        let plan = plan(rules().collect(), in_order, true);
        prop_assert_eq!(plan.counts.edits(), 0);
    }
}
