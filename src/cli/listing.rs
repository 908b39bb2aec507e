//! How lists show rules, and how messages name their ids.

use serde::Serialize;

use crate::cli::print::{self, number};
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, RuleRow};
use crate::core::secret::HIDDEN;
use crate::core::secret::is_secret;
pub use crate::ops::edits::{ALL_TENANTS, did_you_mean, ids, rules_of};

/// A rule as lists show it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct RuleListing {
    /// The id of its row; `None` for a rule that is not stored yet.
    pub id: Option<i64>,
    /// `None` for all tenants.
    pub domain: Option<String>,
    /// Who it is for.
    pub subject: Option<String>,
    /// The first sort key; `None` if it is not a number.
    pub spriority: Option<i64>,
    /// The second sort key; `None` if it is not a number.
    pub ppriority: Option<i64>,
    /// The property.
    pub key: Option<String>,
    /// The property's value; `None` if it is hidden.
    pub value: Option<String>,
    /// Whether the value is a secret that is not shown.
    pub hidden: bool,
}

impl RuleListing {
    /// Hides secrets unless `show_secrets` is set. Placeholders are never hidden.
    pub fn new(row: &RuleRow, show_secrets: bool, options: &Conventions) -> RuleListing {
        let subject = |stored: String| match show_secrets {
            true => stored,
            false => options.shown_subject(&stored),
        };
        let (key, value) = (text(&row.key), text(&row.value));
        let hidden = !show_secrets
            && is_secret(key.as_deref().unwrap_or_default(), value.as_deref().unwrap_or_default());
        RuleListing {
            id: Some(row.id),
            domain: text(&row.domain).filter(|domain| !domain.is_empty()),
            subject: text(&row.subject).map(subject),
            spriority: row.spriority.int().ok().flatten(),
            ppriority: row.ppriority.int().ok().flatten(),
            key,
            value: value.filter(|_| !hidden),
            hidden,
        }
    }

    /// The cells of its line in a table for people.
    pub fn cells(&self) -> Vec<String> {
        let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
        let number = |cell: Option<i64>| cell.map(|number| number.to_string()).unwrap_or_default();
        vec![
            self.id.map(|id| id.to_string()).unwrap_or_default(),
            self.domain.clone().unwrap_or_else(|| ALL_TENANTS.into()),
            text(&self.subject),
            number(self.spriority),
            number(self.ppriority),
            text(&self.key),
            if self.hidden { HIDDEN.into() } else { text(&self.value) },
        ]
    }

    /// The column heads for [`RuleListing::cells`].
    pub fn columns() -> [print::ListColumn; 7] {
        [
            number("ID"),
            print::text("DOMAIN"),
            print::text("SUBJECT"),
            number("SPRIORITY"),
            number("PPRIORITY"),
            print::key("KEY"),
            print::text("VALUE"),
        ]
    }
}

/// The order in which rules take precedence. Rules whose priority is not a number are not
/// used and come last.
pub fn order(row: &RuleRow) -> impl Ord + use<> {
    let (spriority, ppriority) = (row.spriority.int(), row.ppriority.int());
    let is_unused = spriority.is_err() || ppriority.is_err();
    (is_unused, spriority.ok().flatten(), ppriority.ok().flatten(), row.id)
}

/// The text of a cell; `None` for NULL.
pub fn text(cell: &Cell) -> Option<String> {
    (*cell != Cell::Null).then(|| cell.shown().into_owned())
}

/// Whether `part` occurs in `text`. Both are folded.
pub fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str) -> RuleRow {
        let ten = Cell::from(10);
        let (spriority, ppriority) = (ten.clone(), ten);
        let (domain, subject) = (Cell::Null, "default".into());
        RuleRow::from_cells(1, [domain, subject, spriority, ppriority, key.into(), value.into()])
    }

    #[test]
    fn passwords_are_hidden_unless_they_are_placeholders() {
        for (key, value, hidden) in [
            ("acc.PASSWORD", "hunter2", true),
            ("acc.ENCRYPTED_PASSWORD", "aHVudGVyMg==", true),
            ("acc.password ", "hunter2", true),
            ("acc.PASSWORD", "${password}", false),
            ("acc.PASSWORD", "${password:-hunter2}", true),
            ("acc.PASSWORD", "", false),
            ("acc.PASSWORD_MODE", "md5", false),
            ("x.API_TOKEN", "hunter2", true),
        ] {
            let shown = RuleListing::new(&row(key, value), false, &Conventions::default());
            assert_eq!(shown.hidden, hidden, "{key}={value}");
            assert_eq!(shown.value.is_none(), hidden);
            assert!(!shown.cells().concat().contains("hunter2"));
            assert_eq!(
                RuleListing::new(&row(key, value), true, &Conventions::default()).value.as_deref(),
                Some(value)
            );
        }
    }

    #[test]
    fn rules_count_by_their_priorities_null_first_and_then_by_id() {
        let with =
            |id, spriority: Cell, ppriority: Cell| RuleRow { id, spriority, ppriority, ..row("k", "v") };
        let mut rows = [
            with(1, 10.into(), 10.into()),
            with(2, "9".into(), 10.into()),
            with(3, Cell::Null, 10.into()),
            with(4, 10.into(), 10.into()),
            with(5, 10.into(), Cell::Null),
            with(6, "ten".into(), 1.into()),
        ];
        rows.sort_by_key(order);
        assert_eq!(rows.map(|row| row.id), [3, 2, 5, 1, 4, 6]);
    }

    #[test]
    fn few_ids_are_named_and_many_counted() {
        assert_eq!(ids(&[3]), "id 3");
        assert_eq!((rules_of(&[3]), rules_of(&[3, 4])), ("rule 3".into(), "rules 3, 4".into()));
        assert!(ids(&(0..12).collect::<Vec<_>>()).ends_with("9 and 2 more"));
    }
}
