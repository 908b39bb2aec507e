//! Finds a user's rows and the user's own rules in the tables.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::bail;

use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Row, RuleRow, TableRows, UserRow};
use crate::core::names::Folded;
use crate::core::params::{Known, Params};
use crate::core::subject::Means;
use crate::ops::edit_session::EditSession;
use crate::ops::edits;
use crate::ops::explain;
use crate::snapshot::{Level, Session, Snapshot};
use crate::source::Which;

/// The user to look for. Name and domain are folded, so that they can be compared.
pub struct UserLookup<'o> {
    name: Folded,
    domain: Folded,
    options: &'o Conventions,
}

/// What the tables contain about a user.
#[derive(Default)]
pub struct UserRecords {
    /// The rows with this user's name, by id. The server uses only the first.
    pub users: Vec<UserRow>,
    /// How many rows of other tenants have the same name.
    pub namesakes: usize,
    /// Whether the tenant has a user with another name.
    pub has_neighbours: bool,
    /// The domains of the users of other tenants, as stored.
    pub other_domains: HashSet<String>,
    /// The user's own rules. They may exist even if the user does not.
    pub rules: Vec<Own>,
    /// The user's own attributes. They may exist even if the user does not.
    pub attributes: Vec<AttributeRow>,
    /// The attributes of the tenant and of everyone.
    pub inherited: Vec<AttributeRow>,
    /// Whether a rule of the tenant, or of all tenants, is for users who are switched off.
    pub has_rules_for_disabled: bool,
}

/// A rule whose subject is the user.
pub struct Own {
    /// The rule.
    pub row: RuleRow,
    /// How its subject names the user.
    pub means: Means,
    /// Whether it applies to users with this name in all tenants.
    pub is_of_all: bool,
}

impl<'o> UserLookup<'o> {
    pub fn new(name: &str, domain: &str, options: &'o Conventions) -> UserLookup<'o> {
        let fold = |text| options.comparison.fold(text);
        UserLookup { name: fold(name), domain: fold(domain), options }
    }

    /// Searches the tables.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn find(&self, tables: &TableAccess) -> anyhow::Result<UserRecords> {
        let mut found = UserRecords::default();
        edit_session::scan(&*tables.source, Which::All, |row| self.look(row, &mut found)).await?;
        Ok(found)
    }

    /// Searches the tables in a transaction that edits them later.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn find_in(&self, editing: &mut EditSession<'_>) -> anyhow::Result<UserRecords> {
        let mut found = UserRecords::default();
        editing.read(|row| self.look(row, &mut found)).await?;
        Ok(found)
    }

    fn look(&self, row: Row, found: &mut UserRecords) {
        match row {
            Row::User(row) if self.options.fold(&row.username).as_ref() == Some(&self.name) => {
                match self.options.fold(&row.domain) {
                    Some(domain) if domain == self.domain => {
                        let place = found.users.partition_point(|known| known.id < row.id);
                        found.users.insert(place, row);
                    }
                    _ => found.namesakes += 1,
                }
            }
            Row::User(row) => {
                let is_neighbour = self.options.fold(&row.domain).as_ref() == Some(&self.domain);
                found.has_neighbours |= is_neighbour;
                let domain = row.domain.shown();
                if !is_neighbour && !found.other_domains.contains(&*domain) {
                    found.other_domains.insert(domain.into_owned());
                }
            }
            Row::Rule(row) => {
                let Ok(Some(subject)) = row.subject.text() else { return };
                let domain = self.options.fold(&row.domain).unwrap_or_default();
                let is_of_all = domain.is_empty();
                if !is_of_all && domain != self.domain {
                    return;
                }
                let subject = self.options.subject(&subject);
                found.has_rules_for_disabled |= subject.as_ref().is_some_and(edits::is_for_disabled);
                if let Some(means) = subject.and_then(|subject| subject.means(&self.name)) {
                    found.rules.push(Own { row, means, is_of_all });
                }
            }
            Row::Attribute(row) => {
                let fold = |cell| self.options.fold(cell).unwrap_or_default();
                let is_of_tenant = fold(&row.domain) == self.domain;
                match edits::level(&row, self.options) {
                    Some(Level::User) if is_of_tenant && fold(&row.username) == self.name => {
                        found.attributes.push(row);
                    }
                    Some(Level::Tenant) if is_of_tenant => found.inherited.push(row),
                    Some(Level::Everyone) => found.inherited.push(row),
                    _ => {}
                }
            }
        }
    }
}

/// What a request sends that names the user.
pub fn params(row: &UserRow) -> Params {
    let [username, domain] = [row.username.shown(), row.domain.shown()];
    [(Known::Username.name(), &*username), (Known::Domain.name(), &*domain)].into_iter().collect()
}

/// `user@domain`, as stored.
pub fn name(row: &UserRow) -> String {
    format!("{}@{}", row.username.shown(), row.domain.shown())
}

impl UserRecords {
    /// A snapshot of the user and of the attributes that may count for the user.
    pub fn snapshot(&self, options: &Conventions) -> Arc<Snapshot> {
        let attributes = self.attributes.iter().chain(&self.inherited).cloned().collect();
        let rows = TableRows { users: self.users.clone(), attributes, ..TableRows::default() };
        explain::snapshot(options.clone(), &rows)
    }

    /// The user in that snapshot. `None` if the server does not use the user's row.
    pub fn session<'s>(&self, snapshot: &'s Snapshot) -> Option<Session<'s>> {
        snapshot.find(&params(self.users.first()?))
    }

    /// Checks that the user does not exist yet.
    ///
    /// # Errors
    /// When the user exists.
    pub fn must_be_new(&self) -> anyhow::Result<()> {
        match self.users.first() {
            Some(known) => bail!(
                "the user {} exists already, as id {}: `jitsiprovs user passwd` changes the password",
                name(known),
                known.id
            ),
            None => Ok(()),
        }
    }

    /// Checks that the user exists.
    ///
    /// # Errors
    /// When the user does not exist.
    pub fn must_be_there(&self, user: &str) -> anyhow::Result<()> {
        match self.users.is_empty() {
            true => bail!("there is no user {user}: `jitsiprovs user list` shows all users"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::Cell;

    #[test]
    fn a_users_rows_and_rules_are_found_as_names_are_compared() {
        let options = Conventions::default();
        let who = UserLookup::new("Alice", "a.org", &options);
        let mut found = UserRecords::default();
        let user = |id, username: &str, domain: &str| {
            let (username, domain) = (username.into(), domain.into());
            Row::User(UserRow::from_cells(id, [username, domain, Cell::Null]))
        };
        let rule = |id, domain: Cell, subject: &str| {
            let (ten, empty) = (Cell::from(10), Cell::from(""));
            let (spriority, ppriority) = (ten.clone(), ten);
            let (key, value) = (empty.clone(), empty);
            Row::Rule(RuleRow::from_cells(id, [domain, subject.into(), spriority, ppriority, key, value]))
        };
        for row in [
            user(1, "ALICE ", "A.org"),
            user(2, "alice", "b.org"),
            user(3, "bob", "a.org"),
            rule(4, "a.org".into(), "alice"),
            rule(5, Cell::Null, "username=alice"),
            rule(6, "b.org".into(), "alice"),
            rule(7, "a.org".into(), "default"),
        ] {
            who.look(row, &mut found);
        }
        assert_eq!((found.users.len(), found.users[0].id, found.namesakes), (1, 1, 1));
        assert!(found.has_neighbours);
        let rules: Vec<_> = found.rules.iter().map(|own| (own.row.id, own.means, own.is_of_all)).collect();
        assert_eq!(rules, [(4, Means::Name, false), (5, Means::Typed, true)]);
    }
}
