//! One value as a database stores it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One column of one row, as the database stores it.
///
/// All columns of the original's tables are nullable, and SQLite columns hold any type. So
/// nothing is assumed here: the snapshot's builder decides what is usable and reports the rest.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// SQL `NULL`.
    Null,
    /// A whole number.
    Int(i64),
    /// Anything else, as bytes.
    Text(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// A cell of a column that only the operator's own query has: the name of the attribute in lower
/// case, which many rows share, and its value.
pub type NamedCell = (Arc<str>, Cell);

impl Cell {
    /// How many bytes its text has.
    #[expect(clippy::len_without_is_empty, reason = "empty text and NULL are told apart")]
    pub fn len(&self) -> usize {
        match self {
            Cell::Null | Cell::Int(_) => 0,
            Cell::Text(bytes) => bytes.len(),
        }
    }

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

    /// The column for display. `NULL` is empty, and bytes that are not UTF-8 are replaced by
    /// U+FFFD.
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Cell::Null => Cow::Borrowed(""),
            Cell::Int(number) => Cow::Owned(number.to_string()),
            Cell::Text(bytes) => String::from_utf8_lossy(bytes),
        }
    }

    /// The column as a whole number; `None` for `NULL`.
    ///
    /// # Errors
    /// When it is not a decimal number of 64 bits. `10.00` is one, but `10.50` is not.
    pub fn int(&self) -> Result<Option<i64>, NotANumber> {
        match self {
            Cell::Null => Ok(None),
            Cell::Int(number) => Ok(Some(*number)),
            Cell::Text(bytes) => std::str::from_utf8(bytes).ok().and_then(whole).map(Some).ok_or(NotANumber),
        }
    }

    /// The same cell without a number: a whole number becomes its digits.
    pub fn into_text(self) -> Cell {
        match self {
            Cell::Int(number) => number.to_string().as_str().into(),
            Cell::Null | Cell::Text(_) => self,
        }
    }
}

/// The whole number that a text says. Databases send those of `DECIMAL` columns as `10.00`.
fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|zero| zero == b'0') => digits,
        Some(_) => return None,
        None => text,
    };
    digits.parse().ok()
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

/// A [`Cell`] that does not hold a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANumber;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_convert_between_text_and_number() {
        assert_eq!(Cell::from("10").int(), Ok(Some(10)));
        for (text, number) in [("10.00", 10), (" 7 ", 7), ("-3.0", -3), ("-0.00", 0)] {
            assert_eq!(Cell::from(text).int(), Ok(Some(number)), "{text}");
        }
        for text in ["ten", "", "10.50", "10.", ".0", "1.0.0", "1e2", "1,0", "9223372036854775808"] {
            assert_eq!(Cell::from(text).int(), Err(NotANumber), "{text}");
        }
        assert!(Cell::Int(7).into_text() == Cell::from("7") && Cell::Null.into_text() == Cell::Null);
        assert_eq!(Cell::Null.int(), Ok(None));
        assert_eq!(Cell::Int(7).text(), Ok(Some(Cow::Borrowed("7"))));
        assert_eq!(Cell::Text(vec![0xff]).text(), Err(NotUtf8));
    }
}
