//! Rules as JSON: an array with an object for each rule.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FileError, Item};
use crate::core::columns::{ColumnSet, Holds};
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, Row, RuleRow};

/// A rule, and the columns that the object has.
struct Object(RuleRow, ColumnSet);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object, D::Error> {
        from.deserialize_map(Members)
    }
}

/// Reads the members of an object. Their names are the names of the columns.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
        let columns = RuleRow::COLUMNS;
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
        Ok(Object(RuleRow::from_cells(0, cells), given))
    }
}

/// Reads a list of rules. Each rule is checked as soon as it is read, so that the error has the
/// right line.
struct Checked<'o>(&'o Conventions);

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = Vec<RuleRow>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<RuleRow>, A::Error> {
        let mut rules = Vec::new();
        while let Some(Object(rule, given)) = list.next_element()? {
            let rule = RuleRow::read(Row::Rule(rule), given, self.0);
            rules.push(rule.map_err(A::Error::custom)?);
        }
        Ok(rules)
    }
}

/// Reads a JSON array of rules and returns each with its position, which starts with 1.
///
/// # Errors
/// When a rule is invalid. The error is about the first invalid rule.
pub fn parse(text: &[u8], options: &Conventions) -> Result<Vec<(u64, RuleRow)>, FileError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let rules = json.deserialize_seq(Checked(options)).and_then(|rules| json.end().map(|()| rules));
    let rules = rules.map_err(|error| {
        let line = (error.line() as u64).max(1);
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        // These messages of serde_json quote the value, which may be a password.
        let is_quoting = what.starts_with("invalid type") || what.starts_with("invalid value");
        let told =
            if is_quoting { "a value has the wrong type (columns are texts or numbers)" } else { what };
        FileError::new(line, format!("not a JSON list of rules: {told}"))
    })?;
    Ok((1..).zip(rules).collect())
}

/// Writes a JSON array with one line for each rule.
pub fn write<'r>(rules: impl IntoIterator<Item = &'r RuleRow>) -> Vec<u8> {
    let mut written = b"[".to_vec();
    for (place, rule) in rules.into_iter().enumerate() {
        written.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
        serde_json::to_writer(&mut written, &Written(rule)).expect("a vector takes everything");
    }
    written.extend_from_slice(b"\n]\n");
    written
}

/// Writes a rule with its columns in order.
struct Written<'r>(&'r RuleRow);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut members = to.serialize_map(Some(RuleRow::COLUMNS.len()))?;
        for (column, cell) in RuleRow::COLUMNS.iter().zip(self.0.cells()) {
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
    use crate::ops::transfer::csv_file;
    use proptest::prelude::*;

    type Texts = (String, String, Option<i32>, Option<i32>, String, String);

    fn rules(texts: Vec<Texts>) -> Vec<RuleRow> {
        let text = |text: String| Cell::from(text.as_str());
        let number = |number: Option<i32>| number.map_or(Cell::Null, |number| Cell::Int(number.into()));
        let rule = |(domain, subject, spriority, ppriority, key, value): Texts| {
            let domain = if domain.is_empty() { Cell::Null } else { text(domain) };
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
        let error =
            |json: &str| parse(json.as_bytes(), &Conventions::default()).err().map(|error| error.to_string());
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
        assert_eq!(write([]), b"[\n]\n");
        let rule = rules(vec![("".into(), "bob'".into(), None, Some(1), "k".into(), "\"".into())]);
        let line =
            r#"{"domain":null,"subject":"bob's","spriority":null,"ppriority":1,"key":"k","value":"\""}"#;
        assert_eq!(String::from_utf8(write(&rule)).expect("UTF-8"), format!("[\n{line}\n]\n"));
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
                let _ = parse(bytes, &Conventions::default());
                let _ = csv_file::parse::<RuleRow>(&[b"subject,key,value\n", bytes].concat(), &Conventions::default());
                let _ = parse(&[b"[{\"subject\":", bytes].concat(), &Conventions::default());
            }
        }
    }
}
