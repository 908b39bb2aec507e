//! Rules as CSV and as JSON, in the order in which they count.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::table::{self, CsvColumn, Fields};
use super::{DEFAULT_PPRIORITY, FileError, FileRule, default_spriority};
use crate::core::conventions::Conventions;

/// The names of the tables' own columns will do, as in a dump.
const COLUMNS: [CsvColumn; 6] = [
    CsvColumn(&["domain"], false),
    CsvColumn(&["subject"], true),
    CsvColumn(&["spriority"], false),
    CsvColumn(&["ppriority"], false),
    CsvColumn(&["key", "property_key"], true),
    CsvColumn(&["value", "property_value"], true),
];

/// Reads CSV; each rule comes with the number of its line.
///
/// # Errors
/// On the first line that is not as it must be.
pub fn parse_csv(text: &[u8], options: &Conventions) -> Result<Vec<(u64, FileRule)>, FileError> {
    table::read(text, &COLUMNS, |fields| {
        let (domain, subject) = (fields.text(0), fields.text(1));
        let rule = FileRule {
            spriority: priority(fields, 2, "spriority", default_spriority(&subject, &domain))?,
            ppriority: priority(fields, 3, "ppriority", DEFAULT_PPRIORITY)?,
            domain,
            subject,
            key: fields.text(4),
            value: fields.text(5),
        };
        rule.check(options)?;
        Ok(rule)
    })
}

/// An empty field is `NULL`; without the column, each rule gets the default.
fn priority(fields: &Fields<'_>, column: usize, name: &str, default: i32) -> Result<Option<i32>, String> {
    match fields.get(column) {
        None => Ok(Some(default)),
        Some("") => Ok(None),
        Some(text) => match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{name} is no whole number of 32 bits")),
        },
    }
}

/// Writes CSV.
pub fn write_csv<'r>(rules: impl IntoIterator<Item = &'r FileRule>) -> Vec<u8> {
    let text = |number: Option<i32>| number.map_or_else(String::new, |number| number.to_string());
    let rules = rules.into_iter().map(|rule| {
        let FileRule { domain, subject, spriority, ppriority, key, value } = rule.clone();
        Box::new([domain, subject, text(spriority), text(ppriority), key, value])
    });
    table::write(["domain", "subject", "spriority", "ppriority", "key", "value"], rules)
}

/// A rule in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'t> {
    /// A dump's; ids are the database's to give.
    #[serde(default, rename = "id", skip_serializing)]
    _id: IgnoredAny,
    #[serde(default)]
    domain: Option<Cow<'t, str>>,
    subject: Cow<'t, str>,
    #[serde(default, deserialize_with = "given")]
    spriority: Option<Option<i32>>,
    #[serde(default, deserialize_with = "given")]
    ppriority: Option<Option<i32>>,
    key: Cow<'t, str>,
    value: Cow<'t, str>,
}

/// `null` is a priority; only one that is not there is none.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Object<'_> {
    fn rule(self) -> FileRule {
        let Object { domain, subject, spriority, ppriority, key, value, .. } = self;
        let domain = domain.unwrap_or_default().into_owned();
        FileRule {
            spriority: spriority.unwrap_or_else(|| Some(default_spriority(&subject, &domain))),
            ppriority: ppriority.unwrap_or(Some(DEFAULT_PPRIORITY)),
            domain,
            subject: subject.into_owned(),
            key: key.into_owned(),
            value: value.into_owned(),
        }
    }
}

/// A list of rules. Each is checked while it is read, so that the error knows
/// the line.
struct Checked<'o>(&'o Conventions);

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = Vec<FileRule>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<FileRule>, A::Error> {
        let mut rules = Vec::new();
        while let Some(object) = list.next_element::<Object<'_>>()? {
            let rule = object.rule();
            rule.check(self.0).map_err(A::Error::custom)?;
            rules.push(rule);
        }
        Ok(rules)
    }
}

/// Reads a JSON array of rules; each comes with its place among them.
///
/// # Errors
/// On the first that is not as it must be.
pub fn parse_json(text: &[u8], options: &Conventions) -> Result<Vec<(u64, FileRule)>, FileError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let rules = json.deserialize_seq(Checked(options)).and_then(|rules| json.end().map(|()| rules));
    let rules = rules.map_err(|error| {
        let line = (error.line() as u64).max(1);
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        // Its words for these quote what is there, which may be a password.
        let is_quoting = what.starts_with("invalid type") || what.starts_with("invalid value");
        let told = if is_quoting { "a text or a number where the other must be, or neither" } else { what };
        FileError::new(line, format!("not a JSON list of rules: {told}"))
    })?;
    Ok((1..).zip(rules).collect())
}

/// Writes a JSON array, a line a rule.
pub fn write_json<'r>(rules: impl IntoIterator<Item = &'r FileRule>) -> Vec<u8> {
    let mut written = b"[".to_vec();
    for (place, rule) in rules.into_iter().enumerate() {
        written.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
        let object = Object {
            _id: IgnoredAny,
            domain: (!rule.domain.is_empty()).then_some(rule.domain.as_str().into()),
            subject: rule.subject.as_str().into(),
            spriority: Some(rule.spriority),
            ppriority: Some(rule.ppriority),
            key: rule.key.as_str().into(),
            value: rule.value.as_str().into(),
        };
        serde_json::to_writer(&mut written, &object).expect("a vector takes everything");
    }
    written.extend_from_slice(b"\n]\n");
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Texts = (String, String, Option<i32>, Option<i32>, String, String);

    fn rules(texts: Vec<Texts>) -> Vec<FileRule> {
        let rule = |(domain, subject, spriority, ppriority, key, value)| FileRule {
            domain,
            subject: subject + "s",
            spriority,
            ppriority,
            key,
            value,
        };
        texts.into_iter().map(rule).collect()
    }

    fn bare(rules: Vec<(u64, FileRule)>) -> Vec<FileRule> {
        rules.into_iter().map(|(_, rule)| rule).collect()
    }

    fn priorities(rules: Result<Vec<(u64, FileRule)>, FileError>) -> Vec<(Option<i32>, Option<i32>)> {
        bare(rules.unwrap_or_else(|error| panic!("{error}"))).iter().map(FileRule::order).collect()
    }

    #[test]
    fn a_priority_that_is_not_said_is_the_default_one() {
        let csv = b"subject,property_key,property_value\ndefault,k,v\nbob,k,v\n";
        assert_eq!(
            priorities(parse_csv(csv, &Conventions::default())),
            [(Some(9), Some(10)), (Some(5), Some(10))]
        );
        let csv = b"subject,spriority,ppriority,key,value\nbob,,-7,k,v\n";
        assert_eq!(priorities(parse_csv(csv, &Conventions::default())), [(None, Some(-7))]);
        let json = br#"[{"subject":"bob","key":"k","value":"v","spriority":null}]"#;
        assert_eq!(priorities(parse_json(json, &Conventions::default())), [(None, Some(10))]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_without_its_value() {
        let error = |csv: &str| {
            parse_csv(csv.as_bytes(), &Conventions::default()).err().map(|error| error.to_string())
        };
        let found = error("subject,key,value,spriority\na,k,v,1\na,k,secret,secret\n").expect("refused");
        assert!(found.starts_with("line 3: spriority") && !found.contains("secret"), "{found}");
        assert!(error("subject,key,value\n,k,v\n").expect("refused").contains("line 2: the subject"));
        let error = |json: &str| {
            parse_json(json.as_bytes(), &Conventions::default()).err().map(|error| error.to_string())
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
        assert_eq!(write_json([]), b"[\n]\n");
        let rule = rules(vec![("".into(), "bob'".into(), None, Some(1), "k".into(), "\"".into())]);
        let line =
            r#"{"domain":null,"subject":"bob's","spriority":null,"ppriority":1,"key":"k","value":"\""}"#;
        assert_eq!(String::from_utf8(write_json(&rule)).expect("UTF-8"), format!("[\n{line}\n]\n"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in prop::collection::vec(any::<Texts>(), 0..5)) {
            let rules = rules(texts);
            let (csv, json) = (write_csv(&rules), write_json(&rules));
            prop_assert!(bare(parse_csv(&csv, &Conventions::default()).expect("CSV")) == rules);
            prop_assert!(bare(parse_json(&json, &Conventions::default()).expect("JSON")) == rules);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in r#"[\[\]{}",:a1\n ]{0,40}"#) {
            for bytes in [&bytes[..], text.as_bytes()] {
                let _ = parse_csv(bytes, &Conventions::default());
                let _ = parse_json(bytes, &Conventions::default());
                let _ = parse_csv(&[b"subject,key,value\n", bytes].concat(), &Conventions::default());
                let _ = parse_json(&[b"[{\"subject\":", bytes].concat(), &Conventions::default());
            }
        }
    }
}
