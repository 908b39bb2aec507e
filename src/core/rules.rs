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

mod trace;

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use hashbrown::HashSet;
use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;

pub use trace::{RuleOutcome, trace};

use crate::core::params::{ParamName, Params};
use crate::core::properties::{self, Side};
use crate::core::template::{Fault, Template, TemplatePiece};

/// The place of a rule among all rules, the smallest first.
///
/// `NULL` priorities sort before every number, as MySQL sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleOrder {
    /// Priority among subjects.
    pub spriority: Option<i32>,
    /// Priority among properties.
    pub ppriority: Option<i32>,
    /// The row's id, which no two rules share.
    pub id: i64,
}

/// A rule, compiled.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Its place among the others.
    pub order: RuleOrder,
    /// The property it sets.
    pub key: Arc<CompiledKey>,
    /// What to.
    pub value: Template,
}

/// The rules of one subject, in order, their values in one text.
///
/// Values may hold passwords, so `Debug` shows how many there are.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Rules {
    stored: Box<[StoredRule]>,
    values: Template,
}

#[derive(Clone, PartialEq, Eq)]
struct StoredRule {
    order: RuleOrder,
    key: Arc<CompiledKey>,
    /// Where its value ends in text and holes of all values; it begins where
    /// the one before ends.
    end: (u32, u32),
}

/// One of [`Rules`].
#[derive(Clone, Copy)]
pub struct RuleRef<'a> {
    rules: &'a Rules,
    at: usize,
}

/// A property's key, compiled. Rules of one key share it.
#[derive(Debug, PartialEq, Eq)]
pub struct CompiledKey {
    template: Template,
    /// `None` when it depends on the request.
    id: Option<KeyId>,
}

/// What a key comes to, without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StaticKey {
    /// The same for every request.
    Fixed(KeyId),
    /// It depends on the request, and is the same for rules that share the key.
    Dynamic(usize),
}

/// Which property a rendered key is in the client's eyes. 128 bits of keyed
/// hash stand for the key: clients can choose parts of keys, but cannot know
/// what would collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId(u128);

impl KeyId {
    /// Of a key as it stands in the answer to a request.
    fn of(key: &Template, params: &Params) -> KeyId {
        static SEED: LazyLock<(u64, u64)> = LazyLock::new(|| {
            let random = RandomState::new();
            (random.hash_one(0), random.hash_one(1))
        });
        let mut written = Vec::new();
        key.whole().render(params, &mut written);
        let mut hasher = SipHasher13::new_with_keys(SEED.0, SEED.1);
        match properties::client_key(&written) {
            Some(key) => std::hash::Hash::hash(&(0_u8, key), &mut hasher),
            // A comment to the client; two alike are still one too many.
            None => std::hash::Hash::hash(&(1_u8, written), &mut hasher),
        }
        KeyId(hasher.finish128().as_u128())
    }
}

/// What keys that are one property have in common: what Java reads, or the text
/// of a comment, and the parameters in it with what stands for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyIdentity(Result<Vec<u16>, Vec<u8>>, Vec<(ParamName, Option<Box<str>>)>);

impl CompiledKey {
    /// Parses the template of a key.
    pub fn parse(text: &str, fault: impl FnMut(Fault)) -> CompiledKey {
        let template = Template::parse(text, Side::Key, fault);
        let id = template.is_fixed().then(|| KeyId::of(&template, &Params::new()));
        CompiledKey { template, id }
    }

    /// What it has in common with keys that are always the same property to
    /// clients, however they are written.
    pub fn identity(&self) -> KeyIdentity {
        let key = self.template.whole();
        let sample = key.sample("\\uE000").into_bytes();
        let key_read = properties::client_key(&sample).ok_or(sample);
        let names = key.params().map(|(name, _)| name.clone());
        let fallbacks = key.fallbacks().map(|fallback| fallback.map(Box::from));
        KeyIdentity(key_read, names.zip(fallbacks).collect())
    }

    fn id(&self, params: &Params) -> KeyId {
        self.id.unwrap_or_else(|| KeyId::of(&self.template, params))
    }
}

impl Rules {
    /// The same list without the rules of some rows, and with `more`.
    pub fn with(&self, is_gone: impl Fn(i64) -> bool, more: Vec<Compiled>) -> Rules {
        enum Either<'a> {
            Old(RuleRef<'a>),
            New(Compiled),
        }
        let old = self.iter().filter(|rule| !is_gone(rule.order().id)).map(Either::Old);
        let mut all: Vec<Either<'_>> = old.chain(more.into_iter().map(Either::New)).collect();
        all.sort_unstable_by_key(|rule| match rule {
            Either::Old(rule) => rule.order(),
            Either::New(rule) => rule.order,
        });
        let mut values = Template::builder();
        let stored = all.into_iter().map(|rule| {
            let (order, key) = match rule {
                Either::Old(rule) => {
                    values.push(rule.value());
                    (rule.order(), rule.stored().key.clone())
                }
                Either::New(Compiled { order, key, value }) => {
                    values.push(value.whole());
                    (order, key)
                }
            };
            StoredRule { order, key, end: values.position() }
        });
        Rules { stored: stored.collect(), values: values.finish() }
    }

    /// Whether the rule of a row is among them.
    pub fn has(&self, id: i64) -> bool {
        self.stored.iter().any(|stored| stored.order.id == id)
    }

    /// The rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = RuleRef<'_>> {
        (0..self.stored.len()).map(|at| RuleRef { rules: self, at })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Bytes of memory behind it, its own size and the shared keys left out.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.stored) + self.values.heap_bytes()
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rules({})", self.len())
    }
}

impl<'a> RuleRef<'a> {
    /// Its place among all rules.
    pub fn order(self) -> RuleOrder {
        self.stored().order
    }

    /// Whether it is the same rule of the same list.
    pub fn is(self, other: RuleRef<'_>) -> bool {
        std::ptr::eq(self.stored(), other.stored())
    }

    fn stored(self) -> &'a StoredRule {
        &self.rules.stored[self.at]
    }

    /// Which property it sets: of two rules with the same, a client gets one.
    pub(crate) fn property(self) -> StaticKey {
        let key = &self.stored().key;
        key.id.map_or_else(|| StaticKey::Dynamic(self.key_address()), StaticKey::Fixed)
    }

    /// The same for rules that share the text of their key.
    pub(crate) fn key_address(self) -> usize {
        Arc::as_ptr(&self.stored().key).addr()
    }

    /// The template of its key.
    pub(crate) fn key(self) -> TemplatePiece<'a> {
        self.stored().key.template.whole()
    }

    /// The template of its value.
    pub(crate) fn value(self) -> TemplatePiece<'a> {
        let start = self.at.checked_sub(1).map_or((0, 0), |before| self.rules.stored[before].end);
        let end = self.stored().end;
        self.rules.values.piece(start.0..end.0, start.1..end.1)
    }

    fn missing(self, params: &Params) -> Option<&'a ParamName> {
        self.key().missing(params).or_else(|| self.value().missing(params))
    }

    fn is_conditional(self) -> bool {
        self.key().is_conditional() || self.value().is_conditional()
    }
}

/// A set of rules merged into one answer with holes.
#[derive(Debug, PartialEq, Eq)]
pub struct RuleSet {
    program: Template,
    lines: Box<[AnswerLine]>,
    /// Where each key that does not depend on the request stands, sorted.
    places: Box<[(KeyId, usize)]>,
    /// Keys whose winner depends on the request.
    contested: Box<[KeyId]>,
    /// Lines whose key depends on the request.
    dynamic: Box<[(usize, Arc<CompiledKey>)]>,
}

/// One rule of a [`RuleSet`] and its stretch of the program.
#[derive(Debug, PartialEq, Eq)]
struct AnswerLine {
    order: RuleOrder,
    text: Range<u32>,
    holes: Range<u32>,
}

impl RuleSet {
    /// Merges `rules`, which must be in order, leaving out those that lose to
    /// another of them whatever the request.
    pub fn merge<'r>(rules: impl IntoIterator<Item = RuleRef<'r>>) -> RuleSet {
        let mut program = Template::builder();
        let (mut lines, mut places, mut dynamic) = (Vec::new(), Vec::new(), Vec::new());
        let (mut settled, mut contested) = (HashSet::new(), HashSet::new());
        for rule in rules {
            let key = &rule.stored().key;
            match key.id {
                Some(id) if settled.contains(&id) => continue,
                Some(id) => {
                    if rule.is_conditional() {
                        contested.insert(id);
                    } else {
                        settled.insert(id);
                    }
                    places.push((id, lines.len()));
                }
                None => dynamic.push((lines.len(), key.clone())),
            }
            let start = program.position();
            program.push(rule.key());
            program.push_str("=");
            program.push(rule.value());
            program.push_str("\n");
            let end = program.position();
            lines.push(AnswerLine { order: rule.order(), text: start.0..end.0, holes: start.1..end.1 });
        }
        places.sort_unstable();
        let mut contested: Box<[KeyId]> = contested.into_iter().collect();
        contested.sort_unstable();
        RuleSet {
            program: program.finish(),
            lines: lines.into(),
            places: places.into(),
            contested,
            dynamic: dynamic.into(),
        }
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

    fn piece(&self, lines: Range<usize>) -> TemplatePiece<'_> {
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
    pub missing: &'a ParamName,
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
    Rule(RuleRef<'a>),
}

/// Lays `extras`, which must be in order and distinct, over `base` and renders
/// the winners. Allocates the body and, for answers of usual size, nothing
/// else.
pub fn answer<'a>(base: &'a RuleSet, extras: &[RuleRef<'a>], params: &Params) -> Answer<'a> {
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
        Stretch::Rule(rule) => rule.key().len(params) + 1 + rule.value().len(params) + 1,
    });
    let mut body = Vec::with_capacity(len.sum());
    for stretch in stretches {
        match stretch {
            Stretch::Lines(lines) => base.piece(lines).render(params, &mut body),
            Stretch::Rule(rule) => {
                rule.key().render(params, &mut body);
                body.push(b'=');
                rule.value().render(params, &mut body);
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
    extras: SmallVec<[(RuleRef<'a>, KeyId); 8]>,
    params: &'r Params,
    skipped: &'r mut Skips<'a>,
    watched: KeyClaims,
    /// The lines of watched keys, the last first.
    open: SmallVec<[(usize, KeyId); 8]>,
    /// The first line that no stretch has yet, nor will be left out.
    from: usize,
    stretches: SmallVec<[Stretch<'a>; 16]>,
}

impl<'a, 'r> Merge<'a, 'r> {
    fn new(
        base: &'a RuleSet,
        extras: &[RuleRef<'a>],
        params: &'r Params,
        skipped: &'r mut Skips<'a>,
    ) -> Self {
        let extras: SmallVec<[_; 8]> =
            extras.iter().map(|rule| (*rule, rule.stored().key.id(params))).collect();
        let mut open: SmallVec<[(usize, KeyId); 8]> =
            base.dynamic.iter().map(|(line, key)| (*line, key.id(params))).collect();
        let dynamic = open.iter().map(|(_, id)| *id);
        let watched = base.contested.iter().copied().chain(dynamic).chain(extras.iter().map(|(_, id)| *id));
        let watched = KeyClaims::new(watched);
        open.extend(watched.ids().flat_map(|id| base.lines_of(id).map(move |line| (line, id))));
        open.sort_unstable_by(|one, other| other.cmp(one));
        Merge { base, extras, params, skipped, watched, open, from: 0, stretches: SmallVec::new() }
    }

    /// The winners in order, lines that stand together as one stretch.
    fn winners(mut self) -> SmallVec<[Stretch<'a>; 16]> {
        for (rule, id) in std::mem::take(&mut self.extras) {
            let place = self.base.lines.partition_point(|line| line.order < rule.order());
            self.settle(place);
            if self.watched.wins(id, rule.order().id, || rule.missing(self.params), self.skipped) {
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
struct KeyClaims(SmallVec<[(KeyId, bool); 8]>);

impl KeyClaims {
    fn new(ids: impl Iterator<Item = KeyId>) -> KeyClaims {
        let mut keys: SmallVec<[(KeyId, bool); 8]> = ids.map(|id| (id, false)).collect();
        keys.sort_unstable();
        keys.dedup();
        KeyClaims(keys)
    }

    fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// Whether the next rule in order wins the key `id`, which is watched.
    fn wins<'a>(
        &mut self,
        id: KeyId,
        rule: i64,
        missing: impl FnOnce() -> Option<&'a ParamName>,
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
mod tests;
