//! What unknown users are compared with.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use crate::credential::{Credential, Kind};

/// Credentials to compare with when there is no such user, as many of each
/// kind as real users have, so that the time an answer takes does not tell
/// which names exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Decoys {
    /// Sorted by kind, so that a choice is the same after a restart of counting.
    kinds: Vec<(Kind, Credential, usize)>,
    total: usize,
}

impl Decoys {
    /// Counts a user's credential in. One that no password matches is none.
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

    /// Counts a user's credential out again.
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

    /// The same for a name each time, and hardly another after users have come
    /// and gone, as a real user's would be.
    pub fn choose(&self, name: &[u8]) -> Option<&Credential> {
        static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let share = u128::from(KEYED.hash_one(name)) * self.total as u128;
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

/// The same choices; whose hash stands for a kind does not count.
impl PartialEq for Decoys {
    fn eq(&self, other: &Self) -> bool {
        let counts = |decoys: &Decoys| -> Vec<(Kind, usize)> {
            decoys.kinds.iter().map(|(kind, _, count)| (kind.clone(), *count)).collect()
        };
        self.total == other.total && counts(self) == counts(other)
    }
}
