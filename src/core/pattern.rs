//! Patterns in typed subjects: `*` for any text, `?` for one character.
//!
//! A pattern is stored as the folded text with two bytes that occur in no text, [`ANY`] and
//! [`ONE`], in the places of the wildcards. So it needs no escapes, and equal patterns have equal
//! bytes.

use super::names::Folded;

#[cfg(test)]
mod tests;

/// Stands for any text, also for none. UTF-8 does not use this byte.
pub const ANY: u8 = 0xFE;
/// Stands for one character. UTF-8 does not use this byte.
pub const ONE: u8 = 0xFF;
/// Longest pattern in bytes. Comparing a value takes at most its length times this.
pub const LONGEST: usize = 255;

/// What the folded text after the `=` of a subject says.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// There is no wildcard: the text itself, without the backslashes of escapes.
    Exact(Folded),
    /// There are wildcards.
    Glob(Folded),
}

/// Reads a folded text. `\*`, `\?` and `\\` are the characters themselves; any other backslash
/// is a backslash.
pub fn read(text: &[u8]) -> Written {
    let mut read = Folded::new();
    let mut has_wildcard = false;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escaped = bytes.peek().copied().filter(|next| byte == b'\\' && b"*?\\".contains(next));
        match byte {
            _ if escaped.is_some() => read.extend(bytes.next()),
            b'*' | b'?' => {
                has_wildcard = true;
                wildcard(&mut read, byte == b'*');
            }
            _ => read.push(byte),
        }
    }
    if has_wildcard { Written::Glob(read) } else { Written::Exact(read) }
}

/// Adds a wildcard. Of neighbours, [`ANY`] comes last, and only once: `*?*` means `?*`.
fn wildcard(glob: &mut Folded, is_any: bool) {
    let follows_any = glob.last() == Some(&ANY);
    match (follows_any, is_any) {
        (true, true) => {}
        (true, false) => glob.insert(glob.len() - 1, ONE),
        (false, _) => glob.push(if is_any { ANY } else { ONE }),
    }
}

/// The pattern as it can be written in a subject.
pub fn shown(glob: &[u8]) -> String {
    let mut text = Vec::with_capacity(glob.len());
    for &byte in glob {
        match byte {
            ANY => text.push(b'*'),
            ONE => text.push(b'?'),
            b'*' | b'?' | b'\\' => text.extend([b'\\', byte]),
            _ => text.push(byte),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The texts between the wildcards. A value that matches contains all of them.
pub fn literals(glob: &[u8]) -> impl Iterator<Item = &[u8]> {
    glob.split(|byte| *byte >= ANY).filter(|literal| !literal.is_empty())
}

/// Whether a folded value matches. An empty one matches nothing, as with exact subjects.
pub fn matches(glob: &[u8], value: &[u8]) -> bool {
    !value.is_empty() && matches_by(glob, value, |one, other| one == other)
}

/// Whether each byte of the pattern that is no wildcard is the `same` as the byte of the value in
/// its place. Takes at most the length of the pattern times that of the value.
pub fn matches_by(glob: &[u8], value: &[u8], same: impl Fn(u8, u8) -> bool + Copy) -> bool {
    let mut parts = glob.split(|byte| *byte == ANY);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = after(first, value, same) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // It never helps to let one part match further right: that leaves less for the next.
    for part in parts {
        let Some(left) = find(part, rest, same) else { return false };
        rest = left;
    }
    ends_with(last, rest, same)
}

/// What follows `part` at the beginning of `value`.
fn after<'v>(part: &[u8], mut value: &'v [u8], same: impl Fn(u8, u8) -> bool) -> Option<&'v [u8]> {
    for &byte in part {
        let (&next, rest) = value.split_first()?;
        value = match byte {
            ONE => &rest[continued(rest)..],
            _ if same(byte, next) => rest,
            _ => return None,
        };
    }
    Some(value)
}

/// What follows the first occurrence of `part`.
fn find<'v>(part: &[u8], mut value: &'v [u8], same: impl Fn(u8, u8) -> bool + Copy) -> Option<&'v [u8]> {
    loop {
        if let Some(rest) = after(part, value, same) {
            return Some(rest);
        }
        let (_, rest) = value.split_first()?;
        value = &rest[continued(rest)..];
    }
}

fn ends_with(part: &[u8], mut value: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    for &byte in part.iter().rev() {
        let Some((&last, rest)) = value.split_last() else { return false };
        value = match byte {
            ONE => {
                let first = value.iter().rposition(|byte| !is_continuation(*byte));
                &value[..first.unwrap_or_default()]
            }
            _ if same(byte, last) => rest,
            _ => return false,
        };
    }
    true
}

/// How many bytes at the beginning belong to the character before.
fn continued(value: &[u8]) -> usize {
    value.iter().take_while(|byte| is_continuation(**byte)).count()
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// A character of a pattern, or one of these two.
type Token = u32;
const ANY_TOKEN: Token = u32::MAX;
const ONE_TOKEN: Token = u32::MAX - 1;

fn tokens(glob: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(glob.len());
    for chunk in glob.split_inclusive(|byte| *byte >= ANY) {
        let (text, wildcard) = match chunk.split_last() {
            Some((&last, text)) if last >= ANY => (text, Some(last)),
            _ => (chunk, None),
        };
        tokens.extend(String::from_utf8_lossy(text).chars().map(Token::from));
        tokens.extend(wildcard.map(|byte| if byte == ANY { ANY_TOKEN } else { ONE_TOKEN }));
    }
    tokens
}

/// Whether one value can match both patterns.
pub fn can_both_match(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (tokens(one), tokens(other));
    // Whether `one[..row]` and `other[..at]` have a text in common, for each `at`.
    let mut common: Vec<bool> = vec![false; other.len() + 1];
    for row in 0..=one.len() {
        let above = common.clone();
        for at in 0..=other.len() {
            let (up, left) = (one[..row].last().copied(), other[..at].last().copied());
            let is_any = up == Some(ANY_TOKEN) || left == Some(ANY_TOKEN);
            let is_alike = up == left || is_any || [up, left].contains(&Some(ONE_TOKEN));
            common[at] = (row, at) == (0, 0)
                || row > 0 && at > 0 && is_alike && above[at - 1]
                || row > 0 && is_any && above[at]
                || at > 0 && is_any && common[at - 1];
        }
    }
    common[other.len()]
}
