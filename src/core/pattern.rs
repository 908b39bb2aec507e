//! Patterns in typed subjects: `*` for any text, `?` for one character.
//!
//! A pattern is stored as the folded text with two bytes that occur in no text, [`ANY`] and
//! [`ONE`], in the places of the wildcards. So it needs no escapes, and equal patterns have equal
//! bytes.

use memchr::memmem;

use super::names::Folded;

#[cfg(test)]
mod tests;

/// Stands for any text, also for none. UTF-8 does not use this byte.
pub const ANY: u8 = 0xFE;
/// Stands for one character. UTF-8 does not use this byte.
pub const ONE: u8 = 0xFF;
/// Longest pattern in bytes, which limits the work of comparing a value.
pub const LONGEST: usize = 255;
/// Longest value in bytes that patterns are compared with. What clients send by themselves is
/// much shorter, and comparing with a long value of many hits takes long.
pub const LONGEST_VALUE: usize = 1024;

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

/// Whether a folded value matches. An empty one matches nothing, as with exact subjects. Takes at
/// most the length of the value times that of the parts with [`ONE`].
pub fn matches(glob: &[u8], value: &[u8]) -> bool {
    if value.is_empty() {
        return false;
    }
    let mut parts = glob.split(|byte| *byte == ANY);
    let Some(mut rest) = after(parts.next().unwrap_or_default(), value) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // It never helps to let one part match further right: that leaves less for the next.
    for part in parts {
        let Some(left) = after_first(part, rest) else { return false };
        rest = left;
    }
    ends_with(last, rest)
}

/// What follows `part` at the beginning of `value`.
fn after<'v>(part: &[u8], mut value: &'v [u8]) -> Option<&'v [u8]> {
    for &byte in part {
        let (&next, rest) = value.split_first()?;
        value = match byte {
            ONE => &rest[continued(rest)..],
            _ if byte == next => rest,
            _ => return None,
        };
    }
    Some(value)
}

/// What follows the first occurrence of `part`.
fn after_first<'v>(part: &[u8], mut value: &'v [u8]) -> Option<&'v [u8]> {
    if !part.contains(&ONE) {
        return Some(&value[memmem::find(value, part)? + part.len()..]);
    }
    loop {
        if let Some(rest) = after(part, value) {
            return Some(rest);
        }
        let (_, rest) = value.split_first()?;
        value = &rest[continued(rest)..];
    }
}

fn ends_with(part: &[u8], mut value: &[u8]) -> bool {
    for &byte in part.iter().rev() {
        let Some((&last, rest)) = value.split_last() else { return false };
        value = match byte {
            ONE => {
                let first = value.iter().rposition(|byte| !is_continuation(*byte));
                &value[..first.unwrap_or_default()]
            }
            _ if byte == last => rest,
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

/// A part of a pattern or of a form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Any,
    One,
    /// A hexadecimal digit.
    Digit,
}

impl Token {
    /// Whether one character may be both.
    fn may_be(self, other: Token) -> bool {
        match (self, other) {
            (Token::Digit, Token::Char(c)) | (Token::Char(c), Token::Digit) => c.is_ascii_hexdigit(),
            (Token::Char(one), Token::Char(other)) => one == other,
            _ => true,
        }
    }
}

fn tokens(glob: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(glob.len());
    for chunk in glob.split_inclusive(|byte| *byte >= ANY) {
        let (text, wildcard) = match chunk.split_last() {
            Some((&last, text)) if last >= ANY => (text, Some(last)),
            _ => (chunk, None),
        };
        tokens.extend(String::from_utf8_lossy(text).chars().map(Token::Char));
        tokens.extend(wildcard.map(|byte| if byte == ANY { Token::Any } else { Token::One }));
    }
    tokens
}

/// Whether one value can match both patterns.
pub fn can_both_match(one: &[u8], other: &[u8]) -> bool {
    have_common_text(&tokens(one), &tokens(other))
}

/// Whether a pattern can match a text of this form, in which `x` stands for any hexadecimal digit.
pub fn can_match_form(glob: &[u8], form: &[u8]) -> bool {
    let digit = |byte: &u8| if *byte == b'x' { Token::Digit } else { Token::Char(char::from(*byte)) };
    have_common_text(&tokens(glob), &form.iter().map(digit).collect::<Vec<_>>())
}

fn have_common_text(one: &[Token], other: &[Token]) -> bool {
    // Whether `one[..row]` and `other[..at]` have a text in common, for each `at`.
    let mut common: Vec<bool> = vec![false; other.len() + 1];
    for row in 0..=one.len() {
        let above = common.clone();
        for at in 0..=other.len() {
            let ends = one[..row].last().zip(other[..at].last());
            let is_any = |tokens: &[Token]| tokens.last() == Some(&Token::Any);
            let is_any = is_any(&one[..row]) || is_any(&other[..at]);
            common[at] = (row, at) == (0, 0)
                || ends.is_some_and(|(up, left)| above[at - 1] && up.may_be(*left))
                || row > 0 && is_any && above[at]
                || at > 0 && is_any && common[at - 1];
        }
    }
    common[other.len()]
}
