//! Compares rules with the same key: some can never win, and some win only because of their ids.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::report::CheckReport;
use super::table::{AudienceHash, Fact, RuleTable};
use crate::core::problem::Code;
use crate::snapshot::ALL_TENANTS;

pub(super) fn check(rules: &mut RuleTable<'_>, report: &mut CheckReport) {
    let runs: Vec<_> = rules.runs().filter(|run| run.len() > 1).collect();
    for run in runs {
        let mut dead = Vec::new();
        never_win(rules, &rules.facts[run.clone()], report, |at| dead.push(run.start + at));
        dead.into_iter().for_each(|at| rules.facts[at].is_dead = true);
        let mut rest = &rules.facts[run];
        while let [first, ..] = rest {
            let priority = |fact: &Fact| (fact.order.spriority, fact.order.ppriority);
            let len = rest.iter().take_while(|fact| priority(fact) == priority(first)).count();
            let (equal, after) = rest.split_at(len);
            ties(rules, equal, report);
            rest = after;
        }
    }
}

/// Finds rules that can never win, because another rule applies to the same clients and precedes
/// them. `run` has the rules of one key, in order.
fn never_win(rules: &RuleTable<'_>, run: &[Fact], report: &mut CheckReport, mut dead: impl FnMut(usize)) {
    // For each subject, the first rule with each set of required parameters.
    let mut first: HashMap<u32, SmallVec<[(u32, &Fact); 1]>> = HashMap::new();
    for (at, fact) in run.iter().enumerate() {
        let wins = |subject: u32| {
            let known = first.get(&subject)?;
            let (_, winner) =
                known.iter().find(|(required, _)| *required == 0 || *required == fact.required)?;
            Some(*winner)
        };
        let Some(winner) = rules.also(fact).find_map(wins) else {
            let known = first.entry(fact.subject).or_default();
            known.push((fact.required, fact));
            continue;
        };
        dead(at);
        let id = winner.order.id;
        let of = match rules.subject(winner).who {
            _ if winner.subject == fact.subject => "for the same subject",
            AudienceHash::Everyone if rules.subject(winner).tenant == ALL_TENANTS => {
                "for everyone of all tenants"
            }
            AudienceHash::Everyone => "for everyone of its tenant",
            _ => "for the same subject of all tenants",
        };
        let fix = match (winner.subject == fact.subject, winner.value == fact.value) {
            (true, true) => "remove one of them",
            (true, false) => "remove one of them, or give one of them another key",
            (false, _) => "remove it, or give it smaller priorities",
        };
        report.add_rule(
            Code::NeverWins,
            fact.order.id,
            format!("id {id}, {of}, has the same key and always precedes this one: {fix}"),
        );
    }
}

/// For each kind of subject, two rules with different values. They are enough to find a tie.
type Models<'f> = SmallVec<[&'f Fact; 4]>;

/// Finds rules that lose to another rule only because of their ids, where both apply. `equal` has
/// the rules of one key with equal priorities, in order.
fn ties(rules: &RuleTable<'_>, equal: &[Fact], report: &mut CheckReport) {
    if equal.len() < 2 {
        return;
    }
    let mut models: HashMap<u32, Models<'_>> = HashMap::new();
    // Rules of every tenant, to be compared with rules for all tenants.
    let mut of_any: Models<'_> = SmallVec::new();
    let mut of_user: HashMap<(u32, AudienceHash), &Fact> = HashMap::new();
    for fact in equal.iter().filter(|fact| !fact.is_dead) {
        let subject = rules.subject(fact);
        let is_tie = |other: &&&Fact| other.value != fact.value && rules.may_meet(other, fact);
        let of = |tenant: u32| models.get(&tenant).into_iter().flatten();
        let is_user = matches!(subject.who, AudienceHash::User(_));
        let own = [subject.tenant, ALL_TENANTS].map(|tenant| of_user.get(&(tenant, subject.who)));
        let own = own.into_iter().flatten().filter(|_| is_user);
        let winner = if subject.tenant == ALL_TENANTS {
            own.chain(&of_any).find(is_tie)
        } else {
            own.chain(of(subject.tenant)).chain(of(ALL_TENANTS)).find(is_tie)
        };
        if let Some(winner) = winner {
            let why = format!(
                "id {} has the same key and priorities and may apply to the same client: only the id decides; \
                 give smaller priorities to the one that should win",
                winner.order.id
            );
            report.add_rule(Code::Tie, fact.order.id, why);
        }
        if is_user {
            of_user.entry((subject.tenant, subject.who)).or_insert(fact);
        }
        for models in [models.entry(subject.tenant).or_default(), &mut of_any] {
            let kind = |who| match who {
                AudienceHash::User(_) => AudienceHash::User(0),
                who => who,
            };
            let alike = |other: &&&Fact| kind(rules.subject(other).who) == kind(subject.who);
            let is_new = models.iter().filter(alike).all(|other| other.value != fact.value);
            if is_new && models.iter().filter(alike).count() < 2 {
                models.push(fact);
            }
        }
    }
}
