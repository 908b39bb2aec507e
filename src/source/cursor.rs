//! The position up to which the lines of `jitsiprovs_change` have been read.
//!
//! A line gets its id when it is written, but becomes visible only when its transaction
//! commits. So lines with lower ids than the newest visible line may still appear. The
//! missing ids are remembered as gaps, and each poll asks for them again. This does not
//! depend on clocks.

use std::collections::BTreeMap;

use crate::core::model::{Cell, Table};

/// If there are more new lines than this, a load is faster than a poll.
pub(super) const MANY: usize = 50_000;

/// How many ids back from the newest line a load looks for gaps. If a transaction stays open
/// while this many later changes are made, only the next load finds its changes.
pub(super) const WINDOW: i64 = 100_000;

/// How many gaps are remembered at most: the newest ones.
const GAPS: usize = 20_000;

/// How many gaps a poll asks for at most: half of them are the newest, and the others take
/// turns. Gaps of rolled-back transactions are never filled.
const ASKED: usize = 200;

/// A position in `jitsiprovs_change`, with the gaps before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The newest line that was read. If it is missing later, or has changed, this is no
    /// longer the same database.
    newest: Option<ChangeLine>,
    /// The first and the last id of each gap.
    gaps: BTreeMap<i64, i64>,
    /// The id from which older gaps are asked for next.
    turn: i64,
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
        let mut cursor = Cursor { newest: None, gaps: BTreeMap::new(), turn: 0 };
        let Some(newest) = newest else { return cursor };
        let mut expected = (newest.id - WINDOW).max(1);
        for id in ids {
            if id > expected {
                cursor.gaps.insert(expected, id - 1);
            }
            expected = id + 1;
        }
        cursor.newest = Some(newest);
        cursor
    }

    /// The id of the newest line that was read, or 0 if there was none.
    pub fn id(&self) -> i64 {
        self.newest.as_ref().map_or(0, |line| line.id)
    }

    /// The ranges of ids to ask for: some of the gaps, and all ids from the newest line on.
    pub(super) fn ask(&mut self) -> Vec<(i64, i64)> {
        let gap = |(first, last): (&i64, &i64)| (*first, *last);
        let mut asked: Vec<(i64, i64)> = self.gaps.iter().rev().take(ASKED / 2).map(gap).collect();
        let newest_asked = asked.last().map_or(i64::MAX, |(first, _)| *first);
        let older = || self.gaps.range(..newest_asked);
        let in_turn = older().filter(|(first, _)| **first >= self.turn).chain(older());
        let more = older().count().min(ASKED / 2);
        asked.extend(in_turn.take(more).map(gap));
        if more > 0 {
            self.turn = asked.last().map_or(0, |(_, last)| last + 1);
        }
        asked.push((self.id(), i64::MAX));
        asked
    }

    /// All gaps, to be asked for.
    pub(super) fn ask_all_gaps(&self) -> Vec<(i64, i64)> {
        self.gaps.iter().map(|(first, last)| (*first, *last)).collect()
    }

    /// Takes the lines that were found for the ranges of [`Cursor::ask`], in order of their
    /// ids. Returns the new lines, and whether the caller must also ask for all other gaps:
    /// a transaction may have filled several of them, and must be read as a whole.
    ///
    /// # Errors
    /// [`CursorLost`]
    pub(super) fn advance(&mut self, lines: Vec<ChangeLine>) -> Result<(Vec<ChangeLine>, bool), CursorLost> {
        if let Some(newest) = &self.newest
            && !lines.contains(newest)
        {
            return Err(CursorLost);
        }
        let before = self.id();
        let lines: Vec<ChangeLine> = lines.into_iter().filter(|line| line.id != before).collect();
        let filled = self.fill(&lines);
        // All ids before the first line ever are a gap.
        let mut expected = if before == 0 { (self.first_of(&lines) - WINDOW).max(1) } else { before + 1 };
        for line in lines.iter().filter(|line| line.id > before) {
            if line.id > expected {
                self.gaps.insert(expected, line.id - 1);
            }
            expected = line.id + 1;
        }
        if let Some(last) = lines.last().filter(|line| line.id > before) {
            self.newest = Some(last.clone());
            while self.gaps.len() > GAPS {
                self.gaps.pop_first();
            }
        }
        let is_partial = filled || !lines.is_empty() && self.gaps.len() > ASKED / 2;
        Ok((lines, is_partial))
    }

    fn first_of(&self, lines: &[ChangeLine]) -> i64 {
        lines.first().map_or(0, |line| line.id)
    }

    /// Removes the ids of `lines` from the gaps. Returns whether any of them was in a gap.
    pub(super) fn fill(&mut self, lines: &[ChangeLine]) -> bool {
        let mut filled = false;
        for line in lines {
            let gap = self.gaps.range(..=line.id).next_back().map(|(first, last)| (*first, *last));
            let Some((first, last)) = gap.filter(|(_, last)| line.id <= *last) else { continue };
            filled = true;
            self.gaps.remove(&first);
            if first < line.id {
                self.gaps.insert(first, line.id - 1);
            }
            if line.id < last {
                self.gaps.insert(line.id + 1, last);
            }
        }
        filled
    }
}

/// The end of a query for the lines in `ranges`, in order of their ids. It returns one line
/// more than [`MANY`] at most.
pub(super) fn clause(ranges: &[(i64, i64)]) -> String {
    let ranges = ranges.iter().map(|(first, last)| match *last {
        i64::MAX => format!("id >= {first}"),
        last => format!("id BETWEEN {first} AND {last}"),
    });
    format!("WHERE {} ORDER BY id LIMIT {}", ranges.collect::<Vec<_>>().join(" OR "), MANY + 1)
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

    fn read(cursor: &mut Cursor, table: &BTreeSet<i64>) -> Result<Vec<i64>, CursorLost> {
        let asked = cursor.ask();
        let (lines, _) = cursor.advance(found(table, &asked))?;
        Ok(lines.iter().map(|line| line.id).collect())
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
        assert_eq!(cursor.gaps, BTreeMap::from([(6, 6), (8, 8)]));
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
    fn very_many_gaps_are_asked_for_in_turn_and_forgotten_in_the_end() {
        let mut table: BTreeSet<i64> = (0..2000).map(|at| 1 + 3 * at).collect();
        let mut cursor = at(&table);
        assert_eq!(cursor.ask().len(), ASKED + 1);
        table.extend([3, 3000, 5990]);
        let mut seen = Vec::new();
        for _ in 0..2000 / (ASKED / 2) + 1 {
            seen.extend(read(&mut cursor, &table).expect("the same table"));
        }
        seen.sort_unstable();
        assert_eq!(seen, [3, 3000, 5990]);
        table.insert(2 * WINDOW);
        assert_eq!(read(&mut cursor, &table), Ok(vec![2 * WINDOW]));
        table.extend((0..2 * GAPS as i64).map(|at| 3 * WINDOW + 2 * at));
        read(&mut cursor, &table).expect("the same table");
        assert_eq!(cursor.gaps.len(), GAPS);
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
