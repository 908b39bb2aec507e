//! The rows that a snapshot was built from: a hash of each row, and where its entry is.

use hashbrown::HashSet;
use twox_hash::XxHash3_64;

use crate::core::model::{Cell, NamedCell, Row, Table};

/// What is known about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowRecord {
    /// The upper half of the [`place`] of its entry, or [`UNUSED`] if the row cannot be used.
    ///
    /// [`place`]: super::names::place
    pub prefix: u32,
    /// The upper 56 bits are a hash of the row. The lowest eight bits are the number of the
    /// load that saw it last, from 1.
    content: u64,
}

/// The prefix of a row that cannot be used.
pub(super) const UNUSED: u32 = 0;

/// A hash of the table, all cells and the attributes of a row, without its id. It is the same on every machine
/// and in every version, because nodes are compared by it and choose decoys by it.
pub fn content(row: &Row) -> u64 {
    // Most rows are short and need no allocation.
    let mut short = [0; 512];
    let hash = match write(row, &mut short) {
        Some(length) => XxHash3_64::oneshot(&short[..length]),
        None => {
            let mut long = vec![row.table() as u8];
            for cell in hashed(row) {
                long = postcard::to_extend(cell, long).expect("rows are plain data");
            }
            for named in row.attributes() {
                long = postcard::to_extend(&hashed_attribute(named), long).expect("rows are plain data");
            }
            XxHash3_64::oneshot(&long)
        }
    };
    hash & !0xff
}

/// The cells that count: those of the basic columns, and those that say something.
fn hashed(row: &Row) -> impl Iterator<Item = &Cell> {
    let cells = row.table().columns().iter().zip(row.cells());
    cells.filter(|(column, cell)| column.is_basic || **cell != Cell::Null).map(|(_, cell)| cell)
}

fn hashed_attribute((name, cell): &NamedCell) -> (&str, &Cell) {
    (name, cell)
}

/// Writes the table and the cells of a row into a buffer. Returns the length, or `None` if
/// they do not fit.
fn write(row: &Row, buffer: &mut [u8]) -> Option<usize> {
    buffer[0] = row.table() as u8;
    let mut length = 1;
    for cell in hashed(row) {
        length += postcard::to_slice(cell, &mut buffer[length..]).ok()?.len();
    }
    for named in row.attributes() {
        length += postcard::to_slice(&hashed_attribute(named), &mut buffer[length..]).ok()?.len();
    }
    Some(length)
}

impl RowRecord {
    pub fn new(prefix: u32, content: u64, load: u8) -> RowRecord {
        RowRecord { prefix, content: content | u64::from(load) }
    }

    pub fn says(self, content: u64) -> bool {
        self.content & !0xff == content
    }

    /// The [`content`] of the row.
    pub fn content(self) -> u64 {
        self.content & !0xff
    }

    /// The number that the row adds to the digest.
    fn term(self) -> u64 {
        self.content >> 8
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
pub(super) struct RowIndex([Pages; Table::COUNT]);

impl RowIndex {
    pub fn table(&self, table: Table) -> &Pages {
        &self.0[table as usize]
    }

    pub fn table_mut(&mut self, table: Table) -> &mut Pages {
        &mut self.0[table as usize]
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|pages| pages.len).sum()
    }

    /// A hash of all rows, which does not depend on their order.
    pub fn digest(&self) -> u64 {
        self.0.iter().fold(0, |sum, pages| sum.wrapping_add(pages.sum))
    }

    /// Forgets which load saw which row.
    pub fn unmark(&mut self) {
        for pages in &mut self.0 {
            pages.pages.iter_mut().flat_map(|page| &mut page.contents).for_each(|content| *content &= !0xff);
        }
    }

    /// Adds the records of `newer`, and removes the rows in `gone`.
    pub fn update(&mut self, newer: RowIndex, gone: &HashSet<(Table, i64)>) {
        for (table, id) in gone {
            self.table_mut(*table).remove(*id);
        }
        for (ours, theirs) in self.0.iter_mut().zip(newer.0) {
            // The records of the first load become the whole index.
            if ours.len == 0 {
                *ours = theirs;
            } else {
                theirs.iter().for_each(|(id, record)| ours.insert(id, record));
            }
        }
    }
}

/// Records in pages, sorted by id. Ids mostly ascend and are read in that order: then pages
/// are full, and a load visits them in order. There may be millions of records, so a page
/// has a separate list for each field, without padding.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// No page is empty.
    pages: Vec<Page>,
    len: usize,
    /// The sum of the records' terms of the digest.
    sum: u64,
    /// The page and the place of the record that a load saw last.
    seen: (usize, usize),
}

#[derive(Debug, Default)]
struct Page {
    first: i64,
    /// The difference between each id and `first`.
    offsets: Vec<u32>,
    prefixes: Vec<u32>,
    contents: Vec<u64>,
}

/// How many records a page has at most.
const PAGE: usize = 512;

impl Page {
    fn of(id: i64, record: RowRecord) -> Page {
        let mut page = Page { first: id, ..Page::default() };
        page.insert(0, 0, record);
        page
    }

    fn insert(&mut self, at: usize, offset: u32, record: RowRecord) {
        self.offsets.insert(at, offset);
        self.prefixes.insert(at, record.prefix);
        self.contents.insert(at, record.content);
    }

    fn id(&self, at: usize) -> Option<i64> {
        self.offsets.get(at).map(|offset| self.first + i64::from(*offset))
    }

    fn record(&self, at: usize) -> RowRecord {
        RowRecord { prefix: self.prefixes[at], content: self.contents[at] }
    }

    /// The place of an id, or the place where it would be inserted. `None` if it needs a page
    /// of its own.
    fn search(&self, id: i64) -> Option<Result<usize, usize>> {
        let offset = u32::try_from(id.checked_sub(self.first)?).ok()?;
        Some(self.offsets.binary_search(&offset))
    }

    /// Removes the records from `at` on, which is not 0, and returns them as a page.
    fn split_off(&mut self, at: usize) -> Page {
        let base = self.offsets[at];
        Page {
            first: self.first + i64::from(base),
            offsets: self.offsets.split_off(at).into_iter().map(|offset| offset - base).collect(),
            prefixes: self.prefixes.split_off(at),
            contents: self.contents.split_off(at),
        }
    }
}

impl Pages {
    /// The page that contains `id`, and its place in that page.
    fn find(&self, id: i64) -> Option<(usize, usize)> {
        let page = self.pages.partition_point(|page| page.first <= id).checked_sub(1)?;
        let at = self.pages[page].search(id)?.ok()?;
        Some((page, at))
    }

    pub fn get(&self, id: i64) -> Option<RowRecord> {
        self.find(id).map(|(page, at)| self.pages[page].record(at))
    }

    /// If a load has not seen this row yet, and its record says this `content`: notes that the
    /// load has seen it, and returns true. Fast if the rows come in the order of their ids.
    pub fn see(&mut self, id: i64, content: impl FnOnce() -> u64, load: u8) -> bool {
        let (page, at) = self.seen;
        let is_it =
            |&(page, at): &(usize, usize)| self.pages.get(page).and_then(|page| page.id(at)) == Some(id);
        let next = [(page, at + 1), (page + 1, 0)].into_iter().find(is_it);
        let Some((page, at)) = next.or_else(|| self.find(id)) else { return false };
        self.seen = (page, at);
        let mut record = self.pages[page].record(at);
        if record.was_seen_in(load) || !record.says(content()) {
            return false;
        }
        record.mark(load);
        self.pages[page].contents[at] = record.content;
        true
    }

    /// Notes that a load has seen a row, which must have a record.
    pub fn mark(&mut self, id: i64, load: u8) {
        if let Some((page, at)) = self.find(id) {
            let mut record = self.pages[page].record(at);
            record.mark(load);
            self.pages[page].contents[at] = record.content;
        }
    }

    pub fn insert(&mut self, id: i64, record: RowRecord) {
        self.sum = self.sum.wrapping_add(record.term());
        self.place(id, record);
    }

    fn place(&mut self, id: i64, record: RowRecord) {
        let next = self.pages.partition_point(|page| page.first <= id);
        let Some(at) = next.checked_sub(1) else {
            self.pages.insert(0, Page::of(id, record));
            self.len += 1;
            return;
        };
        let page = &mut self.pages[at];
        match page.search(id) {
            Some(Ok(place)) => {
                self.sum = self.sum.wrapping_sub(page.record(place).term());
                (page.prefixes[place], page.contents[place]) = (record.prefix, record.content);
                return;
            }
            Some(Err(place)) if page.offsets.len() < PAGE => {
                // The search has checked that the offset fits.
                page.insert(place, (id - page.first) as u32, record);
            }
            // In the middle of a full page: splits the page in two, and tries again.
            Some(Err(place)) if place < PAGE => {
                let upper = page.split_off(PAGE / 2);
                self.pages.insert(next, upper);
                return self.place(id, record);
            }
            // After the end of a full page: begins a new page, as is usual for ascending ids.
            _ => self.pages.insert(next, Page::of(id, record)),
        }
        self.len += 1;
    }

    pub fn remove(&mut self, id: i64) {
        let Some((page, at)) = self.find(id) else { return };
        let found = &mut self.pages[page];
        self.sum = self.sum.wrapping_sub(found.record(at).term());
        found.offsets.remove(at);
        found.prefixes.remove(at);
        found.contents.remove(at);
        self.len -= 1;
        if found.offsets.is_empty() {
            self.pages.remove(page);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, RowRecord)> {
        Pages::records(&self.pages)
    }

    /// The records with ids above `id`.
    pub fn after(&self, id: i64) -> impl Iterator<Item = (i64, RowRecord)> {
        let page = self.pages.partition_point(|page| page.first <= id).saturating_sub(1);
        Pages::records(&self.pages[page.min(self.pages.len())..]).skip_while(move |(other, _)| *other <= id)
    }

    fn records(pages: &[Page]) -> impl Iterator<Item = (i64, RowRecord)> {
        pages.iter().flat_map(|page| {
            let id = |at: usize| page.first + i64::from(page.offsets[at]);
            (0..page.offsets.len()).map(move |at| (id(at), page.record(at)))
        })
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
            far in any::<[i64; 8]>(),
        ) {
            let (mut pages, mut map) = (Pages::default(), std::collections::BTreeMap::new());
            let first = (0..ascending).chain(far).map(|id| (id, true));
            for (at, (id, is_put)) in first.chain(ids).enumerate() {
                if is_put {
                    let record = RowRecord::new(at as u32, (at as u64) << 40, at as u8);
                    pages.insert(id, record);
                    map.insert(id, record);
                } else {
                    pages.remove(id);
                    map.remove(&id);
                }
            }
            prop_assert_eq!(pages.len, map.len());
            let sum = map.values().fold(0u64, |sum, record| sum.wrapping_add(record.term()));
            prop_assert_eq!(pages.sum, sum);
            prop_assert!(pages.iter().eq(map.iter().map(|(id, record)| (*id, *record))));
            for id in [-1, 0, 700, 2999].into_iter().chain(far) {
                prop_assert!(pages.after(id).eq(map.range(id.saturating_add(1)..).map(|(id, record)| (*id, *record)).filter(|(other, _)| *other > id)));
            }
            for id in (-1..3001).chain(far) {
                prop_assert_eq!(pages.get(id), map.get(&id).copied());
            }
            // A load sees each row once, in whatever order, unless it says something else.
            let known: Vec<_> = map.iter().filter(|(id, _)| **id % 3 != 0).collect();
            for (id, record) in known.iter().copied() {
                prop_assert!(!pages.see(*id, || record.content() ^ 1 << 9, 255));
                prop_assert_eq!(pages.see(*id, || record.content(), 255), !record.was_seen_in(255));
            }
            for (id, record) in known.into_iter().rev() {
                prop_assert!(!pages.see(*id, || record.content(), 255));
            }
        }
    }
}
