//! Recognises what a file is that is imported as settings of a Jitsi.

use super::FileError;
use super::hsqldb_script;

/// What the bytes of the file stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// ISO-8859-1, as Java reads it. ASCII is part of it.
    Latin1,
    /// UTF-8, which Java does not expect.
    Utf8,
    /// UTF-8 after a byte order mark.
    Utf8WithMark,
}

/// The syntax of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `key=value` lines, as in `sip-communicator.properties`.
    Properties,
    /// A script of HSQLDB, as in `props.hsql.script`.
    HsqldbScript,
}

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The text of a file of settings.
///
/// # Errors
/// When the bytes are no text, are text in UTF-16, or are not the UTF-8 that their byte order mark
/// says.
pub fn decode(bytes: &[u8], as_latin1: bool) -> Result<(String, Charset), FileError> {
    if let Some(what) = not_text(bytes) {
        return Err(FileError::new(1, what));
    }
    let latin1 = || (bytes.iter().copied().map(char::from).collect(), Charset::Latin1);
    if as_latin1 || bytes.is_ascii() {
        return Ok(latin1());
    }
    let Some(rest) = bytes.strip_prefix(MARK) else {
        return Ok(str::from_utf8(bytes).map_or_else(|_| latin1(), |text| (text.to_owned(), Charset::Utf8)));
    };
    match str::from_utf8(rest) {
        Ok(text) => Ok((text.to_owned(), Charset::Utf8WithMark)),
        Err(why) => {
            let line = 1 + rest[..why.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() as u64;
            Err(FileError::new(
                line,
                "a character is not UTF-8, although the file begins with the byte order mark of UTF-8: \
                 save the file as UTF-8",
            ))
        }
    }
}

/// What a file looks like that is no text, and what to do.
fn not_text(bytes: &[u8]) -> Option<&'static str> {
    let starts = |mark: &[u8]| bytes.starts_with(mark);
    Some(match bytes {
        _ if bytes.strip_prefix(MARK).unwrap_or(bytes).is_empty() => {
            "the file is empty: there is no property in it"
        }
        _ if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") => {
            "this looks like a ZIP archive: unpack it, and import the file of properties in it"
        }
        _ if starts(b"\x1f\x8b") => "this looks like a file compressed with gzip: unpack it with gunzip",
        _ if starts(b"BZh")
            || starts(b"\xfd7zXZ\0")
            || starts(b"\x28\xb5\x2f\xfd")
            || starts(b"7z\xbc\xaf") =>
        {
            "this looks like a compressed file: unpack it"
        }
        _ if starts(b"SQLite format 3\0") => {
            "this looks like a SQLite database: one of this program is imported with `import database`"
        }
        _ if starts(b"%PDF-") => "this looks like a PDF: import the file in which Jitsi keeps its settings",
        _ if starts(b"\xff\xfe") || starts(b"\xfe\xff") => "this looks like text in UTF-16: save it as UTF-8",
        _ if bytes.contains(&0) => {
            "this looks like a binary file, because it has NUL bytes: import Jitsi's props.hsql.script or \
             sip-communicator.properties"
        }
        _ => return None,
    })
}

/// What the text is.
///
/// # Errors
/// When it is neither properties nor a script of HSQLDB. The error says what it looks like.
pub fn recognise(text: &str) -> Result<Form, FileError> {
    let text = text.trim_start_matches('\u{feff}');
    if text.starts_with("#HSQL Database Engine") {
        let what = "this file only describes the database in which Jitsi keeps its settings: import the \
                    props.hsql.script in the same folder";
        return Err(FileError::new(1, what));
    }
    if is_sql(text) {
        return match hsqldb_script::has_settings(text) {
            // A log also has rows that are deleted later, so its rows are not the settings.
            _ if text.starts_with("/*C") => Err(FileError::new(
                1,
                "this looks like the log of a database of HSQLDB: close Jitsi, which writes the settings to \
                 props.hsql.script, and import that",
            )),
            true => Ok(Form::HsqldbScript),
            false if is_hsqldb(text) => Ok(Form::HsqldbScript),
            false => Err(FileError::new(
                1,
                "this looks like SQL, and not like the script of HSQLDB in which Jitsi keeps its settings: \
                 import Jitsi's props.hsql.script; a database is imported with `import database`",
            )),
        };
    }
    match other(text.trim_start()) {
        Some(what) => Err(FileError::new(1, what)),
        None => Ok(Form::Properties),
    }
}

/// What the text looks like, if it is in none of Jitsi's forms, and what to do.
fn other(text: &str) -> Option<&'static str> {
    let lower: String = text.chars().take(1024).collect::<String>().to_ascii_lowercase();
    let is_tag = |next: char| next.is_ascii_alphabetic() || "!?/".contains(next);
    if lower.strip_prefix('<').is_some_and(|rest| rest.starts_with(is_tag)) {
        let is_html = lower.contains("<html") || lower.starts_with("<!doctype html");
        let is_jitsi = lower.contains("<sip-communicator");
        return Some(match (is_html, is_jitsi) {
            (true, _) => {
                "this looks like an HTML page, such as an error or a sign-in page that was saved instead of \
                 the file: fetch the file again"
            }
            (_, true) => {
                "this looks like XML, in which the first versions of Jitsi kept their settings: start a newer \
                 Jitsi with it, and import the file that it writes"
            }
            _ => {
                "this looks like XML: import Jitsi's props.hsql.script or sip-communicator.properties \
                 (only the first versions of Jitsi kept their settings in XML)"
            }
        });
    }
    let opens = |bracket: char, inner: &str| {
        text.strip_prefix(bracket).is_some_and(|rest| rest.trim_start().starts_with(|c| inner.contains(c)))
    };
    if opens('{', "\"}") || opens('[', "{[\"]") {
        return Some("this looks like JSON: rules as JSON are imported with `import rules-json`");
    }
    let first = text.lines().next().unwrap_or_default().trim_end();
    if first.len() > 2 && first.starts_with('[') && first.ends_with(']') {
        return Some(
            "this looks like an INI file: import Jitsi's props.hsql.script or sip-communicator.properties",
        );
    }
    if first.starts_with("-----BEGIN ") {
        return Some("this looks like a key or a certificate in PEM form: import Jitsi's settings");
    }
    let heads: Vec<&str> = first.split([',', ';', '\t']).map(str::trim).collect();
    let has = |head: &str| heads.iter().any(|own| own.trim_matches('"').eq_ignore_ascii_case(head));
    if heads.len() > 1 && has("subject") && has("key") {
        return Some("this looks like CSV: rules as CSV are imported with `import rules`");
    }
    if heads.len() > 1 && has("username") {
        return Some("this looks like CSV: users as CSV are imported with `import users`");
    }
    None
}

/// With which scripts of HSQLDB begin.
const HSQLDB: [&str; 3] = ["SET DATABASE ", "SET FILES ", "CREATE SCHEMA PUBLIC "];
/// Beginnings of SQL statements.
const STATEMENTS: [&str; 29] = [
    "INSERT INTO ",
    "CREATE TABLE ",
    "CREATE MEMORY ",
    "CREATE CACHED ",
    "CREATE SCHEMA ",
    "CREATE DATABASE ",
    "CREATE USER ",
    "CREATE INDEX ",
    "CREATE TYPE ",
    "CREATE VIEW ",
    "DROP TABLE ",
    "DROP DATABASE ",
    "ALTER TABLE ",
    "ALTER USER ",
    "DELETE FROM ",
    "LOCK TABLES ",
    "BEGIN TRANSACTION",
    "START TRANSACTION",
    "BEGIN;",
    "PRAGMA ",
    "SET DATABASE ",
    "SET FILES ",
    "SET SCHEMA ",
    "SET NAMES ",
    "SET SQL_MODE",
    "SET @",
    "SET statement_timeout ",
    "/*!",
    "/*C",
];

/// Whether the first line is SQL. Later ones are not looked at, because a value of a property may
/// continue with SQL.
fn is_sql(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| {
        line == "--" || line.starts_with("-- ") || STATEMENTS.iter().any(|word| begins(line, word))
    })
}

/// Whether the script is one of HSQLDB, perhaps of another program.
fn is_hsqldb(text: &str) -> bool {
    HSQLDB.iter().any(|word| begins(text, word))
}

fn begins(line: &str, word: &str) -> bool {
    line.split_at_checked(word.len()).is_some_and(|(start, _)| start.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form, or what the file looks like.
    fn form(bytes: &[u8]) -> Result<Form, String> {
        let (text, _) = decode(bytes, false).map_err(|error| error.what)?;
        recognise(&text).map_err(|error| error.what)
    }

    #[test]
    fn settings_of_a_jitsi_are_recognised() {
        for (text, expected) in [
            ("a=1\n", Form::Properties),
            ("#Comment\n#Fri Nov 27 2026\nnet.java=1", Form::Properties),
            ("\u{feff}a=1", Form::Properties),
            ("# only a comment\n", Form::Properties),
            ("\n", Form::Properties),
            ("a=\\\nINSERT INTO x\\\nVALUES\nb=1\n", Form::Properties),
            ("set.x=1\ncreate=2\n", Form::Properties),
            ("[a=1\n{b=2\n", Form::Properties),
            ("username=x,y\n", Form::Properties),
            ("SET DATABASE UNIQUE NAME X\nINSERT INTO PROPS VALUES('a','b')\n", Form::HsqldbScript),
            ("INSERT INTO PUBLIC.PROPS VALUES('a','b')", Form::HsqldbScript),
            (
                "CREATE SCHEMA PUBLIC AUTHORIZATION DBA\nCREATE MEMORY TABLE X(A INTEGER)\n",
                Form::HsqldbScript,
            ),
        ] {
            assert_eq!(form(text.as_bytes()), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_neither_properties_nor_a_script_is_named() {
        for (bytes, looks) in [
            (&b"<!DOCTYPE html>\n<html><body>Sign in</body></html>"[..], "HTML page"),
            (b"\xef\xbb\xbf  <html lang=de>", "HTML page"),
            (
                b"<?xml version=\"1.0\"?>\n<sip-communicator>\n<net/></sip-communicator>",
                "first versions of Jitsi",
            ),
            (b"<?xml version=\"1.0\"?><contacts/>", "XML"),
            (b"-- MySQL dump 10.13\n--\nCREATE TABLE t (a INT);", "SQL"),
            (b"--\n-- PostgreSQL database dump\n--\n", "SQL"),
            (b"INSERT INTO `jitsi_property` VALUES (1,'default',10,10,'a','b');\n", "SQL"),
            (b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", "SQL"),
            (b"/*C1*/SET SCHEMA SYSTEM_LOBS\nINSERT INTO PROPS VALUES('a','b')\n", "the log"),
            (b"#HSQL Database Engine 2.7.1\n#Fri\nversion=2.7.1\nmodified=no\n", "props.hsql.script"),
            (b"{\"a\": 1}", "JSON"),
            (b"[\n {\"subject\": \"default\"}]", "JSON"),
            (b"[main]\na=1\n", "INI"),
            (b"-----BEGIN PRIVATE KEY-----\nMIIE=\n", "PEM"),
            (b"domain,subject,spriority,ppriority,key,value\n,default,1,1,a,b\n", "import rules"),
            (b"username;domain;password\na;b;c\n", "import users"),
            (b"PK\x03\x04\x14\0", "ZIP"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"BZh91AY", "compressed"),
            (b"SQLite format 3\0", "SQLite"),
            (b"%PDF-1.4\n", "PDF"),
            (b"\xff\xfea\0=\0b\0", "UTF-16"),
            (b"\x7fELF\x02\x01\x01\0\0", "binary"),
            (b"a=1\nb=\0\n", "NUL"),
            (b"", "empty"),
            (b"\xef\xbb\xbf", "empty"),
        ] {
            let why = form(bytes).expect_err(looks);
            assert!(why.contains(looks), "{looks}: {why}");
        }
    }

    #[test]
    fn bytes_are_read_as_utf8_if_they_are_and_as_java_reads_them_otherwise() {
        for (bytes, as_latin1, text, charset) in [
            (&b"a=1"[..], false, "a=1", Charset::Latin1),
            ("a=café 😀".as_bytes(), false, "a=café 😀", Charset::Utf8),
            ("\u{feff}a=é".as_bytes(), false, "a=é", Charset::Utf8WithMark),
            ("\u{feff}a=1".as_bytes(), false, "a=1", Charset::Utf8WithMark),
            (b"a=caf\xe9", false, "a=café", Charset::Latin1),
            ("a=é".as_bytes(), true, "a=Ã©", Charset::Latin1),
            ("\u{feff}a".as_bytes(), true, "ï»¿a", Charset::Latin1),
        ] {
            assert_eq!(decode(bytes, as_latin1), Ok((text.to_owned(), charset)), "{text:?}");
        }
        let why = decode(b"\xef\xbb\xbfa=1\nb=caf\xe9\n", false).expect_err("not UTF-8");
        assert_eq!(why.line, 2);
    }
}
