//! What follows from the end of a load.

use tokio::time::Instant;

use super::{Failures, REST, Reloader};
use crate::core::model::Table;
use crate::reload::cause::Cause;
use crate::reload::guard::Shrunk;
use crate::reload::handle::ReloadOutcome;
use crate::reload::load::{LoadError, Loaded, Loading};
use crate::reload::publisher::DraftOutcome;
use crate::reload::report::ms;
use crate::reload::schedule::{self, Backoff};
use crate::reload::status::SnapshotOrigin;

impl Reloader {
    /// Goes on from what the load under way came to.
    pub(super) async fn conclude(&mut self, loaded: Loaded) {
        if let Some(Loading { cause, begun, wants_cursor, .. }) = self.loading.take() {
            let is_stopped = loaded.as_ref().is_err_and(LoadError::is_stopped);
            let verdict = self.loaded(cause, begun, wants_cursor, loaded).await;
            if is_stopped {
                // Whoever waits for it is told what the next one comes to.
                self.asking.append(&mut self.waiting);
            }
            self.metrics.reload(cause.label(), verdict.name(), begun.elapsed());
            if !self.waiting.is_empty() {
                self.rest_until = Instant::now() + REST;
            }
            for asker in self.waiting.drain(..) {
                // Whoever has stopped waiting need not know.
                let _ = asker.send(verdict.clone());
            }
            if self.cursor.is_none() && !wants_cursor && !self.failing.loads {
                // The place was lost meanwhile.
                self.again.get_or_insert((Cause::PlaceLost, false));
            }
        }
        if let Some((cause, is_confirmed)) = self.again.take() {
            self.demand(cause, is_confirmed);
        }
        if self.loading.is_none() {
            self.reports.reloaded();
        }
    }

    async fn loaded(
        &mut self,
        cause: Cause,
        begun: Instant,
        wants_cursor: bool,
        loaded: Loaded,
    ) -> ReloadOutcome {
        let is_first = self.status.borrow().origin != SnapshotOrigin::Source;
        let (cursor, outcome) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.load_failed(cause, &error),
        };
        let (verdict, changed) = match outcome {
            DraftOutcome::Abandoned => return self.load_failed(cause, &LoadError::Build),
            DraftOutcome::HeldBack(shrunk) => return self.hold_back(cause, shrunk),
            DraftOutcome::Unchanged => {
                self.status.send_modify(|status| status.is_held_back = false);
                match cause {
                    Cause::Timer => {
                        tracing::debug!(cause = cause.name(), ms = ms(begun), "loaded: nothing has changed")
                    }
                    _ => tracing::info!(cause = cause.name(), ms = ms(begun), "loaded: nothing has changed"),
                }
                (ReloadOutcome::Unchanged, Vec::new())
            }
            DraftOutcome::Swapped(swapped) => {
                let place = cursor.as_ref().or(self.cursor.as_ref()).cloned();
                (
                    ReloadOutcome::Swapped(swapped.version),
                    self.swapped(cause, begun, place.as_ref(), *swapped, SnapshotOrigin::Source),
                )
            }
        };
        self.backoff = Backoff::new();
        self.next_load = self.settings.reload_interval.map(schedule::after);
        if std::mem::take(&mut self.failing) != Failures::default() {
            tracing::info!("the database can be read again");
        }
        self.note_well(begun);

        if !wants_cursor && self.cursor.is_some() {
            self.check_announced(changed).await;
        } else if wants_cursor && self.again.is_none() {
            self.cursor = cursor;
        }
        self.next_poll = self.settings.poll_interval.filter(|_| self.cursor.is_some()).map(schedule::after);
        if is_first && self.cursor.is_none() && self.source.files().is_empty() {
            tracing::info!(
                "there is no table of changes: changes are seen {}on SIGHUP; `jitsiprovs --setup` adds \
                 one, and then they are seen at once",
                self.settings
                    .reload_interval
                    .map_or(String::new(), |interval| format!("every {} s and ", interval.as_secs()))
            );
        }
        verdict
    }

    /// Rows that a load found changed must be found by a poll too; if not,
    /// something is wrong with the triggers.
    async fn check_announced(&mut self, changed: Vec<(Table, i64)>) {
        if changed.is_empty() {
            return;
        }
        let Some(announced) = self.poll(Cause::Poll).await else { return };
        let mut silent = changed.into_iter().filter(|row| !announced.contains(row));
        if let Some((table, id)) = silent.next() {
            tracing::warn!(
                "rows have changed that no trigger noted in jitsiprovs_change, such as {table} id {id}: \
                 TRUNCATE fires none; if they are missing, `jitsiprovs --setup` makes them again"
            );
        }
    }

    /// An error in words, with advice.
    fn told(&self, error: &LoadError) -> String {
        match error {
            LoadError::Source(error) => format!("{error}{}", (self.settings.advice)(error)),
            LoadError::Build => error.to_string(),
        }
    }

    fn load_failed(&mut self, cause: Cause, error: &LoadError) -> ReloadOutcome {
        let told = self.told(error);
        let verdict = ReloadOutcome::Failed(told.clone());
        self.next_load = Some(self.backoff.next());
        if let LoadError::Build = error {
            self.cursor = None;
        }
        // A load is stopped only to begin another.
        if error.is_stopped() {
            return verdict;
        }
        let is_unreachable = error.is_unreachable();
        self.failing = Failures { loads: true, is_unreachable, ..self.failing };
        self.note_failing(&told);
        if is_unreachable {
            self.next_poll = Some(schedule::probe());
        }
        match self.status.borrow().is_ready() {
            true => {
                tracing::error!(cause = cause.name(), "reload failed, the old snapshot stays in use: {told}")
            }
            false => tracing::error!(cause = cause.name(), "load failed: {told}"),
        }
        verdict
    }

    pub(super) fn hold_back(
        &mut self,
        cause: Cause,
        Shrunk { what, before, after }: Shrunk,
    ) -> ReloadOutcome {
        self.cursor = None;
        self.next_poll = None;
        self.next_load = Some(self.backoff.next());
        let was_held_back = self.status.borrow().is_held_back;
        // It could be read, whatever is in it.
        self.failing = Failures::default();
        self.status.send_modify(|status| {
            (status.is_held_back, status.failing) = (true, None);
        });
        if was_held_back && !cause.is_signal() {
            tracing::debug!(cause = cause.name(), what, before, after, "still held back");
            return ReloadOutcome::HeldBack;
        }
        tracing::error!(
            cause = cause.name(),
            before,
            after,
            "the new snapshot is held back, since of {before} {what} it has {after}: if that is meant, \
             send SIGHUP twice within 60 s, or start with --allow-shrink; the old snapshot stays in use"
        );
        ReloadOutcome::HeldBack
    }
}
