//! Compares the answers of two snapshots, for tests.

use hashbrown::HashMap;

use super::kind::{SubjectKind, SubjectParam};
use super::{Counts, EVERYWHERE, Entry, SharedEntry, Snapshot, Subjects, Tenant};

/// Whether both give the same answers to everyone. Counts and merged answers are compared
/// too, because edits update them. The numbers of tenants and the memory are not compared.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        let sizes = |snapshot: &Snapshot| Counts { bytes: 0, ..snapshot.counts };
        let same_entry = |one: &Entry, tenant: u32, kind: SubjectKind| {
            other.entry(tenant, kind, &one.name).is_some_and(|other| one.has_equal_contents(other))
        };
        // Parameters that only the operator knows may have other numbers in the other snapshot.
        let same_kind = |kind: SubjectKind| match kind.param() {
            Some(SubjectParam::Other(number)) => {
                SubjectKind::other(other.others.iter().position(|name| *name == self.others[number])?)
            }
            _ => Some(kind),
        };
        let same_subjects = |one: &Subjects, other: &Subjects| {
            (one.all, one.default, one.open, one.typed.len())
                == (other.all, other.default, other.open, other.typed.len())
                && one.typed.iter().all(|(kind, rules)| {
                    same_kind(*kind).is_some_and(|kind| other.typed.contains(&(kind, *rules)))
                })
        };
        let same_tenant = |one: &Tenant, other: &Tenant| {
            (one.users, one.attributes, one.switches) == (other.users, other.attributes, other.switches)
                && (&one.base, &one.decoys) == (&other.base, &other.decoys)
                && one.patterns().iter().count() == other.patterns().iter().count()
                && one.patterns().iter().all(|(kind, index)| {
                    let other = same_kind(kind).and_then(|kind| other.patterns().get(kind));
                    let parts = |entry: &SharedEntry| (entry.name.clone(), entry.rules.clone());
                    other.is_some_and(|other| index.entries().map(parts).eq(other.entries().map(parts)))
                })
                && same_subjects(&one.subjects, &other.subjects)
                && match (&one.default, &other.default) {
                    (Some(one), Some(other)) => one.rules == other.rules,
                    (one, other) => one.is_none() && other.is_none(),
                }
        };
        let mut numbers = HashMap::new();
        numbers.insert(EVERYWHERE, EVERYWHERE);
        (sizes(self), self.comparison, self.names.len(), self.tenants.len())
            == (sizes(other), other.comparison, other.names.len(), other.tenants.len())
            && self.base == other.base
            && (&self.decoys, self.decoy_key) == (&other.decoys, other.decoy_key)
            && same_tenant(&self.everywhere, &other.everywhere)
            && self.tenants.iter().all(|tenant| {
                other.tenant(&tenant.name).is_some_and(|other| {
                    numbers.insert(tenant.number, other.number);
                    same_tenant(tenant, other)
                })
            })
            && self.names.iter().all(|entry| {
                let place = numbers.get(&entry.tenant).zip(same_kind(entry.kind));
                place.is_some_and(|(&tenant, kind)| same_entry(entry, tenant, kind))
            })
    }
}
