//! Reports to the service manager with sd_notify, which systemd and others
//! understand. If no manager asks for reports, nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};

fn notify(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::debug!("cannot report to the service manager: {why}");
    }
}

/// Reports that the server answers.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that the server is about to end.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing the requests under way")]);
}

/// The reports of the task that reloads.
#[derive(Debug)]
pub struct Reports {
    /// Half the time after which the manager considers a silent task dead.
    interval: Option<Duration>,
    next: Option<Instant>,
    is_reloading: bool,
    status: String,
}

impl Reports {
    /// Finds out which reports the manager wants.
    pub fn new() -> Reports {
        let interval = sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero());
        Reports {
            interval,
            next: interval.map(|_| Instant::now()),
            is_reloading: false,
            status: String::new(),
        }
    }

    /// Reports that a reload begins that somebody asked for.
    pub fn reloading(&mut self) {
        self.is_reloading = true;
        // The manager compares this time with that of its own request to reload.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(why) => tracing::debug!("cannot read the clock: {why}"),
        }
    }

    /// Reports that no load is under way any more.
    pub fn reloaded(&mut self) {
        if std::mem::take(&mut self.is_reloading) {
            ready();
        }
    }

    /// Reports the status if it has changed.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            notify(&[NotifyState::Status(&status.replace('\n', " "))]);
            self.status = status;
        }
    }

    /// Waits until the next sign of life is due; endlessly if the manager wants none.
    pub async fn due(&self) {
        match self.next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Sends a sign of life.
    pub fn alive(&mut self) {
        notify(&[NotifyState::Watchdog]);
        self.next = self.interval.map(|interval| Instant::now() + interval);
    }
}

impl Default for Reports {
    fn default() -> Reports {
        Reports::new()
    }
}
