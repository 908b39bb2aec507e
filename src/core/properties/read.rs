//! Converts `.properties` syntax to the text that Java reads.

use std::ops::Range;

use super::is_blank;

/// `\u` without four hexadecimal digits. Java refuses the whole text because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`\\u` without four hexadecimal digits: Java refuses the whole file because of it")]
pub struct BadEscape;

/// A character as it is written and as Java reads it, in UTF-16 as in Java.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its position in the text. Both halves of a surrogate pair have the same position.
    pub written: Range<usize>,
    /// The character that Java reads.
    pub read: u16,
}

/// The characters that Java reads in a key or value, with escapes resolved. A single backslash at
/// the end is left out.
pub fn units(text: &str) -> impl Iterator<Item = Result<Unit, BadEscape>> + '_ {
    let (mut at, mut low) = (0, None);
    std::iter::from_fn(move || {
        if let Some(low) = low.take() {
            return Some(Ok(low));
        }
        let (start, rest) = (at, &text[at..]);
        let mut chars = rest.chars();
        let c = match chars.next()? {
            '\\' => match chars.next()? {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\x0c',
                'u' => {
                    let digits =
                        rest.get(2..6).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                    let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
                    at = unit.map_or(text.len(), |_| start + 6);
                    return Some(unit.map(|read| Unit { written: start..at, read }).ok_or(BadEscape));
                }
                other => other,
            },
            c => c,
        };
        at = text.len() - chars.as_str().len();
        let unit = |read: u16| Unit { written: start..at, read };
        let mut buffer = [0; 2];
        let pair = c.encode_utf16(&mut buffer);
        low = pair.get(1).map(|read| unit(*read));
        Some(Ok(unit(pair[0])))
    })
}

/// The key and the value of a logical line, both with their escapes.
pub fn split_line(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (is_blank(c) || matches!(c, '=' | ':'));
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank))
}

/// The key that Java reads in a line that begins with `written` and `=`; `None` if the line is a
/// comment.
///
/// `written` must be text that this module wrote: ASCII without line breaks, in which every
/// escape is complete.
pub fn client_key(written: &[u8]) -> Option<Vec<u16>> {
    let line = std::str::from_utf8(written).ok()?.trim_start_matches(is_blank);
    if line.starts_with(['#', '!']) {
        return None;
    }
    Some(units(split_line(line).0).map_while(|unit| Some(unit.ok()?.read)).collect())
}

/// The value that Java reads if `written` follows the `=`. Blanks before it are ignored; blanks
/// after it belong to the value.
pub fn client_value(written: &str) -> String {
    client_text(written.trim_start_matches(is_blank))
}

/// The text that Java reads if all of `written` is one key or value.
pub fn client_text(written: &str) -> String {
    let read: Vec<u16> = units(written).map_while(|unit| Some(unit.ok()?.read)).collect();
    String::from_utf16_lossy(&read)
}

/// Whether Java ends the key before the end of `written`, so that the rest belongs to the value.
/// Blanks at the end do not matter.
pub fn is_split(written: &str) -> bool {
    let line = written.trim_matches(is_blank);
    !line.starts_with(['#', '!']) && split_line(line).0.len() < line.len()
}

/// The logical lines that Java reads, each with the number of its first line. A backslash at the
/// end of a line joins the next line to it. Comments and empty lines are left out.
pub fn logical_lines(all: &str) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    let (mut text, mut begun) = (String::new(), 1);
    // Whether leading blanks are being skipped, and whether the line continues on the next one.
    let (mut is_beginning, mut is_joined) = (true, false);
    let mut is_escaped = false;
    for (line, natural) in (1..).zip(natural_lines(all)) {
        for c in natural.chars() {
            if is_beginning && is_blank(c) {
                continue;
            }
            is_beginning = false;
            if text.is_empty() {
                if matches!(c, '#' | '!') {
                    break;
                }
                begun = line;
            }
            text.push(c);
            is_escaped = c == '\\' && !is_escaped;
        }
        if std::mem::take(&mut is_escaped) {
            text.pop();
            is_joined = true;
        } else {
            if !text.is_empty() {
                lines.push((begun, std::mem::take(&mut text)));
            }
            is_joined = false;
        }
        is_beginning = true;
    }
    // Java reads a single backslash as a property with an empty key, if at most one line-ending
    // byte follows it.
    let before_end = all.strip_suffix(['\n', '\r']).unwrap_or(all);
    if is_joined && (!text.is_empty() || before_end.ends_with('\\')) {
        lines.push((begun, text));
    }
    lines
}

/// Lines end with a line feed, a carriage return, or both.
fn natural_lines(all: &str) -> impl Iterator<Item = &str> {
    let mut rest = all;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, after) = rest.split_at(rest.find(['\r', '\n']).unwrap_or(rest.len()));
        rest = after.strip_prefix("\r\n").unwrap_or(after.get(1..).unwrap_or_default());
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_key_ends_where_java_ends_it() {
        let key = |written: &str| {
            client_key(written.as_bytes()).map(|key| String::from_utf16(&key).expect("UTF-16"))
        };
        assert_eq!(key("a.b"), Some("a.b".into()));
        assert_eq!(key("  a b"), Some("a".into()));
        assert_eq!(key("a\\ b\\=c:d"), Some("a b=c".into()));
        assert_eq!(key("\\u00e9\\t"), Some("é\t".into()));
        assert_eq!(key("# a"), None);
        assert_eq!(key("\\#a"), Some("#a".into()));
        assert_eq!(key(""), Some("".into()));
    }

    #[test]
    fn a_key_is_split_where_something_is_left_of_it() {
        for (written, split) in [
            ("a.b", false),
            ("a b", true),
            ("a:b", true),
            ("a=", true),
            ("  a", false),
            ("a  ", false),
            ("a\\ b", false),
            ("a\\ ", false),
            ("a\\:b\\=c", false),
            ("a\\\\ b", true),
            ("# a", false),
            ("", false),
        ] {
            assert_eq!(is_split(written), split, "{written:?}");
        }
    }
}
