//! Whether rows can be changed, so that pages have no forms that cannot work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::operator::Role;
use super::page::text;
use super::visit::Visit;
use crate::core::model::Table;
use crate::source::Source;

/// How long an answer of the database counts, because rights may be granted and taken away.
const LASTS: Duration = Duration::from_secs(10);
/// How long a page waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the database has answered last.
#[derive(Clone, Default)]
pub(super) struct Rights(Arc<Mutex<Option<Answer>>>);

/// An answer of the database.
struct Answer {
    writable: [bool; Table::COUNT],
    at: Instant,
}

impl Rights {
    /// For each table, whether the database lets its rows be changed. If it does not answer in time,
    /// they count as changeable: then an edit says what is wrong.
    async fn ask(&self, source: &Arc<dyn Source>) -> [bool; Table::COUNT] {
        let (known, source) = (self.0.clone(), source.clone());
        let asking = async move {
            // One page asks, and the others wait for the answer.
            let mut known = known.lock().await;
            if let Some(answer) = known.as_ref().filter(|answer| answer.at.elapsed() < LASTS) {
                return answer.writable;
            }
            let writable = source.writable().await.unwrap_or([true; Table::COUNT]);
            *known = Some(Answer { writable, at: Instant::now() });
            writable
        };
        // A task of its own, because it goes on if this page does not wait: so no second statement
        // waits for a table that somebody has locked.
        let answer = timeout(PATIENCE, tokio::spawn(asking)).await;
        answer.ok().and_then(Result::ok).unwrap_or([true; Table::COUNT])
    }

    /// Forgets the answer, because an edit was refused.
    pub fn forget(&self) {
        // If it is locked, somebody asks just now.
        if let Ok(mut known) = self.0.try_lock() {
            *known = None;
        }
    }
}

/// Why rows of these tables cannot be changed here, for a page; empty if they can. Operators without
/// the role that may change them get no reason.
pub(super) async fn why_not<const N: usize>(
    visit: &Visit<'_>,
    role: Role,
    tables: [Table; N],
) -> [&'static str; N] {
    if visit.needs(role).is_err() {
        return [""; N];
    }
    let source = &visit.console.source;
    let writable = visit.console.rights.ask(source).await;
    tables.map(|table| match (source.editable(table), writable[table as usize]) {
        (Err(_), _) => text("edit", "own_query"),
        (Ok(()), false) => text("edit", "read_only"),
        (Ok(()), true) => "",
    })
}
