//! What the service manager is told: sd_notify, as systemd and others
//! understand it. Without one that asks, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};

fn notify(states: &[NotifyState<'_>]) {
    if let Err(why) = sd_notify::notify(states) {
        tracing::debug!("cannot tell the service manager: {why}");
    }
}

/// The server answers.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The server is about to end.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing the requests under way")]);
}

/// What the task that reloads tells.
#[derive(Debug)]
pub struct Reports {
    /// Half the time after which the manager takes a silent task for dead.
    interval: Option<Duration>,
    next: Option<Instant>,
    is_reloading: bool,
    status: String,
}

impl Reports {
    /// Finds out what the manager wants to hear.
    pub fn new() -> Reports {
        let interval = sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|half| !half.is_zero());
        Reports {
            interval,
            next: interval.map(|_| Instant::now()),
            is_reloading: false,
            status: String::new(),
        }
    }

    /// A reload that was asked for begins.
    pub fn reloading(&mut self) {
        self.is_reloading = true;
        // The manager tells by the time whether it is the reload it asked for.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(why) => tracing::debug!("there is no clock: {why}"),
        }
    }

    /// No load is under way any more.
    pub fn reloaded(&mut self) {
        if std::mem::take(&mut self.is_reloading) {
            ready();
        }
    }

    /// What there is to say, if it is news.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            notify(&[NotifyState::Status(&status.replace('\n', " "))]);
            self.status = status;
        }
    }

    /// When the next sign of life is due; never, if nobody waits for one.
    pub async fn due(&self) {
        match self.next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Gives a sign of life.
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
