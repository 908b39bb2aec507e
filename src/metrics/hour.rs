//! The requests of the last hour, minute by minute, for charts.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::RequestOutcome;
use super::requests::{BOUNDS, Totals};

/// How many minutes are kept.
pub const MINUTES: usize = 60;

/// The requests of a minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Minute {
    /// How many had each outcome, in the order of [`RequestOutcome::ALL`].
    pub outcomes: [u64; RequestOutcome::ALL.len()],
    /// In seconds: 99 of 100 requests took at most this long, as far as the buckets of the
    /// histogram tell. `None` without requests.
    pub p99: Option<f64>,
}

/// The last minutes, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Hour(Mutex<(Totals, VecDeque<Minute>)>);

impl Hour {
    /// Ends a minute. `now` is what all requests add up to.
    pub fn end_minute(&self, now: Totals) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, minutes) = &mut *kept;
        let mut outcomes = [0; RequestOutcome::ALL.len()];
        for (at, count) in outcomes.iter_mut().enumerate() {
            *count = now.outcomes[at].saturating_sub(before.outcomes[at]);
        }
        let mut buckets = [0; BOUNDS.len()];
        for (at, count) in buckets.iter_mut().enumerate() {
            *count = now.buckets[at].saturating_sub(before.buckets[at]);
        }
        if minutes.len() >= MINUTES {
            minutes.pop_front();
        }
        minutes.push_back(Minute { outcomes, p99: quantile(&buckets, 0.99) });
        *before = now;
    }

    pub fn minutes(&self) -> Vec<Minute> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.iter().cloned().collect()
    }
}

/// The time in seconds that this share of the requests did not exceed. Between the bounds of a
/// bucket it is interpolated.
fn quantile(buckets: &[u64; BOUNDS.len()], share: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    let wanted = all as f64 * share;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, bound) in buckets.iter().zip(BOUNDS) {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            // Nothing is known of how long the slowest took.
            return Some(if bound.is_finite() {
                lower + (bound - lower) * (wanted - below) / count
            } else {
                lower
            });
        }
        below += count;
        lower = bound;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_differences_and_an_hour_of_them_is_kept() {
        let hour = Hour::default();
        let mut totals = Totals::default();
        for minute in 0..=MINUTES as u64 {
            totals.outcomes[0] += minute;
            totals.buckets[3] += minute;
            hour.end_minute(totals.clone());
        }
        let minutes = hour.minutes();
        assert_eq!((minutes.len(), minutes[0].outcomes[0], minutes[59].outcomes[0]), (60, 1, 60));
        let p99 = minutes[59].p99.expect("requests");
        assert!(p99 > BOUNDS[2] && p99 <= BOUNDS[3], "{p99}");
        hour.end_minute(totals);
        assert_eq!(hour.minutes()[59], Minute::default());
    }

    #[test]
    fn the_slowest_bucket_has_no_upper_bound() {
        let mut buckets = [0; BOUNDS.len()];
        buckets[BOUNDS.len() - 1] = 5;
        assert_eq!(quantile(&buckets, 0.99), Some(10.0));
        assert_eq!(quantile(&[0; BOUNDS.len()], 0.99), None);
    }
}
