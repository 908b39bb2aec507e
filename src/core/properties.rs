//! Java `.properties` text, as the client reads it with `java.util.Properties.load(InputStream)`.
//! All reading and writing of this syntax is here.
//!
//! Everything that is written here is ASCII. So the client's ISO-8859-1 reader reads exactly the
//! intended characters.

mod backslash;
mod read;
mod write;

pub use backslash::LostBackslashes;
pub use read::{
    BadEscape, Unit, client_key, client_text, client_value, is_split, logical_lines, split_line, units,
};
pub use write::{Follows, Mended, write_chars, write_param, write_stored, write_units};

/// The side of the `=` on which a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Left of the `=`, where space, `:`, `=`, `#` and `!` have a special meaning.
    Key,
    /// Right of the `=`.
    Value,
}

/// Whether the character is a blank: Java skips it around keys and values, and it ends a key.
pub fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}
