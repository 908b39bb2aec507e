//! New and changed rules.

use super::{Refused, refuse};
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, Row, RuleRow};
use crate::core::problem::{Code, Severity};
use crate::core::template;
use crate::ops::check::{self, Finding};
use crate::ops::transfer::{DEFAULT_PPRIORITY, default_spriority};

/// A rule as it is typed.
pub struct TypedRule {
    /// `key=value`
    pub property: String,
    /// Whether the value stands for itself.
    pub literal: bool,
    /// `None` or empty for all tenants.
    pub domain: Option<String>,
    /// Who it is for.
    pub subject: String,
    /// The first priority; `None` for the default.
    pub spriority: Option<i32>,
    /// The second priority; `None` for the default.
    pub ppriority: Option<i32>,
}

impl TypedRule {
    /// The row of a new rule.
    pub fn row(&self, options: &Conventions) -> Result<RuleRow, Refused> {
        let split = if self.literal { template::split_literal } else { template::split };
        let (key, value) =
            split(&self.property).map_err(|why| Refused(format!("this is not a property: {why}")))?;
        let value = value_of(value, self.literal)?;
        let domain = of_tenant(self.domain.as_deref().unwrap_or_default(), options);
        let default = || default_spriority(&self.subject, &domain.shown());
        let spriority = i64::from(self.spriority.unwrap_or_else(default));
        let ppriority = i64::from(self.ppriority.unwrap_or(DEFAULT_PPRIORITY));
        let subject = (*self.subject).into();
        let cells = [domain, subject, spriority.into(), ppriority.into(), key.into(), (*value).into()];
        Ok(RuleRow::from_cells(0, cells))
    }

    /// The row of a rule that is there and gets this value, and these priorities if they were
    /// given.
    pub fn change(&self, known: &RuleRow, new: &RuleRow) -> RuleRow {
        let mut after = RuleRow { value: new.value.clone(), ..known.clone() };
        if self.spriority.is_some() {
            after.spriority = new.spriority.clone();
        }
        if self.ppriority.is_some() {
            after.ppriority = new.ppriority.clone();
        }
        after
    }
}

/// The columns of a rule to change. `None` stays as it is.
pub struct RuleChange {
    /// The key.
    pub key: Option<String>,
    /// The value.
    pub value: Option<String>,
    /// Whether the value stands for itself.
    pub literal: bool,
    /// Empty for all tenants.
    pub domain: Option<String>,
    /// Who it is for.
    pub subject: Option<String>,
    /// The first priority.
    pub spriority: Option<i32>,
    /// The second priority.
    pub ppriority: Option<i32>,
}

impl RuleChange {
    /// The rule after the change.
    pub fn of(self, before: &RuleRow, options: &Conventions) -> Result<RuleRow, Refused> {
        if let Some(key) = &self.key {
            template::check_key(key).map_err(|why| Refused(format!("this is not a key: {why}")))?;
        }
        let value = self.value.map(|value| value_of(&value, self.literal)).transpose()?;
        let mut after = before.clone();
        let text = |cell: &mut Cell, new: Option<String>| new.iter().for_each(|new| *cell = (**new).into());
        let number =
            |cell: &mut Cell, new: Option<i32>| new.iter().for_each(|new| *cell = i64::from(*new).into());
        self.domain.iter().for_each(|domain| after.domain = of_tenant(domain, options));
        text(&mut after.subject, self.subject);
        number(&mut after.spriority, self.spriority);
        number(&mut after.ppriority, self.ppriority);
        text(&mut after.key, self.key);
        text(&mut after.value, value);
        Ok(after)
    }
}

/// The value as it is stored.
pub fn value_of(value: &str, is_literal: bool) -> Result<String, Refused> {
    match is_literal {
        true => template::literal(value)
            .map_err(|why| Refused(format!("leave out --literal if you mean this: {why}"))),
        false => Ok(value.to_owned()),
    }
}

/// The cell for `domain`: NULL stands for all tenants.
pub fn of_tenant(domain: &str, options: &Conventions) -> Cell {
    if options.comparison.fold(domain).is_empty() { Cell::Null } else { domain.into() }
}

/// Checks that the server would use this rule.
pub fn check_usable(row: &RuleRow, options: &Conventions) -> Result<(), Refused> {
    match options.unusable(&Row::Rule(row.clone())) {
        Some(why) => refuse(format!("the server would not use this rule: {why}")),
        None => Ok(()),
    }
}

/// Likely mistakes in a rule.
pub fn doubts(row: &RuleRow, options: &Conventions) -> impl Iterator<Item = Finding> {
    // This hint is about the text that was just typed. The others are often intended.
    let is_said =
        |finding: &Finding| finding.severity != Severity::Hint || finding.code == Code::ControlCharacter;
    check::check_rule(row, options).findings.into_iter().filter(is_said)
}

/// That clients remove or ignore the property of a rule because of another rule, as
/// [`Undoing`](check::Undoing) finds it.
pub fn undone_by(code: Code, id: i64) -> String {
    match code {
        Code::EnforcePrefixUndoes => format!(
            "clients remove this property again, because the list in rule {id} (ENFORCE_PREFIX) has no prefix \
                 of its key: add one, or give rule {id} smaller priorities"
        ),
        Code::AllowPrefixDrops => format!(
            "clients ignore this property, because the list in rule {id} (ALLOW_PREFIX) has no prefix of its \
                 key: add one"
        ),
        _ => format!(
            "clients remove this property again, because of rule {id}: give rule {id} smaller priorities, or \
                 this rule larger ones"
        ),
    }
}
