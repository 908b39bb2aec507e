//! The settings file: a line `JITSIPROVS_HTTP_PORT=8443` for each option. It has the form of a
//! file of variables that systemd or a shell reads.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::error::{ConfigError, usage};
use crate::cli::option_files;

/// The file that is read if `--config` names no other.
pub const USUAL: &str = "/etc/jitsiprovs/jitsiprovs.conf";

/// A settings file.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingsFile {
    /// Its path.
    pub path: PathBuf,
    /// The lines that give a value.
    pub lines: Vec<Line>,
}

/// A line that gives a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of the line. The first line is 1.
    pub number: usize,
    /// The name of a variable.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl SettingsFile {
    /// Reads the file of `--config`.
    ///
    /// # Errors
    /// When it cannot be read, or a line is wrong.
    pub fn read(path: PathBuf) -> Result<SettingsFile, ConfigError> {
        let text = option_files::read(&path, "--config")?;
        match parse(&text) {
            Ok(lines) => Ok(SettingsFile { path, lines }),
            Err((line, why)) => usage(format!("{}, line {line}: {why}", path.display())),
        }
    }

    /// Reads [`USUAL`] if it exists.
    ///
    /// # Errors
    /// As [`SettingsFile::read`].
    pub fn read_usual() -> Result<Option<SettingsFile>, ConfigError> {
        match SettingsFile::read(Path::new(USUAL).into()) {
            Err(ConfigError::File { why, .. }) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(ConfigError::File { why, .. }) if why.kind() == io::ErrorKind::PermissionDenied => {
                Err(ConfigError::Unreadable { path: USUAL.into(), why })
            }
            read => read.map(Some),
        }
    }
}

/// The lines that give a value. An error has the number of its line.
fn parse(text: &str) -> Result<Vec<Line>, (usize, String)> {
    let mut lines = Vec::<Line>::new();
    for (number, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let wrong = |why: &str| Err((number, why.to_owned()));
        let Some((name, value)) = text.split_once('=') else {
            return wrong("write NAME=value, such as JITSIPROVS_HTTP_PORT=8443, or begin a comment with #");
        };
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !is_name {
            return wrong("the name left of the = may have only letters, digits and _, and no blanks");
        }
        if let Some(before) = lines.iter().find(|before| before.name == name) {
            return Err((number, format!("line {} sets {name} too: remove one of them", before.number)));
        }
        let Some(value) = unquoted(value.trim()) else {
            return wrong("the value begins with a quote, so it must end with the same quote");
        };
        // An empty value means that the option is not given.
        if !value.is_empty() {
            lines.push(Line { number, name: name.to_owned(), value });
        }
    }
    Ok(lines)
}

/// The value without its quotes. Between double quotes, a backslash makes the next character
/// stand for itself. `None` if a quote is missing.
fn unquoted(value: &str) -> Option<String> {
    let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) else {
        return Some(value.to_owned());
    };
    let mut text = String::new();
    let mut rest = value[1..].chars();
    loop {
        match rest.next()? {
            '\\' if quote == '"' => text.push(rest.next()?),
            end if end == quote => break,
            other => text.push(other),
        }
    }
    rest.as_str().is_empty().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(usize, String, String)> {
        let lines = parse(text).unwrap_or_else(|(line, why)| panic!("line {line}: {why}"));
        lines.into_iter().map(|Line { number, name, value }| (number, name, value)).collect()
    }

    #[test]
    fn lines_give_values_in_the_forms_of_shells_and_systemd() {
        for (text, expected) in [
            ("A=b", Some((1, "A", "b"))),
            ("\u{feff}A=b\r\n", Some((1, "A", "b"))),
            ("# no\n; no\n\n  A = b", None),
            ("\n  A=b c ", Some((2, "A", "b c"))),
            ("A='b # \"c'", Some((1, "A", "b # \"c"))),
            (r#"A="b \"c\" \\ \$d""#, Some((1, "A", r#"b "c" \ $d"#))),
            (r"A=b\c$d", Some((1, "A", r"b\c$d"))),
            ("A=SELECT x WHERE y = 'z'", Some((1, "A", "SELECT x WHERE y = 'z'"))),
        ] {
            let Some((line, name, value)) = expected else {
                assert!(parse(text).is_err(), "{text}");
                continue;
            };
            assert_eq!(parsed(text), [(line, name.to_owned(), value.to_owned())], "{text}");
        }
        assert_eq!(parsed("A=\nB=''\n#C=d"), []);
    }

    #[test]
    fn wrong_lines_are_refused_with_their_number() {
        for (text, line, words) in [
            ("A=b\nserve please", 2, "NAME=value"),
            ("export A=b", 1, "no blanks"),
            ("=b", 1, "left of the ="),
            ("A='b", 1, "quote"),
            ("A=\"b\" c", 1, "quote"),
            ("A=b\n\nA=c", 3, "line 1 sets A too"),
        ] {
            let (found, why) = parse(text).expect_err(text);
            assert!(found == line && why.contains(words), "{text}: {found}, {why}");
        }
    }
}
