//! What is known of each table besides its rows: whether a load may do without reading it.
//!
//! A table is read only if its state is another one than when its rows were read last. The
//! database needs about as long to find that out as to send the rows, so it is asked only if
//! the table seems to be at rest.

use std::time::{Duration, Instant};

use crate::core::model::Table;
use crate::source::{Mark, Plan, TableRead};

/// A mark may be that of another state by chance. So a table is read in full at the latest after
/// this time, or by every load of [`EVERY`].
const OLDEST: Duration = Duration::from_secs(600);
/// One load of this many reads a table in full.
const EVERY: u32 = 16;

/// What is known of each table.
#[derive(Debug, Default)]
pub(super) struct Known([KnownTable; Table::COUNT]);

/// What is known of a table. It is that of the rows that the writer of snapshots has.
#[derive(Debug, Default)]
struct KnownTable {
    /// The mark of its rows.
    mark: Option<Mark>,
    /// Whether the latest load has found it unchanged, and no poll has changed it since.
    is_quiet: bool,
    /// When a load began that has read all its rows.
    read: Option<Instant>,
    /// How many loads since then have not read it.
    unread: u32,
    /// Whether a poll has changed it since the running load began.
    is_touched: bool,
}

impl Known {
    /// How the load that begins now reads each table.
    pub fn plan(&mut self, now: Instant) -> [Plan; Table::COUNT] {
        self.0.each_mut().map(|table| table.plan(now))
    }

    /// Notes that a poll has changed rows of a table.
    pub fn touch(&mut self, table: Table) {
        let known = &mut self.0[table as usize];
        *known = KnownTable { read: known.read, is_touched: true, ..KnownTable::default() };
    }

    /// Notes that the load that began at `begun` has ended, what it has read, and which tables
    /// it has changed.
    pub fn loaded(&mut self, read: [TableRead; Table::COUNT], changed: [bool; Table::COUNT], begun: Instant) {
        for ((known, read), is_changed) in self.0.iter_mut().zip(read).zip(changed) {
            match read {
                TableRead::Unchanged => known.unread += 1,
                // The poll's rows are not those that have the mark.
                TableRead::Rows(..) if known.is_touched => known.read = Some(begun),
                TableRead::Rows(_, mark) => {
                    *known = KnownTable {
                        mark,
                        is_quiet: !is_changed,
                        read: Some(begun),
                        ..KnownTable::default()
                    };
                }
            }
        }
    }
}

impl KnownTable {
    fn plan(&mut self, now: Instant) -> Plan {
        self.is_touched = false;
        let is_fresh = self.read.is_some_and(|read| now.duration_since(read) < OLDEST);
        match &self.mark {
            // If loads come that rarely, a mark costs more than it saves.
            _ if !self.is_quiet || !is_fresh => Plan::Read,
            Some(mark) if self.unread < EVERY - 1 => Plan::Unless(mark.clone()),
            _ => Plan::Mark,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(known: &mut Known, now: Instant, changes: bool) -> String {
        let plans = known.plan(now);
        let name = |plan: &Plan| match plan {
            Plan::Read => "read ",
            Plan::Mark => "mark ",
            Plan::Unless(_) => "unless ",
        };
        let names = plans.each_ref().map(name).concat();
        let read = plans.map(|plan| match plan {
            Plan::Read => TableRead::Rows(1, None),
            Plan::Unless(_) if !changes => TableRead::Unchanged,
            Plan::Mark | Plan::Unless(_) => TableRead::Rows(1, Some(Mark::of("state"))),
        });
        known.loaded(read, [changes; Table::COUNT], now);
        names
    }

    #[test]
    fn a_table_at_rest_is_read_by_one_load_of_sixteen() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(loads(&mut known, now, true), "read read read ");
        assert_eq!(loads(&mut known, now, false), "read read read ");
        for _ in 0..2 {
            assert_eq!(loads(&mut known, now, false), "mark mark mark ");
            for _ in 0..15 {
                assert_eq!(loads(&mut known, now, false), "unless unless unless ");
            }
        }
    }

    #[test]
    fn a_table_that_changes_is_read_and_the_database_adds_up_nothing() {
        let (mut known, now) = (Known::default(), Instant::now());
        (0..3).for_each(|_| drop(loads(&mut known, now, false)));
        known.touch(Table::JitsiProperty);
        assert_eq!(loads(&mut known, now, false), "unless read unless ");
        assert_eq!(loads(&mut known, now, true), "unless mark unless ");
        assert_eq!(loads(&mut known, now, true), "read read read ");
    }

    #[test]
    fn what_a_poll_changes_during_a_load_is_not_what_the_load_has_marked() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(loads(&mut known, now, false), "read read read ");
        assert!(matches!(known.plan(now), [Plan::Mark, Plan::Mark, Plan::Mark]));
        known.touch(Table::UserAuth);
        let read = [(); Table::COUNT].map(|()| TableRead::Rows(1, Some(Mark::of("state"))));
        known.loaded(read, [false; Table::COUNT], now);
        assert_eq!(loads(&mut known, now, false), "read unless unless ");
        // The same if the load reads nothing.
        loads(&mut known, now, false);
        loads(&mut known, now, false);
        assert!(matches!(known.plan(now), [Plan::Unless(_), Plan::Unless(_), Plan::Unless(_)]));
        known.touch(Table::UserAuth);
        known.loaded([(); Table::COUNT].map(|()| TableRead::Unchanged), [false; Table::COUNT], now);
        assert_eq!(loads(&mut known, now, false), "read unless unless ");
    }

    #[test]
    fn after_ten_minutes_a_table_is_read_in_full() {
        let (mut known, now) = (Known::default(), Instant::now());
        (0..4).for_each(|_| drop(loads(&mut known, now, false)));
        let later = now + OLDEST;
        assert_eq!(loads(&mut known, later, false), "read read read ");
        assert_eq!(loads(&mut known, later, false), "mark mark mark ");
    }
}
