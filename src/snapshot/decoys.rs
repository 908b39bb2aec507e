//! Decoys: the credentials that the passwords of unknown users are compared with.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;

use crate::core::credential::{Credential, HashKind, SlowHash};

/// The secret that decides which kind of hash the decoy of a name has. All nodes share it.
/// Otherwise an attacker who asks several nodes, or one node before and after a restart,
/// would see that their decoys differ, and so which names do not exist.
///
/// It is computed from the [`OLDEST`] rows of users that a password can match, including
/// their stored passwords. A user knows their own password and, with md5, even the stored
/// hash, but not those of three others. More rows would be harder to guess, but would change
/// the key more often: when one of these rows is edited or removed, all names that do not
/// exist change their kind at once, and existing names do not. The rows with the lowest ids
/// seldom change, and other edits do not change the key.
///
/// The limits: an attacker who knows all these rows, such as an operator of the first
/// tenant, can compute which kind a name would have if it did not exist. This reveals
/// nothing if all passwords are stored in the same way. Rows of `--auth-query` without ids
/// are numbered, so they must come in the same order on all nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct DecoyKey([u8; 16]);

/// How many rows the key is computed from.
pub(super) const OLDEST: usize = 4;

impl DecoyKey {
    /// The key for the hashes of some rows, in ascending order of their ids.
    pub fn new(rows: impl Iterator<Item = u64>) -> DecoyKey {
        let mut digest = Sha256::new_with_prefix("kinds of decoys");
        rows.for_each(|row| digest.update(row.to_le_bytes()));
        let mut key = [0; 16];
        key.copy_from_slice(&digest.finalize()[..16]);
        DecoyKey(key)
    }

    /// A number for an account. All numbers are equally likely.
    fn number(&self, [domain, username]: [&[u8]; 2]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&(domain.len() as u64).to_le_bytes());
        hasher.write(domain);
        hasher.write(username);
        hasher.finish()
    }
}

/// Does not show the key, because it is secret.
impl fmt::Debug for DecoyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Credentials that passwords of unknown users are compared with. Each kind of hash is as
/// frequent as among real users, so that response times do not reveal which names exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Decoys {
    /// Sorted by kind, so that the choice does not depend on the order of changes.
    kinds: Vec<(HashKind, Credential, usize)>,
    total: usize,
}

impl Decoys {
    /// Adds a user's credential. Credentials that no password matches are not counted.
    pub fn add(&mut self, credential: &Credential) {
        if !credential.is_usable() {
            return;
        }
        let kind = credential.kind();
        match self.kinds.binary_search_by(|(known, ..)| known.cmp(&kind)) {
            Ok(at) => self.kinds[at].2 += 1,
            Err(at) => self.kinds.insert(at, (kind, credential.decoy(), 1)),
        }
        self.total += 1;
    }

    /// Removes a user's credential.
    pub fn remove(&mut self, credential: &Credential) {
        if !credential.is_usable() {
            return;
        }
        let kind = credential.kind();
        if let Ok(at) = self.kinds.binary_search_by(|(known, ..)| known.cmp(&kind)) {
            self.total -= 1;
            self.kinds[at].2 -= 1;
            if self.kinds[at].2 == 0 {
                self.kinds.remove(at);
            }
        }
    }

    /// Users with a slow hash: a hash of the kind that most of them have, and how many they are.
    pub fn slow(&self) -> Option<(&Arc<SlowHash>, usize)> {
        let slow = || self.kinds.iter().filter_map(|(_, one, count)| Some((one.slow()?, *count)));
        let (most, _) = slow().max_by_key(|(_, count)| *count)?;
        Some((most, slow().map(|(_, count)| count).sum()))
    }

    /// The decoy for an account: the same each time, and on all nodes with the same rows.
    /// When one of many users is added or removed, the shares of the kinds change little, so
    /// few decoys change. `account` is the folded domain and username.
    pub fn choose(&self, key: &DecoyKey, account: [&[u8]; 2]) -> Option<&Credential> {
        let share = u128::from(key.number(account)) * self.total as u128;
        let mut place = (share >> 64) as usize;
        self.kinds.iter().find_map(|(_, credential, count)| match place.checked_sub(*count) {
            Some(rest) => {
                place = rest;
                None
            }
            None => Some(credential),
        })
    }

    #[cfg(test)]
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }
}

/// Whether both choose the same kinds. Which user's hash represents a kind does not matter.
impl PartialEq for Decoys {
    fn eq(&self, other: &Self) -> bool {
        let counts = |decoys: &Decoys| -> Vec<(HashKind, usize)> {
            decoys.kinds.iter().map(|(kind, _, count)| (kind.clone(), *count)).collect()
        };
        self.total == other.total && counts(self) == counts(other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Snapshot, Writer};
    use super::*;
    use crate::core::conventions::Conventions;
    use crate::core::model::{Row, Table, UserRow};
    use std::collections::BTreeMap;

    const USERS: i64 = 300;

    /// Three of five users have an md5, and one of five has each of two slow hashes.
    fn user(id: i64, secret: &str) -> Row {
        let password = match id % 5 {
            0..3 => format!("{:x}", md5::compute(format!("{secret}{id}"))),
            3 => format!("$6${id:08}${}.", "a".repeat(85)),
            _ => format!("$5${id:08}${}.", "a".repeat(42)),
        };
        let (username, password) = (format!("user{id}"), password.as_str().into());
        Row::User(UserRow::from_cells(id, [username.as_str().into(), "a.org".into(), password]))
    }

    fn users(secret: &str) -> impl DoubleEndedIterator<Item = Row> {
        (1..=USERS).map(move |id| user(id, secret))
    }

    fn build(rows: impl IntoIterator<Item = Row>) -> Arc<Snapshot> {
        Writer::build(Conventions::default(), rows).0
    }

    fn kinds(snapshot: &Snapshot) -> Vec<HashKind> {
        let kind = |number: usize| {
            let name = format!("nobody{number}");
            let decoys = &snapshot.tenant(b"a.org").expect("a tenant").decoys;
            let decoy = decoys.choose(&snapshot.decoy_key, [b"a.org", name.as_bytes()]);
            decoy.expect("there are users").kind()
        };
        (0..1000).map(kind).collect()
    }

    fn differing(one: &[HashKind], other: &[HashKind]) -> usize {
        one.iter().zip(other).filter(|(one, other)| one != other).count()
    }

    #[test]
    fn nodes_with_the_same_rows_choose_the_same_kinds_however_they_came_by_them() {
        let first = build(users("pw"));
        assert!(kinds(&first) == kinds(&build(users("pw").rev())));
        let mut writer = Writer::new(Conventions::default());
        let mut edit = |rows: &mut dyn Iterator<Item = Row>, gone: &mut dyn Iterator<Item = i64>| {
            let mut draft = writer.draft();
            rows.for_each(|row| _ = draft.put(&row));
            gone.for_each(|id| draft.remove(Table::UserAuth, id));
            draft.commit().0
        };
        edit(&mut (200..400).map(|id| user(id, "pw")), &mut std::iter::empty());
        edit(&mut (-5..200).rev().map(|id| user(id, "old")), &mut std::iter::empty());
        let third = edit(&mut (1..200).map(|id| user(id, "pw")), &mut (-5..1).chain(301..400));
        assert!(kinds(&first) == kinds(&third) && *first == *third);
    }

    #[test]
    fn names_that_do_not_exist_have_each_kind_as_often_as_users() {
        let mut shares = BTreeMap::new();
        for kind in kinds(&build(users("pw"))) {
            *shares.entry(kind).or_insert(0) += 1;
        }
        let shares: Vec<i32> = shares.into_values().collect();
        // Five standard deviations.
        for (share, expected) in shares.iter().zip([600_i32, 200, 200]) {
            assert!((share - expected).abs() < 80, "{shares:?}");
        }
        assert_eq!(shares.len(), 3);
    }

    #[test]
    fn the_choice_stays_when_others_are_edited_and_depends_on_what_is_stored() {
        let before = kinds(&build(users("pw")));
        let after = build(users("pw").chain([user(USERS + 1, "pw")]).filter(|row| row.id() != 100));
        assert!(differing(&before, &kinds(&after)) < 20, "one user came and one went");
        let renewed = build(users("pw").map(|row| if row.id() == 101 { user(101, "new") } else { row }));
        assert_eq!(differing(&before, &kinds(&renewed)), 0, "one user has another password");
        // Without knowing all of the oldest rows, nobody can predict the choice.
        let unknown = build(users("pw").map(|row| if row.id() == 2 { user(2, "other") } else { row }));
        assert!(differing(&before, &kinds(&unknown)) > 300);
    }

    #[test]
    fn rows_that_no_password_matches_keep_no_secret_and_do_not_count() {
        let before = kinds(&build(users("pw")));
        let empty = |id| match user(id, "") {
            Row::User(row) => Row::User(UserRow { password: "".into(), ..row }),
            row => row,
        };
        assert!(before == kinds(&build(users("pw").chain((-9..1).map(empty)))));
        assert_eq!(format!("{:?}", DecoyKey::new([1].into_iter())), "Key");
    }
}
