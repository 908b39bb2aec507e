//! The way in for requests and operators: how things are, and "reload now".

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::publisher::Publisher;
use super::status::{NodeStatus, Status};
use crate::core::model::Table;
use crate::snapshot::Served;

/// What a load that was asked for came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// There is a new snapshot, of this version.
    Swapped(u64),
    /// The snapshot in use is what the source says.
    Unchanged,
    /// The new snapshot would lose too much.
    HeldBack,
    /// The source could not be read: why.
    Failed(String),
}

impl ReloadOutcome {
    /// Every name that [`ReloadOutcome::name`] returns.
    pub(super) const NAMES: [&'static str; 4] = ["swapped", "unchanged", "failed", "held_back"];

    /// The name for metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            ReloadOutcome::Swapped(_) => "swapped",
            ReloadOutcome::Unchanged => "unchanged",
            ReloadOutcome::HeldBack => "held_back",
            ReloadOutcome::Failed(_) => "failed",
        }
    }
}

/// Somebody who asked for a load, and waits for what it comes to.
pub(super) type Asker = oneshot::Sender<ReloadOutcome>;

/// Asks the task that reloads. See the module.
#[derive(Clone)]
pub struct Handle {
    pub(super) status: watch::Receiver<Status>,
    pub(super) askers: mpsc::Sender<Asker>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) stale_after: Duration,
}

impl Handle {
    /// Whether the newest snapshot is what the source says, or was so less than
    /// `--stale-after` ago. If not, a user may be new to it, or a password changed.
    pub fn is_current(&self) -> bool {
        self.status.borrow().is_current(self.stale_after)
    }

    /// How the node is that serves `served`; its digest is left empty. `is_ending`
    /// once it takes no more requests.
    pub fn node_status(&self, served: Option<&Served>, is_ending: bool) -> NodeStatus {
        NodeStatus::new(&self.status.borrow(), served, is_ending)
    }

    /// The next `most` rows of a table after the row `id`, as they were read last:
    /// see [`Writer::contents`](crate::snapshot::Writer::contents). Waits while a
    /// load writes a snapshot.
    pub async fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        let publisher = self.publisher.clone();
        tokio::task::spawn_blocking(move || publisher.contents(table, id, most)).await.unwrap_or_default()
    }

    /// Loads everything, and waits for what it comes to.
    pub async fn ask(&self) -> ReloadOutcome {
        let ended = || ReloadOutcome::Failed("the server is about to end".into());
        let (asker, verdict) = oneshot::channel();
        if self.askers.send(asker).await.is_err() {
            return ended();
        }
        verdict.await.unwrap_or_else(|_| ended())
    }
}
