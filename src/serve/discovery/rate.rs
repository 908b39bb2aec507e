//! How many answers the responder gives, in memory of a fixed size.

use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::time::Instant;

/// How many answers an address gets at once. A client asks up to three times for each of its addresses.
const OF_ADDRESS: f64 = 10.0;
/// How many answers all get at once: a whole office that switches on.
const OF_ALL: f64 = 500.0;
/// How long it takes until a full allowance is there again.
const REFILL: Duration = Duration::from_secs(10);
/// How many addresses are told apart. More of them share allowances.
const SLOTS: usize = 4096;

/// The allowances.
pub struct Rates {
    all: Allowance,
    slots: Box<[Allowance]>,
    /// With a random key, so that nobody can choose with which addresses to share.
    hasher: RandomState,
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rates")
    }
}

#[derive(Clone)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    /// Takes one of `most`, if one is left.
    fn take(&mut self, most: f64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        self.at = now;
        self.left = most.min(self.left + most * passed.div_duration_f64(REFILL));
        let is_allowed = self.left >= 1.0;
        self.left -= f64::from(u8::from(is_allowed));
        is_allowed
    }
}

impl Rates {
    /// Full allowances.
    pub fn new(now: Instant) -> Rates {
        let slots = vec![Allowance { left: OF_ADDRESS, at: now }; SLOTS];
        Rates {
            all: Allowance { left: OF_ALL, at: now },
            slots: slots.into(),
            hasher: RandomState::default(),
        }
    }

    /// Whether this address may get an answer now.
    pub fn allow(&mut self, address: Ipv4Addr, now: Instant) -> bool {
        let hash = usize::try_from(self.hasher.hash_one(address) % SLOTS as u64).unwrap_or(0);
        // The address first, so that a loud one takes nothing from the others.
        self.slots[hash].take(OF_ADDRESS, now) && self.all.take(OF_ALL, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_ten_answers_and_then_one_a_second() {
        let (start, address) = (Instant::now(), Ipv4Addr::LOCALHOST);
        let mut rates = Rates::new(start);
        let count = |rates: &mut Rates, now| (0..50).filter(|_| rates.allow(address, now)).count();
        assert_eq!(count(&mut rates, start), 10);
        assert_eq!(count(&mut rates, start + Duration::from_secs(2)), 2);
        assert_eq!(count(&mut rates, start + Duration::from_secs(3600)), 10);
    }

    #[test]
    fn all_addresses_together_get_five_hundred_answers_in_ten_seconds() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        let mut count = |now| (0..100_000_u32).filter(|&n| rates.allow(Ipv4Addr::from(n), now)).count();
        assert_eq!(count(start), 500);
        assert_eq!(count(start + Duration::from_secs(1)), 50);
    }
}
