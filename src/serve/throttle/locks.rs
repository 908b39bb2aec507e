//! The locks that are in force now, with names: the tables of counts hold only hashes.
//!
//! The list is bounded. Only a failure that begins a lock, and operators, take its mutex.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Attempted, By, Places};

/// The most locks that are listed: the newest.
pub const MOST_LISTED: usize = 512;
/// The most bytes of a name that are kept.
const SHOWN: usize = 128;
/// The most memory that the list takes, in bytes, with the overhead of the allocator.
pub(super) const BYTES: usize = MOST_LISTED * (size_of::<Listed>() + 2 * (SHOWN + 16));

/// A lock with what is needed to find its count.
pub(super) struct Listed {
    pub by: By,
    pub address: IpAddr,
    pub domain: Box<str>,
    pub username: Box<str>,
    pub stamp: u64,
    pub places: Places,
}

/// The newest locks, the oldest first.
#[derive(Default)]
pub(super) struct LockList(Mutex<VecDeque<Listed>>);

impl LockList {
    pub fn add(&self, by: By, attempted: &Attempted<'_>, places: Places) {
        let shown = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            Box::from(&name[..name.floor_char_boundary(SHOWN)])
        };
        let account = attempted.account;
        let listed = Listed {
            by,
            address: attempted.address,
            domain: shown(account.domain),
            username: shown(account.username),
            stamp: account.stamp,
            places,
        };
        let mut list = self.open();
        // A count that was lifted and is full again is one lock.
        list.retain(|lock| (lock.by, lock.places.of(by)) != (by, places.of(by)));
        if list.len() >= MOST_LISTED {
            list.pop_front();
        }
        list.push_back(listed);
    }

    pub fn open(&self) -> MutexGuard<'_, VecDeque<Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
