//! How the task begins polls, and what it does when they end.

use std::collections::HashSet;

use tokio::time::Instant;

use super::{FILE_LOOK_AGAIN, REASSURANCE, Reloader, UNLOADED};
use crate::core::model::Table;
use crate::reload::cause::Cause;
use crate::reload::handle::ReloadOutcome;
use crate::reload::load::{LoadError, Loading};
use crate::reload::poll::{Changed, Polled, Polling};
use crate::reload::publisher::DraftOutcome;
use crate::reload::pushes::Pushes;
use crate::reload::schedule;
use crate::reload::status::SnapshotOrigin;
use crate::source::{Cursor, SourceError, UnknownChanges};

impl Reloader {
    /// Begins a poll. No other poll may be running.
    pub(super) fn poll(&mut self, cause: Cause) {
        let mut polling = Polling::begin(
            &self.reader,
            self.source.clone(),
            self.publisher.clone(),
            cause,
            self.cursor.clone(),
        );
        polling.unannounced = std::mem::take(&mut self.unannounced);
        self.polling = Some(polling);
    }

    /// Reads what is new in a file that has changed.
    pub(super) fn read_file(&mut self) {
        (self.file_settles, self.look_again) = (None, None);
        if self.cursor.is_none() {
            return self.request(Cause::File);
        }
        self.poll(Cause::File);
        self.polling.iter_mut().for_each(|polling| polling.looks_again = true);
    }

    /// When the next poll is due, if the source can be read.
    pub(super) fn poll_due(&self) -> Option<Instant> {
        self.cursor.as_ref()?;
        match self.unannounced.is_empty() {
            true => self.settings.poll_interval.map(|interval| {
                match self.pushes.as_ref().is_some_and(Pushes::arrive) {
                    true => schedule::after(interval.max(REASSURANCE)),
                    false => schedule::after(interval),
                }
            }),
            false => Some(Instant::now()),
        }
    }

    /// Forgets the position in the changes. Then only a load can find out what has changed.
    pub(super) fn lose_place(&mut self) {
        (self.cursor, self.next_poll) = (None, None);
        self.unannounced.clear();
    }

    /// Handles the result of a poll.
    pub(super) fn polled(&mut self, polled: Result<Polled, LoadError>) {
        let Some(polling) = self.polling.take() else { return };
        match polled {
            Ok(Polled::Changed(changed)) => self.changed(polling, changed),
            // A load has read the source since the poll began.
            Ok(Polled::Unknown(_)) | Err(LoadError::Source(_)) if polling.is_overtaken => {}
            Ok(Polled::Unknown(why)) => {
                if why == Cause::Unknown(UnknownChanges::NoTriggers) {
                    tracing::warn!(
                        "the triggers that note changes are missing, so each change loads everything: \
                         `jitsiprovs --setup` creates them again"
                    );
                }
                self.lose_place();
                self.request(why);
            }
            Err(LoadError::Source(error)) => self.poll_failed(&error),
            Err(LoadError::Build | LoadError::NoThread(_) | LoadError::Misfit(_)) => {
                self.poll_broke(polling.cause)
            }
        }
    }

    fn changed(&mut self, polling: Polling, changed: Changed) {
        let Polling { cause, begun, has_place, looks_again, unannounced, .. } = polling;
        let Changed { rows, cursor, is_reconnected, outcome } = changed;
        match outcome {
            DraftOutcome::Swapped(swapped) => {
                let verdict = ReloadOutcome::Swapped(swapped.version);
                self.metrics.reload(cause.label(), verdict.name(), begun.elapsed());
                let settle = self.settings.settle;
                if swapped.summary.renamed > 0 && self.settings.max_shrink < 100 && !settle.is_zero() {
                    // Before the users who had these ids get 401.
                    let soon = Instant::now() + settle / 2;
                    self.renamed.get_or_insert(soon);
                    self.status.send_modify(|status| status.is_checking = true);
                }
                self.swapped(cause, begun, cursor.as_ref(), *swapped, SnapshotOrigin::Source);
            }
            DraftOutcome::Unchanged => {}
            DraftOutcome::Abandoned => return self.poll_broke(cause),
        }
        self.note_withheld(cause);
        if self.next_load.is_none() && self.loading.is_none() && self.publisher.wants_load() {
            self.next_load = Some(schedule::after(UNLOADED));
        }
        if looks_again && rows.is_empty() {
            self.look_again = Some(Instant::now() + FILE_LOOK_AGAIN);
        }
        self.log_unnoted(unannounced.iter().filter(|row| !rows.contains(row)));
        if has_place {
            self.go_on_from(cursor, rows);
        }
        self.source_answers(begun, is_reconnected);
    }

    /// Logs rows that a load found changed, and of which no line of changes says so.
    fn log_unnoted<'r>(&mut self, unnoted: impl Iterator<Item = &'r (Table, i64)>) {
        let (ours, foreign): (Vec<_>, Vec<_>) = unnoted.partition(|(table, _)| self.is_ours(*table));
        if let Some((table, id)) = ours.first() {
            tracing::warn!(
                "rows have changed that no trigger noted in jitsiprovs_change, such as {table} id {id}: \
                 TRUNCATE fires no triggers; if triggers are missing, `jitsiprovs --setup` creates them again"
            );
        }
        if let Some((table, _)) = foreign.first()
            && !std::mem::replace(&mut self.has_told_of_triggers, true)
        {
            tracing::info!(
                "rows of your own query for {table} have changed, and only a full load has found that: \
                 `jitsiprovs sql triggers` prints triggers with which such changes are noticed at once"
            );
        }
    }

    /// Continues from the position that a poll has reached.
    fn go_on_from(&mut self, cursor: Option<Cursor>, rows: HashSet<(Table, i64)>) {
        // If the position was lost during the poll, only a load may find a new one. If a load has
        // found a newer position during the poll, go back to that of the poll: the poll may have
        // published rows older than the load's, so the next poll must read these changes again.
        if self.cursor.is_some() {
            self.cursor = cursor;
        }
        self.unannounced.retain(|row| !rows.contains(row));
        if let Some(loading) = &mut self.loading {
            // The rows of the poll take precedence over those that the running load reads, so
            // the position of the load would be too new as well.
            loading.wants_cursor = false;
            loading.announced.extend(rows);
        }
    }

    fn source_answers(&mut self, begun: Instant, is_reconnected: bool) {
        let was_failing = std::mem::take(&mut self.failing);
        self.failing.loads = was_failing.loads;
        self.next_poll = self.poll_due();
        if was_failing.polls.is_some() {
            tracing::info!("the database can be read again");
            // A load that has made no progress since then is hanging.
            let hangs = |loading: &&Loading| was_failing.progress == Some(loading.progress());
            self.loading.iter().filter(hangs).for_each(|loading| loading.stop());
            self.request(Cause::DatabaseBack);
        } else if is_reconnected {
            // The new connection may lead to another server.
            self.request(Cause::NewConnection);
        }
        if !self.failing.loads {
            self.note_well(begun);
        }
    }

    fn poll_failed(&mut self, error: &SourceError) {
        let message = format!("{error}{}", (self.settings.advice)(error));
        self.next_poll = Some(schedule::probe());
        // Logged once for each kind of error, because the next poll follows in two seconds.
        let kind = std::mem::discriminant(error);
        if self.failing.polls.is_none() {
            self.failing.progress = self.loading.as_ref().map(Loading::progress);
        }
        let is_news = self.failing.polls.replace(kind) != Some(kind);
        let is_known = self.failing.is_unreachable && error.is_unreachable();
        if is_news && !is_known {
            tracing::error!("asking for changes failed, the old snapshot stays in use: {message}");
        }
        self.note_failing(&message);
    }

    /// A defect of this program stopped a poll: loads everything again.
    fn poll_broke(&mut self, cause: Cause) {
        tracing::error!(cause = cause.name(), "{}", LoadError::Build);
        self.lose_place();
        self.request(Cause::Defect);
    }
}
