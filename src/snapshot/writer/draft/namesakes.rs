//! Counts the tenants that have a user whose name is a subject of rules for all tenants.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::Draft;
use crate::snapshot::kind::SubjectKind;
use crate::snapshot::names::{IndexKey, StoredName};
use crate::snapshot::{EVERYWHERE, Tenant};

impl Draft<'_> {
    /// How many tenants have a user with the name of a new subject for all tenants. 0 for any
    /// other subject. `None` if there are many tenants: then [`Draft::find_namesakes`] counts
    /// for all new names at once.
    pub(super) fn namesakes(&self, IndexKey { tenant, kind, name }: &IndexKey) -> Option<u16> {
        const FEW: usize = 16;
        let is_known = || self.next.entry(EVERYWHERE, SubjectKind::WORD, name).is_some();
        if *tenant != EVERYWHERE || *kind != SubjectKind::WORD || is_known() {
            return Some(0);
        }
        (self.next.tenants.len() <= FEW).then(|| self.count_users(name))
    }

    /// How many tenants have a user with this name.
    fn count_users(&self, name: &[u8]) -> u16 {
        let is_user = |tenant: &&Arc<Tenant>| {
            let entry = self.next.entry(tenant.number, SubjectKind::WORD, name);
            entry.is_some_and(|entry| !entry.users.is_empty())
        };
        saturating(self.next.tenants.iter().filter(is_user).count())
    }

    /// Notes that one more tenant, or one fewer, has a user with this name.
    pub(super) fn count_namesake(&mut self, name: &[u8], is_more: bool) {
        // Users mostly come before rules. Then there are no subjects to search yet.
        let of_all = self.next.everywhere.subjects.all > 0;
        if of_all && self.next.entry(EVERYWHERE, SubjectKind::WORD, name).is_some() {
            self.edit(&IndexKey::new(EVERYWHERE, SubjectKind::WORD, name), |entry| {
                entry.namesakes = match (entry.namesakes, is_more) {
                    (u16::MAX, _) => u16::MAX,
                    (known, true) => known + 1,
                    (known, false) => known.saturating_sub(1),
                };
            });
        }
    }

    /// Counts, for each new subject for all tenants, the tenants that have a user with this
    /// name. Looks up each name in each tenant, or each user among the names, depending on
    /// which is less work.
    pub(super) fn find_namesakes(&mut self) {
        let new_names: HashSet<StoredName> = std::mem::take(&mut self.new_names).into_iter().collect();
        let mut counts: HashMap<StoredName, usize> = HashMap::new();
        let is_many = new_names.len().saturating_mul(self.next.tenants.len()) > self.next.names.len();
        if is_many {
            let users = self.next.names.iter().filter(|entry| !entry.users.is_empty());
            for entry in users.filter(|entry| new_names.contains(&entry.name)) {
                *counts.entry_ref(&entry.name).or_default() += 1;
            }
        }
        for name in new_names {
            // The same draft may have removed it again.
            if self.next.entry(EVERYWHERE, SubjectKind::WORD, &name).is_some() {
                let count = match is_many {
                    true => saturating(counts.get(&name).copied().unwrap_or_default()),
                    false => self.count_users(&name),
                };
                self.edit(&IndexKey::new(EVERYWHERE, SubjectKind::WORD, &name), |entry| {
                    entry.namesakes = count
                });
            }
        }
    }
}

fn saturating(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
