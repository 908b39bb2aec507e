//! Listeners and the worker threads that accept from them.
//!
//! Each worker is a thread with its own runtime, so that a connection and all its work stay
//! on one core. All workers accept from the same listeners, and hand each connection to the
//! worker that has the fewest.

mod acceptor;
mod balance;
mod bound;
mod worker;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};

pub use super::connection::ConnectionLimits;
pub use bound::{BindError, Bound};

use crate::process::priority;
use crate::serve::connection::keep_alive::KeepAlive;
use crate::serve::connection::roster::Roster;
use crate::serve::http::{Listener, ServerState};
use acceptor::{Acceptor, administer};
use balance::Balance;
use worker::{Answering, HandedOver, work};

/// Descriptors that are not connections: those of the process (for listeners, database, files
/// and log), and those of each worker.
const OTHER_DESCRIPTORS: (u64, u64) = (64, 8);

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The address that clients reach.
    pub address: SocketAddr,
    /// The address that operators reach.
    pub admin: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

/// How handshakes are done; `None` where there is no TLS.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// With clients.
    pub public: Option<Arc<ServerConfig>>,
    /// With operators.
    pub admin: Option<Arc<ServerConfig>>,
}

impl Server {
    /// Listens, and answers on `workers` threads.
    ///
    /// # Errors
    /// When an address cannot be listened on, or threads cannot be started.
    pub fn start(
        public: Bound,
        admin: Option<Bound>,
        handshakes: Handshakes,
        state: Arc<ServerState>,
        workers: usize,
        limits: ConnectionLimits,
    ) -> anyhow::Result<Server> {
        let is_passed = public.is_passed();
        let (public, address) = public.listen(Listener::Public)?;
        let admin = admin.map(|bound| bound.listen(Listener::Admin)).transpose()?;
        let limits = ConnectionLimits { connections: affordable(limits.connections, workers), ..limits };
        state.metrics.connections_limit.set(limits.connections as i64);
        let per_address = limits.per_address.unwrap_or((limits.connections / 5).max(1));
        let roster = Arc::new(Roster::new(per_address, state.metrics.clone()));
        let shared = Arc::new(Shared {
            balance: Arc::new(Balance::new(workers, &state.metrics)),
            state,
            limits,
            tls: handshakes.public,
            admin_tls: handshakes.admin,
            permits: Arc::new(Semaphore::new(limits.connections)),
            roster,
            is_passed,
            keep_alive: KeepAlive::of(limits.client_kept()),
            is_failing: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        });
        let (stop, stopping) = watch::channel(false);
        // Every worker holds a sender, so the channel closes when all have ended.
        let (at_work, ended) = mpsc::channel(1);
        // Operators ask rarely: one worker is enough for them.
        let mut administering = match &admin {
            Some((listener, _)) => Some((listener.try_clone()?, ended)),
            None => None,
        };
        let (queues, taking): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let threads = taking.into_iter().enumerate().map(|(number, queue)| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (open, closed) = mpsc::channel(1);
            let weak = queues.iter().map(mpsc::UnboundedSender::downgrade).collect();
            let (shared, stopping) = (shared.clone(), stopping.clone());
            let answering = Answering { shared, stopping, queues: weak, open };
            // Errors are found here, where they end the start.
            let entered = runtime.enter();
            let public = TcpListener::from_std(public.try_clone()?)?;
            let admin = match administering.take() {
                Some((listener, ended)) => Some((TcpListener::from_std(listener)?, ended)),
                None => None,
            };
            drop(entered);
            let (queues, at_work) = (queues.clone(), at_work.clone());
            let worker = Worker { number, public, admin, answering, queues, queue, closed, at_work };
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || worker.run(runtime))
        });
        let workers = threads.collect::<io::Result<_>>()?;
        Ok(Server { address, admin: admin.map(|(_, address)| address), stop, workers })
    }

    /// Stops accepting, finishes the requests under way within the drain limit, and ends.
    /// Operators are answered until then.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

/// What all workers share.
struct Shared {
    state: Arc<ServerState>,
    limits: ConnectionLimits,
    tls: Option<Arc<ServerConfig>>,
    admin_tls: Option<Arc<ServerConfig>>,
    permits: Arc<Semaphore>,
    roster: Arc<Roster>,
    balance: Arc<Balance>,
    keep_alive: KeepAlive,
    /// Whether a service manager keeps the listener open when the server ends.
    is_passed: bool,
    /// Whether accepting fails, so that it is logged only once.
    is_failing: AtomicBool,
    is_full: AtomicBool,
}

/// What one worker has.
struct Worker {
    number: usize,
    public: TcpListener,
    /// Where operators ask, with a channel that closes when the last worker has finished: they
    /// are answered until then.
    admin: Option<(TcpListener, mpsc::Receiver<Infallible>)>,
    answering: Answering,
    queues: Vec<mpsc::UnboundedSender<HandedOver>>,
    /// The connections that other workers hand over.
    queue: mpsc::UnboundedReceiver<HandedOver>,
    /// It closes when no connection is left.
    closed: mpsc::Receiver<Infallible>,
    /// Dropped when the worker has finished.
    at_work: mpsc::Sender<Infallible>,
}

impl Worker {
    /// Works on this thread until the server has stopped.
    fn run(self, runtime: Runtime) {
        let Worker { number, public, admin, answering, queues, queue, closed, at_work } = self;
        // So that no request waits for a long turn of a thread that loads rows.
        priority::take_short_turns();
        let local = tokio::task::LocalSet::new();
        let answering = Rc::new(answering);
        let acceptor = Acceptor { worker: number, answering: answering.clone(), queues };
        let others = admin.map(|(listener, others)| {
            local.spawn_local(administer(listener, answering.shared.clone()));
            others
        });
        local.spawn_local(acceptor.run(public));
        runtime.block_on(local.run_until(async move {
            work(queue, answering, closed).await;
            drop(at_work);
            if let Some(mut others) = others {
                others.recv().await;
            }
        }));
        // No request waits for a hash that is still being computed.
        runtime.shutdown_background();
    }
}

/// The number of connections that the process can have descriptors for.
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
