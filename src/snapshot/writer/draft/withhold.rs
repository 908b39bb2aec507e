//! Withholds losses: serves users and rules that the source no longer has, if too many are
//! gone. [`Losses`](crate::snapshot::writer::losses::Losses) decides; this carries it out.

use std::time::Instant;

use hashbrown::{HashMap, HashSet};

use super::{Draft, Snapshot};
use crate::core::model::Table;
use crate::snapshot::names::IndexKey;
use crate::snapshot::row_index::RowRecord;
use crate::snapshot::writer::Writer;
use crate::snapshot::writer::losses::{Account, HoldChange, LossLimits, Losses, Note, Stock};
use crate::snapshot::writer::numbers::Domains;
use crate::snapshot::{Counts, Doubt, EVERYWHERE, Entry, Piece, UserEntry, WITHHELD};

/// What a tenant has according to the source.
fn stock(snapshot: &Snapshot, domains: &Domains, losses: &Losses, number: u32) -> Stock {
    let tenant = match number {
        EVERYWHERE => Some(&*snapshot.everywhere),
        _ => snapshot.tenant(domains.name(number)),
    };
    let kept = losses.kept(number);
    tenant.map_or(Stock::default(), |tenant| Stock {
        users: tenant.able,
        rules: tenant.subjects.all - kept.rules,
        defaults: tenant.subjects.default - kept.defaults,
        attributes: tenant.attributes - kept.attributes,
    })
}

/// What all tenants have according to the source.
fn whole(snapshot: &Snapshot, losses: &Losses) -> Stock {
    let Counts { able, rules, defaults, attributes, .. } = snapshot.counts;
    let kept = losses.kept_by_all();
    Stock {
        users: able,
        rules: rules - kept.rules,
        defaults: defaults - kept.defaults,
        attributes: attributes - kept.attributes,
    }
}

impl Draft<'_> {
    /// Notes rules and attributes that are about to be taken from their entry, and adds to `gone`
    /// those that are served now although they were lost, and that the source has again.
    pub(super) fn note_dropped(&mut self, place: &IndexKey, put: &[Piece], gone: &mut HashSet<(Table, i64)>) {
        // As in a first load, which only puts them.
        if gone.is_empty() && !self.writer.losses.knows(place.tenant) {
            return;
        }
        let returned: HashSet<(Table, i64)> = put.iter().map(Piece::row).collect();
        let is_dropped = |row| gone.contains(&row) && !returned.contains(&row);
        if gone.iter().any(|row| is_dropped(*row))
            && let Some(entry) = self.next.entry(place.tenant, place.kind, &place.name)
        {
            self.dropped.extend(entry.pieces(is_dropped).into_iter().map(|piece| (place.clone(), piece)));
        }
        if self.writer.losses.knows(place.tenant) {
            self.found.extend(returned.iter().map(|row| (place.clone(), *row)));
            gone.extend(returned);
        }
    }

    /// Whether the source has a row under this name.
    fn has_row(&self, place: &IndexKey, (table, id): (Table, i64)) -> bool {
        self.record(table, id).is_some_and(|record| record.prefix == place.hash())
    }

    /// Withholds losses beyond `limits`.
    pub(super) fn withhold(&mut self, limits: &LossLimits, now: Instant) {
        let has_moved = !self.summary.is_empty();
        let losses = &mut self.writer.losses;
        let is_quiet = self.is_load && losses.end_load(has_moved, limits.settle, now);
        if self.writer.row_index.len() == 0 {
            return;
        }
        losses.expire(now);
        let is_unsettled = self.is_load && !limits.settle.is_zero() && limits.max_shrink < 100;
        let is_suspect = limits.is_suspect && limits.max_shrink < 100;
        let note = Note { is_unsettled, is_suspect, now };
        for (key, row) in std::mem::take(&mut self.found) {
            match self.has_row(&key, row) {
                true => self.writer.losses.found_piece(key, row),
                // The same draft has put it there and taken it away again.
                false => self.writer.losses.put_back_piece(key, row),
            }
        }
        self.note_accounts(note);
        self.note_pieces(note);
        let (next, domains, losses) = (&self.next, &self.writer.domains, &self.writer.losses);
        let stocks: HashMap<u32, Stock> =
            losses.numbers().map(|number| (number, stock(next, domains, losses, number))).collect();
        let all = whole(next, losses);
        let (changes, forgotten) =
            self.writer.losses.decide(|number| stocks[&number], all, limits, is_quiet, now);
        self.carry_out(changes, forgotten);
    }

    /// Accepts all losses of earlier drafts: nothing that was lost is served any more.
    pub(super) fn accept_losses(&mut self) {
        let (changes, forgotten) = self.writer.losses.confirm();
        self.carry_out(changes, forgotten);
    }

    /// What a tenant and all tenants had before this draft, if that must be noted.
    fn base(&self, tenant: u32, now: Instant) -> Option<[Stock; 2]> {
        let Writer { current, domains, losses, .. } = &*self.writer;
        let base = || [stock(current, domains, losses, tenant), whole(current, losses)];
        losses.wants_base(tenant, now).then(base)
    }

    fn note_accounts(&mut self, note: Note) {
        for key in std::mem::take(&mut self.accounts) {
            let base = self.base(key.tenant, note.now);
            let Writer { current, losses, row_index, .. } = &mut *self.writer;
            let content =
                |user: &UserEntry| row_index.table(Table::UserAuth).get(user.id).map(RowRecord::content);
            let had = current.entry(key.tenant, key.kind, &key.name).filter(|entry| entry.able().is_some());
            let had = had.and_then(|entry| {
                let user = entry.in_source()?;
                let details = entry.details(user.id).cloned().unwrap_or_default();
                let account = Account { credential: user.credential.clone(), details };
                Some((account, content(user).unwrap_or_default()))
            });
            let has = self.next.entry(key.tenant, key.kind, &key.name).and_then(Entry::able);
            if losses.note_account(&key, had, has, base, note) {
                self.doubt(&key, note.now);
            }
        }
    }

    fn note_pieces(&mut self, note: Note) {
        for (key, piece) in std::mem::take(&mut self.dropped) {
            let (table, id) = piece.row();
            let record = self.writer.row_index.table(table).get(id);
            let had = record.filter(|record| record.prefix == key.hash());
            if let Some(record) = had.filter(|_| !self.has_row(&key, (table, id))) {
                let base = self.base(key.tenant, note.now);
                self.writer.losses.note_piece(key, (piece, record.content()), base, note);
            }
        }
    }

    fn doubt(&mut self, key: &IndexKey, since: Instant) {
        let domain = self.writer.domains.name(key.tenant);
        let place = Doubt::place(domain, &key.name);
        let doubt = triomphe::Arc::new(Doubt { domain: domain.clone(), name: key.name.clone(), since });
        let is_it = |doubt: &triomphe::Arc<Doubt>| doubt.is(domain, &key.name);
        *self.next.doubts.get_or_insert(place, is_it, || doubt.clone()).0 = doubt.clone();
    }

    fn carry_out(&mut self, changes: Vec<HoldChange>, forgotten: Vec<IndexKey>) {
        for key in forgotten {
            let domain = self.writer.domains.name(key.tenant);
            self.next.doubts.remove(Doubt::place(domain, &key.name), |doubt| doubt.is(domain, &key.name));
        }
        for change in changes {
            match &change {
                HoldChange::ServeAccount(..) | HoldChange::ServePiece(..) => self.summary.withheld += 1,
                HoldChange::DropAccount(_) | HoldChange::DropPiece(..) => self.summary.released += 1,
            }
            match change {
                HoldChange::ServeAccount(key, Account { credential, details }) => self.edit(&key, |entry| {
                    if !entry.users.first().is_some_and(UserEntry::is_withheld) {
                        entry.put_user(UserEntry { id: WITHHELD, credential }, details);
                    }
                }),
                HoldChange::DropAccount(key) => {
                    self.edit(&key, |entry| entry.remove_user(WITHHELD));
                }
                HoldChange::ServePiece(key, piece) => self.stage(key).put.push(piece),
                HoldChange::DropPiece(key, row) => drop(self.stage(key).gone.insert(row)),
            }
        }
        self.unstage();
        // What was just carried out is no news of the source.
        self.accounts.clear();
        self.dropped.clear();
        self.found.clear();
    }
}
