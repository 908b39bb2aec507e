//! What `import --replace` would remove, compared with what a server accepts as a loss.

use std::fmt;

use hashbrown::HashMap;

use super::Item;
use super::plan::Plan;
use crate::core::conventions::Conventions;
use crate::core::names::Folded;
use crate::snapshot::MaxShrink;

/// A loss that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrink {
    /// `users`, `rules` or `attributes`, with the tenant that loses them.
    what: String,
    /// How many are lost.
    lost: usize,
    /// Of how many.
    of: usize,
}

impl fmt::Display for Shrink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {}", self.lost, self.of, self.what)
    }
}

/// The rows of a table that an import leaves alone. They count as what there was.
#[derive(Debug, Default)]
pub struct Outside {
    /// By tenant.
    tenants: HashMap<Folded, usize>,
    /// Rules for everyone.
    defaults: usize,
}

impl Outside {
    /// Counts a row.
    pub fn count<T: Item>(&mut self, item: &T, options: &Conventions) {
        *self.tenants.entry(fold(item, options)).or_default() += 1;
        self.defaults += usize::from(item.is_default());
    }
}

fn fold<T: Item>(item: &T, options: &Conventions) -> Folded {
    options.comparison.fold(&item.domain().shown())
}

/// What one tenant has and loses.
#[derive(Debug, Default)]
struct Balance {
    shown: String,
    removed: usize,
    added: usize,
    staying: usize,
}

/// The losses that are too large: of each tenant, or else of all together. As on a server, rules
/// and attributes that are added make up for others that are removed; users do not.
pub fn shrinks<T: Item>(
    plan: &Plan<T>,
    outside: &Outside,
    limit: MaxShrink,
    options: &Conventions,
) -> Vec<Shrink> {
    let mut tenants: HashMap<Folded, Balance> = HashMap::new();
    for item in plan.removed() {
        let balance = tenants.entry(fold(item, options)).or_default();
        balance.removed += 1;
        balance.shown = item.domain().shown().into_owned();
    }
    if tenants.is_empty() {
        return Vec::new();
    }
    let mut whole = Balance { staying: outside.tenants.values().sum(), ..Balance::default() };
    for item in plan.staying() {
        whole.staying += 1;
        if let Some(balance) = tenants.get_mut(&fold(item, options)) {
            balance.staying += 1;
        }
    }
    for item in plan.added() {
        whole.added += 1;
        if let Some(balance) = tenants.get_mut(&fold(item, options)) {
            balance.added += 1;
        }
    }
    for (tenant, balance) in &mut tenants {
        balance.staying += outside.tenants.get(tenant).copied().unwrap_or_default();
        whole.removed += balance.removed;
    }
    let mut found: Vec<Shrink> =
        tenants.into_values().filter_map(|balance| balance.shrink::<T>(limit, false)).collect();
    found.sort_by(|one, other| one.what.cmp(&other.what));
    if found.is_empty() {
        found.extend(whole.shrink::<T>(limit, true));
    }
    if found.is_empty() {
        found.extend(default_rules(plan, outside, limit));
    }
    found
}

impl Balance {
    fn shrink<T: Item>(&self, limit: MaxShrink, is_whole: bool) -> Option<Shrink> {
        let made_up = if T::IS_UNIQUE { 0 } else { self.added };
        let (lost, of) = (self.removed.saturating_sub(made_up), self.removed + self.staying);
        let is_large = limit.forbids(lost, of) || T::IS_UNIQUE && !is_whole && limit.forbids_all(lost, of);
        is_large.then(|| {
            let whose = match (is_whole, &*self.shown) {
                (true, _) => "in all".into(),
                (false, "") => "for all tenants".into(),
                (false, domain) => format!("of {domain}"),
            };
            Shrink { what: format!("{} {whose}", T::NOUN), lost, of }
        })
    }
}

/// The loss of every rule for everyone.
fn default_rules<T: Item>(plan: &Plan<T>, outside: &Outside, limit: MaxShrink) -> Option<Shrink> {
    let removed = plan.removed().filter(|item| item.is_default()).count();
    let left = plan.staying().chain(plan.added()).filter(|item| item.is_default()).count();
    let is_large = left + outside.defaults == 0 && limit.forbids_all(removed, removed);
    is_large.then(|| Shrink { what: "rules for everyone".into(), lost: removed, of: removed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::{Cell, RuleRow, UserRow};

    fn user((at, (name, domain)): (usize, &(&str, &str))) -> UserRow {
        UserRow::from_cells(at as i64, [(*name).into(), (*domain).into(), Cell::from("x")])
    }

    fn shrinks_of<T: Item>(there: Vec<T>, wanted: Vec<T>, outside: &Outside, most: u8) -> Vec<String> {
        let options = Conventions::default();
        let there = there.into_iter().map(|item| (item.id(), Some(item))).collect();
        let wanted = wanted.into_iter().map(|item| (0, item)).collect();
        let plan = Plan::new(there, wanted, true, &options).unwrap_or_else(|why| panic!("{why}"));
        shrinks(&plan, outside, MaxShrink(most), &options).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn users_are_lost_by_tenant_and_in_all() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let of = |domain: &'static str, count: usize| names[..count].iter().map(move |name| (*name, domain));
        let shrinks = |there: Vec<(&str, &str)>, wanted: Vec<(&str, &str)>, most| {
            let rows =
                |names: Vec<(&str, &str)>| names.iter().enumerate().map(user).collect::<Vec<UserRow>>();
            shrinks_of(rows(there), rows(wanted), &Outside::default(), most)
        };
        let six: Vec<_> = of("a.org", 6).collect();
        assert!(shrinks(six.clone(), of("A.org", 3).collect(), 50).is_empty());
        assert_eq!(shrinks(six.clone(), of("A.org", 2).collect(), 50), ["4 of 6 users of a.org"]);
        assert!(shrinks(six.clone(), of("a.org", 2).collect(), 100).is_empty());
        // New users do not make up for others.
        assert_eq!(shrinks(six, [("x", "a.org"), ("y", "a.org")].into(), 90), ["6 of 6 users of a.org"]);
        assert_eq!(shrinks(of("a.org", 1).collect(), [("x", "a.org")].into(), 99), ["1 of 1 users of a.org"]);
        // Two of three are few, and six of nine are not.
        let nine = ["a.org", "b.org", "c.org"].into_iter().flat_map(|domain| of(domain, 3)).collect();
        let three = ["a.org", "b.org", "c.org"].into_iter().flat_map(|domain| of(domain, 1)).collect();
        assert_eq!(shrinks(nine, three, 50), ["6 of 9 users in all"]);
    }

    #[test]
    fn rules_are_compared_with_all_of_their_tenant() {
        let rule = |at: usize, subject: &str, domain: &str| {
            let cells = [domain, subject, "1", "1", &*format!("k{at}"), "v"].map(Cell::from);
            RuleRow::from_cells(at as i64, cells)
        };
        let rules =
            |from: usize, to: usize| (from..to).map(|at| rule(at, "x=1", "a.org")).collect::<Vec<_>>();
        let mut outside = Outside::default();
        assert_eq!(shrinks_of(rules(0, 5), rules(0, 1), &outside, 50), ["4 of 5 rules of a.org"]);
        assert!(shrinks_of(rules(0, 5), rules(9, 13), &outside, 50).is_empty(), "others take their place");
        (0..5).for_each(|at| outside.count(&rule(at, "y=1", "A.ORG"), &Conventions::default()));
        assert!(shrinks_of(rules(0, 5), rules(0, 1), &outside, 50).is_empty());
        let default = vec![rule(1, "default", ""), rule(2, "x=1", "")];
        let one = vec![rule(2, "x=1", "")];
        assert_eq!(shrinks_of(default.clone(), one.clone(), &outside, 50), ["1 of 1 rules for everyone"]);
        outside.count(&rule(3, "Default", "b.org"), &Conventions::default());
        assert!(shrinks_of(default, one, &outside, 50).is_empty());
    }
}
