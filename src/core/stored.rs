//! The form in which rows are stored in the state file.
//!
//! Users with attributes of their own have a form of their own, so that rows without are stored as
//! they were before there were attributes.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::model::{AttributeRow, Cell, Row, RuleRow, UserRow};

/// A row to write.
#[derive(Serialize)]
enum Written<'r> {
    User(&'r UserRow),
    Rule(&'r RuleRow),
    Attribute(&'r AttributeRow),
    UserWith(&'r UserRow, Vec<(&'r str, &'r Cell)>),
}

/// A row that was written. The variants are those of [`Written`].
#[derive(Deserialize)]
enum Read {
    User(UserRow),
    Rule(RuleRow),
    Attribute(AttributeRow),
    UserWith(UserRow, Vec<(String, Cell)>),
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Row::User(row) if row.attributes.is_empty() => Written::User(row),
            Row::User(row) => {
                let attributes = row.attributes.iter().map(|(name, cell)| (&**name, cell));
                Written::UserWith(row, attributes.collect())
            }
            Row::Rule(row) => Written::Rule(row),
            Row::Attribute(row) => Written::Attribute(row),
        };
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Row, D::Error> {
        // Earlier versions wrote cells as the database had sent them.
        Ok(match Read::deserialize(from)? {
            Read::User(row) => Row::User(row.normal()),
            Read::Rule(row) => Row::Rule(row.normal()),
            Read::Attribute(row) => Row::Attribute(row.normal()),
            Read::UserWith(row, attributes) => {
                let attributes = attributes.into_iter().map(|(name, cell)| (Arc::from(name), cell)).collect();
                Row::User(UserRow { attributes, ..row }.normal())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_that_were_stored_as_text_are_numbers() {
        let rule = |priority: Cell| {
            let cells = [Cell::Null, "default".into(), priority.clone(), priority, "k".into(), "7".into()];
            Row::Rule(RuleRow::from_cells(7, cells))
        };
        for (stored, read) in [(Cell::from("10"), Cell::Int(10)), ("ten".into(), "ten".into())] {
            let bytes = postcard::to_allocvec(&rule(stored)).expect("plain data");
            assert!(postcard::from_bytes::<Row>(&bytes).is_ok_and(|row| row == rule(read)));
        }
    }

    #[test]
    fn a_user_keeps_its_attributes_and_one_without_is_stored_as_ever() {
        let cells = ["alice", "a.org", "pw"].map(Cell::from);
        let plain = UserRow::from_cells(7, cells);
        let attributes = vec![("extension".into(), Cell::Int(17)), ("name".into(), Cell::from("Alice"))];
        let rich = UserRow { attributes, ..plain.clone() };
        for row in [Row::User(plain), Row::User(rich)] {
            let bytes = postcard::to_allocvec(&row).expect("plain data");
            assert!(postcard::from_bytes::<Row>(&bytes).is_ok_and(|again| again == row));
            let ever = b"\x00\x0e\x02\x05alice\x02\x05a.org\x02\x02pw";
            assert_eq!(bytes == ever, row.attributes().is_empty());
        }
    }
}
