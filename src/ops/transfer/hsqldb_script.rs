//! Reads `props.hsql.script`, in which Jitsi has kept its settings since version 2.10. It is a
//! script of HSQLDB: one SQL statement a line, and for each setting an
//! `INSERT INTO PROPS VALUES('key','value')`. A quote in a text is doubled, and everything that is
//! not printable ASCII is written as `\uXXXX`.

use super::FileError;
use super::properties_file::{Doubles, FileProperty, Properties};
use crate::core::properties::{Side, write_units};

/// A text of the script: its units of UTF-16, or `None` for NULL.
type SqlText = Option<Vec<u16>>;

/// What is wrong with a row that does not end as it should.
const CUT_OFF: &str = "the row of PROPS is not complete: close Jitsi and copy the file again";

/// Reads the settings in their order. They become properties with escapes, because the script
/// has plain text. A setting whose value is NULL is left out, as Jitsi ignores it.
///
/// # Errors
/// When a row cannot be read, or there is no table of settings.
pub fn parse(text: &str) -> Result<(Vec<FileProperty>, Doubles), FileError> {
    let mut properties = Properties::default();
    let mut has_table = false;
    for (line, statement) in (1..).zip(text.lines()) {
        has_table |= creates_table(statement);
        let Some(values) = values(statement) else { continue };
        has_table = true;
        let (key, value) = row(values).map_err(|what| FileError::new(line, what))?;
        if let (Some(key), Some(value)) = (key, value) {
            let property =
                FileProperty { line, key: written(&key, Side::Key), value: written(&value, Side::Value) };
            properties.add(property, key);
        }
    }
    if !has_table {
        return Err(FileError::new(
            1,
            "this script of HSQLDB has no table PROPS, in which Jitsi keeps its settings: close Jitsi, \
             which writes them, and import its props.hsql.script",
        ));
    }
    Ok(properties.finish())
}

/// Whether the text has rows of the table of settings.
pub fn has_settings(text: &str) -> bool {
    text.lines().any(|line| values(line).is_some() || creates_table(line))
}

/// What follows `word` in the text, without case.
fn after<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

/// What follows the name of the table, with or without its schema and quotes.
fn after_name(text: &str) -> Option<&str> {
    let schema = after(text, "PUBLIC.").or_else(|| after(text, "\"PUBLIC\"."));
    let text = schema.unwrap_or(text);
    after(text, "PROPS").or_else(|| after(text, "\"PROPS\""))
}

fn creates_table(statement: &str) -> bool {
    let rest = after(statement, "CREATE ").map(|rest| after(rest, "MEMORY ").unwrap_or(rest));
    rest.and_then(|rest| after(rest, "TABLE "))
        .and_then(after_name)
        .is_some_and(|rest| rest.trim_start().starts_with('('))
}

/// The values of a statement that inserts a setting, after the opening parenthesis.
fn values(statement: &str) -> Option<&str> {
    let rest = after_name(after(statement.trim_start(), "INSERT INTO ")?)?;
    after(rest.trim_start(), "VALUES")?.trim_start().strip_prefix('(')
}

/// The key and the value.
fn row(values: &str) -> Result<(SqlText, SqlText), &'static str> {
    let (key, rest) = sql_text(values)?;
    let rest = rest.trim_start().strip_prefix(',').ok_or(CUT_OFF)?;
    let (value, rest) = sql_text(rest)?;
    let end = rest.trim_start().strip_prefix(')').ok_or(CUT_OFF)?.trim();
    if !["", ";"].contains(&end) {
        return Err("the row of PROPS has more than a key and a value: this is no script of HSQLDB");
    }
    Ok((key, value))
}

/// A text in quotes or NULL, and what follows it.
fn sql_text(text: &str) -> Result<(SqlText, &str), &'static str> {
    let text = text.trim_start();
    if let Some(rest) = after(text, "NULL") {
        return Ok((None, rest));
    }
    let mut rest = text.strip_prefix('\'').ok_or(CUT_OFF)?;
    let mut units = Vec::new();
    loop {
        let end = rest.find(['\'', '\\']).ok_or(CUT_OFF)?;
        units.extend(rest[..end].encode_utf16());
        let (mark, after) = rest[end..].split_at(1);
        rest = after;
        if mark == "\\" {
            let digits = rest.strip_prefix('u').and_then(|rest| rest.get(..4));
            let unit = digits
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|digits| u16::from_str_radix(digits, 16).ok());
            // HSQLDB escapes a backslash only before a `u`.
            units.push(unit.unwrap_or(u16::from(b'\\')));
            rest = unit.map_or(rest, |_| &rest[5..]);
        } else if let Some(after) = rest.strip_prefix('\'') {
            units.push(u16::from(b'\''));
            rest = after;
        } else {
            return Ok((Some(units), rest));
        }
    }
}

/// The text in the syntax of properties.
fn written(units: &[u16], place: Side) -> String {
    let mut written = Vec::new();
    write_units(units, place, &mut written);
    String::from_utf8(written).expect("all text that is written is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let (properties, _) = parse(text).unwrap_or_else(|error| panic!("{error}"));
        properties.into_iter().map(|property| (property.key, property.value)).collect()
    }

    #[test]
    fn rows_become_properties_with_escapes_in_their_order() {
        let text = "SET DATABASE UNIQUE NAME HSQLDBA21A75078A\n\
            CREATE MEMORY TABLE PUBLIC.PROPS(K VARCHAR(16777216),V VARCHAR(16777216),UNIQUE(K))\n\
            SET SCHEMA SYSTEM_LOBS\nINSERT INTO BLOCKS VALUES(0,2147483647,0)\nSET SCHEMA PUBLIC\n\
            INSERT INTO PROPS VALUES('net.b','it''s ''quoted''')\n\
            INSERT INTO PROPS VALUES('a b:c=','line\\u000abreak\\u000d\\u000a tab\\u0009')\n\
            INSERT INTO PUBLIC.PROPS VALUES('uni\\u00e9','\\u20ac \\ud83d\\ude00 lone\\ud800x')\n\
            insert into \"PUBLIC\".\"PROPS\" values ('esc', 'C:\\Program Files\\u005cu00e9 \\\\u005cu0041 \\n');\r\n\
            INSERT INTO PROPS VALUES('empty','')\n\
            INSERT INTO PROPS VALUES('null',NULL)\n\
            INSERT INTO PROPS VALUES('sp',' $x ), ''')\n";
        let expected = [
            ("net.b", "it's 'quoted'"),
            ("a\\ b\\:c\\=", "line\\nbreak\\r\\n tab\\t"),
            ("uni\\u00E9", "\\u20AC \\uD83D\\uDE00 lone\\uD800x"),
            ("esc", "C:\\\\Program Files\\\\u00e9 \\\\\\\\u0041 \\\\n"),
            ("empty", ""),
            ("sp", "\\ $x ), '"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn rows_that_are_cut_off_are_refused_with_their_line_and_without_their_text() {
        for row in [
            "'a','hunter2",
            "'a','hunter2'",
            "'a'",
            "'a',",
            "'a','hunter2''",
            "'a','hunter2','c')",
            "'a','hunter2'),('b','c')",
            "7,'hunter2')",
        ] {
            let text = format!("SET DATABASE X\nINSERT INTO PROPS VALUES({row}\n");
            let error = parse(&text).err().unwrap_or_else(|| panic!("{row}")).to_string();
            assert!(error.starts_with("line 2: the row of PROPS") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_script_without_the_table_of_settings_is_refused() {
        let why = parse("SET DATABASE UNIQUE NAME X\nINSERT INTO OTHER VALUES('a','b')\n").err();
        assert!(why.is_some_and(|why| why.to_string().contains("PROPS")));
        assert!(pairs("CREATE MEMORY TABLE PUBLIC.PROPS(K LONGVARCHAR,V LONGVARCHAR)\n").is_empty());
        assert!(!has_settings("INSERT INTO `props` VALUES ('a','b');\nINSERT INTO PROPSY VALUES('a','b')"));
    }
}
