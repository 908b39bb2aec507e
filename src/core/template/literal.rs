//! Turns text into a template for itself.

use crate::core::properties::{self, Side};

/// A value that the client never takes for text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client never takes `${{null}}` for text: it removes the property")]
pub struct NotText;

/// The template of a value from which Java reads exactly `value`.
///
/// # Errors
/// When the client would not take the value for text.
pub fn literal(value: &str) -> Result<String, NotText> {
    if value == "${null}" {
        return Err(NotText);
    }
    let mut written = Vec::new();
    properties::write_param(value, Side::Value, &mut written);
    let written = String::from_utf8(written).expect("all text that is written is ASCII");
    Ok(written.replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::params::Params;
    use crate::core::template::{Template, split, split_literal};
    use proptest::prelude::*;

    #[test]
    fn a_literal_value_is_escaped_as_a_person_would_escape_it() {
        for (value, expected) in [
            ("a b: c=d", "a b: c=d"),
            ("5$ ${username}", "5$$ $${username}"),
            ("C:\\users\\u", "C:\\\\users\\\\u"),
            (" x ", "\\ x "),
            ("a\nb\t", "a\\nb\\t"),
            ("Á😀", "\\u00C1\\uD83D\\uDE00"),
            ("", ""),
        ] {
            assert_eq!(literal(value).as_deref(), Ok(expected));
        }
        assert_eq!(literal("${null}"), Err(NotText));
    }

    proptest! {
        #[test]
        fn java_reads_exactly_the_literal_value(value in r"[ -~é\n\t${}\\]{0,12}|\PC{0,8}") {
            prop_assume!(value != "${null}");
            let property = format!("k={value}");
            prop_assert_eq!(split_literal(&property), Ok(("k", &*value)));
            let stored = format!("k={}", literal(&value).expect("text"));
            let (_, stored) = split(&stored).expect("a property");
            let mut faults = 0;
            let template = Template::parse(stored, Side::Value, |_| faults += 1);
            prop_assert!(template.is_fixed() && faults == 0);
            let mut written = Vec::new();
            template.whole().render(&Params::new(), &mut written);
            prop_assert_eq!(properties::client_value(std::str::from_utf8(&written).expect("ASCII")), value);
        }
    }
}
