//! Reads what to import, from a file or from another database.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::args::Content;
use crate::cli::edit_session;
use crate::cli::print::{note, note_left_out};
use crate::cli::source::origin::ImportOrigin;
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Row, RuleRow, Table, TableRows, UserRow};
use crate::core::template;
use crate::ops::transfer::csv_file::{self, CsvOptions, Records, UserFile};
use crate::ops::transfer::json_file::{self, AllTables};
use crate::ops::transfer::plan::usable;
use crate::ops::transfer::{FileError, Item};
use crate::source::{Queries, Which};

use super::properties::{Properties, PropertyRules};

/// The rows to import, each with its line; `None` for a table that the import does not
/// edit.
#[derive(Default)]
pub(super) struct Wanted {
    /// The name of the file or database, for errors.
    pub named: String,
    pub users: Option<Vec<(u64, UserRow)>>,
    /// How many of the users, from the first, have clear passwords that are to be hashed.
    pub clear: usize,
    pub rules: Option<Vec<(u64, RuleRow)>>,
    pub attributes: Option<Vec<(u64, AttributeRow)>>,
    /// If these attributes are columns of a file of users, their names: the import covers the
    /// first value of each user only.
    pub names: Option<Vec<String>>,
    /// The tenant and the subject of rules that are properties.
    pub target: Option<(String, String)>,
}

/// The row of a rule whose value is text and not a template.
fn with_literal_value(mut row: Row) -> Result<Row, String> {
    if let Row::Rule(rule) = &mut row {
        let value = template::literal(&rule.value.shown()).map_err(|why| format!("value: {why}"))?;
        rule.value = (*value).into();
    }
    Ok(row)
}

/// Reads CSV, and prints the notes on it.
fn of_csv<T: Item>(
    text: &[u8],
    csv: &CsvOptions,
    options: &Conventions,
    adapt: impl Fn(Row) -> Result<Row, String>,
) -> Result<Vec<(u64, T)>, FileError> {
    let Records { rows, notes } = csv_file::parse_as(text, csv, options, adapt)?;
    notes.iter().for_each(note);
    Ok(rows)
}

impl Wanted {
    /// Reads a file or standard input.
    ///
    /// # Errors
    /// When it cannot be read, or contains something that the server could not use.
    pub fn of_file(
        content: Content,
        file: Option<PathBuf>,
        properties: &Properties,
        csv: &CsvOptions,
        literal: bool,
        replace: bool,
        options: &Conventions,
    ) -> anyhow::Result<Wanted> {
        let (named, text) = read(file.as_deref())?;
        let parsed = || named.clone();
        let rules = |rules| Wanted { rules: Some(rules), ..Wanted::default() };
        let attributes = |all| Wanted { attributes: Some(all), ..Wanted::default() };
        let wanted = match content {
            Content::Users => {
                let UserFile { users, attributes, names, notes } =
                    csv_file::parse_users(&text, csv, options).with_context(parsed)?;
                notes.iter().for_each(note);
                let attributes = (!names.is_empty()).then_some(attributes);
                let clear = if csv.is_clear { users.len() } else { 0 };
                Wanted { users: Some(users), clear, attributes, names: Some(names), ..Wanted::default() }
            }
            Content::Attributes => attributes(of_csv(&text, csv, options, Ok).with_context(parsed)?),
            Content::AttributesJson => attributes(json_file::parse(&text, options).with_context(parsed)?),
            Content::Json => {
                let AllTables { users, rules, attributes } =
                    json_file::parse_all(&text, options).with_context(parsed)?;
                Wanted { users, rules, attributes, ..Wanted::default() }
            }
            Content::Rules if literal => {
                rules(of_csv(&text, csv, options, with_literal_value).with_context(parsed)?)
            }
            Content::Rules => rules(of_csv(&text, csv, options, Ok).with_context(parsed)?),
            Content::RulesJson => rules(json_file::parse(&text, options).with_context(parsed)?),
            Content::Properties => {
                let PropertyRules { rules, domain, subject } =
                    properties.rules(&named, &text, file.as_deref(), replace, options)?;
                Wanted { rules: Some(rules), target: Some((domain, subject)), ..Wanted::default() }
            }
            Content::Database | Content::Kamailio => unreachable!("they are no files"),
        };
        Ok(Wanted { named, ..wanted })
    }

    /// Reads another database of jitsiprovs or of the original. Rows that a server could not use
    /// are left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn of_database(origin: ImportOrigin, options: &Conventions) -> anyhow::Result<Wanted> {
        let mut rows = TableRows::default();
        let take = |row| rows.push(row);
        let source = origin.source(Queries::default());
        let scanned = edit_session::scan(&*source, Which::All, take).await;
        scanned.map_err(|error| origin.failure(error))?;
        let (users, mut left_out) = usable(rows.users, options);
        let (rules, rules_left_out) = usable(rows.rules, options);
        let (attributes, attributes_left_out) = usable(rows.attributes, options);
        left_out.extend(rules_left_out.into_iter().chain(attributes_left_out));
        note_left_out(&left_out);
        Ok(Wanted {
            named: origin.named,
            users: Some((1..).zip(users).collect()),
            rules: Some((1..).zip(rules).collect()),
            // A database of before has none, and leaves those of this one alone.
            attributes: (!attributes.is_empty()).then(|| (1..).zip(attributes).collect()),
            ..Wanted::default()
        })
    }

    /// The tables that the import edits.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        let users = self.users.is_some().then_some(Table::UserAuth);
        let attributes = self.attributes.is_some().then_some(Table::UserAttribute);
        users.into_iter().chain(self.rules.is_some().then_some(Table::JitsiProperty)).chain(attributes)
    }

    /// The rows to compare with.
    pub fn which(&self) -> Which {
        match *self.tables().collect::<Vec<_>>() {
            [] => Which::None,
            [table] => Which::Of(table),
            [Table::UserAuth, Table::UserAttribute] => Which::Without(Table::JitsiProperty),
            _ => Which::All,
        }
    }

    /// Takes the attributes out of `there` that the import is not about, and returns those that
    /// the server can use.
    pub fn narrow(
        &self,
        there: &mut Vec<(i64, Option<AttributeRow>)>,
        options: &Conventions,
    ) -> Vec<AttributeRow> {
        let Some(names) = &self.names else { return Vec::new() };
        let key = |row: &AttributeRow| row.natural_key(options.comparison);
        let wanted: HashSet<_> = self.attributes.iter().flatten().map(|(_, row)| key(row)).collect();
        let mut first = HashSet::new();
        there.sort_by_key(|(id, _)| *id);
        let others = there.extract_if(.., |(_, row)| {
            let Some(row) = row else { return true };
            let (domain, username, name) = key(row);
            if username.is_empty() || !names.contains(&name) {
                return true;
            }
            let key = (domain, username, name);
            match wanted.contains(&key) {
                true => !first.insert(key),
                // An empty field says the same as an empty value.
                false => row.value.shown().is_empty(),
            }
        });
        others.filter_map(|(_, row)| row).collect()
    }

    /// Whether there is nothing to import, although some tables are to be edited.
    pub fn is_empty(&self) -> bool {
        let rows = |count: Option<usize>| count.unwrap_or_default();
        self.tables().next().is_some()
            && rows(self.users.as_ref().map(Vec::len)) == 0
            && rows(self.rules.as_ref().map(Vec::len)) == 0
            && rows(self.attributes.as_ref().map(Vec::len)) == 0
    }
}

/// Reads the file, or standard input if there is none. Returns its name and its bytes.
#[allow(clippy::disallowed_methods, reason = "a command serves nobody")]
fn read(file: Option<&Path>) -> anyhow::Result<(String, Vec<u8>)> {
    match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            let name = file.display().to_string();
            let text = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
            Ok((name, text))
        }
        None => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
            Ok(("standard input".into(), text))
        }
    }
}
