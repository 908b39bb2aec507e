//! Java `.properties` text, as `java.util.Properties.load(InputStream)` reads it in
//! the client: the one reader and the one writer of this syntax.
//!
//! Everything written here is ASCII, so that the client's ISO-8859-1 reader
//! sees exactly what was meant.

mod read;
mod write;

pub use read::{
    BadEscape, Unit, client_key, client_text, client_value, is_split, logical_lines, split_line, units,
};
pub use write::{Follows, Mended, param_len, write_param, write_stored};

/// Which side of the `=` a text stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Left of it, where space, `:`, `=`, `#` and `!` mean something.
    Key,
    /// Right of it.
    Value,
}

/// Whether Java skips the character around keys and values, and ends a key at it.
pub fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}
