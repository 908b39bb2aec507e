//! What the columns of a file are.

use csv::StringRecord;

use super::CsvOptions;
use crate::core::attributes::attribute_name;
use crate::core::columns::Column;
use crate::core::model::UserRow;

/// Names that other systems give to the columns of users. They are only suggested, because
/// `secret` may be a hash in one file and the password in another.
const ALIKE: [(&str, &[&str]); 3] = [
    (
        "username",
        &["user", "login", "user_name", "extension", "account", "uid", "userid", "benutzername", "benutzer"],
    ),
    ("domain", &["realm", "host", "tenant", "server", "sip_domain"]),
    ("password", &["secret", "pass", "passwd", "pwd", "ha1", "hash", "kennwort", "passwort", "sip_password"]),
];

/// The places of the columns in a file.
#[derive(Default)]
pub(super) struct Head {
    /// For each column of the table, its place.
    pub places: Vec<Option<usize>>,
    /// The places and names of attributes.
    pub attributes: Vec<(usize, String)>,
    /// The names of columns that no attribute can have.
    pub ignored: Vec<String>,
}

/// What a column of a file is.
enum Named {
    /// Nothing that is imported.
    Nothing,
    /// A column of the table.
    Column(usize),
    /// Another column. The name is that of the file, or the one that replaces it.
    Other(String),
}

/// The column with this head. The names of the tables' own columns are accepted too, because dumps
/// use them.
fn named(head: &str, columns: &[Column], options: &CsvOptions) -> Named {
    let head = head.trim();
    let renamed = options.columns.iter().find(|(from, _)| from.eq_ignore_ascii_case(head));
    let head = renamed.map_or(head, |(_, to)| to);
    // Dumps have an id, but the database assigns new ids.
    if head.eq_ignore_ascii_case("id") || renamed.is_some() && head.is_empty() {
        return Named::Nothing;
    }
    let is_called =
        |column: &Column| [column.file_name, column.name].iter().any(|name| name.eq_ignore_ascii_case(head));
    match columns.iter().position(is_called) {
        Some(column) => Named::Column(column),
        None => Named::Other(head.to_owned()),
    }
}

/// Whether `head` is the name of a column of the table, or is renamed.
pub(super) fn is_known(head: &str, columns: &[Column], options: &CsvOptions) -> bool {
    let is_renamed = options.columns.iter().any(|(from, _)| from.eq_ignore_ascii_case(head.trim()));
    is_renamed || matches!(named(head, columns, options), Named::Column(_))
}

impl Head {
    /// Reads the first line. If it `takes_attributes`, columns that are not the table's are
    /// attributes or ignored; otherwise they are errors.
    ///
    /// # Errors
    /// When a column is missing, unknown or there twice.
    pub fn read(
        heads: &StringRecord,
        columns: &[Column],
        options: &CsvOptions,
        takes_attributes: bool,
    ) -> Result<Head, String> {
        let unused = options
            .columns
            .iter()
            .find(|(from, _)| !heads.iter().any(|head| head.trim().eq_ignore_ascii_case(from)));
        if let Some((from, _)) = unused {
            let found = listed(heads, columns, options);
            return Err(format!("--columns renames `{from}`, but no column has this name{found}"));
        }
        let mut read = Head { places: vec![None; columns.len()], ..Head::default() };
        for (place, head) in heads.iter().enumerate() {
            match named(head, columns, options) {
                Named::Nothing => {}
                Named::Column(column) if read.places[column].is_some() => {
                    let name = columns[column].file_name;
                    return Err(format!("two columns `{name}`: leave out one, or rename it with --columns"));
                }
                Named::Column(column) => read.places[column] = Some(place),
                Named::Other(name) if takes_attributes => read.take_other(place, name)?,
                // The text is not shown: if the first line is a row, it may be a password.
                Named::Other(_) => {
                    let (at, all) = (place + 1, names(columns));
                    return Err(format!("column {at} has no known name: known names are {all}"));
                }
            }
        }
        let is_missing = |(column, place): &(&Column, &Option<usize>)| {
            place.is_none() && column.is_required && !(column.name == "domain" && options.domain.is_some())
        };
        match columns.iter().zip(&read.places).find(is_missing) {
            Some((column, _)) => Err(missing(column, heads, columns, options)),
            None => Ok(read),
        }
    }

    /// A note that names the columns that are ignored.
    pub fn note(&self) -> Option<String> {
        let names = self.ignored.join(", ");
        (!names.is_empty()).then(|| {
            format!(
                "ignored, because no attribute can have this name: {names} (write letters, digits, `_` and \
                 dots, or rename them with --columns)"
            )
        })
    }

    fn take_other(&mut self, place: usize, name: String) -> Result<(), String> {
        let Some(attribute) = attribute_of(&name) else {
            self.ignored.push(if name.is_empty() { format!("column {}", place + 1) } else { name });
            return Ok(());
        };
        if self.attributes.iter().any(|(_, known)| *known == attribute) {
            return Err(format!(
                "column {} and another one are the same attribute: leave out one, or rename it with --columns",
                place + 1
            ));
        }
        self.attributes.push((place, attribute));
        Ok(())
    }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.file_name).collect::<Vec<_>>().join(",")
}

/// Why the file cannot be read without this column, and how to rename another one.
fn missing(column: &Column, heads: &StringRecord, columns: &[Column], options: &CsvOptions) -> String {
    let (name, all) = (column.file_name, names(columns));
    let found = listed(heads, columns, options);
    // The columns that have another name here.
    let is_there = |name: &str| heads.iter().any(|head| head.trim().eq_ignore_ascii_case(name));
    let suggested = ALIKE.iter().filter(|(ours, _)| {
        !found.is_empty() && !is_there(ours) && columns.iter().any(|column| column.file_name == *ours)
    });
    let renamed = suggested.filter_map(|(ours, alike)| {
        let head = heads.iter().find(|head| is_one_of(head, alike))?;
        Some(format!("{}={ours}", head.trim()))
    });
    let renamed = renamed.collect::<Vec<_>>().join(",");
    let fix = match renamed.is_empty() {
        true if found.is_empty() => "; the first line must name the columns".into(),
        true => format!("; if one of them is it, give --columns NAME={name}"),
        false => format!("; perhaps --columns '{renamed}'"),
    };
    let fix = if name == "domain" { fix + ", or --domain for all users" } else { fix };
    format!("there is no column `{name}`: known names are {all}{found}{fix}")
}

fn is_one_of(head: &str, names: &[&str]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(head.trim()))
}

/// The heads if at least two of them are usual ones. Otherwise the first line may be a user with
/// a password, which must not be shown.
fn listed(heads: &StringRecord, columns: &[Column], options: &CsvOptions) -> String {
    let is_usual = |head: &str| {
        is_known(head, columns, options) || ALIKE.iter().any(|(_, alike)| is_one_of(head, alike))
    };
    match heads.iter().filter(|head| is_usual(head)).count() >= 2 {
        true => {
            let heads: Vec<&str> = heads.iter().map(str::trim).collect();
            format!("; the columns of the file are {}", heads.join(", "))
        }
        false => String::new(),
    }
}

/// The attribute that a column of a users' file is. `user.` may stand before its name, and must if
/// the table has a column of that name.
fn attribute_of(head: &str) -> Option<String> {
    attribute_name(head.strip_prefix(PREFIX).unwrap_or(head))
}

/// The reverse of [`attribute_of`].
pub(super) fn head_of(name: &str) -> String {
    let is_taken = name == "id" || UserRow::COLUMNS.iter().any(|column| column.name == name);
    if is_taken || name.starts_with(PREFIX) { format!("{PREFIX}{name}") } else { name.to_owned() }
}

const PREFIX: &str = "user.";
