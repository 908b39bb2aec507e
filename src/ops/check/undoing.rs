//! Finds the rules because of which clients remove or ignore the property of a new rule.

use super::{RuleTable, prefixes};
use crate::core::client::{ALLOW_PREFIX, ENFORCE_PREFIX, stored_key};
use crate::core::conventions::Conventions;
use crate::core::model::{Row, RuleRow};
use crate::core::problem::Code;
use crate::core::subject::Subject;
use crate::snapshot::Writer;

/// Looks at all rules for those that undo a new one.
pub struct Undoing<'a> {
    row: RuleRow,
    options: &'a Conventions,
    /// The rules that may matter. Usually these are few.
    others: Vec<RuleRow>,
}

impl<'a> Undoing<'a> {
    /// Looks for rules that undo `row`. Its id is 0 if it is not stored yet.
    pub fn new(row: &RuleRow, options: &'a Conventions) -> Undoing<'a> {
        // A new row gets the largest id.
        let id = if row.id == 0 { i64::MAX } else { row.id };
        Undoing { row: RuleRow { id, ..row.clone() }, options, others: Vec::new() }
    }

    /// Looks at another rule.
    pub fn look(&mut self, other: RuleRow) {
        if other.id != self.row.id && self.may_matter(&other) {
            self.others.push(other);
        }
    }

    /// Whether the rule may remove properties, or keep such a rule from doing so.
    fn may_matter(&self, other: &RuleRow) -> bool {
        let key = other.key.shown();
        let is_plain = !key.contains(['$', '\\']);
        let removes = other.value.shown().contains("{null}") && (!is_plain || self.begins(&key));
        let is_list = key.contains(ENFORCE_PREFIX) || key.contains(ALLOW_PREFIX);
        // It may win over a removal that has the same key.
        let wins = || is_plain && self.begins(&key) && self.is_for_same(other);
        removes || is_list || wins()
    }

    /// Whether the key by which the client stores the property begins with `key`.
    fn begins(&self, key: &str) -> bool {
        stored_key(&self.row.key.shown()).is_some_and(|own| own.len() > key.len() && own.starts_with(key))
    }

    fn is_for_same(&self, other: &RuleRow) -> bool {
        let subject = |row: &RuleRow| self.options.subject(&row.subject.shown());
        let of_other = subject(other);
        of_other == Some(Subject::Everyone) || of_other == subject(&self.row)
    }

    /// The rules that undo it, by id, each with the kind of finding.
    pub fn found(self) -> Vec<(Code, i64)> {
        let id = self.row.id;
        let rows = self.others.into_iter().chain([self.row]).map(Row::Rule);
        let (snapshot, _) = Writer::build(self.options.clone(), rows);
        prefixes::undoing(&RuleTable::new(&snapshot), id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: i64, domain: &str, subject: &str, spriority: i64, key: &str, value: &str) -> RuleRow {
        let cells = [domain.into(), subject.into(), spriority.into(), 10.into(), key.into(), value.into()];
        RuleRow::from_cells(id, cells)
    }

    fn named(rules: &[RuleRow]) -> String {
        let named = |rule: &RuleRow| format!("{} for {}; ", rule.key.shown(), rule.subject.shown());
        rules.iter().map(named).collect()
    }

    #[test]
    fn a_new_rule_is_undone_by_rules_for_the_same_people() {
        const NULL: &str = "${null}";
        let options = Conventions::default();
        let new = rule(0, "a.org", "alice", 5, "a.b.c", "1");
        for (others, expected) in [
            (vec![rule(1, "", "default", 10, "a", NULL)], vec![(Code::NullUndoes, 1)]),
            (vec![rule(1, "", "default", 5, "a", NULL)], vec![]),
            (vec![rule(1, "a.org", "alice", 6, "a.b.", NULL)], vec![(Code::NullUndoes, 1)]),
            (vec![rule(1, "a.org", "bob", 6, "a", NULL)], vec![]),
            (vec![rule(1, "b.org", "default", 6, "a", NULL)], vec![]),
            (vec![rule(1, "", "default", 6, "b", NULL)], vec![]),
            (vec![rule(1, "", "osname=Linux", 6, "a.b", NULL)], vec![(Code::NullUndoes, 1)]),
            // The first of two removals wins, and it comes before the new rule.
            (vec![rule(1, "", "default", 6, "a", NULL), rule(2, "", "default", 0, "a", NULL)], vec![]),
            (vec![rule(1, "", "default", 6, "a", NULL), rule(2, "a.org", "alice", 0, "a", "1")], vec![]),
            (vec![rule(1, "", "default", 6, ENFORCE_PREFIX, "a.c")], vec![(Code::EnforcePrefixUndoes, 1)]),
            (vec![rule(1, "", "default", 6, ENFORCE_PREFIX, "a.b")], vec![]),
            (vec![rule(1, "", "default", 1, ALLOW_PREFIX, "a.c")], vec![(Code::AllowPrefixDrops, 1)]),
            (vec![rule(1, "", "default", 6, ALLOW_PREFIX, "a.c")], vec![]),
            // Rules for other properties and rules that undo others say nothing.
            (vec![rule(1, "", "default", 1, "x.y", "1"), rule(2, "", "default", 2, "x", NULL)], vec![]),
        ] {
            let mut undoing = Undoing::new(&new, &options);
            others.iter().for_each(|other| undoing.look(other.clone()));
            assert_eq!(undoing.found(), expected, "{}", named(&others));
        }
    }

    #[test]
    fn a_changed_rule_is_not_compared_with_what_it_was() {
        let options = Conventions::default();
        let was = rule(7, "", "default", 9, "a", "${null}");
        let mut undoing = Undoing::new(&rule(7, "", "default", 5, "a.b", "1"), &options);
        undoing.look(was);
        assert_eq!(undoing.found(), []);
    }
}
