//! Reports why each rule won or lost.

use hashbrown::HashMap;

use super::answer::{KeyClaims, Skips};
use super::{Compiled, KeyId, RuleOrder, RuleRef};
use crate::core::params::{Known, ParamName, Values};
use crate::core::secret::NameHint;

/// The result for a rule that matches a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It is in the answer.
    Won,
    /// Another rule with the same key comes before it.
    Lost(RuleOrder),
    /// The client did not send a parameter that the rule needs.
    Lacks(ParamName),
}

/// Decides for each of `rules`, which must be in order and distinct. The result is the same as in
/// an answer that is built from them.
pub fn trace(rules: &[RuleRef<'_>], values: &impl Values) -> Vec<RuleOutcome> {
    let ids: Vec<KeyId> = rules.iter().map(|rule| rule.stored().key.id(values)).collect();
    let mut watched = KeyClaims::new(ids.iter().copied());
    let mut winners: HashMap<KeyId, RuleOrder> = HashMap::new();
    let decide = |(rule, id): (&RuleRef<'_>, KeyId)| {
        // Its key is unknown, so it cannot lose to another rule.
        if let Some(missing) = rule.key().missing(values) {
            return RuleOutcome::Lacks(missing.clone());
        }
        let mut skipped = Skips::new();
        if watched.wins(id, rule.order().id, || rule.missing(values), &mut skipped) {
            winners.insert(id, rule.order());
            return RuleOutcome::Won;
        }
        match skipped.first() {
            Some(skipped) => RuleOutcome::Lacks(skipped.missing.clone()),
            None => RuleOutcome::Lost(winners[&id]),
        }
    };
    rules.iter().zip(ids).map(decide).collect()
}

impl Compiled {
    /// The first parameter that its key needs and the request did not send.
    pub fn key_missing(&self, values: &impl Values) -> Option<&ParamName> {
        self.key.template.whole().missing(values)
    }

    /// The first parameter that its value needs and the request did not send.
    pub fn value_missing(&self, values: &impl Values) -> Option<&ParamName> {
        self.value.whole().missing(values)
    }

    /// The key as it is in an answer.
    pub fn render_key(&self, values: &impl Values) -> Vec<u8> {
        let mut written = Vec::new();
        self.key.template.whole().render(values, &mut written);
        written
    }

    /// The value as it is in an answer.
    pub fn render_value(&self, values: &impl Values) -> Vec<u8> {
        let mut written = Vec::new();
        self.value.whole().render(values, &mut written);
        written
    }

    /// The names of the attributes that it has placeholders for.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let names = self.key.template.whole().params().chain(self.value.whole().params());
        names.filter_map(|(name, _)| match name {
            ParamName::Attribute(name) => Some(&**name),
            _ => None,
        })
    }

    /// Whether it has a placeholder for an attribute whose name says that it is a secret.
    pub fn uses_secret_attribute(&self) -> bool {
        self.attributes().any(|name| NameHint::of(name) == NameHint::Secret)
    }

    /// Whether it has a placeholder for a known parameter.
    pub fn uses(&self, known: Known) -> bool {
        self.key.template.whole().uses(known) || self.value.whole().uses(known)
    }
}
