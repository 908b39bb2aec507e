//! Tests of losses that are withheld.

use super::*;
use crate::core::model::Table;

const LIMITS: LossLimits = LossLimits { max_shrink: 50, settle: Duration::from_secs(10), is_suspect: false };

/// A writer, the rows of its source, and the time.
struct Node {
    writer: Writer,
    rows: Vec<Row>,
    now: Instant,
}

/// How the node reads its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Poll,
    Load,
}

impl Node {
    /// `tenants` tenants with `users` users each, two rules each, and a rule for everyone.
    fn new(options: Conventions, tenants: usize, users: usize) -> Node {
        let mut rows = vec![rule_row(1, ("", "default", 1000, "all", "v"))];
        for tenant in 0..tenants {
            let domain = format!("t{tenant}.org");
            for user in 0..users {
                let (id, name) = ((tenant * users + user + 1) as i64, format!("u{user}"));
                rows.push(user_row(id, (&domain, &name, &format!("pw{id}"))));
                rows.push(rule_row(id + 1, (&domain, &name, 1, "own", "v")));
            }
        }
        let mut node = Node { writer: Writer::new(options), rows: Vec::new(), now: Instant::now() };
        node.read(Read::Load, rows);
        node
    }

    /// Reads `rows`, which are all rows of the source now.
    fn read(&mut self, read: Read, rows: Vec<Row>) -> Committed {
        let before = std::mem::replace(&mut self.rows, rows);
        if read == Read::Load {
            self.writer.begin_load();
            let mut draft = self.writer.draft_of_load();
            for row in &self.rows {
                draft.put(row);
            }
            draft.sweep(|_, _| ());
            return draft.commit_within(&LIMITS, self.now);
        }
        let key = |row: &Row| (row.table(), row.id());
        let mut draft = self.writer.draft();
        for row in before.iter().filter(|old| !self.rows.iter().any(|row| key(row) == key(old))) {
            draft.apply(Change::Gone(row.table(), row.id()));
        }
        for row in self.rows.iter().filter(|row| !before.contains(row)) {
            draft.apply(Change::Put(row.clone()));
        }
        draft.commit_within(&LIMITS, self.now)
    }

    fn change(&mut self, read: Read, change: impl FnOnce(&mut Vec<Row>)) {
        let mut rows = self.rows.clone();
        change(&mut rows);
        self.read(read, rows);
    }

    fn signs_in(&self, domain: &str, name: &str, password: &str) -> bool {
        let params = [("username", name), ("domain", domain), ("password", password)];
        ask(self.writer.current(), &params).is_some()
    }

    fn is_certain(&self, domain: &str, name: &str) -> bool {
        let fold = |name: &str| self.writer.current().fold(name);
        self.writer.current().is_certain(&fold(domain), &fold(name), LIMITS.settle, self.now)
    }

    /// The users of the first rows who are refused.
    fn refused(&self, tenants: usize, users: usize) -> Vec<String> {
        let mut refused = Vec::new();
        for tenant in 0..tenants {
            for user in 0..users {
                let (domain, name) = (format!("t{tenant}.org"), format!("u{user}"));
                if !self.signs_in(&domain, &name, &format!("pw{}", tenant * users + user + 1)) {
                    refused.push(format!("{name}@{domain}"));
                }
            }
        }
        refused
    }

    /// How many rows are left out by the rows themselves.
    fn assert_counts(&self) {
        let (fresh, _) = Writer::build(plain(), self.rows.iter().cloned());
        let Counts { users, rules, .. } = fresh.counts();
        assert_eq!(self.writer.left_out(), self.rows.len() - users - rules);
    }
}

fn set(row: &mut Row, column: usize, cell: Cell) {
    let mut cells: Vec<Cell> = row.cells().cloned().collect();
    cells[column] = cell;
    *row = Row::from_cells(row.table(), row.id(), cells);
}

fn users(rows: &mut [Row]) -> impl Iterator<Item = &mut Row> {
    rows.iter_mut().filter(|row| row.table() == Table::UserAuth)
}

fn text(row: &Row, column: usize) -> String {
    row.cells().nth(column).expect("a column").text().expect("text").unwrap_or_default().into_owned()
}

const NAME: usize = 0;
const DOMAIN: usize = 1;
const PASSWORD: usize = 2;

type Mistake = (&'static str, fn(&mut Vec<Row>));

const MISTAKES: [Mistake; 9] = [
    ("all users deleted", |rows| rows.retain(|row| row.table() != Table::UserAuth)),
    ("everything deleted", Vec::clear),
    ("a tenant deleted", |rows| {
        rows.retain(|row| row.table() != Table::UserAuth || text(row, DOMAIN) != "t0.org")
    }),
    ("passwords NULL", |rows| users(rows).for_each(|row| set(row, PASSWORD, Cell::Null))),
    ("passwords x", |rows| users(rows).for_each(|row| set(row, PASSWORD, "x".into()))),
    ("passwords hashed", |rows| {
        users(rows).for_each(|row| {
            let digest = format!("{:x}", md5::compute(text(row, PASSWORD)));
            set(row, PASSWORD, digest.as_str().into());
        });
    }),
    ("domains mistyped", |rows| {
        users(rows).for_each(|row| {
            let domain = format!("{}.", text(row, DOMAIN));
            set(row, DOMAIN, domain.as_str().into());
        });
    }),
    ("names with domains", |rows| {
        users(rows).for_each(|row| {
            let name = format!("{}@{}", text(row, NAME), text(row, DOMAIN));
            set(row, NAME, name.as_str().into());
        });
    }),
    ("another database", |rows| {
        *rows = vec![user_row(1, ("other.org", "eve", "pw")), rule_row(1, ("", "default", 1, "other", "v"))];
    }),
];

#[test]
fn no_mistake_keeps_anybody_out_and_what_is_added_meanwhile_is_served() {
    for (tenants, each) in [(1, 2), (1, 15), (1, 60), (4, 2), (20, 3)] {
        for (mistake, make) in MISTAKES {
            for read in [Read::Poll, Read::Load] {
                let mut node = Node::new(plain(), tenants, each);
                let what = format!("{mistake}, {tenants} tenants of {each}, {read:?}");
                node.change(read, |rows| {
                    make(rows);
                    rows.push(user_row(9_999, ("new.org", "new", "pw")));
                    rows.push(rule_row(9_999, ("new.org", "default", 2, "new", "v")));
                });
                assert_eq!(node.refused(tenants, each), Vec::<String>::new(), "{what}");
                assert!(!node.is_certain("t0.org", "u0"), "{what}");
                let new = ask_as(node.writer.current(), "new", "new.org", &[]);
                assert!(new.is_some_and(|answer| answer.contains("new=v\n")), "{what}");
                assert!(node.writer.withheld().is_loss(), "{what}");
                node.assert_counts();
                // Time and loads without news change nothing.
                for _ in 0..3 {
                    node.now += LIMITS.settle;
                    node.change(Read::Load, |_| ());
                }
                assert_eq!(node.refused(tenants, each), Vec::<String>::new(), "{what}");

                // An operator says that this was intended.
                node.writer.draft().commit_losses();
                assert!(!node.writer.withheld().is_loss(), "{what}");
                assert!(node.refused(tenants, each).contains(&"u0@t0.org".to_owned()), "{what}");
                let (fresh, _) = Writer::build(plain(), node.rows.iter().cloned());
                assert!(*node.writer.current() == *fresh, "{what}");
                node.assert_counts();
            }
        }
    }
}

/// Which is how a poll often sees it: first the mistake, then what is added meanwhile.
#[test]
fn what_is_added_later_releases_no_loss() {
    for (tenants, each) in [(1, 2), (1, 15), (4, 3)] {
        for (mistake, make) in MISTAKES {
            for read in [Read::Poll, Read::Load] {
                let mut node = Node::new(plain(), tenants, each);
                let what = format!("{mistake}, {tenants} tenants of {each}, {read:?}");
                node.change(read, make);
                for id in 9_000..9_020 {
                    node.now += Duration::from_secs(1);
                    node.change(read, |rows| {
                        let domain = format!("t{}.org", id % 2);
                        rows.push(user_row(id, (&domain, &format!("new{id}"), &format!("secret{id}"))));
                    });
                    assert_eq!(node.refused(tenants, each), Vec::<String>::new(), "{what}, {id}");
                }
                for _ in 0..3 {
                    node.now += LIMITS.settle;
                    node.change(Read::Load, |_| ());
                }
                assert_eq!(node.refused(tenants, each), Vec::<String>::new(), "{what}");
                // Neither does time, nor what else happens to the tenant then.
                node.now += 2 * LOSS_WINDOW;
                node.change(read, |rows| {
                    let last = users(rows).find(|row| row.id() == 9_000).expect("a user");
                    set(last, PASSWORD, "another".into());
                });
                for _ in 0..3 {
                    node.now += LIMITS.settle;
                    node.change(Read::Load, |_| ());
                }
                assert_eq!(node.refused(tenants, each), Vec::<String>::new(), "{what}");
                assert!(node.signs_in("t0.org", "new9000", "another"), "{what}");
                node.assert_counts();
            }
        }
    }
}

#[test]
fn users_deleted_one_after_another_are_served_again_when_they_are_too_many() {
    let mut node = Node::new(plain(), 1, 10);
    for id in 1..=9 {
        node.change(Read::Poll, |rows| rows.retain(|row| (row.table(), row.id()) != (Table::UserAuth, id)));
        node.now += Duration::from_secs(60);
        assert_eq!(node.refused(1, 10).len(), if id <= 5 { id as usize } else { 0 }, "{id}");
    }
}

#[test]
fn a_few_deleted_users_are_gone_at_once_but_not_for_certain() {
    let mut node = Node::new(plain(), 1, 15);
    node.change(Read::Poll, |rows| rows.retain(|row| (row.table(), row.id()) != (Table::UserAuth, 1)));
    assert_eq!(node.refused(1, 15), ["u0@t0.org"]);
    assert!(!node.is_certain("t0.org", "u0") && node.is_certain("t0.org", "u1"));
    node.now += LIMITS.settle;
    assert!(node.is_certain("t0.org", "u0"));
    assert_eq!(node.writer.withheld(), Withheld::default());
}

#[test]
fn users_who_came_after_the_first_loss_count_too() {
    let mut node = Node::new(plain(), 1, 1);
    node.change(Read::Poll, |rows| set(users(rows).next().expect("a user"), PASSWORD, "new".into()));
    node.change(Read::Poll, |rows| rows.push(user_row(8, ("t0.org", "bob", "pw"))));
    node.change(Read::Poll, |rows| rows.retain(|row| (row.table(), row.id()) != (Table::UserAuth, 1)));
    assert_eq!((node.writer.withheld(), node.refused(1, 1).len()), (Withheld::default(), 1));
    node.change(Read::Poll, |rows| rows.retain(|row| (row.table(), row.id()) != (Table::UserAuth, 8)));
    assert_eq!(node.writer.withheld().users, 2, "now the tenant has none left");
}

#[test]
fn a_changed_password_counts_at_once_and_the_old_one_is_not_wrong_for_certain() {
    let mut node = Node::new(plain(), 1, 3);
    node.change(Read::Poll, |rows| set(users(rows).next().expect("a user"), PASSWORD, "new".into()));
    assert!(node.signs_in("t0.org", "u0", "new") && !node.signs_in("t0.org", "u0", "pw1"));
    assert!(!node.is_certain("t0.org", "u0"));
    node.change(Read::Poll, |rows| set(users(rows).next().expect("a user"), PASSWORD, "pw1".into()));
    assert!(node.signs_in("t0.org", "u0", "pw1"));
}

#[test]
fn all_users_with_new_passwords_are_no_loss() {
    let mut node = Node::new(plain(), 2, 10);
    node.change(Read::Poll, |rows| {
        users(rows).for_each(|row| {
            let password = format!("new{}", row.id());
            set(row, PASSWORD, password.as_str().into());
        });
    });
    assert!(node.signs_in("t1.org", "u0", "new11"));
    assert_eq!(node.writer.withheld(), Withheld::default());
}

#[test]
fn rows_with_other_ids_are_no_loss() {
    for read in [Read::Poll, Read::Load] {
        let mut node = Node::new(plain(), 3, 4);
        node.change(read, |rows| {
            *rows = rows
                .drain(..)
                .map(|row| {
                    let id = row.id() + 1000;
                    row.with_id(id)
                })
                .collect();
        });
        assert!(!node.writer.withheld().is_loss(), "{read:?} {:?}", node.writer.withheld());
        assert_eq!(node.refused(3, 4), Vec::<String>::new());
    }
}

#[test]
fn a_table_that_is_emptied_and_filled_again_never_shows() {
    for read in [Read::Poll, Read::Load] {
        let mut node = Node::new(plain(), 2, 8);
        let all = node.rows.clone();
        let empty = |rows: &mut Vec<Row>| rows.retain(|row| row.table() != Table::UserAuth);
        node.change(read, empty);
        for row in all.iter().filter(|row| row.table() == Table::UserAuth) {
            node.now += Duration::from_secs(5);
            node.change(read, |rows| rows.push(row.clone()));
            assert_eq!(node.refused(2, 8), Vec::<String>::new(), "{read:?}");
        }
        assert_eq!(node.writer.withheld(), Withheld::default(), "{read:?}");
        assert!(node.is_certain("t0.org", "u0"));
        node.assert_counts();
    }
}

#[test]
fn what_a_load_misses_is_gone_when_a_later_load_misses_it_too_and_nothing_else_moved() {
    let mut node = Node::new(plain(), 1, 15);
    node.now += Duration::from_secs(60);
    node.change(Read::Load, |rows| {
        rows.retain(|row| row.table() != Table::UserAuth || row.id() > 3);
    });
    assert_eq!((node.refused(1, 15).len(), node.writer.withheld().unsettled), (0, 3));
    // One of them comes back, so the table may be about to be filled.
    node.now += LIMITS.settle;
    node.change(Read::Load, |rows| rows.push(user_row(3, ("t0.org", "u2", "pw3"))));
    assert_eq!((node.refused(1, 15).len(), node.writer.withheld().unsettled), (0, 2));
    node.now += LIMITS.settle / 2;
    node.change(Read::Load, |_| ());
    assert_eq!(node.refused(1, 15).len(), 0);
    node.now += LIMITS.settle;
    node.change(Read::Load, |_| ());
    assert_eq!(node.refused(1, 15), ["u0@t0.org", "u1@t0.org"]);
    assert_eq!(node.writer.withheld(), Withheld::default());
    node.assert_counts();
}

#[test]
fn most_of_what_was_withheld_comes_back_and_the_rest_goes_when_the_table_is_quiet() {
    let mut node = Node::new(plain(), 1, 10);
    let all = node.rows.clone();
    node.change(Read::Poll, |rows| rows.retain(|row| row.table() != Table::UserAuth));
    assert_eq!(node.writer.withheld().users, 10);
    node.read(
        Read::Poll,
        all.into_iter().filter(|row| row.table() != Table::UserAuth || row.id() > 2).collect(),
    );
    assert_eq!((node.refused(1, 10).len(), node.writer.withheld().unsettled), (0, 2));
    node.now += LIMITS.settle;
    node.change(Read::Load, |_| ());
    assert_eq!(node.refused(1, 10), ["u0@t0.org", "u1@t0.org"]);
}

#[test]
fn of_an_older_state_of_the_source_every_loss_is_withheld() {
    let mut node = Node::new(plain(), 1, 15);
    let rows: Vec<Row> =
        node.rows.iter().filter(|row| row.table() != Table::UserAuth || row.id() != 7).cloned().collect();
    node.rows = rows.clone();
    node.writer.begin_load();
    let mut draft = node.writer.draft_of_load();
    rows.iter().for_each(|row| _ = draft.put(row));
    draft.sweep(|_, _| ());
    draft.commit_within(&LossLimits { is_suspect: true, ..LIMITS }, node.now);
    assert_eq!((node.writer.withheld().users, node.refused(1, 15).len()), (1, 0));
    node.now += LIMITS.settle;
    node.change(Read::Load, |_| ());
    assert_eq!((node.writer.withheld().users, node.refused(1, 15).len()), (1, 0));
    node.change(Read::Poll, |rows| rows.push(user_row(7, ("t0.org", "u6", "pw7"))));
    assert_eq!(node.writer.withheld(), Withheld::default());
}

#[test]
fn rules_are_withheld_by_number_and_a_changed_rule_counts() {
    let mut node = Node::new(plain(), 2, 6);
    let own = |node: &Node, key: &str| {
        let params = [("username", "u0"), ("domain", "t0.org"), ("password", "pw1")];
        ask(node.writer.current(), &params).is_some_and(|answer| answer.contains(key))
    };
    node.change(Read::Poll, |rows| {
        rows.retain(|row| row.table() == Table::UserAuth || row.id() == 2);
        let rule = rows.iter_mut().find(|row| row.table() == Table::JitsiProperty).expect("a rule");
        *rule = rule_row(2, ("t0.org", "u0", 1, "own", "changed"));
    });
    assert!(own(&node, "own=changed\n") && own(&node, "all=v\n"));
    assert_eq!((node.writer.withheld().users, node.writer.withheld().rules), (0, 12));
    node.assert_counts();
    // Rules of other ids take the place of the lost ones.
    node.change(Read::Poll, |rows| {
        for id in 100..112 {
            rows.push(rule_row(id, ("", "default", 1, &format!("k{id}"), "v")));
        }
    });
    let Withheld { rules, unsettled, .. } = node.writer.withheld();
    assert_eq!((rules, unsettled), (11, 1), "the tenants still lack theirs");
    node.writer.draft().commit_losses();
    assert!(own(&node, "own=changed\n") && !own(&node, "all=v\n"));
    node.assert_counts();
}

#[test]
fn a_loss_is_forgotten_after_an_hour_unless_it_is_withheld() {
    let mut node = Node::new(plain(), 1, 10);
    let gone = |ids: std::ops::RangeInclusive<i64>| {
        move |rows: &mut Vec<Row>| {
            rows.retain(|row| row.table() != Table::UserAuth || !ids.contains(&row.id()))
        }
    };
    node.change(Read::Poll, gone(1..=4));
    node.now += LOSS_WINDOW + Duration::from_secs(1);
    node.change(Read::Poll, gone(5..=7));
    assert_eq!(node.writer.withheld(), Withheld::default());
    node.change(Read::Poll, gone(8..=9));
    assert_eq!(node.writer.withheld().users, 5, "of the six that were left an hour ago");
    node.now += 2 * LOSS_WINDOW;
    node.change(Read::Poll, |rows| rows.push(user_row(99, ("t0.org", "new", "pw"))));
    assert_eq!(node.writer.withheld().users, 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn whatever_happens_a_confirmation_leads_to_what_the_rows_say(
        changes in prop::collection::vec((any_change(), 0..4_u64, any::<bool>()), 1..60),
    ) {
        let mut node = Node { writer: Writer::new(plain()), rows: Vec::new(), now: Instant::now() };
        for (change, seconds, is_load) in changes {
            node.now += Duration::from_secs(seconds * 7);
            node.change(if is_load { Read::Load } else { Read::Poll }, |rows| {
                let (table, id) = match &change {
                    Change::Put(row) => (row.table(), row.id()),
                    Change::Gone(table, id) => (*table, *id),
                };
                rows.retain(|row| (row.table(), row.id()) != (table, id));
                if let Change::Put(row) = change {
                    rows.push(row);
                }
            });
            node.assert_counts();
        }
        node.writer.draft().commit_losses();
        let (fresh, _) = Writer::build(plain(), node.rows.iter().cloned());
        prop_assert!(*node.writer.current() == *fresh);
        node.assert_counts();
    }
}
