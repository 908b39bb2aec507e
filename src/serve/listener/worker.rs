//! What one worker does: it accepts connections and runs them on its own thread.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::serve::connection::deadlines::{BRIEF, GRACE, Signals};
use crate::serve::connection::keep_alive::KeepAlive;
use crate::serve::connection::roster::{Roster, Seat};
use crate::serve::connection::{Connection, ConnectionLimits};
use crate::serve::http::{Listener, ServerState};

/// How long a worker waits when it cannot accept, for example because no descriptors are left.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long a new connection waits for another to end before a further one is asked to.
const ROOM_REST: Duration = Duration::from_millis(50);
/// How many connections operators may have; the next ones wait.
const ADMIN_CONNECTIONS: usize = 32;

/// What all workers share.
pub(super) struct WorkerShared {
    pub state: Arc<ServerState>,
    pub limits: ConnectionLimits,
    pub tls: Option<Arc<ServerConfig>>,
    pub permits: Arc<Semaphore>,
    pub roster: Arc<Roster>,
    pub keep_alive: KeepAlive,
    /// Whether a service manager keeps the listener open when the server ends.
    pub is_passed: bool,
    /// Whether accepting fails, so that it is logged only once.
    pub is_failing: AtomicBool,
    pub is_full: AtomicBool,
}

/// Answers connections until the server stops, and finishes those under way.
pub(super) async fn work(
    public: std::net::TcpListener,
    admin: Option<(std::net::TcpListener, mpsc::Receiver<Infallible>)>,
    shared: Arc<WorkerShared>,
    mut stopping: watch::Receiver<bool>,
    at_work: mpsc::Sender<Infallible>,
) -> io::Result<()> {
    let public = TcpListener::from_std(public)?;
    let others = match admin {
        Some((admin, others)) => {
            tokio::task::spawn_local(administer(TcpListener::from_std(admin)?, shared.clone()));
            Some(others)
        }
        None => None,
    };
    // Every connection holds a sender, so the channel closes when all have ended.
    let (open, mut closed) = mpsc::channel::<Infallible>(1);
    let stop = stopping.clone();
    let answer = |pending: Pending, permit: OwnedSemaphorePermit| {
        let Pending { stream, peer, is_proxy, seat, asked } = pending;
        shared.state.metrics.connections.inc();
        let (shared, stopping, open) = (shared.clone(), stop.clone(), open.clone());
        let keep_alive = (!is_proxy).then(|| shared.keep_alive.clone());
        let (state, limits) = (shared.state.clone(), shared.limits);
        let signals = Signals::new(stopping, Some(asked));
        let seat = Some(seat);
        // When the listener stays open, no client is refused while the server stops, so there
        // is time.
        let first = if shared.is_passed { GRACE } else { BRIEF };
        let connection = Connection { state, limits, peer, keep_alive, signals, first, seat };
        let running = connection.run(stream, Listener::Public, shared.tls.clone());
        tokio::task::spawn_local(async move {
            running.await;
            shared.state.metrics.connections.dec();
            drop((permit, open));
        });
    };
    loop {
        tokio::select! {
            (pending, permit) = accept(&public, &shared) => answer(pending, permit),
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    // Connections that the system has accepted by now would be cut when the listener closes. If
    // it stays open, the next process accepts them.
    let public = public.into_std()?;
    while !shared.is_passed
        && let Ok((stream, peer)) = public.accept()
        && let Ok(permit) = shared.permits.clone().try_acquire_owned()
    {
        stream.set_nonblocking(true)?;
        if let Some(pending) = Pending::new(TcpStream::from_std(stream)?, peer, &shared) {
            answer(pending, permit);
        }
    }
    drop((public, open));
    if timeout(shared.limits.drain, closed.recv()).await.is_err() {
        let seconds = shared.limits.drain.as_secs();
        tracing::warn!("connections are cut: their requests did not end in {seconds} s");
    }
    drop(at_work);
    // Operators are answered until the last worker has finished.
    if let Some(mut others) = others {
        others.recv().await;
    }
    Ok(())
}

/// A connection of a client.
struct Pending {
    stream: TcpStream,
    peer: IpAddr,
    is_proxy: bool,
    seat: Seat,
    asked: oneshot::Receiver<()>,
}

impl Pending {
    /// `None` if its address has too many connections.
    fn new(stream: TcpStream, peer: SocketAddr, shared: &WorkerShared) -> Option<Pending> {
        let (seat, asked) = shared.roster.enter();
        let peer = peer.ip();
        let is_proxy = shared.state.proxies.is_trusted(peer);
        (is_proxy || seat.claim(peer)).then_some(Pending { stream, peer, is_proxy, seat, asked })
    }
}

/// The next connection, as soon as one more is allowed. Errors are temporary: when no
/// descriptors are left, some are freed as connections end.
async fn accept(listener: &TcpListener, shared: &WorkerShared) -> (Pending, OwnedSemaphorePermit) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if shared.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("connections are accepted again");
                }
                let Some(pending) = Pending::new(stream, peer, shared) else { continue };
                if let Some(permit) = permit(shared).await {
                    return (pending, permit);
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
async fn permit(shared: &WorkerShared) -> Option<OwnedSemaphorePermit> {
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
async fn administer(listener: TcpListener, shared: Arc<WorkerShared>) {
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
        let connection =
            Connection { state, limits, peer, keep_alive: None, signals, first: BRIEF, seat: None };
        tokio::task::spawn_local(async move {
            connection.run(stream, Listener::Admin, None).await;
            drop((never, permit));
        });
    }
}
