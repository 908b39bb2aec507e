//! A poll: reads the changed rows and publishes them.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cause::Cause;
use super::load::LoadError;
use super::publisher::{DraftOutcome, Publisher};
use super::reader::Reader;
use crate::core::model::{Change, Table};
use crate::source::{Changes, Cursor, Source};

/// The result of a poll.
pub(super) enum Polled {
    /// The source cannot say what has changed, so everything must be loaded.
    Unknown(Cause),
    /// The source said what has changed.
    Changed(Changed),
}

/// What the source said to a poll.
pub(super) struct Changed {
    /// The rows that have changed.
    pub rows: HashSet<(Table, i64)>,
    /// Where the next poll begins. `None` if this poll had no position either.
    pub cursor: Option<Cursor>,
    /// Whether the poll had to connect again.
    pub is_reconnected: bool,
    /// Whether the changes are in use.
    pub outcome: DraftOutcome,
}

/// A poll that is running.
pub(super) struct Polling {
    pub cause: Cause,
    pub begun: Instant,
    /// Whether it began at a position in the table of changes. If not, it only finds out
    /// whether the source can be reached.
    pub has_place: bool,
    /// Whether a load has found a newer position since the poll began. Then a failure of
    /// the poll no longer matters, and its rows may be older than those of the load.
    pub is_overtaken: bool,
    /// Whether another poll must follow if this one finds no changed row: it began because
    /// a file has changed, and the writer may not have committed yet.
    pub looks_again: bool,
    /// Rows that a load found changed. This poll must find them too.
    pub unannounced: Vec<(Table, i64)>,
    task: JoinHandle<Result<Polled, LoadError>>,
}

impl Polling {
    /// Begins a poll at `cursor`.
    pub fn begin(
        reader: &Reader,
        source: Arc<dyn Source>,
        publisher: Arc<Publisher>,
        cause: Cause,
        cursor: Option<Cursor>,
    ) -> Polling {
        let has_place = cursor.is_some();
        let task = reader.spawn(poll(source, publisher, cursor));
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

/// Waits until the running poll ends. Never returns if none is running.
pub(super) async fn finished(polling: &mut Option<Polling>) -> Result<Polled, LoadError> {
    match polling {
        Some(polling) => (&mut polling.task).await.unwrap_or(Err(LoadError::Build)),
        None => std::future::pending().await,
    }
}

async fn poll(
    source: Arc<dyn Source>,
    publisher: Arc<Publisher>,
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
        true => tokio::task::spawn_blocking(move || publisher.update(changes, place))
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
