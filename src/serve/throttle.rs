//! Counts failed sign-ins, and refuses sign-ins after too many failures.
//!
//! There are three counts, each over a window that begins with its first failure:
//! of one account from one address, of one address over all accounts, and of one
//! account from anywhere. The last two may be [`SHARED`] times as high: one stale
//! telephone must not lock out an office behind one address, and somebody who guesses
//! must not lock out an account's owner.
//!
//! All memory is allocated at the start and no thread waits for another, so an
//! attack costs no more than its requests.

mod table;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::quality::SeedableRandomState;

use table::CountTable;

/// The limit is multiplied by this for one address over all accounts, and for one
/// account from anywhere.
pub const SHARED: u32 = 10;
/// The largest limit, because more does not fit a slot. A larger one is lowered to this.
pub const LARGEST_LIMIT: u32 = table::LARGEST / SHARED;
/// The longest window: a day. A longer one is shortened to this.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// The unit of time, which is fine enough for a window of one second.
const TICK: Duration = Duration::from_millis(250);

/// How many failures are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Failures of one account from one address, up to [`LARGEST_LIMIT`]; 0 means
    /// no throttling at all.
    pub limit: u32,
    /// The time over which they are counted, up to [`LONGEST_WINDOW`]. It is
    /// measured in quarters of a second, and may end up to one quarter too early.
    pub window: Duration,
}

/// Which count is too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The count of this account from this address.
    AccountFromAddress,
    /// The count of this address over all accounts.
    Address,
    /// The count of this account from anywhere.
    Account,
}

/// A sign-in that is refused without checking the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    /// The reason; if there is more than one, the one that lasts longest.
    pub by: By,
    /// How long the sign-in is still refused. Never 0.
    pub retry_after: Duration,
}

/// Counts failed sign-ins.
pub struct Throttle {
    /// None when nothing is throttled.
    tables: Option<CountTables>,
    start: Instant,
    /// Known to this process only, so that nobody can cause collisions on purpose.
    key: SeedableRandomState,
}

/// One table for each count, so that flooding one does not affect the others.
struct CountTables {
    from_address: CountTable,
    address: CountTable,
    account: CountTable,
    passwords: CountTable,
}

/// The hashes that find a sign-in in the tables.
struct Places {
    from_address: u64,
    address: u64,
    account: u64,
}

impl Throttle {
    /// Creates a throttle without failures. Times before `now` count as `now`.
    pub fn new(settings: ThrottleSettings, now: Instant) -> Throttle {
        Throttle::keyed(settings, now, SeedableRandomState::random())
    }

    /// The key decides which sign-ins share a slot. Tests choose it, or collisions
    /// would make them fail now and then.
    fn keyed(settings: ThrottleSettings, now: Instant, key: SeedableRandomState) -> Throttle {
        let window = settings.window.min(LONGEST_WINDOW).as_millis().div_ceil(TICK.as_millis()).max(1);
        let limit = settings.limit.min(LARGEST_LIMIT);
        let table = |full| CountTable::new(full, window as u32);
        let tables = (limit > 0).then(|| CountTables {
            from_address: table(limit),
            address: table(limit * SHARED),
            account: table(limit * SHARED),
            passwords: table(table::LARGEST),
        });
        Throttle { tables, start: now, key }
    }

    /// Whether a sign-in may be tried. `domain` and `username` must be in the form
    /// in which they are compared, or every spelling would have its own count.
    ///
    /// While an attack keeps a table full of others that are over the limit, one in
    /// 131,072 other sign-ins is refused by mistake (see `table`).
    ///
    /// # Errors
    /// When there were too many failures.
    pub fn check(
        &self,
        address: IpAddr,
        domain: &[u8],
        username: &[u8],
        now: Instant,
    ) -> Result<(), Throttled> {
        let Some((tables, now)) = self.at(now) else { return Ok(()) };
        let places = self.places(address, domain, username);
        let refused = [
            (By::Account, tables.account.full(places.account, now)),
            (By::Address, tables.address.full(places.address, now)),
            (By::AccountFromAddress, tables.from_address.full(places.from_address, now)),
        ];
        let longest = refused.into_iter().filter_map(|(by, ticks)| Some((by, ticks?)));
        match longest.max_by_key(|&(_, ticks)| ticks) {
            Some((by, ticks)) => Err(Throttled { by, retry_after: TICK * ticks }),
            None => Ok(()),
        }
    }

    /// Whether the address has failed within the window. Always false if nothing is
    /// throttled.
    pub fn has_failed(&self, address: IpAddr, now: Instant) -> bool {
        self.at(now)
            .is_some_and(|(tables, now)| tables.address.count(self.key.hash_one(owner(address)), now) > 0)
    }

    /// Counts a failure, and returns whether it is a guess. If the same wrong password
    /// comes again, for the same account from the same address within a window, it is
    /// no guess but a client with a stale saved password. If nothing is throttled,
    /// nothing is remembered, so each failure is a guess.
    pub fn fail(
        &self,
        address: IpAddr,
        domain: &[u8],
        username: &[u8],
        password: &[u8],
        now: Instant,
    ) -> bool {
        let Some((tables, now)) = self.at(now) else { return true };
        let places = self.places(address, domain, username);
        // Repeats are counted too, so that a password that a client repeats often is
        // remembered longer than others.
        let password = self.key.hash_one((places.from_address, password));
        if tables.passwords.add(password, now) > 0 {
            return false;
        }
        tables.from_address.add(places.from_address, now);
        tables.address.add(places.address, now);
        tables.account.add(places.account, now);
        true
    }

    /// How many bytes it uses on the heap. This never changes.
    pub fn heap_bytes(&self) -> usize {
        let Some(tables) = &self.tables else { return 0 };
        [&tables.from_address, &tables.address, &tables.account, &tables.passwords]
            .map(CountTable::heap_bytes)
            .iter()
            .sum()
    }

    /// The tables and the time in ticks. A slot can hold 34 years; after that throttling
    /// ends, because old failures would seem to be new.
    fn at(&self, now: Instant) -> Option<(&CountTables, u32)> {
        let ticks = now.saturating_duration_since(self.start).as_millis() / TICK.as_millis();
        Some((self.tables.as_ref()?, u32::try_from(ticks).ok()?))
    }

    fn places(&self, address: IpAddr, domain: &[u8], username: &[u8]) -> Places {
        let owner = owner(address);
        let account = self.key.hash_one((domain, username));
        Places {
            from_address: self.key.hash_one((account, owner)),
            address: self.key.hash_one(owner),
            account,
        }
    }
}

/// The part of an address that a client cannot change: all of an IPv4 address, and the
/// /64 network of an IPv6 address, because a client gets a whole /64.
pub(crate) fn owner(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // The lower half is not 0, so it never equals that of an IPv6 address.
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}
