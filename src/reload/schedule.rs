//! When to load or poll next. Times vary at random, so that the nodes do not all ask the
//! database at once. While the database is down, the time between attempts grows.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// The longest time between two attempts to load.
const CAP: Duration = Duration::from_secs(30);
/// How often a source that cannot be reached is asked whether it is back. Asking is cheap.
const PROBE: Duration = Duration::from_secs(2);

/// A random moment between 80 % and 100 % of `interval` from now.
pub(super) fn after(interval: Duration) -> Instant {
    Instant::now() + interval.mul_f64(0.8 + 0.2 * fastrand::f64())
}

/// When to ask again whether the source is back.
pub(super) fn probe() -> Instant {
    after(PROBE)
}

/// The times between attempts, which grow.
#[derive(Debug)]
pub(super) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub fn new() -> Backoff {
        let times = ExponentialBuilder::default().with_min_delay(Duration::from_secs(1)).with_max_delay(CAP);
        Backoff(times.without_max_times().build())
    }

    /// When to try again.
    pub fn next(&mut self) -> Instant {
        after(self.0.next().unwrap_or(CAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_attempts_grow_to_the_cap_and_differ_by_chance() {
        let mut backoff = Backoff::new();
        let mut wait = || backoff.next().saturating_duration_since(Instant::now());
        assert!(wait() <= Duration::from_secs(1));
        let later: Vec<Duration> = (0..20).map(|_| wait()).collect();
        assert!(later.iter().all(|wait| *wait <= CAP));
        assert!(later[10..].iter().all(|wait| *wait > CAP.mul_f64(0.79)));
        assert!(later[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
