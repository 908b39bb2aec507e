//! How the fields of a file are separated and quoted.

use csv::{ReaderBuilder, StringRecord};
use memchr::memchr3_iter;

use super::super::FileError;

/// What separates fields, the most usual first.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// The separator of a file, and where its heads begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub separator: u8,
    /// The length of a first line `sep=;`, in bytes.
    pub heads: usize,
}

impl Dialect {
    /// Recognises the separator: the one that a first line `sep=;` names, or else the one with
    /// which the heads contain most known names.
    pub fn of(text: &[u8], is_known: impl Fn(&str) -> bool) -> Dialect {
        if let Some(named) = named(text) {
            return named;
        }
        let score = |separator: &u8| {
            let heads = fields(text, *separator);
            (heads.iter().filter(|head| is_known(head)).count(), heads.len())
        };
        // Of several with the same score, `max_by_key` takes the last.
        let separator = SEPARATORS.into_iter().rev().max_by_key(score);
        Dialect { separator: separator.unwrap_or(b','), heads: 0 }
    }

    /// The separator for people.
    pub fn shown(self) -> String {
        match self.separator {
            b'\t' => "a tab".into(),
            other => format!("'{}'", char::from(other)),
        }
    }
}

/// The separator that the first line names. Excel writes and reads such a line.
fn named(text: &[u8]) -> Option<Dialect> {
    let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(text.len());
    let line = text[..end].trim_ascii_start();
    let line =
        line.strip_prefix(b"\"").and_then(|line| line.trim_ascii_end().strip_suffix(b"\"")).unwrap_or(line);
    let (begin, rest) = line.split_at_checked(4)?;
    let separator = *rest.first().filter(|byte| byte.is_ascii_punctuation() || **byte == b'\t')?;
    // Spreadsheets fill up short lines with separators.
    let is_alone = rest.iter().all(|byte| *byte == separator);
    if !begin.eq_ignore_ascii_case(b"sep=") || !is_alone || separator == b'"' {
        return None;
    }
    let rest = &text[end..];
    let heads = end + if rest.starts_with(b"\r\n") { 2 } else { rest.len().min(1) };
    Some(Dialect { separator, heads })
}

/// The fields of the first record.
fn fields(text: &[u8], separator: u8) -> StringRecord {
    let mut record = StringRecord::new();
    let mut reader = ReaderBuilder::new().has_headers(false).delimiter(separator).from_reader(text);
    // What cannot be read has no fields.
    let _ = reader.read_record(&mut record);
    record
}

/// A field in quotes that begins or ends with a blank: where its record begins, and its place in
/// the record.
pub(super) type Blank = (usize, usize);

/// Checks that every field that begins with a quote also ends with one. Otherwise the rest of the
/// file would be read as one field. Returns the fields in quotes that begin or end with a blank.
///
/// # Errors
/// When a quote is missing, is not doubled, or, if the blanks around fields are `trimmed`, comes
/// after a blank.
pub(super) fn check_quotes(text: &[u8], dialect: Dialect, trimmed: bool) -> Result<Vec<Blank>, FileError> {
    let (mut at, mut record, mut field, mut blanks) = (dialect.heads, dialect.heads, 0, Vec::new());
    let failed = |at: usize, what: &str| {
        let what = format!("{what} (the separator is {})", dialect.shown());
        Err(FileError::new(1 + lines_in(&text[..at]), what))
    };
    let mut ends = memchr3_iter(dialect.separator, b'\r', b'\n', text);
    while at < text.len() {
        if text[at] == b'"' {
            let begin = at + 1;
            let end = match closing_quote(text, begin, dialect.separator) {
                Ok(end) => end,
                Err(what) => return failed(at, what),
            };
            if std::str::from_utf8(&text[begin..end]).is_ok_and(|text| text != text.trim()) {
                blanks.push((record, field));
            }
            at = end + 1;
        } else if trimmed && text[at] == b' ' && text[at..].iter().find(|byte| **byte != b' ') == Some(&b'"')
        {
            return failed(at, "a blank comes before the quote with which a field begins: remove it");
        }
        let Some(end) = ends.find(|end| *end >= at) else { break };
        at = end + 1;
        match text[end] == dialect.separator {
            true => field += 1,
            false => (record, field) = (at, 0),
        }
    }
    Ok(blanks)
}

/// The place of the quote that ends the field.
fn closing_quote(text: &[u8], begin: usize, separator: u8) -> Result<usize, &'static str> {
    let mut at = begin;
    loop {
        let Some(length) = memchr::memchr(b'"', &text[at..]) else {
            return Err("a field begins with a quote and does not end with one");
        };
        at += length;
        match text.get(at + 1) {
            Some(b'"') => at += 2,
            None | Some(b'\r' | b'\n') => return Ok(at),
            Some(end) if *end == separator => return Ok(at),
            Some(_) => {
                return Err(
                    "a field in quotes continues after the closing quote: double the quotes inside a field",
                );
            }
        }
    }
}

/// The number of lines that end in `text`.
pub(super) fn lines_in(text: &[u8]) -> u64 {
    let ends = text.iter().enumerate();
    ends.filter(|(at, byte)| **byte == b'\n' || **byte == b'\r' && text.get(at + 1) != Some(&b'\n')).count()
        as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_is_the_one_that_a_line_names_or_that_separates_known_heads() {
        let is_known = |head: &str| ["username", "domain", "password"].contains(&head.trim());
        for (text, separator, heads) in [
            ("username,domain,password\n", b',', 0),
            ("username;domain;password\na;b;c,d", b';', 0),
            ("username\tdomain\tpassword", b'\t', 0),
            ("\"username\";\"domain\";\"a,b,c,d\"\n", b';', 0),
            ("username;a,b,c,d\n", b';', 0),
            ("x|y\n", b'|', 0),
            ("x;y,z,a\n", b',', 0),
            ("", b',', 0),
            ("sep=;\r\nusername,domain", b';', 7),
            ("SEP=\t\nusername\tdomain", b'\t', 6),
            ("\"sep=;\"\nusername;domain", b';', 8),
            ("sep=;;;\rusername;domain", b';', 8),
            ("sep=^", b'^', 5),
            ("sep=,domain\n", b',', 0),
            ("separator,domain\n", b',', 0),
        ] {
            assert_eq!(Dialect::of(text.as_bytes(), is_known), Dialect { separator, heads }, "{text:?}");
        }
    }

    #[test]
    fn quotes_are_checked_and_blanks_in_them_found() {
        let check = |text: &str, trimmed| {
            check_quotes(text.as_bytes(), Dialect { separator: b';', heads: 0 }, trimmed)
        };
        let text = "a; b;\" c\"\n\r\n\"d;\ne \";\"\"\"f\"\"\";\"\"";
        assert_eq!(check(text, true).expect("good"), [(0, 2), (12, 0)]);
        assert!(check("a; \"b;c\"", false).expect("good").is_empty());
        let why = check("a;b\na; \"b;c\"", true).expect_err("a blank").to_string();
        assert_eq!(
            why,
            "line 2: a blank comes before the quote with which a field begins: remove it (the separator is ';')"
        );
        assert!(check("a;\"b\",c", true).is_err() && check("a;\"b", true).is_err());
    }
}
