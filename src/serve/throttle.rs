//! Counting of failed sign-ins, and refusal of those who fail too often.
//!
//! Three counts, each over a window that begins with its first failure: of one
//! account from one address, of one address over all accounts, and of one
//! account from anywhere. The last two may be [`SHARED`] times as high: an
//! office behind one address must not be locked out by one stale telephone, nor
//! an owner by somebody who guesses.
//!
//! All memory is allocated at the start and nothing waits for anything, so an
//! attack costs no more than its requests.

mod table;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::quality::SeedableRandomState;

use table::CountTable;

/// How many times the limit one address may fail over all accounts, and one
/// account from anywhere.
pub const SHARED: u32 = 10;
/// The largest limit; a larger one counts as this. More does not fit a slot.
pub const LARGEST_LIMIT: u32 = table::LARGEST / SHARED;
/// The longest window, a day; a longer one counts as this.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// What time is counted in; fine enough that a window of a second is one.
const TICK: Duration = Duration::from_millis(250);

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Failures of one account from one address, up to [`LARGEST_LIMIT`]; 0 for
    /// no throttling at all.
    pub limit: u32,
    /// The time over which they are counted, up to [`LONGEST_WINDOW`]. It is
    /// counted in quarters of a second and may be over by one too early.
    pub window: Duration,
}

/// Which count is too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// That of this account from this address.
    AccountFromAddress,
    /// That of this address over all accounts.
    Address,
    /// That of this account from anywhere.
    Account,
}

/// A sign-in that is refused without a look at the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    /// Why; if for more than one reason, the one that lasts longest.
    pub by: By,
    /// How long until it is not refused any more. Never 0.
    pub retry_after: Duration,
}

/// Counts failed sign-ins.
pub struct Throttle {
    /// None when nothing is throttled.
    tables: Option<CountTables>,
    start: Instant,
    /// Known to this process only, so that nobody can choose whom to share a
    /// slot with.
    key: SeedableRandomState,
}

/// One for each count, so that flooding one leaves the others alone.
struct CountTables {
    from_address: CountTable,
    address: CountTable,
    account: CountTable,
    passwords: CountTable,
}

/// Where a sign-in is in the tables.
struct Places {
    from_address: u64,
    address: u64,
    account: u64,
}

impl Throttle {
    /// Nothing has failed yet; it is `now`, and no later time is before it.
    pub fn new(settings: ThrottleSettings, now: Instant) -> Throttle {
        Throttle::keyed(settings, now, SeedableRandomState::random())
    }

    /// The key decides who shares a slot with whom: tests choose it, or they
    /// would fail as seldom as that happens.
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

    /// Whether a sign-in may be tried. `domain` and `username` are in the form
    /// in which they are compared, or every spelling would have its own count.
    ///
    /// While an attack keeps a table full of others that are over the limit,
    /// one in 131,072 of those who are not is refused for another (see `table`).
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

    /// Whether the address has failed within the window. Where nothing is
    /// throttled, none has.
    pub fn has_failed(&self, address: IpAddr, now: Instant) -> bool {
        self.at(now)
            .is_some_and(|(tables, now)| tables.address.count(self.key.hash_one(owner(address)), now) > 0)
    }

    /// Counts a failure, and says whether it is a guess: the same wrong password
    /// again, for the same account from the same address within a window, is a
    /// client with a stale saved password. When nothing is throttled nothing is
    /// remembered, so that each failure is a guess.
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
        // Repeats are counted too, so that a client that repeats itself all the
        // time stays known while others are forgotten.
        let password = self.key.hash_one((places.from_address, password));
        if tables.passwords.add(password, now) > 0 {
            return false;
        }
        tables.from_address.add(places.from_address, now);
        tables.address.add(places.address, now);
        tables.account.add(places.account, now);
        true
    }

    /// How many bytes it holds on the heap, which never changes.
    pub fn heap_bytes(&self) -> usize {
        let Some(tables) = &self.tables else { return 0 };
        [&tables.from_address, &tables.address, &tables.account, &tables.passwords]
            .map(CountTable::heap_bytes)
            .iter()
            .sum()
    }

    /// The tables and the time in ticks. 34 years are as many as a slot can
    /// hold; then throttling ends, rather than that old failures are new again.
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

/// The part of an address that one client cannot change: all of IPv4, and the
/// /64 of IPv6 that it is given as a whole.
pub(crate) fn owner(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // Its lower half is not 0, so it is never the same as one of IPv6.
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}
