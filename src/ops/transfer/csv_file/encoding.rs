//! Recognises the encoding of a file, and decodes it.

use std::borrow::Cow;

use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::dialect::lines_in;
use crate::ops::transfer::FileError;

/// The encoding of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(&'static Encoding);

/// A name that is no encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no encoding has this name: write utf-8, utf-16, windows-1252, or another name that browsers know")]
pub struct UnknownEncoding;

impl std::str::FromStr for TextEncoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<TextEncoding, UnknownEncoding> {
        let known = Encoding::for_label(name.as_bytes()).filter(|known| *known != REPLACEMENT);
        known.map(TextEncoding).ok_or(UnknownEncoding)
    }
}

/// The content of a file as UTF-8, without a byte order mark.
pub(super) struct Decoded<'t> {
    pub text: Cow<'t, [u8]>,
    /// The encoding that the file has.
    pub encoding: &'static Encoding,
    /// Whether the encoding is only the likeliest one.
    pub is_guessed: bool,
}

/// How files begin that people take for CSV.
const OTHERS: [(&[u8], &str); 3] = [
    (b"PK\x03\x04", "a spreadsheet of Excel or LibreOffice, or another ZIP file"),
    (b"\xD0\xCF\x11\xE0", "a spreadsheet of an old Excel"),
    (b"%PDF", "a PDF"),
];
/// How many bytes are looked at to recognise UTF-16 without a byte order mark.
const BEGINNING: usize = 64;

/// Decodes a file. A byte order mark outranks the encoding that is `wanted`.
///
/// # Errors
/// When the file is no text in its encoding.
pub(super) fn decode(bytes: &[u8], wanted: Option<TextEncoding>) -> Result<Decoded<'_>, FileError> {
    if let Some((_, what)) = OTHERS.iter().find(|(begin, _)| bytes.starts_with(begin)) {
        return Err(FileError::new(1, format!("this is {what}, and not CSV: save it as CSV")));
    }
    let marked = Encoding::for_bom(bytes);
    let bytes = &bytes[marked.map_or(0, |(_, length)| length)..];
    let known = marked.map(|(encoding, _)| encoding);
    let known = known.or_else(|| wanted.map(|wanted| in_order(wanted.0, bytes)));
    let invalid = match known.or_else(|| looks_like_utf_16(bytes)) {
        Some(encoding) if encoding != UTF_8 => return decode_as(bytes, encoding),
        known => match std::str::from_utf8(bytes) {
            Ok(_) => return Ok(Decoded { text: bytes.into(), encoding: UTF_8, is_guessed: false }),
            Err(why) if known.is_some() => return Err(not_in(UTF_8, bytes, why.valid_up_to())),
            Err(why) => why.valid_up_to(),
        },
    };
    // Text in windows-1252 is hardly ever valid UTF-8 in other places.
    let has_utf_8 = bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    if has_utf_8 {
        let what = "not UTF-8, but other letters in the file are: correct this line, or give --encoding";
        return Err(FileError::new(1 + lines_in(&bytes[..invalid]), what));
    }
    Ok(Decoded { is_guessed: true, ..decode_as(bytes, WINDOWS_1252)? })
}

fn decode_as<'t>(bytes: &'t [u8], encoding: &'static Encoding) -> Result<Decoded<'t>, FileError> {
    let (text, has_errors) = encoding.decode_without_bom_handling(bytes);
    if has_errors {
        let end = text.find('\u{fffd}').unwrap_or(0);
        return Err(not_in(encoding, text.as_bytes(), end));
    }
    let text = match text {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => text.into_bytes().into(),
    };
    Ok(Decoded { text, encoding, is_guessed: false })
}

fn not_in(encoding: &'static Encoding, text: &[u8], at: usize) -> FileError {
    let what = format!("not {}: give the right --encoding, or convert the file", name(encoding));
    FileError::new(1 + lines_in(&text[..at]), what)
}

/// The name of an encoding as people write it.
pub(super) fn name(encoding: &'static Encoding) -> Cow<'static, str> {
    match encoding.name() {
        name if name.starts_with("UTF") => name.into(),
        name => name.to_ascii_lowercase().into(),
    }
}

/// UTF-16 in the byte order of the file. The name `utf-16` means little-endian, but big-endian
/// files without a byte order mark exist too.
fn in_order(encoding: &'static Encoding, bytes: &[u8]) -> &'static Encoding {
    if encoding == UTF_16LE { looks_like_utf_16(bytes).unwrap_or(encoding) } else { encoding }
}

/// Heads are nearly always ASCII. In UTF-16, every other byte of ASCII is zero.
fn looks_like_utf_16(bytes: &[u8]) -> Option<&'static Encoding> {
    let (pairs, _) = bytes[..bytes.len().min(BEGINNING)].as_chunks::<2>();
    let is_all = |fits: fn(&[u8; 2]) -> bool| pairs.len() >= 4 && pairs.iter().all(fits);
    match (is_all(|[low, high]| *low != 0 && *high == 0), is_all(|[high, low]| *low != 0 && *high == 0)) {
        (true, _) => Some(UTF_16LE),
        (_, true) => Some(UTF_16BE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn encodings_are_recognised() {
        let text = "username;J\u{e9}r\u{f4}me \u{20ac}";
        let cp1252 = b"username;J\xe9r\xf4me \x80".to_vec();
        for (bytes, encoding, is_guessed) in [
            (text.as_bytes().to_vec(), UTF_8, false),
            (format!("\u{feff}{text}").into_bytes(), UTF_8, false),
            (utf_16(&format!("\u{feff}{text}"), u16::to_le_bytes), UTF_16LE, false),
            (utf_16(&format!("\u{feff}{text}"), u16::to_be_bytes), UTF_16BE, false),
            (cp1252, WINDOWS_1252, true),
        ] {
            let decoded = decode(&bytes, None).expect("text");
            assert_eq!((&*decoded.text, decoded.encoding), (text.as_bytes(), encoding));
            assert_eq!(decoded.is_guessed, is_guessed);
        }
        // Without a mark, UTF-16 is recognised by its heads.
        let text = format!("username,domain,password,display_name\n{text}");
        for bytes in [utf_16(&text, u16::to_le_bytes), utf_16(&text, u16::to_be_bytes)] {
            for wanted in [None, Some("utf-16")] {
                let wanted = wanted.map(|name| name.parse().expect("a name"));
                assert_eq!(&*decode(&bytes, wanted).expect("text").text, text.as_bytes());
            }
        }
    }

    #[test]
    fn an_encoding_that_is_named_is_used_and_one_that_does_not_fit_is_refused() {
        let named = |name: &str| Some(name.parse::<TextEncoding>().expect("a name"));
        let greek = decode(b"\xe1", named("iso-8859-7")).expect("text");
        assert_eq!(&*greek.text, "\u{3b1}".as_bytes());
        assert_eq!(&*decode(b"\xa4", named("iso-8859-15")).expect("text").text, "\u{20ac}".as_bytes());
        for (bytes, wanted, words) in [
            (&b"a\nb\n\xe9"[..], named("utf-8"), "line 3: not UTF-8: give the right --encoding"),
            (b"a\0\n\0\0\xd8a\0", named("utf-16le"), "line 2: not UTF-16LE"),
            (b"\xc3\xa9\n\xe9", None, "line 2: not UTF-8, but other letters"),
            (b"PK\x03\x04rest", None, "line 1: this is a spreadsheet"),
        ] {
            let why = decode(bytes, wanted).err().expect("refused").to_string();
            assert!(why.starts_with(words), "{why}");
        }
        assert!("utf-9".parse::<TextEncoding>().is_err() && named("cp1252").is_some());
    }
}
