//! What a node says of itself to `jitsiprovs status`, as JSON.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::ServerState;
use super::admin_key::AdminKey;
use crate::core::model::Table;
use crate::reload::SnapshotOrigin;

/// A node's own word on how it is, at `/status` of its admin listener. Names
/// stay; others may be added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The version of the program.
    pub program: String,
    /// `ready`, `not ready` or `ending`.
    pub state: String,
    /// The newest line of the source's table of changes that its answers know
    /// of: what `X-Snapshot` says. None without such a table.
    pub snapshot: Option<i64>,
    /// The same on nodes that have the same rows and the same
    /// `--admin-secret-file`; empty without that.
    pub digest: String,
    /// Counts the snapshots of this process.
    pub version: u64,
    /// For how long the snapshot may have been out of date, in seconds.
    pub age: f64,
    /// Whether the snapshot came from the state file, and nothing from the
    /// source yet.
    pub is_from_state_file: bool,
    /// Tenants with at least one user.
    pub tenants: usize,
    /// Users.
    pub users: usize,
    /// Rules in use.
    pub rules: usize,
    /// Rows of both tables that are not in use.
    pub left_out: usize,
    /// Whether a newer snapshot is held back, since it would drop too much.
    pub is_held_back: bool,
    /// Why the source cannot be read, if so.
    pub failing: Option<SourceFailure>,
}

/// A source that cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceFailure {
    /// For how long, in seconds.
    pub seconds: f64,
    /// Why, in words.
    pub why: String,
}

/// The most rows of one answer to `/rows`.
pub const ROWS: usize = 10_000;

/// A page of what the node has read: `/rows?user_auth=17` is what comes after
/// row 17, a line each with its id and what [`AdminKey::row`] makes of it.
pub(super) async fn rows(state: &ServerState, key: &AdminKey, query: &str) -> Option<String> {
    let (table, id) = query.split_once('=')?;
    let table =
        [Table::UserAuth, Table::JitsiProperty].into_iter().find(|known| known.to_string() == table)?;
    let rows = state.reload.contents(table, id.parse().ok()?, ROWS).await;
    // Not here: no client of this thread is to wait for a page.
    let key = key.clone();
    let told = move |(id, content)| format!("{id} {:016x}\n", key.row(table, id, content));
    tokio::task::spawn_blocking(move || rows.into_iter().map(told).collect()).await.ok()
}

/// How this node is.
pub(super) fn node(state: &ServerState) -> NodeStatus {
    let status = state.reload.status();
    let served = state.snapshot.load();
    let counts = served.as_ref().map(|served| served.snapshot.counts()).unwrap_or_default();
    let digest = served.as_ref().map_or(0, |served| served.snapshot.digest());
    let word = match status.is_ready() {
        _ if state.is_draining.load(Ordering::Relaxed) => "ending",
        true => "ready",
        false => "not ready",
    };
    NodeStatus {
        program: env!("CARGO_PKG_VERSION").into(),
        state: word.into(),
        snapshot: served.as_ref().and_then(|served| served.cursor),
        digest: state
            .admin
            .key
            .as_ref()
            .map_or_else(String::new, |key| format!("{:016x}", key.digest(digest))),
        version: status.version,
        age: status.age().as_secs_f64(),
        is_from_state_file: status.origin == SnapshotOrigin::StateFile,
        tenants: counts.tenants,
        users: counts.users,
        rules: counts.rules,
        left_out: served.as_ref().map_or(0, |served| served.left_out),
        is_held_back: status.is_held_back,
        failing: status
            .failing
            .as_ref()
            .map(|(since, why)| SourceFailure { seconds: since.elapsed().as_secs_f64(), why: why.clone() }),
    }
}
