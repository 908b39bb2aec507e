//! Counts the users that a rule reaches, before it is stored.

use std::sync::Arc;

use hashbrown::HashMap;

use super::kind::SubjectKind;
use super::{Entry, Snapshot, Tenant};
use crate::core::params::Known;
use crate::core::pattern;
use crate::core::subject::{PatternKind, Subject, TypedBy, ValueKind};

/// The users that a rule reaches.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// How many they are.
    pub users: usize,
    /// Whether the rule reaches them only if their clients send the right parameter.
    pub depends_on_clients: bool,
    /// Some of them: usernames and domains in folded form.
    pub sample: Vec<[String; 2]>,
}

/// Which users of a tenant a subject means.
enum Means<'r> {
    Nobody,
    All,
    /// All of them, but their clients must send something.
    Senders,
    Name(&'r [u8]),
    NameLike(&'r [u8]),
    Domain(&'r [u8]),
    Attribute(&'r str, PatternKind, &'r [u8], bool),
}

impl Snapshot {
    /// The users that a rule of a tenant reaches, with at most `most` of them as a sample. The
    /// domain is folded; empty for all tenants. Takes up to a tenth of a second for a million
    /// users.
    pub fn reach(&self, domain: &[u8], subject: &Subject, most: usize) -> Reach {
        let tenants: HashMap<u32, &Arc<Tenant>> = match domain {
            b"" => self.tenants.iter().map(|tenant| (tenant.number, tenant)).collect(),
            domain => {
                let own = self.tenants.iter().find(|tenant| *tenant.name == *domain);
                own.into_iter().map(|tenant| (tenant.number, tenant)).collect()
            }
        };
        let means = self.meant(domain, subject);
        let mut reach = Reach { depends_on_clients: matches!(means, Means::Senders), ..Reach::default() };
        if matches!(means, Means::Nobody) || tenants.is_empty() {
            return reach;
        }
        for entry in self.names.iter() {
            if entry.kind != SubjectKind::WORD || entry.users.is_empty() {
                continue;
            }
            let Some(tenant) = tenants.get(&entry.tenant) else { continue };
            if self.is_meant(&means, tenant, entry) {
                reach.users += 1;
                if reach.sample.len() < most {
                    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                    reach.sample.push([text(&entry.name), text(&tenant.name)]);
                }
            }
        }
        reach
    }

    fn meant<'r>(&self, domain: &[u8], subject: &'r Subject) -> Means<'r> {
        let value = |by: &'r TypedBy, kind: PatternKind, text: &'r [u8], is_pattern: bool| match by {
            TypedBy::Known(Known::Username) if is_pattern => Means::NameLike(text),
            TypedBy::Known(Known::Username) => Means::Name(text),
            TypedBy::Known(Known::Domain) if !is_pattern => Means::Domain(text),
            TypedBy::Attribute(name) => Means::Attribute(name, kind, text, is_pattern),
            _ => Means::Senders,
        };
        match subject {
            Subject::Everyone => Means::All,
            Subject::Word(word) => {
                let tenant =
                    if domain.is_empty() { Some(super::EVERYWHERE) } else { self.tenant_number(domain) };
                match self.sent_for(word) {
                    _ if tenant.is_some_and(|tenant| self.has_user(tenant, word)) => Means::Name(word),
                    Some(Known::Domain) => Means::Domain(word),
                    Some(_) => Means::Senders,
                    None => Means::Nobody,
                }
            }
            Subject::Param(by, text) => value(by, PatternKind::Glob, text, false),
            Subject::Pattern(by, kind, text) => value(by, *kind, text, true),
        }
    }

    fn is_meant(&self, means: &Means<'_>, tenant: &Tenant, entry: &Entry) -> bool {
        match *means {
            Means::Nobody => false,
            Means::All | Means::Senders => true,
            Means::Name(name) => *entry.name == *name,
            Means::NameLike(glob) => pattern::matches(glob, &entry.name),
            Means::Domain(domain) => *tenant.name == *domain,
            Means::Attribute(name, kind, text, is_pattern) => {
                let session = self.session(tenant, entry);
                session.attribute(name).any(|value| match kind {
                    PatternKind::Glob if is_pattern => {
                        let mut is_it = false;
                        ValueKind::Text
                            .each_form(value, self.comparison, |form| is_it |= pattern::matches(text, form));
                        is_it
                    }
                    _ => *self.comparison.fold(value) == *text,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::core::conventions::Conventions;
    use crate::core::model::{AttributeRow, Row, UserRow};
    use crate::snapshot::Writer;

    #[test]
    fn a_rule_reaches_the_users_that_its_subject_means() {
        let options = Conventions::default();
        let user = |id, name: &str, domain: &str| {
            Row::User(UserRow::from_cells(id, [name.into(), domain.into(), "pw".into()]))
        };
        let attribute = |id, domain: &str, user: &str, value: &str| {
            Row::Attribute(AttributeRow::from_cells(
                id,
                [domain.into(), user.into(), "branch".into(), value.into()],
            ))
        };
        let rows = [
            user(1, "alice", "a.org"),
            user(2, "bob", "a.org"),
            user(3, "alice", "b.org"),
            user(4, "linux", "b.org"),
            attribute(1, "a.org", "alice", "Berlin"),
            attribute(2, "b.org", "", "Bern"),
        ];
        let (snapshot, _) = Writer::build(options.clone(), rows);
        for (domain, subject, users, depends) in [
            ("", "default", 4, false),
            ("a.org", "default", 2, false),
            ("c.org", "default", 0, false),
            ("", "alice", 2, false),
            ("b.org", "username=alice", 1, false),
            ("", "username=*i*", 3, false),
            ("a.org", "nobody", 0, false),
            ("a.org", "linux", 2, true),
            ("b.org", "linux", 1, false),
            ("", "domain=b.org", 2, false),
            ("", "hostname=pc*", 4, true),
            ("", "user.branch=berlin", 1, false),
            ("", "user.branch=Ber*", 3, false),
            ("a.org", "user.branch=bern", 0, false),
        ] {
            let reach = snapshot.reach(&snapshot.fold(domain), &options.subject(subject).expect("one"), 2);
            assert_eq!((reach.users, reach.depends_on_clients), (users, depends), "{domain} {subject}");
            assert_eq!(reach.sample.len(), users.min(2), "{domain} {subject}");
        }
    }
}
