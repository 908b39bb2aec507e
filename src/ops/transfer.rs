//! Users, rules and attributes as files, for `import` and `export`. This module only converts values; the
//! commands read and write files and databases.
//!
//! A file contains the rows of a table, except for rows that the server cannot use. Exported
//! files are canonical: importing and exporting them again gives the same bytes.

pub mod csv_file;
pub mod hsqldb_script;
pub mod json_file;
pub mod plan;
pub mod properties_file;
pub mod settings_form;
pub mod shrink;
pub mod templatize;

use std::hash::Hash;

use crate::core::columns::{Column, ColumnSet, Holds};
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Row, RuleRow, Table, UserRow};
use crate::core::names::{Comparison, Folded, is_asterisk};
use crate::core::rules::{CompiledKey, KeyIdentity};

/// An error in a file, as one line that never contains a password or a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FileError {
    /// The number of the line. The first line is 1.
    pub line: u64,
    /// What is wrong, and how to correct it.
    pub what: String,
}

impl FileError {
    fn new(line: u64, what: impl Into<String>) -> FileError {
        FileError { line, what: what.into() }
    }
}

/// The default priority of a rule among subjects. The fewer clients a rule applies to, the
/// earlier it comes. All defaults come before the rules that setup creates, which have priority
/// 10.
pub fn default_spriority(subject: &str, domain: &str) -> i32 {
    match (is_default(subject), domain.trim_end()) {
        (false, _) => 5,
        (true, "") => 9,
        (true, _) => 7,
    }
}

/// Whether a subject is everyone.
fn is_default(subject: &str) -> bool {
    subject.trim_end().eq_ignore_ascii_case("default")
}

/// The default priority of a rule among those for one subject.
pub const DEFAULT_PPRIORITY: i32 = 10;

/// A record that can be imported: a user, a rule or an attribute.
pub trait Item: Clone + Send + Sized {
    /// The values that two records have in common if the server treats them as the same record.
    type NaturalKey: Hash + Eq;
    /// Records that share this are in an order in which only the ids count.
    type Place: Hash + Eq;
    /// The table of its rows.
    const TABLE: Table;
    /// What people call its records.
    const NOUN: &str;
    /// Whether there may be only one record with each key.
    const IS_UNIQUE: bool;

    /// The record's [`Item::NaturalKey`].
    fn natural_key(&self, comparison: Comparison) -> Self::NaturalKey;
    /// The order of records, before ids are compared. It is equal for all records if only the id
    /// decides.
    fn order(&self) -> (Option<i64>, Option<i64>);
    /// The record's [`Item::Place`].
    fn place(&self, comparison: Comparison) -> Self::Place;
    /// Its name for people. It never contains a password or a value.
    fn label(&self, options: &Conventions) -> String;
    /// The tenant that it belongs to; empty or `NULL` for all tenants.
    fn domain(&self) -> &Cell;
    /// Whether it is a rule for everyone.
    fn is_default(&self) -> bool {
        false
    }
    /// Its values, in the order of the columns of its table.
    fn cells(&self) -> impl Iterator<Item = &Cell>;
    /// The columns in which two records differ.
    fn differing(&self, other: &Self) -> ColumnSet {
        ColumnSet::of(self.cells().zip(other.cells()).map(|(one, other)| one != other))
    }
    /// The id of its row.
    fn id(&self) -> i64;
    /// The row of this record.
    fn to_row(&self) -> Row;
    /// The record of a row; `None` if the row belongs to the other table.
    fn from_row(row: Row) -> Option<Self>;

    /// The record in the form that files use: texts are text, priorities are numbers or `NULL`,
    /// and the domain of a rule for all tenants is `NULL`. A password that cannot be read becomes
    /// empty, because nobody can sign in with either.
    ///
    /// # Errors
    /// When the server cannot use the record. The error is the reason.
    fn canonical(&self, options: &Conventions) -> Result<Self, String> {
        let row = self.to_row();
        if let Some(why) = options.unusable(&row) {
            return Err(why);
        }
        let cells = Self::TABLE.columns().iter().zip(row.cells()).map(canonical_cell);
        let row = Row::from_cells(Self::TABLE, row.id(), cells.collect::<Result<Vec<_>, _>>()?);
        Ok(Self::from_row(row).expect("a row of the same table"))
    }

    /// The record in a row of a file, with defaults in the columns that are not `given`.
    ///
    /// # Errors
    /// When the server cannot use the record. The error is the reason.
    fn read(row: Row, given: ColumnSet, options: &Conventions) -> Result<Self, String> {
        let is_of_asterisk = Self::TABLE
            .columns()
            .iter()
            .zip(row.cells())
            .any(|(column, cell)| column.name == "domain" && is_asterisk(&cell.shown()));
        if is_of_asterisk {
            let instead = match Self::TABLE {
                Table::UserAuth => "write the user's own domain",
                Table::JitsiProperty | Table::UserAttribute => "leave the domain empty for all tenants",
            };
            return Err(format!("no tenant is called `*`: {instead}"));
        }
        let row = match row {
            Row::Rule(rule) => Row::Rule(with_priorities(rule, given)),
            row => row,
        };
        Self::from_row(row).expect("a row of the table that was read").canonical(options)
    }
}

fn canonical_cell((column, cell): (&Column, &Cell)) -> Result<Cell, String> {
    match column.holds {
        Holds::Text => Ok(match cell.text().ok().flatten().filter(|text| !text.is_empty()) {
            Some(text) => Cell::from(&*text),
            None if column.is_required => Cell::from(""),
            None => Cell::Null,
        }),
        Holds::Number => {
            let number = cell.int().map_err(|_| format!("{} is not a whole number", column.name))?;
            let number = number.map(i32::try_from).transpose();
            let number = number.map_err(|_| format!("{} is outside 32 bits", column.name))?;
            Ok(number.map_or(Cell::Null, |number| Cell::Int(number.into())))
        }
    }
}

/// Sets the default priorities if the file has no columns for them.
fn with_priorities(mut rule: RuleRow, given: ColumnSet) -> RuleRow {
    let is_given = |name: &str| given.pick(RuleRow::COLUMNS).any(|column| column.name == name);
    if !is_given("spriority") {
        let default = default_spriority(&rule.subject.shown(), &rule.domain.shown());
        rule.spriority = Cell::Int(default.into());
    }
    if !is_given("ppriority") {
        rule.ppriority = Cell::Int(DEFAULT_PPRIORITY.into());
    }
    rule
}

fn fold(cell: &Cell, comparison: Comparison) -> Folded {
    comparison.fold(&cell.shown())
}

impl Item for UserRow {
    type NaturalKey = (Folded, Folded);
    type Place = ();
    const TABLE: Table = Table::UserAuth;
    const NOUN: &str = "users";
    const IS_UNIQUE: bool = true;

    fn natural_key(&self, comparison: Comparison) -> Self::NaturalKey {
        (fold(&self.domain, comparison), fold(&self.username, comparison))
    }

    fn order(&self) -> (Option<i64>, Option<i64>) {
        (None, None)
    }

    fn place(&self, _: Comparison) -> Self::Place {}

    fn label(&self, _: &Conventions) -> String {
        format!("{}@{}", self.username.shown(), self.domain.shown())
    }

    fn domain(&self) -> &Cell {
        &self.domain
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        UserRow::cells(self).into_iter()
    }

    fn id(&self) -> i64 {
        self.id
    }

    fn to_row(&self) -> Row {
        Row::User(self.clone())
    }

    fn from_row(row: Row) -> Option<Self> {
        if let Row::User(row) = row { Some(row) } else { None }
    }
}

impl Item for RuleRow {
    type NaturalKey = (Folded, Folded, KeyIdentity);
    type Place = (Option<i64>, Option<i64>);
    const TABLE: Table = Table::JitsiProperty;
    const NOUN: &str = "rules";
    const IS_UNIQUE: bool = false;

    fn natural_key(&self, comparison: Comparison) -> Self::NaturalKey {
        let key = CompiledKey::parse(&self.key.shown(), |_| ()).identity();
        (fold(&self.domain, comparison), fold(&self.subject, comparison), key)
    }

    fn order(&self) -> (Option<i64>, Option<i64>) {
        (self.spriority.int().ok().flatten(), self.ppriority.int().ok().flatten())
    }

    fn place(&self, _: Comparison) -> Self::Place {
        self.order()
    }

    fn label(&self, options: &Conventions) -> String {
        let (subject, domain) = (self.subject.shown(), self.domain.shown());
        let domain = if domain.is_empty() { "all tenants" } else { &*domain };
        format!("{} of {domain}: {}", options.shown_subject(&subject), self.key.shown())
    }

    fn domain(&self) -> &Cell {
        &self.domain
    }

    fn is_default(&self) -> bool {
        is_default(&self.subject.shown())
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        RuleRow::cells(self).into_iter()
    }

    fn id(&self) -> i64 {
        self.id
    }

    fn to_row(&self) -> Row {
        Row::Rule(self.clone())
    }

    fn from_row(row: Row) -> Option<Self> {
        if let Row::Rule(row) = row { Some(row) } else { None }
    }
}

impl Item for AttributeRow {
    type NaturalKey = (Folded, Folded, String);
    type Place = Self::NaturalKey;
    const TABLE: Table = Table::UserAttribute;
    const NOUN: &str = "attributes";
    const IS_UNIQUE: bool = false;

    fn natural_key(&self, comparison: Comparison) -> Self::NaturalKey {
        let name = self.name.shown().to_ascii_lowercase();
        (fold(&self.domain, comparison), fold(&self.username, comparison), name)
    }

    fn order(&self) -> (Option<i64>, Option<i64>) {
        (None, None)
    }

    fn place(&self, comparison: Comparison) -> Self::Place {
        self.natural_key(comparison)
    }

    fn label(&self, _: &Conventions) -> String {
        let [domain, username, name] = [&self.domain, &self.username, &self.name].map(Cell::shown);
        match (domain.is_empty(), username.is_empty()) {
            (true, _) => format!("{name} of everyone"),
            (false, true) => format!("{name} of {domain}"),
            (false, false) => format!("{name} of {username}@{domain}"),
        }
    }

    fn domain(&self) -> &Cell {
        &self.domain
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        AttributeRow::cells(self).into_iter()
    }

    fn id(&self) -> i64 {
        self.id
    }

    fn to_row(&self) -> Row {
        Row::Attribute(self.clone())
    }

    fn from_row(row: Row) -> Option<Self> {
        if let Row::Attribute(row) = row { Some(row) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(cells: [Cell; 6]) -> RuleRow {
        RuleRow::from_cells(7, cells)
    }

    #[test]
    fn a_row_that_is_read_says_the_same_in_the_form_of_files() {
        let cells = |domain: &str, ppriority: Cell| {
            let texts = ["osname=Linux", "a\\:b", ""].map(Cell::from);
            let [subject, key, value] = texts;
            rule([domain.into(), subject, Cell::Null, ppriority, key, value])
        };
        let read = cells("", "-3".into()).canonical(&Conventions::default());
        let read = read.unwrap_or_else(|why| panic!("{why}"));
        let mut expected = cells("", Cell::Int(-3));
        expected.domain = Cell::Null;
        assert!(read == expected);
    }

    #[test]
    fn rows_that_the_server_cannot_use_are_refused_in_words() {
        let good = rule([Cell::Null, "s".into(), Cell::Null, Cell::Null, "k".into(), "v".into()]);
        let why = |row: RuleRow| row.canonical(&Conventions::default()).err().unwrap_or_default();
        assert!(why(RuleRow { key: Cell::Null, ..good.clone() }).contains("property_key is NULL"));
        assert!(why(RuleRow { subject: " ".into(), ..good.clone() }).contains("subject"));
        assert!(why(RuleRow { spriority: Cell::Int(1 << 40), ..good.clone() }).contains("32 bits"));
        assert!(why(RuleRow { value: Cell::Text(vec![0xff]), ..good.clone() }).contains("UTF-8"));
        assert!(why(RuleRow { key: "k".repeat(2000).as_str().into(), ..good.clone() }).contains("longer"));
        assert!(why(RuleRow { subject: "osname=".into(), ..good.clone() }).contains("subject"));
        let read = RuleRow::read(
            Row::Rule(RuleRow { domain: " *".into(), ..good }),
            ColumnSet::ALL,
            &Conventions::default(),
        );
        assert!(read.err().is_some_and(|why| why.contains("leave the domain empty")));
        let why = |cells: [Cell; 3]| {
            UserRow::from_cells(1, cells).canonical(&Conventions::default()).err().unwrap_or_default()
        };
        assert!(why(["a".into(), Cell::Null, Cell::Null]).contains("domain"));
        assert!(why([" ".into(), "a.org".into(), Cell::Null]).contains("username is empty"));
    }
}
