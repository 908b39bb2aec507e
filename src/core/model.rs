//! Rows as a database stores them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One column of one row, as the database stores it.
///
/// The original's tables are nullable throughout and SQLite columns hold any
/// type, so nothing is assumed here; the snapshot's builder decides what is
/// usable and reports the rest.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// SQL `NULL`.
    Null,
    /// A whole number.
    Int(i64),
    /// Anything else, as bytes.
    Text(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Cell {
    /// The column as text; `None` for `NULL`.
    ///
    /// # Errors
    /// When the bytes are not UTF-8.
    pub fn text(&self) -> Result<Option<Cow<'_, str>>, NotUtf8> {
        match self {
            Cell::Null => Ok(None),
            Cell::Int(number) => Ok(Some(Cow::Owned(number.to_string()))),
            Cell::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(Cow::Borrowed(text))),
                Err(_) => Err(NotUtf8),
            },
        }
    }

    /// The column as a whole number; `None` for `NULL`.
    ///
    /// # Errors
    /// When it is no decimal number of 64 bits.
    pub fn int(&self) -> Result<Option<i64>, NotANumber> {
        match self {
            Cell::Null => Ok(None),
            Cell::Int(number) => Ok(Some(*number)),
            Cell::Text(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .map(Some)
                .ok_or(NotANumber),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.as_bytes().to_vec())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Cell::Int(number)
    }
}

/// A [`Cell`] whose bytes are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotUtf8;

/// A [`Cell`] that holds no whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANumber;

/// A row of `user_auth`. It holds a password, so it does not implement `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The row's primary key, or its place in the operator's own query.
    pub id: i64,
    /// The name the user signs in with.
    pub username: Cell,
    /// The tenant the user belongs to.
    pub domain: Cell,
    /// The password in the format of `--pwd-fmt`, or a self-describing hash.
    pub password: Cell,
}

/// A row of `jitsi_property`. Values may hold passwords, so it does not
/// implement `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// The row's primary key, or its place in the operator's own query.
    pub id: i64,
    /// The tenant the rule applies to; `NULL` or empty for all.
    pub domain: Cell,
    /// Whom the rule is for: `default`, a parameter's value, or `param=value`.
    pub subject: Cell,
    /// Sorts first; the smallest wins.
    pub spriority: Cell,
    /// Sorts second; the smallest wins.
    pub ppriority: Cell,
    /// Template of the property's key, in `.properties` syntax.
    pub key: Cell,
    /// Template of the property's value, in `.properties` syntax.
    pub value: Cell,
}

/// What a source reads.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// A row of `user_auth`.
    User(UserRow),
    /// A row of `jitsi_property`.
    Rule(RuleRow),
}

impl Row {
    /// The table it is of.
    pub fn table(&self) -> Table {
        match self {
            Row::User(_) => Table::UserAuth,
            Row::Rule(_) => Table::JitsiProperty,
        }
    }

    /// Its id, by which it is known in its table.
    pub fn id(&self) -> i64 {
        match self {
            Row::User(row) => row.id,
            Row::Rule(row) => row.id,
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} id {})", self.table(), self.id())
    }
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It is new, or reads differently now.
    Put(Row),
    /// It is no longer there.
    Gone(Table, i64),
}

/// One of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// `user_auth`
    UserAuth,
    /// `jitsi_property`
    JitsiProperty,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::UserAuth => "user_auth",
            Table::JitsiProperty => "jitsi_property",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_convert_between_text_and_number() {
        assert_eq!(Cell::from("10").int(), Ok(Some(10)));
        assert_eq!(Cell::from("ten").int(), Err(NotANumber));
        assert_eq!(Cell::Null.int(), Ok(None));
        assert_eq!(Cell::Int(7).text(), Ok(Some(Cow::Borrowed("7"))));
        assert_eq!(Cell::Text(vec![0xff]).text(), Err(NotUtf8));
    }
}
