//! Accepts connections, and hands each to the worker that has the fewest.
//!
//! All workers accept, so that no connection waits for one that is busy. With as many
//! connections as are allowed, each worker holds one more that waits for room.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::worker::{Accepted, Answering, Client, HandedOver, Held};
use crate::serve::connection::Connection;
use crate::serve::connection::deadlines::{BRIEF, Signals};
use crate::serve::http::Listener;

/// How long a worker waits when it cannot accept, for example because no descriptors are left.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long a new connection waits for another to end before a further one is asked to.
const ROOM_REST: Duration = Duration::from_millis(50);
/// How many connections operators may have; the next ones wait.
const ADMIN_CONNECTIONS: usize = 32;

/// What accepts on one worker.
pub(super) struct Acceptor {
    /// The number of its worker.
    pub worker: usize,
    pub answering: Rc<Answering>,
    /// One for each worker. They close when all acceptors have ended. Their length is limited
    /// by that of all connections.
    pub queues: Vec<mpsc::UnboundedSender<HandedOver>>,
}

impl Acceptor {
    /// Accepts until the server stops, and then what the system has accepted by then.
    pub async fn run(self, listener: TcpListener) {
        let shared = &self.answering.shared;
        let mut stopping = self.answering.stopping.clone();
        loop {
            tokio::select! {
                (stream, client, permit) = accept(&listener, shared) => self.place(stream, client, permit),
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        // These connections would be cut when the listener closes. If it stays open, the next
        // process accepts them.
        let Ok(listener) = listener.into_std() else { return };
        while !shared.is_passed
            && let Ok((stream, peer)) = listener.accept()
            && let Ok(permit) = shared.permits.clone().try_acquire_owned()
        {
            let is_ready = stream.set_nonblocking(true).is_ok();
            if is_ready
                && let Ok(stream) = TcpStream::from_std(stream)
                && let Some(client) = client(peer, shared)
            {
                self.place(stream, client, permit);
            }
        }
    }

    /// Gives the connection to the worker that has the fewest.
    fn place(&self, stream: TcpStream, client: Client, permit: OwnedSemaphorePermit) {
        let place = self.answering.shared.balance.place(self.worker);
        let worker = place.worker;
        let accepted = Accepted { client, held: Held { place, permit } };
        if worker == self.worker {
            self.answering.answer(stream, accepted);
        } else if let Ok(stream) = stream.into_std() {
            // This fails only if that worker has ended, and it waits for all acceptors.
            let _ = self.queues[worker].send(HandedOver::New(stream, accepted));
        }
    }
}

/// The client of a new connection. `None` if its address has too many connections.
fn client(peer: SocketAddr, shared: &Shared) -> Option<Client> {
    let (seat, asked) = shared.roster.enter();
    let peer = peer.ip();
    let is_proxy = shared.state.proxies.is_trusted(peer);
    (is_proxy || seat.claim(peer)).then_some(Client { peer, is_proxy, seat, asked })
}

/// The next connection, as soon as one more is allowed. Errors are temporary: when no
/// descriptors are left, some are freed as connections end.
async fn accept(listener: &TcpListener, shared: &Shared) -> (TcpStream, Client, OwnedSemaphorePermit) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if shared.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("connections are accepted again");
                }
                let Some(client) = client(peer, shared) else { continue };
                if let Some(permit) = permit(shared).await {
                    return (stream, client, permit);
                }
            }
            Err(why) => {
                shared.state.metrics.accept_errors.inc();
                // The client hung up while it waited; the next one may be fine.
                if why.kind() == io::ErrorKind::ConnectionAborted {
                    continue;
                }
                if !shared.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!("cannot accept connections for now: {why}");
                }
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Waits until one more connection is allowed, for which an idle one has to end.
async fn permit(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    let most = shared.limits.connections;
    if let Ok(permit) = shared.permits.clone().try_acquire_owned() {
        // It is logged again only after a tenth was free.
        if shared.permits.available_permits() > most / 10 {
            shared.is_full.store(false, Ordering::Relaxed);
        }
        return Some(permit);
    }
    if !shared.is_full.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "all {most} connections are in use (--max-connections): those that are idle for longest are \
             closed for new ones"
        );
    }
    let mut permit = pin!(shared.permits.clone().acquire_owned());
    loop {
        let _crowd = (!shared.roster.make_room()).then(|| shared.roster.crowd());
        if let Ok(permit) = timeout(ROOM_REST, permit.as_mut()).await {
            return permit.ok();
        }
    }
}

/// Accepts operators' connections. They have a limit of their own, so that neither clients
/// nor operators can take the connections of the others.
pub(super) async fn administer(listener: TcpListener, shared: Arc<Shared>) {
    let permits = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
    while let Ok(permit) = permits.clone().acquire_owned().await {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(ACCEPT_REST).await;
            continue;
        };
        // Operators are still answered while everything else ends.
        let (never, unstopped) = watch::channel(false);
        let (state, limits, peer) = (shared.state.clone(), shared.limits, peer.ip());
        let signals = Signals::new(unstopped, None);
        let connection = Connection {
            state,
            limits,
            peer,
            keep_alive: None,
            signals,
            first: BRIEF,
            seat: None,
            call: None,
        };
        let tls = shared.admin_tls.clone();
        tokio::task::spawn_local(async move {
            connection.run(stream, Listener::Admin, tls).await;
            drop((never, permit));
        });
    }
}
