//! Users and rules as files: what `import` reads and `export` writes. Only
//! values; files and databases are the commands' business.
//!
//! A file says what a row says, once rows are left out that the server cannot
//! use. What is written is canonical: reading and writing it again gives the
//! same bytes.

pub mod plan;
pub mod properties_file;
pub mod rules;
mod table;
pub mod templatize;
pub mod users;

use crate::core::conventions::Conventions;
use crate::core::model::{Cell, Row, RuleRow, UserRow};
use crate::core::secret::Secret;

/// A user, as a file has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUser {
    /// The name the user signs in with.
    pub username: String,
    /// The tenant.
    pub domain: String,
    /// The password as it is stored; empty for none, which never verifies.
    pub password: Secret,
}

/// A rule, as a file has one. Its value may be a password, so it does not
/// implement `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct FileRule {
    /// The tenant; empty for all.
    pub domain: String,
    /// Who it is for.
    pub subject: String,
    /// Priority among subjects; `None` for the database's `NULL`.
    pub spriority: Option<i32>,
    /// Priority among those; `None` for the database's `NULL`.
    pub ppriority: Option<i32>,
    /// Template of the key, in `.properties` syntax.
    pub key: String,
    /// Template of the value, in `.properties` syntax.
    pub value: String,
}

/// What is wrong with a file: one line that never holds a password or a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FileError {
    /// Where, counted from 1.
    pub line: u64,
    /// What, and how to fix it.
    pub what: String,
}

impl FileError {
    fn new(line: u64, what: impl Into<String>) -> FileError {
        FileError { line, what: what.into() }
    }
}

/// The priority of a rule that has none. The fewer clients it is for, the sooner it
/// counts; all come before what setup inserts, which has 10.
pub fn default_spriority(subject: &str, domain: &str) -> i32 {
    match (subject.trim_end().eq_ignore_ascii_case("default"), domain.trim_end()) {
        (false, _) => 5,
        (true, "") => 9,
        (true, _) => 7,
    }
}

/// The second priority of a rule that has none.
pub const DEFAULT_PPRIORITY: i32 = 10;

impl FileUser {
    /// What the row says. A password that cannot be read is none: with neither
    /// can anybody sign in.
    ///
    /// # Errors
    /// Why the server cannot use it.
    pub fn read(row: &UserRow, options: &Conventions) -> Result<FileUser, String> {
        let password = row.password.text().ok().flatten().unwrap_or_default();
        let user = FileUser {
            username: text(&row.username, "username")?,
            domain: text(&row.domain, "domain")?,
            password: Secret::new(password),
        };
        user.check(options)?;
        Ok(user)
    }

    /// Whether the server can use it.
    fn check(&self, options: &Conventions) -> Result<(), String> {
        options.unusable(&Row::User(self.row(0))).map_or(Ok(()), Err)
    }

    /// The row that says so.
    pub fn row(&self, id: i64) -> UserRow {
        let (username, domain) = (self.username.as_str().into(), self.domain.as_str().into());
        UserRow { id, username, domain, password: self.password.reveal().into() }
    }
}

impl FileRule {
    /// What the row says.
    ///
    /// # Errors
    /// Why the server cannot use it.
    pub fn read(row: &RuleRow, options: &Conventions) -> Result<FileRule, String> {
        if let Some(why) = options.unusable(&Row::Rule(row.clone())) {
            return Err(why);
        }
        Ok(FileRule {
            domain: text(&row.domain, "domain")?,
            subject: text(&row.subject, "subject")?,
            spriority: number(&row.spriority, "spriority")?,
            ppriority: number(&row.ppriority, "ppriority")?,
            key: text(&row.key, "property_key")?,
            value: text(&row.value, "property_value")?,
        })
    }

    /// Whether the server can use it.
    fn check(&self, options: &Conventions) -> Result<(), String> {
        options.unusable(&Row::Rule(self.row(0))).map_or(Ok(()), Err)
    }

    /// The row that says so.
    pub fn row(&self, id: i64) -> RuleRow {
        let priority = |number: Option<i32>| number.map_or(Cell::Null, |number| Cell::Int(number.into()));
        RuleRow {
            id,
            domain: if self.domain.is_empty() { Cell::Null } else { self.domain.as_str().into() },
            subject: self.subject.as_str().into(),
            spriority: priority(self.spriority),
            ppriority: priority(self.ppriority),
            key: self.key.as_str().into(),
            value: self.value.as_str().into(),
        }
    }

    /// Its place among others, but for the id.
    pub fn order(&self) -> (Option<i32>, Option<i32>) {
        (self.spriority, self.ppriority)
    }
}

/// A column as text; `NULL` is the same as nothing.
fn text(cell: &Cell, column: &str) -> Result<String, String> {
    match cell.text() {
        Ok(text) => Ok(text.unwrap_or_default().into_owned()),
        Err(_) => Err(format!("{column} is not UTF-8")),
    }
}

fn number(cell: &Cell, column: &str) -> Result<Option<i32>, String> {
    let number = cell.int().map_err(|_| format!("{column} is not a whole number"))?;
    number.map(i32::try_from).transpose().map_err(|_| format!("{column} is outside 32 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_read_and_made_again_says_the_same() {
        let row = RuleRow {
            id: 7,
            domain: Cell::Null,
            subject: "osname=Linux".into(),
            spriority: Cell::Null,
            ppriority: Cell::from("-3"),
            key: "a\\:b".into(),
            value: "".into(),
        };
        let rule = FileRule::read(&row, &Conventions::default()).unwrap_or_else(|why| panic!("{why}"));
        assert!(rule.row(7) == RuleRow { ppriority: Cell::Int(-3), ..row });
    }

    #[test]
    fn rows_that_the_server_cannot_use_are_refused_in_words() {
        let rule = FileRule {
            domain: String::new(),
            subject: "s".into(),
            spriority: None,
            ppriority: None,
            key: "k".into(),
            value: "v".into(),
        };
        let why = |row: RuleRow| FileRule::read(&row, &Conventions::default()).err().unwrap_or_default();
        assert!(why(RuleRow { key: Cell::Null, ..rule.row(1) }).contains("property_key is NULL"));
        assert!(why(RuleRow { subject: " ".into(), ..rule.row(1) }).contains("subject"));
        assert!(why(RuleRow { spriority: Cell::Int(1 << 40), ..rule.row(1) }).contains("32 bits"));
        assert!(why(RuleRow { value: Cell::Text(vec![0xff]), ..rule.row(1) }).contains("UTF-8"));
        assert!(why(RuleRow { key: "k".repeat(2000).as_str().into(), ..rule.row(1) }).contains("longer"));
        let user = UserRow { id: 1, username: "a".into(), domain: Cell::Null, password: Cell::Null };
        let why = |user: &UserRow| FileUser::read(user, &Conventions::default()).err();
        assert!(why(&user).is_some_and(|why| why.contains("domain")));
        let user = UserRow { username: " ".into(), domain: "a.org".into(), ..user };
        assert!(why(&user).is_some_and(|why| why.contains("username is empty")));
        let typed = RuleRow { subject: "osname=".into(), ..rule.row(1) };
        assert!(FileRule::read(&typed, &Conventions::default()).is_err_and(|why| why.contains("subject")));
    }
}
