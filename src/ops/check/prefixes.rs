//! Properties that act upon others by the beginning of their keys, at the place
//! where they stand.
//!
//! As the client does it: `x=${null}` removes `x`, and whatever begins with `x`
//! up to its last dot. `ENFORCE_PREFIX` removes what begins with none of its
//! prefixes, all it has at that moment. `ALLOW_PREFIX` has it ignore what comes
//! after and begins with none.

use std::cell::OnceCell;
use std::ops::Range;

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::CheckReport;
use super::table::{AudienceHash, ClientKey, Fact, RuleSubject, RuleTable};
use crate::core::client::{ALLOW_PREFIX, ENFORCE_PREFIX, IDENTITY, SYSTEM};
use crate::core::problem::Code;
use crate::core::rules::RuleOrder;
use crate::snapshot::ALL_TENANTS;

/// As Java's `split("\\|")`: empty ones at the end do not count, but for an empty
/// list.
fn split(list: &str) -> Vec<&str> {
    let mut prefixes: Vec<&str> = list.split('|').collect();
    while !list.is_empty() && prefixes.last().is_some_and(|last| last.is_empty()) {
        prefixes.pop();
    }
    prefixes
}

/// What is wrong with the list of prefixes itself.
pub(super) fn spelling(id: i64, list: &str, report: &mut CheckReport) {
    let prefixes = split(list);
    if prefixes.iter().any(|prefix| prefix.is_empty()) {
        report.add_rule(Code::BlankInPrefix, id, "an empty prefix is the beginning of every key: remove it");
    } else if prefixes.iter().any(|prefix| prefix.contains(char::is_whitespace)) {
        let what =
            "blanks beside `|` belong to the prefix, which then is the beginning of no key: remove them";
        report.add_rule(Code::BlankInPrefix, id, what);
    }
}

/// Something that acts upon others.
struct Actor<'r> {
    fact: Fact,
    subject: RuleSubject,
    prefixes: Vec<&'r str>,
}

/// So many rules of a kind are looked at. The first need not be in one answer with
/// what acts upon it, if others precede either.
const OF_KIND: usize = 8;

/// Of one key: the first or last rules of each kind of subject in each tenant,
/// and the first or last of each user.
struct Extremes {
    kinds: HashMap<u32, SmallVec<[Fact; 4]>>,
    users: HashMap<(u32, AudienceHash), Fact>,
}

impl Extremes {
    fn of<'r>(rules: &RuleTable<'_>, facts: impl Iterator<Item = &'r Fact>, wants_users: bool) -> Extremes {
        let mut extremes = Extremes { kinds: HashMap::new(), users: HashMap::new() };
        for fact in facts {
            let RuleSubject { tenant, who, .. } = rules.subject(fact);
            let kind = |who| if let AudienceHash::User(_) = who { AudienceHash::User(0) } else { who };
            let known = extremes.kinds.entry(tenant).or_default();
            let alike = known.iter().filter(|other| kind(rules.subject(other).who) == kind(who));
            if alike.count() < OF_KIND {
                known.push(*fact);
            }
            if wants_users && matches!(who, AudienceHash::User(_)) {
                extremes.users.entry((tenant, who)).or_insert(*fact);
            }
        }
        extremes
    }

    /// A rule that may be in one answer with `actor`, and for which `is_it`
    /// holds.
    fn find(&self, rules: &RuleTable<'_>, actor: &Actor<'_>, is_it: impl Fn(&Fact) -> bool) -> Option<Fact> {
        let RuleSubject { tenant, who, .. } = actor.subject;
        let is_all = tenant == ALL_TENANTS;
        let own = self.kinds.get(&tenant).into_iter().flatten();
        let of_all = self.kinds.get(&ALL_TENANTS).into_iter().flatten().filter(|_| !is_all);
        let of_others = self.kinds.iter().filter(|(other, _)| is_all && **other != tenant);
        let of_others = of_others.flat_map(|(_, known)| known);
        let of_user = self.users.get(&(tenant, who)).into_iter();
        let meets = |fact: &&Fact| rules.may_meet(fact, &actor.fact);
        // By id, so that the same rows always give the same words.
        let found =
            own.chain(of_all).chain(of_others).chain(of_user).filter(meets).filter(|fact| is_it(fact));
        found.min_by_key(|fact| fact.order.id).copied()
    }
}

/// Of one key: where the first rule of each subject stands that needs no parameter.
struct Sure(HashMap<u32, RuleOrder>);

impl Sure {
    fn of(facts: &[Fact]) -> Sure {
        let mut first = HashMap::new();
        for fact in facts.iter().filter(|fact| fact.required == 0) {
            first.entry(fact.subject).or_insert(fact.order);
        }
        Sure(first)
    }

    /// Whether another rule of the key of `fact` precedes it wherever `both` apply.
    fn precedes(&self, fact: &Fact, both: [&Fact; 2], rules: &RuleTable<'_>) -> bool {
        let mut subjects = both.into_iter().flat_map(|fact| rules.also(fact));
        subjects.any(|subject| self.0.get(&subject).is_some_and(|order| *order < fact.order))
    }
}

pub(super) fn check(rules: &RuleTable<'_>, report: &mut CheckReport) {
    let actors = |key: &str| -> Vec<Actor<'_>> {
        let facts = rules.facts.iter().filter(|fact| !fact.is_dead && rules.key(fact) == key);
        let known = facts.filter(|fact| rules.properties[fact.property as usize].is_fixed);
        let known = known.filter_map(|fact| Some((fact, rules.lists.get(&fact.order.id)?)));
        known
            .map(|(fact, list)| Actor { fact: *fact, subject: rules.subject(fact), prefixes: split(list) })
            .collect()
    };
    let (enforcers, allowers) = (actors(ENFORCE_PREFIX), actors(ALLOW_PREFIX));
    for actor in &enforcers {
        let forgotten = IDENTITY.iter().filter(|key| !covers(&actor.prefixes, key)).copied();
        let forgotten: Vec<&str> = forgotten.collect();
        if !forgotten.is_empty() {
            let what = format!(
                "the client removes what it knows itself by, or where it is provisioned from ({}): \
                 add net.java.sip.communicator.UUID and net.java.sip.communicator.plugin.provisioning.",
                forgotten.join(", ")
            );
            report.add_rule(Code::EnforcePrefixForgets, actor.fact.order.id, what);
        }
    }
    let removers = removers(rules);
    for (prefix, (range, _)) in &removers {
        let is_gone = |key: &&&str| **key == *prefix || removes(prefix, key);
        let Some(forgotten) = IDENTITY.iter().find(is_gone) else { continue };
        for fact in rules.facts[range.clone()].iter().filter(|fact| fact.is_null && !fact.is_dead) {
            let what = format!(
                "the client removes what it knows itself by, or where it is provisioned from ({forgotten}): \
                 remove what is below this one by one"
            );
            report.add_rule(Code::NullForgets, fact.order.id, what);
        }
    }
    if enforcers.is_empty() && allowers.is_empty() && removers.is_empty() {
        return;
    }
    let mut lengths: Vec<usize> = removers.keys().map(|key| key.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let is_user = |fact: &Fact| matches!(rules.subject(fact).who, AudienceHash::User(_));
    let removing = removers.values().flat_map(|(run, _)| &rules.facts[run.clone()]);
    let acting = enforcers.iter().chain(&allowers).map(|actor| &actor.fact);
    let has_users = removing.chain(acting).any(is_user);
    let mut said = HashSet::new();
    let mut say = |code, actor: &Actor<'_>, what: &dyn Fn() -> String| {
        if said.insert((code, actor.fact.order.id)) {
            report.add_rule(code, actor.fact.order.id, what());
        }
    };
    let (enforcing, allowing) = (sure_of(rules, ENFORCE_PREFIX), sure_of(rules, ALLOW_PREFIX));
    for run in rules.runs() {
        let key = &rules.properties[rules.facts[run.start].property as usize];
        let is_system = key.text.starts_with(SYSTEM);
        if key.is_fixed && [ENFORCE_PREFIX, ALLOW_PREFIX].contains(&&*key.text) {
            continue;
        }
        let sure = OnceCell::new();
        // Whether both can be in one answer, the one acting upon the other.
        let are_in = |actor: &Actor<'_>, acting: &Sure, other: &Fact| {
            let both = [&actor.fact, other];
            let sure = sure.get_or_init(|| Sure::of(&rules.facts[run.clone()]));
            !acting.precedes(&actor.fact, both, rules) && !sure.precedes(other, both, rules)
        };
        let alive = || rules.facts[run.clone()].iter().filter(|fact| !fact.is_dead);
        let place = |fact: &Fact| format!("id {} sets `{}`", fact.order.id, key.text);

        let firsts = OnceCell::new();
        let firsts =
            || firsts.get_or_init(|| Extremes::of(rules, alive().filter(|fact| !fact.is_null), has_users));
        for prefix in lengths.iter().filter_map(|&len| key.text.get(..len)).filter(|_| !is_system) {
            let Some((range, removing)) = removers.get(prefix).filter(|_| removes(prefix, &key.text)) else {
                continue;
            };
            let is_within = key.text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
            let by = if is_within { "" } else { ", since the client removes by the beginning of the key" };
            for fact in rules.facts[range.clone()].iter().filter(|fact| fact.is_null && !fact.is_dead) {
                let actor = Actor { fact: *fact, subject: rules.subject(fact), prefixes: Vec::new() };
                let known = firsts();
                let is_in = |other: &Fact| are_in(&actor, removing, other);
                let is_undone = |other: &Fact| other.order < fact.order && is_in(other);
                if let Some(undone) = known.find(rules, &actor, is_undone) {
                    say(Code::NullUndoes, &actor, &|| {
                        let place = place(&undone);
                        format!(
                            "{place} before this removes it again{by}: give this one the smallest priorities"
                        )
                    });
                } else if !is_within && let Some(other) = known.find(rules, &actor, is_in) {
                    say(Code::NullBeyondSubtree, &actor, &|| {
                        format!(
                            "{}: what the client has there is removed too{by}; rename one of them, \
                             or remove single keys",
                            place(&other)
                        )
                    });
                }
            }
        }
        for actor in enforcers.iter().filter(|actor| !is_system && is_outside(&actor.prefixes, key)) {
            let known = firsts();
            let is_undone = |other: &Fact| other.order < actor.fact.order && are_in(actor, &enforcing, other);
            if let Some(undone) = known.find(rules, actor, is_undone) {
                say(Code::EnforcePrefixUndoes, actor, &|| {
                    let place = place(&undone);
                    format!(
                        "{place} before this, which removes it again: add its prefix, or give this one smaller priorities"
                    )
                });
            }
        }
        if allowers.iter().any(|actor| is_outside(&actor.prefixes, key)) {
            let lasts = Extremes::of(rules, alive().rev(), has_users);
            for actor in allowers.iter().filter(|actor| is_outside(&actor.prefixes, key)) {
                let is_dropped =
                    |other: &Fact| other.order > actor.fact.order && are_in(actor, &allowing, other);
                if let Some(dropped) = lasts.find(rules, actor, is_dropped) {
                    say(Code::AllowPrefixDrops, actor, &|| {
                        format!(
                            "{} after this, which has the client ignore it: add its prefix",
                            place(&dropped)
                        )
                    });
                }
            }
        }
    }
}

fn sure_of(rules: &RuleTable<'_>, key: &str) -> Sure {
    let is_it = |key_of: &ClientKey| key_of.is_fixed && key_of.text == key;
    let mut runs = rules.runs().map(|run| &rules.facts[run]);
    let run = runs.find(|run| is_it(&rules.properties[run[0].property as usize]));
    Sure::of(run.unwrap_or_default())
}

/// The rules of each key that some rule removes.
fn removers<'r>(rules: &'r RuleTable<'_>) -> HashMap<&'r str, (Range<usize>, Sure)> {
    let mut removers = HashMap::new();
    for run in rules.runs() {
        let facts = &rules.facts[run.clone()];
        let key = &rules.properties[facts[0].property as usize];
        if key.is_fixed && !key.text.is_empty() && facts.iter().any(|fact| fact.is_null && !fact.is_dead) {
            let sure = Sure::of(facts);
            removers.insert(&*key.text, (run, sure));
        }
    }
    removers
}

/// Whether removing `prefix` surely removes another key.
fn removes(prefix: &str, key: &str) -> bool {
    let branch = key.rsplit_once('.').map(|(branch, _)| branch);
    branch.is_some_and(|branch| branch.starts_with(prefix))
}

fn covers(prefixes: &[&str], key: &str) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a key surely begins with none of them.
fn is_outside(prefixes: &[&str], key: &ClientKey) -> bool {
    let may_begin =
        |prefix: &&str| key.text.starts_with(prefix) || (!key.is_fixed && prefix.starts_with(&key.text));
    !prefixes.iter().any(may_begin)
}
