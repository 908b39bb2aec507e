//! Which worker gets a connection: the one that has the fewest.
//!
//! The counts are the gauges that operators see. A place is counted before the connection is
//! handed over, so a burst is spread evenly even if a worker is slow to take its share. When
//! connections end and a worker has far fewer than another, one of the other's is called to
//! move.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::metrics::{Gauge, Metrics};
use crate::serve::connection::moving::Call;

/// How many connections a worker may have more than another before one moves. With k
/// connections on w workers, the busiest then has at most ⌈k/w⌉ + 1.
const APART: i64 = 2;

/// How many connections of clients each worker has.
#[derive(Debug)]
pub(super) struct Balance {
    workers: Vec<Gauge>,
    all: Gauge,
    calls: Vec<Arc<Call>>,
}

/// A connection's place on a worker. The connection counts until the place is dropped.
#[derive(Debug)]
pub(super) struct Place {
    balance: Arc<Balance>,
    pub worker: usize,
}

impl Balance {
    /// For `workers` workers without connections.
    pub fn new(workers: usize, metrics: &Metrics) -> Balance {
        Balance {
            workers: (0..workers).map(|worker| metrics.worker_connections(worker)).collect(),
            all: metrics.connections.clone(),
            calls: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    /// What calls connections of a worker to move to another.
    pub fn call(&self, worker: usize) -> Arc<Call> {
        self.calls[worker].clone()
    }

    /// A place on the worker that has the fewest connections. If `own` is one of several, it is
    /// that one, because a connection that stays wakes no other worker.
    pub fn place(self: &Arc<Self>, own: usize) -> Place {
        loop {
            let (worker, least) = self.least(own);
            if self.has_added(worker, least) {
                self.all.inc();
                return Place { balance: self.clone(), worker };
            }
        }
    }

    fn count(&self, worker: usize) -> i64 {
        self.workers[worker].inner().load(Relaxed)
    }

    /// The worker that has the fewest connections, and how many. `own` comes first.
    fn least(&self, own: usize) -> (usize, i64) {
        let workers = self.workers.len();
        let each = (own..own + workers).map(|number| number % workers);
        each.map(|worker| (worker, self.count(worker))).min_by_key(|(_, count)| *count).unwrap_or_default()
    }

    /// Counts one more connection of a worker that has `count`. Returns `false` if its count has
    /// changed. Then all are compared again: two connections that arrive together must not both
    /// get the last place.
    fn has_added(&self, worker: usize, count: i64) -> bool {
        self.workers[worker].inner().compare_exchange(count, count + 1, Relaxed, Relaxed).is_ok()
    }

    /// Calls a connection of the busiest worker to move if it has far more than another.
    fn level(&self) {
        let counts = || (0..self.workers.len()).map(|worker| (worker, self.count(worker)));
        let least = counts().map(|(_, count)| count).min();
        let busiest = counts().max_by_key(|(_, count)| *count);
        if let (Some(least), Some((busiest, most))) = (least, busiest)
            && most - least > APART
        {
            self.calls[busiest].open();
        }
    }
}

impl Place {
    /// Moves to the worker that has the fewest connections, if this one has far more. Returns
    /// whether it did.
    pub fn has_moved(&mut self) -> bool {
        loop {
            let (worker, least) = self.balance.least(self.worker);
            if self.balance.count(self.worker) - least <= APART {
                return false;
            }
            if self.balance.has_added(worker, least) {
                self.balance.workers[self.worker].dec();
                self.worker = worker;
                // There may be more to move: one call may have stood for several.
                self.balance.level();
                return true;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.balance.workers[self.worker].dec();
        self.balance.all.dec();
        self.balance.level();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(workers: usize) -> (Arc<Balance>, impl Fn() -> Vec<i64>) {
        let balance = Arc::new(Balance::new(workers, &Metrics::new(false)));
        let counted = balance.clone();
        (balance, move || counted.workers.iter().map(Gauge::get).collect())
    }

    #[test]
    fn own_connections_stay_on_a_tie_and_others_get_what_they_lack() {
        let (balance, counts) = balance(3);
        let mut places = vec![balance.place(1)];
        assert_eq!(counts(), [0, 1, 0]);
        places.extend([balance.place(1), balance.place(1)]);
        assert_eq!(counts(), [1, 1, 1]);
        places.push(balance.place(2));
        assert_eq!(counts(), [1, 1, 2]);
        assert_eq!(balance.all.get(), 4);
        places.retain(|place| place.worker != 0);
        assert_eq!(counts(), [0, 1, 2]);
        places.extend((0..3).map(|_| balance.place(2)));
        assert_eq!(counts(), [2, 2, 2]);
        drop(places);
        assert_eq!((counts(), balance.all.get()), (vec![0, 0, 0], 0));
    }

    #[test]
    fn connections_move_only_from_workers_that_have_far_more() {
        let (balance, counts) = balance(3);
        let mut places: Vec<Place> = (0..12).map(|_| balance.place(0)).collect();
        let of = |places: &[Place], worker| places.iter().position(|place| place.worker == worker);
        let mut end = |worker| drop(places.swap_remove(of(&places, worker).expect("a place")));
        (0..2).for_each(|_| end(2));
        assert_eq!(counts(), [4, 4, 2]);
        assert!(balance.calls.iter().all(|call| !call.is_open()));
        end(2);
        assert_eq!(counts(), [4, 4, 1]);
        assert_eq!(balance.calls.iter().filter(|call| call.is_open()).count(), 1);
        let mut move_one = |worker| {
            let place = of(&places, worker).expect("a place");
            places[place].has_moved()
        };
        assert!(!move_one(2));
        assert!(move_one(1));
        assert_eq!(counts(), [4, 3, 2]);
        assert!(!move_one(0));
        assert_eq!(balance.all.get(), 9);
    }

    #[test]
    fn workers_that_accept_at_the_same_time_share_evenly() {
        let (balance, counts) = balance(5);
        let places: Vec<Vec<Place>> = std::thread::scope(|scope| {
            let accept = |own| (0..1000).map(|_| balance.place(own)).collect();
            let threads: Vec<_> = (0..5).map(|own| scope.spawn(move || accept(own))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(counts(), [1000; 5]);
        drop(places);
        assert_eq!(counts(), [0; 5]);
    }
}
