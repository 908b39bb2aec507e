//! A key or value as the operator wrote it, and a client's parameters. With any content, the lines
//! of the answer must be the intended ones.
//!
//! Input: `key` or `value`; parameters, one `name=value` a line; an empty line; the template.

use std::ops::Range;

use jitsiprovs::core::params::{ParamName, Params, Values};
use jitsiprovs::core::properties::Side;
use jitsiprovs::core::template::Template;

use crate::{java, text};

/// Runs the target on one input; panics at a defect.
pub fn run(data: &[u8]) {
    let (place, rest) = text::line(data);
    let place = if place.first() == Some(&b'k') { Side::Key } else { Side::Value };
    let (pairs, rest) = text::params(rest);
    let stored = text::text(rest.to_vec());
    // The parameters that an authenticated request always has.
    let always = [("username", "alice"), ("password", "pw"), ("domain", "a.org")];
    let params: Params =
        pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(always).collect();

    any_text_is_one_property_at_most(&stored, place, &params);
    escaped_text_comes_out_as_it_was(&stored);
    pieces_come_out_in_order(&stored, place, &params);
}

/// `None` if a parameter is missing.
fn render(stored: &str, place: Side, params: &Params) -> Option<Vec<u8>> {
    let template = Template::parse(stored, place, |_| {});
    let whole = template.whole();
    let mut rendered = Vec::new();
    whole.render(params, &mut rendered);
    assert!(rendered.len() >= whole.least_len(params), "the least length was predicted");
    assert!(rendered.is_ascii());
    assert!(!rendered.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
    let is_missing = whole.missing(params).is_some();
    assert!(!is_missing || whole.is_conditional());
    if template.is_fixed() {
        assert!(!is_missing);
        let mut again = Vec::new();
        whole.render(&Params::new(), &mut again);
        assert_eq!(rendered, again);
    }
    (!is_missing).then_some(rendered)
}

/// The properties of an answer with `line` between two others.
fn load(line: &[u8]) -> Vec<java::Property> {
    let answer = [b"first=1\n", line, b"\nlast=2\n"].concat();
    let mut properties = java::load(&answer).unwrap_or_else(|why| panic!("{why}"));
    let plain = |key: &str, value: &str| (key.encode_utf16().collect(), value.encode_utf16().collect());
    assert_eq!(properties.first(), Some(&plain("first", "1")));
    assert_eq!(properties.last(), Some(&plain("last", "2")));
    assert!(properties.len() >= 2);
    properties.pop();
    properties.remove(0);
    properties
}

fn as_line(rendered: &[u8], place: Side) -> Vec<u8> {
    match place {
        Side::Key => [rendered, b"=v"].concat(),
        Side::Value => [b"k=", rendered].concat(),
    }
}

fn any_text_is_one_property_at_most(stored: &str, place: Side, params: &Params) {
    let Some(rendered) = render(stored, place, params) else { return };
    let properties = load(&as_line(&rendered, place));
    match place {
        Side::Value => {
            assert_eq!(properties.len(), 1);
            assert_eq!(properties[0].0, [u16::from(b'k')], "the key has changed");
        }
        // A key may begin with `#`, which Java reads as a comment.
        Side::Key => assert!(properties.len() <= 1),
    }
}

/// With dollars and backslashes doubled, any text is a template for itself.
fn escaped_text_comes_out_as_it_was(plain: &str) {
    let stored = plain.replace('\\', "\\\\").replace('$', "$$");
    let rendered = render(&stored, Side::Value, &Params::new()).expect("there is nothing to fill in");
    // Java leaves out stored blanks at the beginning.
    let expected = plain.trim_start_matches([' ', '\t', '\x0c']);
    assert_eq!(load(&as_line(&rendered, Side::Value)), [(vec![u16::from(b'k')], utf16(expected))]);
}

fn utf16(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// Builds a template whose result is known. The text is cut at every `|`: a piece that begins with
/// `$`, `{` or `?` becomes a placeholder, one that begins with `=` is stored unchanged, and any
/// other is escaped.
fn pieces_come_out_in_order(text: &str, place: Side, params: &Params) {
    let mut stored = String::new();
    // The text that Java must read, or `None` once a parameter is missing.
    let mut expected = Some(Vec::new());
    // Where the parameters are in it.
    let mut params_at = Vec::new();
    // The text since the last placeholder of ours, which may contain placeholders of the input.
    let mut between = String::new();
    for piece in text.split('|') {
        let Some(kind @ ('$' | '{' | '?')) = piece.chars().next() else {
            let literal = match piece.strip_prefix('=').filter(|_| place == Side::Value) {
                // The first character is escaped, because otherwise it could continue a `$name`.
                Some(raw) if raw.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') => {
                    escape(&raw[..1]) + &raw[1..]
                }
                Some(raw) => raw.to_owned(),
                None => escape(piece),
            };
            stored.push_str(&literal.replace('$', "$$"));
            between.push_str(&literal);
            continue;
        };
        let (name, fallback) = piece[1..].split_once(' ').unwrap_or((&piece[1..], ""));
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        let name = if is_name && (kind != '$' || !name.contains('.')) { name } else { "osname" };
        stored.push_str(&match kind {
            '$' => format!("${name}"),
            '{' => format!("${{{name}}}"),
            _ => format!("${{{name}:-{}}}", escape(fallback)),
        });
        match name {
            "null" => between.push_str("${null}"),
            "system" => between.push_str("${system}"),
            "default" => between.push_str("default"),
            _ => {
                let (value, is_param) = match params.get(&ParamName::new(name)) {
                    None | Some("") if kind == '?' => (Some(fallback), false),
                    value => (value, true),
                };
                expected = expected.zip(value).map(|(mut expected, value)| {
                    meant(&between, true, &mut expected);
                    let begin = expected.len();
                    expected.extend(utf16(value).into_iter().map(|unit| (unit, false)));
                    params_at.extend(is_param.then_some(begin..expected.len()));
                    expected
                });
                between.clear();
            }
        }
    }
    let rendered = render(&stored, place, params);
    assert_eq!(rendered.is_some(), expected.is_some(), "{stored:?}");
    let (Some(rendered), Some(mut expected)) = (rendered, expected) else { return };
    meant(&between, false, &mut expected);
    let blanks = expected.iter().take_while(|(_, is_blank)| *is_blank).count();
    let expected: Vec<u16> = expected.into_iter().map(|(unit, _)| unit).collect();
    let expected = apart(&expected, place, blanks, &params_at);
    let property = match place {
        Side::Key => (expected, utf16("v")),
        Side::Value => (utf16("k"), expected),
    };
    assert_eq!(load(&as_line(&rendered, place)), [property], "{stored:?}");
}

/// What Java reads from `begin` on, with a blank in each command to the client that a parameter
/// helps to make, or makes alone where the client acts on it.
fn apart(units: &[u16], place: Side, begin: usize, params_at: &[Range<usize>]) -> Vec<u16> {
    let is_given = |at: usize| {
        ["${null}", "${system}"].into_iter().any(|command| {
            let end = at + command.len();
            let acts = match place {
                Side::Key => at == begin && command == "${system}",
                Side::Value => at == begin && end == units.len() && command == "${null}",
            };
            let takes_part = |param: &Range<usize>| param.end > at && param.start < end;
            let is_alone = |param: &Range<usize>| param.start <= at && end <= param.end;
            units[at..].starts_with(&utf16(command))
                && params_at.iter().any(|param| takes_part(param) && (acts || !is_alone(param)))
        })
    };
    let blank = |at: usize| Some(u16::from(b' ')).filter(|_| is_given(at));
    (begin..units.len()).flat_map(|at| [Some(units[at]), blank(at)].into_iter().flatten()).collect()
}

/// The meaning of stored text for Java, with the corrections of the specification. For each unit it
/// says whether it is a blank that Java leaves out at the beginning.
fn meant(stored: &str, is_before_hole: bool, out: &mut Vec<(u16, bool)>) {
    let (mut rest, mut text) = (stored, String::new());
    let put = |text: &mut String, out: &mut Vec<(u16, bool)>| {
        out.extend(utf16(text).into_iter().map(|unit| (unit, false)));
        text.clear();
    };
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if matches!(c, ' ' | '\t' | '\x0c') {
            put(&mut text, out);
            out.push((c as u16, true));
            continue;
        }
        let Some(escaped) = rest.chars().next().filter(|_| c == '\\') else {
            if c != '\\' || !is_before_hole {
                text.push(c);
            }
            continue;
        };
        let digits = rest.get(1..5).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (escaped, digits) {
            ('u', Some(digits)) => {
                put(&mut text, out);
                out.push((u16::from_str_radix(digits, 16).expect("four digits"), false));
                rest = &rest[5..];
                continue;
            }
            // Taken literally, because Java would throw an exception.
            ('u', None) => {
                text.push_str("\\u");
                rest = &rest[1..];
                continue;
            }
            // Joins the lines, without the blanks between them.
            ('\r' | '\n', _) => {
                let second = rest.strip_prefix("\r\n").unwrap_or_else(|| &rest[1..]);
                rest = second.trim_start_matches([' ', '\t', '\x0c']);
                continue;
            }
            ('t', _) => text.push('\t'),
            ('n', _) => text.push('\n'),
            ('r', _) => text.push('\r'),
            ('f', _) => text.push('\x0c'),
            (other, _) => text.push(other),
        }
        rest = &rest[escaped.len_utf8()..];
    }
    put(&mut text, out);
}

/// Escapes a text so that Java and the template read it unchanged.
fn escape(plain: &str) -> String {
    let mut escaped = String::new();
    for (at, c) in plain.chars().enumerate() {
        match c {
            // Needs no escape, except at the beginning, where it could continue a `$name`.
            _ if at > 0 && c.is_ascii_alphanumeric() => escaped.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                escaped.push_str("\\u");
                text::hex(*unit, 4, &mut escaped);
            }),
        }
    }
    escaped
}
