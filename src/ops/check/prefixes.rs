//! Properties that affect other properties by the beginning of their keys. Their position in the
//! answer matters: see [`client`](crate::core::client).

mod acting;

use std::borrow::Cow;
use std::cell::OnceCell;

use hashbrown::HashSet;

use super::report::CheckReport;
use super::table::{ClientKey, Fact, RuleTable};
use crate::core::client::{
    ALLOW_PREFIX, ENFORCE_PREFIX, IDENTITY, KEPT, Kept, SYSTEM, covers, prefixes, stored_key,
};
use crate::core::problem::Code;

use acting::{Acting, Actor, Extremes, Sure, is_outside};

/// Problems with the list of prefixes itself.
pub(super) fn spelling(id: i64, list: &str, report: &mut CheckReport) {
    let prefixes = prefixes(list);
    if prefixes.iter().any(|prefix| prefix.is_empty()) {
        report.add_rule(Code::BlankInPrefix, id, "every key begins with an empty prefix: remove it");
    } else if prefixes.iter().any(|prefix| prefix.contains(char::is_whitespace)) {
        let what = "blanks next to `|` belong to the prefix, and no key begins with them: remove them";
        report.add_rule(Code::BlankInPrefix, id, what);
    }
}

pub(super) fn check(rules: &RuleTable<'_>, report: &mut CheckReport) {
    let acting = Acting::of(rules);
    if acting.is_empty() {
        return;
    }
    acting.enforcers.iter().for_each(|actor| taken_by_list(actor, report));
    taken_by_removal(&acting, report);
    // Each is reported only once for a rule.
    let mut said = HashSet::new();
    each_effect(&acting, |effect| {
        if said.insert((effect.code, effect.actor)) {
            report.add_rule(effect.code, effect.actor, effect.words());
        }
    });
}

/// The rules because of which the client removes or ignores the property of the rule `id`.
pub(super) fn undoing(rules: &RuleTable<'_>, id: i64) -> Vec<(Code, i64)> {
    let mut found = Vec::new();
    each_effect(&Acting::of(rules), |effect| {
        if effect.affected == id && effect.code != Code::NullBeyondSubtree {
            found.push((effect.code, effect.actor));
        }
    });
    found
}

/// Calls `found` for effects of rules on others. For each key, it names one rule that is affected.
fn each_effect(acting: &Acting<'_>, mut found: impl FnMut(Effect<'_>)) {
    for run in acting.rules.runs() {
        let facts = &acting.rules.facts[run];
        let key = &acting.rules.properties[facts[0].property as usize];
        if key.is_fixed && [ENFORCE_PREFIX, ALLOW_PREFIX].contains(&&*key.text) {
            continue;
        }
        let property = Property { acting, facts, key, sure: OnceCell::new(), firsts: OnceCell::new() };
        let stored = if key.is_fixed { stored_key(&key.text) } else { Some(Cow::Borrowed(&*key.text)) };
        if let Some(stored) = stored.filter(|_| !key.text.starts_with(SYSTEM)) {
            property.removed(&stored, &mut found);
            property.enforced(&stored, &mut found);
        }
        property.dropped(&mut found);
    }
}

/// Finds what the client needs and a list in `ENFORCE_PREFIX` leaves out.
fn taken_by_list(actor: &Actor<'_>, report: &mut CheckReport) {
    let is_left_out = |key: &&&str| !covers(&actor.prefixes, key);
    let identity: Vec<&str> = IDENTITY.iter().filter(is_left_out).copied().collect();
    let kept: Vec<&Kept> = KEPT.iter().filter(|kept| kept.keys.iter().any(|key| is_left_out(&key))).collect();
    // The identity consists of the UUID and of keys that the first prefix covers.
    let of_identity = identity.iter().map(|key| if *key == IDENTITY[0] { key } else { KEPT[0].prefix });
    let mut missing: Vec<&str> = of_identity.chain(kept.iter().map(|kept| kept.prefix)).collect();
    missing.dedup();
    let losses: Vec<&str> = kept.iter().map(|kept| kept.loss).collect();
    let add = format!("add {}", missing.join("|"));
    if !identity.is_empty() {
        let what = format!(
            "the client removes its identity, or the place from which it is provisioned ({}): {add}",
            identity.join(", ")
        );
        report.add_rule(Code::EnforcePrefixForgets, actor.fact.order.id, what);
    } else if !kept.is_empty() {
        let what = format!("the client removes what it has saved, so {}: {add}", losses.join(", and "));
        report.add_rule(Code::EnforcePrefixResets, actor.fact.order.id, what);
    }
}

/// Finds rules that remove what the client needs.
fn taken_by_removal(acting: &Acting<'_>, report: &mut CheckReport) {
    for (prefix, key) in &acting.removed {
        let is_gone = |own: &&&str| own.starts_with(prefix);
        let mut add = |code, what: String| {
            for actor in acting.removers(key) {
                report.add_rule(code, actor.fact.order.id, what.clone());
            }
        };
        let kept = KEPT.iter().filter(|kept| kept.keys.iter().any(|key| is_gone(&key)));
        let losses: Vec<&str> = kept.map(|kept| kept.loss).collect();
        if let Some(forgotten) = IDENTITY.iter().find(is_gone) {
            let what = format!(
                "the client removes its identity, or the place from which it is provisioned ({forgotten}): \
                 remove the keys below this key individually"
            );
            add(Code::NullForgets, what);
        } else if !losses.is_empty() {
            let what = format!(
                "the client removes what it has saved, so {}: remove the keys below this key individually",
                losses.join(", and ")
            );
            add(Code::NullResets, what);
        }
    }
}

/// A rule because of which the client removes or ignores the property of another rule.
struct Effect<'a> {
    code: Code,
    /// The id of the rule that causes it.
    actor: i64,
    /// The id of the affected rule.
    affected: i64,
    /// The key of the affected property.
    key: &'a str,
    /// Whether the affected property is in the subtree that the rule removes.
    is_within: bool,
}

impl Effect<'_> {
    fn words(&self) -> String {
        let place = format!("id {} sets `{}`", self.affected, self.key);
        let by = match self.is_within {
            true => "",
            false => ", because the client removes all keys with the same beginning",
        };
        match self.code {
            Code::NullBeyondSubtree => format!(
                "{place}: its value in the client is removed too{by}; rename one of them, or remove single keys"
            ),
            Code::EnforcePrefixUndoes => format!(
                "{place}, and this rule removes it again: add its prefix, or give this rule smaller priorities"
            ),
            Code::AllowPrefixDrops => {
                format!("{place} after this rule, so the client ignores it: add its prefix")
            }
            _ => {
                format!("{place}, and this rule removes it again{by}: give this rule the smallest priorities")
            }
        }
    }
}

/// A property that other properties may affect.
struct Property<'a> {
    acting: &'a Acting<'a>,
    /// Its rules, in order.
    facts: &'a [Fact],
    key: &'a ClientKey,
    sure: OnceCell<Sure>,
    firsts: OnceCell<Extremes>,
}

impl Property<'_> {
    /// Finds removals of other keys that also remove this property.
    fn removed(&self, stored: &str, found: &mut impl FnMut(Effect<'_>)) {
        for (prefix, removed) in self.acting.removing(stored) {
            if self.key.is_fixed && prefix == self.key.text {
                continue;
            }
            let rest = stored.strip_prefix(prefix).unwrap_or_default();
            let is_within = prefix.ends_with('.') || rest.starts_with('.');
            for actor in self.acting.removers(removed) {
                let is_in = |other: &Fact| self.are_in(&actor, &removed.sure, other);
                let is_undone = |other: &Fact| other.order < actor.fact.order && is_in(other);
                if let Some(undone) = self.firsts().find(self.acting.rules, &actor, is_undone) {
                    found(Effect { is_within, ..self.effect(Code::NullUndoes, &actor, &undone) });
                } else if !is_within && let Some(other) = self.firsts().find(self.acting.rules, &actor, is_in)
                {
                    found(Effect { is_within, ..self.effect(Code::NullBeyondSubtree, &actor, &other) });
                }
            }
        }
    }

    /// Finds lists in `ENFORCE_PREFIX` that remove this property.
    fn enforced(&self, stored: &str, found: &mut impl FnMut(Effect<'_>)) {
        let acting = self.acting;
        let is_outside = |actor: &&Actor<'_>| is_outside(&actor.prefixes, stored, self.key.is_fixed);
        for actor in acting.enforcers.iter().filter(is_outside) {
            let is_undone =
                |other: &Fact| other.order < actor.fact.order && self.are_in(actor, &acting.enforcing, other);
            if let Some(undone) = self.firsts().find(acting.rules, actor, is_undone) {
                found(self.effect(Code::EnforcePrefixUndoes, actor, &undone));
            }
        }
    }

    /// Finds lists in `ALLOW_PREFIX` because of which the client ignores this property.
    fn dropped(&self, found: &mut impl FnMut(Effect<'_>)) {
        let acting = self.acting;
        let lasts = OnceCell::new();
        let is_outside = |actor: &&Actor<'_>| is_outside(&actor.prefixes, &self.key.text, self.key.is_fixed);
        for actor in acting.allowers.iter().filter(is_outside) {
            let is_dropped =
                |other: &Fact| other.order > actor.fact.order && self.are_in(actor, &acting.allowing, other);
            let lasts =
                lasts.get_or_init(|| Extremes::of(acting.rules, self.alive().rev(), acting.has_users));
            if let Some(dropped) = lasts.find(acting.rules, actor, is_dropped) {
                found(self.effect(Code::AllowPrefixDrops, actor, &dropped));
            }
        }
    }

    fn effect(&self, code: Code, actor: &Actor<'_>, affected: &Fact) -> Effect<'_> {
        let (actor, affected) = (actor.fact.order.id, affected.order.id);
        Effect { code, actor, affected, key: &self.key.text, is_within: true }
    }

    /// Whether both can be in the same answer, and `actor` affects `other`.
    fn are_in(&self, actor: &Actor<'_>, acting: &Sure, other: &Fact) -> bool {
        let (both, rules) = ([&actor.fact, other], self.acting.rules);
        let sure = self.sure.get_or_init(|| Sure::of(self.facts));
        !acting.precedes(&actor.fact, both, rules) && !sure.precedes(other, both, rules)
    }

    fn alive(&self) -> impl DoubleEndedIterator<Item = &Fact> {
        self.facts.iter().filter(|fact| !fact.is_dead)
    }

    /// The first rules that set this property.
    fn firsts(&self) -> &Extremes {
        let set = || self.alive().filter(|fact| !fact.is_null);
        self.firsts.get_or_init(|| Extremes::of(self.acting.rules, set(), self.acting.has_users))
    }
}
