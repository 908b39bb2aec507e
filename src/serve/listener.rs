//! Listeners: bind, accept, how many connections, drain.
//!
//! Each worker is a thread with a runtime of its own, so that a connection and
//! everything it does stay on one core; all of them accept from the same
//! listeners.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use crate::serve::http::{Listener, ServerState};

/// Connections the system keeps waiting for us: clients come in bursts.
const BACKLOG: i32 = 4096;
/// How long accepting rests after an error, such as no descriptors being left.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Descriptors that are not connections: listeners, database, files, log; and
/// each worker's own.
const OTHER_DESCRIPTORS: (u64, u64) = (64, 8);
/// Operators' connections; the next ones wait.
const ADMIN_CONNECTIONS: usize = 32;

/// How many connections there may be, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// `--max-connections` on the public listener; the next ones wait.
    pub connections: usize,
    /// `--header-timeout`, for a proxy's header, a TLS handshake, and a
    /// request's head.
    pub header: Duration,
    /// `--idle-timeout`, between requests, and for an answer to be read.
    pub idle: Duration,
    /// `--drain-timeout`, for requests under way at the end.
    pub drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let [header, idle, drain] = [10, 75, 10].map(Duration::from_secs);
        ConnectionLimits { connections: 50_000, header, idle, drain }
    }
}

/// An address taken, not yet listened on: a port in use is found out before
/// the work of a load, and nobody connects before there is an answer.
#[derive(Debug)]
pub struct Bound(Socket);

/// Why there is no listener: one line that names the address and the fix.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({why}): {}", fix(.why, .options))]
pub struct BindError {
    address: SocketAddr,
    options: Listener,
    why: io::Error,
}

fn fix(why: &io::Error, listener: &Listener) -> String {
    let (ip, port) = match listener {
        Listener::Public => ("--http-ip", "--http-port"),
        Listener::Admin => ("--admin-ip", "--admin-port"),
    };
    match why.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program has this port; stop it, or choose another with {port}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need privileges; choose another with {port}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address; choose another with {ip}")
        }
        _ => format!("check {ip} and {port}"),
    }
}

impl Bound {
    /// Takes `address` for `listener`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken, foreign or forbidden.
    pub fn new(address: SocketAddr, listener: Listener) -> Result<Bound, BindError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // A restart must not wait for the old connections' last packets.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            Ok(Bound(socket))
        };
        bind().map_err(|why| BindError { address, options: listener, why })
    }

    fn listen(self, options: Listener) -> Result<(std::net::TcpListener, SocketAddr), BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = self.0.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.unwrap_or(unknown);
        self.0.listen(BACKLOG).map_err(|why| BindError { address, options, why })?;
        Ok((self.0.into(), address))
    }
}

/// A server at work.
#[derive(Debug)]
pub struct Server {
    /// The address that clients reach.
    pub address: SocketAddr,
    /// The address that operators reach.
    pub admin: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

/// What all workers share.
struct WorkerShared {
    state: Arc<ServerState>,
    limits: ConnectionLimits,
    tls: Option<Arc<ServerConfig>>,
    permits: Arc<Semaphore>,
    /// Whether accepting fails, so that it is said but once.
    is_failing: AtomicBool,
    is_full: AtomicBool,
}

impl Server {
    /// Listens, and answers on `workers` threads; with `tls`, clients must speak
    /// it.
    ///
    /// # Errors
    /// When an address was taken since it was bound, or threads cannot be
    /// started.
    pub fn start(
        public: Bound,
        admin: Option<Bound>,
        tls: Option<Arc<ServerConfig>>,
        state: Arc<ServerState>,
        workers: usize,
        limits: ConnectionLimits,
    ) -> anyhow::Result<Server> {
        let (public, address) = public.listen(Listener::Public)?;
        let admin = admin.map(|bound| bound.listen(Listener::Admin)).transpose()?;
        let limits = ConnectionLimits { connections: affordable(limits.connections, workers), ..limits };
        state.metrics.connections_limit.set(limits.connections as i64);
        let shared = Arc::new(WorkerShared {
            state,
            limits,
            tls,
            permits: Arc::new(Semaphore::new(limits.connections)),
            is_failing: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        });
        let (stop, stopping) = watch::channel(false);
        // Every worker holds a sender; when all are gone, so are they.
        let (at_work, ended) = mpsc::channel(1);
        // Operators ask seldom: one worker is enough for them.
        let mut administering = match &admin {
            Some((listener, _)) => Some((listener.try_clone()?, ended)),
            None => None,
        };
        let threads = (0..workers).map(|number| {
            let public = public.try_clone()?;
            let (admin, at_work) = (administering.take(), at_work.clone());
            let (shared, stopping) = (shared.clone(), stopping.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let local = tokio::task::LocalSet::new();
                runtime.block_on(local.run_until(async move {
                    if let Err(why) = work(public, admin, shared, stopping, at_work).await {
                        tracing::error!("a worker cannot use the listener: {why}");
                    }
                }));
                // A hash that is still computed has nobody waiting for it.
                runtime.shutdown_background();
            })
        });
        let workers = threads.collect::<io::Result<_>>()?;
        drop(at_work);
        Ok(Server { address, admin: admin.map(|(_, address)| address), stop, workers })
    }

    /// Stops accepting, finishes the requests under way for as long as may be,
    /// and ends. Operators are answered to the last.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

/// As many connections as there can be descriptors for.
fn affordable(wanted: usize, workers: usize) -> usize {
    let limit = crate::process::raise_descriptors();
    let (others, each) = OTHER_DESCRIPTORS;
    let most = limit.saturating_sub(others + each * workers as u64).max(1);
    match usize::try_from(most) {
        Ok(most) if most < wanted => {
            tracing::warn!(
                "at most {most} connections instead of {wanted}: the process may open {limit} files; \
                 raise that (LimitNOFILE, ulimit -n), or lower --max-connections"
            );
            most
        }
        _ => wanted,
    }
}

async fn work(
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
    // Every connection holds a sender; when all are gone, so are they.
    let (open, mut closed) = mpsc::channel::<Infallible>(1);
    let stop = stopping.clone();
    let answer = |stream, peer: SocketAddr, permit: OwnedSemaphorePermit| {
        shared.state.metrics.connections.inc();
        let (shared, stopping, open) = (shared.clone(), stop.clone(), open.clone());
        tokio::task::spawn_local(async move {
            let (state, limits, peer) = (shared.state.clone(), shared.limits, peer.ip());
            let connection = Connection { state, limits, peer, stopping };
            connection.run(stream, Listener::Public, shared.tls.clone()).await;
            shared.state.metrics.connections.dec();
            drop((permit, open));
        });
    };
    loop {
        tokio::select! {
            (stream, peer, permit) = accept(&public, &shared) => answer(stream, peer, permit),
            _ = stopping.wait_for(|stop| *stop) => break,
        }
    }
    // Who has connected by now would be cut when the listener is closed.
    let public = public.into_std()?;
    while let Ok((stream, peer)) = public.accept()
        && let Ok(permit) = shared.permits.clone().try_acquire_owned()
    {
        stream.set_nonblocking(true)?;
        answer(TcpStream::from_std(stream)?, peer, permit);
    }
    drop((public, open));
    if timeout(shared.limits.drain, closed.recv()).await.is_err() {
        let seconds = shared.limits.drain.as_secs();
        tracing::warn!("connections are cut: their requests did not end in {seconds} s");
    }
    drop(at_work);
    // Operators are answered until the last worker has done.
    if let Some(mut others) = others {
        others.recv().await;
    }
    Ok(())
}

/// The next connection, once there may be one more. Errors pass: descriptors
/// that ran out come back when connections end.
async fn accept(
    listener: &TcpListener,
    shared: &WorkerShared,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if shared.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("connections are accepted again");
                }
                if let Some(permit) = permit(shared).await {
                    return (stream, peer, permit);
                }
            }
            Err(why) => {
                shared.state.metrics.accept_errors.inc();
                // A client that hung up while it waited is no reason to rest.
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

/// Leave for one connection more, when there is one.
async fn permit(shared: &WorkerShared) -> Option<OwnedSemaphorePermit> {
    let most = shared.limits.connections;
    if let Ok(permit) = shared.permits.clone().try_acquire_owned() {
        // Said again only after it was well for a while.
        if shared.permits.available_permits() > most / 10 {
            shared.is_full.store(false, Ordering::Relaxed);
        }
        return Some(permit);
    }
    if !shared.is_full.swap(true, Ordering::Relaxed) {
        tracing::warn!("all {most} connections are in use (--max-connections): the next ones wait");
    }
    shared.permits.clone().acquire_owned().await.ok()
}

/// Accepts operators' connections, which no client can use up, nor they the
/// clients'.
async fn administer(listener: TcpListener, shared: Arc<WorkerShared>) {
    let permits = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
    while let Ok(permit) = permits.clone().acquire_owned().await {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(ACCEPT_REST).await;
            continue;
        };
        // They may ask while everything else ends.
        let (never, unstopped) = watch::channel(false);
        let (state, limits, peer) = (shared.state.clone(), shared.limits, peer.ip());
        let connection = Connection { state, limits, peer, stopping: unstopped };
        tokio::task::spawn_local(async move {
            connection.run(stream, Listener::Admin, None).await;
            drop((never, permit));
        });
    }
}
