//! The operator's settings that decide how all stored rows are read.

use crate::core::credential::PwdFmt;
use crate::core::names::Comparison;
use crate::core::params::{Aliases, built_in_aliases};

/// How stored rows are read.
#[derive(Debug, Clone)]
pub struct Conventions {
    /// How names are compared (`--case-sensitive`).
    pub comparison: Comparison,
    /// How passwords are stored (`--pwd-fmt`).
    pub pwd_fmt: PwdFmt,
    /// The realm in `ha1` digests (`--realm`). If `None`, the user's domain is the realm.
    pub realm: Option<String>,
    /// Other names of parameters, in typed subjects and in requests (`--param-alias`).
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
