//! Properties that affect other properties by the beginning of their keys. Their position in the
//! answer matters.
//!
//! The client behaves as follows. `x=${null}` removes `x`, and every property whose key begins
//! with `x` before its last dot. `ENFORCE_PREFIX` removes all properties that exist at that
//! moment and begin with none of its prefixes. After `ALLOW_PREFIX`, the client ignores
//! properties that begin with none of its prefixes.

mod acting;

use std::cell::OnceCell;

use hashbrown::HashSet;

use super::report::CheckReport;
use super::table::{ClientKey, Fact, RuleTable};
use crate::core::client::{ALLOW_PREFIX, ENFORCE_PREFIX, IDENTITY, SYSTEM};
use crate::core::problem::Code;

use acting::{Acting, Actor, Extremes, Sure, covers, is_outside, removes, split};

/// Problems with the list of prefixes itself.
pub(super) fn spelling(id: i64, list: &str, report: &mut CheckReport) {
    let prefixes = split(list);
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
    forgotten(&acting, report);
    let mut findings = Findings { said: HashSet::new(), report };
    for run in rules.runs() {
        let facts = &rules.facts[run];
        let key = &rules.properties[facts[0].property as usize];
        if key.is_fixed && [ENFORCE_PREFIX, ALLOW_PREFIX].contains(&&*key.text) {
            continue;
        }
        let property =
            Property { acting: &acting, facts, key, sure: OnceCell::new(), firsts: OnceCell::new() };
        if !key.text.starts_with(SYSTEM) {
            property.removed(&mut findings);
            property.enforced(&mut findings);
        }
        property.dropped(&mut findings);
    }
}

/// Finds rules that remove the client's identity.
fn forgotten(acting: &Acting<'_>, report: &mut CheckReport) {
    for actor in &acting.enforcers {
        let forgotten = IDENTITY.iter().filter(|key| !covers(&actor.prefixes, key)).copied();
        let forgotten: Vec<&str> = forgotten.collect();
        if !forgotten.is_empty() {
            let what = format!(
                "the client removes its identity, or the place from which it is provisioned ({}): \
                 add net.java.sip.communicator.UUID and net.java.sip.communicator.plugin.provisioning.",
                forgotten.join(", ")
            );
            report.add_rule(Code::EnforcePrefixForgets, actor.fact.order.id, what);
        }
    }
    for (prefix, key) in &acting.removed {
        let is_gone = |own: &&&str| **own == *prefix || removes(prefix, own);
        let Some(forgotten) = IDENTITY.iter().find(is_gone) else { continue };
        for actor in acting.removers(key) {
            let what = format!(
                "the client removes its identity, or the place from which it is provisioned ({forgotten}): \
                 remove the keys below this key individually"
            );
            report.add_rule(Code::NullForgets, actor.fact.order.id, what);
        }
    }
}

/// Collects findings. Each is reported only once for a rule.
struct Findings<'r> {
    said: HashSet<(Code, i64)>,
    report: &'r mut CheckReport,
}

impl Findings<'_> {
    fn add(&mut self, code: Code, actor: &Actor<'_>, what: impl FnOnce() -> String) {
        if self.said.insert((code, actor.fact.order.id)) {
            self.report.add_rule(code, actor.fact.order.id, what());
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
    fn removed(&self, findings: &mut Findings<'_>) {
        for (prefix, removed) in self.acting.removing(&self.key.text) {
            let is_within = self.key.text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
            let by =
                if is_within { "" } else { ", because the client removes all keys with the same beginning" };
            for actor in self.acting.removers(removed) {
                let is_in = |other: &Fact| self.are_in(&actor, &removed.sure, other);
                let is_undone = |other: &Fact| other.order < actor.fact.order && is_in(other);
                if let Some(undone) = self.firsts().find(self.acting.rules, &actor, is_undone) {
                    findings.add(Code::NullUndoes, &actor, || {
                        let place = self.place(&undone);
                        format!(
                            "{place}, and this rule removes it again{by}: give this rule the smallest priorities"
                        )
                    });
                } else if !is_within && let Some(other) = self.firsts().find(self.acting.rules, &actor, is_in)
                {
                    findings.add(Code::NullBeyondSubtree, &actor, || {
                        let place = self.place(&other);
                        format!(
                            "{place}: its value in the client is removed too{by}; rename one of them, \
                             or remove single keys"
                        )
                    });
                }
            }
        }
    }

    /// Finds lists in `ENFORCE_PREFIX` that remove this property.
    fn enforced(&self, findings: &mut Findings<'_>) {
        let acting = self.acting;
        for actor in acting.enforcers.iter().filter(|actor| is_outside(&actor.prefixes, self.key)) {
            let is_undone =
                |other: &Fact| other.order < actor.fact.order && self.are_in(actor, &acting.enforcing, other);
            if let Some(undone) = self.firsts().find(acting.rules, actor, is_undone) {
                findings.add(Code::EnforcePrefixUndoes, actor, || {
                    let place = self.place(&undone);
                    format!(
                        "{place}, and this rule removes it again: add its prefix, or give this rule smaller priorities"
                    )
                });
            }
        }
    }

    /// Finds lists in `ALLOW_PREFIX` because of which the client ignores this property.
    fn dropped(&self, findings: &mut Findings<'_>) {
        let acting = self.acting;
        let lasts = OnceCell::new();
        for actor in acting.allowers.iter().filter(|actor| is_outside(&actor.prefixes, self.key)) {
            let is_dropped =
                |other: &Fact| other.order > actor.fact.order && self.are_in(actor, &acting.allowing, other);
            let lasts =
                lasts.get_or_init(|| Extremes::of(acting.rules, self.alive().rev(), acting.has_users));
            if let Some(dropped) = lasts.find(acting.rules, actor, is_dropped) {
                findings.add(Code::AllowPrefixDrops, actor, || {
                    let place = self.place(&dropped);
                    format!("{place} after this rule, so the client ignores it: add its prefix")
                });
            }
        }
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

    fn place(&self, fact: &Fact) -> String {
        format!("id {} sets `{}`", fact.order.id, self.key.text)
    }
}
