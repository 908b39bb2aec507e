//! How requests and operators ask for the node's status or for a reload.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::publisher::Publisher;
use super::status::{NodeStatus, Status};
use crate::core::model::Table;
use crate::snapshot::{Problems, Served, Withheld};

/// The result of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// A new snapshot with this version is in use.
    Swapped(u64),
    /// The snapshot in use already agrees with the source.
    Unchanged,
    /// The rows are in use, but for a loss that is withheld.
    LossWithheld,
    /// The source could not be read, for this reason.
    Failed(String),
}

impl ReloadOutcome {
    /// Every name that [`ReloadOutcome::name`] returns.
    pub(super) const NAMES: [&'static str; 4] = ["swapped", "unchanged", "failed", "loss_withheld"];

    /// The name for metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            ReloadOutcome::Swapped(_) => "swapped",
            ReloadOutcome::Unchanged => "unchanged",
            ReloadOutcome::LossWithheld => "loss_withheld",
            ReloadOutcome::Failed(_) => "failed",
        }
    }
}

/// Somebody who asked for a load.
pub(super) struct Asker {
    /// Whether the loss that is withheld is intended.
    pub confirms: bool,
    /// Receives the result of the load.
    pub result: oneshot::Sender<ReloadOutcome>,
}

/// Asks the task that reloads.
#[derive(Clone)]
pub struct Handle {
    /// The name of the source.
    pub(super) database: Arc<str>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) askers: mpsc::Sender<Asker>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) stale_after: Duration,
    pub(super) settle: Duration,
}

impl Handle {
    /// Whether the newest snapshot agrees with the source, or did less than `--stale-after`
    /// ago. If not, it may lack a new user or a changed password.
    pub fn is_current(&self) -> bool {
        self.status.borrow().is_current(self.stale_after)
    }

    /// The status of this node, which serves `served`. The digest is left empty.
    /// `is_ending` says whether the node takes no more requests.
    pub fn node_status(&self, served: Option<&Served>, is_ending: bool) -> NodeStatus {
        let status = NodeStatus::new(&self.status.borrow(), served, is_ending);
        NodeStatus { database: self.database.to_string(), ..status }
    }

    /// What the snapshot in use withholds, with some of the rows.
    pub fn withheld(&self) -> Arc<Withheld> {
        self.publisher.withheld()
    }

    /// At most `most` rows of a table with ids above `id`, as they were read last: see
    /// [`Writer::contents`](crate::snapshot::Writer::contents). Waits while a load writes
    /// a snapshot.
    pub async fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        let publisher = self.publisher.clone();
        tokio::task::spawn_blocking(move || publisher.contents(table, id, most)).await.unwrap_or_default()
    }

    /// Whether a refusal of an account by the newest snapshot is certain. A refusal makes the
    /// client forget its password, so it must not come from data that may be wrong. The
    /// names are folded.
    pub fn is_certain(&self, domain: &[u8], username: &[u8]) -> bool {
        let served = self.publisher.current().load_full();
        let settle = if self.status.borrow().is_checking { Duration::MAX } else { self.settle };
        let is_known =
            |served: Arc<Served>| served.snapshot.is_certain(domain, username, settle, Instant::now());
        self.is_current() && served.is_some_and(is_known)
    }

    /// Waits until a snapshot later than `version` is in use, for `patience` at most. Returns
    /// whether it is.
    pub async fn is_later_than(&self, version: u64, patience: Duration) -> bool {
        let mut status = self.status.clone();
        let waiting = status.wait_for(|status| status.version > version);
        tokio::time::timeout(patience, waiting).await.is_ok_and(|later| later.is_ok())
    }

    /// The problems of rows that loads and polls have found, as far as they are kept.
    pub fn problems(&self) -> Arc<Problems> {
        self.status.borrow().problems.clone()
    }

    /// Loads everything, and waits for the result. If `confirms`, the loss that is withheld
    /// is accepted first.
    pub async fn ask(&self, confirms: bool) -> ReloadOutcome {
        let ended = || ReloadOutcome::Failed("the server is about to end".into());
        let (result, verdict) = oneshot::channel();
        if self.askers.send(Asker { confirms, result }).await.is_err() {
            return ended();
        }
        verdict.await.unwrap_or_else(|_| ended())
    }
}
