//! Connections that move to another worker between two requests.
//!
//! Only HTTP/1.1 connections move. Those of h2 have state in the HTTP library that stays on
//! its thread.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Calls for a connection of one worker to move to another.
#[derive(Debug, Default)]
pub(in crate::serve) struct Call {
    is_open: AtomicBool,
    opened: Notify,
}

impl Call {
    /// Asks one connection to move. The first that has no request under way takes the call.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Relaxed);
        self.opened.notify_one();
    }

    /// Whether no connection has taken the last call yet.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Waits for a call, and takes it.
    pub(super) async fn take(call: Option<Arc<Call>>) {
        let Some(call) = call else { return pending().await };
        // The call may have been taken by another connection before this one woke up.
        while !call.is_open.swap(false, Ordering::Relaxed) {
            call.opened.notified().await;
        }
    }
}

/// What a connection does until it ends, or until it has taken a call and should move.
pub(in crate::serve) type Running = Pin<Box<dyn Future<Output = Option<Moving>>>>;

/// A connection that no thread runs.
pub(in crate::serve) struct Moving(Box<dyn FnOnce(Arc<Call>) -> Running + Send>);

impl Moving {
    pub(super) fn new(go_on: impl FnOnce(Arc<Call>) -> Running + Send + 'static) -> Moving {
        Moving(Box::new(go_on))
    }

    /// Goes on on this thread, whose worker makes its calls with `call`.
    pub fn go_on(self, call: Arc<Call>) -> Running {
        (self.0)(call)
    }
}
