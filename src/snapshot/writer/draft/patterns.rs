//! Indexes the patterns of the tenants whose patterns have changed.

use hashbrown::{HashMap, HashSet};

use super::Draft;
use crate::core::subject::PatternKind;
use crate::snapshot::kind::{SubjectKind, SubjectParam};
use crate::snapshot::names::{IndexKey, StoredName};
use crate::snapshot::patterns::{PatternIndex, Patterns};
use crate::snapshot::{EVERYWHERE, SharedEntry, Tenant};

impl Draft<'_> {
    /// Which patterns the subjects of a kind are; `None` if they are values.
    pub(super) fn pattern_kind(&self, kind: SubjectKind) -> Option<PatternKind> {
        match kind.param()? {
            SubjectParam::Known(_) => None,
            SubjectParam::Other(number) => self.writer.others.names[number].pattern,
        }
    }

    /// Indexes the patterns whose rules have changed, with the others of the same tenant and
    /// parameter.
    pub(super) fn index_patterns(&mut self) {
        let mut changed: HashMap<(u32, SubjectKind), HashSet<StoredName>> = HashMap::new();
        for IndexKey { tenant, kind, name } in std::mem::take(&mut self.new_patterns) {
            changed.entry((tenant, kind)).or_default().insert(name);
        }
        for ((number, kind), names) in changed {
            let Some(pattern_kind) = self.pattern_kind(kind) else { continue };
            let tenant = match number {
                EVERYWHERE => Some(&*self.next.everywhere),
                _ => self.next.tenant(self.writer.domains.name(number)),
            };
            // A tenant that was removed needs no index.
            let Some(tenant) = tenant else { continue };
            let known = tenant.patterns().get(kind).into_iter().flat_map(PatternIndex::entries);
            let mut entries: Vec<SharedEntry> =
                known.filter(|entry| !names.contains(&entry.name)).cloned().collect();
            let find = |name: &StoredName| {
                let key = IndexKey { tenant: number, kind, name: name.clone() };
                self.next.names.get(key.hash(), |entry| entry.is(number, kind, name)).cloned()
            };
            entries.extend(names.iter().filter_map(find));
            let index = PatternIndex::new(pattern_kind, entries);
            let (before, after) = self.edit_tenant(number, |tenant, _| tenant.set_patterns(kind, index));
            let bytes = &mut self.next.counts.bytes;
            *bytes = *bytes + after - before;
        }
    }
}

impl Tenant {
    /// Replaces the patterns of a kind. Returns the bytes of all patterns before and after.
    fn set_patterns(&mut self, kind: SubjectKind, index: Option<PatternIndex>) -> (usize, usize) {
        let before = self.patterns().heap_bytes();
        let mut patterns = self.patterns.take().map_or_else(Patterns::default, |patterns| *patterns);
        patterns.set(kind, index);
        self.patterns = (!patterns.is_empty()).then(|| Box::new(patterns));
        (before, self.patterns().heap_bytes())
    }
}
