//! Everything in a snapshot, to be looked through: for what asks about all rows
//! at once, as `check` does.

use std::net::IpAddr;

use super::{DEFAULT, EVERYWHERE, Entry, Options, Param, Snapshot, rows};
use crate::credential::Credential;
use crate::model::Known;
use crate::rules::Rules;

/// The number of the tenant that is all tenants.
pub(crate) const ALL_TENANTS: u32 = EVERYWHERE;

/// Whom rules are for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Whom<'s> {
    /// `default`
    Everyone,
    /// A user, by the name as it is compared.
    User(&'s [u8]),
    /// Who sends a parameter, by its name as it is compared, with this value.
    Param(Vec<u8>, &'s [u8]),
    /// Who sends this value for any parameter.
    Anyone,
}

/// A name of a tenant, with its users and the rules for it.
#[derive(Clone, Copy)]
pub(crate) struct Named<'s>(&'s Entry);

impl<'s> Named<'s> {
    /// The tenant's number, [`ALL_TENANTS`] for all.
    pub fn tenant(self) -> u32 {
        self.0.tenant
    }

    /// The name as it is compared; empty for everyone.
    pub fn name(self) -> &'s [u8] {
        &self.0.name
    }

    /// Whether it is a user's name, so that its rules are that user's.
    pub fn is_user(self) -> bool {
        self.0.is_user()
    }

    /// Its users by id; but for collisions, it is one at most.
    pub fn users(self) -> impl Iterator<Item = (i64, &'s Credential)> {
        self.0.users.iter().map(|user| (user.id, &user.credential))
    }

    /// The rules for it, in order.
    pub fn rules(self) -> &'s Rules {
        &self.0.rules
    }

    /// Whom the rules are for.
    pub fn whom(self, options: &Options) -> Whom<'s> {
        if self.name() == DEFAULT {
            return Whom::Everyone;
        }
        if self.is_user() {
            return Whom::User(self.name());
        }
        match rows::typed(self.name(), options) {
            None => Whom::Anyone,
            Some((prefix, param)) => {
                let value = &self.name()[prefix.len()..];
                match param {
                    Param::Known(Known::Username) => Whom::User(value),
                    Param::Known(known) => Whom::Param(known.name().into(), value),
                    Param::Other(name) => Whom::Param(name.to_vec(), value),
                }
            }
        }
    }
}

impl Snapshot {
    /// Every name that is a user's or a subject.
    pub(crate) fn named(&self) -> impl Iterator<Item = Named<'_>> {
        self.names.iter().map(|entry| Named(entry))
    }

    /// The tenants that have users or rules, by number and domain as it is
    /// compared.
    pub(crate) fn domains(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.tenants.iter().map(|tenant| (tenant.number, &*tenant.name))
    }

    /// The number of the tenant of a domain as it is compared.
    pub(crate) fn tenant_number(&self, domain: &[u8]) -> Option<u32> {
        self.tenant(domain).map(|tenant| tenant.number)
    }

    /// Whether a tenant has a user of that name; for all tenants, whether any
    /// has.
    pub(crate) fn has_user(&self, tenant: u32, name: &[u8]) -> bool {
        let has = |tenant| self.entry(tenant, name).is_some_and(|entry| !entry.users.is_empty());
        match tenant {
            EVERYWHERE => self.tenants.iter().any(|tenant| has(tenant.number)),
            _ => has(tenant),
        }
    }
}

/// The parameter that a value looks as if it were sent for, whoever else has it
/// as a name; but for those that the load itself knows.
pub(crate) fn looks_sent_for(snapshot: &Snapshot, name: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(name).ok()?;
    if rows::sent_for(name).is_some() {
        return None;
    }
    let is_mac = |separator| {
        let mut parts = 0;
        let all = text.split(separator).all(|part| {
            parts += 1;
            part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        all && parts == 6
    };
    if text.parse::<IpAddr>().is_ok() {
        Some("ipaddr")
    } else if is_mac(':') || is_mac('-') {
        Some("hwaddr")
    } else {
        snapshot.tenant(name).map(|_| "domain")
    }
}

#[cfg(test)]
impl Snapshot {
    /// The answer to a user whose password is taken for right.
    pub(crate) fn answer_to(&self, user: &str, domain: &str, params: &crate::model::Params) -> Vec<u8> {
        let tenant = self.tenant(&self.fold(domain)).expect("a tenant");
        let user = self.entry(tenant.number, &self.fold(user)).expect("a user");
        self.answer(super::Session { tenant, user }, params).body
    }
}
