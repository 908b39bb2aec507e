//! Remembers from which addresses accounts signed in, in fixed memory.
//!
//! It is a cache like the tables of counts: an account's hash selects a set of 16 slots,
//! which is one line of the processor's cache. Only a right password writes to it. All
//! addresses of an account are in one set, so a user with many addresses can push out
//! only the few accounts that share the set.
//!
//! A slot is one atomic word with the day of the last sign-in and a tag of 20 bits. An
//! address from which an account never signed in is taken for known at most once in
//! 65,536; all it gains is that only the limit of this account from this address applies.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const WAYS: usize = 16;
const SETS: usize = 4 * 1024;

/// How many days a sign-in is remembered.
pub(super) const MONTH: u32 = 30;

const DAY_BITS: u32 = 12;
/// The last day that fits a slot. Days count from 1, so a word of 0 is an empty slot. After
/// these 11 years nothing is known, as in a new process.
const LAST_DAY: u32 = (1 << DAY_BITS) - 1;

#[derive(Default)]
#[repr(align(64))]
struct Set([AtomicU32; WAYS]);

pub(super) struct KnownTable(Box<[Set]>);

impl KnownTable {
    pub fn new() -> KnownTable {
        KnownTable((0..SETS).map(|_| Set::default()).collect())
    }

    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Whether there was a sign-in within a month. `account` and `pair` are the hashes of the
    /// account, and of the account with the address.
    pub fn knows(&self, account: u64, pair: u64, day: u32) -> bool {
        let Some(today) = at(day) else { return false };
        let is_it = |word: &AtomicU32| {
            let (tag, day) = unpack(word.load(Relaxed));
            tag == tag_of(pair) && day > 0 && today.saturating_sub(day) <= MONTH
        };
        self.set(account).iter().any(is_it)
    }

    /// Notes a sign-in. The oldest one of the set makes room. A note is lost if another thread
    /// changes the same slot at this moment; the next sign-in repeats it.
    pub fn note(&self, account: u64, pair: u64, day: u32) {
        let Some(today) = at(day) else { return };
        let (set, tag) = (self.set(account), tag_of(pair));
        let new = tag << DAY_BITS | today;
        // Of equally old slots, one by chance: else the newest accounts replace each other.
        let first = pair as usize % WAYS;
        let mut oldest: Option<(u32, &AtomicU32, u32)> = None;
        for place in 0..WAYS {
            let word = &set[(first + place) % WAYS];
            let was = word.load(Relaxed);
            if was == new {
                return;
            }
            let (known, day) = unpack(was);
            let age = if known == tag && day > 0 { 0 } else { day + 1 };
            if oldest.is_none_or(|oldest| age < oldest.0) {
                oldest = Some((age, word, was));
            }
        }
        if let Some((_, word, was)) = oldest {
            let _ = word.compare_exchange(was, new, Relaxed, Relaxed);
        }
    }

    fn set(&self, account: u64) -> &[AtomicU32; WAYS] {
        &self.0[account as usize % SETS].0
    }
}

fn at(day: u32) -> Option<u32> {
    (day < LAST_DAY).then_some(day + 1)
}

fn tag_of(pair: u64) -> u32 {
    (pair >> (64 - (32 - DAY_BITS))) as u32
}

fn unpack(word: u32) -> (u32, u32) {
    (word >> DAY_BITS, word & LAST_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash of the `number`th pair, each with a tag of its own.
    fn pair(number: u64) -> u64 {
        (number << 44) | (number % 16)
    }

    #[test]
    fn a_sign_in_is_known_for_a_month_after_the_last_one() {
        let table = KnownTable::new();
        assert!(!table.knows(1, pair(7), 0));
        table.note(1, pair(7), 0);
        assert!(table.knows(1, pair(7), 0) && table.knows(1, pair(7), 30) && !table.knows(1, pair(7), 31));
        assert!(!table.knows(2, pair(7), 0) && !table.knows(1, pair(8), 0));
        table.note(1, pair(7), 20);
        assert!(table.knows(1, pair(7), 50) && !table.knows(1, pair(7), 51));
        // A clock read before another's.
        assert!(table.knows(1, pair(7), 19));
        table.note(1, pair(7), LAST_DAY + 1);
        assert!(!table.knows(1, pair(7), LAST_DAY + 1));
    }

    #[test]
    fn the_oldest_of_a_set_make_room_and_other_sets_are_left_alone() {
        let table = KnownTable::new();
        table.note(2, pair(1), 5);
        (0..16).for_each(|number| table.note(1, pair(number), number as u32));
        assert!((0..16).all(|number| table.knows(1, pair(number), 16)));
        table.note(1, pair(16), 16);
        table.note(1, pair(17), 16);
        assert!((2..18).all(|number| table.knows(1, pair(number), 16)));
        assert!(!table.knows(1, pair(0), 16) && !table.knows(1, pair(1), 16));
        (100..10_000).for_each(|number| table.note(1, pair(number), 17));
        assert!(table.knows(2, pair(1), 17));
        let kept = (100..10_000).filter(|number| table.knows(1, pair(*number), 17)).count();
        assert_eq!(kept, 16);
    }
}
