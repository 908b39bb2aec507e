//! Who has signed in, and what templates and subjects may know of them.

use serde::Serialize;

use crate::core::attributes::{AttributeRef, Attributes};
use crate::core::params::{Known, ParamName, Params, Values};
use crate::core::subject::TypedBy;
use crate::snapshot::{Entry, Snapshot, Tenant, UserDetails};

/// The attribute that switches users off.
pub const DISABLED: &str = "disabled";
/// What the subjects of rules say for users who are switched off.
pub(super) const IS_DISABLED: &str = "yes";
/// The values with which it does not.
const NOT_DISABLED: [&str; 4] = ["", "0", "no", "false"];

/// Whether a subject is that of users who are switched off, who get no other rules. `value` is
/// folded.
pub(crate) fn is_for_disabled(typed: &TypedBy, value: &[u8]) -> bool {
    matches!(typed, TypedBy::Attribute(name) if **name == *DISABLED) && value == IS_DISABLED.as_bytes()
}

/// Whether this value of [`DISABLED`] switches a user off.
pub fn switches_off(value: &str) -> bool {
    let value = value.trim();
    !NOT_DISABLED.iter().any(|not| value.eq_ignore_ascii_case(not))
}

/// Who an attribute is stored for. The most specific level comes first, and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The user.
    User,
    /// All users of the tenant.
    Tenant,
    /// All users of all tenants.
    Everyone,
}

impl Level {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Level::User => "user",
            Level::Tenant => "tenant",
            Level::Everyone => "everyone",
        }
    }
}

/// The tenant and the user of an authenticated request.
#[derive(Debug, Clone, Copy)]
pub struct Session<'s> {
    pub(super) tenant: &'s Tenant,
    pub(super) user: &'s Entry,
    /// What all tenants share.
    pub(super) everywhere: &'s Tenant,
}

impl<'s> Session<'s> {
    /// Whether there can be a password with which the user can sign in.
    pub fn can_sign_in(&self) -> bool {
        self.user.users.first().is_some_and(|user| user.credential.is_usable())
    }

    fn details(&self) -> Option<&'s UserDetails> {
        self.user.details(self.user.users.first()?.id)
    }

    /// The attributes by level, the most specific first: two of the user, the tenant's, and
    /// everyone's.
    pub(super) fn levels(&self) -> [Option<&'s Attributes>; 4] {
        [
            self.details().map(|details| &details.columns),
            self.user.attributes(),
            self.tenant.default.as_deref().and_then(Entry::attributes),
            self.everywhere.default.as_deref().and_then(Entry::attributes),
        ]
    }

    /// Whether an attribute switches the user off.
    pub fn is_disabled(&self) -> bool {
        // Most tenants have switched nobody off, and then nothing of the user is looked at.
        let switches = self.tenant.switches + self.everywhere.switches;
        switches > 0 && self.first(DISABLED).is_some_and(switches_off)
    }

    /// The attributes that count for the user, each with its level. A name may have several
    /// values; the first of them is the one that templates take. For operators: requests look
    /// for single names.
    pub fn attributes(&self) -> Vec<(Level, AttributeRef<'s>)> {
        let mut counting: Vec<(Level, AttributeRef<'s>)> = Vec::new();
        let levels = [Level::User, Level::User, Level::Tenant, Level::Everyone];
        for (level, stored) in levels.into_iter().zip(self.levels()) {
            for attribute in stored.into_iter().flat_map(Attributes::iter) {
                let is_covered =
                    |known: &(Level, AttributeRef<'_>)| known.0 < level && known.1.name == attribute.name;
                if !counting.iter().any(is_covered) {
                    counting.push((level, attribute));
                }
            }
        }
        counting
    }

    /// The value of an attribute that templates take.
    fn first(&self, name: &str) -> Option<&'s str> {
        self.levels().into_iter().flatten().find_map(|level| level.values(name).next())
    }

    /// The values of an attribute at the most specific level that has it.
    pub(super) fn attribute<'a>(&self, name: &'a str) -> impl Iterator<Item = &'s str> + use<'s, 'a> {
        let [columns, own, tenant, all] = self.levels();
        let mut values =
            [columns, own].into_iter().flatten().flat_map(move |level| level.values(name)).peekable();
        let mut less = [tenant, all].into_iter().flatten();
        let mut rest = None;
        if values.peek().is_none() {
            rest = less.find(|level| level.values(name).next().is_some());
        }
        values.chain(rest.into_iter().flat_map(move |level| level.values(name)))
    }

    /// What fills the holes of templates in the answer to a request.
    pub fn values<'v>(&self, params: &'v Params) -> SessionValues<'v>
    where
        's: 'v,
    {
        let details = self.details();
        fn name<'n>(stored: Option<&'n str>, folded: &'n [u8]) -> &'n str {
            stored.unwrap_or_else(|| str::from_utf8(folded).unwrap_or_default())
        }
        SessionValues {
            session: *self,
            params,
            username: name(details.and_then(|details| details.username.as_deref()), &self.user.name),
            domain: name(details.and_then(|details| details.domain.as_deref()), &self.tenant.name),
        }
    }
}

/// What fills the holes of templates for one request: what the client sent, and what the
/// operator has stored of its user.
pub struct SessionValues<'v> {
    session: Session<'v>,
    params: &'v Params,
    username: &'v str,
    domain: &'v str,
}

impl Values for SessionValues<'_> {
    fn get(&self, name: &ParamName) -> Option<&str> {
        match name {
            // As stored: otherwise each way of typing a name would make another account.
            ParamName::Known(Known::Username) => Some(self.username),
            ParamName::Known(Known::Domain) => Some(self.domain),
            ParamName::Attribute(name) => self.session.first(name),
            _ => self.params.get(name),
        }
    }
}

impl Snapshot {
    /// The session of a tenant's user.
    pub(super) fn session<'s>(&'s self, tenant: &'s Tenant, user: &'s Entry) -> Session<'s> {
        Session { tenant, user, everywhere: &self.everywhere }
    }
}
