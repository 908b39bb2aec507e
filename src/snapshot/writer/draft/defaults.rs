//! Merges the rules for everyone into the answers that requests start from.

use std::sync::Arc;

use super::Draft;
use crate::core::rules::RuleSet;
use crate::snapshot::kind::SubjectKind;
use crate::snapshot::names;
use crate::snapshot::{DEFAULT, EVERYWHERE, SharedEntry};

/// A tenant's default rules are merged with those for all tenants in advance if there are
/// more than one for every `LAID_OVER` of those. Otherwise each request merges them.
const LAID_OVER: usize = 8;

impl Draft<'_> {
    /// Gives the tenants their new entries for everyone.
    pub(super) fn renew_everyone(&mut self) {
        for number in std::mem::take(&mut self.new_everyone) {
            let place = names::place(number, SubjectKind::EVERYONE, DEFAULT);
            let is_it = |entry: &SharedEntry| entry.is(number, SubjectKind::EVERYONE, DEFAULT);
            let entry = self.next.names.get(place, is_it).cloned();
            // A tenant that was removed has none.
            if number == EVERYWHERE || self.next.tenant(&self.writer.domains.name(number).clone()).is_some() {
                self.edit_tenant(number, |tenant, _| tenant.default = entry);
            }
        }
    }

    /// Merges the default rules of the tenants whose default rules have changed.
    pub(super) fn merge(&mut self) {
        let mut stale = std::mem::take(&mut self.new_defaults);
        if stale.is_empty() {
            return;
        }
        let of_all = self.next.entry(EVERYWHERE, SubjectKind::EVERYONE, DEFAULT);
        let of_all = of_all.map(|entry| entry.rules.clone()).unwrap_or_default();
        if stale.contains(&EVERYWHERE) {
            let base = Arc::new(RuleSet::merge(of_all.iter()));
            let bytes = &mut self.next.counts.bytes;
            *bytes = *bytes + base.heap_bytes() - self.next.base.heap_bytes();
            self.next.base = base;
            let with_default = self.next.tenants.iter().filter(|tenant| tenant.subjects.default > 0);
            stale.extend(with_default.map(|tenant| tenant.number));
        }
        for number in stale.into_iter().filter(|number| *number != EVERYWHERE) {
            let place = names::place(number, SubjectKind::EVERYONE, DEFAULT);
            let is_default = |entry: &SharedEntry| entry.is(number, SubjectKind::EVERYONE, DEFAULT);
            let default = self.next.names.get(place, is_default);
            let own = default.map(|entry| &entry.rules);
            // With very many tenants, a merged answer for each tenant with only a few rules
            // would need too much memory.
            let own = own.filter(|own| own.len() * LAID_OVER > of_all.len());
            let base = own.map(|own| {
                let mut rules: Vec<_> = own.iter().chain(of_all.iter()).collect();
                rules.sort_unstable_by_key(|rule| rule.order());
                Arc::new(RuleSet::merge(rules))
            });
            // A tenant that was removed needs no merged answer.
            if self.next.tenant(&self.writer.domains.name(number).clone()).is_none() {
                continue;
            }
            let size = |base: &Option<Arc<RuleSet>>| base.as_ref().map_or(0, |base| base.heap_bytes());
            let more = size(&base);
            let less = self.edit_tenant(number, |tenant, _| size(&std::mem::replace(&mut tenant.base, base)));
            let bytes = &mut self.next.counts.bytes;
            *bytes = *bytes + more - less;
        }
    }
}
