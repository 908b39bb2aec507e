//! Runs a connection within its time limits.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::ConnectionLimits;
use super::moving::Call;
use super::phase::{Phase, PhaseCell};
use super::woken::Woken;

/// How long a connection stays open for bytes that have arrived or are bound to come: the
/// client has begun to speak.
pub(in crate::serve) const GRACE: Duration = Duration::from_secs(1);
/// How long a client may take that has not begun to speak when the server stops. Its first
/// bytes may be right behind its connection.
pub(in crate::serve) const BRIEF: Duration = Duration::from_millis(30);

/// Says when a connection should end.
pub(in crate::serve) struct Signals {
    stopping: watch::Receiver<bool>,
    /// `None` if no other connection can need the place.
    asked: Option<oneshot::Receiver<()>>,
    /// Whether the server stops; `None` if nothing was received yet.
    received: Option<bool>,
}

impl Signals {
    /// Of a server that stops and, if `asked` is given, of a connection that must make room.
    pub fn new(stopping: watch::Receiver<bool>, asked: Option<oneshot::Receiver<()>>) -> Signals {
        Signals { stopping, asked, received: None }
    }

    /// Waits until the connection should end. Returns whether the server stops; if not,
    /// another connection needs the place.
    pub async fn received(&mut self) -> bool {
        if let Some(is_stop) = self.received {
            return is_stop;
        }
        let asked = async {
            // The roster keeps the other end while the connection is in it.
            let is_asked = match &mut self.asked {
                Some(asked) => asked.await.is_ok(),
                None => false,
            };
            if !is_asked {
                std::future::pending().await
            }
        };
        let is_stop = tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stop| *stop) => true,
            () = asked => false,
        };
        self.received = Some(is_stop);
        is_stop
    }

    /// The result of `waiting`. `None` if another connection needs the place, or if the
    /// server stops and there is no result within `patience`.
    pub async fn unless_received<T>(
        &mut self,
        patience: Duration,
        waiting: impl Future<Output = T>,
    ) -> Option<T> {
        let received = async {
            if self.received().await {
                sleep(patience).await;
            }
        };
        tokio::select! {
            biased;
            done = waiting => Some(done),
            () = received => None,
        }
    }
}

/// How long a connection may be quiet.
pub(super) struct Quiet<F> {
    pub limits: ConnectionLimits,
    /// How long it is kept after an answer.
    pub kept: Duration,
    /// How long after its beginning its first request is waited for when the server stops.
    pub first: Duration,
    /// How long it may stay open after the client was told that it ends. In h2 clients are
    /// told; in HTTP/1.1 they only see the end.
    pub farewell: Duration,
    /// After which time without a request it should only wait; `None` for never.
    pub pause: Option<Duration>,
    /// It also pauses when it should move to another worker.
    pub call: Option<Arc<Call>>,
    /// Whether bytes have arrived that nobody has read yet.
    pub has_bytes: F,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// By itself, or because a request took too long.
    Ended,
    /// It had to end, and no request was under way.
    Dismissed,
    /// It did not end, but should only wait for a request.
    Paused,
}

/// What is run within time limits.
pub(super) trait Run {
    /// Runs until the end.
    fn poll_run(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends as soon as no request is under way.
    fn tell(self: Pin<&mut Self>);
}

impl<C: GracefulConnection> Run for C {
    fn poll_run(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx).map(drop)
    }

    fn tell(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection until it ends or pauses, or until it has taken too long.
pub(super) async fn serve(
    mut connection: Pin<&mut impl Run>,
    phase: &PhaseCell,
    signals: &mut Signals,
    quiet: Quiet<impl Fn() -> bool>,
) -> Outcome {
    let limits = quiet.limits;
    let received = pin!(signals.received());
    let mut received = Woken::new(received);
    // Until when a connection that should end waits for a request.
    let mut ending: Option<Instant> = None;
    // When to cut a connection whose client was told that it ends.
    let mut told: Option<Instant> = None;
    let awaits = || if (quiet.has_bytes)() { GRACE } else { Duration::ZERO };
    let mut timer = pin!(sleep_until(Instant::now() + quiet.kept.min(limits.header)));
    poll_fn(|cx| {
        if ending.is_none()
            && let Poll::Ready(is_stop) = Pin::new(&mut received).poll(cx)
        {
            phase.end();
            let now = Instant::now();
            ending = Some(match phase.get() {
                Phase::New(since) if is_stop => (now + BRIEF.max(awaits())).max(since + quiet.first),
                _ => now + awaits(),
            });
        }
        if connection.as_mut().poll_run(cx).is_ready() {
            return Poll::Ready(Outcome::Ended);
        }
        // The timer is moved only to an earlier time; when it fires too early it is set
        // again. So a request costs no change of timers.
        loop {
            let now = phase.get();
            // A graceful shutdown would close a connection whose request is on its way.
            let is_awaited = matches!(now, Phase::Head(_))
                || now.is_quiet() && ending.is_some_and(|end| Instant::now() < end);
            if ending.is_some() && !is_awaited && told.is_none() {
                told = Some(Instant::now() + quiet.farewell);
                connection.as_mut().tell();
                if connection.as_mut().poll_run(cx).is_ready() {
                    return Poll::Ready(if now.is_quiet() { Outcome::Dismissed } else { Outcome::Ended });
                }
                continue;
            }
            let is_called = || quiet.call.as_ref().is_some_and(|call| call.is_open());
            if matches!(now, Phase::Idle(_)) && ending.is_none() && is_called() {
                return Poll::Ready(Outcome::Paused);
            }
            let limit = now.deadline(limits, quiet.kept).unwrap_or_else(|| Instant::now() + limits.idle);
            let end = told.or(ending).filter(|_| now.is_quiet());
            let pause = match now {
                Phase::Idle(since) if ending.is_none() => quiet.pause.map(|pause| since + pause),
                _ => None,
            };
            let deadline = [end, pause].into_iter().flatten().fold(limit, Instant::min);
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() < deadline {
                timer.as_mut().reset(deadline);
            } else if !now.is_quiet() {
                if let Phase::Head(_) = now {
                    phase.set(Phase::Refused(StatusCode::REQUEST_TIMEOUT));
                }
                return Poll::Ready(Outcome::Ended);
            } else if told.is_some() {
                return Poll::Ready(Outcome::Dismissed);
            } else if pause.is_some_and(|pause| pause < limit) {
                return Poll::Ready(Outcome::Paused);
            } else if ending.is_none() {
                phase.end();
                ending = Some(Instant::now() + awaits());
            } else {
                // Its limit has passed while it was awaited.
                ending = ending.min(Some(Instant::now()));
            }
        }
    })
    .await
}
