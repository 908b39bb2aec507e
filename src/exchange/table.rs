//! CSV with heads.

use std::fmt::Write;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Terminator, WriterBuilder};

use super::Error;

/// A column: its names, the canonical one first, and whether it must be there.
pub(super) struct Column(pub &'static [&'static str], pub bool);

/// The fields of one line, by the place of their column among those asked for.
pub(super) struct Fields<'r> {
    record: &'r StringRecord,
    places: &'r [Option<usize>],
}

impl Fields<'_> {
    /// The field, if the file has the column.
    pub fn get(&self, column: usize) -> Option<&str> {
        self.record.get(self.places[column]?)
    }

    pub fn text(&self, column: usize) -> String {
        self.get(column).unwrap_or_default().to_owned()
    }
}

/// Reads every line, each with its number.
pub(super) fn read<T>(
    text: &[u8],
    columns: &[Column],
    mut make: impl FnMut(&Fields<'_>) -> Result<T, String>,
) -> Result<Vec<(u64, T)>, Error> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(text);
    let mut record = StringRecord::new();
    reader.read_record(&mut record).map_err(|why| failed(&why))?;
    let line = |record: &StringRecord| record.position().map_or(1, csv::Position::line);
    let places = places(&record, columns).map_err(|what| Error::new(line(&record).max(1), what))?;
    let mut rows = Vec::new();
    while reader.read_record(&mut record).map_err(|why| failed(&why))? {
        let row = make(&Fields { record: &record, places: &places });
        rows.push((line(&record), row.map_err(|what| Error::new(line(&record), what))?));
    }
    Ok(rows)
}

/// Where each of `columns` is.
fn places(heads: &StringRecord, columns: &[Column]) -> Result<Vec<Option<usize>>, String> {
    let mut all = String::new();
    for Column(names, _) in columns {
        let _ = write!(all, "{}{}", if all.is_empty() { "" } else { "," }, names[0]);
    }
    let mut places = vec![None; columns.len()];
    for (place, head) in heads.iter().enumerate() {
        let head = head.trim();
        // A dump's; ids are the database's to give.
        if head == "id" {
            continue;
        }
        let named = columns.iter().position(|Column(names, _)| names.contains(&head));
        // The head may be a user's line, and then its password: not to be shown.
        let column = named
            .ok_or(format!("column {} has no head that is known: the first line is {all}", place + 1))?;
        if places[column].replace(place).is_some() {
            return Err(format!("two columns `{head}`: leave out one"));
        }
    }
    match columns.iter().zip(&places).find(|(Column(_, must), place)| *must && place.is_none()) {
        Some((Column(names, _), _)) => {
            Err(format!("there is no column `{}`: the first line is {all}", names[0]))
        }
        None => Ok(places),
    }
}

fn failed(error: &csv::Error) -> Error {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(1, csv::Position::line);
    match error.kind() {
        ErrorKind::Utf8 { pos, .. } => Error::new(line(pos), "not UTF-8: convert the file"),
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            Error::new(line(pos), format!("{len} fields, but the first line has {expected_len}"))
        }
        other => Error::new(1, format!("not CSV: {other:?}")),
    }
}

/// Writes a line of heads and one for each row.
pub(super) fn write<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = impl AsRef<[String; N]>>,
) -> Vec<u8> {
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    let written = "a vector takes everything";
    writer.write_record(heads).expect(written);
    for row in rows {
        writer.write_record(row.as_ref()).expect(written);
    }
    writer.into_inner().unwrap_or_else(|_| unreachable!("{written}"))
}
