//! Changes entries and tenants, and keeps all counts and decoys up to date.

use std::sync::Arc;

use super::Draft;
use crate::core::attributes::Attributes;
use crate::core::subject::sent_for;
use crate::snapshot::decoys::Decoys;
use crate::snapshot::kind::SubjectKind;
use crate::snapshot::marks::{HAS_RULES, KnownUser, Pairs};
use crate::snapshot::names::{self, IndexKey};
use crate::snapshot::session::DISABLED;
use crate::snapshot::{EVERYWHERE, Entry, SharedEntry, Tenant};

/// The numbers that an entry adds to the counts.
#[derive(Clone, Copy, Default)]
struct Tally {
    users: usize,
    rules: usize,
    open: usize,
    able: usize,
    rowless: usize,
    attributes: usize,
    switches: usize,
    bytes: usize,
}

impl Tally {
    fn of(entry: &Entry) -> Tally {
        let is_open =
            || entry.kind == SubjectKind::WORD && !entry.is_user() && sent_for(&entry.name).is_some();
        Tally {
            users: usize::from(!entry.users.is_empty()),
            rules: entry.rules.len(),
            attributes: entry.attributes().map_or(0, Attributes::len),
            switches: entry.count_attributes(DISABLED),
            able: usize::from(entry.able().is_some()),
            rowless: usize::from(!entry.users.is_empty() && entry.in_source().is_none()),
            open: if !entry.rules.is_empty() && is_open() { entry.rules.len() } else { 0 },
            // Includes the counter of its Arc (8 bytes), its slot in a leaf of the trie (16), and
            // that in the trie for searches (24).
            bytes: size_of::<Entry>() + 8 + 16 + if entry.is_known() { 24 } else { 0 } + entry.heap_bytes(),
        }
    }
}

impl Draft<'_> {
    /// Changes an entry, and every count that depends on it. Creates the entry if it is
    /// missing, and removes it if it is empty afterwards.
    pub(super) fn edit<R>(&mut self, place: &IndexKey, change: impl FnOnce(&mut Entry) -> R) -> R {
        let IndexKey { tenant, kind, name } = place;
        let (tenant, kind) = (*tenant, *kind);
        let namesakes = self.namesakes(place);
        let mut is_new = false;
        let (entry, mark) = self.next.names.get_or_insert(
            place.hash(),
            |entry| entry.is(tenant, kind, name),
            || {
                is_new = true;
                SharedEntry::new(Entry::new(tenant, kind, name.clone(), namesakes.unwrap_or_default()))
            },
        );
        let entry = SharedEntry::make_mut(entry);
        let before = if is_new { Tally::default() } else { Tally::of(entry) };
        let was_known = entry.is_known();
        let (was_user, had_rules) = (entry.is_user(), entry.rules.len());
        let credential = |entry: &Entry| entry.users.first().map(|user| user.credential.clone());
        let old_credential = credential(entry);
        let was_able = entry.able().cloned();

        let done = change(entry);

        let rules = if entry.rules.is_empty() { 0 } else { HAS_RULES };
        let pairs = || Pairs::of_user(entry, self.writer.domains.name(tenant), self.next.comparison);
        if entry.is_known() {
            let pairs = pairs();
            let new = KnownUser::new(entry, pairs);
            let (known, first) = self.next.known.get_or_insert(place.hash(), |known| known.is(entry), || new);
            *known = new;
            first.set(pairs.first());
            mark.set(rules);
        } else {
            mark.set(if entry.users.is_empty() { rules } else { rules | pairs().narrow() });
            if was_known {
                self.next.known.remove(place.hash(), |known| known.is(entry));
            }
        }
        let mut after = Tally::of(entry);
        let is_remembered = was_able.is_some() || self.writer.losses.knows(tenant);
        if is_remembered && was_able.as_ref() != entry.able() {
            self.accounts.insert(place.clone());
        }
        let new_credential = credential(entry);
        let is_other = (was_user, had_rules) != (entry.is_user(), entry.rules.len());
        if kind == SubjectKind::WORD && is_other && !entry.rules.is_empty() {
            // A user's name that clients do not send as another parameter is not ambiguous.
            if !entry.is_user() || sent_for(name).is_some() {
                self.suspects.push((tenant, name.clone()));
            }
        }
        if entry.is_empty() {
            self.next.names.remove(place.hash(), |entry| entry.is(tenant, kind, name));
            after = Tally::default();
        }
        if is_new && tenant == EVERYWHERE && namesakes.is_none() {
            self.new_names.push(name.clone());
        }
        self.account(place, before, after);
        if old_credential != new_credential {
            self.edit_tenant(tenant, |tenant, all| {
                for decoys in [&mut tenant.decoys, all] {
                    old_credential.iter().for_each(|credential| decoys.remove(credential));
                    new_credential.iter().for_each(|credential| decoys.add(credential));
                }
            });
        }
        if before.users != after.users {
            self.count_namesake(name, after.users > before.users);
        }
        done
    }

    /// Updates the counts after the change of an entry.
    fn account(&mut self, IndexKey { tenant, kind, .. }: &IndexKey, before: Tally, after: Tally) {
        let change = |count: &mut usize, before: usize, after: usize| *count = *count + after - before;
        let counts = &mut self.next.counts;
        change(&mut counts.users, before.users, after.users);
        change(&mut counts.rules, before.rules, after.rules);
        change(&mut counts.bytes, before.bytes, after.bytes);
        change(&mut counts.able, before.able, after.able);
        change(&mut counts.rowless, before.rowless, after.rowless);
        change(&mut counts.attributes, before.attributes, after.attributes);
        if *kind == SubjectKind::EVERYONE {
            change(&mut counts.defaults, before.rules, after.rules);
        }
        let totals = |tally: Tally| {
            let Tally { users, rules, open, able, attributes, switches, .. } = tally;
            [users, rules, open, able, attributes, switches]
        };
        if totals(before) == totals(after) {
            return;
        }
        self.writer.losses.touch(*tenant);
        let is_typed = kind.param().is_some() && before.rules != after.rules;
        let (had_users, has_users) = self.edit_tenant(*tenant, |tenant, _| {
            let had_users = tenant.users > 0;
            change(&mut tenant.users, before.users, after.users);
            change(&mut tenant.able, before.able, after.able);
            change(&mut tenant.attributes, before.attributes, after.attributes);
            change(&mut tenant.switches, before.switches, after.switches);
            let subjects = &mut tenant.subjects;
            change(&mut subjects.all, before.rules, after.rules);
            change(&mut subjects.open, before.open, after.open);
            if *kind == SubjectKind::EVERYONE {
                change(&mut subjects.default, before.rules, after.rules);
            }
            if is_typed {
                let found = subjects.typed.binary_search_by_key(kind, |(known, _)| *known);
                let at = found.unwrap_or_else(|at| {
                    subjects.typed.insert(at, (*kind, 0));
                    at
                });
                change(&mut subjects.typed[at].1, before.rules, after.rules);
                if subjects.typed[at].1 == 0 {
                    subjects.typed.remove(at);
                }
            }
            (had_users, tenant.users > 0)
        });
        change(&mut self.next.counts.tenants, usize::from(had_users), usize::from(has_users));
    }

    /// Changes a tenant and the decoys of all tenants. Creates the tenant if it is missing,
    /// and removes it if it is empty afterwards.
    pub(super) fn edit_tenant<R>(
        &mut self,
        number: u32,
        edit: impl FnOnce(&mut Tenant, &mut Decoys) -> R,
    ) -> R {
        let all = &mut self.next.decoys;
        if number == EVERYWHERE {
            return edit(Arc::make_mut(&mut self.next.everywhere), all);
        }
        let name = self.writer.domains.name(number);
        let place = names::place(EVERYWHERE, SubjectKind::WORD, name);
        let is_it = |tenant: &Arc<Tenant>| tenant.number == number;
        let (tenant, _) = self.next.tenants.get_or_insert(place, is_it, || {
            Arc::new(Tenant { number, name: name.clone(), ..Tenant::default() })
        });
        let tenant = Arc::make_mut(tenant);
        let done = edit(tenant, all);
        let is_empty = tenant.users == 0 && tenant.subjects.all == 0 && tenant.attributes == 0;
        if is_empty && tenant.decoys == Decoys::default() {
            let base = tenant.base.as_ref().map_or(0, |base| base.heap_bytes());
            self.next.counts.bytes -= base + tenant.patterns().heap_bytes();
            self.next.tenants.remove(place, is_it);
        }
        done
    }
}
