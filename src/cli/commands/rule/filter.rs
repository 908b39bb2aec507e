//! Which rules a command is about.

use crate::cli::args::RuleFilter;
use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::listing;
use crate::core::conventions::Conventions;
use crate::core::model::{Row, RuleRow, Table};
use crate::core::names::Folded;
use crate::core::rules::{CompiledKey, KeyIdentity};
use crate::core::subject::Subject;
use crate::source::Which;

/// What rules must have in common with the options that were given.
pub(super) struct Filter<'o> {
    options: &'o Conventions,
    domain: Option<Folded>,
    /// Two spellings of one subject, such as `os=Linux` and `osname=Linux`, are the same.
    subject: Option<Option<Subject>>,
    key: Option<Folded>,
}

impl<'o> Filter<'o> {
    pub fn new(typed: &RuleFilter, options: &'o Conventions) -> Filter<'o> {
        let fold = |text: &Option<String>| text.as_ref().map(|text| options.comparison.fold(text));
        let subject = typed.subject.as_ref().map(|subject| options.subject(subject));
        Filter { options, domain: fold(&typed.domain), subject, key: fold(&typed.key) }
    }

    /// Whether a rule is among them.
    pub fn takes(&self, row: &RuleRow) -> bool {
        let is_part =
            |part: &Folded| self.options.fold(&row.key).is_some_and(|key| listing::contains(&key, part));
        self.domain.as_ref().is_none_or(|wanted| domain(row, self.options) == *wanted)
            && self.subject.as_ref().is_none_or(|wanted| subject(row, self.options) == *wanted)
            && self.key.as_ref().is_none_or(is_part)
    }

    /// The rules, in order of precedence.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn find(&self, tables: &TableAccess) -> anyhow::Result<Vec<RuleRow>> {
        let mut rows = Vec::new();
        edit_session::scan(&*tables.source, Which::Of(Table::JitsiProperty), |row| match row {
            Row::Rule(row) if self.takes(&row) => rows.push(row),
            _ => {}
        })
        .await?;
        rows.sort_by_key(listing::order);
        Ok(rows)
    }
}

/// A property of one subject of one tenant, in any spelling.
pub(super) struct Place<'o> {
    options: &'o Conventions,
    domain: Folded,
    subject: Option<Subject>,
    key: KeyIdentity,
}

impl<'o> Place<'o> {
    /// The place of a rule.
    pub fn of(row: &RuleRow, options: &'o Conventions) -> Place<'o> {
        Place { options, domain: domain(row, options), subject: subject(row, options), key: key(row) }
    }

    /// Whether a rule has this place.
    pub fn has(&self, row: &RuleRow) -> bool {
        domain(row, self.options) == self.domain
            && subject(row, self.options) == self.subject
            && key(row) == self.key
    }
}

/// Empty for all tenants.
fn domain(row: &RuleRow, options: &Conventions) -> Folded {
    options.fold(&row.domain).unwrap_or_default()
}

fn subject(row: &RuleRow, options: &Conventions) -> Option<Subject> {
    options.subject(&row.subject.shown())
}

fn key(row: &RuleRow) -> KeyIdentity {
    CompiledKey::parse(&row.key.shown(), |_| ()).identity()
}
