//! Remembers wrong passwords, so that a repeated one costs only a keyed digest.
//!
//! Users that exist and users that do not share one table. So neither the response time nor what
//! is forgotten reveals whether a user exists. All memory is allocated at the start. Each account
//! has a set of [`WAYS`] entries, which it shares with the few accounts that hash to the same
//! set. Many wrong passwords for one account only replace entries of its own set.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{SlowHash, Tag, keyed, truncated};

/// The number of wrong passwords that a set remembers.
const WAYS: usize = 8;
/// Eight digests each, so the table uses half a mebibyte.
const SETS: usize = 4096;

/// The table of wrong passwords. A process has one.
pub struct WrongPasswords {
    /// The entries, the most recent first. A digest of zeros marks an empty entry.
    sets: Box<[Mutex<[Tag; WAYS]>]>,
    /// The hash that selects the set of an account. Only this process knows its seed, so nobody
    /// can choose with which account to share a set.
    places: RandomState,
    key: Hmac<Sha256>,
}

/// A digest of a password that was sent for an account.
#[derive(Clone, Copy)]
pub struct Guess {
    set: usize,
    tag: Tag,
}

impl Default for WrongPasswords {
    fn default() -> Self {
        WrongPasswords {
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
            places: RandomState::default(),
            key: keyed(),
        }
    }
}

impl WrongPasswords {
    /// Creates a guess for an account and a password. The stored hash is included, so a changed
    /// row gives a different guess. It is also included whether the user exists: a password that
    /// was wrong for a decoy may be right for a user who is added later.
    pub(crate) fn guess(&self, account: [&[u8]; 2], slow: &SlowHash, is_real: bool, password: &str) -> Guess {
        let mut digest = self.key.clone();
        for part in [account[0], account[1], slow.hash.as_bytes()] {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.update(&[is_real.into()]);
        digest.update(password.as_bytes());
        Guess { set: self.places.hash_one(account) as usize % SETS, tag: truncated(digest) }
    }

    /// Whether the guess is known to be wrong.
    pub fn knows(&self, guess: Guess) -> bool {
        let mut set = self.sets[guess.set].lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = set.iter().position(|tag| *tag == guess.tag) else { return false };
        set[..=at].rotate_right(1);
        true
    }

    /// Remembers that the guess is wrong. It replaces the guess that was not repeated for the
    /// longest time.
    pub fn remember(&self, guess: Guess) {
        if !self.knows(guess) {
            let mut set = self.sets[guess.set].lock().unwrap_or_else(PoisonError::into_inner);
            set.rotate_right(1);
            set[0] = guess.tag;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Credential, Owner, PwdFmt, Verdict};
    use super::*;
    use std::sync::Arc;

    const ALICE: [&[u8]; 2] = [b"a.org", b"alice"];

    fn slow(salt: &str) -> Arc<SlowHash> {
        let hash = format!("$6${salt}${}.", "a".repeat(85));
        let owner = Owner { username: "alice", realm: "a.org" };
        match Credential::parse(&hash, PwdFmt::Md5, owner).expect("usable").verify("x") {
            Verdict::Ask(slow) => slow,
            _ => panic!("a slow hash"),
        }
    }

    #[test]
    fn a_guess_is_that_of_one_password_for_one_account_with_one_stored_hash() {
        let (wrong, stored) = (WrongPasswords::default(), slow("one"));
        wrong.remember(wrong.guess(ALICE, &stored, true, "pw"));
        assert!(wrong.knows(wrong.guess(ALICE, &slow("one"), true, "pw")));
        for other in [
            wrong.guess(ALICE, &stored, true, "pw2"),
            wrong.guess(ALICE, &stored, false, "pw"),
            wrong.guess(ALICE, &slow("two"), true, "pw"),
            wrong.guess([b"a.org", b"bob"], &stored, true, "pw"),
            wrong.guess([b"a.orga", b"lice"], &stored, true, "pw"),
        ] {
            assert!(!wrong.knows(other));
        }
    }

    #[test]
    fn of_an_account_the_guesses_that_come_again_are_kept() {
        let (wrong, stored) = (WrongPasswords::default(), slow("one"));
        let guess = |number: usize| wrong.guess(ALICE, &stored, true, &format!("pw {number}"));
        for number in 0..1000 {
            wrong.remember(guess(number));
            assert!(wrong.knows(guess(0)), "{number}");
        }
        assert!((993..1000).all(|number| wrong.knows(guess(number))));
        assert!((1..993).all(|number| !wrong.knows(guess(number))));
    }
}
