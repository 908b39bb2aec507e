//! Why each rule won or lost.

use hashbrown::HashMap;

use super::answer::{KeyClaims, Skips};
use super::{Compiled, KeyId, RuleOrder, RuleRef};
use crate::core::params::{Known, ParamName, Params};

/// What became of a rule that matches a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It is in the answer.
    Won,
    /// Another one of its key comes before it.
    Lost(RuleOrder),
    /// The client did not send a parameter it needs.
    Lacks(ParamName),
}

/// Decides over `rules`, which must be in order and distinct, as an answer made
/// of them does.
pub fn trace(rules: &[RuleRef<'_>], params: &Params) -> Vec<RuleOutcome> {
    let ids: Vec<KeyId> = rules.iter().map(|rule| rule.stored().key.id(params)).collect();
    let mut watched = KeyClaims::new(ids.iter().copied());
    let mut winners: HashMap<KeyId, RuleOrder> = HashMap::new();
    let decide = |(rule, id): (&RuleRef<'_>, KeyId)| {
        // Which key it would be cannot be said, so it loses to nobody.
        if let Some(missing) = rule.key().missing(params) {
            return RuleOutcome::Lacks(missing.clone());
        }
        let mut skipped = Skips::new();
        if watched.wins(id, rule.order().id, || rule.missing(params), &mut skipped) {
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
    pub fn key_missing(&self, params: &Params) -> Option<&ParamName> {
        self.key.template.whole().missing(params)
    }

    /// The first parameter that its value needs and the request did not send.
    pub fn value_missing(&self, params: &Params) -> Option<&ParamName> {
        self.value.whole().missing(params)
    }

    /// The key as it stands in an answer.
    pub fn render_key(&self, params: &Params) -> Vec<u8> {
        let mut written = Vec::new();
        self.key.template.whole().render(params, &mut written);
        written
    }

    /// The value as it stands in an answer.
    pub fn render_value(&self, params: &Params) -> Vec<u8> {
        let mut written = Vec::new();
        self.value.whole().render(params, &mut written);
        written
    }

    /// Whether a known parameter has a place in it.
    pub fn uses(&self, known: Known) -> bool {
        self.key.template.whole().uses(known) || self.value.whole().uses(known)
    }
}
