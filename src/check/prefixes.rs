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

use super::Report;
use super::table::{Fact, Key, Rules, Subject, Who};
use crate::properties::IDENTITY;
use crate::snapshot::ALL_TENANTS;

pub(super) const ENFORCE: &str = "provisioning.ENFORCE_PREFIX";
pub(super) const ALLOW: &str = "provisioning.ALLOW_PREFIX";
/// What begins with this is Java's own and no property of the client's.
const SYSTEM: &str = "${system}.";

/// As Java's `split("\\|")`: empty ones at the end do not count.
fn split(list: &str) -> Vec<&str> {
    let mut prefixes: Vec<&str> = list.split('|').collect();
    while prefixes.len() > 1 && prefixes.last().is_some_and(|last| last.is_empty()) {
        prefixes.pop();
    }
    prefixes
}

/// What is wrong with the list of prefixes itself.
pub(super) fn spelling(id: i64, list: &str, report: &mut Report) {
    let prefixes = split(list);
    if prefixes.iter().any(|prefix| prefix.is_empty()) {
        report.add_rule("blank-in-prefix", id, "an empty prefix is the beginning of every key: remove it");
    } else if prefixes.iter().any(|prefix| prefix.contains(char::is_whitespace)) {
        let what =
            "blanks beside `|` belong to the prefix, which then is the beginning of no key: remove them";
        report.add_rule("blank-in-prefix", id, what);
    }
}

/// Something that acts upon others.
struct Actor<'r> {
    fact: Fact,
    subject: Subject,
    prefixes: Vec<&'r str>,
}

/// Of one key: the first or last rule of each kind of subject in each tenant,
/// and of each user.
struct Extremes {
    kinds: HashMap<u32, SmallVec<[Fact; 4]>>,
    users: HashMap<(u32, Who), Fact>,
}

impl Extremes {
    fn of<'r>(rules: &Rules, facts: impl Iterator<Item = &'r Fact>, wants_users: bool) -> Extremes {
        let mut extremes = Extremes { kinds: HashMap::new(), users: HashMap::new() };
        for fact in facts {
            let Subject { tenant, who, .. } = rules.subject(fact);
            let kind = |who| if let Who::User(_) = who { Who::User(0) } else { who };
            let known = extremes.kinds.entry(tenant).or_default();
            if known.iter().all(|other| kind(rules.subject(other).who) != kind(who)) {
                known.push(*fact);
            }
            if wants_users && matches!(who, Who::User(_)) {
                extremes.users.entry((tenant, who)).or_insert(*fact);
            }
        }
        extremes
    }

    /// A rule that may be in one answer with `actor`, and for which `is_it`
    /// holds.
    fn find(&self, rules: &Rules, actor: &Actor<'_>, is_it: impl Fn(&Fact) -> bool) -> Option<Fact> {
        let Subject { tenant, who, .. } = actor.subject;
        let is_all = tenant == ALL_TENANTS;
        let own = self.kinds.get(&tenant).into_iter().flatten();
        let of_all = self.kinds.get(&ALL_TENANTS).into_iter().flatten().filter(|_| !is_all);
        let of_others = self.kinds.iter().filter(|(other, _)| is_all && **other != tenant);
        let of_others = of_others.flat_map(|(_, known)| known);
        let of_user = self.users.get(&(tenant, who)).into_iter();
        let meets =
            |fact: &&Fact| fact.subject == actor.fact.subject || rules.subject(fact).may_meet(actor.subject);
        // By id, so that the same rows always give the same words.
        let found =
            own.chain(of_all).chain(of_others).chain(of_user).filter(meets).filter(|fact| is_it(fact));
        found.min_by_key(|fact| fact.order.id).copied()
    }
}

pub(super) fn check(rules: &Rules, report: &mut Report) {
    let actors = |key: &str| -> Vec<Actor<'_>> {
        let facts = rules.facts.iter().filter(|fact| !fact.is_dead && rules.key(fact) == key);
        let known = facts.filter(|fact| rules.properties[fact.property as usize].is_fixed);
        let known = known.filter_map(|fact| Some((fact, rules.lists.get(&fact.order.id)?)));
        known
            .map(|(fact, list)| Actor { fact: *fact, subject: rules.subject(fact), prefixes: split(list) })
            .collect()
    };
    let (enforcers, allowers) = (actors(ENFORCE), actors(ALLOW));
    for actor in &enforcers {
        let forgotten = IDENTITY.iter().filter(|key| !covers(&actor.prefixes, key)).copied();
        let forgotten: Vec<&str> = forgotten.collect();
        if !forgotten.is_empty() {
            let what = format!(
                "the client removes what it knows itself by, or where it is provisioned from ({}): \
                 add net.java.sip.communicator.UUID and net.java.sip.communicator.plugin.provisioning.",
                forgotten.join(", ")
            );
            report.add_rule("enforce-prefix-forgets", actor.fact.order.id, what);
        }
    }
    let removers = removers(rules);
    if enforcers.is_empty() && allowers.is_empty() && removers.is_empty() {
        return;
    }
    let mut lengths: Vec<usize> = removers.keys().map(|key| key.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let is_user = |fact: &Fact| matches!(rules.subject(fact).who, Who::User(_));
    let removing = removers.values().flat_map(|run| &rules.facts[run.clone()]);
    let acting = enforcers.iter().chain(&allowers).map(|actor| &actor.fact);
    let has_users = removing.chain(acting).any(is_user);
    let mut said = HashSet::new();
    let mut say = |code, actor: &Actor<'_>, what: &dyn Fn() -> String| {
        if said.insert((code, actor.fact.order.id)) {
            report.add_rule(code, actor.fact.order.id, what());
        }
    };
    for run in rules.runs() {
        let key = &rules.properties[rules.facts[run.start].property as usize];
        if key.text.starts_with(SYSTEM) || (key.is_fixed && [ENFORCE, ALLOW].contains(&&*key.text)) {
            continue;
        }
        let alive = || rules.facts[run.clone()].iter().filter(|fact| !fact.is_dead);
        let place = |fact: &Fact| format!("id {} sets `{}`", fact.order.id, key.text);

        let firsts = OnceCell::new();
        let firsts =
            || firsts.get_or_init(|| Extremes::of(rules, alive().filter(|fact| !fact.is_null), has_users));
        for prefix in lengths.iter().filter_map(|&len| key.text.get(..len)) {
            let Some(range) = removers.get(prefix).filter(|_| removes(prefix, key)) else { continue };
            let is_within = key.text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
            let by = if is_within { "" } else { ", since the client removes by the beginning of the key" };
            for fact in rules.facts[range.clone()].iter().filter(|fact| fact.is_null && !fact.is_dead) {
                let actor = Actor { fact: *fact, subject: rules.subject(fact), prefixes: Vec::new() };
                let known = firsts();
                if let Some(undone) = known.find(rules, &actor, |other| other.order < fact.order) {
                    say("null-undoes", &actor, &|| {
                        let place = place(&undone);
                        format!(
                            "{place} before this removes it again{by}: give this one the smallest priorities"
                        )
                    });
                } else if !is_within && let Some(other) = known.find(rules, &actor, |_| true) {
                    say("null-beyond-subtree", &actor, &|| {
                        format!(
                            "{}: what the client has there is removed too{by}; rename one of them, \
                             or remove single keys",
                            place(&other)
                        )
                    });
                }
            }
        }
        for actor in enforcers.iter().filter(|actor| is_outside(&actor.prefixes, key)) {
            let known = firsts();
            if let Some(undone) = known.find(rules, actor, |other| other.order < actor.fact.order) {
                say("enforce-prefix-undoes", actor, &|| {
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
                if let Some(dropped) = lasts.find(rules, actor, |other| other.order > actor.fact.order) {
                    say("allow-prefix-drops", actor, &|| {
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

/// The rules of each key that some rule removes.
fn removers(rules: &Rules) -> HashMap<&str, Range<usize>> {
    let mut removers = HashMap::new();
    for run in rules.runs() {
        let facts = &rules.facts[run.clone()];
        let key = &rules.properties[facts[0].property as usize];
        if key.is_fixed && !key.text.is_empty() && facts.iter().any(|fact| fact.is_null && !fact.is_dead) {
            removers.insert(&*key.text, run);
        }
    }
    removers
}

/// Whether removing `prefix` surely removes another key.
fn removes(prefix: &str, key: &Key) -> bool {
    let branch = key.text.rsplit_once('.').map(|(branch, _)| branch);
    branch.is_some_and(|branch| branch.starts_with(prefix))
}

fn covers(prefixes: &[&str], key: &str) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a key surely begins with none of them.
fn is_outside(prefixes: &[&str], key: &Key) -> bool {
    let may_begin =
        |prefix: &&str| key.text.starts_with(prefix) || (!key.is_fixed && prefix.starts_with(&key.text));
    !prefixes.iter().any(may_begin)
}
