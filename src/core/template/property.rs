//! A property in the form in which an operator writes it: key and value in one text. It is
//! divided where Java divides the line that it becomes.

use super::placeholder::{Placeholder, placeholder};
use crate::core::properties::is_blank;

/// Why a text is not a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsplit {
    /// There is no separator.
    #[error("there is no `=` in it: write key=value, or `key=` for an empty value")]
    NoValue,
    /// It begins with a separator.
    #[error("the key is empty: write key=value")]
    NoKey,
    /// Java reads it as a comment.
    #[error("the client reads it as a comment: write `\\#` or `\\!` at the beginning of a key")]
    Comment,
    /// Java ends the key at a blank.
    #[error("the client ends the key at the blank: write `\\ ` to put a blank into a key")]
    Blank,
    /// Java ends the key at `=` or `:`.
    #[error("the client ends the key at the `{0}`: write `\\{0}` to put one into a key")]
    Divided(char),
}

/// Divides a property into key and value, at the first `=` or `:` that is neither escaped nor in
/// a placeholder. As in Java, blanks around key and value do not belong to either.
///
/// # Errors
/// When the text cannot be divided; [`Unsplit`] says why.
pub fn split(text: &str) -> Result<(&str, &str), Unsplit> {
    let (key, value) = split_literal(text)?;
    Ok((key, value.trim_start_matches(is_blank)))
}

/// Does the same for a value that is not in `.properties` syntax: blanks at its beginning belong
/// to it.
///
/// # Errors
/// As [`split`].
pub fn split_literal(text: &str) -> Result<(&str, &str), Unsplit> {
    let text = text.trim_start_matches(is_blank);
    let (key, rest) = text.split_at(key_len(text)?);
    let rest = rest.trim_start_matches(is_blank);
    match rest.strip_prefix(['=', ':']) {
        Some(value) => Ok((key, value)),
        None if rest.is_empty() => Err(Unsplit::NoValue),
        // Java would begin the value here, but nobody intends that.
        None => Err(Unsplit::Blank),
    }
}

/// Checks that Java reads all of `key` as the key.
///
/// # Errors
/// When Java would not; [`Unsplit`] says why.
pub fn check_key(key: &str) -> Result<(), Unsplit> {
    match key[key_len(key)?..].chars().next() {
        None => Ok(()),
        Some(c) if is_blank(c) => Err(Unsplit::Blank),
        Some(c) => Err(Unsplit::Divided(c)),
    }
}

/// The length of the key at the beginning of `text`.
fn key_len(text: &str) -> Result<usize, Unsplit> {
    if text.starts_with(['#', '!']) {
        return Err(Unsplit::Comment);
    }
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '=' | ':' => break,
            _ if is_blank(c) => break,
            '\\' => rest[1..].chars().next().map_or("", |escaped| &rest[1 + escaped.len_utf8()..]),
            '$' => placeholder(&rest[1..]).map_or(&rest[1..], |(_, after)| after),
            _ => &rest[c.len_utf8()..],
        };
    }
    match text.len() - rest.len() {
        0 => Err(Unsplit::NoKey),
        len => Ok(len),
    }
}

/// Whether a template consists only of placeholders, so that it does not contain the values that
/// they stand for.
pub fn is_placeholders(template: &str) -> bool {
    let mut rest = template;
    while let Some((Placeholder::Fixed(_) | Placeholder::Param { fallback: None, .. }, after)) =
        rest.strip_prefix('$').and_then(placeholder)
    {
        rest = after;
    }
    rest.is_empty() && !template.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::params::Params;
    use crate::core::properties::{Side, client_key};
    use crate::core::template::Template;
    use proptest::prelude::*;

    #[test]
    fn a_property_is_divided_where_java_divides_it() {
        for (text, expected) in [
            ("a.b=c", Ok(("a.b", "c"))),
            ("a.b=", Ok(("a.b", ""))),
            ("a:b=c", Ok(("a", "b=c"))),
            ("a\\:b=c", Ok(("a\\:b", "c"))),
            (" a = c ", Ok(("a", "c "))),
            ("a\\ b=c", Ok(("a\\ b", "c"))),
            ("a\\\\=b", Ok(("a\\\\", "b"))),
            ("a.${osname:-x=y}.b=c", Ok(("a.${osname:-x=y}.b", "c"))),
            ("a$$b$c=${d}", Ok(("a$$b$c", "${d}"))),
            ("a${b=c", Ok(("a${b", "c"))),
            ("é=ü", Ok(("é", "ü"))),
            ("a b=c", Err(Unsplit::Blank)),
            ("a", Err(Unsplit::NoValue)),
            ("a\\=b", Err(Unsplit::NoValue)),
            ("a\\", Err(Unsplit::NoValue)),
            ("=b", Err(Unsplit::NoKey)),
            ("", Err(Unsplit::NoKey)),
            (" #a=b", Err(Unsplit::Comment)),
        ] {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_key_is_all_of_a_key_or_the_fault_is_named() {
        for (key, expected) in [
            ("a.b", Ok(())),
            ("acc${username}\\:x", Ok(())),
            ("a b", Err(Unsplit::Blank)),
            ("a:b", Err(Unsplit::Divided(':'))),
            ("a=", Err(Unsplit::Divided('='))),
            ("!a", Err(Unsplit::Comment)),
            ("", Err(Unsplit::NoKey)),
        ] {
            assert_eq!(check_key(key), expected, "{key:?}");
        }
    }

    #[test]
    fn placeholders_alone_hold_no_secret() {
        for (text, expected) in [
            ("${password}", true),
            ("$password", true),
            ("${null}", true),
            ("${username}$password", true),
            ("${password:-secret}", false),
            ("secret", false),
            ("${password}1", false),
            ("$$password", false),
            ("", false),
        ] {
            assert_eq!(is_placeholders(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn java_reads_just_the_key_that_was_divided_off(text in r"[a-c.=: #!\\é]{0,12}") {
            if let Ok((key, _)) = split(&text) {
                prop_assert_eq!(check_key(key), Ok(()));
                let mut written = Vec::new();
                Template::parse(key, Side::Key, |_| ()).whole().render(&Params::new(), &mut written);
                let whole = client_key(&written);
                // Nothing in the key ends it, so it grows when text is appended.
                written.extend(b"x");
                let longer = client_key(&written);
                prop_assert_eq!(whole.map(|key| key.len() + 1), longer.map(|key| key.len()));
            }
        }
    }
}
