//! Placeholders as they are written in a template.

use super::Form;
use crate::core::params::{begins_name, continues_name};

/// A parameter as it is written in a template.
pub(super) enum Placeholder<'t> {
    /// A name with a fixed meaning. It renders the same for every request.
    Fixed(&'static str),
    Param {
        name: &'t str,
        form: Option<Form>,
        fallback: Option<&'t str>,
    },
    /// One with a form that does not exist, as it is written after the `$`.
    Unknown(&'t str),
}

/// The placeholder after a `$`, and the text that follows it.
pub(super) fn placeholder(text: &str) -> Option<(Placeholder<'_>, &str)> {
    let bytes = text.as_bytes();
    let (name, form, fallback, after) = if bytes.first() == Some(&b'{') {
        let inner = &text[1..];
        let end = name_len(inner.as_bytes(), continues_name)?;
        let (name, rest) = inner.split_at(end);
        let (form, rest) = form_name(rest);
        match rest.strip_prefix(":-") {
            Some(rest) => {
                let (fallback, after) = rest.split_once('}')?;
                (name, form, Some(fallback), after)
            }
            None => (name, form, None, rest.strip_prefix('}')?),
        }
    } else {
        let end = name_len(bytes, |byte| byte != b'.' && continues_name(byte))?;
        (&text[..end], None, None, &text[end..])
    };
    let known = form.map(Form::from_name);
    let placeholder = match (name, known) {
        // The client gives these two their meaning, so they are sent unchanged.
        ("null", None) => Placeholder::Fixed("${null}"),
        ("system", None) => Placeholder::Fixed("${system}"),
        ("default", None) => Placeholder::Fixed("default"),
        // They have no value that could take a form.
        ("null" | "system" | "default", Some(_)) | (_, Some(None)) => {
            Placeholder::Unknown(&text[..text.len() - after.len()])
        }
        (name, form) => Placeholder::Param { name, form: form.flatten(), fallback },
    };
    Some((placeholder, after))
}

/// The name of a form, if `text` begins with a colon and a word, and the text after it.
fn form_name(text: &str) -> (Option<&str>, &str) {
    let word =
        text.strip_prefix(':').and_then(|rest| Some((rest, name_len(rest.as_bytes(), continues_name)?)));
    match word {
        Some((rest, end)) => (Some(&rest[..end]), &rest[end..]),
        None => (None, text),
    }
}

fn name_len(bytes: &[u8], continues: impl Fn(u8) -> bool) -> Option<usize> {
    begins_name(*bytes.first()?)
        .then(|| bytes.iter().position(|&byte| !continues(byte)).unwrap_or(bytes.len()))
}
