//! Decides whether losses are too large.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use super::{Base, Fate, Hold, HoldChange, LossLimits, Losses, MaxShrink, Stock, TenantLosses};
use crate::core::model::Table;
use crate::snapshot::kind::SubjectKind;
use crate::snapshot::names::IndexKey;

/// Losing fewer users or rules than this is no large loss, unless it is all of them.
const FEW: usize = 3;
/// How long a table may be in motion before its losses count all the same.
const LONGEST_MOTION: Duration = Duration::from_secs(600);

impl MaxShrink {
    /// Whether it is too much to lose this many of the users, rules or attributes of one tenant or
    /// of all.
    pub fn forbids(self, lost: usize, of: usize) -> bool {
        self.0 < 100 && lost >= FEW && lost * 100 > of * usize::from(self.0)
    }

    /// Whether it is too much to lose this many, because nothing would be left. This is so for the
    /// users of a tenant and for the rules for everyone, even if they are few.
    pub fn forbids_all(self, lost: usize, of: usize) -> bool {
        self.0 < 100 && lost > 0 && lost >= of
    }
}

fn is_over(lost: usize, of: usize, limits: &LossLimits) -> bool {
    MaxShrink(limits.max_shrink).forbids(lost, of)
}

impl TenantLosses {
    /// Decides for each account whether it is served. `is_large` says whether the loss of
    /// users is.
    fn hold_accounts(&mut self, number: u32, is_large: bool, decision: &mut Decision<'_>) {
        let common = self.common(decision.limits);
        for (name, lost) in &mut self.accounts {
            let is_over = match lost.fate {
                Fate::Unable => is_large || lost.is_suspect,
                common_fate => common.contains(&common_fate),
            };
            let key = || IndexKey::new(number, SubjectKind::WORD, name);
            let serve = || HoldChange::ServeAccount(key(), lost.account.clone());
            let drop = || HoldChange::DropAccount(key());
            lost.hold = decision.hold(lost.hold, lost.since, is_over, serve, drop);
        }
    }

    /// The same for each rule and each attribute.
    fn hold_pieces(&mut self, number: u32, are_large: [bool; 2], decision: &mut Decision<'_>) {
        self.kept = Stock::default();
        for ((kind, name, row), lost) in &mut self.pieces {
            let key = || IndexKey::new(number, *kind, name);
            let serve = || HoldChange::ServePiece(key(), lost.piece.clone());
            let drop = || HoldChange::DropPiece(key(), *row);
            let is_large = are_large[usize::from(row.0 == Table::UserAttribute)];
            lost.hold = decision.hold(lost.hold, lost.since, is_large || lost.is_suspect, serve, drop);
            if lost.hold.is_served() {
                self.kept = self.kept.with(*kind, row.0);
            }
        }
    }

    /// The stored passwords that too many users were given.
    fn common(&self, limits: &LossLimits) -> HashSet<Fate> {
        let mut counts: HashMap<Fate, usize> = HashMap::new();
        for account in self.accounts.values().filter(|account| account.fate != Fate::Unable) {
            *counts.entry(account.fate).or_default() += 1;
        }
        let of = self.base.stock.users;
        let is_common =
            |count: usize| is_over(count, of, limits) || limits.max_shrink < 100 && count >= 2 && count >= of;
        counts.into_iter().filter(|(_, count)| is_common(*count)).map(|(fate, _)| fate).collect()
    }
}

impl Losses {
    /// Decides what is withheld. `stock` is what a tenant has according to the source;
    /// `whole` is what all have.
    pub fn decide(
        &mut self,
        stock: impl Fn(u32) -> Stock,
        whole: Stock,
        limits: &LossLimits,
        is_quiet: bool,
        now: Instant,
    ) -> (Vec<HoldChange>, Vec<IndexKey>) {
        if self.tenants.is_empty() {
            self.dirty.clear();
            return (std::mem::take(&mut self.changes), std::mem::take(&mut self.forgotten));
        }
        for number in &self.dirty {
            if let Some(losses) = self.tenants.get_mut(number) {
                losses.count_unable();
            }
        }
        for number in &self.dirty {
            if let Some(TenantLosses { base, unable, is_withheld, .. }) = self.tenants.get_mut(number) {
                base.grow(stock(*number), *unable, *is_withheld || self.noted.contains(number));
            }
        }
        let lost: usize = self.tenants.values().map(|losses| losses.unable).sum();
        let is_withheld = self.tenants.values().any(|losses| losses.is_withheld);
        self.whole.grow(whole, lost, is_withheld || !self.noted.is_empty());
        let of_all = self.whole.stock;
        let all_of = |lost, of| MaxShrink(limits.max_shrink).forbids_all(lost, of);
        let all_users = is_over(lost, of_all.users, limits);
        let all_rules = is_over(of_all.rules.saturating_sub(whole.rules), of_all.rules, limits)
            || all_of(of_all.defaults.saturating_sub(whole.defaults), of_all.defaults);
        let all_attributes =
            is_over(of_all.attributes.saturating_sub(whole.attributes), of_all.attributes, limits);
        let was_whole = std::mem::replace(&mut self.is_whole, [all_users, all_rules, all_attributes]);
        let looks_at_all = is_quiet || was_whole != self.is_whole;
        let mut decision = Decision { limits, is_quiet, now, changes: &mut self.changes };
        let looked_at = |number: &u32| looks_at_all || self.dirty.contains(number);
        for (&number, losses) in self.tenants.iter_mut().filter(|(number, _)| looked_at(number)) {
            let has = stock(number);
            let of = losses.base.stock;
            let users =
                all_users || is_over(losses.unable, of.users, limits) || all_of(losses.unable, of.users);
            let rules = all_rules || is_over(of.rules.saturating_sub(has.rules), of.rules, limits);
            losses.hold_accounts(number, users, &mut decision);
            let attributes = all_attributes
                || is_over(of.attributes.saturating_sub(has.attributes), of.attributes, limits);
            losses.hold_pieces(number, [rules, attributes], &mut decision);
            let is_withheld = |hold| hold == Hold::Withheld;
            losses.is_withheld = losses.accounts.values().any(|lost| is_withheld(lost.hold))
                || losses.pieces.values().any(|lost| is_withheld(lost.hold));
        }
        self.dirty.clear();
        self.noted.clear();
        self.tenants.retain(|_, losses| !losses.is_empty());
        if self.tenants.is_empty() {
            (self.whole, self.oldest) = (Base::default(), None);
        }
        (std::mem::take(&mut self.changes), std::mem::take(&mut self.forgotten))
    }
}

/// What decides about everything that one commit looks at.
struct Decision<'a> {
    limits: &'a LossLimits,
    is_quiet: bool,
    now: Instant,
    changes: &'a mut Vec<HoldChange>,
}

impl Decision<'_> {
    /// Whether something lost is served from now on, and why.
    fn hold(
        &mut self,
        hold: Hold,
        since: Instant,
        is_over: bool,
        serve: impl FnOnce() -> HoldChange,
        drop: impl FnOnce() -> HoldChange,
    ) -> Hold {
        let waits = !self.limits.settle.is_zero();
        let is_old = || self.now.duration_since(since) > LONGEST_MOTION;
        let next = match hold {
            _ if is_over => Hold::Withheld,
            // What has come back so far may be the first part of a restore.
            Hold::Withheld | Hold::Missed if waits => Hold::Unsettled,
            Hold::Unsettled if waits && !self.is_quiet && !is_old() => Hold::Unsettled,
            Hold::Withheld | Hold::Missed | Hold::Unsettled | Hold::Released => Hold::Released,
        };
        match (hold.is_served(), next.is_served()) {
            (false, true) => self.changes.push(serve()),
            (true, false) => self.changes.push(drop()),
            _ => {}
        }
        next
    }
}
