//! The status of a node: whether it has a snapshot, where the snapshot came from, and
//! whether the source can be read.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::process::build;
use crate::snapshot::{Problems, Served, Withheld};

/// Where the snapshot in use came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnapshotOrigin {
    /// There is none yet.
    Nowhere,
    /// The state file: the source has not been read yet.
    StateFile,
    /// The source.
    Source,
}

/// What the task that reloads knows about the node. It decides whether the node is ready.
#[derive(Debug, Clone)]
pub(super) struct Status {
    /// The version of the snapshot: counts those of this process. 0 while there is none.
    pub version: u64,
    /// Where the snapshot came from.
    pub origin: SnapshotOrigin,
    /// When the snapshot was last known to agree with the source.
    pub as_of: Instant,
    /// Since when the source cannot be read, and why.
    pub failing: Option<(Instant, String)>,
    /// What the source has lost and the snapshot still serves.
    pub withheld: Arc<Withheld>,
    /// What is wrong with rows, as far as that is kept.
    pub problems: Arc<Problems>,
    /// Why no refusal is certain, in words, until an operator confirms.
    pub doubt: Option<String>,
    /// Whether a load is to find out if accounts that were lost lately are gone. Until then,
    /// they are not gone for certain.
    pub is_checking: bool,
}

impl Status {
    pub fn new() -> Status {
        let as_of = Instant::now();
        Status {
            version: 0,
            origin: SnapshotOrigin::Nowhere,
            as_of,
            failing: None,
            withheld: Arc::default(),
            problems: Arc::default(),
            doubt: None,
            is_checking: false,
        }
    }

    /// Whether requests can be answered: a node with an old snapshot is ready, a node
    /// without any is not.
    pub fn is_ready(&self) -> bool {
        self.origin != SnapshotOrigin::Nowhere
    }

    /// Whether a refusal by this snapshot is certain. If not, the snapshot may lack a new user
    /// or a changed password. It is certain if the snapshot came from the source and not from
    /// the state file, if no operator has to confirm the options, and, while the source cannot
    /// be read, if the snapshot was known to agree with it at most `stale_after` ago.
    pub fn is_current(&self, stale_after: Duration) -> bool {
        let is_overdue = self.failing.is_some() && self.age() > stale_after;
        self.origin == SnapshotOrigin::Source && self.doubt.is_none() && !is_overdue
    }

    /// For how long the snapshot may have been out of date.
    pub fn age(&self) -> Duration {
        self.as_of.elapsed()
    }
}

/// Whether a node answers requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// It answers requests.
    #[serde(rename = "ready")]
    Ready,
    /// It has no snapshot yet.
    #[default]
    #[serde(rename = "not ready")]
    NotReady,
    /// It finishes the current requests and ends.
    #[serde(rename = "ending")]
    Ending,
}

impl NodeState {
    /// The name in JSON and in tables.
    pub fn name(self) -> &'static str {
        match self {
            NodeState::Ready => "ready",
            NodeState::NotReady => "not ready",
            NodeState::Ending => "ending",
        }
    }
}

/// The status of a node, as `/readyz`, `/status`, `/metrics` and `jitsiprovs status` show
/// it. Fields may be added, but they keep their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The version of the program.
    pub program: String,
    /// The commit that it was built from, `unknown` if the build did not find out.
    #[serde(default)]
    pub commit: String,
    /// The name of the database that it reads.
    #[serde(default)]
    pub database: String,
    /// Whether it answers requests.
    pub state: NodeState,
    /// The newest line of the source's table of changes that the snapshot contains, as in
    /// `X-Snapshot`. `None` without such a table.
    pub snapshot: Option<i64>,
    /// A hash of the rows: the same on all nodes with the same rows and the same
    /// `--admin-secret-file`. Empty without that file.
    pub digest: String,
    /// The version of the snapshot: counts those of this process.
    pub version: u64,
    /// For how long the snapshot may have been out of date, in seconds.
    pub age: f64,
    /// Whether the snapshot came from the state file, because the source has not been read
    /// yet.
    pub is_from_state_file: bool,
    /// Tenants with at least one user.
    pub tenants: usize,
    /// Users.
    pub users: usize,
    /// Rules in use.
    pub rules: usize,
    /// Attributes in use.
    #[serde(default)]
    pub attributes: usize,
    /// Rows of all tables that are not used.
    pub left_out: usize,
    /// Whether a loss is withheld: too many users or rules are gone from the source, and are
    /// served until an operator confirms the loss.
    pub is_held_back: bool,
    /// Why no failed sign-in gets 401 until an operator confirms, in words. `None` if they do.
    #[serde(default)]
    pub doubt: Option<String>,
    /// The users of that loss.
    pub withheld_users: usize,
    /// The rules of that loss.
    pub withheld_rules: usize,
    /// The attributes of that loss.
    #[serde(default)]
    pub withheld_attributes: usize,
    /// The tenants of that loss, the largest first, at most [`Withheld::NAMED`].
    pub withheld_tenants: Vec<TenantLoss>,
    /// Since when and why the source cannot be read. `None` if it can.
    pub failing: Option<SourceFailure>,
    /// Whether the last write of the state file failed.
    #[serde(default)]
    pub is_state_file_failing: bool,
    /// How many first sign-ins a second the machine can answer, which compute a slow hash. `None`
    /// if no user has one, or while that is not measured.
    #[serde(default)]
    pub cold_sign_ins: Option<f64>,
}

/// What is withheld of one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TenantLoss {
    /// Its domain, as it is compared. Empty for rules for all tenants.
    pub domain: String,
    /// Users who could sign in and no longer can.
    pub users: usize,
    /// Rules that are gone.
    pub rules: usize,
    /// Attributes that are gone.
    #[serde(default)]
    pub attributes: usize,
}

/// A source that cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceFailure {
    /// For how long, in seconds.
    pub seconds: f64,
    /// Why, in words.
    pub why: String,
}

impl NodeStatus {
    /// The digest is left empty, because it needs the operators' secret, and so is the name of the
    /// database.
    pub(super) fn new(status: &Status, served: Option<&Served>, is_ending: bool) -> NodeStatus {
        let counts = served.map(|served| served.snapshot.counts()).unwrap_or_default();
        let failing = status
            .failing
            .as_ref()
            .map(|(since, why)| SourceFailure { seconds: since.elapsed().as_secs_f64(), why: why.clone() });
        let tenants = status.withheld.tenants.iter().map(|tenant| TenantLoss {
            domain: tenant.domain.clone(),
            users: tenant.users,
            rules: tenant.rules,
            attributes: tenant.attributes,
        });
        NodeStatus {
            program: build::VERSION.into(),
            commit: build::COMMIT.into(),
            database: String::new(),
            state: match status.is_ready() {
                _ if is_ending => NodeState::Ending,
                true => NodeState::Ready,
                false => NodeState::NotReady,
            },
            snapshot: served.and_then(|served| served.cursor),
            digest: String::new(),
            version: status.version,
            age: status.age().as_secs_f64(),
            is_from_state_file: status.origin == SnapshotOrigin::StateFile,
            tenants: counts.tenants,
            users: counts.users,
            rules: counts.rules,
            attributes: counts.attributes,
            left_out: served.map_or(0, |served| served.left_out),
            is_held_back: status.withheld.is_loss(),
            doubt: status.doubt.clone(),
            withheld_users: status.withheld.users,
            withheld_rules: status.withheld.rules,
            withheld_attributes: status.withheld.attributes,
            withheld_tenants: tenants.collect(),
            failing,
            is_state_file_failing: false,
            cold_sign_ins: None,
        }
    }
}

/// The text of `/readyz`.
impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            NodeState::Ending => return write!(f, "not ready: about to end"),
            NodeState::NotReady => write!(f, "not ready: no snapshot yet")?,
            NodeState::Ready => write!(f, "ready: snapshot {}", self.version)?,
        }
        if self.is_from_state_file {
            write!(f, " from the state file")?;
        }
        if self.is_held_back {
            let (users, rules) = (self.withheld_users, self.withheld_rules);
            write!(f, ", a loss of {users} users and {rules} rules is withheld")?;
        }
        if let Some(doubt) = &self.doubt {
            write!(f, ", {doubt}")?;
        }
        if let Some(SourceFailure { seconds, why }) = &self.failing {
            write!(f, ", the database cannot be read for {} s: {why}", seconds.floor())?;
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
            (Status { doubt: Some("other options".into()), ..read.clone() }, false),
            (Status { origin: SnapshotOrigin::StateFile, ..read.clone() }, false),
            (Status::new(), false),
        ] {
            assert_eq!(status.is_current(minute), is_current, "{status:?}");
        }
        assert!(!failing(1).is_current(Duration::ZERO));
    }
}
