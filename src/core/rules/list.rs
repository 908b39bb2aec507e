//! Stores the rules of one subject compactly.

use std::sync::Arc;

use super::key::{CompiledKey, StaticKey};
use super::{Compiled, RuleOrder};
use crate::core::params::{ParamName, Values};
use crate::core::template::{Template, TemplatePiece};

/// The rules of one subject, in order. Their values are stored in one text.
///
/// Values may hold passwords, so `Debug` shows only the number of rules.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Rules {
    stored: Box<[StoredRule]>,
    values: Template,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoredRule {
    order: RuleOrder,
    pub(super) key: Arc<CompiledKey>,
    /// The position where its value ends, in the text and in the holes of all values. It begins
    /// where the previous value ends.
    end: (u32, u32),
}

/// One rule of [`Rules`].
#[derive(Clone, Copy)]
pub struct RuleRef<'a> {
    rules: &'a Rules,
    at: usize,
}

impl Rules {
    /// A copy of this list without the rules for which `is_gone` is true, and with `more`.
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

    /// Whether the list has the rule of a row.
    pub fn has(&self, id: i64) -> bool {
        self.stored.iter().any(|stored| stored.order.id == id)
    }

    /// The rules, in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = RuleRef<'_>> {
        (0..self.stored.len()).map(|at| RuleRef { rules: self, at })
    }

    /// The number of rules.
    #[inline]
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Whether the list is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Bytes that it uses on the heap, without its own size and the shared keys.
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
    /// Its position among all rules.
    #[inline]
    pub fn order(self) -> RuleOrder {
        self.stored().order
    }

    /// A copy of the rule, which can be put into another list.
    pub fn compiled(self) -> Compiled {
        let mut value = Template::builder();
        value.push(self.value());
        Compiled { order: self.order(), key: self.stored().key.clone(), value: value.finish() }
    }

    /// Whether both are the same rule of the same list.
    #[inline]
    pub fn is(self, other: RuleRef<'_>) -> bool {
        std::ptr::eq(self.stored(), other.stored())
    }

    #[inline]
    pub(super) fn stored(self) -> &'a StoredRule {
        &self.rules.stored[self.at]
    }

    /// The property that it sets. A client gets only one of the rules that set the same property.
    pub(crate) fn property(self) -> StaticKey {
        let key = &self.stored().key;
        key.id.map_or_else(|| StaticKey::Dynamic(self.key_address()), StaticKey::Fixed)
    }

    /// The address of its key, which is equal for rules that share the key.
    #[inline]
    pub(crate) fn key_address(self) -> usize {
        Arc::as_ptr(&self.stored().key).addr()
    }

    /// The template of its key.
    #[inline]
    pub(crate) fn key(self) -> TemplatePiece<'a> {
        self.stored().key.template.whole()
    }

    /// The template of its value.
    #[inline]
    pub(crate) fn value(self) -> TemplatePiece<'a> {
        let start = self.at.checked_sub(1).map_or((0, 0), |before| self.rules.stored[before].end);
        let end = self.stored().end;
        self.rules.values.piece(start.0..end.0, start.1..end.1)
    }

    #[inline]
    pub(super) fn missing(self, values: &impl Values) -> Option<&'a ParamName> {
        self.key().missing(values).or_else(|| self.value().missing(values))
    }

    #[inline]
    pub(super) fn is_conditional(self) -> bool {
        self.key().is_conditional() || self.value().is_conditional()
    }
}
