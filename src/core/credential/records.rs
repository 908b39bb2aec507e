//! Right passwords of slow hashes, remembered as keyed records that outlive the process.
//!
//! A record is an HMAC of account, stored hash and password. Without the key nobody can test
//! passwords with it. With another stored hash, the record matches nothing. There is one
//! record an account, under a keyed number that stands for the account.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{SlowHash, Tag, truncated};

/// How the encoded records begin. The number is that of the format.
const MAGIC: &[u8] = b"jitsiprovs sign-ins 1\n";
/// An account's number and its tag.
const RECORD: usize = size_of::<u64>() + size_of::<Tag>();
/// The length of the HMAC at the end.
const SEAL: usize = 32;

/// The records of all accounts.
pub struct SignInRecords {
    key: Hmac<Sha256>,
    records: Mutex<HashMap<u64, Kept>>,
    is_changed: AtomicBool,
}

struct Kept {
    tag: Tag,
    /// Whether this process has used it.
    is_used: bool,
}

/// A record of one password.
#[derive(Clone, Copy)]
pub struct SignInRecord {
    account: u64,
    tag: Tag,
}

/// Bytes that are not encoded records, or were encoded with another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or was written with another secret")]
pub struct NotRecords;

impl SignInRecords {
    /// Creates the records of `key`, without any.
    pub fn new(key: Hmac<Sha256>) -> SignInRecords {
        SignInRecords { key, records: Mutex::default(), is_changed: AtomicBool::new(false) }
    }

    /// The record of a password for an account, given as folded domain and username. An account
    /// that does not exist has a record that matches none.
    pub(crate) fn record(
        &self,
        account: [&[u8]; 2],
        slow: &SlowHash,
        is_real: bool,
        password: &str,
    ) -> SignInRecord {
        let keyed = |what: u8, parts: &[&[u8]]| {
            let start = self.key.clone().chain_update([what]);
            let add = |digest: Hmac<Sha256>, part: &&[u8]| {
                digest.chain_update((part.len() as u64).to_le_bytes()).chain_update(part)
            };
            truncated(parts.iter().fold(start, add))
        };
        let number = keyed(b'a', &account);
        let [domain, username] = account;
        let tag = keyed(
            if is_real { b'p' } else { b'd' },
            &[domain, username, slow.hash.as_bytes(), password.as_bytes()],
        );
        let number = number.first_chunk().expect("a tag has 16 bytes");
        SignInRecord { account: u64::from_le_bytes(*number), tag }
    }

    /// Whether the password was right before.
    pub fn knows(&self, record: SignInRecord) -> bool {
        let mut records = self.open();
        let kept = records.get_mut(&record.account);
        kept.is_some_and(|kept| {
            let is_it: bool = kept.tag.ct_eq(&record.tag).into();
            kept.is_used |= is_it;
            is_it
        })
    }

    /// Remembers that the password was right. It replaces the account's earlier record.
    pub fn note(&self, record: SignInRecord) {
        self.open().insert(record.account, Kept { tag: record.tag, is_used: true });
        self.is_changed.store(true, Relaxed);
    }

    /// Encodes the records if there are new ones. If there are more than `most` of them, those
    /// that this process has not used are dropped first.
    pub fn encode(&self, most: usize) -> Option<Vec<u8>> {
        if !self.is_changed.swap(false, Relaxed) {
            return None;
        }
        let mut records = self.open();
        if records.len() > most {
            let mut used: Vec<(bool, u64)> = records.iter().map(|(at, kept)| (kept.is_used, *at)).collect();
            used.sort_unstable();
            used[..records.len() - most].iter().for_each(|(_, at)| _ = records.remove(at));
        }
        let mut bytes = Vec::with_capacity(MAGIC.len() + records.len() * RECORD + SEAL);
        bytes.extend_from_slice(MAGIC);
        for (account, kept) in &*records {
            bytes.extend_from_slice(&account.to_le_bytes());
            bytes.extend_from_slice(&kept.tag);
        }
        drop(records);
        let seal = self.seal(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal);
        Some(bytes)
    }

    /// Notes that the encoded records could not be kept, so that they are encoded again.
    pub fn lose(&self) {
        self.is_changed.store(true, Relaxed);
    }

    /// Takes over encoded records. Returns how many there are.
    ///
    /// # Errors
    /// When any byte differs from what was encoded, or the key does.
    pub fn decode(&self, bytes: &[u8]) -> Result<usize, NotRecords> {
        let (sealed, seal) = bytes.split_last_chunk::<SEAL>().ok_or(NotRecords)?;
        self.seal(sealed).verify_slice(seal).map_err(|_| NotRecords)?;
        let records = sealed.strip_prefix(MAGIC).ok_or(NotRecords)?;
        let mut kept = self.open();
        for record in records.chunks_exact(RECORD) {
            let (account, tag) = record.split_at(size_of::<u64>());
            let account = u64::from_le_bytes(account.try_into().map_err(|_| NotRecords)?);
            let tag = tag.try_into().map_err(|_| NotRecords)?;
            kept.insert(account, Kept { tag, is_used: false });
        }
        Ok(kept.len())
    }

    fn seal(&self, bytes: &[u8]) -> Hmac<Sha256> {
        self.key.clone().chain_update(b"f").chain_update(bytes)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::slow::Scheme;
    use super::*;
    use hmac::KeyInit;

    const ALICE: [&[u8]; 2] = [b"a.org", b"alice"];

    fn records(key: &str) -> SignInRecords {
        SignInRecords::new(Hmac::new_from_slice(key.as_bytes()).expect("any length"))
    }

    fn slow(salt: &str) -> SlowHash {
        SlowHash::new(format!("$6${salt}$x").into(), Scheme::ShaCrypt)
    }

    #[test]
    fn a_record_is_that_of_an_account_its_stored_hash_and_its_password() {
        let one = records("key");
        one.note(one.record(ALICE, &slow("salt"), true, "pw"));
        let two = records("key");
        assert_eq!(two.decode(&one.encode(10).expect("changed")), Ok(1));
        assert!(one.encode(10).is_none());
        one.lose();
        assert!(one.encode(10).is_some());
        for records in [&one, &two] {
            assert!(records.knows(records.record(ALICE, &slow("salt"), true, "pw")));
            for other in [
                records.record(ALICE, &slow("salt"), true, "pw2"),
                records.record(ALICE, &slow("salt"), false, "pw"),
                records.record(ALICE, &slow("other"), true, "pw"),
                records.record([b"a.org", b"bob"], &slow("salt"), true, "pw"),
                records.record([b"a.orga", b"lice"], &slow("salt"), true, "pw"),
            ] {
                assert!(!records.knows(other));
            }
        }
    }

    #[test]
    fn only_whole_records_of_the_same_key_are_taken() {
        let one = records("key");
        one.note(one.record(ALICE, &slow("salt"), true, "pw"));
        let bytes = one.encode(10).expect("changed");
        assert!(!bytes.windows(5).any(|part| part == b"alice"));
        assert_eq!(records("other").decode(&bytes), Err(NotRecords));
        for at in 0..bytes.len() {
            assert_eq!(records("key").decode(&bytes[..at]), Err(NotRecords));
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(records("key").decode(&damaged), Err(NotRecords));
        }
    }

    #[test]
    fn of_too_many_records_those_that_were_used_are_kept() {
        let old = records("key");
        let record = |records: &SignInRecords, number: u32| {
            records.record([b"a.org", &number.to_le_bytes()], &slow("salt"), true, "pw")
        };
        (0..100).for_each(|number| old.note(record(&old, number)));
        let new = records("key");
        new.decode(&old.encode(100).expect("changed")).expect("whole");
        assert!((0..10).all(|number| new.knows(record(&new, number))));
        (100..110).for_each(|number| new.note(record(&new, number)));
        let last = records("key");
        assert_eq!(last.decode(&new.encode(20).expect("changed")), Ok(20));
        assert!((0..10).chain(100..110).all(|number| last.knows(record(&last, number))));
    }
}
