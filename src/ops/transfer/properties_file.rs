//! A Jitsi's `sip-communicator.properties`, read as `java.util.Properties.load`
//! reads it, except for the escapes: keys and values stay as they are written, since
//! rules have the same syntax.

use hashbrown::{HashMap, HashSet};

use super::{FileError, Item};
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, RuleRow};
use crate::core::params::Params;
use crate::core::properties::{BadEscape, Side, logical_lines, split_line, units};
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
        let (key, value) = split_line(&text);
        let property = FileProperty { line, key: key.to_owned(), value: value.to_owned() };
        let read = |text| -> Result<Vec<u16>, FileError> {
            let units = units(text).map(|unit| Ok(unit?.read));
            units.collect::<Result<_, BadEscape>>().map_err(|why| FileError::new(line, why.to_string()))
        };
        read(value)?;
        let key = read(key)?;
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

/// The template that renders exactly `text`.
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Which rules properties become.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// The tenant; empty for all.
    pub domain: &'t str,
    /// Who they are for.
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
            let (key, value) = split_line(&line);
            written.extend(format!("{key}={value}\n").bytes());
        }
    }
    Ok((written, lost))
}

#[cfg(test)]
mod tests;
