//! Builds the answer from the winning rules.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashSet;
use smallvec::SmallVec;

use super::RuleOrder;
use super::key::{CompiledKey, KeyId};
use super::list::RuleRef;
use crate::core::params::{ParamName, Values};
use crate::core::template::{Template, TemplatePiece};

/// A set of rules that is merged into one answer with holes.
#[derive(Debug, PartialEq, Eq)]
pub struct RuleSet {
    program: Template,
    lines: Box<[AnswerLine]>,
    /// The lines of each key that does not depend on the request, sorted by key.
    places: Box<[(KeyId, usize)]>,
    /// Keys for which the winner depends on the request.
    contested: Box<[KeyId]>,
    /// Lines whose keys depend on the request.
    dynamic: Box<[(usize, Arc<CompiledKey>)]>,
}

/// One rule of a [`RuleSet`] and its part of the program, which is the merged template.
#[derive(Debug, PartialEq, Eq)]
struct AnswerLine {
    order: RuleOrder,
    text: Range<u32>,
    holes: Range<u32>,
}

impl RuleSet {
    /// Merges `rules`, which must be in order. It leaves out rules that lose to another one in
    /// every request.
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

    /// Bytes that it uses on the heap.
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

/// A rule that did not apply because the client did not send a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped<'a> {
    /// The id of the rule's row.
    pub id: i64,
    /// The parameter.
    pub missing: &'a ParamName,
}

/// The answer to one request. It holds a password, so it does not implement
/// `Debug`.
pub struct Answer<'a> {
    /// The `.properties` text.
    pub body: Vec<u8>,
    /// How many properties it has.
    pub properties: usize,
    /// The rules that were left out because a parameter is missing.
    pub skipped: Skips<'a>,
}

pub(super) type Skips<'a> = SmallVec<[Skipped<'a>; 4]>;

/// A part of the answer.
enum Stretch<'a> {
    Lines(Range<usize>),
    Rule(RuleRef<'a>),
}

/// Merges `extras`, which must be in order and distinct, into `base` and renders the winners.
/// For answers of usual size, it allocates only the body: once, unless a parameter is escaped.
pub fn answer<'a>(base: &'a RuleSet, extras: &[RuleRef<'a>], values: &impl Values) -> Answer<'a> {
    let mut skipped = Skips::new();
    if extras.is_empty() && base.contested.is_empty() && base.dynamic.is_empty() {
        let whole = base.program.whole();
        let mut body = Vec::with_capacity(whole.least_len(values));
        whole.render(values, &mut body);
        return Answer { body, properties: base.lines.len(), skipped };
    }

    let stretches = Merge::new(base, extras, values, &mut skipped).winners();
    let len = stretches.iter().map(|stretch| match stretch {
        Stretch::Lines(lines) => base.piece(lines.clone()).least_len(values),
        Stretch::Rule(rule) => rule.key().least_len(values) + rule.value().least_len(values) + "=\n".len(),
    });
    let mut body = Vec::with_capacity(len.sum());
    let mut properties = 0;
    for stretch in stretches {
        match stretch {
            Stretch::Lines(lines) => {
                properties += lines.len();
                base.piece(lines).render(values, &mut body);
            }
            Stretch::Rule(rule) => {
                properties += 1;
                rule.key().render(values, &mut body);
                body.push(b'=');
                rule.value().render(values, &mut body);
                body.push(b'\n');
            }
        }
    }
    Answer { body, properties, skipped }
}

/// Merges extras into a base. It compares only the keys that more than one rule may set; all
/// other lines of the base have already won.
struct Merge<'a, 'r, V> {
    base: &'a RuleSet,
    extras: SmallVec<[(RuleRef<'a>, KeyId); 8]>,
    values: &'r V,
    skipped: &'r mut Skips<'a>,
    claims: KeyClaims,
    /// The lines of these keys, the last line first.
    open: SmallVec<[(usize, KeyId); 8]>,
    /// The first line that is not yet in a stretch and not left out.
    from: usize,
    stretches: SmallVec<[Stretch<'a>; 16]>,
}

impl<'a, 'r, V: Values> Merge<'a, 'r, V> {
    fn new(base: &'a RuleSet, extras: &[RuleRef<'a>], values: &'r V, skipped: &'r mut Skips<'a>) -> Self {
        let extras: SmallVec<[_; 8]> =
            extras.iter().map(|rule| (*rule, rule.stored().key.id(values))).collect();
        let mut open: SmallVec<[(usize, KeyId); 8]> =
            base.dynamic.iter().map(|(line, key)| (*line, key.id(values))).collect();
        let dynamic = open.iter().map(|(_, id)| *id);
        let keys = base.contested.iter().copied().chain(dynamic).chain(extras.iter().map(|(_, id)| *id));
        let claims = KeyClaims::new(keys);
        open.extend(claims.ids().flat_map(|id| base.lines_of(id).map(move |line| (line, id))));
        open.sort_unstable_by(|one, other| other.cmp(one));
        Merge { base, extras, values, skipped, claims, open, from: 0, stretches: SmallVec::new() }
    }

    /// The winners in order. Consecutive lines form one stretch.
    fn winners(mut self) -> SmallVec<[Stretch<'a>; 16]> {
        for (rule, id) in std::mem::take(&mut self.extras) {
            let place = self.base.lines.partition_point(|line| line.order < rule.order());
            self.settle(place);
            if self.claims.wins(id, rule.order().id, || rule.missing(self.values), self.skipped) {
                self.take(place, place);
                self.stretches.push(Stretch::Rule(rule));
            }
        }
        let end = self.base.lines.len();
        self.settle(end);
        self.take(end, end);
        self.stretches
    }

    /// Decides which of the open lines before `end` win.
    fn settle(&mut self, end: usize) {
        while let Some((line, id)) = self.open.last().copied().filter(|(line, _)| *line < end) {
            self.open.pop();
            let missing = || self.base.piece(line..line + 1).missing(self.values);
            if !self.claims.wins(id, self.base.lines[line].order.id, missing, self.skipped) {
                self.take(line, line + 1);
            }
        }
    }

    /// Adds the lines before `to` to a stretch, and continues at `next`.
    fn take(&mut self, to: usize, next: usize) {
        if self.from < to {
            self.stretches.push(Stretch::Lines(self.from..to));
        }
        self.from = next;
    }
}

/// The keys that more than one rule may set, and whether each has a winner yet.
pub(super) struct KeyClaims(SmallVec<[(KeyId, bool); 8]>);

impl KeyClaims {
    pub(super) fn new(ids: impl Iterator<Item = KeyId>) -> KeyClaims {
        let mut keys: SmallVec<[(KeyId, bool); 8]> = ids.map(|id| (id, false)).collect();
        keys.sort_unstable();
        keys.dedup();
        KeyClaims(keys)
    }

    fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// Whether the next rule in order wins the key `id`. The key must be in this list.
    #[inline]
    pub(super) fn wins<'a>(
        &mut self,
        id: KeyId,
        rule: i64,
        missing: impl FnOnce() -> Option<&'a ParamName>,
        skipped: &mut Skips<'a>,
    ) -> bool {
        let found = self.0.binary_search_by_key(&id, |(id, _)| *id);
        let (_, taken) = &mut self.0[found.expect("the list has every key that is queried")];
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
