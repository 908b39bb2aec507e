use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use super::*;
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A throttle in which the same names share a slot in every run. With random keys,
/// about one run of these tests in 150 would confuse two passwords.
fn new(settings: ThrottleSettings, now: Instant) -> Throttle {
    Throttle::keyed(settings, now, SeedableRandomState::fixed())
}

fn throttle(limit: u32) -> (Throttle, Instant) {
    let now = Instant::now();
    (new(ThrottleSettings { limit, window: MINUTE }, now), now)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The `number`th address of 2001:db8::/32, each in a /64 of its own.
fn attacker(number: u32) -> IpAddr {
    let net: u128 = 0x2001_0db8 << 96;
    Ipv6Addr::from(net | u128::from(number) << 64 | 1).into()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A sign-in from `address`, whose request does not say that it was forwarded.
fn attempted<'a>(address: IpAddr, domain: &'a [u8], username: &'a [u8]) -> Attempted<'a> {
    Attempted { address, is_forwarded: false, account: Account { domain, username, stamp: 0 } }
}

/// Fails once, and returns whether it counted.
fn fail(
    throttle: &Throttle,
    from: IpAddr,
    domain: &[u8],
    username: &[u8],
    password: &[u8],
    now: Instant,
) -> bool {
    throttle.fail(&attempted(from, domain, username), password, now).is_guess
}

fn check_at(
    throttle: &Throttle,
    from: IpAddr,
    domain: &[u8],
    username: &[u8],
    now: Instant,
) -> Result<(), Throttled> {
    throttle.check(&attempted(from, domain, username), now)
}

/// Fails `times` times, with another password each time.
fn guess(throttle: &Throttle, from: IpAddr, username: &str, times: u32, now: Instant) {
    for password in 0..times {
        assert!(fail(throttle, from, b"a.org", username.as_bytes(), &password.to_le_bytes(), now));
    }
}

fn check(throttle: &Throttle, from: IpAddr, username: &str, now: Instant) -> Result<(), Throttled> {
    check_at(throttle, from, b"a.org", username.as_bytes(), now)
}

fn refused(by: By, seconds: u64) -> Result<(), Throttled> {
    Err(Throttled { by, retry_after: Duration::from_secs(seconds) })
}

#[test]
fn ten_failures_throttle_this_account_from_this_address_and_nothing_else() {
    let (throttle, now) = throttle(10);
    let (here, elsewhere) = (address("192.0.2.1"), address("192.0.2.2"));
    guess(&throttle, here, "alice", 9, now);
    assert_eq!(check(&throttle, here, "alice", now), Ok(()));
    fail(&throttle, here, b"a.org", b"alice", b"tenth", now);
    assert_eq!(check(&throttle, here, "alice", now), refused(By::AccountFromAddress, 60));
    assert_eq!(check(&throttle, here, "bob", now), Ok(()));
    assert_eq!(check_at(&throttle, here, b"b.org", b"alice", now), Ok(()));
    assert_eq!(check(&throttle, elsewhere, "alice", now), Ok(()));
}

#[test]
fn ten_times_as_many_over_many_accounts_throttle_the_address() {
    let (throttle, now) = throttle(10);
    let here = address("192.0.2.1");
    for user in 0..99 {
        guess(&throttle, here, &format!("user{user}"), 1, now);
    }
    assert_eq!(check(&throttle, here, "alice", now), Ok(()));
    guess(&throttle, here, "user99", 1, now);
    assert_eq!(check(&throttle, here, "alice", now), refused(By::Address, 60));
    assert_eq!(check(&throttle, address("192.0.2.2"), "user1", now), Ok(()));
}

#[test]
fn ten_times_as_many_from_many_addresses_throttle_the_account() {
    let (throttle, now) = throttle(10);
    let owner = address("192.0.2.1");
    for number in 0..99 {
        guess(&throttle, attacker(number), "alice", 1, now);
    }
    assert_eq!(check(&throttle, owner, "alice", now), Ok(()));
    guess(&throttle, attacker(99), "alice", 1, now);
    assert_eq!(check(&throttle, owner, "alice", now), refused(By::Account, 60));
    assert_eq!(check(&throttle, attacker(1), "bob", now), Ok(()));
}

#[test]
fn the_same_wrong_password_counts_once_a_window() {
    let (throttle, now) = throttle(2);
    let here = address("192.0.2.1");
    let fail = |from, user: &str, password: &str, after| {
        self::fail(&throttle, from, b"a.org", user.as_bytes(), password.as_bytes(), now + seconds(after))
    };
    assert!(fail(here, "alice", "stale", 0));
    for _ in 0..5000 {
        assert!(!fail(here, "alice", "stale", 59));
    }
    assert_eq!(check(&throttle, here, "alice", now), Ok(()));
    assert!(fail(here, "bob", "stale", 59));
    assert!(fail(address("192.0.2.2"), "alice", "stale", 59));
    assert!(fail(here, "alice", "another", 59));
    assert_eq!(check(&throttle, here, "alice", now + seconds(59)), refused(By::AccountFromAddress, 1));
    // Its window is over, and so is the count's.
    assert!(fail(here, "alice", "stale", 60));
    assert_eq!(check(&throttle, here, "alice", now + seconds(60)), Ok(()));
}

#[test]
fn names_and_passwords_that_are_the_same_when_joined_are_not_the_same() {
    let (throttle, now) = throttle(1);
    let here = address("192.0.2.1");
    assert!(fail(&throttle, here, b"ab", b"c", b"d", now));
    assert!(check_at(&throttle, here, b"ab", b"c", now).is_err());
    assert_eq!(check_at(&throttle, here, b"a", b"bc", now), Ok(()));
    assert!(fail(&throttle, here, b"ab", b"", b"cd", now));
}

#[test]
fn the_window_begins_with_the_first_failure() {
    let (throttle, now) = throttle(2);
    let here = address("192.0.2.1");
    let later = now + seconds(50);
    fail(&throttle, here, b"a.org", b"alice", b"1", now);
    fail(&throttle, here, b"a.org", b"alice", b"2", later);
    assert_eq!(check(&throttle, here, "alice", later), refused(By::AccountFromAddress, 10));
    assert_eq!(check(&throttle, here, "alice", now + seconds(60)), Ok(()));
    fail(&throttle, here, b"a.org", b"alice", b"3", now + seconds(60));
    assert_eq!(check(&throttle, here, "alice", now + seconds(60)), Ok(()));
}

#[test]
fn of_several_reasons_the_one_that_lasts_longest_is_told() {
    let (throttle, now) = throttle(1);
    let here = address("192.0.2.1");
    let later = now + seconds(30);
    guess(&throttle, here, "alice", 1, now);
    for user in 0..9 {
        guess(&throttle, here, &format!("user{user}"), 1, later);
    }
    // The window of the address began with alice's failure, so both end together.
    assert_eq!(check(&throttle, here, "alice", later), refused(By::AccountFromAddress, 30));
    assert_eq!(check(&throttle, here, "user1", later), refused(By::AccountFromAddress, 60));
    assert_eq!(check(&throttle, here, "bob", later), refused(By::Address, 30));
}

#[test]
fn an_address_of_ipv6_is_its_64_and_a_mapped_one_is_of_ipv4() {
    let (throttle, now) = throttle(1);
    guess(&throttle, address("2001:db8::1"), "alice", 1, now);
    assert!(check(&throttle, address("2001:db8::ffff:1:2:3"), "alice", now).is_err());
    assert_eq!(check(&throttle, address("2001:db8:0:1::1"), "alice", now), Ok(()));
    guess(&throttle, address("::ffff:192.0.2.1"), "alice", 1, now);
    assert!(check(&throttle, address("192.0.2.1"), "alice", now).is_err());
    assert_eq!(check(&throttle, address("192.0.2.2"), "alice", now), Ok(()));
    assert_eq!(check(&throttle, address("::1"), "alice", now), Ok(()));
}

#[test]
fn a_limit_of_0_throttles_nothing_and_takes_no_memory() {
    let (throttle, now) = throttle(0);
    // Another program may count them, from the log.
    for password in 0..1000u32 {
        assert!(fail(&throttle, attacker(0), b"a.org", b"alice", &password.to_le_bytes(), now));
    }
    assert_eq!(check(&throttle, attacker(0), "alice", now), Ok(()));
    assert_eq!(throttle.heap_bytes(), 0);
}

#[test]
fn a_limit_or_window_that_is_too_large_counts_as_the_largest() {
    let now = Instant::now();
    let throttle = new(ThrottleSettings { limit: u32::MAX, window: Duration::MAX }, now);
    let here = address("192.0.2.1");
    guess(&throttle, here, "alice", LARGEST_LIMIT - 1, now);
    assert_eq!(check(&throttle, here, "alice", now), Ok(()));
    fail(&throttle, here, b"a.org", b"alice", b"last", now);
    assert_eq!(check(&throttle, here, "alice", now), refused(By::AccountFromAddress, 24 * 3600));
    for user in 1..SHARED {
        guess(&throttle, here, &format!("user{user}"), LARGEST_LIMIT, now);
    }
    assert_eq!(check(&throttle, here, "bob", now), refused(By::Address, 24 * 3600));
}

#[test]
fn a_window_of_nothing_is_the_shortest_there_is() {
    let now = Instant::now();
    let throttle = new(ThrottleSettings { limit: 1, window: Duration::ZERO }, now);
    guess(&throttle, attacker(0), "alice", 1, now);
    let retry_after = check(&throttle, attacker(0), "alice", now).unwrap_err().retry_after;
    assert_eq!(retry_after, TICK);
    assert_eq!(check(&throttle, attacker(0), "alice", now + TICK), Ok(()));
}

#[test]
fn nothing_old_is_new_again_however_long_the_process_runs() {
    let (throttle, now) = throttle(1);
    let here = address("192.0.2.1");
    let wrap = TICK * u32::MAX + TICK;
    guess(&throttle, here, "alice", 1, now + seconds(1));
    for after in [seconds(61), wrap / 4, wrap / 2, wrap - TICK, wrap, wrap + seconds(1), wrap * 2] {
        assert_eq!(check(&throttle, here, "alice", now + after), Ok(()), "after {after:?}");
    }
    // In its last minute of 34 years it still throttles, and no longer than that.
    let late = now + wrap - seconds(10);
    guess(&throttle, here, "alice", 1, late);
    assert_eq!(check(&throttle, here, "alice", late), refused(By::AccountFromAddress, 60));
    assert_eq!(check(&throttle, here, "alice", late + seconds(10)), Ok(()));
    // Then nothing is remembered, as with a limit of 0.
    assert!(fail(&throttle, here, b"a.org", b"alice", b"late", late + seconds(10)));
    assert_eq!(check(&throttle, here, "alice", late + seconds(10)), Ok(()));
}

#[test]
fn a_time_before_the_start_is_the_start() {
    let start = Instant::now() + MINUTE;
    let throttle = new(ThrottleSettings { limit: 1, window: MINUTE }, start);
    guess(&throttle, attacker(0), "alice", 1, start - seconds(30));
    assert_eq!(check(&throttle, attacker(0), "alice", start), refused(By::AccountFromAddress, 60));
}

#[test]
fn failures_elsewhere_do_not_lock_an_account_out_where_it_signed_in_within_a_month() {
    let (throttle, now) = throttle(2);
    let (home, day) = (address("192.0.2.1"), seconds(24 * 3600));
    let alice = attempted(home, b"a.org", b"alice");
    throttle.succeed(&alice, now);
    for (after, expected) in [(0, Ok(())), (29, Ok(())), (40, refused(By::Account, 60))] {
        let now = now + day * after;
        (0..SHARED * 2).for_each(|number| guess(&throttle, attacker(number), "alice", 1, now));
        assert_eq!(check(&throttle, home, "alice", now), expected, "{after} days");
        assert_eq!(check(&throttle, attacker(1000), "alice", now), refused(By::Account, 60));
    }
    // Nor do those of others at the same address, but its own failures do.
    throttle.succeed(&alice, now + day * 40);
    let now = now + day * 41;
    (0..SHARED * 2).for_each(|number| guess(&throttle, home, &format!("user{number}"), 1, now));
    assert_eq!(check(&throttle, home, "bob", now), refused(By::Address, 60));
    assert_eq!(check(&throttle, home, "alice", now), Ok(()));
    guess(&throttle, home, "alice", 2, now);
    assert_eq!(check(&throttle, home, "alice", now), refused(By::AccountFromAddress, 60));
}

#[test]
fn another_stored_password_has_no_failures_but_the_address_keeps_them() {
    let (throttle, now) = throttle(2);
    let here = address("192.0.2.1");
    guess(&throttle, here, "alice", 2, now);
    (1..SHARED * 2).for_each(|number| guess(&throttle, attacker(number), "alice", 1, now));
    let mut alice = attempted(here, b"a.org", b"alice");
    assert!(throttle.check(&alice, now).is_err());
    alice.account.stamp = 7;
    assert_eq!(throttle.check(&alice, now), Ok(()));
    assert!(throttle.has_failed(&alice, now));
}

#[test]
fn an_address_that_forwards_for_others_is_reported_and_not_locked() {
    let (throttle, now) = throttle(2);
    let proxy = address("192.0.2.1");
    let of =
        |name: &'static str| Attempted { is_forwarded: true, ..attempted(proxy, b"a.org", name.as_bytes()) };
    let mut reports = 0;
    for number in 0..100 {
        let name = format!("user{number}");
        let attempted = Attempted { is_forwarded: true, ..attempted(proxy, b"a.org", name.as_bytes()) };
        let failure = throttle.fail(&attempted, b"wrong", now);
        assert!(failure.is_guess && failure.locked.is_empty());
        reports += u32::from(failure.seems_proxy);
    }
    assert_eq!(reports, 1);
    assert_eq!(throttle.check(&of("alice"), now), Ok(()));
    assert!(throttle.has_failed(&of("alice"), now));
    // Requests that were not forwarded have a count of their own, and one account has its limit.
    assert_eq!(check(&throttle, proxy, "alice", now), Ok(()));
    for password in [&b"1"[..], b"2"] {
        throttle.fail(&of("alice"), password, now);
    }
    assert_eq!(throttle.check(&of("alice"), now), refused(By::AccountFromAddress, 60));
}

#[test]
fn a_lock_that_was_lifted_and_begins_again_is_listed_once() {
    let (throttle, now) = throttle(2);
    let here = attacker(1);
    let alice = Account { domain: b"a.org", username: b"alice", stamp: 0 };
    // The same wrong password again would be no guess, even after the lock was lifted.
    for passwords in [[1, 2], [3, 4], [5, 6]] {
        for password in passwords {
            assert!(fail(&throttle, here, b"a.org", b"alice", &[password], now));
        }
        assert_eq!(throttle.locks(|_, _| 0, now).len(), 1);
        assert_eq!(throttle.clear(&Cleared::Account(alice), now), 1);
    }
}

#[test]
fn a_lock_begins_once_is_listed_and_can_be_lifted() {
    let (throttle, now) = throttle(2);
    let (here, alice) = (address("192.0.2.1"), Account { domain: b"a.org", username: b"alice", stamp: 0 });
    let locked = |from, name: &str, password: u8| {
        throttle.fail(&attempted(from, b"a.org", name.as_bytes()), &[password], now).locked
    };
    assert_eq!([0, 1, 2].map(|password| locked(here, "alice", password).len()), [0, 1, 0]);
    let begun: Vec<By> = (1..30).flat_map(|number| locked(attacker(number), "alice", 0)).collect();
    assert_eq!(begun, [By::Account]);
    let begun: Vec<By> = (0..30).flat_map(|number| locked(here, &format!("user{number}"), 0)).collect();
    assert_eq!(begun, [By::Address]);
    let listed = || -> Vec<(By, bool, bool)> {
        let locks = throttle.locks(|_, _| 0, now);
        locks.iter().map(|lock| (lock.by, lock.address.is_some(), lock.account.is_some())).collect()
    };
    let all = [(By::Address, true, false), (By::Account, false, true), (By::AccountFromAddress, true, true)];
    assert_eq!(listed(), all);
    // A lock of a password that was replaced is over.
    assert_eq!(throttle.locks(|_, _| 1, now).len(), 1);
    assert_eq!(throttle.locks(|_, _| 0, now + MINUTE), []);

    let (throttle, now) = self::throttle(2);
    let lock = || {
        guess(&throttle, here, "alice", 2, now);
        (1..20).for_each(|number| guess(&throttle, attacker(number), "alice", 1, now));
        (0..20).for_each(|number| guess(&throttle, here, &format!("user{number}"), 1, now));
    };
    let check = |from: IpAddr, name: &str| check(&throttle, from, name, now).map_err(|refused| refused.by);
    lock();
    assert_eq!(throttle.clear(&Cleared::Account(alice), now), 2);
    assert_eq!(check(attacker(99), "alice"), Ok(()));
    assert_eq!(check(here, "bob"), Err(By::Address));
    assert_eq!(throttle.clear(&Cleared::Address(here), now), 1);
    assert_eq!([check(here, "bob"), check(here, "alice")], [Ok(()), Ok(())]);
    assert_eq!(throttle.locks(|_, _| 0, now), []);
    throttle.clear(&Cleared::All, now);

    let three = |name: &str| {
        (3..5u8).for_each(|password| {
            _ = throttle.fail(&attempted(here, b"a.org", name.as_bytes()), &[password], now)
        })
    };
    three("alice");
    three("bob");
    assert_eq!(throttle.clear(&Cleared::AccountFromAddress(here, alice), now), 1);
    assert_eq!([check(here, "alice"), check(here, "bob")], [Ok(()), Err(By::AccountFromAddress)]);
    assert_eq!(throttle.clear(&Cleared::All, now), 1);
    assert_eq!(check(here, "bob"), Ok(()));
}

#[test]
fn all_tables_and_lists_take_two_mebibytes_at_most() {
    let (throttle, _) = throttle(10);
    assert!(throttle.heap_bytes() <= 2 << 20, "{}", throttle.heap_bytes());
}

/// Asserts that `taken` of `all` were confused with others no more often than `table`
/// says, with a statistical margin.
fn few(taken: u32, all: u32) {
    let expected = f64::from(all) / 131_072.0;
    assert!(f64::from(taken) < 3.0 * expected + 20.0, "{taken} of {all} were confused with others");
}

#[test]
fn two_million_attackers_free_nobody_and_take_no_memory() {
    const ATTACKERS: u32 = 2_000_000;
    const INNOCENTS: u32 = 100_000;
    let (throttle, now) = throttle(2);
    let bytes = throttle.heap_bytes();
    let (one, many) = (address("192.0.2.1"), address("192.0.2.2"));
    guess(&throttle, one, "alice", 2, now);
    for user in 0..SHARED {
        guess(&throttle, many, &format!("user{user}"), 2, now);
    }
    for number in 0..20 {
        guess(&throttle, address(&format!("198.51.100.{number}")), "carol", 1, now);
    }
    // An address one failure below its limit, with more failures than any attacker.
    for user in 0..SHARED * 2 - 1 {
        guess(&throttle, address("192.0.2.3"), &format!("user{user}"), 1, now);
    }

    let during = now + seconds(30);
    let name = |kind, number: u32| format!("{kind}{number}");
    let (mut failures, mut counted) = (0, 0);
    for number in 0..ATTACKERS {
        let (from, user) = (attacker(number), name("victim", number));
        // Three of ten fail twice, which is too often.
        for password in 0..if number % 10 < 3 { 2u8 } else { 1 } {
            failures += 1;
            counted += u32::from(fail(&throttle, from, b"a.org", user.as_bytes(), &[password], during));
        }
    }
    few(failures - counted, failures);

    assert_eq!(throttle.heap_bytes(), bytes);
    assert_eq!(check(&throttle, one, "alice", during), refused(By::AccountFromAddress, 30));
    assert_eq!(check(&throttle, many, "bob", during), refused(By::Address, 30));
    assert_eq!(check(&throttle, address("203.0.113.1"), "carol", during), refused(By::Account, 30));
    for password in [b"1", b"2"] {
        fail(&throttle, address("192.0.2.3"), b"a.org", b"last", password, during);
    }
    assert_eq!(check(&throttle, address("192.0.2.3"), "bob", during), refused(By::Address, 30));

    // Only the table of accounts from addresses is full of throttled ones.
    let innocents = (0..INNOCENTS).map(|number| (attacker(ATTACKERS + number), name("user", number)));
    let refused = innocents.filter(|(from, user)| check(&throttle, *from, user, during).is_err()).count();
    few(refused as u32, INNOCENTS);
    // One window after the attack, all is as before.
    assert!((0..1000).all(|n| check(&throttle, attacker(n), &name("victim", n), during + MINUTE).is_ok()));
}

#[test]
fn no_failure_is_lost_when_threads_fail_the_same_account() {
    const THREADS: u32 = 4;
    const EACH: u32 = 50;
    let (throttle, now) = throttle(THREADS * EACH);
    for round in 0..50 {
        let from = attacker(round);
        let user = format!("user{round}");
        let fail = |password: u32| {
            self::fail(&throttle, from, b"a.org", user.as_bytes(), &password.to_le_bytes(), now)
        };
        let barrier = Barrier::new(THREADS as usize);
        let counted = AtomicU32::new(0);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (fail, barrier, counted) = (&fail, &barrier, &counted);
                scope.spawn(move || {
                    barrier.wait();
                    // Each thread has its own passwords, and one that all threads send.
                    let own = (1..EACH).map(|password| fail(thread * EACH + password));
                    let all = [fail(u32::MAX)].into_iter().chain(own);
                    counted.fetch_add(all.filter(|counted| *counted).count() as u32, Relaxed);
                });
            }
        });
        assert_eq!(counted.load(Relaxed), THREADS * (EACH - 1) + 1);
        for more in 0..THREADS - 1 {
            assert_eq!(check(&throttle, from, &user, now), Ok(()), "round {round}, {more} more");
            assert!(fail(1000 + more));
        }
        assert_eq!(check(&throttle, from, &user, now), refused(By::AccountFromAddress, 60));
    }
}

/// The same in code that is plainly right: counts by name, times in ticks.
#[derive(Default)]
struct Model {
    counts: HashMap<String, (u64, u32)>,
    known: HashSet<(IpAddr, u8)>,
}

impl Model {
    const WINDOW: u64 = 40;

    fn count(&self, name: &str, now: u64) -> (u64, u32) {
        match self.counts.get(name) {
            Some(&(start, count)) if now < start + Self::WINDOW => (start, count),
            _ => (now, 0),
        }
    }

    fn add(&mut self, name: String, now: u64) {
        let (start, count) = self.count(&name, now);
        self.counts.insert(name, (start, count + 1));
    }

    fn names(from: IpAddr, user: u8) -> [(String, u32, By); 3] {
        [
            (format!("{from} {user}"), 1, By::AccountFromAddress),
            (format!("{from}"), SHARED, By::Address),
            (format!("{user}"), SHARED, By::Account),
        ]
    }

    fn check(&self, from: IpAddr, user: u8, limit: u32, now: u64) -> Result<(), Vec<Throttled>> {
        let refused: Vec<_> = Self::names(from, user)
            .into_iter()
            .filter_map(|(name, times, by)| {
                let (start, count) = self.count(&name, now);
                let left = (start + Self::WINDOW - now) as u32;
                let is_spared = by != By::AccountFromAddress && self.known.contains(&(from, user));
                (count >= limit * times && !is_spared).then_some(Throttled { by, retry_after: TICK * left })
            })
            .collect();
        if refused.is_empty() { Ok(()) } else { Err(refused) }
    }

    fn fail(&mut self, from: IpAddr, user: u8, password: u8, now: u64) -> bool {
        let seen = format!("{from} {user} {password}");
        let new = self.count(&seen, now).1 == 0;
        if new {
            self.add(format!("{from} {user} {password}"), now);
            Self::names(from, user).into_iter().for_each(|(name, ..)| self.add(name, now));
        }
        new
    }
}

proptest! {
    #[test]
    fn it_counts_as_a_map_without_bounds_does(
        limit in 1u32..4,
        steps in prop::collection::vec((0u64..800, 0u32..4, 0u8..4, any::<u8>()), 1..400),
    ) {
        let start = Instant::now();
        let throttle = new(ThrottleSettings { limit, window: TICK * Model::WINDOW as u32 }, start);
        let mut model = Model::default();
        let mut passed = Duration::ZERO;
        for (wait, from, user, password) in steps {
            passed += Duration::from_millis(wait);
            let (now, ticks) = (start + passed, (passed.as_millis() / TICK.as_millis()) as u64);
            let from = attacker(from);
            if password > 250 {
                throttle.succeed(&attempted(from, b"a.org", &[user]), now);
                model.known.insert((from, user));
                continue;
            }
            let expected = model.check(from, user, limit, ticks);
            let got = check_at(&throttle, from, b"a.org", &[user], now);
            match (&got, &expected) {
                (Ok(()), Ok(())) => {}
                (Err(got), Err(expected)) => {
                    prop_assert!(expected.contains(got));
                    prop_assert!(expected.iter().all(|other| other.retry_after <= got.retry_after));
                    // A client that waits this long is let in, and not sooner.
                    let then = now + got.retry_after;
                    prop_assert_eq!(check_at(&throttle, from, b"a.org", &[user], then), Ok(()));
                    prop_assert!(check_at(&throttle, from, b"a.org", &[user], then - TICK).is_err());
                }
                _ => prop_assert!(false, "{:?} is not {:?}", got, expected),
            }
            prop_assert_eq!(
                fail(&throttle, from, b"a.org", &[user], &[password % 32], now),
                model.fail(from, user, password % 32, ticks)
            );
        }
    }
}
