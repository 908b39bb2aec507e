//! The values of a record.

use csv::StringRecord;

use super::CsvReader;
use super::dialect::Blank;
use crate::core::columns::{Column, Holds};
use crate::core::credential::{Credential, Owner, PwdFmt, UnusableHash};
use crate::core::model::Cell;

/// Takes the values out of records.
pub(super) struct Fields<'o> {
    reader: &'o CsvReader<'o>,
    /// Those of the current record and of the later ones.
    blanks: &'o [Blank],
    /// Where the current record begins.
    record: usize,
    is_trimmed: bool,
    /// The line of the first password that kept its blanks.
    first_kept: Option<u64>,
    kept: usize,
}

impl<'o> Fields<'o> {
    /// Begins before the first record.
    pub fn new(reader: &'o CsvReader<'o>, blanks: &'o [Blank], is_trimmed: bool) -> Fields<'o> {
        Fields { reader, blanks, record: 0, is_trimmed, first_kept: None, kept: 0 }
    }

    /// Goes on to the record that begins there.
    pub fn begin(&mut self, place: usize) {
        let before = self.blanks.iter().take_while(|(record, _)| *record < place).count();
        self.blanks = &self.blanks[before..];
        self.record = place;
    }

    /// The field at this place, without the blanks around it.
    pub fn text<'r>(&self, at: usize, record: &'r StringRecord, is_clear: bool) -> &'r str {
        let text = record.get(at).unwrap_or_default();
        let here = || self.blanks.iter().take_while(|(record, _)| *record == self.record);
        let is_kept = || here().any(|(_, field)| *field == at);
        let trimmed = text.trim();
        if !self.is_trimmed || trimmed.len() == text.len() || is_kept() || is_clear && !trimmed.is_empty() {
            return text;
        }
        trimmed
    }

    /// The value of a field. An empty number is `NULL`.
    pub fn cell(
        &mut self,
        column: &Column,
        place: Option<usize>,
        record: &StringRecord,
        line: u64,
    ) -> Result<Cell, String> {
        let is_domain = column.name == "domain" && self.is_trimmed;
        let Some(place) = place else {
            let default = self.reader.csv.domain.as_deref().filter(|_| is_domain);
            return Ok(default.map_or(Cell::Null, Cell::from));
        };
        let is_clear = column.name == "password" && self.is_clear(record.get(place).unwrap_or_default());
        let text = self.text(place, record, is_clear);
        if is_clear && text != text.trim() {
            self.kept += 1;
            self.first_kept.get_or_insert(line);
        }
        match (text, column.holds) {
            ("", Holds::Text) if is_domain => match &self.reader.csv.domain {
                Some(domain) => Ok(Cell::from(&**domain)),
                None => Err("the domain is empty: --domain is for users without one".into()),
            },
            ("", Holds::Number) => Ok(Cell::Null),
            (text, Holds::Text) => Ok(text.into()),
            (text, Holds::Number) => match text.trim().parse::<i32>() {
                Ok(number) => Ok(Cell::Int(number.into())),
                Err(_) => Err(format!("{} is not a whole number of 32 bits", column.name)),
            },
        }
    }

    /// Whether this is the password itself, in which blanks count. No hash has any.
    fn is_clear(&self, text: &str) -> bool {
        let is_clear = self.reader.csv.is_clear || self.reader.options.pwd_fmt == PwdFmt::Plain;
        is_clear && text != text.trim() && !names_its_format(text.trim())
    }

    pub fn notes(&self) -> Vec<String> {
        let note = |line| {
            let plural = if self.kept == 1 { " begins or ends" } else { "s begin or end" };
            format!("{} password{plural} with a blank, which is kept: the first is in line {line}", self.kept)
        };
        self.first_kept.map(note).into_iter().collect()
    }
}

/// Whether a text is a hash, of a kind that the server knows or of another one.
fn names_its_format(text: &str) -> bool {
    let owner = Owner { username: "", realm: "" };
    match Credential::parse(text, PwdFmt::Plain, owner) {
        Ok(credential) => credential.slow().is_some(),
        Err(why) => why != UnusableHash::Empty,
    }
}
