//! What an edit of a rule changes in the answers of some users.

use std::collections::BTreeMap;

use crate::core::conventions::Conventions;
use crate::core::model::{RuleRow, TableRows};
use crate::ops::explain::{self, ClientRequest, ExplainReport, Listing};

/// What changes in the answer of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The user, as user@domain.
    pub user: String,
    /// By key.
    pub changes: Vec<PropertyChange>,
}

/// What changes in one property. Secrets are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyChange {
    /// The key.
    pub key: String,
    /// The value before; `None` if the property was not in the answer.
    pub before: Option<String>,
    /// The value after; `None` if the property is not in the answer any more.
    pub after: Option<String>,
}

/// A value as it is shown, and as it is.
type Shown = (String, Vec<u8>);

/// Compares the answers to `requests` from `rows` with those after the edit: `after` takes the
/// place of the rule with its id, or is new if its id is 0; `gone` is removed. `rows` have all that
/// matters for these requests, by id.
pub fn effects(
    rows: &TableRows,
    after: Option<&RuleRow>,
    gone: Option<i64>,
    requests: &[ClientRequest],
    options: &Conventions,
) -> Vec<Effect> {
    let mut changed = rows.clone();
    changed.rules.retain(|rule| Some(rule.id) != gone && after.is_none_or(|after| after.id != rule.id));
    changed.rules.extend(after.map(|after| {
        // A new row gets the largest id.
        let id = if after.id == 0 { i64::MAX } else { after.id };
        RuleRow { id, ..after.clone() }
    }));
    changed.sort();
    let both = [rows, &changed].map(|rows| (explain::snapshot(options.clone(), rows), rows));
    let effect = |request: &ClientRequest| {
        let [before, after] = [&both[0], &both[1]].map(|(snapshot, rows)| {
            let Some(session) = snapshot.find(request.params()) else { return BTreeMap::new() };
            let listing = Listing { all: true, key: None };
            let report = ExplainReport::new(snapshot, options, session, request, &rows.rules, &listing);
            let body = snapshot.answer(session, request.params()).body;
            properties(report, &body)
        });
        let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changes = keys
            .into_iter()
            .filter(|key| before.get(*key).map(|one| &one.1) != after.get(*key).map(|one| &one.1));
        let change = |key: &String| PropertyChange {
            key: key.clone(),
            before: before.get(key).map(|one| one.0.clone()),
            after: after.get(key).map(|one| one.0.clone()),
        };
        Effect { user: request.name(), changes: changes.map(change).collect() }
    };
    requests.iter().map(effect).collect()
}

/// The properties of an answer. Those of the report are in the order of its lines.
fn properties(report: ExplainReport, body: &[u8]) -> BTreeMap<String, Shown> {
    let shown = report.keys.into_iter().filter_map(|key| Some((key.key, key.value?)));
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    shown.zip(lines).map(|((key, value), line)| (key, (value, line.to_vec()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::{Cell, UserRow};
    use crate::core::request::ParamSettings;

    #[test]
    fn the_answers_before_and_after_an_edit_are_compared() {
        let rule = |id, subject: &str, spriority: i64, key: &str, value: &str| {
            let cells = [Cell::Null, subject.into(), spriority.into(), 1.into(), key.into(), value.into()];
            RuleRow::from_cells(id, cells)
        };
        let options = Conventions::default();
        let rows = TableRows {
            users: vec![UserRow::from_cells(1, ["alice".into(), "a.org".into(), "pw".into()])],
            rules: vec![rule(1, "default", 9, "a", "1"), rule(2, "default", 9, "x.PASSWORD", "canary")],
            ..TableRows::default()
        };
        let settings = ParamSettings { default_domain: "a.org".into(), ..ParamSettings::default() };
        let requests = [ClientRequest::read("alice@a.org", &[], None, &settings).expect("readable")];
        let changes = |after: Option<&RuleRow>, gone| {
            let mut all = effects(&rows, after, gone, &requests, &options);
            let shown = all.remove(0).changes.into_iter().map(|change| {
                let value = |value: Option<String>| value.unwrap_or_else(|| "-".into());
                format!("{} {} {}", change.key, value(change.before), value(change.after))
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(changes(Some(&rule(0, "alice", 5, "a", "2")), None), ["a 1 2"]);
        assert!(changes(Some(&rule(0, "alice", 10, "a", "2")), None).is_empty());
        assert_eq!(changes(Some(&rule(0, "alice", 5, "b", "2")), None), ["b - 2"]);
        assert_eq!(changes(Some(&rule(1, "bob", 9, "a", "1")), None), ["a 1 -"]);
        assert_eq!(changes(None, Some(1)), ["a 1 -"]);
        assert_eq!(
            changes(Some(&rule(2, "default", 9, "x.PASSWORD", "other")), None),
            ["x.PASSWORD *** ***"]
        );
    }
}
