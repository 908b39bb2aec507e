//! What the client does with the properties of the answer: a property that it removes again or
//! ignores has not won.

use hashbrown::HashMap;

use crate::core::client::{ClientState, ENFORCE_PREFIX, PropertyFate};
use crate::core::properties;
use crate::core::rules::RuleOutcome;
use crate::snapshot::{Fate, SessionValues, Traced};

/// What happens in the client to the properties of an answer.
pub(super) struct Aftermath {
    /// For each rule whose property is undone or ignored: its fate, with the id of the rule that
    /// causes it.
    pub fates: HashMap<i64, (i64, PropertyFate)>,
    /// The rule whose property is `ENFORCE_PREFIX`.
    pub enforcer: Option<i64>,
}

impl Aftermath {
    /// `traced` must be in the order of the answer.
    pub fn new(traced: &[Traced<'_>], values: &SessionValues<'_>) -> Aftermath {
        let winners = traced.iter().filter(|traced| traced.fate == Fate::Matches(RuleOutcome::Won));
        let read = winners.filter_map(|traced| {
            let rule = traced.rule.as_ref()?;
            let key = properties::client_key(&rule.render_key(values))?;
            let value = String::from_utf8(rule.render_value(values)).expect("rendered text is ASCII");
            Some((rule.order.id, (String::from_utf16_lossy(&key), properties::client_value(&value))))
        });
        let (ids, answer): (Vec<i64>, Vec<(String, String)>) = read.unzip();
        let state = ClientState::after(&answer);
        let fates = ids.iter().zip(state.fates).filter_map(|(id, fate)| match fate {
            PropertyFate::Obeyed => None,
            PropertyFate::Undone(by) | PropertyFate::Ignored(by) => Some((*id, (ids[by], fate))),
        });
        let enforcer = answer.iter().position(|(key, _)| key == ENFORCE_PREFIX).map(|at| ids[at]);
        Aftermath { fates: fates.collect(), enforcer }
    }
}
