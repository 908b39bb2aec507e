//! The plain values everything else is made from: rows as a database stores
//! them, the parameters of one request, and secrets that do not print.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that must never be shown: a password, a hash, a database credential.
///
/// `Debug` and `Display` print `***`; the text itself is reached only through
/// [`Secret::reveal`], so that every use of it can be found by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Never log what this returns.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

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

/// Something wrong with one row, in words for the operator. Never holds a
/// password, a hash or a property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind, in a short name that stays as it is.
    pub code: &'static str,
    /// Where the row is.
    pub table: Table,
    /// Its id.
    pub id: i64,
    /// What is wrong, what that means, and how to mend it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} id {}: {}", self.table, self.id, self.what)
    }
}

/// The parameters a Jitsi client can fill by itself and whose values select
/// rules (`ProvisioningServiceImpl` of the client, plus `domain`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the parameters' names")]
pub enum Known {
    Username,
    Password,
    Domain,
    Osname,
    Ipaddr,
    Hwaddr,
    Build,
    Uuid,
    Arch,
    Hostname,
    Locale,
    Resx,
    Resy,
}

impl Known {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Known; 13] = [
        Known::Username,
        Known::Password,
        Known::Domain,
        Known::Osname,
        Known::Ipaddr,
        Known::Hwaddr,
        Known::Build,
        Known::Uuid,
        Known::Arch,
        Known::Hostname,
        Known::Locale,
        Known::Resx,
        Known::Resy,
    ];

    /// The parameter's name in requests, templates and typed subjects.
    pub fn name(self) -> &'static str {
        match self {
            Known::Username => "username",
            Known::Password => "password",
            Known::Domain => "domain",
            Known::Osname => "osname",
            Known::Ipaddr => "ipaddr",
            Known::Hwaddr => "hwaddr",
            Known::Build => "build",
            Known::Uuid => "uuid",
            Known::Arch => "arch",
            Known::Hostname => "hostname",
            Known::Locale => "locale",
            Known::Resx => "resx",
            Known::Resy => "resy",
        }
    }

    /// The parameter called `name`, if it is one of these.
    pub fn from_name(name: &str) -> Option<Known> {
        Known::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether an authenticated request always has it.
    pub fn always_given(self) -> bool {
        matches!(self, Known::Username | Known::Password | Known::Domain)
    }
}

/// What stands for a secret where it is not shown.
pub const HIDDEN: &str = "***";

/// What the client sends for a password that it does not have.
pub const UNFILLED_PASSWORD: &str = "${password}";

/// Other names of known parameters.
pub type Aliases = Vec<(String, Known)>;

/// The aliases that are there without being asked for: names that Jitsi's own
/// documentation uses in its example of a URL.
pub fn built_in_aliases() -> Aliases {
    [("user", Known::Username), ("pass", Known::Password), ("os", Known::Osname), ("hw", Known::Hwaddr)]
        .map(|(alias, known)| (alias.to_owned(), known))
        .into()
}

/// A parameter's name: one of the [`Known`], or the operator's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ParamName {
    /// One that clients fill by themselves.
    Known(Known),
    /// One that the operator wrote into the client's URL.
    Other(Box<str>),
}

impl ParamName {
    /// Sorts `name` into known and other.
    pub fn new(name: &str) -> Self {
        match Known::from_name(name) {
            Some(known) => ParamName::Known(known),
            None => ParamName::Other(name.into()),
        }
    }
}

impl fmt::Display for ParamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParamName::Known(known) => known.name(),
            ParamName::Other(name) => name,
        })
    }
}

/// Whether `byte` can begin a parameter name in a template.
pub fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// Whether `byte` can continue a parameter name in a template's braces.
pub fn continues_name(byte: u8) -> bool {
    begins_name(byte) || byte.is_ascii_digit() || byte == b'.'
}

/// The parameters of one request. They include the password, so `Debug` shows
/// only how many there are.
#[derive(Clone, Default)]
pub struct Params {
    known: [Option<String>; Known::ALL.len()],
    other: Vec<(String, String)>,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`, if the client sent one.
    pub fn get(&self, name: &ParamName) -> Option<&str> {
        match name {
            ParamName::Known(known) => self.known(*known),
            ParamName::Other(name) => self.other(name),
        }
    }

    /// The value of a known parameter.
    pub fn known(&self, name: Known) -> Option<&str> {
        self.known[name as usize].as_deref()
    }

    /// Every parameter that is not a known one, by name and value.
    pub fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        self.other.iter().map(|(name, value)| (&**name, &**value))
    }

    fn other(&self, name: &str) -> Option<&str> {
        let pair = self.other.iter().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// Takes `value` for `name` unless there is one already: of a repeated
    /// name the first counts.
    pub fn offer(&mut self, name: &str, value: String) {
        match Known::from_name(name) {
            Some(known) => self.offer_known(known, value),
            None if self.other(name).is_none() => self.other.push((name.to_owned(), value)),
            None => {}
        }
    }

    /// [`Params::offer`] for a known parameter.
    pub fn offer_known(&mut self, name: Known, value: String) {
        self.known[name as usize].get_or_insert(value);
    }

    /// Sets a known parameter, or removes it.
    pub fn set(&mut self, name: Known, value: Option<String>) {
        self.known[name as usize] = value;
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.iter().flatten().count();
        write!(f, "Params({} given)", known + self.other.len())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Params {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut params = Params::new();
        for (name, value) in pairs {
            params.offer(name, value.to_owned());
        }
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_only_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn known_parameters_are_listed_in_the_order_of_their_discriminants() {
        for (place, known) in Known::ALL.into_iter().enumerate() {
            assert_eq!(known as usize, place);
            assert_eq!(Known::from_name(known.name()), Some(known));
        }
    }

    #[test]
    fn of_a_repeated_parameter_the_first_counts() {
        let params: Params =
            [("osname", "Linux"), ("osname", "Mac"), ("x", "1"), ("x", "2")].into_iter().collect();
        assert_eq!(params.known(Known::Osname), Some("Linux"));
        assert_eq!(params.get(&ParamName::new("x")), Some("1"));
    }

    #[test]
    fn cells_convert_between_text_and_number() {
        assert_eq!(Cell::from("10").int(), Ok(Some(10)));
        assert_eq!(Cell::from("ten").int(), Err(NotANumber));
        assert_eq!(Cell::Null.int(), Ok(None));
        assert_eq!(Cell::Int(7).text(), Ok(Some(Cow::Borrowed("7"))));
        assert_eq!(Cell::Text(vec![0xff]).text(), Err(NotUtf8));
    }
}
