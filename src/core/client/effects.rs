//! What Jitsi does with the properties of an answer.
//!
//! Jitsi takes them one by one, in the order of the answer:
//!
//! - `x=${null}` removes all properties whose keys begin with `x`. (Before Jitsi 2.10, and in
//!   aTalk, a key must begin with `x` before its last dot.)
//! - `ENFORCE_PREFIX` removes all properties whose keys begin with none of its prefixes.
//! - After `ALLOW_PREFIX`, Jitsi ignores the properties whose keys begin with none of its prefixes.
//! - `x.PASSWORD` is stored encrypted, as `x.ENCRYPTED_PASSWORD`.
//! - A system property of Java is no property of Jitsi, so nothing removes it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{ALLOW_PREFIX, ENFORCE_PREFIX, REMOVED, SYSTEM, UNLOGGED};

/// What happens to one property of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyFate {
    /// The client does what the property says, and no later property undoes it.
    Obeyed,
    /// The later property with this index removes or replaces it.
    Undone(usize),
    /// The client ignores it because of the earlier `ALLOW_PREFIX` with this index.
    Ignored(usize),
}

/// What a client that had no properties has after an answer. Properties are named by their
/// indexes in the answer, because their values may be secrets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientState<'a> {
    /// The client's properties, by their keys in its storage.
    pub stored: BTreeMap<Cow<'a, str>, usize>,
    /// What happened to each property of the answer.
    pub fates: Vec<PropertyFate>,
}

impl<'a> ClientState<'a> {
    /// The state after an answer, which is a list of keys and values as Java reads them.
    pub fn after<K: AsRef<str>, V: AsRef<str>>(answer: &'a [(K, V)]) -> ClientState<'a> {
        let mut state = ClientState::default();
        let (mut allowed, mut allower) = (Vec::new(), 0);
        for (at, (key, value)) in answer.iter().enumerate() {
            let (key, value) = (key.as_ref(), value.as_ref());
            state.fates.push(PropertyFate::Obeyed);
            match key {
                ALLOW_PREFIX => {
                    allowed.extend(prefixes(value));
                    allower = at;
                }
                ENFORCE_PREFIX => {
                    let enforced = prefixes(value);
                    state.remove(at, |key| !covers(&enforced, key));
                }
                _ if !allowed.is_empty() && !covers(&allowed, key) => {
                    state.fates[at] = PropertyFate::Ignored(allower);
                }
                // Jitsi skips empty keys.
                _ if key.trim_end_matches(|c| c <= ' ').is_empty() => {}
                _ if value == REMOVED => state.remove(at, |other| other.starts_with(key)),
                _ => state.store(at, key),
            }
        }
        state
    }

    fn store(&mut self, at: usize, key: &'a str) {
        if let Some(stored) = stored_key(key)
            && let Some(replaced) = self.stored.insert(stored, at)
        {
            self.fates[replaced] = PropertyFate::Undone(at);
        }
    }

    fn remove(&mut self, by: usize, is_removed: impl Fn(&str) -> bool) {
        for (_, removed) in self.stored.extract_if(.., |key, _| is_removed(key)) {
            self.fates[removed] = PropertyFate::Undone(by);
        }
    }
}

/// The key by which the client stores a property; `None` for a system property of Java.
pub fn stored_key(key: &str) -> Option<Cow<'_, str>> {
    match key.strip_suffix(UNLOGGED) {
        Some(account) => Some(format!("{account}.ENCRYPTED_PASSWORD").into()),
        None if key.starts_with(SYSTEM) => None,
        None => Some(key.into()),
    }
}

/// The prefixes in a list, as Java's `split("\\|")` finds them: empty prefixes at the end are
/// dropped, unless the list is empty.
pub fn prefixes(list: &str) -> Vec<&str> {
    let mut prefixes: Vec<&str> = list.split('|').collect();
    while !list.is_empty() && prefixes.last().is_some_and(|last| last.is_empty()) {
        prefixes.pop();
    }
    prefixes
}

/// Whether a key begins with one of the prefixes.
pub fn covers(prefixes: &[&str], key: &str) -> bool {
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::PropertyFate::{Ignored, Obeyed, Undone};
    use super::*;

    const NULL: &str = REMOVED;

    #[test]
    fn properties_act_in_the_order_of_the_answer() {
        for (answer, expected) in [
            (&[("a.b", "1"), ("a", NULL)][..], vec![Undone(1), Obeyed]),
            (&[("a", NULL), ("a.b", "1")], vec![Obeyed, Obeyed]),
            (&[("x.acc10", "1"), ("x.acc1", NULL)], vec![Undone(1), Obeyed]),
            (&[("x.acc1", "1"), ("x.acc1.", NULL)], vec![Obeyed, Obeyed]),
            (&[("a.b", NULL), ("a", NULL)], vec![Obeyed, Obeyed]),
            (&[("a", "1"), ("a.b", "1"), (ENFORCE_PREFIX, "b|a.")], vec![Undone(2), Obeyed, Obeyed]),
            (&[("a", "1"), (ENFORCE_PREFIX, "|")], vec![Undone(1), Obeyed]),
            (&[("a", "1"), (ENFORCE_PREFIX, "")], vec![Obeyed, Obeyed]),
            (&[(ENFORCE_PREFIX, "b"), ("a", "1")], vec![Obeyed, Obeyed]),
            (&[(ALLOW_PREFIX, "b"), ("a", "1"), ("b", "1")], vec![Obeyed, Ignored(0), Obeyed]),
            (&[("a", "1"), (ALLOW_PREFIX, "b")], vec![Obeyed, Obeyed]),
            (&[(ALLOW_PREFIX, "|"), ("a", "1")], vec![Obeyed, Obeyed]),
            (&[(ALLOW_PREFIX, ""), ("a", "1")], vec![Obeyed, Obeyed]),
            // What is ignored removes nothing, but the lists themselves are never ignored.
            (&[("a.b", "1"), (ALLOW_PREFIX, "b"), ("a", NULL)], vec![Obeyed, Obeyed, Ignored(1)]),
            (&[("a", "1"), (ALLOW_PREFIX, "b"), (ENFORCE_PREFIX, "b")], vec![Undone(2), Obeyed, Obeyed]),
            (&[("${system}.a", "1"), ("${system}", NULL)], vec![Obeyed, Obeyed]),
            (&[("${system}.a", "1"), (ENFORCE_PREFIX, "b")], vec![Obeyed, Obeyed]),
            (&[(ALLOW_PREFIX, "b"), ("${system}.b", "1")], vec![Obeyed, Ignored(0)]),
            (&[("a.PASSWORD", "x"), ("a.PASSWORD", NULL)], vec![Obeyed, Obeyed]),
            (&[("a.PASSWORD", "x"), ("a.E", NULL)], vec![Undone(1), Obeyed]),
            (&[("a.PASSWORD", "x"), (ENFORCE_PREFIX, "a.P")], vec![Undone(1), Obeyed]),
            (&[("a", "1"), ("", NULL), (" ", NULL)], vec![Obeyed, Obeyed, Obeyed]),
            (&[("a.ENCRYPTED_PASSWORD", "x"), ("a.PASSWORD", "y")], vec![Undone(1), Obeyed]),
        ] {
            assert_eq!(ClientState::after(answer).fates, expected, "{answer:?}");
        }
    }

    #[test]
    fn the_client_has_what_no_later_property_undoes() {
        let answer = [("a.b", "1"), ("a", NULL), ("a.c", "2"), ("d.PASSWORD", "3"), ("${system}.e", "4")];
        let stored = ClientState::after(&answer).stored;
        assert_eq!(stored, BTreeMap::from([("a.c".into(), 2), ("d.ENCRYPTED_PASSWORD".into(), 3)]));
    }

    /// The fate of the property at `at`, found without a state: by looking at each other property.
    fn naive_fate(answer: &[(String, String)], at: usize) -> PropertyFate {
        let begins = |key: &str, list: &str| list.split('|').any(|prefix| key.starts_with(prefix));
        let is_list = |key: &str| key == ALLOW_PREFIX || key == ENFORCE_PREFIX;
        let ignoring = |at: usize| {
            let lists = || (0..at).filter(|other| answer[*other].0 == ALLOW_PREFIX);
            let key = &answer[at].0;
            let is_allowed = lists().any(|list| begins(key, &answer[list].1));
            lists().next_back().filter(|_| !is_allowed && !is_list(key))
        };
        let stored = |key: &str| key.replace(".PASSWORD", ".ENCRYPTED_PASSWORD");
        let (key, value) = (&answer[at].0, &answer[at].1);
        if let Some(list) = ignoring(at) {
            return Ignored(list);
        }
        if is_list(key) || value == NULL || (key.starts_with("${system}.") && !key.ends_with(".PASSWORD")) {
            return Obeyed;
        }
        let own = stored(key);
        let undoes = |other: &usize| match &answer[*other] {
            _ if ignoring(*other).is_some() => false,
            (key, list) if key == ENFORCE_PREFIX => !begins(&own, list),
            (key, value) if value == NULL => key != ALLOW_PREFIX && own.starts_with(&**key),
            (key, _) => !is_list(key) && stored(key) == own,
        };
        (at + 1..answer.len()).find(undoes).map_or(Obeyed, Undone)
    }

    fn property() -> impl Strategy<Value = (String, String)> {
        const KEYS: [&str; 9] =
            ["a", "a.b", "a.b.c", "a.bc", "a.", "b", "a.PASSWORD", "${system}.a", "${system}.PASSWORD"];
        const LISTS: [&str; 7] = ["a", "b", "a.b|b", "a.E", "${system}", "a.P|b", ""];
        prop_oneof![
            3 => (select(&KEYS[..]), select(&["1", "2", NULL][..])),
            1 => (select(&[ALLOW_PREFIX, ENFORCE_PREFIX][..]), select(&LISTS[..])),
        ]
        .prop_map(|(key, value)| (key.to_owned(), value.to_owned()))
    }

    proptest! {
        #[test]
        fn fates_are_those_of_a_naive_model(answer in prop::collection::vec(property(), 0..10)) {
            let state = ClientState::after(&answer);
            let naive: Vec<PropertyFate> = (0..answer.len()).map(|at| naive_fate(&answer, at)).collect();
            prop_assert_eq!(&state.fates, &naive);
            let stored = state.stored.values();
            prop_assert!(stored.clone().all(|at| naive[*at] == Obeyed));
            let settings = (0..answer.len()).filter(|at| {
                let (key, value) = &answer[*at];
                stored_key(key).is_some() && ![ALLOW_PREFIX, ENFORCE_PREFIX].contains(&&**key) && value != NULL
            });
            prop_assert_eq!(stored.len(), settings.filter(|at| naive[*at] == Obeyed).count());
        }
    }
}
