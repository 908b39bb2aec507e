//! What the snapshot has of a user, and other facts that several pages show.

use super::moment;
use super::page::text;
use super::reply::Refusal;
use super::visit::Visit;
use crate::core::model::{Row, RuleRow};
use crate::snapshot::{Account, Level, Served};

/// What the snapshot has of a user, without borrowing it.
pub(super) struct Known {
    pub username: String,
    pub domain: String,
    pub ids: Vec<i64>,
    pub rules: Vec<i64>,
    pub attributes: Vec<KnownAttribute>,
    pub can_sign_in: bool,
    pub is_disabled: bool,
    pub is_withheld: bool,
}

/// An attribute that counts for the user.
pub(super) struct KnownAttribute {
    pub id: i64,
    pub name: String,
    pub level: Level,
    pub value: String,
}

/// The user of a page.
///
/// # Errors
/// [`Refusal::NotFound`] if there is none, or the operator may not see the tenant.
pub(super) fn known(
    visit: &Visit<'_>,
    served: &Served,
    domain: &str,
    username: &str,
) -> Result<Known, Refusal> {
    visit.tenant(domain)?;
    let account = served.snapshot.account(domain, username).ok_or(Refusal::NotFound)?;
    let attributes = account.session.attributes().into_iter().map(|(level, known)| KnownAttribute {
        id: known.id,
        name: known.name.to_owned(),
        level,
        value: known.value.to_owned(),
    });
    let (attributes, session) = (attributes.collect(), account.session);
    let (can_sign_in, is_disabled) = (session.can_sign_in(), session.is_disabled());
    let Account { username, domain, ids, is_withheld, rules, .. } = account;
    Ok(Known { username, domain, ids, rules, attributes, can_sign_in, is_disabled, is_withheld })
}

/// The row, if it is a rule.
pub(super) fn rule_in(row: Row) -> Option<RuleRow> {
    match row {
        Row::Rule(row) => Some(row),
        Row::User(_) | Row::Attribute(_) => None,
    }
}

/// How long ago a second since 1970 was.
pub(super) fn ago(at: i64) -> String {
    let seconds = moment::now().saturating_sub(at).max(0);
    let (number, unit) = match seconds {
        0..60 => (seconds, "seconds"),
        60..3600 => (seconds / 60, "minutes_ago"),
        3600..172_800 => (seconds / 3600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {}", text("user", unit))
}
