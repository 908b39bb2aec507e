//! A table of another program, as operators type it: `subscriber(username, domain)`.

use std::fmt;
use std::str::FromStr;

use super::{Dialect, rows};
use crate::core::model::Table;

/// How to write a table, for errors.
const FORM: &str = "write the table and, in brackets, the columns whose updates count, such as \
                    subscriber(username, domain); put double quotes around other names";

/// A table of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignTable {
    /// The schema, which MySQL calls a database.
    pub(super) schema: Option<Name>,
    pub(super) name: Name,
    /// The columns whose updates count. There is at least one.
    pub(super) columns: Vec<Name>,
}

/// A name of a table or column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    text: String,
    is_quoted: bool,
}

impl FromStr for ForeignTable {
    type Err = String;

    fn from_str(text: &str) -> Result<ForeignTable, String> {
        let mut rest = text;
        let mut names = vec![Name::take(&mut rest)?];
        while skip(&mut rest, '.') {
            names.push(Name::take(&mut rest)?);
        }
        let (Some(name), schema, true) = (names.pop(), names.pop(), names.is_empty()) else {
            return Err("a table has at most one schema: write schema.table(column, ...)".into());
        };
        if !skip(&mut rest, '(') {
            return Err(FORM.into());
        }
        let mut columns: Vec<Name> = Vec::new();
        loop {
            let column = Name::take(&mut rest)?;
            if columns.iter().any(|known| known.text.eq_ignore_ascii_case(&column.text)) {
                return Err(format!("the column `{}` comes twice: leave out one", column.text));
            }
            columns.push(column);
            if !skip(&mut rest, ',') {
                break;
            }
        }
        match skip(&mut rest, ')') && rest.trim().is_empty() {
            true => Ok(ForeignTable { schema, name, columns }),
            false => Err(FORM.into()),
        }
    }
}

impl fmt::Display for ForeignTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema.as_ref().map_or(String::new(), |schema| format!("{}.", schema.text));
        write!(f, "the table `{schema}{}`", self.name.text)
    }
}

impl ForeignTable {
    /// Whether it has the same name as another one.
    pub(super) fn is_same(&self, other: &ForeignTable) -> bool {
        (&self.schema, &self.name) == (&other.schema, &other.name)
    }

    /// Refuses names that this kind of database cannot have.
    pub(super) fn check(&self, dialect: Dialect) -> Result<(), String> {
        if dialect == Dialect::Sqlite
            && let Some(schema) = self.schema.as_ref().filter(|schema| schema.text != "main")
        {
            return Err(format!(
                "a trigger of SQLite writes only into its own file: leave out `{}.`, and run the statements on \
                 the file with jitsiprovs_change",
                schema.text
            ));
        }
        let names = self.schema.iter().chain([&self.name]).chain(&self.columns);
        for Name { text, .. } in names {
            let is_long = match dialect {
                Dialect::Sqlite => false,
                Dialect::Mysql => text.chars().count() > 64,
                Dialect::Postgres => text.len() > 63,
            };
            if is_long {
                return Err(format!("the name `{text}` is too long for a {}", dialect.container()));
            }
        }
        Ok(())
    }

    /// The columns, quoted and separated by commas.
    pub(super) fn column_list(&self, dialect: Dialect) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| column.quoted(dialect)).collect();
        columns.join(", ")
    }

    /// The name of a trigger, for databases in which no two tables may have triggers of one name.
    /// It has letters, digits and `_` only.
    pub(super) fn trigger_name(&self, replaced: Table, event: &str) -> String {
        let text = &self.name.text;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let table = match text.len() <= PLAIN && text.chars().all(is_plain) {
            true => text.clone(),
            false => {
                let plain: String = text.chars().filter(|c| is_plain(*c)).take(PLAIN - 9).collect();
                let hash = format!("{:x}", md5::compute(text));
                format!("{plain}_{}", &hash[..8])
            }
        };
        format!("jitsiprovs_{}_{table}_{event}", rows(replaced))
    }
}

/// So many characters of the table are in the name of a trigger, which may have 64.
const PLAIN: usize = 32;

impl Name {
    /// Takes a name from the front of `rest`.
    fn take(rest: &mut &str) -> Result<Name, String> {
        let text = rest.trim_start();
        let quote = text.chars().next().filter(|first| ['"', '`'].contains(first));
        let (name, after) = match quote {
            Some(quote) => quoted_name(&text[1..], quote)?,
            None => {
                let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
                (text[..end].to_owned(), &text[end..])
            }
        };
        if name.is_empty() {
            return Err(FORM.into());
        }
        if name.chars().any(char::is_control) {
            return Err("a name has a control character: check the quotes".into());
        }
        *rest = after;
        Ok(Name { text: name, is_quoted: quote.is_some() })
    }

    /// The name as statements have it.
    pub(super) fn quoted(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Mysql => format!("`{}`", self.text.replace('`', "``")),
            // PostgreSQL folds names that are not quoted, and means the same by them.
            Dialect::Postgres if !self.is_quoted => format!("\"{}\"", self.text.to_ascii_lowercase()),
            Dialect::Sqlite | Dialect::Postgres => format!("\"{}\"", self.text.replace('"', "\"\"")),
        }
    }
}

/// A name up to its closing quote, which stands twice inside a name. Also returns what follows.
fn quoted_name(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c == quote {
            true if chars.peek().is_some_and(|(_, next)| *next == quote) => _ = chars.next(),
            true => return Ok((name, &text[at + 1..])),
            false => {}
        }
        name.push(c);
    }
    Err(format!("a name begins with {quote} and does not end with it"))
}

/// Skips a character at the front of `rest`, if it is there.
fn skip(rest: &mut &str, c: char) -> bool {
    let after = rest.trim_start().strip_prefix(c);
    *rest = after.unwrap_or(rest);
    after.is_some()
}
