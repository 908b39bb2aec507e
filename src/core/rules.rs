//! Decides which rule wins for each property, and builds the answer from the winners.
//!
//! Rules are ordered by (spriority, ppriority, id). For each property key, as the client
//! reads it, the first rule that applies wins. The answer lists the winners in that order,
//! because for some properties the client depends on the order.
//!
//! The rules that apply to everyone in a tenant are merged once, when rows are loaded, into a
//! [`RuleSet`]: one text with holes. If a request selects no other rule, its answer is this text
//! with the holes filled. Otherwise the few selected rules are merged in, and only the keys that
//! they set are compared.

mod answer;
mod key;
mod list;
mod trace;

use std::sync::Arc;

pub use answer::{Answer, RuleSet, Skipped, answer};
pub use key::{CompiledKey, KeyIdentity};
pub(crate) use key::{KeyId, StaticKey};
pub use list::{RuleRef, Rules};
pub use trace::{RuleOutcome, trace};

use crate::core::template::Template;

/// The position of a rule among all rules. The smallest comes first.
///
/// `NULL` priorities sort before every number, as MySQL sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleOrder {
    /// Priority among subjects.
    pub spriority: Option<i32>,
    /// Priority among properties.
    pub ppriority: Option<i32>,
    /// The row's id, which is unique.
    pub id: i64,
}

/// A rule, compiled.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Its position among the other rules.
    pub order: RuleOrder,
    /// The key of the property that it sets.
    pub key: Arc<CompiledKey>,
    /// The value that it sets.
    pub value: Template,
}

#[cfg(test)]
mod tests;
