//! Lists everything in a snapshot, for code that looks at all rows, such as `check`.

use super::kind::{OtherParam, SubjectKind, SubjectParam};
use super::{EVERYWHERE, Entry, Snapshot};
use crate::core::attributes::{AttributeRef, Attributes};
use crate::core::credential::Credential;
use crate::core::params::Known;
use crate::core::rules::Rules;
use crate::core::subject::{PatternKind, TypedBy};

/// The number that stands for all tenants.
pub(crate) const ALL_TENANTS: u32 = EVERYWHERE;

/// The clients that rules are for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Audience<'s> {
    /// `default`
    Everyone,
    /// The user with this folded name.
    User(&'s [u8]),
    /// Clients that send a parameter with this folded value.
    Param(TypedBy, &'s [u8]),
    /// Clients that send a parameter with a value that matches.
    Pattern(TypedBy, PatternKind, &'s [u8]),
}

/// A name of a tenant, with its users and the rules for it.
#[derive(Clone, Copy)]
pub(crate) struct NameEntry<'s>(&'s Snapshot, &'s Entry);

impl<'s> NameEntry<'s> {
    /// The tenant's number, or [`ALL_TENANTS`].
    pub fn tenant(self) -> u32 {
        self.1.tenant
    }

    /// The folded name. Empty for everyone.
    pub fn name(self) -> &'s [u8] {
        &self.1.name
    }

    /// Whether it is a bare word, not the value of a parameter.
    pub fn is_word(self) -> bool {
        self.1.kind == SubjectKind::WORD
    }

    /// Its users by id. There is at most one, unless users collide.
    pub fn users(self) -> impl Iterator<Item = (i64, &'s Credential)> {
        self.1.users.iter().map(|user| (user.id, &user.credential))
    }

    /// The attributes of the user, or of the tenant if it is the name of everyone.
    pub fn attributes(self) -> impl Iterator<Item = AttributeRef<'s>> {
        self.1.attributes().into_iter().flat_map(Attributes::iter)
    }

    /// The further columns of the operator's own query for the user.
    pub fn columns(self) -> impl Iterator<Item = AttributeRef<'s>> {
        let NameEntry(_, entry) = self;
        let details = entry.users.first().and_then(|user| entry.details(user.id));
        details.into_iter().flat_map(|details| details.columns.iter())
    }

    /// Its rules, in order.
    pub fn rules(self) -> &'s Rules {
        &self.1.rules
    }

    /// The clients that the rules are for.
    pub fn audience(self) -> Audience<'s> {
        let NameEntry(snapshot, entry) = self;
        let name = &*entry.name;
        let param = match entry.kind {
            SubjectKind::EVERYONE => return Audience::Everyone,
            SubjectKind::WORD => {
                snapshot.sent_for(name).filter(|_| !entry.is_user()).map(SubjectParam::Known)
            }
            typed => typed.param(),
        };
        match param {
            None | Some(SubjectParam::Known(Known::Username)) => Audience::User(name),
            Some(SubjectParam::Known(known)) => Audience::Param(TypedBy::Known(known), name),
            Some(SubjectParam::Other(number)) => match snapshot.others[number].clone() {
                OtherParam { by, pattern: None } => Audience::Param(by, name),
                OtherParam { by, pattern: Some(kind) } => Audience::Pattern(by, kind, name),
            },
        }
    }
}

impl Snapshot {
    /// All names of users and subjects.
    pub(crate) fn named(&self) -> impl Iterator<Item = NameEntry<'_>> {
        self.names.iter().map(|entry| NameEntry(self, entry))
    }

    /// The numbers and folded domains of all tenants that have users or rules.
    pub(crate) fn domains(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.tenants.iter().map(|tenant| (tenant.number, &*tenant.name))
    }

    /// The number of the tenant with this folded domain.
    pub(crate) fn tenant_number(&self, domain: &[u8]) -> Option<u32> {
        self.tenant(domain).map(|tenant| tenant.number)
    }

    /// Whether any subject is a pattern for this parameter.
    pub(crate) fn has_patterns(&self, by: &TypedBy) -> bool {
        self.others.iter().any(|other| other.pattern.is_some() && other.by == *by)
    }

    /// Whether a tenant has a user of this name. For [`ALL_TENANTS`], whether any tenant has.
    pub(crate) fn has_user(&self, tenant: u32, name: &[u8]) -> bool {
        let has =
            |tenant| self.entry(tenant, SubjectKind::WORD, name).is_some_and(|entry| !entry.users.is_empty());
        match tenant {
            EVERYWHERE => self.tenants.iter().any(|tenant| has(tenant.number)),
            _ => has(tenant),
        }
    }
}

#[cfg(test)]
impl Snapshot {
    /// The answer to a user, without checking the password.
    pub(crate) fn answer_to(
        &self,
        user: &str,
        domain: &str,
        params: &crate::core::params::Params,
    ) -> Vec<u8> {
        let tenant = self.tenant(&self.fold(domain)).expect("a tenant");
        let user = self.entry(tenant.number, SubjectKind::WORD, &self.fold(user)).expect("a user");
        self.answer(self.session(tenant, user), params).body
    }
}
