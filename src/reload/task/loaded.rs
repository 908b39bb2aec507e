//! What the task does when a load ends.

use std::collections::HashSet;

use tokio::time::Instant;

use super::{Failures, REST, Reloader};
use crate::core::model::Table;
use crate::reload::cause::Cause;
use crate::reload::handle::ReloadOutcome;
use crate::reload::load::{LoadDone, LoadError, Loaded, Loading};
use crate::reload::publisher::DraftOutcome;
use crate::reload::report::ms;
use crate::reload::schedule::{self, Backoff};
use crate::reload::status::SnapshotOrigin;
use crate::source::{Cursor, TableRead};

impl Reloader {
    /// Handles the result of the running load.
    pub(super) fn conclude(&mut self, loaded: Loaded) {
        if let Some(loading) = self.loading.take() {
            let Loading { cause, begun, wants_cursor, .. } = loading;
            let is_stopped = loaded.as_ref().is_err_and(LoadError::is_stopped);
            let verdict = self.loaded(loading, loaded);
            if is_stopped {
                // The next load answers the operators who wait for this one.
                self.asking.append(&mut self.waiting);
            }
            self.metrics.reload(cause.label(), verdict.name(), begun.elapsed());
            if !self.waiting.is_empty() {
                self.rest_until = Instant::now() + REST;
            }
            for asker in self.waiting.drain(..) {
                // Sending fails if the asker has stopped waiting.
                let _ = asker.result.send(verdict.clone());
            }
            if self.cursor.is_none() && !wants_cursor && !self.failing.loads {
                // The position in the changes was lost during the load.
                self.again.get_or_insert(Cause::PlaceLost);
            }
        }
        if let Some(cause) = self.again.take() {
            self.request(cause);
        }
        if self.loading.is_none() {
            self.reports.reloaded();
        }
    }

    fn loaded(&mut self, loading: Loading, loaded: Loaded) -> ReloadOutcome {
        let Loading { cause, begun, wants_cursor, announced, .. } = loading;
        let is_first = self.status.borrow().origin != SnapshotOrigin::Source;
        let LoadDone { cursor, outcome, tables, confirmed } = match loaded {
            Ok(done) => done,
            Err(error) => return self.load_failed(cause, &error),
        };
        let rows_read = tables.iter().map(TableRead::rows).sum();
        let unread = tables.iter().filter(|read| matches!(read, TableRead::Unchanged)).count() as u64;
        self.metrics.load_read(rows_read, unread);
        if confirmed.is_some() {
            self.end_doubt();
        }
        if let Some(DraftOutcome::Swapped(swapped)) = confirmed {
            self.swapped(cause, begun, self.cursor.clone().as_ref(), *swapped, SnapshotOrigin::Source);
        }
        let (verdict, changed) = match outcome {
            DraftOutcome::Abandoned => return self.load_failed(cause, &LoadError::Build),
            DraftOutcome::Unchanged => {
                log_unchanged(cause, begun, rows_read);
                (ReloadOutcome::Unchanged, Vec::new())
            }
            DraftOutcome::Swapped(mut swapped) => {
                swapped.rows_read = Some(rows_read);
                let version = swapped.version;
                let place = cursor.as_ref().or(self.cursor.as_ref()).cloned();
                let changed = self.swapped(cause, begun, place.as_ref(), *swapped, SnapshotOrigin::Source);
                (ReloadOutcome::Swapped(version), changed)
            }
        };
        self.note_withheld(cause);
        // A load that had begun before may not have seen what it was to find.
        let is_checking = self.renamed.is_some();
        self.status.send_modify(|status| status.is_checking = is_checking);
        self.backoff = Backoff::new();
        self.next_load = self.settings.reload_interval.map(schedule::after);
        if std::mem::take(&mut self.failing) != Failures::default() {
            tracing::info!("the database can be read again");
        }
        self.note_well(begun);
        match wants_cursor {
            true if self.again.is_none() => self.begin_at(cursor),
            false if self.cursor.is_some() => self.expect(changed, &announced),
            _ => {}
        }
        self.next_poll = self.poll_due();
        if is_first && self.cursor.is_none() && self.source.files().is_empty() {
            self.log_no_changes();
        }
        self.with_loss(verdict)
    }

    /// Polls continue from the position that a load has found.
    fn begin_at(&mut self, cursor: Option<Cursor>) {
        self.cursor = cursor;
        self.unannounced.clear();
        self.polling.iter_mut().for_each(|polling| polling.is_overtaken = true);
    }

    /// Rows that a load found changed must be found by a poll too: one during the load, or
    /// the next one.
    fn expect(&mut self, changed: Vec<(Table, i64)>, announced: &HashSet<(Table, i64)>) {
        self.unannounced = changed;
        self.unannounced.retain(|row| !announced.contains(row));
    }

    /// Whether a table is read itself, and not with the operator's own query.
    pub(super) fn is_ours(&self, table: Table) -> bool {
        self.source.editable(table).is_ok()
    }

    fn log_no_changes(&self) {
        let interval = self.settings.reload_interval;
        let how = match [Table::UserAuth, Table::JitsiProperty].iter().all(|table| self.is_ours(*table)) {
            true => "and then they are noticed at once",
            false => {
                "and for the tables that your own queries read, `jitsiprovs sql triggers` prints the triggers \
                 with which they are noticed at once"
            }
        };
        tracing::info!(
            "there is no table of changes: changes are noticed {}on SIGHUP; `jitsiprovs --setup` adds one, \
             {how}",
            interval.map_or(String::new(), |interval| format!("every {} s and ", interval.as_secs()))
        );
    }

    /// The text of an error, with advice.
    fn message(&self, error: &LoadError) -> String {
        match error {
            LoadError::Source(error) => format!("{error}{}", (self.settings.advice)(error)),
            LoadError::NoThread(_) | LoadError::Misfit(_) | LoadError::Build => error.to_string(),
        }
    }

    fn load_failed(&mut self, cause: Cause, error: &LoadError) -> ReloadOutcome {
        let message = self.message(error);
        let verdict = ReloadOutcome::Failed(message.clone());
        self.next_load = Some(self.backoff.next());
        if let LoadError::Build = error {
            self.lose_place();
        }
        // A load is stopped only to begin another one.
        if error.is_stopped() {
            return verdict;
        }
        let is_unreachable = error.is_unreachable();
        self.failing = Failures { loads: true, is_unreachable, ..self.failing };
        self.note_failing(&message);
        if is_unreachable {
            self.next_poll = Some(schedule::probe());
        }
        match self.status.borrow().is_ready() {
            true => {
                tracing::error!(
                    cause = cause.name(),
                    "reload failed, the old snapshot stays in use: {message}"
                )
            }
            false => tracing::error!(cause = cause.name(), "load failed: {message}"),
        }
        verdict
    }
}

/// Logs a load without changes, at a lower level if no event caused it.
fn log_unchanged(cause: Cause, begun: Instant, rows_read: u64) {
    let (name, ms) = (cause.name(), ms(begun));
    match cause {
        Cause::Timer | Cause::Settled | Cause::Renamed => {
            tracing::debug!(cause = name, rows_read, ms, "loaded: nothing has changed")
        }
        _ => tracing::info!(cause = name, rows_read, ms, "loaded: nothing has changed"),
    }
}
