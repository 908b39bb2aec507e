//! Wrong passwords that were computed: the same one again costs a keyed digest.
//!
//! One table for users that exist and for those that do not, so that neither
//! the time of a repetition nor what is forgotten tells them apart. All memory
//! is allocated at the start. An account has a set of [`WAYS`] places, which it
//! shares with the few accounts that fall on it by chance: whoever sends many
//! wrong passwords for one account has that one's forgotten, and no others.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{SlowHash, Tag, keyed, truncated};

/// Wrong passwords remembered of one account.
const WAYS: usize = 8;
/// With eight digests each: half a mebibyte.
const SETS: usize = 4096;

/// See the module. Of a process there is one.
pub struct WrongPasswords {
    /// The latest first. A digest of zeros is none.
    sets: Box<[Mutex<[Tag; WAYS]>]>,
    /// Known to this process only, so that nobody can choose whom to share a
    /// set with.
    places: RandomState,
    key: Hmac<Sha256>,
}

/// A password that somebody sends for an account, as it is remembered.
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
    /// The guess that the password of an account is `password`. The stored hash
    /// is part of it, so that a changed row is another guess; and so is whether
    /// the user exists: what was wrong for a decoy may be right for the user
    /// who comes to be.
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

    /// Remembers that the guess is wrong, in place of the one that was not
    /// repeated for longest.
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
