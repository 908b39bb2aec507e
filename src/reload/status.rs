//! What there is to say of the snapshot in use: is there one, where is it from,
//! and is the source well?

use std::fmt;
use std::time::{Duration, Instant};

/// Where the snapshot in use came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOrigin {
    /// There is none yet.
    Nowhere,
    /// The state file: the source has not been read yet.
    StateFile,
    /// The source.
    Source,
}

/// The state of a server's knowledge, and what readiness is decided by.
#[derive(Debug, Clone)]
pub struct Status {
    /// Counts the snapshots of this process; 0 while there is none.
    pub version: u64,
    /// Where the snapshot came from.
    pub origin: SnapshotOrigin,
    /// When the source was last known to say what the snapshot says.
    pub as_of: Instant,
    /// Since when the source cannot be read, and why.
    pub failing: Option<(Instant, String)>,
    /// Whether a load is held back because it would drop too much.
    pub is_held_back: bool,
}

impl Status {
    pub(super) fn new() -> Status {
        let as_of = Instant::now();
        Status { version: 0, origin: SnapshotOrigin::Nowhere, as_of, failing: None, is_held_back: false }
    }

    /// Whether requests can be answered: one with an old snapshot is ready, one
    /// without any is not.
    pub fn is_ready(&self) -> bool {
        self.origin != SnapshotOrigin::Nowhere
    }

    /// Whether the snapshot is surely what the database says, or was so less than
    /// `stale_after` ago. If not, a user may be new to it, or a password changed.
    pub fn is_current(&self, stale_after: Duration) -> bool {
        let is_overdue = self.failing.is_some() && self.age() > stale_after;
        self.origin == SnapshotOrigin::Source && !self.is_held_back && !is_overdue
    }

    /// How long the snapshot may have been out of date.
    pub fn age(&self) -> Duration {
        self.as_of.elapsed()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            SnapshotOrigin::Nowhere => write!(f, "not ready: no snapshot yet")?,
            SnapshotOrigin::StateFile => write!(f, "ready: snapshot {} from the state file", self.version)?,
            SnapshotOrigin::Source => write!(f, "ready: snapshot {}", self.version)?,
        }
        if self.is_held_back {
            write!(f, ", a newer one is held back since it would drop too much")?;
        }
        if let Some((since, why)) = &self.failing {
            write!(f, ", the database cannot be read for {} s: {why}", since.elapsed().as_secs())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_current_only_while_the_database_can_be_read() {
        let minute = Duration::from_secs(60);
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("after the boot");
        let read = Status { version: 1, origin: SnapshotOrigin::Source, ..Status::new() };
        let failing = |seconds| Status {
            as_of: ago(seconds),
            failing: Some((Instant::now(), "gone".into())),
            ..read.clone()
        };
        for (status, is_current) in [
            (read.clone(), true),
            (Status { as_of: ago(61), ..read.clone() }, true),
            (failing(0), true),
            (failing(61), false),
            (Status { is_held_back: true, ..read.clone() }, false),
            (Status { origin: SnapshotOrigin::StateFile, ..read.clone() }, false),
            (Status::new(), false),
        ] {
            assert_eq!(status.is_current(minute), is_current, "{status:?}");
        }
        assert!(!failing(1).is_current(Duration::ZERO));
    }
}
