//! Converts text to `.properties` syntax.

use super::Side;

/// What follows a piece of stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The end of the key or value. An odd backslash at the end would escape what follows, so it
    /// is doubled.
    End,
    /// A substituted parameter. An odd backslash at the end would escape the parameter's first
    /// character, so it is left out. Java ignores a backslash before an ordinary character too.
    Parameter,
}

/// A correction that [`write_stored`] made, so that Java can read the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// An odd backslash at the end.
    TrailingBackslash,
    /// An odd backslash directly before a placeholder.
    BackslashBeforeParameter,
    /// `\u` without four hexadecimal digits, for which Java throws an exception.
    BadUnicodeEscape,
    /// A backslash before a character that is not ASCII, which Java leaves out.
    DroppedBackslash,
    /// A carriage return or line feed in the stored text.
    LineBreak,
}

/// Appends text from the database, which is already in `.properties` syntax. It is copied
/// unchanged, except where Java could not read it or would read another line.
pub fn write_stored(text: &str, next: Follows, out: &mut String, mut mended: impl FnMut(Mended)) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.peek().copied() {
                None if next == Follows::End => {
                    mended(Mended::TrailingBackslash);
                    out.push_str("\\\\");
                }
                None => mended(Mended::BackslashBeforeParameter),
                Some('\r' | '\n') => skip_continuation(&mut chars),
                Some('u') if !four_hex_digits(chars.clone().skip(1)) => {
                    mended(Mended::BadUnicodeEscape);
                    out.push_str("\\\\");
                }
                Some(escaped) => {
                    chars.next();
                    // Java reads a backslash before an ordinary character as that character. So a
                    // character that is not ASCII is written as an escape without the backslash.
                    match escaped.is_ascii() {
                        true => out.push('\\'),
                        false => mended(Mended::DroppedBackslash),
                    }
                    push_ascii(escaped, out);
                }
            },
            '\r' | '\n' => {
                mended(Mended::LineBreak);
                out.push_str(if c == '\r' { "\\r" } else { "\\n" });
            }
            _ => push_ascii(c, out),
        }
    }
}

/// Skips a line break after a backslash, and the blanks after it. Java joins such lines, so
/// nothing of this is written to the answer.
fn skip_continuation(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if chars.next() == Some('\r') {
        chars.next_if_eq(&'\n');
    }
    while chars.next_if(|c| matches!(c, ' ' | '\t' | '\x0c')).is_some() {}
}

fn four_hex_digits(chars: impl Iterator<Item = char>) -> bool {
    chars.take(4).filter(char::is_ascii_hexdigit).count() == 4
}

fn push_ascii(c: char, out: &mut String) {
    if c.is_ascii() {
        out.push(c);
    } else {
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str("\\u");
            out.extend(hex(*unit).map(char::from));
        }
    }
}

fn hex(unit: u16) -> [u8; 4] {
    let digit = |shift: u16| b"0123456789ABCDEF"[usize::from(unit >> shift & 0xf)];
    [digit(12), digit(8), digit(4), digit(0)]
}

/// The bytes of a plain parameter, which are written unchanged. They are tables, because this is
/// asked for each byte of each parameter in an answer.
const PLAIN_IN_KEY: [bool; 256] = plain(Side::Key);
const PLAIN_IN_VALUE: [bool; 256] = plain(Side::Value);

const fn plain(place: Side) -> [bool; 256] {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        let is_special = matches!(place, Side::Key) && matches!(byte, b':' | b'=' | b'#' | b'!');
        // A dollar is written unchanged, but asks for a closer look.
        plain[byte as usize] = byte != b'\\' && byte != b'$' && !is_special;
        byte += 1;
    }
    plain
}

/// Whether a parameter is plain.
fn is_plain(value: &str, place: Side) -> bool {
    let plain = match place {
        Side::Key => &PLAIN_IN_KEY,
        Side::Value => &PLAIN_IN_VALUE,
    };
    value.bytes().all(|byte| plain[usize::from(byte)])
}

/// Appends a parameter's value. Java reads back exactly this value, and it cannot change other
/// properties. It appends at least as many bytes as the value has.
///
/// Returns whether the value is plain: no escape was needed, and there is no `$` in it.
pub fn write_param(value: &str, place: Side, out: &mut Vec<u8>) -> bool {
    let is_plain = is_plain(value, place);
    if is_plain {
        out.extend_from_slice(value.as_bytes());
    } else {
        write_chars(value.chars(), place, out);
    }
    is_plain
}

/// Does the same as [`write_param`] for a value that is not in one piece.
pub fn write_chars(value: impl Iterator<Item = char>, place: Side, out: &mut Vec<u8>) {
    for (at, c) in value.enumerate() {
        write_char(c, at == 0, place, out);
    }
}

/// Does the same as [`write_param`] for text in UTF-16, in which half of a surrogate pair may
/// stand alone.
pub fn write_units(value: &[u16], place: Side, out: &mut Vec<u8>) {
    for (at, c) in char::decode_utf16(value.iter().copied()).enumerate() {
        match c {
            Ok(c) => write_char(c, at == 0, place, out),
            Err(half) => write_escape(half.unpaired_surrogate(), out),
        }
    }
}

#[inline]
fn write_char(c: char, is_first: bool, place: Side, out: &mut Vec<u8>) {
    let mut write = |bytes: &[u8]| out.extend_from_slice(bytes);
    match c {
        '\\' => write(b"\\\\"),
        '\n' => write(b"\\n"),
        '\r' => write(b"\\r"),
        '\t' => write(b"\\t"),
        '\x0c' => write(b"\\f"),
        ' ' if is_first || place == Side::Key => write(b"\\ "),
        ':' if place == Side::Key => write(b"\\:"),
        '=' if place == Side::Key => write(b"\\="),
        '#' if is_first && place == Side::Key => write(b"\\#"),
        '!' if is_first && place == Side::Key => write(b"\\!"),
        ' '..='~' => write(&[c as u8]),
        _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write_escape(*unit, out)),
    }
}

fn write_escape(unit: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    out.extend_from_slice(&hex(unit));
}

#[cfg(test)]
mod tests {
    use super::super::client_key;
    use super::*;
    use proptest::prelude::*;

    fn stored(text: &str, next: Follows) -> (String, Vec<Mended>) {
        let (mut out, mut mended) = (String::new(), Vec::new());
        write_stored(text, next, &mut out, |what| mended.push(what));
        (out, mended)
    }

    fn param(value: &str, place: Side) -> String {
        let mut out = Vec::new();
        write_param(value, place, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn stored_text_passes_verbatim_but_for_what_java_cannot_read() {
        for (text, written) in [
            ("Jabber\\:alice", "Jabber\\:alice"),
            ("a\\tb \\u00e9", "a\\tb \\u00e9"),
            ("é€", "\\u00E9\\u20AC"),
            ("😀", "\\uD83D\\uDE00"),
            ("one\ntwo\rthree", "one\\ntwo\\rthree"),
            ("C:\\", "C:\\\\"),
            ("C:\\\\", "C:\\\\"),
            ("C:\\\\\\", "C:\\\\\\\\"),
            ("\\user", "\\\\user"),
            ("\\u12", "\\\\u12"),
            ("\\u12é4", "\\\\u12\\u00E94"),
            ("\\\\user", "\\\\user"),
            ("\\é", "\\u00E9"),
            ("joined\\\n  line", "joinedline"),
            ("joined\\\r\nline", "joinedline"),
        ] {
            assert_eq!(stored(text, Follows::End).0, written, "{text:?}");
        }
    }

    #[test]
    fn what_was_fixed_is_reported() {
        assert_eq!(stored("a\\", Follows::End).1, [Mended::TrailingBackslash]);
        assert_eq!(stored("a\\", Follows::Parameter), ("a".into(), vec![Mended::BackslashBeforeParameter]));
        assert_eq!(stored("\\ux", Follows::End).1, [Mended::BadUnicodeEscape]);
        assert_eq!(stored("A\\é", Follows::End).1, [Mended::DroppedBackslash]);
        assert_eq!(stored("a\nb", Follows::End).1, [Mended::LineBreak]);
        assert_eq!(stored("Jabber\\:x", Follows::End).1, []);
    }

    #[test]
    fn parameters_are_data_on_either_side() {
        for (value, in_value, in_key) in [
            ("alice", "alice", "alice"),
            ("a b", "a b", "a\\ b"),
            (" a", "\\ a", "\\ a"),
            ("a:b=c", "a:b=c", "a\\:b\\=c"),
            ("#a#", "#a#", "\\#a#"),
            ("!a", "!a", "\\!a"),
            ("\\", "\\\\", "\\\\"),
            ("\r\n\t\x0c\x01\x7f", "\\r\\n\\t\\f\\u0001\\u007F", "\\r\\n\\t\\f\\u0001\\u007F"),
            ("é€😀", "\\u00E9\\u20AC\\uD83D\\uDE00", "\\u00E9\\u20AC\\uD83D\\uDE00"),
        ] {
            assert_eq!(param(value, Side::Value), in_value, "{value:?}");
            assert_eq!(param(value, Side::Key), in_key, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_utf16_is_read_back_exactly(value in proptest::collection::vec(any::<u16>(), 0..8)) {
            let mut written = Vec::new();
            write_units(&value, Side::Key, &mut written);
            prop_assert_eq!(client_key(&written), Some(value));
        }

        #[test]
        fn a_parameter_is_one_line_of_ascii_and_not_shorter(value in any::<String>(), in_key: bool) {
            let place = if in_key { Side::Key } else { Side::Value };
            let written = param(&value, place);
            prop_assert!(written.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert!(written.len() >= value.len());
        }

        #[test]
        fn a_parameter_in_a_key_is_read_back_exactly(value in any::<String>()) {
            let key = client_key(param(&value, Side::Key).as_bytes());
            prop_assert_eq!(key, Some(value.encode_utf16().collect()));
        }

        #[test]
        fn stored_text_is_one_line_of_ascii_and_its_escapes_are_complete(text in r"[a\\u0é\n\r ]{0,12}") {
            let (written, _) = stored(&text, Follows::End);
            prop_assert!(written.is_ascii() && !written.contains(['\r', '\n']));
            // Written text is stable: writing it again changes nothing.
            prop_assert_eq!(stored(&written, Follows::End), (written, vec![]));
        }
    }
}
