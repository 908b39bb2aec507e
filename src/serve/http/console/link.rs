//! Addresses of pages.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::ROOT;

/// What stays as it is in a part of an address.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A text as a part of an address.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

/// The page of a user.
pub(super) fn user(domain: &str, username: &str) -> String {
    format!("{ROOT}/users/{}/{}", part(domain), part(username))
}

/// The page of a rule.
pub(super) fn rule(id: i64) -> String {
    format!("{ROOT}/rules/{id}")
}

/// The page of a tenant.
pub(super) fn tenant(domain: &str) -> String {
    format!("{ROOT}/tenants/{}", part(domain))
}

/// Finds the page of the user with this row.
pub(super) fn user_row(id: i64) -> String {
    format!("{ROOT}/users?id={id}")
}
