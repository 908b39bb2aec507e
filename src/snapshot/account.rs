//! What a snapshot has of one user, for operators.

use super::kind::SubjectKind;
use super::{EVERYWHERE, Session, Snapshot};
use crate::core::params::{Known, ParamName, Params, Values};

/// A user of a tenant.
pub struct Account<'s> {
    /// The user.
    pub session: Session<'s>,
    /// The name as it is stored.
    pub username: String,
    /// The domain as it is stored.
    pub domain: String,
    /// The ids of the rows with this name. The first one is used. Empty if the source has no row
    /// for the user.
    pub ids: Vec<i64>,
    /// Whether the user is served although the source has lost the row.
    pub is_withheld: bool,
    /// The ids of the rules whose subject is the user's name, sorted.
    pub rules: Vec<i64>,
}

impl Snapshot {
    /// The user of this name; `None` if there is none.
    pub fn account(&self, domain: &str, username: &str) -> Option<Account<'_>> {
        let (domain, name) = (self.fold(domain), self.fold(username));
        let tenant = self.tenant(&domain)?;
        let entry =
            self.entry(tenant.number, SubjectKind::WORD, &name).filter(|entry| !entry.users.is_empty())?;
        let session = self.session(tenant, entry);
        let places = [tenant.number, EVERYWHERE].into_iter().flat_map(|number| {
            [SubjectKind::WORD, SubjectKind::known(Known::Username)].map(|kind| (number, kind))
        });
        let own = places.filter_map(|(number, kind)| self.entry(number, kind, &name));
        let mut rules: Vec<i64> =
            own.flat_map(|entry| entry.rules.iter()).map(|rule| rule.order().id).collect();
        rules.sort_unstable();
        let nothing = Params::new();
        let values = session.values(&nothing);
        let stored = |known| values.get(&ParamName::Known(known)).unwrap_or_default().to_owned();
        Some(Account {
            username: stored(Known::Username),
            domain: stored(Known::Domain),
            ids: entry.users.iter().filter(|user| !user.is_withheld()).map(|user| user.id).collect(),
            is_withheld: entry.users.first().is_some_and(|user| user.is_withheld()),
            rules,
            session,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::core::conventions::Conventions;
    use crate::core::model::{Cell, Row, RuleRow, UserRow};
    use crate::core::params::Params;
    use crate::snapshot::Writer;

    #[test]
    fn an_account_has_its_rows_its_own_rules_and_the_rules_that_match() {
        let user = |id, name: &str, domain: &str| {
            Row::User(UserRow::from_cells(id, [name.into(), domain.into(), "pw".into()]))
        };
        let rule = |id, domain: Cell, subject: &str| {
            let cells = [domain, subject.into(), 1.into(), 1.into(), "k".into(), "v".into()];
            Row::Rule(RuleRow::from_cells(id, cells))
        };
        let rows = [
            user(4, "Alice", "A.org"),
            user(9, "alice", "a.org"),
            user(5, "bob", "a.org"),
            rule(1, Cell::Null, "default"),
            rule(2, "a.org".into(), "alice"),
            rule(3, Cell::Null, "username=Alice"),
            rule(4, "a.org".into(), "bob"),
            rule(5, "a.org".into(), "osname=Linux"),
            rule(6, "b.org".into(), "alice"),
        ];
        let (snapshot, _) = Writer::build(Conventions::default(), rows);
        let account = snapshot.account("a.ORG", "ALICE").expect("there");
        assert_eq!((&*account.username, &*account.domain), ("Alice", "A.org"));
        assert_eq!((account.ids, account.is_withheld, account.rules), (vec![4, 9], false, vec![2, 3]));
        assert!(snapshot.account("b.org", "alice").is_none() && snapshot.account("c.org", "alice").is_none());
        let params: Params =
            [("username", "alice"), ("domain", "a.org"), ("osname", "linux")].into_iter().collect();
        let session = snapshot.find(&params).expect("there");
        assert_eq!(snapshot.matching(session, &params), [1, 2, 3, 5]);
    }
}
