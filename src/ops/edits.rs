//! What the edits of operators are, for the commands and the console: rows go in, and edits or a
//! refusal come out. Nothing here reads or writes a database.

mod attributes;
mod audience;
mod effects;
mod password;
mod rule;

pub use attributes::{
    Assignment, AttributeChange, AttributeEdits, EditedAttribute, check_name, holder, is_for_disabled, level,
};
pub use audience::{ALL_TENANTS, Audience, did_you_mean};
pub use effects::{Effect, PropertyChange, effects};
pub use password::{new_password, put_password, stored_password};
pub use rule::{RuleChange, TypedRule, check_usable, doubts, of_tenant, undone_by, value_of};

use serde::Serialize;

/// Why an edit is not made, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

fn refuse<T>(why: String) -> Result<T, Refused> {
    Err(Refused(why))
}

/// What an edit does to a row or an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Added,
    /// It was there.
    Changed,
    /// It is as it was.
    Unchanged,
    /// It is gone.
    Removed,
}

/// The largest number of ids that a message names.
const NAMED: usize = 10;

/// `id 3`, `ids 3, 4`.
pub fn ids(ids: &[i64]) -> String {
    counted("id", ids)
}

/// `rule 3`, `rules 3, 4`.
pub fn rules_of(ids: &[i64]) -> String {
    counted("rule", ids)
}

fn counted(noun: &str, ids: &[i64]) -> String {
    let named: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    let more = ids.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{noun}{} {}{more}", if ids.len() == 1 { "" } else { "s" }, named.join(", "))
}
