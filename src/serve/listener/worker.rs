//! What one worker does: it answers its connections on its own thread.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Shared;
use super::balance::Place;
use crate::serve::connection::Connection;
use crate::serve::connection::deadlines::{BRIEF, GRACE, Signals};
use crate::serve::connection::moving::{Moving, Running};
use crate::serve::connection::roster::Seat;
use crate::serve::http::Listener;

/// Who is at the other end of a connection.
pub(super) struct Client {
    pub peer: IpAddr,
    pub is_proxy: bool,
    pub seat: Seat,
    pub asked: oneshot::Receiver<()>,
}

/// A connection that has a place.
pub(super) struct Accepted {
    pub client: Client,
    pub held: Held,
}

/// A connection on its way to another worker.
pub(super) enum HandedOver {
    /// No runtime watches its socket yet.
    New(std::net::TcpStream, Accepted),
    Moving(Moving, Held),
}

/// What a connection holds until it has ended.
pub(super) struct Held {
    pub place: Place,
    #[expect(dead_code, reason = "it is held, and not read")]
    pub permit: OwnedSemaphorePermit,
}

/// What answers connections on its worker's thread. It is shared by all that may do so and by
/// all open connections.
pub(super) struct Answering {
    pub shared: Arc<Shared>,
    pub stopping: watch::Receiver<bool>,
    /// Where other workers take connections, while new ones are accepted.
    pub queues: Vec<mpsc::WeakUnboundedSender<HandedOver>>,
    /// Its channel closes when all connections have ended.
    #[expect(dead_code, reason = "it is held, and not read")]
    pub open: mpsc::Sender<Infallible>,
}

impl Answering {
    /// Answers a new connection.
    pub fn answer(self: &Rc<Self>, stream: TcpStream, accepted: Accepted) {
        let Accepted { client: Client { peer, is_proxy, seat, asked }, held } = accepted;
        let shared = &self.shared;
        let keep_alive = (!is_proxy).then(|| shared.keep_alive.clone());
        let (state, limits) = (shared.state.clone(), shared.limits);
        let signals = Signals::new(self.stopping.clone(), Some(asked));
        // When the listener stays open, no client is refused while the server stops, so there
        // is time.
        let first = if shared.is_passed { GRACE } else { BRIEF };
        let (seat, call) = (Some(seat), Some(shared.balance.call(held.place.worker)));
        let connection = Connection { state, limits, peer, keep_alive, signals, first, seat, call };
        self.keep(connection.run(stream, Listener::Public, shared.tls.clone()), held);
    }

    /// Answers a connection that another worker has accepted or had.
    fn take(self: &Rc<Self>, handed_over: HandedOver) {
        match handed_over {
            HandedOver::New(stream, accepted) => match TcpStream::from_std(stream) {
                Ok(stream) => self.answer(stream, accepted),
                // The system cannot watch one more socket.
                Err(_) => drop(self.shared.state.metrics.accept_errors.inc()),
            },
            HandedOver::Moving(moving, held) => {
                let call = self.shared.balance.call(held.place.worker);
                self.keep(moving.go_on(call), held);
            }
        }
    }

    /// Runs a connection until it ends or is on its way to another worker.
    fn keep(self: &Rc<Self>, mut running: Running, mut held: Held) {
        let answering = self.clone();
        tokio::task::spawn_local(async move {
            while let Some(moving) = running.await {
                // The queues have closed when the server stops: then it goes on here.
                let queues: Option<Vec<_>> = answering.queues.iter().map(|queue| queue.upgrade()).collect();
                if let Some(queues) = queues
                    && held.place.has_moved()
                {
                    // This fails only if that worker has ended.
                    let _ = queues[held.place.worker].send(HandedOver::Moving(moving, held));
                    return;
                }
                running = moving.go_on(answering.shared.balance.call(held.place.worker));
            }
            drop((held, answering));
        });
    }
}

/// Answers the connections that other workers have accepted until the server stops, and waits
/// until all connections of this worker have ended.
pub(super) async fn work(
    mut queue: mpsc::UnboundedReceiver<HandedOver>,
    answering: Rc<Answering>,
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
