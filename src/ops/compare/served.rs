//! The rows that a node serves. Only hashes are kept, because there may be millions of rows.

use std::collections::BTreeMap;

use super::RowKey;
use crate::core::model::Table;

/// The rows that a node serves.
#[derive(Debug, Default)]
pub struct ServedRows(BTreeMap<Table, NodeRows>);

#[derive(Debug, Default)]
struct NodeRows {
    /// The rows, sorted by id.
    rows: Vec<(i64, u64)>,
    is_taken: Vec<bool>,
}

/// A line that does not describe a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its answer is not that of a jitsiprovs node")]
pub struct NotARow;

/// The row was already taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken;

impl ServedRows {
    /// Adds a page of a table and returns its number of rows. Each line has an id and a hash; the
    /// lines are sorted by id.
    ///
    /// # Errors
    /// When a line does not have this form.
    pub fn add_page(&mut self, table: Table, page: &str) -> Result<usize, NotARow> {
        let NodeRows { rows, is_taken } = self.0.entry(table).or_default();
        let before = rows.len();
        for line in page.lines() {
            let (id, hash) = line.split_once(' ').ok_or(NotARow)?;
            let hash = u64::from_str_radix(hash, 16).map_err(|_| NotARow)?;
            rows.push((id.parse().map_err(|_| NotARow)?, hash));
        }
        is_taken.resize(rows.len(), false);
        Ok(rows.len() - before)
    }

    /// The highest id of a table. The next page begins after it.
    pub fn last(&self, table: Table) -> Option<i64> {
        Some(self.0.get(&table)?.rows.last()?.0)
    }

    /// Takes a row; `None` if the node does not have it.
    pub(super) fn take(&mut self, (table, id): RowKey) -> Result<Option<u64>, Taken> {
        let Some(NodeRows { rows, is_taken }) = self.0.get_mut(&table) else { return Ok(None) };
        let Ok(at) = rows.binary_search_by_key(&id, |(id, _)| *id) else { return Ok(None) };
        match std::mem::replace(&mut is_taken[at], true) {
            true => Err(Taken),
            false => Ok(Some(rows[at].1)),
        }
    }

    /// The rows that were not taken.
    pub(super) fn left(self) -> impl Iterator<Item = (RowKey, u64)> {
        self.0.into_iter().flat_map(|(table, NodeRows { rows, is_taken })| {
            let left = rows.into_iter().zip(is_taken).filter(|(_, is_taken)| !is_taken);
            left.map(move |((id, hash), _)| ((table, id), hash))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_once_and_the_others_are_left() {
        let table = Table::JitsiProperty;
        let mut served = ServedRows::default();
        assert_eq!((served.add_page(table, "-1 a\n3 1e\n"), served.last(table)), (Ok(2), Some(3)));
        assert_eq!((served.add_page(table, "7 46\n"), served.last(table)), (Ok(1), Some(7)));
        assert_eq!(served.take((table, 3)), Ok(Some(30)));
        assert_eq!(served.take((table, 3)), Err(Taken));
        assert_eq!((served.take((table, 4)), served.take((Table::UserAuth, 3))), (Ok(None), Ok(None)));
        assert_eq!(served.left().collect::<Vec<_>>(), [((table, -1), 10), ((table, 7), 70)]);
    }

    #[test]
    fn what_is_no_row_is_refused() {
        for page in ["hello", "1 x", "x 1", "1"] {
            assert_eq!(ServedRows::default().add_page(Table::UserAuth, page), Err(NotARow), "{page}");
        }
    }
}
