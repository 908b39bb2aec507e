//! Finds tenants whose rows cannot mean what the options say.

use std::collections::BTreeMap;

use super::Snapshot;
use crate::core::credential::{Fit, Look};

/// From how many users on the stored passwords of a tenant say something.
const FEWEST: usize = 3;

/// A tenant in which at least nine of ten stored passwords look like another format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisfitTenant {
    /// The folded domain.
    pub domain: String,
    /// How many users have a stored password.
    pub users: usize,
    /// How many of them have one that looks like another format.
    pub misfits: usize,
    /// What most of these look like.
    pub look: Look,
}

#[derive(Default)]
struct Tally {
    users: usize,
    /// By what they look like.
    misfits: BTreeMap<Look, usize>,
}

impl Snapshot {
    /// The tenants whose stored passwords look like another format, the largest first.
    pub fn misfits(&self) -> Vec<MisfitTenant> {
        let mut tallies: BTreeMap<u32, Tally> = BTreeMap::new();
        for entry in self.named() {
            let Some((_, credential)) = entry.users().next() else { continue };
            let tally = tallies.entry(entry.tenant()).or_default();
            match credential.fit() {
                Fit::Unknown => continue,
                Fit::Fits => {}
                Fit::Misfit(look) => *tally.misfits.entry(look).or_default() += 1,
            }
            tally.users += 1;
        }
        let domains: BTreeMap<u32, &[u8]> = self.domains().collect();
        let found = tallies.into_iter().filter_map(|(tenant, Tally { users, misfits })| {
            let (count, look) = (misfits.values().sum(), misfits.into_iter().max_by_key(|(_, n)| *n)?.0);
            let domain = String::from_utf8_lossy(domains.get(&tenant)?).into_owned();
            (users >= FEWEST && 10 * count >= 9 * users).then_some(MisfitTenant {
                domain,
                users,
                misfits: count,
                look,
            })
        });
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|tenant| std::cmp::Reverse(tenant.users));
        found
    }

    /// The folded domains of tenants that have users.
    pub fn domains_with_users(&self) -> impl Iterator<Item = &[u8]> {
        self.tenants.iter().filter(|tenant| tenant.users > 0).map(|tenant| &*tenant.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::conventions::Conventions;
    use crate::core::credential::PwdFmt;
    use crate::core::model::{Cell, Row, UserRow};
    use crate::snapshot::Writer;

    const MD5: &str = "5F4dcc3b5aa765d61d8327deb882cf99";
    const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuu5LPhQ5tLgLIyKxGyE2w6dHh3AxkkHra";

    /// What is found for a tenant with these stored passwords.
    fn found(format: PwdFmt, stored: &[&str]) -> Option<(usize, usize, Look)> {
        let rows = stored.iter().enumerate().map(|(at, stored)| {
            let username = format!("user{at}").as_str().into();
            let password = if stored.is_empty() { Cell::Null } else { (*stored).into() };
            Row::User(UserRow::from_cells(at as i64 + 1, [username, "A.org".into(), password]))
        });
        let (snapshot, _) = Writer::build(Conventions { pwd_fmt: format, ..Conventions::default() }, rows);
        let found = snapshot.misfits();
        found.first().map(|tenant| {
            assert_eq!(tenant.domain, "a.org");
            (tenant.users, tenant.misfits, tenant.look)
        })
    }

    #[test]
    fn tenants_in_which_nine_of_ten_do_not_fit_are_found() {
        let sha = MD5.repeat(2);
        assert_eq!(found(PwdFmt::Plain, &[MD5; 3]), Some((3, 3, Look::Md5)));
        assert_eq!(found(PwdFmt::Plain, &[MD5; 2]), None);
        assert_eq!(found(PwdFmt::Plain, &[&sha, &sha, MD5]), Some((3, 3, Look::Sha256)));
        assert_eq!(found(PwdFmt::Plain, &[&[MD5; 9][..], &["secret"]].concat()), Some((10, 9, Look::Md5)));
        assert_eq!(found(PwdFmt::Plain, &[&[MD5; 8][..], &["secret"]].concat()), None);
        assert_eq!(found(PwdFmt::Md5, &["a", "b", "secret"]), Some((3, 3, Look::Text)));
        assert_eq!(found(PwdFmt::Ha1, &[&*sha; 4]), Some((4, 4, Look::Sha256)));
        assert_eq!(found(PwdFmt::Ha1Sha256, &[MD5; 4]), Some((4, 4, Look::Md5)));
        for format in [PwdFmt::Md5, PwdFmt::Ha1] {
            assert_eq!(found(format, &[MD5; 4]), None);
        }
        // Hashes that name themselves fit each format. Users without a password do not count.
        assert_eq!(found(PwdFmt::Md5, &["a", "b", "c", BCRYPT]), None);
        assert_eq!(found(PwdFmt::Md5, &["a", "b", "", "", ""]), None);
        assert_eq!(found(PwdFmt::Md5, &["a", "b", "c", "", ""]), Some((3, 3, Look::Text)));
    }
}
