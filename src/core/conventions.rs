//! How the stored rows are to be understood: what the operator chose once for all of them.

use crate::core::credential::PwdFmt;
use crate::core::names::Comparison;
use crate::core::params::{Aliases, built_in_aliases};

/// How stored rows are to be understood.
#[derive(Debug, Clone)]
pub struct Conventions {
    /// How names are compared (`--case-sensitive`).
    pub comparison: Comparison,
    /// How passwords are stored (`--pwd-fmt`).
    pub pwd_fmt: PwdFmt,
    /// The realm in `ha1` digests (`--realm`); the user's domain if `None`.
    pub realm: Option<String>,
    /// What else parameters are called, in typed subjects as in requests
    /// (`--param-alias`).
    pub aliases: Aliases,
}

impl Default for Conventions {
    fn default() -> Self {
        Conventions {
            comparison: Comparison::default(),
            pwd_fmt: PwdFmt::default(),
            realm: None,
            aliases: built_in_aliases(),
        }
    }
}
