//! Escapes text from outside, so that all of it is visible and none of it acts.
//!
//! A name in the database may contain control characters that a terminal obeys,
//! characters that change the order of the text, or invisible ones. Commands and the
//! log show such characters as escapes.

use std::borrow::Cow;
use std::fmt::Write;

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointSetData};

/// What an escape looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapeStyle {
    /// `\u{202e}`, for people.
    Braces,
    /// `\u202e`, and a surrogate pair above U+FFFF. JSON and Java's properties
    /// read these as the original text.
    Units,
}

/// The braille pattern without dots. Its category is a symbol, but it is invisible.
const BLANK_BRAILLE: char = '\u{2800}';

/// Categories of characters without a shape of their own.
const UNSEEN: GeneralCategoryGroup = GeneralCategoryGroup::Other.union(GeneralCategoryGroup::Separator);

/// Whether a character has a shape of its own, or is the ASCII space.
fn is_visible(c: char) -> bool {
    match c.is_ascii() {
        true => !c.is_ascii_control(),
        false => {
            !UNSEEN.contains(CodePointMapData::<GeneralCategory>::new().get(c))
                && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
                && c != BLANK_BRAILLE
        }
    }
}

/// Whether a character changes the shape of the one before it.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c))
}

/// The text on one line, with escapes for characters that are invisible or act on a terminal.
pub fn escape(text: &str, form: EscapeStyle) -> Cow<'_, str> {
    escape_but(text, form, |_| false)
}

/// Like [`escape`], but does not escape the characters for which `kept` is true.
pub fn escape_but(text: &str, form: EscapeStyle, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Nearly all text is printable ASCII, which needs no escapes.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    // Whether the previous character is one that a mark may change.
    let mut is_base = false;
    for c in text.chars() {
        let is_seen = kept(c) || is_visible(c) && (is_base || !is_mark(c));
        match is_seen {
            true => out.push(c),
            false => escape_char(c, form, &mut out),
        }
        is_base = is_seen && (c.is_alphanumeric() || is_mark(c));
    }
    out.into()
}

fn escape_char(c: char, form: EscapeStyle, out: &mut String) {
    match (c, form) {
        ('\n' | '\r' | '\t', _) | (_, EscapeStyle::Braces) => out.extend(c.escape_default()),
        (_, EscapeStyle::Units) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_acts_or_hides_is_an_escape() {
        for (text, expected) in [
            ("plain \\ bób 😀 עברית", "plain \\ bób 😀 עברית"),
            ("a\nb\tc", "a\\nb\\tc"),
            ("\x1b[31mred\u{9b}0m\x07\x7f", "\\u{1b}[31mred\\u{9b}0m\\u{7}\\u{7f}"),
            // Bidirectional controls, and separators of lines and paragraphs.
            ("\u{202e}gro\u{2066}\u{200f}\u{61c}", "\\u{202e}gro\\u{2066}\\u{200f}\\u{61c}"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            // Zero width, soft hyphen, tag, filler, variation selector, other spaces.
            ("a\u{200b}\u{feff}\u{ad}", "a\\u{200b}\\u{feff}\\u{ad}"),
            ("\u{e0041}\u{3164}\u{fe0f}\u{a0}", "\\u{e0041}\\u{3164}\\u{fe0f}\\u{a0}"),
            ("\u{3000}\u{2800}", "\\u{3000}\\u{2800}"),
            // Private, unassigned, no character.
            ("\u{e000}\u{378}\u{ffff}", "\\u{e000}\\u{378}\\u{ffff}"),
            // A mark needs a base character, or it would change what stands before the text.
            ("e\u{301}\u{301}", "e\u{301}\u{301}"),
            ("\u{301}e \u{301}\"\u{20dd}", "\\u{301}e \\u{301}\"\\u{20dd}"),
        ] {
            assert_eq!(escape(text, EscapeStyle::Braces), expected, "{text:?}");
        }
        assert_eq!(escape("\u{202e}\n\u{e0041}\x1b", EscapeStyle::Units), "\\u202e\\n\\udb40\\udc41\\u001b");
        assert_eq!(escape_but("a\n\x1b", EscapeStyle::Braces, |c| c == '\n'), "a\n\\u{1b}");
    }

    proptest! {
        #[test]
        fn what_is_escaped_needs_no_escape_and_is_the_same_in_json(text in r#"(\PC|[\x00-\u{2fff}\u{e0000}-\u{e01ff}]){0,12}"#) {
            let escaped = escape(&text, EscapeStyle::Braces);
            prop_assert!(escaped.chars().all(is_visible));
            prop_assert_eq!(&escape(&escaped, EscapeStyle::Braces), &escaped);
            let json = serde_json::to_string(&text).unwrap();
            let escaped = escape(&json, EscapeStyle::Units);
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }
    }
}
