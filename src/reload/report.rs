//! Logs a new snapshot.

use tokio::time::Instant;

use super::cause::Cause;
use super::publisher::Swapped;
use crate::source::Cursor;

/// How many bad rows are named in the log. The rest are only counted.
const PROBLEMS_SHOWN: usize = 20;

/// Logs that a new snapshot is in use, and names its bad rows.
pub(super) fn swapped(cause: Cause, begun: Instant, cursor: Option<&Cursor>, swapped: &Swapped) {
    let Swapped { version, counts, summary, problems, left_out, rows_read, .. } = swapped;
    for problem in problems.first.iter().take(PROBLEMS_SHOWN) {
        tracing::warn!(table = %problem.table, id = problem.id, "bad row: {}", problem.what);
    }
    if problems.total > PROBLEMS_SHOWN {
        tracing::warn!("and {} more bad rows", problems.total - PROBLEMS_SHOWN);
    }
    tracing::info!(
        version,
        cause = cause.name(),
        tenants = counts.tenants,
        users = counts.users,
        rules = counts.rules,
        attributes = counts.attributes,
        bytes = counts.bytes,
        added = summary.added,
        changed = summary.changed,
        removed = summary.removed,
        withheld = summary.withheld,
        released = summary.released,
        reported = problems.total,
        left_out,
        rows_read,
        cursor = cursor.map(Cursor::id),
        ms = ms(begun),
        "snapshot in use"
    );
}

/// Milliseconds since `begun`, for the log.
pub(super) fn ms(begun: Instant) -> u64 {
    begun.elapsed().as_millis() as u64
}
