//! How many requests there were, and how long they took.
//!
//! Each thread counts in its own memory. In memory that all share, each request would wait for
//! what another core has just written.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::RequestOutcome;

/// Upper bounds in seconds: most requests take microseconds, slow hashes up to
/// seconds.
pub(super) const BOUNDS: [f64; 11] =
    [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, f64::INFINITY];
/// More threads than this share the memory.
const TALLIES: usize = 64;

/// What the requests of one thread add up to. The alignment is that of two lines of the
/// processor's cache, which some processors load together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Tally {
    outcomes: [AtomicU64; RequestOutcome::ALL.len()],
    buckets: [AtomicU64; BOUNDS.len()],
    nanos: AtomicU64,
}

/// What all requests since the start add up to.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub outcomes: [u64; RequestOutcome::ALL.len()],
    pub buckets: [u64; BOUNDS.len()],
}

/// The requests of all threads. Copies share their counts.
#[derive(Debug, Clone)]
pub(super) struct Requests(Arc<[Tally]>);

impl Requests {
    pub fn new() -> Requests {
        Requests((0..TALLIES).map(|_| Tally::default()).collect())
    }

    /// That of this thread.
    fn own(&self) -> &Tally {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = THREADS.fetch_add(1, Relaxed) % TALLIES;
        }
        &self.0[OWN.with(|own| *own)]
    }

    pub fn count(&self, outcome: RequestOutcome) {
        self.own().outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Adds the time that a request took to the histogram. The library's own takes a lock.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len() - 1);
        let own = self.own();
        own.buckets[bucket].fetch_add(1, Relaxed);
        own.nanos.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    pub fn totals(&self) -> Totals {
        Totals {
            outcomes: std::array::from_fn(|at| self.sum(|tally| &tally.outcomes[at])),
            buckets: std::array::from_fn(|at| self.sum(|tally| &tally.buckets[at])),
        }
    }

    fn sum(&self, count: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        self.0.iter().map(|tally| count(tally).load(Relaxed)).sum()
    }
}

/// The number of requests with each outcome, for a scraper.
#[derive(Debug)]
pub(super) struct Outcomes(pub Requests);

impl EncodeMetric for Outcomes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for outcome in RequestOutcome::ALL {
            let count = self.0.sum(|tally| &tally.outcomes[outcome as usize]);
            let labels = [("result", outcome.name())];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// The histogram of their times, for a scraper.
#[derive(Debug)]
pub(super) struct Latency(pub Requests);

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let buckets: Vec<(f64, u64)> = BOUNDS
            .into_iter()
            .enumerate()
            .map(|(at, bound)| (bound, self.0.sum(|tally| &tally.buckets[at])))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = self.0.sum(|tally| &tally.nanos) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
