//! Polls.

use std::collections::HashSet;

use tokio::time::Instant;

use super::{Reloader, UNLOADED};
use crate::core::model::{Change, Table};
use crate::reload::cause::Cause;
use crate::reload::guard::Guard;
use crate::reload::load::{LoadError, Loading};
use crate::reload::publisher::DraftOutcome;
use crate::reload::schedule;
use crate::reload::status::SnapshotOrigin;
use crate::source::{Changes, Cursor, SourceError};

impl Reloader {
    /// Asks what has changed, and brings it in. Returns the rows it was told, if
    /// that could be told.
    pub(super) async fn poll(&mut self, cause: Cause) -> Option<HashSet<(Table, i64)>> {
        let begun = Instant::now();
        let found = self.source.changes(self.cursor.as_ref()).await;
        let (changes, cursor, is_reconnected) = match found {
            Err(error) => {
                self.poll_failed(&error);
                return None;
            }
            Ok(Changes::Unknown(why)) => {
                self.cursor = None;
                self.next_poll = None;
                self.request(Cause::Unknown(why));
                return None;
            }
            Ok(Changes::Rows { changes, cursor, is_reconnected }) => (changes, cursor, is_reconnected),
        };
        let rows = changes.iter().map(row).collect();
        let place = cursor.as_ref().map(Cursor::id);
        let served = self.publisher.current().load().as_ref().and_then(|served| served.cursor);
        if !changes.is_empty() || place != served {
            let (publisher, guard) = (self.publisher.clone(), Guard { max_shrink: self.settings.max_shrink });
            let updated = tokio::task::spawn_blocking(move || publisher.update(changes, place, guard)).await;
            match updated {
                Ok(DraftOutcome::Swapped(swapped)) => {
                    self.metrics.reload(cause.label(), "swapped", begun.elapsed());
                    self.swapped(cause, begun, cursor.as_ref(), *swapped, SnapshotOrigin::Source);
                }
                Ok(DraftOutcome::Unchanged) => {}
                Ok(DraftOutcome::HeldBack(shrunk)) => {
                    let verdict = self.hold_back(cause, shrunk);
                    self.metrics.reload(cause.label(), verdict.name(), begun.elapsed());
                    return None;
                }
                Ok(DraftOutcome::Abandoned) | Err(_) => {
                    tracing::error!(cause = cause.name(), "{}", LoadError::Build);
                    self.cursor = None;
                    self.next_poll = None;
                    self.request(Cause::Defect);
                    return None;
                }
            }
        }
        if self.next_load.is_none() && self.loading.is_none() && self.publisher.wants_load() {
            self.next_load = Some(schedule::after(UNLOADED));
        }
        self.cursor = cursor;
        let was_failing = std::mem::take(&mut self.failing);
        self.failing.loads = was_failing.loads;
        self.next_poll = self.settings.poll_interval.filter(|_| self.cursor.is_some()).map(schedule::after);
        if was_failing.polls.is_some() {
            tracing::info!("the database can be read again");
            // A load that hangs since then would only be in the way.
            let hangs = |loading: &&Loading| was_failing.progress == Some(loading.progress());
            self.loading.iter().filter(hangs).for_each(|loading| loading.stop());
            self.request(Cause::DatabaseBack);
        } else if is_reconnected {
            // What answers there may be another server.
            self.request(Cause::NewConnection);
        }
        if !self.failing.loads {
            self.note_well(begun);
        }
        Some(rows)
    }

    fn poll_failed(&mut self, error: &SourceError) {
        let told = format!("{error}{}", (self.settings.advice)(error));
        self.next_poll = Some(schedule::probe());
        // Once for each kind of trouble, as this is asked every other second.
        let kind = std::mem::discriminant(error);
        if self.failing.polls.is_none() {
            self.failing.progress = self.loading.as_ref().map(Loading::progress);
        }
        let is_news = self.failing.polls.replace(kind) != Some(kind);
        let is_known = self.failing.is_unreachable && error.is_unreachable();
        if is_news && !is_known {
            tracing::error!("asking for changes failed, the old snapshot stays in use: {told}");
        }
        self.note_failing(&told);
    }
}

fn row(change: &Change) -> (Table, i64) {
    match change {
        Change::Put(row) => (row.table(), row.id()),
        Change::Gone(table, id) => (*table, *id),
    }
}
