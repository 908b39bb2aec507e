//! Which rows made a snapshot: what each said, and where it went.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use hashbrown::HashSet;

use crate::model::{Row, Table};

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it went, as [`place`] counts; [`UNUSED`] if it could not be used.
    ///
    /// [`place`]: super::names::place
    pub place: u64,
    /// The upper 56 bits are a keyed hash of what it said; the lowest eight are
    /// the load that saw it last, from 1.
    content: u64,
}

/// The place of a row that could not be used.
pub(super) const UNUSED: u64 = 0;

/// A keyed hash of everything a row says, its id left out.
pub(super) fn content(row: &Row) -> u64 {
    static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let hash = match row {
        Row::User(row) => KEYED.hash_one((&row.username, &row.domain, &row.password)),
        Row::Rule(row) => KEYED.hash_one((
            (&row.domain, &row.subject),
            (&row.spriority, &row.ppriority),
            (&row.key, &row.value),
        )),
    };
    hash & !0xff
}

impl Record {
    pub fn new(place: u64, content: u64, load: u8) -> Record {
        Record { place, content: content | u64::from(load) }
    }

    pub fn says(self, content: u64) -> bool {
        self.content & !0xff == content
    }

    pub fn was_seen_in(self, load: u8) -> bool {
        self.content as u8 == load
    }

    pub fn mark(&mut self, load: u8) {
        self.content = self.content & !0xff | u64::from(load);
    }
}

/// Rows by table and id.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    users: Pages,
    rules: Pages,
}

impl Ledger {
    pub fn table(&self, table: Table) -> &Pages {
        match table {
            Table::UserAuth => &self.users,
            Table::JitsiProperty => &self.rules,
        }
    }

    pub fn table_mut(&mut self, table: Table) -> &mut Pages {
        match table {
            Table::UserAuth => &mut self.users,
            Table::JitsiProperty => &mut self.rules,
        }
    }

    pub fn len(&self) -> usize {
        self.users.len + self.rules.len
    }

    /// Forgets which load saw which row.
    pub fn unmark(&mut self) {
        for pages in [&mut self.users, &mut self.rules] {
            pages.pages.iter_mut().flatten().for_each(|(_, record)| record.mark(0));
        }
    }

    /// Takes over what is in `newer`, and strikes what is `gone`.
    pub fn update(&mut self, newer: Ledger, gone: &HashSet<(Table, i64)>) {
        for (table, id) in gone {
            self.table_mut(*table).remove(*id);
        }
        for (ours, theirs) in [(&mut self.users, newer.users), (&mut self.rules, newer.rules)] {
            // The first load is the whole ledger.
            if ours.len == 0 {
                *ours = theirs;
            } else {
                theirs.iter().for_each(|(id, record)| ours.insert(id, record));
            }
        }
    }
}

/// Records by id, sorted, in pages. Ids mostly ascend and are read in that
/// order: then pages are full, and a load walks through them.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// None is empty.
    pages: Vec<Vec<(i64, Record)>>,
    len: usize,
}

const PAGE: usize = 512;

impl Pages {
    /// The page where `id` is, or belongs.
    fn page(&self, id: i64) -> usize {
        self.pages.partition_point(|page| page[0].0 <= id).saturating_sub(1)
    }

    fn find(&self, id: i64) -> Option<(usize, usize)> {
        let page = self.page(id);
        let at = self.pages.get(page)?.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some((page, at))
    }

    pub fn get(&self, id: i64) -> Option<&Record> {
        self.find(id).map(|(page, at)| &self.pages[page][at].1)
    }

    pub fn get_mut(&mut self, id: i64) -> Option<&mut Record> {
        self.find(id).map(|(page, at)| &mut self.pages[page][at].1)
    }

    pub fn insert(&mut self, id: i64, record: Record) {
        let at = self.page(id);
        let Some(page) = self.pages.get_mut(at) else {
            self.pages.push(vec![(id, record)]);
            self.len = 1;
            return;
        };
        match page.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(place) => {
                page[place].1 = record;
                return;
            }
            Err(place) if page.len() < PAGE => page.insert(place, (id, record)),
            // Behind a full page begins another, which is what ascending ids do.
            Err(PAGE) => self.pages.insert(at + 1, vec![(id, record)]),
            Err(place) => {
                let mut upper = page.split_off(PAGE / 2);
                match place.checked_sub(PAGE / 2) {
                    Some(place) => upper.insert(place, (id, record)),
                    None => page.insert(place, (id, record)),
                }
                self.pages.insert(at + 1, upper);
            }
        }
        self.len += 1;
    }

    pub fn remove(&mut self, id: i64) {
        if let Some((page, at)) = self.find(id) {
            self.pages[page].remove(at);
            self.len -= 1;
            if self.pages[page].is_empty() {
                self.pages.remove(page);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, Record)> {
        self.pages.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pages_hold_what_a_map_would(
            ids in prop::collection::vec((0..3000_i64, prop::bool::weighted(0.7)), 0..5000),
            ascending in 0..2000_i64,
        ) {
            let (mut pages, mut map) = (Pages::default(), std::collections::BTreeMap::new());
            let first = (0..ascending).map(|id| (id, true));
            for (at, (id, is_put)) in first.chain(ids).enumerate() {
                if is_put {
                    pages.insert(id, Record::new(at as u64, 0, 0));
                    map.insert(id, Record::new(at as u64, 0, 0));
                } else {
                    pages.remove(id);
                    map.remove(&id);
                }
            }
            prop_assert_eq!(pages.len, map.len());
            prop_assert!(pages.iter().eq(map.iter().map(|(id, record)| (*id, *record))));
            for id in -1..3001 {
                prop_assert_eq!(pages.get(id), map.get(&id));
            }
        }
    }
}
