//! Reads and writes a `sip-communicator.properties` file of Jitsi. It is read as
//! `java.util.Properties.load` reads it, except that escapes stay as they are written, because
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
    /// The text left of the `=`, with its escapes.
    pub key: String,
    /// The text right of the `=`, with its escapes.
    pub value: String,
}

/// Two properties with the same key. Java keeps the second one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Double {
    /// The key as it is written in the second one.
    pub key: String,
    /// The line of the property that is lost.
    pub lost: u64,
    /// The line of the property that is kept.
    pub kept: u64,
}

/// The properties that are lost because a later one has the same key.
pub type Doubles = Vec<Double>;

/// Reads properties. If several have the same key, the result has the last one, at the position
/// of the first.
///
/// # Errors
/// When the text has an escape because of which Java refuses the whole file.
pub fn parse(text: &str) -> Result<(Vec<FileProperty>, Doubles), FileError> {
    let mut properties = Properties::default();
    for (line, text) in logical_lines(text) {
        let (key, value) = split_line(&text);
        let read = |text| -> Result<Vec<u16>, FileError> {
            let units = units(text).map(|unit| Ok(unit?.read));
            units.collect::<Result<_, BadEscape>>().map_err(|why| FileError::new(line, why.to_string()))
        };
        read(value)?;
        let property = FileProperty { line, key: key.to_owned(), value: value.to_owned() };
        properties.add(property, read(key)?);
    }
    Ok(properties.finish())
}

/// Collects properties, of which only the last one with each key counts.
#[derive(Default)]
pub(super) struct Properties {
    all: Vec<FileProperty>,
    doubles: Doubles,
    /// The positions in `all` by key, as Java reads it.
    places: HashMap<Vec<u16>, usize>,
}

impl Properties {
    /// Adds a property, whose key Java reads as `key`.
    pub fn add(&mut self, property: FileProperty, key: Vec<u16>) {
        match self.places.get(&key) {
            None => {
                self.places.insert(key, self.all.len());
                self.all.push(property);
            }
            Some(place) => {
                let before = &mut self.all[*place];
                let (lost, kept) = (before.line, property.line);
                self.doubles.push(Double { key: property.key.clone(), lost, kept });
                *before = property;
            }
        }
    }

    /// The properties, in order, and those that are lost.
    pub fn finish(self) -> (Vec<FileProperty>, Doubles) {
        (self.all, self.doubles)
    }
}

/// A template that renders exactly as `text`.
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Common columns of the rules that are created from properties.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// The tenant; empty for all tenants.
    pub domain: &'t str,
    /// The subject of the rules.
    pub subject: &'t str,
    /// Their first priority.
    pub spriority: i32,
}

impl Target<'_> {
    /// Creates a rule from each pair of templates, in the same order.
    ///
    /// # Errors
    /// When the server could not use one of the rules.
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

/// Writes rules as properties, in the order of the rules, so that Java reads what a client with
/// these rules would get. If several rules have the same key, the first one is written, and the
/// others are returned.
///
/// # Errors
/// The first rule with a placeholder, because clients get it in another form than it is stored
/// in. With `as_templates`, such rules are written as they are stored.
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
            // If every `$` is doubled, the template renders as the stored text.
            let doubled = as_templates.then(|| literal(text));
            let template = Template::parse(doubled.as_deref().unwrap_or(text), place, drop);
            if !template.is_fixed() {
                return Err(rule);
            }
            template.whole().render(&Params::new(), &mut line);
            line.push(end);
        }
        // If Java would split a key, the line is written as Java splits it.
        let line = String::from_utf8(line).expect("all text that is written is ASCII");
        for (_, line) in logical_lines(&line) {
            let (key, value) = split_line(&line);
            written.extend(format!("{key}={value}\n").bytes());
        }
    }
    Ok((written, lost))
}

#[cfg(test)]
mod tests;
