//! The existing rows of an import, and the edits that it makes.

use anyhow::Context;
use serde::Serialize;

use super::wanted::Wanted;
use crate::cli::print::NAMED;
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Edit, RuleRow, UserRow};
use crate::ops::transfer::plan::{Plan, PlanCounts, Told};
use crate::ops::transfer::shrink::{Outside, Shrink, shrinks};
use crate::ops::transfer::{FileError, Item};
use crate::snapshot::MaxShrink;

/// Keeps a row to compare with, or counts it.
pub(super) fn keep<T: Item>(
    row: T,
    is_covered: bool,
    there: &mut Vec<(i64, Option<T>)>,
    outside: &mut Outside,
    options: &Conventions,
) {
    match is_covered {
        true => there.push((row.id(), row.canonical(options).ok())),
        false => outside.count(&row, options),
    }
}

/// The existing rows in the scope of an import, by id; `None` for a row that the server
/// could not use.
#[derive(Default)]
pub(super) struct Existing {
    pub users: Vec<(i64, Option<UserRow>)>,
    pub rules: Vec<(i64, Option<RuleRow>)>,
    pub attributes: Vec<(i64, Option<AttributeRow>)>,
}

/// The existing rows outside the scope, counted.
#[derive(Default)]
pub(super) struct Outsides {
    pub users: Outside,
    pub rules: Outside,
    pub attributes: Outside,
}

/// The edits of each table; `None` for a table that the import does not edit.
pub(super) struct Plans {
    pub users: Option<Plan<UserRow>>,
    pub rules: Option<Plan<RuleRow>>,
    pub attributes: Option<Plan<AttributeRow>>,
}

impl Plans {
    /// Takes the rows out of `wanted`.
    pub fn new(
        there: Existing,
        wanted: &mut Wanted,
        replace: bool,
        options: &Conventions,
    ) -> anyhow::Result<Plans> {
        fn plan<T: Item>(
            there: Vec<(i64, Option<T>)>,
            wanted: Option<Vec<(u64, T)>>,
            replace: bool,
            options: &Conventions,
        ) -> Result<Option<Plan<T>>, FileError> {
            wanted.map(|wanted| Plan::new(there, wanted, replace, options)).transpose()
        }
        let Wanted { named, users, rules, attributes, .. } = wanted;
        let plans = || {
            Ok::<_, FileError>(Plans {
                users: plan(there.users, users.take(), replace, options)?,
                rules: plan(there.rules, rules.take(), replace, options)?,
                attributes: plan(there.attributes, attributes.take(), replace, options)?,
            })
        };
        plans().with_context(|| named.clone())
    }

    /// The reverse of [`Plans::new`].
    pub fn give_back(self, wanted: &mut Wanted) {
        wanted.users = self.users.map(Plan::into_wanted);
        wanted.rules = self.rules.map(Plan::into_wanted);
        wanted.attributes = self.attributes.map(Plan::into_wanted);
    }

    /// The losses that are too large.
    pub fn shrinks(&self, outside: &Outsides, limit: MaxShrink, options: &Conventions) -> Vec<Shrink> {
        let users = self.users.iter().flat_map(|plan| shrinks(plan, &outside.users, limit, options));
        let rules = self.rules.iter().flat_map(|plan| shrinks(plan, &outside.rules, limit, options));
        let attributes = self.attributes.iter();
        let attributes = attributes.flat_map(|plan| shrinks(plan, &outside.attributes, limit, options));
        users.chain(rules).chain(attributes).collect()
    }

    fn counts(&self) -> impl Iterator<Item = (&'static str, PlanCounts)> {
        let users = self.users.as_ref().map(|plan| ("users", plan.counts));
        let rules = self.rules.as_ref().map(|plan| ("rules", plan.counts));
        let attributes = self.attributes.as_ref().map(|plan| ("attributes", plan.counts));
        users.into_iter().chain(rules).chain(attributes)
    }

    pub fn total(&self) -> usize {
        self.counts().map(|(_, counts)| counts.edits()).sum()
    }

    pub fn edits(self) -> impl Iterator<Item = Edit> + Send {
        let users = self.users.into_iter().flat_map(Plan::edits);
        let rules = self.rules.into_iter().flat_map(Plan::edits);
        users.chain(rules).chain(self.attributes.into_iter().flat_map(Plan::edits))
    }

    /// For programs.
    pub fn report(&self, dry_run: bool, options: &Conventions) -> ImportReport {
        ImportReport {
            users: self.users.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
            rules: self.rules.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
            attributes: self.attributes.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
        }
    }

    /// For people.
    pub fn lines(&self, dry_run: bool, options: &Conventions) -> Vec<String> {
        let mut lines = Vec::new();
        if dry_run {
            lines.extend(self.users.iter().flat_map(|plan| plan.lines(NAMED, options)));
            lines.extend(self.rules.iter().flat_map(|plan| plan.lines(NAMED, options)));
            lines.extend(self.attributes.iter().flat_map(|plan| plan.lines(NAMED, options)));
        }
        lines.extend(self.counts().map(|(name, counts)| summary(name, counts, dry_run)));
        lines
    }
}

/// What an import did or would do: `None` for a table that it does not edit.
#[derive(Serialize)]
pub(super) struct ImportReport {
    users: Option<Edited>,
    rules: Option<Edited>,
    attributes: Option<Edited>,
}

/// The edits of one table.
#[derive(Serialize)]
struct Edited {
    added: usize,
    changed: usize,
    removed: usize,
    kept: usize,
    /// Listed only in a dry run.
    edits: Option<Vec<Told>>,
}

impl Edited {
    fn new<T: Item>(plan: &Plan<T>, dry_run: bool, options: &Conventions) -> Edited {
        let PlanCounts { added, set: changed, removed, kept } = plan.counts;
        let edits = dry_run.then(|| plan.told(options).collect());
        Edited { added, changed, removed, kept, edits }
    }
}

fn summary(name: &str, counts: PlanCounts, dry_run: bool) -> String {
    let PlanCounts { added, set, removed, kept } = counts;
    match dry_run {
        true => {
            format!("{name}: {added} to add, {set} to change, {removed} to remove, {kept} as they should be")
        }
        false => format!("{name}: {added} added, {set} changed, {removed} removed, {kept} as they were"),
    }
}
