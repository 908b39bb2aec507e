//! What stored passwords look like, to find out whether rows were made for another format.

use super::{Credential, Form};

/// What a stored password looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Look {
    /// 32 hexadecimal digits: `md5` or `ha1`.
    Md5,
    /// 64 hexadecimal digits: `ha1_sha256`.
    Sha256,
    /// Anything else: the password itself.
    Text,
}

/// Whether a stored password can mean what the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It fits, or names its own format.
    Fits,
    /// It looks like a password in another format.
    Misfit(Look),
    /// There is no password, or none that says anything about the format.
    Unknown,
}

impl Look {
    pub(super) fn of(stored: &str) -> Look {
        let digits = stored.trim_end_matches(' ');
        match digits.len() {
            32 if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => Look::Md5,
            64 if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => Look::Sha256,
            _ => Look::Text,
        }
    }
}

impl Credential {
    /// Whether the stored password can mean what the format says. A single password of 32
    /// hexadecimal digits is possible; very many of them are not.
    pub fn fit(&self) -> Fit {
        match &self.0 {
            Form::Never(None) => Fit::Unknown,
            Form::Never(Some(look)) => Fit::Misfit(*look),
            Form::Plain(_, look @ (Look::Md5 | Look::Sha256)) => Fit::Misfit(*look),
            Form::Plain(..) | Form::Md5(_) | Form::Ha1(_) | Form::Slow(_) => Fit::Fits,
        }
    }
}
