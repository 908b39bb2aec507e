//! Whether rows can be changed, so that pages have no forms that cannot work.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::operator::Role;
use super::page::text;
use super::visit::Visit;
use crate::core::model::Table;
use crate::source::SourceError;

/// For each table, whether the database lets its rows be changed.
type Writable = [bool; Table::COUNT];

/// How long an answer of the database counts, because rights may be granted and taken away.
const LASTS: Duration = Duration::from_secs(10);
/// How long a page waits for the first answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a page waits for a new answer before it takes the old one.
const BRIEFLY: Duration = Duration::from_millis(300);

/// What the database has answered last.
#[derive(Clone, Default)]
pub(super) struct Rights {
    last: Arc<ArcSwapOption<Answer>>,
    /// Locked while the database is asked.
    asking: Arc<Mutex<()>>,
}

/// An answer of the database.
struct Answer {
    writable: Writable,
    at: Instant,
}

impl Rights {
    /// For each table, whether its rows can be changed. `source` asks the database. If that does not
    /// answer in time, its last answer counts. Without one they count as changeable: then an edit
    /// says what is wrong.
    async fn ask(
        &self,
        source: impl Future<Output = Result<Writable, SourceError>> + Send + 'static,
    ) -> Writable {
        if let Some(writable) = self.fresh() {
            return writable;
        }
        let (last, rights) = (self.last.load_full(), self.clone());
        let asking = async move {
            // One page asks, and the others wait for the answer.
            let _asking = rights.asking.lock().await;
            if let Some(writable) = rights.fresh() {
                return writable;
            }
            let writable = source.await.unwrap_or([true; Table::COUNT]);
            rights.last.store(Some(Arc::new(Answer { writable, at: Instant::now() })));
            writable
        };
        // A task of its own, because it goes on if this page does not wait: so no second statement
        // waits for a table that somebody has locked.
        let patience = if last.is_some() { BRIEFLY } else { PATIENCE };
        let answer = timeout(patience, tokio::spawn(asking)).await;
        let otherwise = || last.map_or([true; Table::COUNT], |answer| answer.writable);
        answer.ok().and_then(Result::ok).unwrap_or_else(otherwise)
    }

    /// The last answer, if it still counts.
    fn fresh(&self) -> Option<Writable> {
        let last = self.last.load_full().filter(|answer| answer.at.elapsed() < LASTS);
        last.map(|answer| answer.writable)
    }

    /// Forgets the answer, because an edit was refused.
    pub fn forget(&self) {
        self.last.store(None);
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
    let asked = source.clone();
    let writable = visit.console.rights.ask(async move { asked.writable().await }).await;
    tables.map(|table| match (source.editable(table), writable[table as usize]) {
        (Err(_), _) => text("edit", "own_query"),
        (Ok(()), false) => text("edit", "read_only"),
        (Ok(()), true) => "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn while_the_database_does_not_answer_its_last_answer_counts() {
        let rights = Rights::default();
        assert_eq!(rights.ask(async { Ok([false; Table::COUNT]) }).await, [false; Table::COUNT]);
        assert_eq!(rights.ask(async { Ok([true; Table::COUNT]) }).await, [false; Table::COUNT], "too early");
        let at = Instant::now().checked_sub(LASTS).expect("the machine runs for longer");
        rights.last.store(Some(Arc::new(Answer { writable: [false; Table::COUNT], at })));
        let (send, answer) = tokio::sync::oneshot::channel::<Result<Writable, SourceError>>();
        let asked = async move { answer.await.expect("it is sent") };
        assert_eq!(rights.ask(asked).await, [false; Table::COUNT]);
        assert!(send.send(Ok([true; Table::COUNT])).is_ok(), "the question is still asked");
        let another = async { Ok([false; Table::COUNT]) };
        assert_eq!(rights.ask(another).await, [true; Table::COUNT], "the answer came after its page");
    }
}
