//! Marks of users in the trie of names: which pairs of adjacent bytes their names have.
//!
//! A text can be part of a name only if the name has all pairs of the text. So a search touches
//! few users whose names do not have the text. Each pair is one of 32 bits, and different pairs
//! may share a bit: a user with the mark of a text may have it or not.

use super::entry::Entry;

/// The mark of every text.
const ALL: u32 = u32::MAX;

/// The mark of a text, which has the bits of all its parts. That of a single byte is 0.
pub(super) fn of(text: &[u8]) -> u32 {
    let pair = |pair: &[u8]| {
        let number = u32::from(pair[0]) << 8 | u32::from(pair[1]);
        // Fibonacci hashing: the multiplication spreads close numbers over all bits.
        1 << (number.wrapping_mul(0x9e37_79b9) >> 27)
    };
    text.windows(2).map(pair).fold(0, |mark, bit: u32| mark | bit)
}

/// The mark of a user of the tenant with this domain. Users with attributes have every mark,
/// because the pairs of many texts would set nearly all bits anyway.
pub(super) fn of_user(user: &Entry, domain: &[u8]) -> u32 {
    if user.known().next().is_some() { ALL } else { of(&user.name) | of(domain) }
}
