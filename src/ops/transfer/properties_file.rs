//! A Jitsi's `sip-communicator.properties`, read as `java.util.Properties.load`
//! reads it, but for the escapes: keys and values stay as they are written, since
//! rules have the same syntax.

use std::ops::Range;

use hashbrown::{HashMap, HashSet};

use super::{FileError, Item};
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, RuleRow};
use crate::core::params::Params;
use crate::core::properties::Side;
use crate::core::rules::CompiledKey;
use crate::core::template::Template;

/// A property as it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct FileProperty {
    /// The line where it begins.
    pub line: u64,
    /// Left of the `=`, escapes and all.
    pub key: String,
    /// Right of it.
    pub value: String,
}

/// Two properties of one key, of which Java keeps the later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Double {
    /// The key, as the later is written.
    pub key: String,
    /// The line of the one that does not count.
    pub lost: u64,
    /// The line of the one that does.
    pub kept: u64,
}

/// Reads the file. Of several properties of one key there is the last, in the
/// place of the first.
///
/// # Errors
/// On an escape that Java refuses the whole file for.
pub fn parse(bytes: &[u8]) -> Result<(Vec<FileProperty>, Vec<Double>), FileError> {
    let (mut properties, mut doubles) = (Vec::<FileProperty>::new(), Vec::new());
    let mut places: HashMap<Vec<u16>, usize> = HashMap::new();
    for (line, text) in logical_lines(bytes) {
        let (key, value) = split(&text);
        let property = FileProperty { line, key: key.to_owned(), value: value.to_owned() };
        let told = || "`\\u` without four hexadecimal digits, for which Java refuses the whole file";
        let read = |text| units(text).ok_or_else(|| FileError::new(line, told()));
        read(value)?;
        let key: Vec<u16> = read(key)?.into_iter().map(|unit| unit.read).collect();
        match places.get(&key) {
            None => {
                places.insert(key, properties.len());
                properties.push(property);
            }
            Some(place) => {
                let lost = properties[*place].line;
                doubles.push(Double { key: property.key.clone(), lost, kept: line });
                properties[*place] = property;
            }
        }
    }
    Ok((properties, doubles))
}

/// The lines that Java sees, in which a backslash at the end has joined those
/// that follow; each with the number of its first. Comments and empty lines are
/// left out. The bytes are characters of ISO-8859-1.
fn logical_lines(bytes: &[u8]) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    let (mut text, mut begun) = (String::new(), 1);
    // Whether blanks are skipped, and whether the line goes on with the next.
    let (mut is_beginning, mut is_joined) = (true, false);
    let mut is_escaped = false;
    for (line, natural) in (1..).zip(natural_lines(bytes)) {
        for &byte in natural {
            if is_beginning && matches!(byte, b' ' | b'\t' | 0x0c) {
                continue;
            }
            is_beginning = false;
            if text.is_empty() {
                if matches!(byte, b'#' | b'!') {
                    break;
                }
                begun = line;
            }
            text.push(char::from(byte));
            is_escaped = byte == b'\\' && !is_escaped;
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
    // A lone backslash is a property without a key to Java, if nothing comes after
    // it but one byte that ends the line.
    let before_end = bytes.strip_suffix(b"\n").or(bytes.strip_suffix(b"\r")).unwrap_or(bytes);
    if is_joined && (!text.is_empty() || before_end.ends_with(b"\\")) {
        lines.push((begun, text));
    }
    lines
}

/// Lines end with a line feed, a carriage return, or both.
fn natural_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = &rest[end..];
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest.get(1..).unwrap_or_default());
        Some(line)
    })
}

/// Key and value of a logical line.
fn split(line: &str) -> (&str, &str) {
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\x0c');
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

/// A character as it is written, and as Java reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub written: Range<usize>,
    pub read: u16,
}

/// What Java makes of escapes, in UTF-16 as Java keeps it; `None` where it throws.
pub(super) fn units(text: &str) -> Option<Vec<Unit>> {
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let mut end = start + c.len_utf8();
        let mut read = c;
        if c == '\\' {
            // One at the end is left out.
            let Some((at, escaped)) = chars.next() else { break };
            end = at + escaped.len_utf8();
            read = match escaped {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'f' => '\x0c',
                'u' => {
                    let digits = text.get(end..end + 4)?;
                    let unit = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let unit = unit.then(|| u16::from_str_radix(digits, 16).ok()).flatten()?;
                    end += 4;
                    while chars.next_if(|(at, _)| *at < end).is_some() {}
                    units.push(Unit { written: start..end, read: unit });
                    continue;
                }
                other => other,
            };
        }
        units.extend(
            read.encode_utf16(&mut [0; 2]).iter().map(|read| Unit { written: start..end, read: *read }),
        );
    }
    Some(units)
}

/// The template that renders exactly `text`.
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Which rules properties become.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// The tenant; empty for all.
    pub domain: &'t str,
    /// Whom they are for.
    pub subject: &'t str,
    /// Their priority among subjects.
    pub spriority: i32,
}

impl Target<'_> {
    /// A rule for each pair of templates, in the order in which they come.
    ///
    /// # Errors
    /// When the server could not use one.
    pub fn rules(
        &self,
        templates: impl IntoIterator<Item = (u64, String, String)>,
        options: &Conventions,
    ) -> Result<Vec<(u64, RuleRow)>, FileError> {
        let rules = (1..).zip(templates).map(|(place, (line, key, value))| {
            let texts = [self.domain, self.subject, &key, &value].map(Cell::from);
            let [domain, subject, key, value] = texts;
            let (spriority, ppriority) = (Cell::Int(self.spriority.into()), Cell::Int(place));
            let rule = RuleRow::from_cells(0, [domain, subject, spriority, ppriority, key, value]);
            Ok((line, rule.canonical(options).map_err(|what| FileError::new(line, what))?))
        });
        rules.collect()
    }
}

/// Writes rules as properties, in the order in which they count, so that Java reads
/// what a client of theirs would: of several of one key, the first. The others are
/// left out, and returned too.
///
/// # Errors
/// The first rule with a placeholder, which a client gets in another form than
/// it is stored in; `as_templates` writes these as they are.
pub fn write<'r>(
    rules: impl IntoIterator<Item = &'r RuleRow>,
    as_templates: bool,
) -> Result<(Vec<u8>, Vec<&'r RuleRow>), &'r RuleRow> {
    let (mut written, mut lost) = (Vec::new(), Vec::new());
    let mut keys = HashSet::new();
    for rule in rules {
        if !keys.insert(CompiledKey::parse(&rule.key.shown(), |_| ()).identity()) {
            lost.push(rule);
            continue;
        }
        let mut line = Vec::new();
        for (cell, place, end) in [(&rule.key, Side::Key, b'='), (&rule.value, Side::Value, b'\n')] {
            let text = &*cell.shown();
            // With every `$` doubled, it renders what is stored.
            let doubled = as_templates.then(|| literal(text));
            let template = Template::parse(doubled.as_deref().unwrap_or(text), place, drop);
            if !template.is_fixed() {
                return Err(rule);
            }
            template.whole().render(&Params::new(), &mut line);
            line.push(end);
        }
        // A key that Java would split is written as it splits it.
        for (_, line) in logical_lines(&line) {
            let (key, value) = split(&line);
            written.extend(format!("{key}={value}\n").bytes());
        }
    }
    Ok((written, lost))
}

#[cfg(test)]
mod tests;
