//! Which rule wins a property, and the answer made of the winners.
//!
//! Rules are ordered by (spriority, ppriority, id). For each property key, as
//! the client will read it, the first rule that applies wins, and the answer
//! lists the winners in that order: the client acts on some properties at the
//! place where they stand.
//!
//! The rules that everyone of a tenant gets are merged once, at load, into a
//! [`RuleSet`]: one text with holes. A request whose parameters select no
//! other rule is one pass of copying; otherwise the few selected ones are laid
//! over it, and only the keys they touch are looked at.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use hashbrown::HashSet;
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

use crate::model::{Name, Params};
use crate::properties::{self, Place};
use crate::template::{Fault, Piece, Template};

/// The place of a rule among all rules, the smallest first.
///
/// `NULL` priorities sort before every number, as MySQL sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// Priority among subjects.
    pub spriority: Option<i32>,
    /// Priority among properties.
    pub ppriority: Option<i32>,
    /// The row's id, which no two rules share.
    pub id: i64,
}

/// A rule, compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its place among the others.
    pub order: Order,
    key: Arc<Key>,
    value: Template,
}

/// A property's key, compiled. Rules of one key share it.
#[derive(Debug)]
pub struct Key {
    template: Template,
    /// `None` when it depends on the request.
    id: Option<KeyId>,
}

/// Which property a rendered key is in the client's eyes. 128 bits of keyed
/// hash stand for the key: clients can choose parts of keys, but cannot know
/// what would collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct KeyId(u128);

impl KeyId {
    /// Of a key as it stands in the answer.
    fn of(written: &[u8]) -> KeyId {
        static SEED: LazyLock<(u64, u64)> = LazyLock::new(|| {
            let random = RandomState::new();
            (random.hash_one(0), random.hash_one(1))
        });
        let mut hasher = SipHasher13::new_with_keys(SEED.0, SEED.1);
        match properties::client_key(written) {
            Some(key) => std::hash::Hash::hash(&(0_u8, key), &mut hasher),
            // A comment to the client; two alike are still one too many.
            None => std::hash::Hash::hash(&(1_u8, written), &mut hasher),
        }
        KeyId(hasher.finish128().as_u128())
    }
}

impl Key {
    /// Parses the template of a key.
    pub fn parse(text: &str, fault: impl FnMut(Fault)) -> Key {
        let template = Template::parse(text, Place::Key, fault);
        let id = template.is_fixed().then(|| {
            let mut written = Vec::new();
            template.whole().render(&Params::new(), &mut written);
            KeyId::of(&written)
        });
        Key { template, id }
    }

    fn id(&self, params: &Params) -> KeyId {
        self.id.unwrap_or_else(|| {
            let mut written = Vec::new();
            self.template.whole().render(params, &mut written);
            KeyId::of(&written)
        })
    }
}

impl Rule {
    /// Makes a rule of its parts.
    pub fn new(order: Order, key: Arc<Key>, value: Template) -> Rule {
        Rule { order, key, value }
    }

    /// Bytes of memory behind it, its own size and the shared key left out.
    pub fn heap_bytes(&self) -> usize {
        self.value.heap_bytes()
    }

    fn missing<'a>(&'a self, params: &Params) -> Option<&'a Name> {
        self.key.template.whole().missing(params).or_else(|| self.value.whole().missing(params))
    }

    fn is_conditional(&self) -> bool {
        self.key.template.is_conditional() || self.value.is_conditional()
    }
}

/// A set of rules merged into one answer with holes.
#[derive(Debug, Default)]
pub struct RuleSet {
    program: Template,
    lines: Box<[Line]>,
    /// Where each key that does not depend on the request stands, sorted.
    places: Box<[(KeyId, usize)]>,
    /// Keys whose winner depends on the request.
    contested: Box<[KeyId]>,
    /// Lines whose key depends on the request.
    dynamic: Box<[(usize, Arc<Key>)]>,
}

/// One rule of a [`RuleSet`] and its stretch of the program.
#[derive(Debug)]
struct Line {
    order: Order,
    text: Range<u32>,
    holes: Range<u32>,
}

impl RuleSet {
    /// Merges `rules`, which must be in order, leaving out those that lose to
    /// another of them whatever the request.
    pub fn merge<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> RuleSet {
        let mut program = Template::builder();
        let (mut lines, mut places, mut dynamic) = (Vec::new(), Vec::new(), Vec::new());
        let (mut settled, mut contested) = (HashSet::new(), HashSet::new());
        for rule in rules {
            match rule.key.id {
                Some(id) if settled.contains(&id) => continue,
                Some(id) => {
                    if rule.is_conditional() {
                        contested.insert(id);
                    } else {
                        settled.insert(id);
                    }
                    places.push((id, lines.len()));
                }
                None => dynamic.push((lines.len(), rule.key.clone())),
            }
            let start = program.position();
            program.push(&rule.key.template);
            program.push_str("=");
            program.push(&rule.value);
            program.push_str("\n");
            let end = program.position();
            lines.push(Line { order: rule.order, text: start.0..end.0, holes: start.1..end.1 });
        }
        places.sort_unstable();
        RuleSet {
            program: program.finish(),
            lines: lines.into(),
            places: places.into(),
            contested: contested.into_iter().collect(),
            dynamic: dynamic.into(),
        }
    }

    /// How many rules are left in it.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of memory behind it.
    pub fn heap_bytes(&self) -> usize {
        let of_keys = size_of_val(&*self.places) + size_of_val(&*self.contested);
        self.program.heap_bytes() + size_of_val(&*self.lines) + of_keys
    }

    /// The lines of a key.
    fn lines_of(&self, id: KeyId) -> impl Iterator<Item = usize> {
        let first = self.places.partition_point(|(other, _)| *other < id);
        self.places[first..].iter().take_while(move |(other, _)| *other == id).map(|(_, line)| *line)
    }

    fn piece(&self, lines: Range<usize>) -> Piece<'_> {
        let (first, last) = (&self.lines[lines.start], &self.lines[lines.end - 1]);
        self.program.piece(first.text.start..last.text.end, first.holes.start..last.holes.end)
    }
}

/// A rule that did not apply, because the client did not send a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped<'a> {
    /// The rule's row.
    pub id: i64,
    /// The parameter.
    pub missing: &'a Name,
}

/// The answer to one request. It holds a password, so it does not implement
/// `Debug`.
pub struct Answer<'a> {
    /// The `.properties` text.
    pub body: Vec<u8>,
    /// The rules left out for want of a parameter.
    pub skipped: Skips<'a>,
}

type Skips<'a> = SmallVec<[Skipped<'a>; 4]>;

/// A stretch of the answer.
enum Stretch<'a> {
    Lines(Range<usize>),
    Rule(&'a Rule),
}

/// Lays `extras`, which must be in order and distinct, over `base` and renders
/// the winners. Allocates the body and, for answers of usual size, nothing
/// else.
pub fn answer<'a>(base: &'a RuleSet, extras: &[&'a Rule], params: &Params) -> Answer<'a> {
    let mut skipped = Skips::new();
    if extras.is_empty() && base.contested.is_empty() && base.dynamic.is_empty() {
        let whole = base.program.whole();
        let mut body = Vec::with_capacity(whole.len(params));
        whole.render(params, &mut body);
        return Answer { body, skipped };
    }

    let stretches = Merge::new(base, extras, params, &mut skipped).winners();
    let len = stretches.iter().map(|stretch| match stretch {
        Stretch::Lines(lines) => base.piece(lines.clone()).len(params),
        Stretch::Rule(rule) => rule.key.template.whole().len(params) + 1 + rule.value.whole().len(params) + 1,
    });
    let mut body = Vec::with_capacity(len.sum());
    for stretch in stretches {
        match stretch {
            Stretch::Lines(lines) => base.piece(lines).render(params, &mut body),
            Stretch::Rule(rule) => {
                rule.key.template.whole().render(params, &mut body);
                body.push(b'=');
                rule.value.whole().render(params, &mut body);
                body.push(b'\n');
            }
        }
    }
    Answer { body, skipped }
}

/// The work of laying extras over a base: only keys that more than one rule
/// may want are looked at, all other lines of the base have won already.
struct Merge<'a, 'r> {
    base: &'a RuleSet,
    extras: SmallVec<[(&'a Rule, KeyId); 8]>,
    params: &'r Params,
    skipped: &'r mut Skips<'a>,
    watched: Watched,
    /// The lines of watched keys, the last first.
    open: SmallVec<[(usize, KeyId); 8]>,
    /// The first line that no stretch has yet, nor will be left out.
    from: usize,
    stretches: SmallVec<[Stretch<'a>; 16]>,
}

impl<'a, 'r> Merge<'a, 'r> {
    fn new(base: &'a RuleSet, extras: &[&'a Rule], params: &'r Params, skipped: &'r mut Skips<'a>) -> Self {
        let extras: SmallVec<[_; 8]> = extras.iter().map(|rule| (*rule, rule.key.id(params))).collect();
        let mut open: SmallVec<[(usize, KeyId); 8]> =
            base.dynamic.iter().map(|(line, key)| (*line, key.id(params))).collect();
        let dynamic = open.iter().map(|(_, id)| *id);
        let watched = base.contested.iter().copied().chain(dynamic).chain(extras.iter().map(|(_, id)| *id));
        let watched = Watched::new(watched);
        open.extend(watched.ids().flat_map(|id| base.lines_of(id).map(move |line| (line, id))));
        open.sort_unstable_by(|one, other| other.cmp(one));
        Merge { base, extras, params, skipped, watched, open, from: 0, stretches: SmallVec::new() }
    }

    /// The winners in order, lines that stand together as one stretch.
    fn winners(mut self) -> SmallVec<[Stretch<'a>; 16]> {
        for (rule, id) in std::mem::take(&mut self.extras) {
            let place = self.base.lines.partition_point(|line| line.order < rule.order);
            self.settle(place);
            if self.watched.wins(id, rule.order.id, || rule.missing(self.params), self.skipped) {
                self.take(place, place);
                self.stretches.push(Stretch::Rule(rule));
            }
        }
        let end = self.base.lines.len();
        self.settle(end);
        self.take(end, end);
        self.stretches
    }

    /// Decides the open lines before `end`.
    fn settle(&mut self, end: usize) {
        while let Some((line, id)) = self.open.last().copied().filter(|(line, _)| *line < end) {
            self.open.pop();
            let missing = || self.base.piece(line..line + 1).missing(self.params);
            if !self.watched.wins(id, self.base.lines[line].order.id, missing, self.skipped) {
                self.take(line, line + 1);
            }
        }
    }

    /// Takes the lines up to `to`, and goes on at `next`.
    fn take(&mut self, to: usize, next: usize) {
        if self.from < to {
            self.stretches.push(Stretch::Lines(self.from..to));
        }
        self.from = next;
    }
}

/// The keys that more than one rule may want, and which are taken already.
struct Watched(SmallVec<[(KeyId, bool); 8]>);

impl Watched {
    fn new(ids: impl Iterator<Item = KeyId>) -> Watched {
        let mut keys: SmallVec<[(KeyId, bool); 8]> = ids.map(|id| (id, false)).collect();
        keys.sort_unstable();
        keys.dedup();
        Watched(keys)
    }

    fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// Whether the next rule in order wins the key `id`, which is watched.
    fn wins<'a>(
        &mut self,
        id: KeyId,
        rule: i64,
        missing: impl FnOnce() -> Option<&'a Name>,
        skipped: &mut Skips<'a>,
    ) -> bool {
        let found = self.0.binary_search_by_key(&id, |(id, _)| *id);
        let (_, taken) = &mut self.0[found.expect("all keys asked for are watched")];
        if *taken {
            return false;
        }
        if let Some(missing) = missing() {
            skipped.push(Skipped { id: rule, missing });
            return false;
        }
        *taken = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(order: (i32, i32, i64), key: &str, value: &str) -> Rule {
        let (spriority, ppriority, id) = order;
        let order = Order { spriority: Some(spriority), ppriority: Some(ppriority), id };
        let key = Arc::new(Key::parse(key, |_| {}));
        Rule::new(order, key, Template::parse(value, Place::Value, |_| {}))
    }

    fn params(pairs: &[(&str, &str)]) -> Params {
        [("username", "alice"), ("domain", "a.org"), ("password", "pw")]
            .into_iter()
            .chain(pairs.iter().copied())
            .collect()
    }

    fn text(base: &[Rule], extras: &[Rule], pairs: &[(&str, &str)]) -> String {
        let set = RuleSet::merge(base);
        let extras: Vec<&Rule> = extras.iter().collect();
        let answer = answer(&set, &extras, &params(pairs));
        String::from_utf8(answer.body).expect("ASCII")
    }

    #[test]
    fn a_null_priority_sorts_before_every_number() {
        let order = |spriority, ppriority, id| Order { spriority, ppriority, id };
        let sorted = [
            order(None, None, 9),
            order(None, Some(i32::MIN), 1),
            order(Some(i32::MIN), None, 1),
            order(Some(1), Some(5), 2),
            order(Some(1), Some(5), 10),
            order(Some(2), Some(-1), 1),
        ];
        assert!(sorted.is_sorted());
    }

    #[test]
    fn the_first_rule_of_a_key_wins_and_stands_at_its_own_place() {
        let base = [rule((10, 1, 1), "a", "1"), rule((10, 2, 2), "b", "2"), rule((10, 3, 3), "a", "3")];
        assert_eq!(text(&base, &[], &[]), "a=1\nb=2\n");
        assert_eq!(text(&base, &[rule((5, 0, 9), "b", "x")], &[]), "b=x\na=1\n");
        assert_eq!(text(&base, &[rule((10, 1, 9), "b", "x")], &[]), "a=1\nb=x\n");
        assert_eq!(text(&base, &[rule((10, 2, 9), "b", "x")], &[]), "a=1\nb=2\n");
        assert_eq!(text(&base, &[rule((20, 0, 9), "c", "x")], &[]), "a=1\nb=2\nc=x\n");
    }

    #[test]
    fn a_rule_without_its_parameter_leaves_the_key_to_the_next() {
        let base =
            [rule((1, 1, 1), "a", "$osname"), rule((1, 1, 2), "a", "$arch"), rule((1, 1, 3), "a", "z")];
        assert_eq!(text(&base, &[], &[("osname", "Linux")]), "a=Linux\n");
        assert_eq!(text(&base, &[], &[("arch", "arm")]), "a=arm\n");
        assert_eq!(text(&base, &[], &[]), "a=z\n");
        let set = RuleSet::merge(&base);
        let answer = answer(&set, &[], &params(&[]));
        assert_eq!(answer.skipped.iter().map(|skipped| skipped.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(answer.skipped[0].missing.to_string(), "osname");
    }

    #[test]
    fn keys_are_compared_as_the_client_reads_them() {
        let base = [
            rule((1, 1, 1), "acc.$username", "1"),
            rule((1, 1, 2), "acc.alice", "2"),
            rule((1, 1, 3), "acc\\u002Ealice", "3"),
            rule((1, 1, 4), " acc.alice", "4"),
            rule((1, 1, 5), "acc.bob", "5"),
        ];
        assert_eq!(text(&base, &[], &[]), "acc.alice=1\nacc.bob=5\n");
        assert_eq!(
            text(&base[1..], &[rule((0, 0, 9), "acc.$x", "x")], &[("x", "bob")]),
            "acc.bob=x\nacc.alice=2\n"
        );
    }

    #[test]
    fn null_on_a_subtree_precedes_what_is_set_inside_it() {
        let base = [rule((1, 1, 1), "acc", "${null}"), rule((1, 2, 2), "acc.x", "1")];
        assert_eq!(text(&base, &[rule((1, 1, 3), "acc.y", "2")], &[]), "acc=${null}\nacc.y=2\nacc.x=1\n");
    }

    /// What the spec says, word for word, without any of the shortcuts.
    fn reference(base: &[Rule], extras: &[Rule], params: &Params) -> String {
        let mut all: Vec<&Rule> = base.iter().chain(extras).collect();
        all.sort_by_key(|rule| rule.order);
        let (mut taken, mut out) = (Vec::new(), Vec::new());
        for rule in all {
            if rule.missing(params).is_some() {
                continue;
            }
            let mut key = Vec::new();
            rule.key.template.whole().render(params, &mut key);
            let seen = properties::client_key(&key);
            if taken.contains(&seen) {
                continue;
            }
            taken.push(seen);
            out.extend(key);
            out.push(b'=');
            rule.value.whole().render(params, &mut out);
            out.push(b'\n');
        }
        String::from_utf8(out).expect("ASCII")
    }

    fn any_rules(ids: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Rule>> {
        let key = prop::sample::select(vec![
            "a",
            "b",
            "c",
            "d.e",
            " a",
            "\\u0061",
            "$osname",
            "x.$username",
            "x.alice",
            "${arch}",
            "${arch:-a}",
        ]);
        let value = prop::sample::select(vec!["1", "", "$osname", "${arch:-z}", "$username", "${null}", "é"]);
        let order = (0..3, 0..3, ids);
        prop::collection::vec((order, key, value), 0..12).prop_map(|rules| {
            let mut ids = HashSet::new();
            let mut rules: Vec<Rule> = rules
                .into_iter()
                .filter(|(order, ..)| ids.insert(order.2))
                .map(|(order, key, value)| rule(order, key, value))
                .collect();
            rules.sort_by_key(|rule| rule.order);
            rules
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_answer_is_that_of_the_plain_algorithm(
            base in any_rules(0..40),
            extras in any_rules(40..80),
            osname in prop::option::of(prop::sample::select(vec!["a", "b", "x.alice", "q"])),
            arch in prop::option::of(prop::sample::select(vec!["a", "d.e", ""])),
        ) {
            let pairs: Vec<_> = osname.map(|v| ("osname", v)).into_iter().chain(arch.map(|v| ("arch", v))).collect();
            prop_assert_eq!(text(&base, &extras, &pairs), reference(&base, &extras, &params(&pairs)));
        }
    }
}
