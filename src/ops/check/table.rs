//! All rules of a snapshot, sorted by property and, for each property, in the order of the rules.

use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::core::address;
use crate::core::client;
use crate::core::names::Comparison;
use crate::core::params::{Known, ParamName};
use crate::core::pattern;
use crate::core::properties;
use crate::core::rules::{RuleOrder, RuleRef, StaticKey};
use crate::core::subject::{PatternKind, TypedBy, ValueKind};
use crate::snapshot::{ALL_TENANTS, Audience, NameEntry, Snapshot, is_for_disabled};

/// Marks a subject that does not exist.
const NONE: u32 = u32::MAX;

/// The rules that are compared with each other.
pub(super) struct RuleTable<'s> {
    snapshot: &'s Snapshot,
    pub facts: Vec<Fact>,
    pub subjects: Vec<RuleSubject>,
    /// The keys, by [`Fact::property`].
    pub properties: Vec<ClientKey>,
    /// What values the subjects for parameters with patterns need, by [`Fact::subject`].
    values: HashMap<u32, NeededValue<'s>>,
    /// Users that are subjects for all tenants, by [`Fact::subject`].
    users: HashMap<u32, &'s [u8]>,
    /// The subject `default` of each tenant that has rules for it.
    everyone: HashMap<u32, u32>,
    /// Texts of the lists that are values of `provisioning.ENFORCE_PREFIX` and
    /// `ALLOW_PREFIX`, by rule.
    pub lists: HashMap<i64, String>,
}

/// One rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fact {
    pub property: u32,
    pub order: RuleOrder,
    pub subject: u32,
    /// A hash of the value: equal for equal values.
    pub value: u64,
    /// A hash of the parameters without which the rule does not apply; 0 if there are none.
    pub required: u32,
    /// Whether the rule removes the property.
    pub is_null: bool,
    /// Whether the rule can never win.
    pub is_dead: bool,
}

/// The clients to which a rule applies.
#[derive(Debug, Clone, Copy)]
pub(super) struct RuleSubject {
    pub tenant: u32,
    /// The only tenant whose requests it matches. This is `tenant`, or a narrower one.
    within: u32,
    pub who: AudienceHash,
    /// The same subject for all tenants, which matches whenever this one does.
    twin: u32,
}

/// What value of a parameter a subject needs.
#[derive(Debug, Clone, Copy)]
struct NeededValue<'s> {
    of: ValueKind,
    pattern: Option<PatternKind>,
    text: &'s [u8],
}

/// The comparable part of [`Audience`]. Names are compared by a keyed hash of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum AudienceHash {
    Everyone,
    User(u64),
    Param(u64),
    /// Users who are switched off. No other rules apply to them.
    Disabled,
    /// A pattern for the parameter with this hash.
    Pattern(u64),
}

/// A property's key, as the client reads it.
pub(super) struct ClientKey {
    /// The whole key, or the part before the first parameter.
    pub text: String,
    pub is_fixed: bool,
}

/// Builds a [`RuleTable`].
struct RuleTableBuilder<'s> {
    table: RuleTable<'s>,
    seed: RandomState,
    /// The numbers of the properties.
    properties: HashMap<StaticKey, u32>,
    /// The numbers of the subjects, by tenant and a hash of their meaning.
    subjects: HashMap<(u32, u64), u32>,
}

impl<'s> RuleTableBuilder<'s> {
    fn add(&mut self, named: NameEntry<'s>) {
        let subject = self.subject(named.tenant(), named.audience());
        for rule in named.rules().iter() {
            let properties = &mut self.table.properties;
            let property = *self.properties.entry(rule.property()).or_insert_with(|| {
                let next = properties.len();
                properties.push(ClientKey::of(rule));
                u32::try_from(next).expect("keys are fewer than four billion")
            });
            self.table.facts.push(Fact {
                property,
                order: rule.order(),
                subject,
                value: value_hash(rule, &self.seed),
                required: required(rule, &self.seed),
                is_null: is_null(rule),
                is_dead: false,
            });
            let is_list = self.table.properties[property as usize].is_list();
            if is_list && rule.value().params().next().is_none() {
                self.table.lists.insert(rule.order().id, properties::client_value(rule.value().head()));
            }
        }
    }

    /// The number of a subject. It does not depend on the spelling: `Linux` and `os=Linux` have
    /// the number of `osname=Linux`.
    fn subject(&mut self, tenant: u32, audience: Audience<'s>) -> u32 {
        let meaning = self.seed.hash_one(&audience);
        if let Some(known) = self.subjects.get(&(tenant, meaning)) {
            return *known;
        }
        let twin = self.subjects.get(&(ALL_TENANTS, meaning)).copied().unwrap_or(NONE);
        let table = &mut self.table;
        let number = u32::try_from(table.subjects.len()).expect("names are fewer than four billion");
        let mut within = tenant;
        let who = match audience {
            Audience::Everyone => {
                table.everyone.insert(tenant, number);
                AudienceHash::Everyone
            }
            Audience::User(name) => {
                if tenant == ALL_TENANTS {
                    table.users.insert(number, name);
                }
                AudienceHash::User(self.seed.hash_one(name))
            }
            Audience::Param(param, value) if is_for_disabled(&param, value) => AudienceHash::Disabled,
            Audience::Param(param, value) => {
                if tenant == ALL_TENANTS && param == TypedBy::Known(Known::Domain) {
                    within = table.snapshot.tenant_number(value).unwrap_or(tenant);
                }
                if table.snapshot.has_patterns(&param) {
                    let needed = NeededValue { of: param.value_kind(), pattern: None, text: value };
                    table.values.insert(number, needed);
                }
                AudienceHash::Param(self.seed.hash_one(param))
            }
            Audience::Pattern(param, kind, text) => {
                let needed = NeededValue { of: param.value_kind(), pattern: Some(kind), text };
                table.values.insert(number, needed);
                AudienceHash::Pattern(self.seed.hash_one(param))
            }
        };
        table.subjects.push(RuleSubject { tenant, within, who, twin });
        self.subjects.insert((tenant, meaning), number);
        number
    }
}

impl<'s> RuleTable<'s> {
    pub fn new(snapshot: &'s Snapshot) -> RuleTable<'s> {
        let table = RuleTable {
            snapshot,
            facts: Vec::with_capacity(snapshot.counts().rules),
            subjects: Vec::new(),
            properties: Vec::new(),
            values: HashMap::new(),
            users: HashMap::new(),
            everyone: HashMap::new(),
            lists: HashMap::new(),
        };
        let seed = RandomState::default();
        let mut builder =
            RuleTableBuilder { table, seed, properties: HashMap::new(), subjects: HashMap::new() };
        // The subjects for all tenants come first, because the others look for their twins.
        for of_all in [true, false] {
            let names = snapshot.named().filter(|named| (named.tenant() == ALL_TENANTS) == of_all);
            names.filter(|named| !named.rules().is_empty()).for_each(|named| builder.add(named));
        }
        let mut table = builder.table;
        table.facts.sort_unstable_by_key(|fact| (fact.property, fact.order));
        table
    }

    /// The rules of each property, as ranges of `facts`.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = self.facts.get(from)?;
            let len = self.facts[from..].iter().take_while(|fact| fact.property == first.property).count();
            let run = from..from + len;
            from = run.end;
            Some(run)
        })
    }

    pub fn subject(&self, fact: &Fact) -> RuleSubject {
        self.subjects[fact.subject as usize]
    }

    pub fn key(&self, fact: &Fact) -> &str {
        &self.properties[fact.property as usize].text
    }

    /// Whether one request may match both subjects. Two different subjects of the same parameter
    /// (`osname=Mac OS X` and the bare word `Linux`) need different values of it, so they count
    /// as never matching together. So do two usernames. Patterns may have values in common.
    pub fn may_meet(&self, one: &Fact, other: &Fact) -> bool {
        let [one, other] = [one, other].map(|fact| (fact.subject, self.subject(fact)));
        let is_of = |(number, _): (u32, RuleSubject), tenant: u32| match self.users.get(&number) {
            Some(user) if tenant != ALL_TENANTS => self.snapshot.has_user(tenant, user),
            _ => true,
        };
        one.0 == other.0
            || one.1.may_meet(other.1)
                && is_of(one, other.1.within)
                && is_of(other, one.1.within)
                && self.may_share_a_value(one, other)
    }

    /// Whether one value may match both subjects, if both need a value of the same parameter and
    /// at least one is a pattern.
    fn may_share_a_value(&self, one: (u32, RuleSubject), other: (u32, RuleSubject)) -> bool {
        use AudienceHash::{Param, Pattern};
        let is_same = match (one.1.who, other.1.who) {
            (Pattern(one), Pattern(other) | Param(other)) | (Param(one), Pattern(other)) => one == other,
            _ => false,
        };
        match (self.values.get(&one.0), self.values.get(&other.0)) {
            (Some(one), Some(other)) if is_same => one.may_be(other),
            _ => true,
        }
    }

    /// The subjects whose rules apply to every request to which `fact` applies: its own subject,
    /// the same for all tenants, and `default` of this tenant and of all tenants.
    pub fn also(&self, fact: &Fact) -> impl Iterator<Item = u32> {
        let RuleSubject { tenant, twin, who, .. } = self.subject(fact);
        let is_disabled = who == AudienceHash::Disabled;
        let everyone = |tenant| self.everyone.get(&tenant).copied().filter(|_| !is_disabled);
        let twin = (twin != NONE).then_some(twin);
        [Some(fact.subject), twin, everyone(tenant), everyone(ALL_TENANTS)].into_iter().flatten()
    }
}

impl NeededValue<'_> {
    /// Whether one value may match both.
    fn may_be(&self, other: &Self) -> bool {
        use PatternKind::{Glob, Network};
        let value = |value: &Self| String::from_utf8_lossy(value.text).into_owned();
        let network = |network: &Self| address::network(network.text);
        let is_in = |net: &Self, address: &Self| {
            network(net).zip(address::ip(address.text)).is_some_and(|(net, address)| net.contains(&address))
        };
        let is_like = |glob: &Self, text: &Self| {
            let mut is_match = false;
            text.of.each_form(&value(text), Comparison::Exact, |form| {
                is_match |= pattern::matches(glob.text, form);
            });
            is_match
        };
        match (self.pattern, other.pattern) {
            (None, None) => self.text == other.text,
            (Some(Glob), None) => is_like(self, other),
            (None, Some(Glob)) => is_like(other, self),
            (Some(Network), None) => is_in(self, other),
            (None, Some(Network)) => is_in(other, self),
            (Some(Glob), Some(Glob)) => pattern::can_both_match(self.text, other.text),
            (Some(Network), Some(Network)) => network(self)
                .zip(network(other))
                .is_some_and(|(one, other)| one.contains(&other) || other.contains(&one)),
            // They may, but that is not certain.
            (Some(Glob), Some(Network)) | (Some(Network), Some(Glob)) => false,
        }
    }
}

impl RuleSubject {
    fn may_meet(self, other: RuleSubject) -> bool {
        let tenants = [self.within, other.within];
        if tenants[0] != tenants[1] && !tenants.contains(&ALL_TENANTS) {
            return false;
        }
        match (self.who, other.who) {
            (AudienceHash::Disabled, who) | (who, AudienceHash::Disabled) => who == AudienceHash::Disabled,
            (AudienceHash::Everyone, _) | (_, AudienceHash::Everyone) => true,
            (AudienceHash::User(one), AudienceHash::User(other)) => one == other,
            (AudienceHash::Param(one), AudienceHash::Param(other)) => one != other,
            (AudienceHash::Pattern(_), _) | (_, AudienceHash::Pattern(_)) => true,
            (AudienceHash::User(_), _) | (_, AudienceHash::User(_)) => true,
        }
    }
}

impl ClientKey {
    fn of(rule: RuleRef<'_>) -> ClientKey {
        let key = rule.key();
        let read = properties::client_key(key.head().as_bytes()).unwrap_or_default();
        ClientKey { text: String::from_utf16_lossy(&read), is_fixed: key.params().next().is_none() }
    }

    fn is_list(&self) -> bool {
        self.is_fixed && matches!(&*self.text, client::ENFORCE_PREFIX | client::ALLOW_PREFIX)
    }
}

fn is_null(rule: RuleRef<'_>) -> bool {
    let value = rule.value();
    value.params().next().is_none() && properties::client_value(value.head()) == "${null}"
}

fn value_hash(rule: RuleRef<'_>, seed: &RandomState) -> u64 {
    let mut hasher = seed.build_hasher();
    rule.value().sample("\0").hash(&mut hasher);
    for ((name, _), form) in rule.value().params().zip(rule.value().forms()) {
        hash_name(name, &mut hasher);
        form.hash(&mut hasher);
    }
    hasher.finish()
}

fn required(rule: RuleRef<'_>, seed: &RandomState) -> u32 {
    let needed = rule.key().params().chain(rule.value().params()).filter(|(_, is_needed)| *is_needed);
    let mut names: Vec<String> = needed.map(|(name, _)| name.to_string()).collect();
    if names.is_empty() {
        return 0;
    }
    names.sort_unstable();
    names.dedup();
    (seed.hash_one(names) >> 32) as u32 | 1
}

fn hash_name(name: &ParamName, hasher: &mut impl Hasher) {
    match name {
        ParamName::Known(known) => (*known as u8).hash(hasher),
        name => name.to_string().hash(hasher),
    }
}
