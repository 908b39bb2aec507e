//! The queue: which request is next, and which is refused when the queue is full.
//!
//! Requests from an address that failed lately come after all others. Among equals,
//! the request whose address or tenant had the most recent turn comes last. So
//! addresses take turns, and so do tenants: neither many requests from one address
//! nor many addresses that ask for one tenant keep the others waiting.
//!
//! An account has one turn at a time. So many guesses for one account use one core, and
//! when the same password was sent many times at once, the first result serves all.
//!
//! Each turn searches the whole queue: it is short, and a turn takes milliseconds.

use hashbrown::HashMap;

/// The most requests that may wait in total, for one or two turns at a time. Two cores
/// compute about as many argon2id hashes while a client waits.
pub(super) const MOST: usize = 1024;
/// As many more may wait for each further turn.
const MOST_FOR_EACH: usize = MOST / 2;
/// Which part of these may wait for one tenant.
const OF_TENANT: (usize, usize) = (3, 4);
/// The most that may wait from one address, which may be that of a whole office. More only
/// come from an attacker: a larger office is behind several addresses.
pub(super) const MOST_OF_ADDRESS: usize = 720;

/// The length of each of two arrays: one holds the latest turns of addresses, the other
/// the latest turns of tenants. Addresses that share a place by chance count as one, and so
/// do tenants, which is rare.
const REMEMBERED: usize = 4096;

/// The address, tenant and account of a request, as keyed hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flows {
    pub address: u64,
    pub tenant: u64,
    pub account: u64,
}

/// The result of entering the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It has a turn.
    Free,
    /// It waits under this number.
    Waits(u64),
    /// The queue has no room for it.
    Refused,
}

/// The queue. `T` notifies a request that it has a turn.
pub(super) struct FairQueue<T> {
    /// Turns that no request has. If there are any, requests wait only for accounts that
    /// have a turn.
    free: usize,
    /// The accounts that have a turn.
    running: Vec<u64>,
    most: usize,
    most_of_tenant: usize,
    waiting: Vec<Waiting<T>>,
    /// How many requests have joined the queue.
    came: u64,
    /// How many turns were given out.
    turns: u64,
    /// The latest turn of addresses and of tenants, by their hashes.
    addresses: Vec<u64>,
    tenants: Vec<u64>,
}

struct Waiting<T> {
    number: u64,
    flows: Flows,
    has_failed: bool,
    tell: T,
}

impl<T> FairQueue<T> {
    /// At most `free` requests have a turn at the same time.
    pub fn new(free: usize) -> FairQueue<T> {
        let none = vec![0; REMEMBERED];
        let most = MOST.max(MOST_FOR_EACH * free);
        FairQueue {
            free,
            running: Vec::new(),
            most,
            most_of_tenant: most * OF_TENANT.0 / OF_TENANT.1,
            waiting: Vec::new(),
            came: 0,
            turns: 0,
            addresses: none.clone(),
            tenants: none,
        }
    }

    /// Adds a request. If another request must leave to make room, also returns its `tell`,
    /// which the caller drops.
    pub fn enter(&mut self, flows: Flows, has_failed: bool, tell: T) -> (Entered, Option<T>) {
        if self.free > 0 && !self.running.contains(&flows.account) {
            self.begin(flows);
            return (Entered::Free, None);
        }
        let count =
            |is_it: &dyn Fn(Flows) -> bool| self.waiting.iter().filter(|one| is_it(one.flows)).count();
        if count(&|other| other.address == flows.address) >= MOST_OF_ADDRESS {
            return (Entered::Refused, None);
        }
        let is_full_of_tenant = count(&|other| other.tenant == flows.tenant) >= self.most_of_tenant;
        self.came += 1;
        let number = self.came;
        self.waiting.push(Waiting { number, flows, has_failed, tell });
        let mut left = None;
        if is_full_of_tenant {
            left = self.crowd_out(|other| other.tenant == flows.tenant);
        } else if self.waiting.len() > self.most {
            left = self.crowd_out(|_| true);
        }
        match left {
            Some(own) if own.number == number => (Entered::Refused, None),
            left => (Entered::Waits(number), left.map(|other| other.tell)),
        }
    }

    /// Ends the turn of an account.
    pub fn end(&mut self, account: u64) {
        if let Some(at) = self.running.iter().position(|other| *other == account) {
            self.running.swap_remove(at);
            self.free += 1;
        }
    }

    /// Returns the request that gets a turn now, and its account. After the end of a turn, there
    /// is at most one.
    pub fn next(&mut self) -> Option<(T, u64)> {
        if self.free == 0 {
            return None;
        }
        let rank = |one: &Waiting<T>| {
            let turns = (self.addresses[place(one.flows.address)], self.tenants[place(one.flows.tenant)]);
            (one.has_failed, turns.0.max(turns.1), turns.0.min(turns.1), one.number)
        };
        let is_ready = |at: &usize| !self.running.contains(&self.waiting[*at].flows.account);
        let ready = (0..self.waiting.len()).filter(is_ready);
        let at = ready.min_by_key(|&at| rank(&self.waiting[at]))?;
        let next = self.waiting.swap_remove(at);
        self.begin(next.flows);
        Some((next.tell, next.flows.account))
    }

    /// Removes a request that does not wait any more.
    pub fn leave(&mut self, number: u64) -> Option<T> {
        let at = self.waiting.iter().position(|one| one.number == number)?;
        Some(self.waiting.swap_remove(at).tell)
    }

    /// Moves the requests of an address that has failed behind all others.
    pub fn fail(&mut self, address: u64) {
        for one in self.waiting.iter_mut().filter(|one| one.flows.address == address) {
            one.has_failed = true;
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    fn begin(&mut self, flows: Flows) {
        self.free -= 1;
        self.running.push(flows.account);
        self.turns += 1;
        self.addresses[place(flows.address)] = self.turns;
        self.tenants[place(flows.tenant)] = self.turns;
    }

    /// Removes the worst request. Requests whose address has failed are worse than others,
    /// then those whose address has more requests waiting, then the later ones.
    fn crowd_out(&mut self, among: impl Fn(Flows) -> bool) -> Option<Waiting<T>> {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for one in &self.waiting {
            *counts.entry(one.flows.address).or_default() += 1;
        }
        let candidates = self.waiting.iter().enumerate().filter(|(_, one)| among(one.flows));
        let worst =
            candidates.max_by_key(|(_, one)| (one.has_failed, counts[&one.flows.address], one.number));
        let at = worst?.0;
        Some(self.waiting.swap_remove(at))
    }
}

fn place(flow: u64) -> usize {
    flow as usize % REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Named = FairQueue<&'static str>;

    const MOST_OF_TENANT: usize = MOST * OF_TENANT.0 / OF_TENANT.1;

    /// The flows of an account that nobody else asks for.
    fn flows(address: u64, tenant: u64) -> Flows {
        static ACCOUNTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1000);
        let account = ACCOUNTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Flows { address, tenant, account }
    }

    /// Whose turn in a queue with one turn is over.
    const FIRST: u64 = 1;

    /// A queue whose only turn is taken.
    fn busy() -> Named {
        let mut line = FairQueue::new(1);
        let first = Flows { account: FIRST, ..flows(4000, 4000) };
        assert_eq!(line.enter(first, false, ""), (Entered::Free, None));
        line
    }

    fn waits(line: &mut Named, address: u64, tenant: u64, has_failed: bool, name: &'static str) {
        let (entered, crowded_out) = line.enter(flows(address, tenant), has_failed, name);
        assert!(matches!(entered, Entered::Waits(_)) && crowded_out.is_none(), "{name}");
    }

    fn order(line: &mut Named) -> Vec<&'static str> {
        let mut running = FIRST;
        let next = || {
            line.end(running);
            let (name, account) = line.next()?;
            running = account;
            Some(name)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn one_address_with_many_requests_takes_turns_with_the_others() {
        let mut line = busy();
        for tenant in 0..200 {
            waits(&mut line, 1, tenant % 2, false, "many");
        }
        for address in 2..5 {
            waits(&mut line, address, 0, false, "one");
        }
        let order = order(&mut line);
        let last = order.iter().rposition(|name| *name == "one").expect("all had a turn");
        assert!(last <= 2 * 3, "{:?}", &order[..12]);
    }

    #[test]
    fn one_tenant_with_many_addresses_takes_turns_with_the_others() {
        let mut line = busy();
        for address in 0..500 {
            waits(&mut line, address, 1, false, "many");
        }
        // An office behind one address.
        for _ in 0..5 {
            waits(&mut line, 1000, 2, false, "few");
        }
        let order = order(&mut line);
        let last = order.iter().rposition(|name| *name == "few").expect("all had a turn");
        assert!(last <= 2 * 5, "{:?}", &order[..12]);
    }

    #[test]
    fn tenants_take_turns_even_behind_one_address() {
        let mut line = busy();
        for _ in 0..600 {
            waits(&mut line, 1, 1, false, "many");
        }
        for _ in 0..5 {
            waits(&mut line, 1, 2, false, "few");
        }
        let order = order(&mut line);
        let last = order.iter().rposition(|name| *name == "few").expect("all had a turn");
        assert!(last <= 2 * 5, "{:?}", &order[..12]);
    }

    #[test]
    fn an_account_has_one_turn_at_a_time() {
        let mut line = FairQueue::new(2);
        let alice = |address| Flows { account: 7, ..flows(address, 1) };
        assert_eq!(line.enter(alice(1), false, "first"), (Entered::Free, None));
        assert!(matches!(line.enter(alice(2), false, "second"), (Entered::Waits(_), None)));
        assert_eq!(line.next(), None, "there is a turn, but none for this account");
        let bob = flows(3, 1);
        assert_eq!(line.enter(bob, false, "other"), (Entered::Free, None));
        line.end(bob.account);
        assert_eq!(line.next(), None);
        line.end(7);
        assert_eq!(line.next(), Some(("second", 7)));
        assert_eq!(line.next(), None);
    }

    #[test]
    fn more_may_wait_where_more_are_computed_at_once() {
        assert_eq!([1, 2, 8].map(|free| Named::new(free).most), [1024, 1024, 4096]);
    }

    #[test]
    fn an_address_that_has_failed_waits_behind_those_that_have_not() {
        let mut line = busy();
        waits(&mut line, 1, 1, true, "failed before");
        waits(&mut line, 2, 1, false, "fails now");
        waits(&mut line, 3, 1, false, "first");
        waits(&mut line, 4, 1, false, "second");
        line.fail(2);
        assert_eq!(order(&mut line), ["first", "second", "failed before", "fails now"]);
    }

    #[test]
    fn of_one_address_so_many_wait_and_no_more() {
        let mut line = busy();
        for _ in 0..MOST_OF_ADDRESS {
            waits(&mut line, 1, 1, false, "waits");
        }
        assert_eq!(line.enter(flows(1, 2), false, "too many"), (Entered::Refused, None));
        waits(&mut line, 2, 1, false, "another");
    }

    #[test]
    fn where_there_is_no_room_those_who_failed_and_the_largest_crowd_make_it() {
        for of_tenant in [MOST_OF_TENANT, 1] {
            let mut line = busy();
            let room = if of_tenant > 1 { MOST_OF_TENANT } else { MOST };
            let tenant = |number: usize| if of_tenant > 1 { 1 } else { number as u64 };
            waits(&mut line, 1, tenant(0), true, "failed");
            for number in 1..room - 1 {
                let address = 2 + (number % 64) as u64;
                waits(&mut line, address, tenant(number), false, "one of a dozen");
            }
            waits(&mut line, 2, tenant(room), false, "one more");
            let full = |line: &mut Named, address, has_failed| {
                line.enter(flows(address, tenant(room + 1)), has_failed, "comes")
            };
            assert_eq!(full(&mut line, 1000, true), (Entered::Refused, None), "not better than the other");
            assert_eq!(full(&mut line, 1001, false).1, Some("failed"));
            let crowded_out = full(&mut line, 1002, false).1.expect("somebody of a crowd");
            assert!(crowded_out.starts_with("one"), "{crowded_out}");
            assert_eq!(full(&mut line, 2, false), (Entered::Refused, None), "the latest of a crowd");
            assert_eq!(line.len(), room);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn everybody_is_served_once_or_told_that_there_is_no_room(
            steps in prop::collection::vec((0..4u8, 0..6u64, 0..3u64, 0..50u64, any::<bool>()), 0..3000),
            free in 1..4usize,
        ) {
            let mut line = FairQueue::new(free);
            let (mut waiting, mut busy, mut number) = (std::collections::BTreeMap::new(), Vec::new(), 0);
            for (step, address, tenant, account, has_failed) in steps {
                match step {
                    0 | 1 => {
                        number += 1;
                        let flows = Flows { address, tenant, account };
                        let (entered, crowded_out) = line.enter(flows, has_failed, number);
                        match entered {
                            Entered::Free => busy.push(account),
                            Entered::Waits(place) => _ = waiting.insert(number, (place, account)),
                            Entered::Refused => prop_assert!(waiting.len() >= MOST_OF_ADDRESS),
                        }
                        if let Some(other) = crowded_out {
                            prop_assert!(waiting.remove(&other).is_some());
                        }
                    }
                    2 if !busy.is_empty() => {
                        line.end(busy.swap_remove(0));
                        if let Some((next, account)) = line.next() {
                            prop_assert!(waiting.remove(&next).is_some_and(|(_, own)| own == account));
                            busy.push(account);
                        }
                    }
                    2 => line.fail(address),
                    _ => {
                        if let Some((known, (place, _))) = waiting.pop_first() {
                            prop_assert_eq!(line.leave(place), Some(known));
                            prop_assert_eq!(line.leave(place), None);
                        }
                    }
                }
                prop_assert_eq!(line.len(), waiting.len());
                // A turn is free only if all that wait are for accounts that have one.
                let can_begin = waiting.values().any(|(_, account)| !busy.contains(account));
                prop_assert!(busy.len() <= free && !(can_begin && busy.len() < free));
                let accounts: std::collections::BTreeSet<u64> = busy.iter().copied().collect();
                prop_assert_eq!(accounts.len(), busy.len());
            }
        }
    }
}
