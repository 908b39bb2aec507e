//! Which worker gets a new connection: the one that has the fewest.
//!
//! The counts are the gauges that operators see. A place is counted before the connection is
//! handed over, so a burst is spread evenly even if a worker is slow to take its share.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::metrics::{Gauge, Metrics};

/// How many connections of clients each worker has.
#[derive(Debug)]
pub(super) struct Balance {
    workers: Vec<Gauge>,
    all: Gauge,
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
        let each = (0..workers).map(|worker| metrics.worker_connections(worker));
        Balance { workers: each.collect(), all: metrics.connections.clone() }
    }

    /// A place on the worker that has the fewest connections. If `own` is one of several, it is
    /// that one, because a connection that stays wakes no other worker.
    pub fn place(self: &Arc<Self>, own: usize) -> Place {
        let count = |worker: usize| self.workers[worker].inner().load(Relaxed);
        let workers = self.workers.len();
        loop {
            let each = (own..own + workers).map(|number| number % workers);
            let (worker, least) = each
                .map(|worker| (worker, count(worker)))
                .min_by_key(|(_, count)| *count)
                .unwrap_or_default();
            // If another worker has just placed a connection there, all are compared again: two
            // connections that arrive together must not both get the last place.
            let taken = self.workers[worker].inner().compare_exchange(least, least + 1, Relaxed, Relaxed);
            if taken.is_ok() {
                self.all.inc();
                return Place { balance: self.clone(), worker };
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.balance.workers[self.worker].dec();
        self.balance.all.dec();
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
