//! One poll on its way: what has changed, read and brought in.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cause::Cause;
use super::guard::Guard;
use super::load::LoadError;
use super::publisher::{DraftOutcome, Publisher};
use super::reader::Reader;
use crate::core::model::{Change, Table};
use crate::source::{Changes, Cursor, Source};

/// What a poll came to.
pub(super) enum Polled {
    /// It cannot tell what has changed: everything must be loaded.
    Unknown(Cause),
    /// It was told what has changed.
    Changed(Changed),
}

/// What a poll was told.
pub(super) struct Changed {
    /// The rows that have changed.
    pub rows: HashSet<(Table, i64)>,
    /// Where the next poll begins; `None` if this one had no place to begin.
    pub cursor: Option<Cursor>,
    /// Whether the connection is a new one.
    pub is_reconnected: bool,
    /// What became of the changes.
    pub outcome: DraftOutcome,
}

/// A poll on its way.
pub(super) struct Polling {
    pub cause: Cause,
    pub begun: Instant,
    /// Whether it began at a place in the changes. If not, it only finds out whether
    /// the source can be reached.
    pub has_place: bool,
    /// Whether a load has found another place since. Then a failure is no news, but
    /// rows that were brought in may be older than those of the load.
    pub is_overtaken: bool,
    /// Whether a file has changed: if no row has, the writer may not have committed
    /// yet, and the file must be looked at again.
    pub looks_again: bool,
    /// Rows that a load found changed, and that this poll must find too.
    pub unannounced: Vec<(Table, i64)>,
    task: JoinHandle<Result<Polled, LoadError>>,
}

impl Polling {
    /// Begins a poll at `cursor`.
    pub fn begin(
        reader: &Reader,
        source: Arc<dyn Source>,
        publisher: Arc<Publisher>,
        guard: Guard,
        cause: Cause,
        cursor: Option<Cursor>,
    ) -> Polling {
        let has_place = cursor.is_some();
        let task = reader.spawn(poll(source, publisher, guard, cursor));
        Polling {
            cause,
            begun: Instant::now(),
            has_place,
            is_overtaken: false,
            looks_again: false,
            unannounced: Vec::new(),
            task,
        }
    }
}

/// Waits for the poll on its way; for ever if there is none.
pub(super) async fn finished(polling: &mut Option<Polling>) -> Result<Polled, LoadError> {
    match polling {
        Some(polling) => (&mut polling.task).await.unwrap_or(Err(LoadError::Build)),
        None => std::future::pending().await,
    }
}

async fn poll(
    source: Arc<dyn Source>,
    publisher: Arc<Publisher>,
    guard: Guard,
    cursor: Option<Cursor>,
) -> Result<Polled, LoadError> {
    let (changes, cursor, is_reconnected) = match source.changes(cursor.as_ref()).await? {
        Changes::Unknown(why) => return Ok(Polled::Unknown(Cause::Unknown(why))),
        Changes::Rows { changes, cursor, is_reconnected } => (changes, cursor, is_reconnected),
    };
    let rows = changes.iter().map(row).collect();
    let place = cursor.as_ref().map(Cursor::id);
    let served = publisher.current().load().as_ref().and_then(|served| served.cursor);
    let is_news = place.is_some() && (!changes.is_empty() || place != served);
    let outcome = match is_news {
        true => tokio::task::spawn_blocking(move || publisher.update(changes, place, guard))
            .await
            .map_err(|_| LoadError::Build)?,
        false => DraftOutcome::Unchanged,
    };
    Ok(Polled::Changed(Changed { rows, cursor, is_reconnected, outcome }))
}

fn row(change: &Change) -> (Table, i64) {
    match change {
        Change::Put(row) => (row.table(), row.id()),
        Change::Gone(table, id) => (*table, *id),
    }
}
