//! Users, rules and attributes as CSV. The first line names the columns; passwords are written as they are
//! stored.
//!
//! Files are read as spreadsheets and other systems write them: [`encoding`] finds out how their
//! letters are stored, [`dialect`] what separates their fields, and [`head`] what their columns are.

mod dialect;
mod encoding;
mod fields;
mod head;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use hashbrown::HashMap;

use super::{FileError, Item};
use crate::core::columns::ColumnSet;
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Row, Table, UserRow};
use crate::core::names::Comparison;
use dialect::{Dialect, check_quotes, lines_in};
pub use encoding::{TextEncoding, UnknownEncoding};
use fields::Fields;
use head::{Head, head_of};

/// What an operator says of a file.
#[derive(Debug, Default)]
pub struct CsvOptions {
    /// Its encoding, if it is not to be recognised.
    pub encoding: Option<TextEncoding>,
    /// Heads of the file, and the heads that they are read as. An empty one leaves the column out.
    pub columns: Vec<(String, String)>,
    /// The tenant of users without one.
    pub domain: Option<String>,
    /// Whether passwords are clear text, which is hashed later.
    pub is_clear: bool,
}

/// The records of a file, each with the number of its line.
pub struct Records<T> {
    /// The records.
    pub rows: Vec<(u64, T)>,
    /// Notes for the operator: what was guessed or ignored.
    pub notes: Vec<String>,
}

/// Reads a file of which nothing is said, and returns each record with the number of its line.
///
/// # Errors
/// When a line is invalid. The error is about the first invalid line.
pub fn parse<T: Item>(text: &[u8], options: &Conventions) -> Result<Vec<(u64, T)>, FileError> {
    Ok(parse_as(text, &CsvOptions::default(), options, Ok)?.rows)
}

/// Reads a file, and changes each row with `adapt` before it is checked.
///
/// # Errors
/// As [`parse`], and those of `adapt`.
pub fn parse_as<T: Item>(
    text: &[u8],
    csv: &CsvOptions,
    options: &Conventions,
    adapt: impl Fn(Row) -> Result<Row, String>,
) -> Result<Records<T>, FileError> {
    let mut rows = Vec::new();
    let reader = CsvReader { csv, options, takes_attributes: false };
    let (_, notes) = reader.read(text, adapt, |line, record, _| {
        rows.push((line, record));
        Ok(())
    })?;
    Ok(Records { rows, notes })
}

/// Users with their attributes.
#[derive(Default)]
pub struct UserFile {
    /// The users, each with its line.
    pub users: Vec<(u64, UserRow)>,
    /// Their attributes, each with its line. An empty field is none.
    pub attributes: Vec<(u64, AttributeRow)>,
    /// The names of the attributes for which the file has a column, in lower case.
    pub names: Vec<String>,
    /// As in [`Records`].
    pub notes: Vec<String>,
}

/// Reads users. Columns besides those of the table are attributes. Blanks around fields are
/// removed, except those around clear passwords and those in quotes.
///
/// # Errors
/// As [`parse`].
pub fn parse_users(text: &[u8], csv: &CsvOptions, options: &Conventions) -> Result<UserFile, FileError> {
    let (mut users, mut attributes) = (Vec::new(), Vec::new());
    let reader = CsvReader { csv, options, takes_attributes: true };
    let (names, notes) = reader.read(text, Ok, |line, user: UserRow, fields| {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let cells = [user.domain.clone(), user.username.clone(), (*name).into(), (*value).into()];
            let row = Row::Attribute(AttributeRow::from_cells(0, cells));
            attributes.push((line, AttributeRow::read(row, ColumnSet::ALL, options)?));
        }
        users.push((line, user));
        Ok(())
    })?;
    Ok(UserFile { users, attributes, names, notes })
}

/// How a file is read.
struct CsvReader<'o> {
    csv: &'o CsvOptions,
    options: &'o Conventions,
    /// Whether columns that are not the table's are attributes. Otherwise they are errors.
    takes_attributes: bool,
}

impl CsvReader<'_> {
    /// Calls `take` with the line of each record, the record, and its attributes by their names.
    /// Returns the names of the attributes, and notes.
    fn read<T: Item>(
        &self,
        text: &[u8],
        adapt: impl Fn(Row) -> Result<Row, String>,
        mut take: impl FnMut(u64, T, &[(&str, &str)]) -> Result<(), String>,
    ) -> Result<(Vec<String>, Vec<String>), FileError> {
        let decoded = encoding::decode(text, self.csv.encoding)?;
        let (text, encoding) = (&*decoded.text, encoding::name(decoded.encoding));
        let columns = T::TABLE.columns();
        let dialect = Dialect::of(text, |head| head::is_known(head, columns, self.csv));
        let is_trimmed = T::TABLE == Table::UserAuth;
        let blanks = check_quotes(text, dialect, is_trimmed)?;
        let mut lines = Lines::new(text, dialect.heads);
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .delimiter(dialect.separator)
            .from_reader(&text[dialect.heads..]);
        let failed = |why: &csv::Error| failed(why, dialect);
        let mut record = StringRecord::new();
        reader.read_record(&mut record).map_err(|why| failed(&why))?;
        let (line, begin) = lines.of(&record);
        let head = Head::read(&record, columns, self.csv, self.takes_attributes).map_err(|what| {
            let shown = dialect.shown();
            FileError::new(line, format!("{what} (the separator is {shown}, the encoding is {encoding})"))
        })?;
        // If even the heads are in quotes, the file has quotes everywhere, and they say nothing.
        let is_quoted = text.get(begin) == Some(&b'"');
        let blanks = if is_quoted { &[] } else { &*blanks };
        let mut fields = Fields::new(self, blanks, is_trimmed);
        let given = ColumnSet::of(head.places.iter().map(Option::is_some));
        while reader.read_record(&mut record).map_err(|why| failed(&why))? {
            let (line, begin) = lines.of(&record);
            // Spreadsheets write such lines for rows that were emptied.
            if record.len() > 1 && record.iter().all(str::is_empty) {
                continue;
            }
            fields.begin(begin);
            let cells = columns.iter().zip(&head.places);
            let cells = cells.map(|(column, place)| fields.cell(column, *place, &record, line));
            let row = cells.collect::<Result<Vec<Cell>, String>>();
            let row = row.and_then(|cells| adapt(Row::from_cells(T::TABLE, 0, cells)));
            let row = row.and_then(|row| T::read(row, given, self.options));
            let attributes = head.attributes.iter();
            let attributes: Vec<_> =
                attributes.map(|(at, name)| (&**name, fields.text(*at, &record, false))).collect();
            row.and_then(|row| take(line, row, &attributes)).map_err(|what| FileError::new(line, what))?;
        }
        let mut notes = fields.notes();
        if decoded.is_guessed {
            notes.push(format!(
                "the file is not UTF-8, and was read as {encoding}: if letters are wrong, give its --encoding"
            ));
        }
        notes.extend(head.note());
        Ok((head.attributes.into_iter().map(|(_, name)| name).collect(), notes))
    }
}

/// Finds the lines of records.
struct Lines<'t> {
    text: &'t [u8],
    /// Where the first record begins.
    first: usize,
    line: u64,
    counted: usize,
}

impl<'t> Lines<'t> {
    fn new(text: &'t [u8], first: usize) -> Lines<'t> {
        Lines { text, first, line: 1, counted: 0 }
    }

    /// The number of the record's line, and the place where it begins.
    fn of(&mut self, record: &StringRecord) -> (u64, usize) {
        let place = self.first + record.position().map_or(0, |position| position.byte() as usize);
        // The library reports the position of the blank lines before a record, not of the record.
        let blank = self.text[place..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.line += lines_in(&self.text[self.counted..place + blank]);
        self.counted = place + blank;
        (self.line, self.counted)
    }
}

fn failed(error: &csv::Error, dialect: Dialect) -> FileError {
    // A line before the heads is not known to the library.
    let before = u64::from(dialect.heads > 0);
    let line = |position: &Option<csv::Position>| before + position.as_ref().map_or(1, csv::Position::line);
    match error.kind() {
        ErrorKind::Utf8 { pos, .. } => FileError::new(line(pos), "not UTF-8: convert the file"),
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let (shown, heads) = (dialect.shown(), format!("the first line has {expected_len}"));
            FileError::new(line(pos), format!("{len} fields, but {heads} (the separator is {shown})"))
        }
        other => FileError::new(1, format!("not CSV: {other:?}")),
    }
}

/// Writes the names of the columns, and then a line for each record.
pub fn write<'r, T: Item + 'r>(records: impl IntoIterator<Item = &'r T>) -> Vec<u8> {
    let mut written = Vec::new();
    write_line(&mut written, T::TABLE.columns().iter().map(|column| column.file_name));
    for record in records {
        write_line(&mut written, record.cells().map(Cell::shown));
    }
    written
}

/// Writes a line of at least two fields. A field is in quotes if it would be read otherwise
/// without.
fn write_line<F: AsRef<str>>(written: &mut Vec<u8>, fields: impl Iterator<Item = F>) {
    for (at, field) in fields.enumerate() {
        let field = field.as_ref();
        if at > 0 {
            written.push(b',');
        }
        let needs_quotes = field != field.trim() || field.contains([',', '"', '\r', '\n']);
        match needs_quotes {
            true => written.extend(format!("\"{}\"", field.replace('"', "\"\"")).into_bytes()),
            false => written.extend(field.as_bytes()),
        }
    }
    written.push(b'\n');
}

/// Writes users, and a further column for each attribute that one of them has. Of several values,
/// the first is written. Also returns how many of `attributes` are not written.
pub fn write_users(
    users: &[UserRow],
    attributes: &[AttributeRow],
    comparison: Comparison,
) -> (Vec<u8>, usize) {
    type Values<'r> = BTreeMap<String, Cow<'r, str>>;
    let mut of: HashMap<_, Values<'_>> =
        users.iter().map(|user| (user.natural_key(comparison), Values::new())).collect();
    let (mut names, mut left_out) = (BTreeSet::new(), 0);
    for attribute in attributes {
        let (domain, username, name) = attribute.natural_key(comparison);
        match of.get_mut(&(domain, username)) {
            // An empty field would be no attribute.
            Some(values) if !values.contains_key(&name) && !attribute.value.shown().is_empty() => {
                names.insert(name.clone());
                values.insert(name, attribute.value.shown());
            }
            _ => left_out += 1,
        }
    }
    let mut written = Vec::new();
    let heads = UserRow::COLUMNS.iter().map(|column| column.file_name.to_owned());
    write_line(&mut written, heads.chain(names.iter().map(|name| head_of(name))));
    for user in users {
        let values = of.get(&user.natural_key(comparison));
        let value = |name| values.and_then(|values| values.get(name)).map_or("", |value| &**value);
        let cells = user.cells().into_iter().map(Cell::shown);
        let values = names.iter().map(|name| Cow::from(value(name)));
        write_line(&mut written, cells.chain(values));
    }
    (written, left_out)
}
