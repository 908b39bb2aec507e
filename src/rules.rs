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

use hashbrown::{HashMap, HashSet};
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
    /// Keys whose winner depends on the request, sorted.
    contested: Box<[KeyId]>,
    /// Lines whose key depends on the request.
    dynamic: Box<[(usize, Arc<Key>)]>,
}

/// One rule of a [`RuleSet`] and its stretch of the program.
#[derive(Debug)]
struct Line {
    order: Order,
    /// `None` when it depends on the request.
    key: Option<KeyId>,
    text: Range<u32>,
    holes: Range<u32>,
}

impl RuleSet {
    /// Merges `rules`, which must be in order, leaving out those that lose to
    /// another of them whatever the request.
    pub fn merge<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> RuleSet {
        let mut program = Template::builder();
        let (mut lines, mut dynamic) = (Vec::new(), Vec::new());
        let mut settled = HashSet::new();
        let mut seen: HashMap<KeyId, bool> = HashMap::new();
        for rule in rules {
            match rule.key.id {
                Some(id) if settled.contains(&id) => continue,
                Some(id) => {
                    if rule.is_conditional() {
                        seen.insert(id, true);
                    } else {
                        settled.insert(id);
                        seen.entry(id).or_insert(false);
                    }
                }
                None => dynamic.push((lines.len(), rule.key.clone())),
            }
            let start = program.position();
            program.push(&rule.key.template);
            program.push_str("=");
            program.push(&rule.value);
            program.push_str("\n");
            let end = program.position();
            let (text, holes) = (start.0..end.0, start.1..end.1);
            lines.push(Line { order: rule.order, key: rule.key.id, text, holes });
        }
        let contested = seen.into_iter().filter_map(|(id, contested)| contested.then_some(id));
        let mut contested: Vec<KeyId> = contested.collect();
        contested.sort_unstable();
        RuleSet {
            program: program.finish(),
            lines: lines.into(),
            contested: contested.into(),
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
        self.program.heap_bytes() + size_of_val(&*self.lines) + size_of_val(&*self.contested)
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

/// The answer to one request.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The `.properties` text.
    pub body: Vec<u8>,
    /// The rules left out for want of a parameter.
    pub skipped: SmallVec<[Skipped<'a>; 4]>,
}

/// A stretch of the answer.
enum Stretch<'a> {
    Lines(Range<usize>),
    Rule(&'a Rule),
}

/// Lays `extras`, which must be in order and distinct, over `base` and renders
/// the winners. Allocates the body and, for answers of usual size, nothing
/// else.
pub fn answer<'a>(base: &'a RuleSet, extras: &[&'a Rule], params: &Params) -> Answer<'a> {
    let mut skipped = SmallVec::new();
    if extras.is_empty() && base.contested.is_empty() && base.dynamic.is_empty() {
        let whole = base.program.whole();
        let mut body = Vec::with_capacity(whole.len(params));
        whole.render(params, &mut body);
        return Answer { body, skipped };
    }

    let stretches = winners(base, extras, params, &mut skipped);
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

/// The winners in order, base lines that stand together as one stretch.
fn winners<'a>(
    base: &'a RuleSet,
    extras: &[&'a Rule],
    params: &Params,
    skipped: &mut SmallVec<[Skipped<'a>; 4]>,
) -> SmallVec<[Stretch<'a>; 32]> {
    let dynamic: SmallVec<[(usize, KeyId); 4]> =
        base.dynamic.iter().map(|(line, key)| (*line, key.id(params))).collect();
    let extra_ids: SmallVec<[KeyId; 16]> = extras.iter().map(|rule| rule.key.id(params)).collect();
    let mut watched = Watched::new(
        base.contested.iter().chain(dynamic.iter().map(|(_, id)| id)).chain(&extra_ids).copied(),
    );

    let mut stretches: SmallVec<[Stretch<'a>; 32]> = SmallVec::new();
    let mut run = 0..0;
    let mut dynamic = dynamic.into_iter();
    let mut extras = extras.iter().zip(extra_ids).peekable();
    for (at, line) in base.lines.iter().enumerate() {
        while let Some((rule, id)) = extras.next_if(|(rule, _)| rule.order < line.order) {
            if watched.wins(id, rule.order.id, || rule.missing(params), skipped) {
                flush(&mut run, &mut stretches);
                stretches.push(Stretch::Rule(rule));
            }
        }
        let id = line.key.or_else(|| dynamic.next().map(|(_, id)| id)).expect("each dynamic line has an id");
        let missing = || base.piece(at..at + 1).missing(params);
        if watched.wins(id, line.order.id, missing, skipped) {
            if run.end != at {
                flush(&mut run, &mut stretches);
                run = at..at;
            }
            run.end = at + 1;
        }
    }
    flush(&mut run, &mut stretches);
    for (rule, id) in extras {
        if watched.wins(id, rule.order.id, || rule.missing(params), skipped) {
            stretches.push(Stretch::Rule(rule));
        }
    }
    stretches
}

fn flush(run: &mut Range<usize>, stretches: &mut SmallVec<[Stretch<'_>; 32]>) {
    if run.start < run.end {
        stretches.push(Stretch::Lines(run.clone()));
    }
    *run = run.end..run.end;
}

/// The keys that more than one rule may want, and which are taken already.
struct Watched {
    keys: SmallVec<[(KeyId, bool); 32]>,
    /// One bit for each key, by its last six bits: most keys of a base are not
    /// watched, and this tells it without a search.
    mask: u64,
}

impl Watched {
    fn new(ids: impl Iterator<Item = KeyId>) -> Watched {
        let mut keys: SmallVec<[(KeyId, bool); 32]> = ids.map(|id| (id, false)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mask = keys.iter().fold(0, |mask, (id, _)| mask | Self::bit(*id));
        Watched { keys, mask }
    }

    fn bit(id: KeyId) -> u64 {
        1 << (id.0 as u64 & 63)
    }

    /// Whether the next rule in order wins the key `id`.
    fn wins<'a>(
        &mut self,
        id: KeyId,
        rule: i64,
        missing: impl FnOnce() -> Option<&'a Name>,
        skipped: &mut SmallVec<[Skipped<'a>; 4]>,
    ) -> bool {
        if self.mask & Self::bit(id) == 0 {
            return true;
        }
        let Ok(at) = self.keys.binary_search_by_key(&id, |(id, _)| *id) else {
            return true;
        };
        if self.keys[at].1 {
            return false;
        }
        if let Some(missing) = missing() {
            skipped.push(Skipped { id: rule, missing });
            return false;
        }
        self.keys[at].1 = true;
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
