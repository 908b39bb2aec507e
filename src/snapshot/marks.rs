//! Marks of users, by which a search skips those who cannot match: which pairs of adjacent bytes
//! their texts have.
//!
//! A text can be part of another only if the other has all its pairs. Each pair is one of 128 bits,
//! and different pairs may share a bit: a user with all bits of a text may have it or not. Users
//! without attributes have few pairs, so 31 bits are enough, for which the trie of names has room.

use std::num::NonZeroU32;

use super::entry::Entry;
use super::names;
use crate::core::names::Comparison;

/// The bit in the mark of an entry that says that it has rules.
pub(super) const HAS_RULES: u32 = 1 << 31;

/// The pairs of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pairs([u32; 4]);

impl Pairs {
    /// Those of `text`. A single byte has none.
    pub fn of(text: &[u8]) -> Pairs {
        let mut pairs = Pairs::default();
        for pair in text.windows(2) {
            let number = u32::from(pair[0]) << 8 | u32::from(pair[1]);
            // Fibonacci hashing: the multiplication spreads close numbers over all bits.
            let bit = number.wrapping_mul(0x9e37_79b9) >> 25;
            pairs.0[bit as usize / 32] |= 1 << (bit % 32);
        }
        pairs
    }

    /// Those of the user of a tenant with this domain: of the names, and of the values of
    /// attributes. The values of secret ones are in too, because it takes long to tell them apart.
    pub fn of_user(user: &Entry, domain: &[u8], comparison: Comparison) -> Pairs {
        let names = Pairs::of(&user.name).union(Pairs::of(domain));
        let values = user.known().flat_map(|known| known.iter());
        values.map(|known| Pairs::of(&comparison.fold(known.value))).fold(names, Pairs::union)
    }

    /// Both together.
    pub fn union(self, other: Pairs) -> Pairs {
        Pairs(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self == Pairs::default()
    }

    /// The mark of users without attributes: one bit for four, and one for eight, which leaves
    /// [`HAS_RULES`] free.
    pub fn narrow(self) -> u32 {
        let all = self.0.into_iter().fold(0, |all, bits| all | bits);
        (all | (all & HAS_RULES) >> 1) & !HAS_RULES
    }

    /// The mark of users with attributes. The other bits are in [`KnownUser`].
    pub fn first(self) -> u32 {
        self.0[0]
    }
}

/// A user with attributes, for searches.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownUser {
    /// The half of the name's hash that its place in the trie does not have.
    rest: NonZeroU32,
    /// The bits of [`Pairs`] that are not in the mark.
    bits: [u32; 3],
}

impl KnownUser {
    /// The user of this entry, with these pairs.
    pub fn new(user: &Entry, Pairs([_, bits @ ..]): Pairs) -> KnownUser {
        KnownUser { rest: names::rest(user.tenant, user.kind, &user.name), bits }
    }

    /// Whether it is the user of this entry.
    pub fn is(&self, user: &Entry) -> bool {
        self.rest == names::rest(user.tenant, user.kind, &user.name)
    }

    /// Whether the user, whose mark has [`Pairs::first`], has all pairs.
    pub fn has(&self, Pairs([_, wanted @ ..]): Pairs) -> bool {
        self.bits.iter().zip(wanted).all(|(bits, wanted)| bits & wanted == wanted)
    }
}
