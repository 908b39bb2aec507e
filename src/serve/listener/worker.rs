//! What one worker does: it answers its connections on its own thread.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Shared;
use super::balance::Place;
use crate::serve::connection::Connection;
use crate::serve::connection::deadlines::{BRIEF, GRACE, Signals};
use crate::serve::connection::roster::Seat;
use crate::serve::http::Listener;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Client {
    pub peer: IpAddr,
    pub is_proxy: bool,
    pub seat: Seat,
    pub asked: oneshot::Receiver<()>,
}

/// A connection that has a place.
#[derive(Debug)]
pub(super) struct Accepted {
    pub client: Client,
    pub permit: OwnedSemaphorePermit,
    pub place: Place,
}

/// A connection on its way to another worker. No runtime watches its socket meanwhile.
pub(super) type HandedOver = (std::net::TcpStream, Accepted);

/// What answers connections on the thread on which it is called.
#[derive(Clone)]
pub(super) struct Answering {
    pub shared: Arc<Shared>,
    pub stopping: watch::Receiver<bool>,
    /// Every connection holds a sender, so the channel closes when all have ended.
    pub open: mpsc::Sender<Infallible>,
}

impl Answering {
    pub fn answer(&self, stream: TcpStream, accepted: Accepted) {
        let Accepted { client, permit, place } = accepted;
        let Client { peer, is_proxy, seat, asked } = client;
        let (shared, open) = (self.shared.clone(), self.open.clone());
        let keep_alive = (!is_proxy).then(|| shared.keep_alive.clone());
        let (state, limits) = (shared.state.clone(), shared.limits);
        let signals = Signals::new(self.stopping.clone(), Some(asked));
        // When the listener stays open, no client is refused while the server stops, so there
        // is time.
        let first = if shared.is_passed { GRACE } else { BRIEF };
        let connection = Connection { state, limits, peer, keep_alive, signals, first, seat: Some(seat) };
        let running = connection.run(stream, Listener::Public, shared.tls.clone());
        tokio::task::spawn_local(async move {
            running.await;
            drop((place, permit, open));
        });
    }

    fn take(&self, (stream, accepted): HandedOver) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.answer(stream, accepted),
            // The system cannot watch one more socket.
            Err(_) => drop(self.shared.state.metrics.accept_errors.inc()),
        }
    }
}

/// Answers the connections that other workers have accepted until the server stops, and waits
/// until all connections of this worker have ended.
pub(super) async fn work(
    mut queue: mpsc::UnboundedReceiver<HandedOver>,
    answering: Answering,
    mut closed: mpsc::Receiver<Infallible>,
) {
    let mut stopping = answering.stopping.clone();
    let shared = answering.shared.clone();
    loop {
        tokio::select! {
            Some(handed_over) = queue.recv() => answering.take(handed_over),
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    let ending = async {
        // It closes when all workers have stopped accepting.
        while let Some(handed_over) = queue.recv().await {
            answering.take(handed_over);
        }
        drop(answering);
        closed.recv().await
    };
    if timeout(shared.limits.drain, ending).await.is_err() {
        let seconds = shared.limits.drain.as_secs();
        tracing::warn!("connections are cut: their requests did not end in {seconds} s");
    }
}
