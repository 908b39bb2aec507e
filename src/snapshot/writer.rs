//! Builds snapshots: the first one from all rows, and each later one from the rows that
//! changed.
//!
//! The [`Writer`] keeps an index of the rows in the current snapshot: a hash of each row, and
//! where its entry is. So a load only compares hashes, and unchanged rows need no further
//! work. All changes go through a [`Draft`], and take effect when it is committed.

mod draft;
mod losses;
mod numbers;
mod problems;

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;

pub use draft::{ChangeSummary, Committed, Draft};
pub use losses::{LOSS_WINDOW, LossLimits, MaxShrink, Withheld, WithheldRow, WithheldTenant};
pub use problems::Problems;

use super::decoys::{self, DecoyKey, Decoys};
use super::row_index::{self, RowIndex, RowRecord};
use super::rows::Keys;
use super::{Counts, EVERYWHERE, Snapshot, Tenant, Trie, UserEntry};
use crate::core::conventions::Conventions;
use crate::core::model::{Row, Table};
use crate::core::rules::RuleSet;
use losses::Losses;
use numbers::{Domains, Others};

/// Builds snapshots.
#[derive(Debug)]
pub struct Writer {
    options: Conventions,
    current: Snapshot,
    row_index: RowIndex,
    keys: Keys,
    domains: Domains,
    others: Others,
    /// What was lost lately.
    losses: Losses,
    /// The number of the latest load. The rows that it has seen are marked with it.
    load: u8,
    /// Rows that polls put or removed since the running load began. They are newer than the
    /// rows that the load reads. `None` if no load is running.
    since: Option<HashSet<(Table, i64)>>,
}

impl Writer {
    /// Begins with an empty snapshot.
    pub fn new(options: Conventions) -> Writer {
        let current = Snapshot {
            comparison: options.comparison,
            names: Trie::default(),
            known: Trie::default(),
            others: Arc::default(),
            tenants: Trie::default(),
            everywhere: Arc::new(Tenant { number: EVERYWHERE, ..Tenant::default() }),
            base: Arc::new(RuleSet::merge([])),
            decoys: Decoys::default(),
            decoy_key: DecoyKey::new(std::iter::empty()),
            counts: Counts::default(),
            digest: 0,
            doubts: Trie::default(),
        };
        Writer {
            options,
            current,
            row_index: RowIndex::default(),
            keys: Keys::default(),
            domains: Domains::new(),
            others: Others::default(),
            losses: Losses::default(),
            load: 0,
            since: None,
        }
    }

    /// Builds a snapshot of `rows`. Also returns their problems.
    pub fn build(options: Conventions, rows: impl IntoIterator<Item = Row>) -> (Arc<Snapshot>, Problems) {
        let mut writer = Writer::new(options);
        let mut draft = writer.draft();
        for row in rows {
            draft.put(&row);
        }
        draft.commit()
    }

    /// The snapshot of everything committed so far.
    pub fn current(&self) -> &Snapshot {
        &self.current
    }

    /// How many rows there are, used or not.
    pub fn rows(&self) -> usize {
        self.row_index.len()
    }

    /// What is withheld.
    pub fn withheld(&self) -> Withheld {
        self.losses.withheld(|number| String::from_utf8_lossy(self.domains.name(number)).into_owned())
    }

    /// When the oldest loss that is remembered began, or earlier. `None` if there is none.
    pub fn oldest_loss(&self) -> Option<Instant> {
        self.losses.oldest()
    }

    /// The [`content`](super::content) of the rows that had what is lost.
    pub fn lost_contents(&self) -> HashSet<u64> {
        self.losses.contents()
    }

    /// How many rows of the source are not used, for any reason.
    pub fn left_out(&self) -> usize {
        let Counts { users, rules, attributes, rowless, .. } = self.current.counts;
        let kept = self.losses.kept_by_all();
        self.rows() + rowless + kept.rules + kept.attributes - users - rules - attributes
    }

    /// At most `most` rows of a table with ids above `id`, used or not: their ids and their
    /// [`content`](super::content).
    pub fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        self.row_index.table(table).after(id).take(most).map(|(id, record)| (id, record.content())).collect()
    }

    /// Begins a load of all rows. Drafts that are committed during the load take precedence
    /// over the rows that it reads.
    pub fn begin_load(&mut self) {
        self.load += 1;
        if self.load == u8::MAX {
            // The numbers start again from 1, so no row may keep an old one.
            self.row_index.unmark();
            self.load = 1;
        }
        self.since = Some(HashSet::new());
    }

    /// Whether a row of the running load is new or changed. If not, it is marked as seen, and
    /// needs no further work.
    pub fn is_news(&mut self, row: &Row) -> bool {
        !self.row_index.table_mut(row.table()).see(row.id(), || row_index::content(row), self.load)
    }

    /// Whether no poll has changed the row since the running load began.
    pub fn is_current(&self, row: &Row) -> bool {
        !self.since.as_ref().is_some_and(|since| since.contains(&(row.table(), row.id())))
    }

    /// Ends a load that failed.
    pub fn abandon_load(&mut self) {
        self.since = None;
    }

    /// The key by which decoys of `next` are chosen. The row index must be that of `next`.
    fn decoy_key(&self, next: &Snapshot) -> DecoyKey {
        /// How many rows are examined at most: no password may match many of them.
        const FEW: usize = 64;
        let is_usable = |id: i64, record: RowRecord| {
            let mine = |user: &UserEntry| user.id == id && user.credential.is_usable();
            next.names.get(record.prefix, |entry| entry.users.iter().any(mine)).is_some()
        };
        let oldest = self.row_index.table(Table::UserAuth).after(i64::MIN).take(FEW);
        let oldest = oldest.filter(|&(id, record)| is_usable(id, record)).take(decoys::OLDEST);
        DecoyKey::new(oldest.map(|(_, record)| record.content()))
    }

    /// Begins to change the snapshot.
    pub fn draft(&mut self) -> Draft<'_> {
        Draft::new(self, false)
    }

    /// Begins to change the snapshot to the rows that the running load has read. Rows that
    /// the load has not seen are removed, unless polls put them since it began.
    pub fn draft_of_load(&mut self) -> Draft<'_> {
        Draft::new(self, true)
    }
}
