//! A table of counts in fixed memory, read and written by all threads at once.
//!
//! It is a cache: a hash selects a set of 8 slots, which is one line of the
//! processor's cache, and is in one of them or not at all. A slot is one atomic word,
//! so a thread only reads complete states. No slot depends on another, so their
//! order does not matter (`Relaxed`).
//!
//! The lower bits of a hash select the set, and 20 others are stored as its tag. Two
//! hashes of one set have the same tag once in 2^20. So a sign-in that never failed
//! matches one of the 8 slots at most once in 131,072, and is refused if that slot is full.
//!
//! Each sign-in asks whether its counts are full, and mostly none of many is. So a group of
//! sets has a mark that says until when one of its slots may be full. All marks together are
//! so small that they stay in the processor's cache, which the sets do not.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const WAYS: usize = 8;
/// How many groups of sets have a mark of their own. Fewer than sets, and a power of two.
const GROUPS: usize = 256;
/// The number of sets of a large table. A set takes 64 bytes.
pub(super) const LARGE: usize = 8 * 1024;
/// The number of sets of a small table.
pub(super) const SMALL: usize = 4 * 1024;

/// The largest count.
pub(super) const LARGEST: u32 = (1 << COUNT_BITS) - 1;

const START_BITS: u32 = 32;
const COUNT_BITS: u32 = 12;

#[derive(Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

pub(super) struct CountTable {
    sets: Box<[Set]>,
    /// The mark of each group of sets: from this tick on, none of its slots is full.
    full_until: Box<[AtomicU32]>,
    /// Counts end here. A slot with this count stays until its window is over.
    full: u32,
    /// In ticks.
    window: u32,
}

/// The content of a word. A word of 0 is an empty slot, because counts are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CountSlot {
    tag: u32,
    count: u32,
    /// When the window began, in ticks.
    start: u32,
}

impl CountSlot {
    fn unpack(word: u64) -> CountSlot {
        CountSlot {
            tag: (word >> (START_BITS + COUNT_BITS)) as u32,
            count: (word >> START_BITS) as u32 & LARGEST,
            start: word as u32,
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.tag) << (START_BITS + COUNT_BITS)
            | u64::from(self.count) << START_BITS
            | u64::from(self.start)
    }
}

impl CountTable {
    /// Counts up to `full`, which is 1 to [`LARGEST`], over `window` ticks, in this many sets.
    pub fn new(full: u32, window: u32, sets: usize) -> CountTable {
        debug_assert!((1..=LARGEST).contains(&full) && sets.is_power_of_two() && sets > GROUPS);
        let full_until = (0..GROUPS).map(|_| AtomicU32::default()).collect();
        CountTable { sets: (0..sets).map(|_| Set::default()).collect(), full_until, full, window }
    }

    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.sets) + size_of_val(&*self.full_until)
    }

    /// For how many more ticks `hash` is full; `None` if it is not.
    pub fn full(&self, hash: u64, now: u32) -> Option<u32> {
        if self.mark(hash).load(Relaxed) <= now {
            return None;
        }
        let (count, left) = self.look(hash, now);
        (count >= self.full).then_some(left)
    }

    /// The count of `hash`.
    pub fn count(&self, hash: u64, now: u32) -> u32 {
        self.look(hash, now).0
    }

    /// The count of `hash`, and for how many more ticks it is valid.
    fn look(&self, hash: u64, now: u32) -> (u32, u32) {
        let (set, tag) = self.find(hash);
        let (mut count, mut left) = (0, 0);
        for slot in set.iter().map(|word| CountSlot::unpack(word.load(Relaxed))) {
            if slot.tag == tag
                && let Some(ticks) = self.left(slot, now)
            {
                count += slot.count;
                left = left.max(ticks);
            }
        }
        (count, left)
    }

    /// Adds one to the count of `hash`, and returns the count before. If all 8 slots of
    /// its set are full, nothing is counted, because a flood must not push out a full slot.
    pub fn add(&self, hash: u64, now: u32) -> u32 {
        self.count_one(hash, now).0
    }

    /// Adds one to the count of `hash`, and returns whether this makes it full.
    pub fn fill(&self, hash: u64, now: u32) -> bool {
        self.count_one(hash, now).1
    }

    /// Forgets the count of `hash`, and returns whether it was full.
    pub fn remove(&self, hash: u64, now: u32) -> bool {
        let (set, tag) = self.find(hash);
        let was_full = self.full(hash, now).is_some();
        for word in set {
            let _ = word.fetch_update(Relaxed, Relaxed, |word| {
                (CountSlot::unpack(word).tag == tag && word != 0).then_some(0)
            });
        }
        was_full
    }

    /// Forgets all counts, and returns how many were full. The marks stay, because another
    /// thread may fill a slot at this moment.
    pub fn clear(&self, now: u32) -> usize {
        let words = self.sets.iter().flat_map(|set| &set.0);
        let was_full = |word: &&AtomicU64| {
            let slot = CountSlot::unpack(word.swap(0, Relaxed));
            slot.count >= self.full && self.left(slot, now).is_some()
        };
        words.filter(was_full).count()
    }

    /// Adds one. Returns the count before, and whether the count is full since then.
    fn count_one(&self, hash: u64, now: u32) -> (u32, bool) {
        let (set, tag) = self.find(hash);
        // This repeats only when another thread changed the slot.
        loop {
            let mut count = 0;
            let mut own = None;
            let mut least: Option<(_, &AtomicU64, u64)> = None;
            for word in set {
                let was = word.load(Relaxed);
                let slot = CountSlot::unpack(was);
                let live = self.left(slot, now).is_some();
                if live && slot.tag == tag {
                    // Rarely there are two slots: two threads created one each, while a
                    // third changed the slot to replace. Their counts add up.
                    count += slot.count;
                    own = own.or(Some((word, was)));
                }
                // Expired slots are replaced first, then the smallest count, then the oldest.
                let worth = if live { (slot.count, slot.start) } else { (0, 0) };
                if least.is_none_or(|least| worth < least.0) {
                    least = Some((worth, word, was));
                }
            }
            if count + 1 >= self.full {
                // Before the slot is full, and again if it is: two threads may have filled it
                // together. One tick more, if another thread has read the clock later.
                let until = now.saturating_add(self.window).saturating_add(1);
                self.mark(hash).fetch_max(until, Relaxed);
            }
            let (word, was, new) = match (own, least) {
                _ if count >= self.full => return (count, false),
                (Some((word, was)), _) => {
                    let slot = CountSlot::unpack(was);
                    (word, was, CountSlot { count: slot.count + 1, ..slot })
                }
                (None, Some(((worth, _), word, was))) if worth < self.full => {
                    (word, was, CountSlot { tag, count: 1, start: now })
                }
                (None, _) => return (0, false),
            };
            if word.compare_exchange(was, new.pack(), Relaxed, Relaxed).is_ok() {
                return (count, count + 1 == self.full);
            }
        }
    }

    fn find(&self, hash: u64) -> (&[AtomicU64; WAYS], u32) {
        let tag = CountSlot::unpack(hash).tag;
        (&self.sets[hash as usize % self.sets.len()].0, tag)
    }

    fn mark(&self, hash: u64) -> &AtomicU32 {
        &self.full_until[hash as usize % GROUPS]
    }

    /// How many ticks of the slot's window are left. If this thread read the clock before
    /// the slot was written, all of them are left.
    fn left(&self, slot: CountSlot, now: u32) -> Option<u32> {
        let age = now.saturating_sub(slot.start);
        (slot.count > 0 && age < self.window).then(|| self.window - age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The `tag`th hash of set 5.
    fn hash(tag: u64) -> u64 {
        tag << (START_BITS + COUNT_BITS) | 5
    }

    fn add_times(table: &CountTable, tag: u64, times: u32, now: u32) {
        for _ in 0..times {
            table.add(hash(tag), now);
        }
    }

    #[test]
    fn a_count_ends_at_full_and_begins_anew_after_the_window() {
        let table = CountTable::new(3, 10, SMALL);
        assert_eq!([5, 6, 7, 8].map(|now| table.add(hash(1), now)), [0, 1, 2, 3]);
        assert_eq!(table.full(hash(1), 5), Some(10));
        assert_eq!(table.full(hash(1), 14), Some(1));
        assert_eq!(table.full(hash(1), 15), None);
        assert_eq!(table.add(hash(1), 15), 0);
    }

    #[test]
    fn the_largest_count_does_not_run_into_the_tag() {
        let table = CountTable::new(LARGEST, 10, SMALL);
        add_times(&table, 1, LARGEST + 3, 0);
        assert_eq!(table.full(hash(1), 0), Some(10));
        assert_eq!(table.add(hash(1), 0), LARGEST);
        assert_eq!(table.add(hash(2), 0), 0);
    }

    #[test]
    fn what_is_over_goes_first_then_the_smallest_count_then_the_oldest() {
        let table = CountTable::new(9, 10, SMALL);
        add_times(&table, 0, 8, 0);
        for tag in 1..8 {
            add_times(&table, tag, if tag < 3 { 2 } else { 5 }, 4 + tag as u32);
        }
        let here = |tag, now| table.add(hash(tag), now) > 0;
        // 0 has expired, although its count was the highest.
        table.add(hash(10), 11);
        assert!((1..8).all(|tag| here(tag, 11)), "only the expired slot is gone");
        // 10 has 1, the smallest.
        table.add(hash(11), 12);
        assert!((1..8).all(|tag| here(tag, 12)));
        // Now 1, 2 and 11 have 4 each, and 1 is the oldest.
        add_times(&table, 11, 3, 12);
        table.add(hash(12), 13);
        assert!((2..8).chain([11, 12]).all(|tag| here(tag, 13)));
        assert!(!here(1, 13));
    }

    #[test]
    fn whoever_is_full_stays_whatever_else_comes() {
        let table = CountTable::new(2, 10, SMALL);
        for tag in 0..8 {
            add_times(&table, tag, 2, 0);
        }
        for tag in 8..1000 {
            assert_eq!(table.add(hash(tag), 9), 0);
        }
        assert!((0..8).all(|tag| table.full(hash(tag), 9) == Some(1)));
        assert_eq!(table.full(hash(8), 9), None);
        // After the window, others are counted.
        add_times(&table, 8, 2, 10);
        assert_eq!(table.full(hash(8), 10), Some(10));
    }

    #[test]
    fn one_failure_fills_a_count_and_a_removed_count_begins_again() {
        let table = CountTable::new(2, 10, SMALL);
        assert_eq!([0, 0, 0].map(|now| table.fill(hash(1), now)), [false, true, false]);
        assert!(!table.remove(hash(2), 0));
        assert!(table.remove(hash(1), 0) && table.count(hash(1), 0) == 0);
        assert!(!table.remove(hash(1), 0));
        assert_eq!([0, 0].map(|now| table.fill(hash(1), now)), [false, true]);
        add_times(&table, 2, 1, 0);
        assert_eq!(table.clear(0), 1);
        assert_eq!([1, 2].map(|tag| table.count(hash(tag), 0)), [0, 0]);
        // A set of full slots counts nothing, so no count becomes full.
        let table = CountTable::new(1, 10, SMALL);
        assert!((0..8).all(|tag| table.fill(hash(tag), 0)) && !table.fill(hash(8), 0));
        assert_eq!(table.clear(10), 0);
    }

    #[test]
    fn two_slots_of_one_tag_add_up() {
        let table = CountTable::new(5, 10, SMALL);
        let (set, tag) = table.find(hash(1));
        for (word, count) in set.iter().zip([2, 2]) {
            word.store(CountSlot { tag, count, start: 0 }.pack(), Relaxed);
        }
        assert_eq!(table.full(hash(1), 0), None);
        assert_eq!([0, 0, 0].map(|now| table.add(hash(1), now)), [4, 5, 5]);
        assert_eq!(table.full(hash(1), 0), Some(10));
    }

    #[test]
    fn a_clock_read_before_anothers_is_as_late_as_it() {
        let table = CountTable::new(2, 10, SMALL);
        assert_eq!([7, 6].map(|now| table.add(hash(1), now)), [0, 1]);
        assert_eq!(table.full(hash(1), 5), Some(10));
    }

    #[test]
    fn a_count_that_two_threads_filled_together_is_full_after_one_more() {
        let table = CountTable::new(2, 10, SMALL);
        let (set, tag) = table.find(hash(1));
        for word in &set[..2] {
            word.store(CountSlot { tag, count: 1, start: 7 }.pack(), Relaxed);
        }
        assert_eq!(table.add(hash(1), 6), 2);
        assert_eq!((table.full(hash(1), 16), table.full(hash(1), 17)), (Some(1), None));
    }

    proptest! {
        #[test]
        fn a_slot_is_packed_without_loss(
            tag in 0u32..1 << 20, count in 0..=LARGEST, start in any::<u32>(),
        ) {
            let slot = CountSlot { tag, count, start };
            prop_assert_eq!(CountSlot::unpack(slot.pack()), slot);
        }
    }
}
