//! Which existing rows an import may remove: those of the tenants, and of the subjects, that are
//! named by options or occur among the imported rows.

use std::collections::HashSet;

use anyhow::bail;

use super::wanted::Wanted;
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, Row, RuleRow};
use crate::core::names::Folded;
use crate::ops::transfer::Item;

/// The rows that an import may remove.
#[derive(Default)]
pub(super) struct Scope {
    /// `None` for all tenants.
    tenants: Option<HashSet<Folded>>,
    /// For rules, each tenant with a subject; `None` for all rules of `tenants`.
    subjects: Option<HashSet<(Folded, Folded)>>,
    /// The latest tenant, and whether it is one of `tenants`. Rows of a tenant usually follow each
    /// other.
    latest: Option<(Cell, bool)>,
}

impl Scope {
    /// The rules of a tenant for a subject.
    pub fn of_rules(domain: &str, subject: &str, options: &Conventions) -> Scope {
        let [domain, subject] = [domain, subject].map(|name| options.comparison.fold(name));
        let tenants = Some([domain.clone()].into());
        Scope { tenants, subjects: Some([(domain, subject)].into()), latest: None }
    }

    /// The scope of `--replace`. A whole database replaces all tenants.
    ///
    /// # Errors
    /// When an imported row is not of the tenant or subject that an option names.
    pub fn of_replace(
        wanted: &Wanted,
        domain: Option<&str>,
        subject: Option<&str>,
        is_database: bool,
        options: &Conventions,
    ) -> anyhow::Result<Scope> {
        let fold = |name: &str| options.comparison.fold(name);
        let is_all = domain.is_none() && (is_database || wanted.is_empty());
        let tenants = match domain {
            Some(domain) => [fold(domain)].into(),
            None => tenants(wanted, options),
        };
        let pair = |rule: &RuleRow| (fold(&rule.domain.shown()), fold(&rule.subject.shown()));
        let subjects = match (domain, subject) {
            (_, Some(subject)) => {
                Some(tenants.iter().map(|tenant| (tenant.clone(), fold(subject))).collect())
            }
            (Some(_), None) => None,
            (None, None) => Some(wanted.rules.iter().flatten().map(|(_, rule)| pair(rule)).collect()),
        };
        let mut scope = match is_all {
            true => Scope::default(),
            false => Scope { tenants: Some(tenants), subjects, latest: None },
        };
        scope.must_cover(wanted.users.iter().flatten(), domain, subject, options)?;
        scope.must_cover(wanted.rules.iter().flatten(), domain, subject, options)?;
        scope.must_cover(wanted.attributes.iter().flatten(), domain, subject, options)?;
        Ok(scope)
    }

    fn must_cover<'w, T: Item + 'w>(
        &mut self,
        mut rows: impl Iterator<Item = &'w (u64, T)>,
        domain: Option<&str>,
        subject: Option<&str>,
        options: &Conventions,
    ) -> anyhow::Result<()> {
        if domain.is_none() && subject.is_none() {
            return Ok(());
        }
        let other = rows.find(|(_, row)| !self.covers(&row.to_row(), options));
        let Some((line, row)) = other else { return Ok(()) };
        bail!(
            "line {line}: {} is not what --domain or --subject names: with --replace, all rows must be; \
             leave out the option, the row or --replace",
            row.label(options)
        )
    }

    /// Whether the import may remove this row.
    pub fn covers(&mut self, row: &Row, options: &Conventions) -> bool {
        let fold = |cell: &Cell| options.comparison.fold(&cell.shown());
        let domain = match row {
            Row::User(row) => &row.domain,
            Row::Attribute(row) => &row.domain,
            Row::Rule(row) => {
                if let Some(subjects) = &self.subjects {
                    return subjects.contains(&(fold(&row.domain), fold(&row.subject)));
                }
                &row.domain
            }
        };
        let Some(tenants) = &self.tenants else { return true };
        match &self.latest {
            Some((latest, is_covered)) if latest == domain => *is_covered,
            _ => {
                let is_covered = tenants.contains(&fold(domain));
                self.latest = Some((domain.clone(), is_covered));
                is_covered
            }
        }
    }
}

/// The tenants of all rows.
fn tenants(wanted: &Wanted, options: &Conventions) -> HashSet<Folded> {
    let users = wanted.users.iter().flatten().map(|(_, row)| &row.domain);
    let rules = wanted.rules.iter().flatten().map(|(_, row)| &row.domain);
    let attributes = wanted.attributes.iter().flatten().map(|(_, row)| &row.domain);
    let (mut tenants, mut latest) = (HashSet::new(), None);
    for domain in users.chain(rules).chain(attributes) {
        if latest.replace(domain) != Some(domain) {
            tenants.insert(options.comparison.fold(&domain.shown()));
        }
    }
    tenants
}
