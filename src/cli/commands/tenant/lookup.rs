//! Finds what belongs to one tenant, or to all tenants.

use std::collections::BTreeSet;

use anyhow::bail;
use hashbrown::HashSet;

use crate::cli::print::counted;
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Row, Table};
use crate::core::names::Folded;
use crate::ops::edits;
use crate::ops::explain::near;
use crate::snapshot::Level;

/// What the tables contain about a tenant.
pub struct TenantRecords<'o> {
    /// Folded; empty for what is for all tenants.
    domain: Folded,
    options: &'o Conventions,
    /// The tables and ids of all its rows.
    pub rows: BTreeSet<(Table, i64)>,
    /// Its names of users, because several rows may have the same name.
    users: HashSet<Folded>,
    /// Its own attributes, by id.
    pub own: Vec<AttributeRow>,
    /// Whether one of its rules, or of those for all tenants, is for users who are switched off.
    pub has_rules_for_disabled: bool,
    /// Other tenants, as they are spelled.
    others: HashSet<String>,
}

impl<'o> TenantRecords<'o> {
    /// Nothing yet. An empty domain stands for all tenants.
    pub fn new(domain: &str, options: &'o Conventions) -> TenantRecords<'o> {
        TenantRecords {
            domain: options.comparison.fold(domain),
            options,
            rows: BTreeSet::new(),
            users: HashSet::new(),
            own: Vec::new(),
            has_rules_for_disabled: false,
            others: HashSet::new(),
        }
    }

    /// Takes note of a row.
    pub fn look(&mut self, row: Row) {
        let cell = match &row {
            Row::User(row) => &row.domain,
            Row::Rule(row) => &row.domain,
            Row::Attribute(row) => &row.domain,
        };
        // A domain that cannot be read is no tenant's.
        let Ok(domain) = cell.text() else { return };
        let domain = domain.unwrap_or_default();
        let folded = self.options.comparison.fold(&domain);
        let is_its = folded == self.domain;
        if let Row::Rule(row) = &row
            && (is_its || folded.is_empty())
            && let Ok(Some(subject)) = row.subject.text()
        {
            let subject = self.options.subject(&subject);
            self.has_rules_for_disabled |= subject.as_ref().is_some_and(edits::is_for_disabled);
        }
        if !is_its {
            if row.table() == Table::UserAuth && !self.others.contains(&*domain) {
                self.others.insert(domain.into_owned());
            }
            return;
        }
        match &row {
            // Users without a domain belong to no tenant, and the server uses none of them.
            Row::User(_) if folded.is_empty() => return,
            Row::User(row) => self.users.extend(self.options.fold(&row.username)),
            Row::Rule(_) => {}
            Row::Attribute(row) => {
                let level = edits::level(row, self.options);
                if matches!(level, Some(Level::Tenant | Level::Everyone)) {
                    let place = self.own.partition_point(|known| known.id < row.id);
                    self.own.insert(place, row.clone());
                }
            }
        }
        self.rows.insert((row.table(), row.id()));
    }

    /// How many rows of a table it has.
    pub fn count(&self, table: Table) -> usize {
        self.rows.iter().filter(|(of, _)| *of == table).count()
    }

    /// How many users it has.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// All of it, as a part of a sentence.
    pub fn summary(&self) -> String {
        format!(
            "{}, {} and {}",
            counted(self.users(), "user"),
            counted(self.count(Table::JitsiProperty), "rule"),
            counted(self.count(Table::UserAttribute), "attribute"),
        )
    }

    /// Checks that the tenant exists.
    ///
    /// # Errors
    /// When no row belongs to it.
    pub fn must_be_there(&self, domain: &str) -> anyhow::Result<()> {
        if self.domain.is_empty() || !self.rows.is_empty() {
            return Ok(());
        }
        bail!("{}", self.unknown(domain))
    }

    /// That there is no such tenant, and which one was probably intended.
    pub fn unknown(&self, domain: &str) -> String {
        match &*near(domain, self.others.iter().map(String::as_str)) {
            [] => format!("there is no tenant {domain:?}: `jitsiprovs tenant list` lists them"),
            [near, ..] => format!("there is no tenant {domain:?}: did you mean {near}?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::{Cell, RuleRow, UserRow};

    #[test]
    fn rows_belong_to_a_tenant_as_domains_are_compared() {
        let options = Conventions::default();
        let user = |id, name: &str, domain: Cell| {
            Row::User(UserRow::from_cells(id, [name.into(), domain, Cell::Null]))
        };
        let rule = |id, domain: Cell, subject: &str| {
            Row::Rule(RuleRow::from_cells(
                id,
                [domain, subject.into(), 1.into(), 1.into(), "k".into(), "v".into()],
            ))
        };
        let attribute = |id, domain: Cell, username: Cell| {
            Row::Attribute(AttributeRow::from_cells(id, [domain, username, "n".into(), "v".into()]))
        };
        let rows = [
            user(1, "alice", "A.org ".into()),
            user(2, "ALICE", "a.org".into()),
            user(3, "bob", "b.org".into()),
            user(4, "carol", Cell::Null),
            rule(1, "a.ORG".into(), "x"),
            rule(2, Cell::Null, "user.Disabled=YES"),
            rule(3, "b.org".into(), "x"),
            attribute(1, "a.org".into(), "alice".into()),
            attribute(2, "A.org".into(), "".into()),
            attribute(3, "".into(), Cell::Null),
            attribute(4, "".into(), "alice".into()),
            attribute(5, "b.org".into(), Cell::Null),
        ];
        let records = |domain: &str| {
            let mut records = TenantRecords::new(domain, &options);
            rows.iter().cloned().for_each(|row| records.look(row));
            records
        };
        let of_a = records("a.org");
        assert_eq!(of_a.summary(), "1 user, 1 rule and 2 attributes");
        assert_eq!((of_a.count(Table::UserAuth), of_a.own.len(), of_a.own[0].id), (2, 1, 2));
        assert!(of_a.has_rules_for_disabled && of_a.must_be_there("a.org").is_ok());
        let of_all = records("");
        assert_eq!(of_all.summary(), "0 users, 1 rule and 2 attributes");
        assert_eq!(of_all.own.iter().map(|row| row.id).collect::<Vec<_>>(), [3]);
        let why = records("b.orgg").must_be_there("b.orgg").expect_err("no such tenant");
        assert!(why.to_string().contains("did you mean b.org"), "{why}");
    }
}
