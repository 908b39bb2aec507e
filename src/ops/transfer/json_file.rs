//! Users, rules and attributes as JSON: an array with an object for each record, or an object
//! with such arrays.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FileError, Item};
use crate::core::columns::{ColumnSet, Holds};
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Row, RuleRow, UserRow};

/// A record, and the columns that the object has.
struct Object<T>(Row, ColumnSet, PhantomData<T>);

impl<'de, T: Item> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<T>, D::Error> {
        from.deserialize_map(Members(PhantomData))
    }
}

/// Reads the members of an object. Their names are the names of the columns.
struct Members<T>(PhantomData<T>);

impl<'de, T: Item> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object<T>, A::Error> {
        let columns = T::TABLE.columns();
        let mut cells: Vec<Option<Cell>> = vec![None; columns.len()];
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            let Some(at) = columns.iter().position(|column| column.file_name == name) else {
                // Dumps have an id, but the database assigns new ids.
                if name == "id" {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
                return Err(A::Error::custom(format_args!("unknown field `{name}`")));
            };
            let cell = match (columns[at].holds, columns[at].is_required) {
                (Holds::Number, _) => {
                    members.next_value::<Option<i32>>()?.map(|number| Cell::Int(number.into()))
                }
                (Holds::Text, true) => Some(Cell::from(&*members.next_value::<Cow<'_, str>>()?)),
                (Holds::Text, false) => {
                    members.next_value::<Option<Cow<'_, str>>>()?.map(|text| Cell::from(&*text))
                }
            };
            if cells[at].replace(cell.unwrap_or(Cell::Null)).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
        }
        let mut missing = columns.iter().zip(&cells).filter(|(_, cell)| cell.is_none());
        if let Some((column, _)) = missing.find(|(column, _)| column.is_required) {
            return Err(A::Error::missing_field(column.file_name));
        }
        let given = ColumnSet::of(cells.iter().map(Option::is_some));
        let cells = cells.into_iter().map(|cell| cell.unwrap_or(Cell::Null));
        Ok(Object(Row::from_cells(T::TABLE, 0, cells), given, PhantomData))
    }
}

/// Reads a list of records. Each is checked as soon as it is read, so that the error has the
/// right line.
struct Checked<'o, T>(&'o Conventions, PhantomData<T>);

impl<'o, T> Checked<'o, T> {
    fn new(options: &'o Conventions) -> Checked<'o, T> {
        Checked(options, PhantomData)
    }
}

impl<'de, T: Item> Visitor<'de> for Checked<'_, T> {
    type Value = Vec<(u64, T)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", T::NOUN)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while let Some(Object(row, given, _)) = list.next_element::<Object<T>>()? {
            let record = T::read(row, given, self.0).map_err(A::Error::custom)?;
            records.push((records.len() as u64 + 1, record));
        }
        Ok(records)
    }
}

impl<'de, T: Item> DeserializeSeed<'de> for Checked<'_, T> {
    type Value = Vec<(u64, T)>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

/// Reads a JSON array of records and returns each with its position, which starts with 1.
///
/// # Errors
/// When a record is invalid. The error is about the first invalid record.
pub fn parse<T: Item>(text: &[u8], options: &Conventions) -> Result<Vec<(u64, T)>, FileError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let records = Checked::new(options).deserialize(&mut json).and_then(|all| json.end().map(|()| all));
    records.map_err(|error| failed(&error, &format!("list of {}", T::NOUN)))
}

/// All tables, each record with its position in its list. `None` for a table that the file does
/// not have.
#[derive(Default)]
pub struct AllTables {
    /// Users.
    pub users: Option<Vec<(u64, UserRow)>>,
    /// Rules.
    pub rules: Option<Vec<(u64, RuleRow)>>,
    /// Attributes.
    pub attributes: Option<Vec<(u64, AttributeRow)>>,
}

/// Reads the lists of an object.
struct Lists<'o>(&'o Conventions);

impl<'de> Visitor<'de> for Lists<'_> {
    type Value = AllTables;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with lists")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut lists: A) -> Result<AllTables, A::Error> {
        let mut all = AllTables::default();
        while let Some(name) = lists.next_key::<Cow<'_, str>>()? {
            let is_twice = match &*name {
                UserRow::NOUN => all.users.replace(lists.next_value_seed(Checked::new(self.0))?).is_some(),
                RuleRow::NOUN => all.rules.replace(lists.next_value_seed(Checked::new(self.0))?).is_some(),
                AttributeRow::NOUN => {
                    all.attributes.replace(lists.next_value_seed(Checked::new(self.0))?).is_some()
                }
                _ => return Err(A::Error::custom(format_args!("unknown field `{name}`"))),
            };
            if is_twice {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
        }
        Ok(all)
    }
}

/// Reads a JSON object with a list for each table. Lists may be missing.
///
/// # Errors
/// When a record is invalid. The error is about the first invalid record.
pub fn parse_all(text: &[u8], options: &Conventions) -> Result<AllTables, FileError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let all = json.deserialize_map(Lists(options)).and_then(|all| json.end().map(|()| all));
    all.map_err(|error| failed(&error, "object with lists of users, rules and attributes"))
}

fn failed(error: &serde_json::Error, wanted: &str) -> FileError {
    let line = (error.line() as u64).max(1);
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    // These messages of serde_json quote the value, which may be a password.
    let is_quoting = what.starts_with("invalid type") || what.starts_with("invalid value");
    let told = if is_quoting { "a value has the wrong type (columns are texts or numbers)" } else { what };
    FileError::new(line, format!("not a JSON {wanted}: {told}"))
}

/// Writes a JSON array with one line for each record.
pub fn write<'r, T: Item + 'r>(records: impl IntoIterator<Item = &'r T>) -> Vec<u8> {
    let mut written = Vec::new();
    write_list(records, &mut written);
    written.push(b'\n');
    written
}

/// Writes a JSON object with a list for each table.
pub fn write_all(users: &[UserRow], rules: &[RuleRow], attributes: &[AttributeRow]) -> Vec<u8> {
    let mut written = b"{\"users\": ".to_vec();
    write_list(users, &mut written);
    written.extend_from_slice(b",\n\"rules\": ");
    write_list(rules, &mut written);
    written.extend_from_slice(b",\n\"attributes\": ");
    write_list(attributes, &mut written);
    written.extend_from_slice(b"}\n");
    written
}

fn write_list<'r, T: Item + 'r>(records: impl IntoIterator<Item = &'r T>, written: &mut Vec<u8>) {
    written.push(b'[');
    for (place, record) in records.into_iter().enumerate() {
        written.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
        serde_json::to_writer(&mut *written, &Written(record)).expect("a vector takes everything");
    }
    written.extend_from_slice(b"\n]");
}

/// Writes a record with its columns in order.
struct Written<'r, T>(&'r T);

impl<T: Item> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let columns = T::TABLE.columns();
        let mut members = to.serialize_map(Some(columns.len()))?;
        for (column, cell) in columns.iter().zip(self.0.cells()) {
            match cell {
                Cell::Null => members.serialize_entry(column.file_name, &())?,
                Cell::Int(number) => members.serialize_entry(column.file_name, number)?,
                Cell::Text(_) => members.serialize_entry(column.file_name, &cell.shown())?,
            }
        }
        members.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::is_asterisk;
    use crate::ops::transfer::csv_file;
    use proptest::prelude::*;

    type Texts = (String, String, Option<i32>, Option<i32>, String, String);

    fn rules(texts: Vec<Texts>) -> Vec<RuleRow> {
        let text = |text: String| Cell::from(text.as_str());
        let number = |number: Option<i32>| number.map_or(Cell::Null, |number| Cell::Int(number.into()));
        let rule = |(domain, subject, spriority, ppriority, key, value): Texts| {
            // A file with a tenant `*` is refused.
            let is_null = domain.is_empty() || is_asterisk(&domain);
            let domain = if is_null { Cell::Null } else { text(domain) };
            let (subject, priorities) = (text(subject + "s"), [spriority, ppriority].map(number));
            let [spriority, ppriority] = priorities;
            RuleRow::from_cells(0, [domain, subject, spriority, ppriority, text(key), text(value)])
        };
        texts.into_iter().map(rule).collect()
    }

    fn bare(rules: Vec<(u64, RuleRow)>) -> Vec<RuleRow> {
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn priorities(rules: Result<Vec<(u64, RuleRow)>, FileError>) -> Vec<(Option<i64>, Option<i64>)> {
        bare(rules.unwrap_or_else(|error| panic!("{error}"))).iter().map(Item::order).collect()
    }

    #[test]
    fn a_priority_that_is_not_said_is_the_default_one() {
        let csv = b"subject,property_key,property_value\ndefault,k,v\nbob,k,v\n";
        assert_eq!(
            priorities(csv_file::parse::<RuleRow>(csv, &Conventions::default())),
            [(Some(9), Some(10)), (Some(5), Some(10))]
        );
        let csv = b"subject,spriority,ppriority,key,value\nbob,,-7,k,v\n";
        assert_eq!(priorities(csv_file::parse::<RuleRow>(csv, &Conventions::default())), [(None, Some(-7))]);
        let json = br#"[{"subject":"bob","key":"k","value":"v","spriority":null}]"#;
        assert_eq!(priorities(parse(json, &Conventions::default())), [(None, Some(10))]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_without_its_value() {
        let error = |csv: &str| {
            csv_file::parse::<RuleRow>(csv.as_bytes(), &Conventions::default())
                .err()
                .map(|error| error.to_string())
        };
        let found = error("subject,key,value,spriority\na,k,v,1\na,k,secret,secret\n").expect("refused");
        assert!(found.starts_with("line 3: spriority") && !found.contains("secret"), "{found}");
        assert!(error("subject,key,value\n,k,v\n").expect("refused").contains("line 2: the subject"));
        let error = |json: &str| {
            parse::<RuleRow>(json.as_bytes(), &Conventions::default()).err().map(|error| error.to_string())
        };
        for (json, words) in [
            ("[\n{\"subject\":\"a\",\"key\":\"k\",\"value\":4711}]", "line 2: "),
            (
                "[\n{\"subject\":\"a\",\"key\":\"k\"}]",
                "line 2: not a JSON list of rules: missing field `value`",
            ),
            ("[\n\n{\"subject\":\"\",\"key\":\"k\",\"value\":\"v\"}]", "line 3: "),
            ("[{\"subject\":\"a\",\"key\":\"k\",\"value\":\"v\",\"x\":1}]", "unknown field `x`"),
            ("{}", "line 1: "),
            ("", "line 1: "),
        ] {
            let found = error(json).expect("refused");
            assert!(found.contains(words) && !found.contains("4711"), "{found}");
        }
    }

    #[test]
    fn json_is_a_line_a_rule() {
        assert_eq!(write::<RuleRow>([]), b"[\n]\n");
        let rule = rules(vec![("".into(), "bob'".into(), None, Some(1), "k".into(), "\"".into())]);
        let line =
            r#"{"domain":null,"subject":"bob's","spriority":null,"ppriority":1,"key":"k","value":"\""}"#;
        assert_eq!(String::from_utf8(write(&rule)).expect("UTF-8"), format!("[\n{line}\n]\n"));
    }

    #[test]
    fn everything_is_an_object_with_lists() {
        let attribute = AttributeRow::from_cells(0, [Cell::Null, Cell::Null, "x".into(), "".into()]);
        let user = UserRow::from_cells(0, ["a", "a.org", "p"].map(Cell::from));
        let written = write_all(&[user], &[], &[attribute]);
        let text = "{\"users\": [\n{\"username\":\"a\",\"domain\":\"a.org\",\"password\":\"p\"}\n],\n\"rules\": [\n],\n\
                    \"attributes\": [\n{\"domain\":null,\"username\":null,\"name\":\"x\",\"value\":\"\"}\n]}\n";
        assert_eq!(str::from_utf8(&written), Ok(text));
        let all = parse_all(&written, &Conventions::default()).unwrap_or_else(|why| panic!("{why}"));
        let count = (all.users.map(|all| all.len()), all.rules.map(|all| all.len()));
        assert_eq!((count, all.attributes.map(|all| all.len())), ((Some(1), Some(0)), Some(1)));
        for (json, words) in [
            (
                "{\n\"attributes\": [\n{\"name\":\"line 2\",\"value\":\"hunter2\"}]}",
                "line 3: not a JSON object with lists",
            ),
            ("{\"users\": [],\n\"users\": []}", "duplicate field `users`"),
            ("{\"passwords\": []}", "unknown field `passwords`"),
            ("[]", "wrong type"),
        ] {
            let error =
                parse_all(json.as_bytes(), &Conventions::default()).err().expect("refused").to_string();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
        assert!(parse_all(b"{}", &Conventions::default()).is_ok_and(|all| all.users.is_none()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in prop::collection::vec(any::<Texts>(), 0..5)) {
            let rules = rules(texts);
            let (csv, json) = (csv_file::write(&rules), write(&rules));
            prop_assert!(bare(csv_file::parse(&csv, &Conventions::default()).expect("CSV")) == rules);
            prop_assert!(bare(parse(&json, &Conventions::default()).expect("JSON")) == rules);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in r#"[\[\]{}",:a1\n ]{0,40}"#) {
            for bytes in [&bytes[..], text.as_bytes()] {
                let _ = csv_file::parse::<RuleRow>(bytes, &Conventions::default());
                let _ = parse::<RuleRow>(bytes, &Conventions::default());
                let _ = csv_file::parse::<RuleRow>(&[b"subject,key,value\n", bytes].concat(), &Conventions::default());
                let _ = parse::<RuleRow>(&[b"[{\"subject\":", bytes].concat(), &Conventions::default());
            }
        }
    }
}
