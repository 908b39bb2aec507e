//! What a node reports about itself and its rows.

use std::sync::atomic::Ordering;

use super::ServerState;
use super::admin_key::AdminKey;
use crate::core::model::Table;
use crate::reload::NodeStatus;
use crate::snapshot::Served;

/// The most rows in one answer to `/rows`.
pub const ROWS: usize = 10_000;

/// A page of the rows that the node has read. `/rows?user_auth=17` returns the rows after
/// row 17: one line per row, with its id and its [`AdminKey::row`].
pub(super) async fn rows(state: &ServerState, key: &AdminKey, query: &str) -> Option<String> {
    let (table, id) = query.split_once('=')?;
    let table = Table::ALL.into_iter().find(|known| known.to_string() == table)?;
    let rows = state.reload.contents(table, id.parse().ok()?, ROWS).await;
    // The keyed hashes are computed on another thread, so that other connections of this worker
    // do not wait for them.
    let key = key.clone();
    let line = move |(id, content)| format!("{id} {:016x}\n", key.row(table, id, content));
    tokio::task::spawn_blocking(move || rows.into_iter().map(line).collect()).await.ok()
}

/// The status of this node.
pub(super) fn status(state: &ServerState, served: Option<&Served>) -> NodeStatus {
    let mut status = state.reload.node_status(served, state.is_draining.load(Ordering::Relaxed));
    status.is_state_file_failing = state.metrics.state_file_writable.get() == 0;
    status.cold_sign_ins = state.cold_sign_ins.a_second();
    if let Some(key) = &state.admin.key {
        let digest = served.map_or(0, |served| served.snapshot.digest());
        status.digest = format!("{:016x}", key.digest(digest));
    }
    status
}

/// Whether the loss that is withheld has other numbers than `seen`, which is `USERS,RULES` or
/// `USERS,RULES,ATTRIBUTES`.
pub(super) fn is_another_loss(state: &ServerState, seen: &str) -> bool {
    let status = status(state, None);
    let now = [status.withheld_users, status.withheld_rules, status.withheld_attributes];
    let seen: Vec<_> = seen.split(',').map(|number| number.parse().ok()).collect();
    let missing = 3_usize.saturating_sub(seen.len().max(2));
    !seen.into_iter().chain(vec![Some(0); missing]).eq(now.map(Some))
}
