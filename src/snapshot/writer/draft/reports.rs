//! Reports problems that can be found only when all rows are known.

use super::Draft;
use crate::core::address;
use crate::core::model::Table;
use crate::core::params::Known;
use crate::core::pattern::{self, Written};
use crate::core::problem::Code;
use crate::core::subject::{address_is_no_name, address_of_user};
use crate::snapshot::EVERYWHERE;
use crate::snapshot::kind::SubjectKind;

impl Draft<'_> {
    /// Reports users who are not used because another one has the same name. Some of them
    /// may have been removed in the same draft.
    pub(super) fn report_collisions(&mut self) {
        self.collisions.sort_unstable();
        self.collisions.dedup();
        for (tenant, name) in std::mem::take(&mut self.collisions) {
            let entry = self.next.entry(tenant, SubjectKind::WORD, &name);
            let mut users =
                entry.into_iter().flat_map(|entry| entry.users.iter()).filter(|user| !user.is_withheld());
            let Some(kept) = users.next() else { continue };
            for user in users {
                let what = format!(
                    "the same user as id {} by the way names are compared; only the lowest id counts: remove the others, or rename them",
                    kept.id
                );
                self.problems.add(Code::CollidingUser, Table::UserAuth, user.id, what);
            }
        }
    }

    /// Reports rules for words if they may match other clients than intended.
    pub(super) fn report_subjects(&mut self) {
        self.suspects.sort_unstable();
        self.suspects.dedup();
        for (tenant, name) in std::mem::take(&mut self.suspects) {
            self.report_subject(tenant, &name);
        }
    }

    /// Reports the rules for a word if they may match other clients than intended.
    fn report_subject(&mut self, tenant: u32, word: &[u8]) {
        let Some(entry) = self.next.entry(tenant, SubjectKind::WORD, word) else { return };
        let name = String::from_utf8_lossy(word);
        let typed = untyped_pattern(word).filter(|_| !entry.is_user());
        let (code, what) = match typed {
            Some(params) => {
                let what = format!(
                    "the subject `{name}` is taken for a username, because it names no parameter, so the rule \
                     matches nobody: write the parameter that is meant, such as {params}"
                );
                (Code::UntypedPattern, what)
            }
            None => match (self.next.sent_for(word), entry.is_user()) {
                (Some(known), true) => {
                    let param = known.name();
                    let what = format!(
                        "the subject `{name}` is a user's name, so it matches that user alone; \
                     if the {param} is meant, write `{param}={name}`, else `username={name}`"
                    );
                    (Code::AmbiguousSubject, what)
                }
                (None, false) if let Some((name, domain)) = address_of_user(&name) => {
                    (Code::NoSuchUser, address_is_no_name(name, domain))
                }
                (None, false) => {
                    let of = if tenant == EVERYWHERE { "no tenant has" } else { "its tenant does not have" };
                    let what = format!(
                        "the subject `{name}` is taken for a username, and {of} such a user, so the rule matches \
                     nobody: create the user, correct the subject, or write the parameter that is meant, \
                     such as `hostname={name}`"
                    );
                    (Code::NoSuchUser, what)
                }
                _ => return,
            },
        };
        for rule in entry.rules.iter() {
            self.problems.add(code, Table::JitsiProperty, rule.order().id, what.clone());
        }
    }
}

/// For a word that looks like a pattern or a network: subjects that would be one.
fn untyped_pattern(word: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(word);
    if address::network(word).is_some() {
        return Some(format!("`ipaddr={name}` or `client.address={name}`"));
    }
    let is_glob = matches!(pattern::read(word), Written::Glob(_));
    is_glob.then(|| {
        let param = if word.starts_with(b"windows") { Known::Osname } else { Known::Hostname };
        format!("`{}={name}`", param.name())
    })
}
