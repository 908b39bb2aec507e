//! Compares what a node serves with what the database contains, row by row.
//!
//! Rows are edited during the comparison, and a node is always slightly behind. So both sides are
//! read several times, and a row is reported only if the node has not followed in that time.

mod served;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::core::model::Table;

pub use served::{NotARow, ServedRows};

/// A row's table and id.
pub type RowKey = (Table, i64);

/// A row that is different on both sides.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its table.
    pub table: String,
    /// Its id.
    pub id: i64,
    /// `not served`, `gone` from the database, or `other`.
    pub what: &'static str,
    /// The user, or the rule's subject and key; `None` for rows that are gone.
    pub row: Option<String>,
}

/// The hashes of a row on both sides; `None` for a side that does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sides {
    database: Option<u64>,
    node: Option<u64>,
}

impl Sides {
    /// Whether the row still differs, and at least one side still has the hash that it had in
    /// `first`. If both sides have changed since then, the node has taken over an edit and is only
    /// behind a later one, which is not reported.
    fn is_stuck_since(self, first: Sides) -> bool {
        let is_same = self.database == self.node;
        !is_same && (self.database == first.database || self.node == first.node)
    }
}

/// A row that is different on both sides, with its first and its current hashes.
#[derive(Debug)]
struct Differing {
    first: Sides,
    now: Sides,
    name: Option<String>,
}

/// The result of reading both sides once.
#[derive(Debug)]
pub struct Look {
    /// The number of rows in the database.
    pub rows: usize,
    differing: BTreeMap<RowKey, Differing>,
}

impl Look {
    /// Whether all rows are the same.
    pub fn agrees(&self) -> bool {
        self.differing.is_empty()
    }

    /// The rows that differ: first those in the database, then those that are gone.
    pub fn differences(self) -> Vec<Difference> {
        let mut differences: Vec<Difference> = self.differing.into_iter().map(Difference::new).collect();
        differences.sort_by_key(|one| one.row.is_none());
        differences
    }
}

impl Difference {
    fn new((key, Differing { now, name, .. }): (RowKey, Differing)) -> Difference {
        let what = match now {
            Sides { database: None, .. } => "gone",
            Sides { node: None, .. } => "not served",
            _ => "other",
        };
        Difference { table: key.0.to_string(), id: key.1, what, row: name }
    }
}

/// A comparison in progress. It has the rows that the node serves, and receives the rows of the
/// database one by one.
pub struct Comparison<'b> {
    served: ServedRows,
    before: Option<&'b Look>,
    look: Look,
}

impl<'b> Comparison<'b> {
    /// Starts a comparison. If `before` is given, only rows that differed then are compared: the
    /// node may not know later edits yet.
    pub fn new(served: ServedRows, before: Option<&'b Look>) -> Comparison<'b> {
        Comparison { served, before, look: Look { rows: 0, differing: BTreeMap::new() } }
    }

    /// Compares a row of the database by its hash. `name` is shown if the row differs.
    pub fn row(&mut self, key: RowKey, hash: u64, name: impl FnOnce() -> Option<String>) {
        // The first of several rows with the same id counts, as on the node.
        let Ok(node) = self.served.take(key) else { return };
        self.compare(key, Sides { database: Some(hash), node }, name);
        self.look.rows += 1;
    }

    /// Returns the result, after the last row of the database.
    pub fn finish(mut self) -> Look {
        for (key, hash) in std::mem::take(&mut self.served).left() {
            self.compare(key, Sides { database: None, node: Some(hash) }, || None);
        }
        self.look
    }

    fn compare(&mut self, key: RowKey, now: Sides, name: impl FnOnce() -> Option<String>) {
        let first = self.before.map_or(Some(now), |before| Some(before.differing.get(&key)?.first));
        if let Some(first) = first.filter(|first| now.is_stuck_since(*first)) {
            self.look.differing.entry(key).or_insert_with(|| Differing { first, now, name: name() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_stuck_unless_it_agrees_or_both_moved_on() {
        let sides = |database, node| Sides { database, node };
        let first = sides(Some(2), Some(1));
        for (now, expected) in [
            (first, true),
            (sides(Some(2), Some(2)), false),
            // Edited again, but the node did not change; edited once, and the node has something
            // else.
            (sides(Some(3), Some(1)), true),
            (sides(None, Some(1)), true),
            (sides(Some(2), None), true),
            // Slightly behind the next edit.
            (sides(Some(3), Some(2)), false),
            (sides(None, Some(2)), false),
            // An edit was undone.
            (sides(Some(1), Some(1)), false),
            (sides(None, None), false),
        ] {
            assert_eq!(now.is_stuck_since(first), expected, "{now:?}");
        }
    }

    fn look(database: &[(i64, u64)], node: &str, before: Option<&Look>) -> Look {
        let mut served = ServedRows::default();
        served.add_page(Table::UserAuth, node).expect("rows");
        let mut comparison = Comparison::new(served, before);
        for (id, hash) in database {
            comparison.row((Table::UserAuth, *id), *hash, || Some(format!("row {id}")));
        }
        comparison.finish()
    }

    #[test]
    fn rows_differ_if_they_still_do_at_the_next_look() {
        let first = look(&[(1, 0xa), (2, 0xb), (2, 0xc), (3, 0xd)], "2 b\n3 e\n4 f\n", None);
        assert_eq!((first.rows, first.agrees()), (3, false));
        // Meanwhile the node received 3, and both sides received 5.
        let second = look(&[(1, 0xa), (2, 0xb), (3, 0xd), (5, 1)], "2 b\n3 d\n4 f\n5 2\n", Some(&first));
        let found: Vec<_> = second.differences().into_iter().map(|one| (one.id, one.what, one.row)).collect();
        assert_eq!(found, [(1, "not served", Some("row 1".into())), (4, "gone", None)]);
        assert!(look(&[(1, 2)], "1 2\n", None).agrees());
    }
}
