//! The position up to which the lines of `jitsiprovs_change` have been read.
//!
//! A line gets its id when it is written, but becomes visible only when its transaction
//! commits. So lines with lower ids than the newest visible line may still appear. The
//! missing ids are remembered as gaps, and each poll asks for all of them again. This does
//! not depend on clocks.
//!
//! A few gaps are asked for one by one. A server that counts in steps, as in a cluster of
//! several writers, leaves a gap next to each line. Of so many gaps, a poll only asks for a sum
//! over all ids, which is different as soon as one of the gaps is filled.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::model::{Cell, Table};

/// How many lines one statement reads.
pub(super) const LINES: usize = 50_000;

/// How many ids back from the newest line gaps are looked for, by loads and by the sum. If a
/// transaction stays open while this many later changes are made, and leaves many gaps, only
/// the next load finds its changes.
pub(super) const WINDOW: i64 = 100_000;

/// How many gaps of the window, and how many older ones, are asked for one by one.
const FEW: usize = 100;

/// A position in `jitsiprovs_change`, with the gaps before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The newest line that was read. If it is missing later, or has changed, this is no
    /// longer the same database.
    newest: Option<ChangeLine>,
    /// The first and the last id of each gap.
    gaps: Arc<BTreeMap<i64, i64>>,
}

/// Ids with many gaps between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GapWindow {
    first: i64,
    last: i64,
    /// What [`GapWindow::sum`] returns as long as no gap is filled and no line is gone.
    pub expected: i64,
}

impl GapWindow {
    /// The query for the sum of the places of all ids in the window.
    pub fn sum(&self) -> String {
        let GapWindow { first, last, .. } = self;
        // A sum of ids themselves could be too large for a number.
        format!(
            "SELECT coalesce(sum(id - {first} + 1), 0) FROM jitsiprovs_change WHERE id BETWEEN {first} AND {last}"
        )
    }

    /// The query for all ids in the window.
    pub fn ids(&self) -> String {
        let GapWindow { first, last, .. } = self;
        format!("SELECT id FROM jitsiprovs_change WHERE id BETWEEN {first} AND {last} ORDER BY id")
    }
}

/// A line of `jitsiprovs_change`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChangeLine {
    pub id: i64,
    pub table: String,
    pub changed_id: i64,
    /// The time of the change, as the database writes it.
    pub at: String,
}

impl ChangeLine {
    /// A line from its columns. `None` if its ids are not numbers.
    pub fn from_cells(cells: Vec<Cell>) -> Option<ChangeLine> {
        let text = |at: usize| Some(cells.get(at)?.text().ok()??.into_owned());
        let number = |at: usize| cells.get(at)?.int().ok()?;
        Some(ChangeLine {
            id: number(0)?,
            table: text(1).unwrap_or_default(),
            changed_id: number(2)?,
            at: text(3).unwrap_or_default(),
        })
    }

    /// The row that has changed, if it is a user or a rule.
    pub fn row(&self) -> Option<(Table, i64)> {
        let table = Table::ALL.into_iter().find(|table| table.name() == self.table)?;
        Some((table, self.changed_id))
    }
}

/// The newest line that was read is missing: a backup was restored, another server has taken
/// over, or lines were pruned before this node has read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CursorLost;

impl Cursor {
    /// A cursor at the `newest` line. `ids` are all ids in the [`WINDOW`] up to that line, in
    /// order.
    pub(super) fn new(newest: Option<ChangeLine>, ids: impl IntoIterator<Item = i64>) -> Cursor {
        let gaps = newest.as_ref().map(|newest| between(window_before(newest.id), newest.id, ids));
        Cursor { newest, gaps: Arc::new(gaps.unwrap_or_default()) }
    }

    /// The id of the newest line that was read, or 0 if there was none.
    pub fn id(&self) -> i64 {
        self.newest.as_ref().map_or(0, |line| line.id)
    }

    /// The ranges of ids to ask for: gaps that are few, and all ids from the newest line on.
    pub(super) fn ask(&self) -> Vec<(i64, i64)> {
        let end = self.window().map_or(i64::MAX, |window| window.first);
        let gaps = self.gaps.range(..end).map(|(first, last)| (*first, *last));
        gaps.chain([(self.id(), i64::MAX)]).collect()
    }

    /// The ids whose sum must be asked for, because too many gaps are between them.
    pub(super) fn window(&self) -> Option<GapWindow> {
        let gaps = || self.gaps.range(window_before(self.id())..);
        let (first, last) = (*gaps().nth(FEW).and_then(|_| gaps().next())?.0, self.id());
        let places = |first: i64, last: i64| (first + last) * (last - first + 1) / 2;
        let missing = gaps().map(|(from, to)| places(from - first + 1, to - first + 1));
        Some(GapWindow { first, last, expected: places(1, last - first + 1) - missing.sum::<i64>() })
    }

    /// Takes the lines that were found for the ranges of [`Cursor::ask`], in order of their
    /// ids. Returns the new lines.
    ///
    /// # Errors
    /// [`CursorLost`]
    pub(super) fn advance(&mut self, lines: Vec<ChangeLine>) -> Result<Vec<ChangeLine>, CursorLost> {
        if let Some(newest) = &self.newest
            && !lines.contains(newest)
        {
            return Err(CursorLost);
        }
        let before = self.id();
        let lines: Vec<ChangeLine> = lines.into_iter().filter(|line| line.id != before).collect();
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(lines) };
        let gaps = Arc::make_mut(&mut self.gaps);
        lines.iter().for_each(|line| fill(gaps, line.id));
        if last.id > before {
            // All ids before the first line ever are a gap.
            let begin = if before == 0 { window_before(first.id) } else { before + 1 };
            let new = lines.iter().map(|line| line.id).filter(|id| *id > before);
            gaps.extend(between(begin, last.id, new));
            let is_old = |gaps: &BTreeMap<i64, i64>| gaps.range(..window_before(last.id)).nth(FEW).is_some();
            while is_old(gaps) {
                gaps.pop_first();
            }
            self.newest = Some(last.clone());
        }
        Ok(lines)
    }

    /// Takes all `ids` that were found in the `window`, in order. Returns those that were in a
    /// gap before.
    pub(super) fn look_over(&mut self, window: GapWindow, ids: Vec<i64>) -> Vec<i64> {
        let gaps = Arc::make_mut(&mut self.gaps);
        let before = gaps.split_off(&window.first);
        // Lines may also have been removed, and leave gaps of their own.
        gaps.extend(between(window.first, window.last, ids.iter().copied()));
        let is_late = |id: &i64| before.range(..=id).next_back().is_some_and(|(_, last)| id <= last);
        ids.into_iter().filter(is_late).collect()
    }
}

/// The first id of the window that ends with `id`.
pub(super) fn window_before(id: i64) -> i64 {
    (id - WINDOW).max(1)
}

/// The gaps between `ids`, which are in order, from `first` to `last`.
fn between(first: i64, last: i64, ids: impl IntoIterator<Item = i64>) -> BTreeMap<i64, i64> {
    let (mut gaps, mut expected) = (BTreeMap::new(), first);
    for id in ids.into_iter().chain([last + 1]) {
        if id > expected {
            gaps.insert(expected, id - 1);
        }
        expected = id + 1;
    }
    gaps
}

/// Removes an id from the gap that it is in, if any.
fn fill(gaps: &mut BTreeMap<i64, i64>, id: i64) {
    let gap = gaps.range(..=id).next_back().map(|(first, last)| (*first, *last));
    let Some((first, last)) = gap.filter(|(_, last)| id <= *last) else { return };
    gaps.remove(&first);
    if first < id {
        gaps.insert(first, id - 1);
    }
    if id < last {
        gaps.insert(id + 1, last);
    }
}

/// The end of a query for the first [`LINES`] lines in `ranges`, in order of their ids.
pub(super) fn clause(ranges: &[(i64, i64)]) -> String {
    let ranges = ranges.iter().map(|(first, last)| match *last {
        i64::MAX => format!("id >= {first}"),
        last => format!("id BETWEEN {first} AND {last}"),
    });
    format!("WHERE {} ORDER BY id LIMIT {LINES}", ranges.collect::<Vec<_>>().join(" OR "))
}

/// The end of a query for the newest line.
pub(super) const NEWEST: &str = "ORDER BY id DESC LIMIT 1";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn line(id: i64) -> ChangeLine {
        ChangeLine { id, table: "user_auth".into(), changed_id: id * 10, at: "now".into() }
    }

    /// The lines that a table with these ids returns for these ranges.
    fn found(table: &BTreeSet<i64>, asked: &[(i64, i64)]) -> Vec<ChangeLine> {
        let is_asked = |id: &&i64| asked.iter().any(|(first, last)| (first..=last).contains(id));
        table.iter().filter(is_asked).map(|id| line(*id)).collect()
    }

    /// Polls a table with these ids, as `poll` does.
    fn read(cursor: &mut Cursor, table: &BTreeSet<i64>) -> Result<Vec<i64>, CursorLost> {
        let lines = cursor.advance(found(table, &cursor.ask()))?;
        let mut ids: Vec<i64> = lines.iter().map(|line| line.id).collect();
        if let Some(window) = cursor.window() {
            let all = || table.range(window.first..=window.last).copied();
            if all().map(|id| id - window.first + 1).sum::<i64>() != window.expected {
                ids.extend(cursor.look_over(window, all().collect()));
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn at(table: &BTreeSet<i64>) -> Cursor {
        Cursor::new(table.last().map(|id| line(*id)), table.iter().copied())
    }

    #[test]
    fn a_line_that_appears_below_the_newest_is_found_and_only_once() {
        let mut table = BTreeSet::from([1, 2, 5]);
        let mut cursor = at(&table);
        assert_eq!(read(&mut cursor, &table), Ok(vec![]));
        table.extend([4, 9]);
        assert_eq!(read(&mut cursor, &table), Ok(vec![4, 9]));
        table.extend([3, 7]);
        assert_eq!(read(&mut cursor, &table), Ok(vec![3, 7]));
        assert_eq!(read(&mut cursor, &table), Ok(vec![]));
        assert_eq!(*cursor.gaps, BTreeMap::from([(6, 6), (8, 8)]));
    }

    #[test]
    fn an_empty_table_is_read_from_its_first_line_on_and_below() {
        let mut table = BTreeSet::new();
        let mut cursor = at(&table);
        assert_eq!(read(&mut cursor, &table), Ok(vec![]));
        table.insert(50);
        assert_eq!(read(&mut cursor, &table), Ok(vec![50]));
        table.insert(49);
        assert_eq!(read(&mut cursor, &table), Ok(vec![49]));
    }

    #[test]
    fn a_newest_line_that_is_gone_or_another_is_noticed() {
        let mut table = BTreeSet::from([1, 2, 3]);
        let mut cursor = at(&table);
        table.remove(&3);
        assert_eq!(read(&mut cursor.clone(), &table), Err(CursorLost));
        table.extend([4, 5]);
        assert_eq!(read(&mut cursor.clone(), &table), Err(CursorLost));
        // After a restore, another line gets the same id.
        let other = ChangeLine { changed_id: 7, ..line(3) };
        assert_eq!(cursor.advance(vec![other, line(4)]), Err(CursorLost));
    }

    #[test]
    fn ids_in_steps_cost_one_sum_and_a_late_line_between_them_is_found_at_once() {
        let mut table: BTreeSet<i64> = (0..30_000).map(|at| 1 + 3 * at).collect();
        let mut cursor = at(&table);
        assert_eq!(cursor.ask().len(), 1);
        assert_eq!(read(&mut cursor, &table), Ok(vec![]));
        let late: Vec<i64> = (0..3000).map(|at| 2 + 9 * at).collect();
        table.extend(&late);
        assert_eq!(read(&mut cursor, &table), Ok(late));
        assert_eq!(read(&mut cursor, &table), Ok(vec![]));
        // Pruned lines become gaps, and do not hide a line that appears meanwhile.
        table.retain(|id| *id > 1000);
        table.extend([1200, 90_001]);
        assert_eq!(read(&mut cursor, &table), Ok(vec![1200, 90_001]));
        let window = cursor.window().expect("many gaps");
        assert_eq!(read(&mut cursor, &table), Ok(vec![]));
        assert_eq!(cursor.window(), Some(window));
    }

    #[test]
    fn gaps_before_the_window_are_asked_for_one_by_one_and_forgotten_when_there_are_many() {
        let mut table = BTreeSet::from([1, 3]);
        let mut cursor = at(&table);
        table.extend((0..1000).map(|at| 3 * WINDOW + 2 * at));
        read(&mut cursor, &table).expect("the same table");
        table.insert(2);
        assert_eq!(read(&mut cursor, &table), Ok(vec![2]));
        table.insert(6 * WINDOW);
        read(&mut cursor, &table).expect("the same table");
        assert!(cursor.window().is_none());
        assert_eq!(cursor.ask().len(), FEW + 1);
    }

    proptest! {
        #[test]
        fn whatever_order_transactions_commit_in_each_line_is_seen_once(
            order in Just((1..60_i64).collect::<Vec<_>>()).prop_shuffle(),
            before in 0..20_usize,
            polls in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut table: BTreeSet<i64> = order[..before].iter().copied().collect();
            let mut cursor = at(&table);
            let mut seen = Vec::new();
            for (id, poll) in order[before..].iter().zip(polls) {
                table.insert(*id);
                if poll {
                    seen.extend(read(&mut cursor, &table).expect("the same table"));
                }
            }
            seen.extend(read(&mut cursor, &table).expect("the same table"));
            seen.sort_unstable();
            let mut expected = order[before..].to_vec();
            expected.sort_unstable();
            prop_assert_eq!(seen, expected);
        }
    }
}
