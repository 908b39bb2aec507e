//! CSV with heads.

use std::fmt::Write;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Terminator, WriterBuilder};

use super::FileError;

/// A column: its names, the canonical one first, and whether it must be there.
pub(super) struct CsvColumn(pub &'static [&'static str], pub bool);

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
    columns: &[CsvColumn],
    mut make: impl FnMut(&Fields<'_>) -> Result<T, String>,
) -> Result<Vec<(u64, T)>, FileError> {
    check_quotes(text)?;
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(text);
    let mut record = StringRecord::new();
    reader.read_record(&mut record).map_err(|why| failed(&why))?;
    let (mut line, mut counted) = (1, 0);
    let mut line_of = |record: &StringRecord| {
        let place = record.position().map_or(0, |position| position.byte() as usize);
        // The library's place, and its line, are those of the blank lines before.
        let blank = text[place..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += lines_in(&text[counted..place + blank]);
        counted = place + blank;
        line
    };
    let head = line_of(&record);
    let places = places(&record, columns).map_err(|what| FileError::new(head, what))?;
    let mut rows = Vec::new();
    while reader.read_record(&mut record).map_err(|why| failed(&why))? {
        let line = line_of(&record);
        let row = make(&Fields { record: &record, places: &places });
        rows.push((line, row.map_err(|what| FileError::new(line, what))?));
    }
    Ok(rows)
}

/// What a quote begins must end with one, or the rest of the file would be taken for
/// one field.
fn check_quotes(text: &[u8]) -> Result<(), FileError> {
    let mut rest = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let begun = &text[..text.len() - rest.len()];
            let failed = |what| Err(FileError::new(1 + lines_in(begun), what));
            let mut end = 0;
            loop {
                let Some(length) = quoted[end..].iter().position(|byte| *byte == b'"') else {
                    return failed("a field begins with a quote and does not end with one");
                };
                end += length + 1;
                match quoted.get(end) {
                    Some(b'"') => end += 1,
                    None | Some(b',' | b'\r' | b'\n') => break,
                    Some(_) => {
                        return failed(
                            "a field in quotes goes on after them: write two where one is part of it",
                        );
                    }
                }
            }
            rest = &quoted[end..];
        }
        let end = rest.iter().position(|byte| matches!(byte, b',' | b'\r' | b'\n'));
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
    }
    Ok(())
}

/// How many lines end in it.
fn lines_in(text: &[u8]) -> u64 {
    let ends = text.iter().enumerate();
    ends.filter(|(at, byte)| **byte == b'\n' || **byte == b'\r' && text.get(at + 1) != Some(&b'\n')).count()
        as u64
}

/// Where each of `columns` is.
fn places(heads: &StringRecord, columns: &[CsvColumn]) -> Result<Vec<Option<usize>>, String> {
    let mut all = String::new();
    for CsvColumn(names, _) in columns {
        let _ = write!(all, "{}{}", if all.is_empty() { "" } else { "," }, names[0]);
    }
    let mut places = vec![None; columns.len()];
    for (place, head) in heads.iter().enumerate() {
        let head = head.trim();
        // A dump's; ids are the database's to give.
        if head == "id" {
            continue;
        }
        let named = columns.iter().position(|CsvColumn(names, _)| names.contains(&head));
        // The head may be a user's line, and then its password: not to be shown.
        let column = named
            .ok_or(format!("column {} has no head that is known: the first line is {all}", place + 1))?;
        if places[column].replace(place).is_some() {
            return Err(format!("two columns `{head}`: leave out one"));
        }
    }
    match columns.iter().zip(&places).find(|(CsvColumn(_, must), place)| *must && place.is_none()) {
        Some((CsvColumn(names, _), _)) => {
            Err(format!("there is no column `{}`: the first line is {all}", names[0]))
        }
        None => Ok(places),
    }
}

fn failed(error: &csv::Error) -> FileError {
    let line = |position: &Option<csv::Position>| position.as_ref().map_or(1, csv::Position::line);
    match error.kind() {
        ErrorKind::Utf8 { pos, .. } => FileError::new(line(pos), "not UTF-8: convert the file"),
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            FileError::new(line(pos), format!("{len} fields, but the first line has {expected_len}"))
        }
        other => FileError::new(1, format!("not CSV: {other:?}")),
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
