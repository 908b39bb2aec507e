//! Users and rules as CSV. The first line names the columns; passwords are written as they are
//! stored.

use csv::{ErrorKind, ReaderBuilder, StringRecord, Terminator, WriterBuilder};

use super::{FileError, Item};
use crate::core::columns::{Column, ColumnSet, Holds};
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, Row};

/// Reads the file and returns each record with the number of its line.
///
/// # Errors
/// When a line is invalid. The error is about the first invalid line.
pub fn parse<T: Item>(text: &[u8], options: &Conventions) -> Result<Vec<(u64, T)>, FileError> {
    parse_as(text, options, Ok)
}

/// Does the same, but changes each row with `adapt` before it is checked.
///
/// # Errors
/// As [`parse`], and those of `adapt`.
pub fn parse_as<T: Item>(
    text: &[u8],
    options: &Conventions,
    adapt: impl Fn(Row) -> Result<Row, String>,
) -> Result<Vec<(u64, T)>, FileError> {
    check_quotes(text)?;
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(text);
    let mut record = StringRecord::new();
    reader.read_record(&mut record).map_err(|why| failed(&why))?;
    let (mut line, mut counted) = (1, 0);
    let mut line_of = |record: &StringRecord| {
        let place = record.position().map_or(0, |position| position.byte() as usize);
        // The library reports the position of the blank lines before a record, not of the record.
        let blank = text[place..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += lines_in(&text[counted..place + blank]);
        counted = place + blank;
        line
    };
    let head = line_of(&record);
    let columns = T::TABLE.columns();
    let places = places(&record, columns).map_err(|what| FileError::new(head, what))?;
    let given = ColumnSet::of(places.iter().map(Option::is_some));
    let mut rows = Vec::new();
    while reader.read_record(&mut record).map_err(|why| failed(&why))? {
        let line = line_of(&record);
        let fields = places.iter().map(|place| record.get((*place)?));
        let cells: Result<Vec<Cell>, String> = columns.iter().zip(fields).map(cell).collect();
        let row = cells.and_then(|cells| adapt(Row::from_cells(T::TABLE, 0, cells)));
        let row = row.and_then(|row| T::read(row, given, options));
        rows.push((line, row.map_err(|what| FileError::new(line, what))?));
    }
    Ok(rows)
}

/// The value of a field. An empty number is `NULL`.
fn cell((column, field): (&Column, Option<&str>)) -> Result<Cell, String> {
    match (field, column.holds) {
        (None, _) | (Some(""), Holds::Number) => Ok(Cell::Null),
        (Some(text), Holds::Text) => Ok(text.into()),
        (Some(text), Holds::Number) => match text.trim().parse::<i32>() {
            Ok(number) => Ok(Cell::Int(number.into())),
            Err(_) => Err(format!("{} is not a whole number of 32 bits", column.name)),
        },
    }
}

/// Checks that every field that begins with a quote also ends with one. Otherwise the rest of the
/// file would be read as one field.
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
                            "a field in quotes continues after the closing quote: double the quotes inside a field",
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

/// The number of lines that end in `text`.
fn lines_in(text: &[u8]) -> u64 {
    let ends = text.iter().enumerate();
    ends.filter(|(at, byte)| **byte == b'\n' || **byte == b'\r' && text.get(at + 1) != Some(&b'\n')).count()
        as u64
}

/// The position of each of `columns` in the file.
fn places(heads: &StringRecord, columns: &[Column]) -> Result<Vec<Option<usize>>, String> {
    let names: Vec<_> = columns.iter().map(|column| column.file_name).collect();
    let all = names.join(",");
    let mut places = vec![None; columns.len()];
    for (place, head) in heads.iter().enumerate() {
        let head = head.trim();
        // Dumps have an id, but the database assigns new ids.
        if head == "id" {
            continue;
        }
        // The names of the tables' own columns are accepted too, because dumps use them.
        let named = columns.iter().position(|column| [column.file_name, column.name].contains(&head));
        // The text is not shown: if the first line is a user, it may be a password.
        let column = named.ok_or(format!("column {} has no known name: known names are {all}", place + 1))?;
        if places[column].replace(place).is_some() {
            return Err(format!("two columns `{head}`: leave out one"));
        }
    }
    match columns.iter().zip(&places).find(|(column, place)| column.is_required && place.is_none()) {
        Some((column, _)) => Err(format!("there is no column `{}`: known names are {all}", column.file_name)),
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

/// Writes the names of the columns, and then a line for each record.
pub fn write<'r, T: Item + 'r>(records: impl IntoIterator<Item = &'r T>) -> Vec<u8> {
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    let written = "a vector takes everything";
    writer.write_record(T::TABLE.columns().iter().map(|column| column.file_name)).expect(written);
    for record in records {
        writer.write_record(record.cells().map(|cell| cell.shown().into_owned())).expect(written);
    }
    writer.into_inner().unwrap_or_else(|_| unreachable!("{written}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::UserRow;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<(u64, UserRow)>, FileError> {
        parse(text, &Conventions::default())
    }

    fn error(text: &str) -> String {
        read(text.as_bytes()).err().expect("refused").to_string()
    }

    #[test]
    fn columns_go_by_their_heads_and_may_be_quoted() {
        let users =
            read(b"\xEF\xBB\xBFpassword,username,domain\r\n\"a,\"\"b\n\",alice,a.org\r\n").expect("CSV");
        assert_eq!(users.len(), 1);
        let said: Vec<_> = users[0].1.cells().iter().map(|cell| cell.shown().into_owned()).collect();
        assert_eq!(said, ["alice", "a.org", "a,\"b\n"]);
        assert!(read(b"username,domain,password\n").expect("CSV").is_empty());
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_without_its_password() {
        let heads = "username,domain,password\n";
        assert!(error("").contains("line 1: there is no column `username`"));
        assert!(error("alice,a.org,hunter2\n").starts_with("line 1: column 1 has no known name"));
        assert!(!error("username,hunter2\n").contains("hunter2"));
        assert!(error("username,domain,domain\n").contains("two columns"));
        assert!(error(&format!("{heads}a,a.org,x\n\"b\nb\",a.org,x\n,a.org,x\n")).starts_with("line 5: "));
        assert!(error(&format!("{heads}a,a.org\n")).contains("line 2: 2 fields"));
        for ends in ["\n", "\r\n", "\r"] {
            let text = format!("\u{feff}\n{heads}\n\na,a.org,x\n\n\n,a.org,x\n").replace('\n', ends);
            assert!(error(&text).starts_with("line 8: "), "{}: {ends:?}", error(&text));
        }
        let unclosed = error(&format!("{heads}a,a.org,\"x\r\ny\"\r\nb,a.org,\"x\r\nc,a.org,y\r\n"));
        assert!(unclosed.starts_with("line 4: a field begins with a quote"), "{unclosed}");
        assert!(
            error(&format!("{heads}a,a.org,\"x\nb,a.org,\"y\n")).starts_with("line 2: a field in quotes")
        );
        assert_eq!(read(format!("{heads}a,a.org,x\"y\n").as_bytes()).expect("CSV").len(), 1);
        let latin = [heads.as_bytes(), b"a,a.org,x\nb\xe9,a.org,x\n"].concat();
        assert_eq!(read(&latin).err().expect("refused").line, 3);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in prop::collection::vec(any::<(String, String, String)>(), 0..5)) {
            let users: Vec<UserRow> = texts
                .into_iter()
                .map(|(username, domain, password)| {
                    let texts = [username + "u", domain + "d", password];
                    UserRow::from_cells(0, texts.map(|text| Cell::from(text.as_str())))
                })
                .collect();
            let written = write(&users);
            let again: Vec<UserRow> = read(&written).expect("CSV").into_iter().map(|(_, user)| user).collect();
            prop_assert!(again == users);
            prop_assert!(write(&again) == written);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, rest in r#"[a,"\r\n]{0,40}"#) {
            let _ = read(&bytes);
            let _ = read(&[b"username,domain,password\n".as_slice(), rest.as_bytes(), &bytes].concat());
        }
    }
}
