//! How many users can sign in for the first time, a second: such a sign-in computes a slow
//! hash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::sleep;

use crate::core::credential::SlowHash;
use crate::process;
use crate::snapshot::Served;

/// When it is measured for the first time, and how often is looked whether most users have
/// another kind of hash since then.
const REST: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How many such hashes this machine computes a second. All cores compute one at the same time,
/// because two that are one core of the processor compute little more than one does. Takes as
/// long as that; never call it on a thread that serves requests.
pub fn measure(hash: &SlowHash) -> f64 {
    let cores = process::cores();
    let one = || {
        let begun = process::thread_time();
        hash.verify("not a password");
        process::thread_time().saturating_sub(begun)
    };
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(one)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).max().unwrap_or_default()
    });
    cores as f64 / taken.max(Duration::from_micros(1)).as_secs_f64()
}

/// The last result, as the bits of an `f64`. 0 if there is none.
#[derive(Debug, Default)]
pub struct ColdSignIns(AtomicU64);

impl ColdSignIns {
    /// How many first sign-ins a second this machine can answer; `None` while that is unknown, or
    /// if no user has a slow hash.
    pub fn a_second(&self) -> Option<f64> {
        let measured = f64::from_bits(self.0.load(Relaxed));
        (measured > 0.0).then_some(measured)
    }

    /// Measures after the start, and when most users have another kind of hash. Never returns.
    pub async fn keep(self: Arc<Self>, snapshot: Arc<ArcSwapOption<Served>>) {
        let mut cost = None;
        sleep(REST.0).await;
        loop {
            let slow = snapshot.load().as_ref().and_then(|served| served.snapshot.slow_users());
            let now = slow.as_ref().map(|slow| slow.hash.cost().to_owned());
            if now != cost {
                let measured = match slow {
                    // This runtime's threads give way to those that answer.
                    Some(slow) => {
                        tokio::task::spawn_blocking(move || measure(&slow.hash)).await.unwrap_or(0.0)
                    }
                    None => 0.0,
                };
                self.0.store(measured.to_bits(), Relaxed);
                cost = now;
            }
            sleep(REST.1).await;
        }
    }
}
