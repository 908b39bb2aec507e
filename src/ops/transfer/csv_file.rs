//! Users, rules and attributes as CSV. The first line names the columns; passwords are written as they are
//! stored.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use csv::{ErrorKind, ReaderBuilder, StringRecord, Terminator, WriterBuilder};
use hashbrown::HashMap;

use super::{FileError, Item};
use crate::core::attributes::attribute_name;
use crate::core::columns::{Column, ColumnSet, Holds};
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Row, UserRow};
use crate::core::names::Comparison;

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
    let mut records = Vec::new();
    read(text, options, &mut None, adapt, |line, record, _| {
        records.push((line, record));
        Ok(())
    })?;
    Ok(records)
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
}

/// Reads users. Columns besides those of the table are attributes.
///
/// # Errors
/// As [`parse`].
pub fn parse_users(text: &[u8], options: &Conventions) -> Result<UserFile, FileError> {
    let (mut file, mut further) = (UserFile::default(), Some(Vec::new()));
    let UserFile { users, attributes, .. } = &mut file;
    read(text, options, &mut further, Ok, |line, user: UserRow, fields| {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let cells = [user.domain.clone(), user.username.clone(), (*name).into(), (*value).into()];
            let row = Row::Attribute(AttributeRow::from_cells(0, cells));
            attributes.push((line, AttributeRow::read(row, ColumnSet::ALL, options)?));
        }
        users.push((line, user));
        Ok(())
    })?;
    file.names = further.into_iter().flatten().map(|(_, name)| name).collect();
    Ok(file)
}

/// Calls `take` with the line of each record, the record, and the fields of the columns that are
/// not the table's, by their names. Without `further`, such columns are errors; otherwise their
/// places and names are put there.
fn read<T: Item>(
    text: &[u8],
    options: &Conventions,
    further: &mut Option<Vec<(usize, String)>>,
    adapt: impl Fn(Row) -> Result<Row, String>,
    mut take: impl FnMut(u64, T, &[(&str, &str)]) -> Result<(), String>,
) -> Result<(), FileError> {
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
    let places = places(&record, columns, further).map_err(|what| FileError::new(head, what))?;
    let given = ColumnSet::of(places.iter().map(Option::is_some));
    while reader.read_record(&mut record).map_err(|why| failed(&why))? {
        let line = line_of(&record);
        let fields = places.iter().map(|place| record.get((*place)?));
        let cells: Result<Vec<Cell>, String> = columns.iter().zip(fields).map(cell).collect();
        let row = cells.and_then(|cells| adapt(Row::from_cells(T::TABLE, 0, cells)));
        let row = row.and_then(|row| T::read(row, given, options));
        let further = further.iter().flatten();
        let fields: Vec<_> =
            further.map(|(at, name)| (&**name, record.get(*at).unwrap_or_default())).collect();
        row.and_then(|row| take(line, row, &fields)).map_err(|what| FileError::new(line, what))?;
    }
    Ok(())
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

/// The position of each of `columns` in the file. Those of other columns go to `further`.
fn places(
    heads: &StringRecord,
    columns: &[Column],
    further: &mut Option<Vec<(usize, String)>>,
) -> Result<Vec<Option<usize>>, String> {
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
        if let (None, Some(further)) = (named, further.as_mut()) {
            let name = attribute_of(head).ok_or_else(|| {
                format!(
                    "column {} has a name that no attribute can have: write letters, digits, `_` and dots",
                    place + 1
                )
            })?;
            if further.iter().any(|(_, known)| *known == name) {
                return Err(format!(
                    "column {} and another one are the same attribute: leave out one",
                    place + 1
                ));
            }
            further.push((place, name));
            continue;
        }
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

/// The attribute that a column of a users' file is. `user.` may stand before its name, and must if
/// the table has a column of that name.
fn attribute_of(head: &str) -> Option<String> {
    attribute_name(head.strip_prefix(PREFIX).unwrap_or(head))
}

/// The reverse of [`attribute_of`].
fn head_of(name: &str) -> String {
    let is_taken = name == "id" || UserRow::COLUMNS.iter().any(|column| column.name == name);
    if is_taken || name.starts_with(PREFIX) { format!("{PREFIX}{name}") } else { name.to_owned() }
}

const PREFIX: &str = "user.";

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
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    let written = "a vector takes everything";
    let heads = UserRow::COLUMNS.iter().map(|column| column.file_name.to_owned());
    writer.write_record(heads.chain(names.iter().map(|name| head_of(name)))).expect(written);
    for user in users {
        let values = of.get(&user.natural_key(comparison));
        let value = |name| values.and_then(|values| values.get(name)).map_or("", |value| &**value);
        let cells = user.cells().into_iter().map(Cell::shown);
        let values = names.iter().map(|name| Cow::from(value(name)));
        writer.write_record(cells.chain(values).map(Cow::into_owned)).expect(written);
    }
    (writer.into_inner().unwrap_or_else(|_| unreachable!("{written}")), left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn further_columns_of_users_are_attributes() {
        let heads = "username,domain,password";
        let parse = |text: &str| parse_users(text.as_bytes(), &Conventions::default());
        let text =
            format!("{heads},extension,user.password,user.user.x\na,a.org,x,17,\"y,z\",\nb,a.org,x,,,\n");
        let file = parse(&text).expect("CSV");
        assert_eq!(file.names, ["extension", "password", "user.x"]);
        let shown: Vec<_> = file
            .attributes
            .iter()
            .map(|(line, row)| format!("{line} {}={}", row.label(&Conventions::default()), row.value.shown()))
            .collect();
        assert_eq!(shown, ["2 extension of a@a.org=17", "2 password of a@a.org=y,z"]);
        let users: Vec<UserRow> = file.users.into_iter().map(|(_, user)| user).collect();
        let mut rows: Vec<AttributeRow> = file.attributes.into_iter().map(|(_, row)| row).collect();
        let again = format!("{heads},extension,user.password\na,a.org,x,17,\"y,z\"\nb,a.org,x,,\n");
        // Left out: a second value, an empty one, one of a tenant, and one of nobody.
        for [domain, username, name, value] in [
            ["a.org", "A", "Extension", "18"],
            ["a.org", "b", "e", ""],
            ["a.org", "", "e", "1"],
            ["a.org", "c", "e", "1"],
        ] {
            rows.push(AttributeRow::from_cells(0, [domain, username, name, value].map(Cell::from)));
        }
        let (written, left_out) = write_users(&users, &rows, Comparison::Folded);
        assert_eq!((String::from_utf8(written).expect("UTF-8"), left_out), (again, 4));
        assert_eq!(write_users(&users, &[], Comparison::Folded).0, write(&users));
        for (heads, words) in [
            ("username,domain,passwd", "no column `password`"),
            ("username,domain,password,line 2", "column 4 has a name that no attribute"),
            ("username,domain,password,x,user.X", "column 5 and another"),
            ("username,domain,password,", "column 4 has a name"),
        ] {
            let error = parse(&format!("{heads}\n")).err().expect("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
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
