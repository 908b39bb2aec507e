//! The properties that affect others: rules that remove keys, and lists of prefixes.

use std::ops::Range;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::core::client::{ALLOW_PREFIX, ENFORCE_PREFIX, prefixes};
use crate::core::rules::RuleOrder;
use crate::ops::check::table::{AudienceHash, ClientKey, Fact, RuleSubject, RuleTable};
use crate::snapshot::ALL_TENANTS;

/// A rule that affects other rules.
pub(super) struct Actor<'r> {
    pub fact: Fact,
    subject: RuleSubject,
    /// The list of prefixes; empty for a rule that removes keys.
    pub prefixes: Vec<&'r str>,
}

/// A key that at least one rule removes.
pub(super) struct RemovedKey {
    run: Range<usize>,
    pub sure: Sure,
}

/// All rules that affect others.
pub(super) struct Acting<'r> {
    pub rules: &'r RuleTable<'r>,
    /// Rules that set `ENFORCE_PREFIX`.
    pub enforcers: Vec<Actor<'r>>,
    pub enforcing: Sure,
    /// Rules that set `ALLOW_PREFIX`.
    pub allowers: Vec<Actor<'r>>,
    pub allowing: Sure,
    /// The removed keys.
    pub removed: HashMap<&'r str, RemovedKey>,
    /// The lengths of the removed keys.
    lengths: Vec<usize>,
    /// Whether one of these rules is for a single user.
    pub has_users: bool,
}

impl<'r> Acting<'r> {
    pub fn of(rules: &'r RuleTable<'r>) -> Acting<'r> {
        let removed = removed_keys(rules);
        let mut lengths: Vec<usize> = removed.keys().map(|key| key.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let (enforcers, mut allowers) = (actors(rules, ENFORCE_PREFIX), actors(rules, ALLOW_PREFIX));
        // A list without prefixes allows all keys.
        allowers.retain(|actor| !actor.prefixes.is_empty());
        let is_user = |fact: &Fact| matches!(rules.subject(fact).who, AudienceHash::User(_));
        let removing = removed.values().flat_map(|key| &rules.facts[key.run.clone()]);
        let listing = enforcers.iter().chain(&allowers).map(|actor| &actor.fact);
        Acting {
            has_users: removing.chain(listing).any(is_user),
            enforcing: sure_of(rules, ENFORCE_PREFIX),
            allowing: sure_of(rules, ALLOW_PREFIX),
            rules,
            enforcers,
            allowers,
            removed,
            lengths,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.enforcers.is_empty() && self.allowers.is_empty() && self.removed.is_empty()
    }

    /// The rules that remove a key.
    pub fn removers<'a>(&'a self, key: &'a RemovedKey) -> impl Iterator<Item = Actor<'r>> + 'a {
        let facts = self.rules.facts[key.run.clone()].iter();
        let removing = facts.filter(|fact| fact.is_null && !fact.is_dead);
        removing.map(|fact| Actor { fact: *fact, subject: self.rules.subject(fact), prefixes: Vec::new() })
    }

    /// The removed keys whose removal also removes `key`. One of them may be `key` itself.
    pub fn removing<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a str, &'a RemovedKey)> {
        let shorter = self.lengths.iter().take_while(|len| **len <= key.len());
        let prefixes = shorter.filter_map(|&len| key.get(..len));
        prefixes.filter_map(|prefix| Some((prefix, self.removed.get(prefix)?)))
    }
}

fn actors<'r>(rules: &'r RuleTable<'r>, key: &str) -> Vec<Actor<'r>> {
    let facts = rules.facts.iter().filter(|fact| !fact.is_dead && rules.key(fact) == key);
    let known = facts.filter(|fact| rules.properties[fact.property as usize].is_fixed);
    let known = known.filter_map(|fact| Some((fact, rules.lists.get(&fact.order.id)?)));
    known
        .map(|(fact, list)| Actor { fact: *fact, subject: rules.subject(fact), prefixes: prefixes(list) })
        .collect()
}

/// The keys that at least one rule removes.
fn removed_keys<'r>(rules: &'r RuleTable<'_>) -> HashMap<&'r str, RemovedKey> {
    let mut removed = HashMap::new();
    for run in rules.runs() {
        let facts = &rules.facts[run.clone()];
        let key = &rules.properties[facts[0].property as usize];
        if key.is_fixed && !key.text.is_empty() && facts.iter().any(|fact| fact.is_null && !fact.is_dead) {
            let sure = Sure::of(facts);
            removed.insert(&*key.text, RemovedKey { run, sure });
        }
    }
    removed
}

fn sure_of(rules: &RuleTable<'_>, key: &str) -> Sure {
    let is_it = |key_of: &ClientKey| key_of.is_fixed && key_of.text == key;
    let mut runs = rules.runs().map(|run| &rules.facts[run]);
    let run = runs.find(|run| is_it(&rules.properties[run[0].property as usize]));
    Sure::of(run.unwrap_or_default())
}

/// The number of rules of each kind that are examined. One is not enough: the first may never be
/// in the same answer as the actor, if others precede them.
const OF_KIND: usize = 8;

/// For one key, the first or last rules of each kind of subject in each tenant, and the first or
/// last rule of each user.
pub(super) struct Extremes {
    kinds: HashMap<u32, SmallVec<[Fact; 4]>>,
    users: HashMap<(u32, AudienceHash), Fact>,
}

impl Extremes {
    pub fn of<'r>(
        rules: &RuleTable<'_>,
        facts: impl Iterator<Item = &'r Fact>,
        wants_users: bool,
    ) -> Extremes {
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

    /// A rule that may be in the same answer as `actor` and for which `is_it` returns true.
    pub fn find(
        &self,
        rules: &RuleTable<'_>,
        actor: &Actor<'_>,
        is_it: impl Fn(&Fact) -> bool,
    ) -> Option<Fact> {
        let RuleSubject { tenant, who, .. } = actor.subject;
        let is_all = tenant == ALL_TENANTS;
        let own = self.kinds.get(&tenant).into_iter().flatten();
        let of_all = self.kinds.get(&ALL_TENANTS).into_iter().flatten().filter(|_| !is_all);
        let of_others = self.kinds.iter().filter(|(other, _)| is_all && **other != tenant);
        let of_others = of_others.flat_map(|(_, known)| known);
        let of_user = self.users.get(&(tenant, who)).into_iter();
        let meets = |fact: &&Fact| rules.may_meet(fact, &actor.fact);
        // The smallest id is taken, so that the same rows always give the same message.
        let found =
            own.chain(of_all).chain(of_others).chain(of_user).filter(meets).filter(|fact| is_it(fact));
        found.min_by_key(|fact| fact.order.id).copied()
    }
}

/// For one key, the position of the first rule of each subject that needs no parameter.
pub(super) struct Sure(HashMap<u32, RuleOrder>);

impl Sure {
    pub fn of(facts: &[Fact]) -> Sure {
        let mut first = HashMap::new();
        for fact in facts.iter().filter(|fact| fact.required == 0) {
            first.entry(fact.subject).or_insert(fact.order);
        }
        Sure(first)
    }

    /// Whether another rule with the key of `fact` precedes it in every case in which `both`
    /// apply.
    pub fn precedes(&self, fact: &Fact, both: [&Fact; 2], rules: &RuleTable<'_>) -> bool {
        let mut subjects = both.into_iter().flat_map(|fact| rules.also(fact));
        subjects.any(|subject| self.0.get(&subject).is_some_and(|order| *order < fact.order))
    }
}

/// Whether a key certainly begins with none of the prefixes. Unless it is fixed, only its
/// beginning is known.
pub(super) fn is_outside(prefixes: &[&str], key: &str, is_fixed: bool) -> bool {
    let may_begin = |prefix: &&str| key.starts_with(prefix) || (!is_fixed && prefix.starts_with(key));
    !prefixes.iter().any(may_begin)
}
