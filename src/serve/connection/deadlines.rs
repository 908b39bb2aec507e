//! Runs a connection within its time limits.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, ready};

use hyper::StatusCode;
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::phase::Phase;
use super::{ConnectionLimits, GRACE};

/// Runs a connection until it ends, or until it has taken too long.
pub(super) async fn serve<C: GracefulConnection>(
    connection: C,
    phase: &Cell<Phase>,
    limits: ConnectionLimits,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    let mut stopped = pin!(stopping.wait_for(|stop| *stop));
    // When to cut a connection that is about to end and has no request under way.
    let mut ending: Option<Instant> = None;
    let mut is_told = false;
    let mut timer = pin!(sleep_until(Instant::now() + limits.idle));
    poll_fn(|cx| {
        if ending.is_none() && stopped.as_mut().poll(cx).is_ready() {
            ending = Some(Instant::now() + GRACE);
        }
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The timer is moved only to an earlier time; when it fires too early it is set
        // again. So a request costs no change of timers.
        loop {
            let now = phase.get();
            // A graceful shutdown would close a connection whose first request is on its
            // way.
            let is_awaited = matches!(now, Phase::New(_)) && ending.is_some_and(|end| Instant::now() < end);
            if ending.is_some() && !is_awaited && !std::mem::replace(&mut is_told, true) {
                connection.as_mut().graceful_shutdown();
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                continue;
            }
            let limit = now.deadline(limits).unwrap_or_else(|| Instant::now() + limits.idle);
            let deadline = ending.filter(|_| now.is_quiet()).map_or(limit, |end| end.min(limit));
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() < deadline {
                timer.as_mut().reset(deadline);
            } else if now.is_quiet() && ending.is_none() {
                ending = Some(Instant::now() + GRACE);
                // After this time, no first request is expected any more.
                phase.set(Phase::Idle(Instant::now()));
            } else {
                if let Phase::Head(_) = now {
                    phase.set(Phase::Refused(StatusCode::REQUEST_TIMEOUT));
                }
                return Poll::Ready(());
            }
        }
    })
    .await
}
