//! Checks the names of attributes: those in rules that nobody has, and those that no rule uses.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};

use super::report::CheckReport;
use crate::core::model::Table;
use crate::core::params::ParamName;
use crate::core::problem::Code;
use crate::core::subject::TypedBy;
use crate::ops::explain::near;
use crate::snapshot::{Audience, DISABLED, Snapshot};

/// Where a rule names an attribute, and whether the rule does not apply without it.
type Place = (&'static str, bool);

pub(super) fn check(snapshot: &Snapshot, report: &mut CheckReport) {
    // The lowest id of each name and how many rows have it. Further columns of the operator's own
    // query for users are known names too, and the query says which they are.
    let mut stored: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
    let mut known: HashSet<&str> = HashSet::from([DISABLED]);
    for named in snapshot.named() {
        for attribute in named.attributes() {
            let (lowest, count) = stored.entry(attribute.name).or_insert((attribute.id, 0));
            *lowest = attribute.id.min(*lowest);
            *count += 1;
        }
        known.extend(named.columns().map(|column| column.name));
    }
    known.extend(stored.keys());
    let mut used: HashSet<String> = HashSet::from([DISABLED.to_owned()]);
    let mut nearest: HashMap<String, Option<String>> = HashMap::new();
    for named in snapshot.named() {
        let of_subject = match named.audience() {
            Audience::Param(TypedBy::Attribute(name), _)
            | Audience::Pattern(TypedBy::Attribute(name), ..) => Some(name),
            _ => None,
        };
        for rule in named.rules().iter() {
            let id = rule.order().id;
            let mut look = |name: &str, place: Place| {
                if known.contains(name) {
                    if !used.contains(name) {
                        used.insert(name.to_owned());
                    }
                    return;
                }
                let nearest = nearest
                    .entry_ref(name)
                    .or_insert_with(|| near(name, known.iter().copied()).into_iter().next());
                if let Some((code, what)) = unknown(name, nearest.as_deref(), place) {
                    report.add_rule(code, id, what);
                }
            };
            if let Some(name) = &of_subject {
                look(name, ("subject", true));
            }
            for (column, piece) in [("property_key", rule.key()), ("property_value", rule.value())] {
                for (name, is_needed) in piece.params() {
                    if let ParamName::Attribute(name) = name {
                        look(name, (column, is_needed));
                    }
                }
            }
        }
    }
    for (name, (lowest, count)) in stored.into_iter().filter(|(name, _)| !used.contains(*name)) {
        let rows = if count == 1 { "1 row has it".to_owned() } else { format!("{count} rows have it") };
        let what =
            format!("no rule uses the attribute `{name}` ({rows}): a rule writes it as `${{user.{name}}}`");
        report.add(Code::UnusedAttribute, Table::UserAttribute, lowest, what);
    }
}

/// The finding for an attribute that nobody has.
fn unknown(name: &str, nearest: Option<&str>, (column, is_needed): Place) -> Option<(Code, String)> {
    match nearest {
        Some(nearest) => {
            let what = format!("{column}: nobody has the attribute `{name}`; did you mean `{nearest}`?");
            Some((Code::UnknownAttribute, what))
        }
        None if is_needed => {
            let what =
                format!("{column}: nobody has the attribute `{name}`, so the rule applies to nobody yet");
            Some((Code::UnsetAttribute, what))
        }
        None => None,
    }
}
