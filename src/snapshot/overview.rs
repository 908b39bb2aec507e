//! Lists rules and tenants in pages, for operators. A page copies nothing but itself.

use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::kind::{OtherParam, SubjectKind};
use super::marks::HAS_RULES;
use super::{EVERYWHERE, Entry, Snapshot, Tenant};
use crate::core::attributes::{AttributeRef, Attributes};
use crate::core::names::Folded;
use crate::core::params::Known;
use crate::core::rules::RuleRef;
use crate::core::subject::{PatternKind, Subject, TypedBy};

/// How many keys are remembered while rules are searched by key.
const KEYS_KNOWN: usize = 4096;

/// Which rules to list.
#[derive(Debug, Clone, Default)]
pub struct RuleFilter {
    /// Those of this tenant, folded; empty for rules for all tenants.
    pub domain: Option<Folded>,
    /// Those of these tenants, folded, and those for all tenants.
    pub only: Option<Vec<String>>,
    /// Those with this subject.
    pub subject: Option<Subject>,
    /// Those whose key contains this, in any case.
    pub key: Option<String>,
    /// Those whose subject is this user: the folded domain and the folded name.
    pub user: Option<[Folded; 2]>,
}

/// A page of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page<T> {
    /// In ascending order.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: usize,
    /// Whether there are later ones.
    pub are_more: bool,
}

/// A tenant and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantSummary {
    /// The folded domain; empty for all tenants.
    pub domain: String,
    /// Its users.
    pub users: usize,
    /// Its rules.
    pub rules: usize,
    /// Its attributes and those of its users.
    pub attributes: usize,
}

/// The smallest `most` of `all`.
fn page<T: Ord>(all: impl Iterator<Item = T>, most: usize) -> (Vec<T>, bool) {
    let mut smallest = BinaryHeap::with_capacity(most + 1);
    let mut are_more = false;
    for one in all {
        if smallest.len() < most {
            smallest.push(one);
            continue;
        }
        are_more = true;
        if smallest.peek().is_some_and(|largest| one < *largest) {
            smallest.pop();
            smallest.push(one);
        }
    }
    (smallest.into_sorted_vec(), are_more)
}

impl Snapshot {
    /// The ids of the rules that `filter` takes and that are larger than `after`, at most `most`.
    pub fn rules(&self, filter: &RuleFilter, after: i64, most: usize) -> Page<i64> {
        let Some(wanted) = self.wanted(filter) else { return Page::default() };
        let mut known = HashMap::new();
        let part = filter.key.as_ref().map(|part| part.to_ascii_lowercase().into_bytes());
        let mut total = 0;
        let entries = self.names.marked(HAS_RULES).map(|(_, entry)| entry);
        let rules = entries.filter(|entry| wanted.takes(entry)).flat_map(|entry| entry.rules.iter());
        let rules = rules.filter(|rule| part.as_ref().is_none_or(|part| has_key(*rule, part, &mut known)));
        let ids = rules.map(|rule| rule.order().id).inspect(|_| total += 1).filter(|id| *id > after);
        let (items, are_more) = page(ids, most);
        Page { items, total, are_more }
    }

    /// `None` if no rule can be wanted.
    fn wanted(&self, filter: &RuleFilter) -> Option<Wanted> {
        let number = |domain: &[u8]| match domain {
            b"" => Some(EVERYWHERE),
            domain => self.tenant_number(domain),
        };
        let mut tenants = match &filter.only {
            Some(only) => {
                let own = only.iter().filter_map(|domain| self.tenant_number(domain.as_bytes()));
                Some(own.chain([EVERYWHERE]).collect::<Vec<u32>>())
            }
            None => None,
        };
        let mut narrow = |to: &[u32]| match &mut tenants {
            Some(tenants) => tenants.retain(|number| to.contains(number)),
            None => tenants = Some(to.to_vec()),
        };
        if let Some(domain) = &filter.domain {
            narrow(&[number(domain)?]);
        }
        let mut places = None;
        if let Some([domain, name]) = &filter.user {
            narrow(&[number(domain).unwrap_or(EVERYWHERE), EVERYWHERE]);
            let typed = (SubjectKind::known(Known::Username), name.clone());
            places = Some(vec![(SubjectKind::WORD, name.clone()), typed]);
        }
        let subject = match &filter.subject {
            Some(subject) => Some(self.place_of(subject)?),
            None => None,
        };
        Some(Wanted { tenants, places, subject })
    }

    /// Where the rules of a subject are. `None` if there are none.
    fn place_of(&self, subject: &Subject) -> Option<(SubjectKind, Folded)> {
        let other = |by: &TypedBy, pattern: Option<PatternKind>| {
            let wanted = OtherParam { by: by.clone(), pattern };
            SubjectKind::other(self.others.iter().position(|other| *other == wanted)?)
        };
        Some(match subject {
            Subject::Everyone => (SubjectKind::EVERYONE, Folded::default()),
            Subject::Word(name) => (SubjectKind::WORD, name.clone()),
            Subject::Param(TypedBy::Known(known), value) => (SubjectKind::known(*known), value.clone()),
            Subject::Param(by, value) => (other(by, None)?, value.clone()),
            Subject::Pattern(by, kind, pattern) => (other(by, Some(*kind))?, pattern.clone()),
        })
    }

    /// The tenants whose domain has the folded text `part` and is larger than `after`, at most
    /// `most`. `only` are the folded domains to list, `None` for all.
    pub fn tenants(
        &self,
        part: &[u8],
        only: Option<&[String]>,
        after: &str,
        most: usize,
    ) -> Page<TenantSummary> {
        let is_seen = |name: &[u8]| {
            only.is_none_or(|only| only.iter().any(|domain| domain.as_bytes() == name))
                && memchr::memmem::find(name, part).is_some()
        };
        let mut total = 0;
        let all = self.tenants.iter().filter(|tenant| is_seen(&tenant.name)).inspect(|_| total += 1);
        let later = all.filter(|tenant| &*tenant.name > after.as_bytes()).map(|tenant| &*tenant.name);
        let (names, are_more) = page(later, most);
        let items = names.into_iter().filter_map(|name| self.tenant(name)).map(Tenant::summary).collect();
        Page { items, total, are_more }
    }

    /// What belongs to the tenant with this folded domain, or to all tenants if that is empty, and
    /// its own attributes.
    pub fn tenant_summary(&self, domain: &[u8]) -> Option<(TenantSummary, Vec<AttributeRef<'_>>)> {
        let tenant = if domain.is_empty() { &self.everywhere } else { self.tenant(domain)? };
        let own = tenant.default.as_deref().and_then(Entry::attributes);
        Some((tenant.summary(), own.into_iter().flat_map(Attributes::iter).collect()))
    }
}

impl Tenant {
    fn summary(&self) -> TenantSummary {
        TenantSummary {
            domain: String::from_utf8_lossy(&self.name).into_owned(),
            users: self.users,
            rules: self.subjects.all,
            attributes: self.attributes,
        }
    }
}

/// A [`RuleFilter`] in the terms of the index.
struct Wanted {
    tenants: Option<Vec<u32>>,
    places: Option<Vec<(SubjectKind, Folded)>>,
    subject: Option<(SubjectKind, Folded)>,
}

impl Wanted {
    fn takes(&self, entry: &Entry) -> bool {
        let is_it = |(kind, name): &(SubjectKind, Folded)| *kind == entry.kind && **name == *entry.name;
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&entry.tenant))
            && self.places.as_ref().is_none_or(|places| places.iter().any(is_it))
            && self.subject.as_ref().is_none_or(is_it)
    }
}

/// Whether the key of a rule contains `part`, which is in lower case. Many rules share a key.
fn has_key(rule: RuleRef<'_>, part: &[u8], known: &mut HashMap<usize, bool>) -> bool {
    let address = rule.key_address();
    if let Some(known) = known.get(&address) {
        return *known;
    }
    let key = rule.key().sample("${}").to_ascii_lowercase();
    let has = memchr::memmem::find(key.as_bytes(), part).is_some();
    if known.len() < KEYS_KNOWN {
        known.insert(address, has);
    }
    has
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::conventions::Conventions;
    use crate::core::model::{Cell, Row, RuleRow, UserRow};
    use crate::snapshot::Writer;

    #[test]
    fn rules_and_tenants_are_listed_in_pages() {
        let options = Conventions::default();
        let user = |id, name: &str, domain: &str| {
            Row::User(UserRow::from_cells(id, [name.into(), domain.into(), "pw".into()]))
        };
        let rule = |id, domain: Cell, subject: &str, key: &str| {
            let cells = [domain, subject.into(), 1.into(), 1.into(), key.into(), "v".into()];
            Row::Rule(RuleRow::from_cells(id, cells))
        };
        let rows = [
            user(1, "alice", "a.org"),
            user(2, "bob", "b.org"),
            rule(1, Cell::Null, "default", "net.A"),
            rule(2, "a.org".into(), "alice", "net.B"),
            rule(3, "b.org".into(), "osname=Linux*", "net.${osname}.C"),
            rule(4, "b.org".into(), "os=linux", "org.a"),
            rule(5, Cell::Null, "username=alice", "net.B"),
        ];
        let (snapshot, _) = Writer::build(options.clone(), rows);
        let fold = |text: &str| snapshot.fold(text);
        let filters = [
            (RuleFilter::default(), vec![1, 2, 3, 4, 5]),
            (RuleFilter { domain: Some(fold("B.org")), ..RuleFilter::default() }, vec![3, 4]),
            (RuleFilter { domain: Some(fold("")), ..RuleFilter::default() }, vec![1, 5]),
            (RuleFilter { domain: Some(fold("c.org")), ..RuleFilter::default() }, vec![]),
            (RuleFilter { only: Some(vec!["a.org".into()]), ..RuleFilter::default() }, vec![1, 2, 5]),
            (RuleFilter { subject: options.subject("osname=LINUX*"), ..RuleFilter::default() }, vec![3]),
            (RuleFilter { subject: options.subject("osname=Linux"), ..RuleFilter::default() }, vec![4]),
            (RuleFilter { subject: options.subject("default"), ..RuleFilter::default() }, vec![1]),
            (RuleFilter { key: Some("NET.".into()), ..RuleFilter::default() }, vec![1, 2, 3, 5]),
            (RuleFilter { user: Some([fold("a.org"), fold("Alice")]), ..RuleFilter::default() }, vec![2, 5]),
        ];
        for (filter, expected) in filters {
            let found = snapshot.rules(&filter, 0, 50);
            assert_eq!((found.total, found.are_more), (expected.len(), false), "{filter:?}");
            assert_eq!(found.items, expected, "{filter:?}");
        }
        let found = snapshot.rules(&RuleFilter::default(), 1, 2);
        assert_eq!((found.items, found.total, found.are_more), (vec![2, 3], 5, true));
        let summary =
            |domain: &str, users, rules| TenantSummary { domain: domain.into(), users, rules, attributes: 0 };
        let all = snapshot.tenants(b"", None, "", 1);
        assert_eq!((all.items, all.total, all.are_more), (vec![summary("a.org", 1, 1)], 2, true));
        let later = snapshot.tenants(b"org", None, "a.org", 1);
        assert_eq!((later.items, later.are_more), (vec![summary("b.org", 1, 2)], false));
        assert_eq!(snapshot.tenants(b"", Some(&["b.org".into()]), "", 9).total, 1);
        assert_eq!(snapshot.tenant_summary(b"").expect("always").0.rules, 2);
    }
}
