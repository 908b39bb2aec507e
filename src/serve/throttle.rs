//! Counts failed sign-ins, and refuses sign-ins after too many failures.
//!
//! There are three counts, each over a window that begins with its first failure:
//! of one account from one address, of one address over all accounts, and of one
//! account from anywhere. The last two may be [`SHARED`] times as high: one stale
//! telephone must not lock out an office behind one address, and somebody who guesses
//! must not lock out an account's owner. An account that signed in from an address
//! within a month (`known`) is spared from both at this address.
//!
//! All memory is allocated at the start and no thread waits for another, except for a
//! moment when a lock begins, so an attack costs no more than its requests.

mod forwarders;
mod known;
mod locks;
mod table;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::quality::SeedableRandomState;

use crate::snapshot::Candidate;
use forwarders::Forwarders;
use known::KnownTable;
use locks::LockList;
use table::CountTable;

pub use locks::MOST_LISTED;

/// The limit is multiplied by this for one address over all accounts, and for one
/// account from anywhere.
pub const SHARED: u32 = 10;
/// The largest limit, because more does not fit a slot. A larger one is lowered to this.
pub const LARGEST_LIMIT: u32 = table::LARGEST / SHARED;
/// The longest window: a day. A longer one is shortened to this.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// The unit of time, which is fine enough for a window of one second.
const TICK: Duration = Duration::from_millis(250);
const TICKS_OF_HOUR: u32 = 4 * 3600;
const TICKS_OF_DAY: u32 = 24 * TICKS_OF_HOUR;

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

impl By {
    /// The name in the log, in metrics and in lists.
    pub fn name(self) -> &'static str {
        match self {
            By::AccountFromAddress => "account_from_address",
            By::Address => "address",
            By::Account => "account",
        }
    }
}

/// An account that somebody tries to sign in to, whether it exists or not.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// The domain, in the form in which it is compared. Otherwise every spelling would have
    /// a count of its own.
    pub domain: &'a [u8],
    /// The username, in that form too.
    pub username: &'a [u8],
    /// [`Throttle::stamp`]: with another password, the account has no failures.
    pub stamp: u64,
}

/// A sign-in: an account, and where the request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// The client's address, as far as it is known.
    pub address: IpAddr,
    /// Whether the request says that it was forwarded, although `address` is not that of a
    /// trusted proxy. Then other people may be behind it, so the count of the address
    /// refuses nothing.
    pub is_forwarded: bool,
    /// The account.
    pub account: Account<'a>,
}

/// A sign-in that is refused without checking the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttled {
    /// The reason; if there is more than one, the one that lasts longest.
    pub by: By,
    /// How long the sign-in is still refused. Never 0.
    pub retry_after: Duration,
}

/// What a failure changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// Whether it counts as a guess.
    pub is_guess: bool,
    /// The counts that it makes full.
    pub locked: Vec<By>,
    /// Whether to report that the address seems to be a proxy that should be trusted.
    pub seems_proxy: bool,
}

/// A lock in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The count that is full.
    pub by: By,
    /// The address, if the count is about one.
    pub address: Option<IpAddr>,
    /// The domain and the username as they are compared, if the count is about an account;
    /// 128 bytes of each at most.
    pub account: Option<(String, String)>,
    /// How long it lasts. Never 0.
    pub left: Duration,
}

/// Which counts to forget.
#[derive(Debug, Clone, Copy)]
pub enum Cleared<'a> {
    /// All.
    All,
    /// Those of an address, and those of accounts from there.
    Address(IpAddr),
    /// Those of an account.
    Account(Account<'a>),
    /// That of an account from an address.
    AccountFromAddress(IpAddr, Account<'a>),
}

/// Counts failed sign-ins.
pub struct Throttle {
    /// None when nothing is throttled.
    tables: Option<CountTables>,
    locks: LockList,
    forwarders: Forwarders,
    start: Instant,
    /// In ticks.
    window: u32,
    /// Known to this process only, so that nobody can cause collisions on purpose.
    key: SeedableRandomState,
}

/// One table for each count, so that flooding one does not affect the others.
struct CountTables {
    from_address: CountTable,
    address: CountTable,
    account: CountTable,
    passwords: CountTable,
    known: KnownTable,
}

impl CountTables {
    fn counts(&self) -> [(By, &CountTable); 3] {
        // Of two that last equally long, the last one is named.
        [
            (By::Account, &self.account),
            (By::Address, &self.address),
            (By::AccountFromAddress, &self.from_address),
        ]
    }

    fn of(&self, by: By) -> &CountTable {
        match by {
            By::AccountFromAddress => &self.from_address,
            By::Address => &self.address,
            By::Account => &self.account,
        }
    }
}

/// The hashes that find a sign-in in the tables.
#[derive(Debug, Clone, Copy)]
struct Places {
    from_address: u64,
    address: u64,
    account: u64,
}

impl Places {
    fn of(&self, by: By) -> u64 {
        match by {
            By::AccountFromAddress => self.from_address,
            By::Address => self.address,
            By::Account => self.account,
        }
    }
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
        let table = |full, sets| CountTable::new(full, window as u32, sets);
        let tables = (limit > 0).then(|| CountTables {
            from_address: table(limit, table::LARGE),
            address: table(limit * SHARED, table::SMALL),
            account: table(limit * SHARED, table::SMALL),
            passwords: table(table::LARGEST, table::LARGE),
            known: KnownTable::new(),
        });
        let (locks, forwarders) = (LockList::default(), Forwarders::default());
        Throttle { tables, locks, forwarders, start: now, window: window as u32, key }
    }

    /// A number that changes when the stored password of an account changes, and when the user is
    /// switched off or on. Accounts that do
    /// not exist have none, but finding that out takes as long.
    pub fn stamp(&self, candidate: &Candidate<'_>) -> u64 {
        candidate.stamp(&self.key)
    }

    /// Whether a sign-in may be tried.
    ///
    /// While an attack keeps a table full of others that are over the limit, one in
    /// 131,072 other sign-ins is refused by mistake (see `table`).
    ///
    /// # Errors
    /// When there were too many failures.
    pub fn check(&self, attempted: &Attempted<'_>, now: Instant) -> Result<(), Throttled> {
        let Some((tables, now)) = self.at(now) else { return Ok(()) };
        let places = self.places(attempted);
        let refused = tables.counts().map(|(by, table)| (by, table.full(places.of(by), now)));
        let is_shared = |by| by != By::AccountFromAddress;
        let is_known = refused.iter().any(|&(by, ticks)| is_shared(by) && ticks.is_some())
            && self.knows(tables, attempted, now);
        let applies = |by| match by {
            By::AccountFromAddress => true,
            By::Address => !is_known && !attempted.is_forwarded,
            By::Account => !is_known,
        };
        let longest = refused.into_iter().filter_map(|(by, ticks)| Some((by, ticks?)));
        match longest.filter(|&(by, _)| applies(by)).max_by_key(|&(_, ticks)| ticks) {
            Some((by, ticks)) => Err(Throttled { by, retry_after: TICK * ticks }),
            None => Ok(()),
        }
    }

    /// Whether the address has failed within the window, and the account has not signed in from
    /// there within a month. Always false if nothing is throttled.
    pub fn has_failed(&self, attempted: &Attempted<'_>, now: Instant) -> bool {
        self.at(now).is_some_and(|(tables, now)| {
            let has_failed = tables.address.count(self.places(attempted).address, now) > 0;
            has_failed && !self.knows(tables, attempted, now)
        })
    }

    /// Remembers that the account signed in from the address, for a month.
    pub fn succeed(&self, attempted: &Attempted<'_>, now: Instant) {
        if let Some((tables, now)) = self.at(now) {
            let (account, pair) = self.names(attempted);
            tables.known.note(account, pair, now / TICKS_OF_DAY);
        }
    }

    /// Counts a failure. If the same wrong password comes again, for the same account from the
    /// same address within a window, it is no guess but a client with a stale saved password. If
    /// nothing is throttled, nothing is remembered, so each failure is a guess.
    pub fn fail(&self, attempted: &Attempted<'_>, password: &[u8], now: Instant) -> Failure {
        let Some((tables, now)) = self.at(now) else {
            return Failure { is_guess: true, ..Failure::default() };
        };
        let places = self.places(attempted);
        // Repeats are counted too, so that a password that a client repeats often is
        // remembered longer than others.
        let password = self.key.hash_one((places.from_address, password));
        if tables.passwords.add(password, now) > 0 {
            return Failure::default();
        }
        let begins = |(by, table): (By, &CountTable)| {
            let is_full = table.fill(places.of(by), now);
            (is_full && !(by == By::Address && attempted.is_forwarded)).then_some(by)
        };
        let locked: Vec<By> = tables.counts().into_iter().filter_map(begins).collect();
        locked.iter().for_each(|by| self.locks.add(*by, attempted, places));
        let note =
            |owner| self.forwarders.note(owner, self.names(attempted).0, now, self.window, TICKS_OF_HOUR);
        let seems_proxy = attempted.is_forwarded && note(owner(attempted.address));
        Failure { is_guess: true, locked, seems_proxy }
    }

    /// The locks in force that began last, at most [`MOST_LISTED`], the newest first. A lock of
    /// an account whose stored password has changed is over; `stamp` is the current stamp of a
    /// domain and a username.
    pub fn locks(&self, stamp: impl Fn(&str, &str) -> u64, now: Instant) -> Vec<Lock> {
        let Some((tables, now)) = self.at(now) else { return Vec::new() };
        let mut list = self.locks.open();
        list.retain(|lock| tables.of(lock.by).full(lock.places.of(lock.by), now).is_some());
        let in_force = list.iter().rev().filter_map(|lock| {
            let left = TICK * tables.of(lock.by).full(lock.places.of(lock.by), now)?;
            let has_account = lock.by != By::Address;
            if has_account && stamp(&lock.domain, &lock.username) != lock.stamp {
                return None;
            }
            Some(Lock {
                by: lock.by,
                address: (lock.by != By::Account).then_some(lock.address),
                account: has_account.then(|| (lock.domain.to_string(), lock.username.to_string())),
                left,
            })
        });
        in_force.collect()
    }

    /// Forgets the locks of accounts that have another stamp by now. Otherwise they would be in
    /// force again if the account gets its old stamp back, as a user who is switched off and on
    /// again does. `stamp` is the current stamp of a domain and a username.
    pub fn forget_changed(&self, stamp: impl Fn(&str, &str) -> u64, now: Instant) {
        let Some((tables, now)) = self.at(now) else { return };
        let of_account = |lock: &locks::Listed| {
            (lock.by != By::Address).then(|| (lock.domain.clone(), lock.username.clone(), lock.stamp))
        };
        // Not under the list's lock, for which a request could wait.
        let mut changed: Vec<_> = self.locks.open().iter().filter_map(of_account).collect();
        changed.retain(|(domain, username, was)| stamp(domain, username) != *was);
        if changed.is_empty() {
            return;
        }
        self.locks.open().retain(|lock| {
            let is_changed = of_account(lock).is_some_and(|account| changed.contains(&account));
            if is_changed {
                tables.of(lock.by).remove(lock.places.of(lock.by), now);
            }
            !is_changed
        });
    }

    /// Forgets counts, and returns how many of them were full. Counts of an account from single
    /// addresses are found only if they are in the list of locks.
    pub fn clear(&self, cleared: &Cleared<'_>, now: Instant) -> usize {
        let Some((tables, now)) = self.at(now) else { return 0 };
        let mut list = self.locks.open();
        let mut found: Vec<(By, u64)> = Vec::new();
        let mut add_listed = |is_it: &dyn Fn(&locks::Listed) -> bool| {
            let from_addresses = list.iter().filter(|lock| lock.by == By::AccountFromAddress && is_it(lock));
            found.extend(from_addresses.map(|lock| (lock.by, lock.places.from_address)));
        };
        match *cleared {
            Cleared::All => {
                list.clear();
                return tables.counts().map(|(_, table)| table.clear(now)).iter().sum();
            }
            Cleared::Address(address) => {
                let owner = owner(address);
                add_listed(&|lock| self::owner(lock.address) == owner);
                found.extend([false, true].map(|is| (By::Address, self.key.hash_one((owner, is)))));
            }
            Cleared::Account(account) => {
                let place = self.account(&account);
                add_listed(&|lock| lock.places.account == place);
                found.push((By::Account, place));
            }
            Cleared::AccountFromAddress(address, account) => {
                let places = self.places(&Attempted { address, is_forwarded: false, account });
                found.push((By::AccountFromAddress, places.from_address));
            }
        }
        found.into_iter().filter(|&(by, place)| tables.of(by).remove(place, now)).count()
    }

    /// The time over which failures are counted.
    pub fn window(&self) -> Duration {
        TICK * self.window
    }

    /// How many bytes it uses on the heap at most. Nearly all are allocated at the start.
    pub fn heap_bytes(&self) -> usize {
        let Some(tables) = &self.tables else { return 0 };
        let counts = tables.counts().map(|(_, table)| table.heap_bytes()).iter().sum::<usize>();
        let others = tables.passwords.heap_bytes() + tables.known.heap_bytes();
        counts + others + locks::BYTES + forwarders::BYTES
    }

    /// The tables and the time in ticks. A slot can hold 34 years; after that throttling
    /// ends, because old failures would seem to be new.
    fn at(&self, now: Instant) -> Option<(&CountTables, u32)> {
        let ticks = now.saturating_duration_since(self.start).as_millis() / TICK.as_millis();
        Some((self.tables.as_ref()?, u32::try_from(ticks).ok()?))
    }

    fn places(&self, attempted: &Attempted<'_>) -> Places {
        let owner = owner(attempted.address);
        let account = self.account(&attempted.account);
        Places {
            from_address: self.key.hash_one((account, owner)),
            address: self.key.hash_one((owner, attempted.is_forwarded)),
            account,
        }
    }

    fn account(&self, account: &Account<'_>) -> u64 {
        self.key.hash_one((account.domain, account.username, account.stamp))
    }

    fn knows(&self, tables: &CountTables, attempted: &Attempted<'_>, now: u32) -> bool {
        let (account, pair) = self.names(attempted);
        tables.known.knows(account, pair, now / TICKS_OF_DAY)
    }

    /// The hashes of the account, and of the account with the address, whatever the password is.
    fn names(&self, attempted: &Attempted<'_>) -> (u64, u64) {
        let account = self.key.hash_one((attempted.account.domain, attempted.account.username));
        (account, self.key.hash_one((account, owner(attempted.address))))
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
