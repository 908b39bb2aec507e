//! Listeners and the worker threads that accept from them.
//!
//! Each worker is a thread with its own runtime, so that a connection and all its work stay
//! on one core. All workers accept from the same listeners.

mod bound;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::sync::{Semaphore, mpsc, watch};

pub use super::connection::ConnectionLimits;
pub use bound::{BindError, Bound};

use crate::serve::connection::keep_alive::KeepAlive;
use crate::serve::connection::roster::Roster;
use crate::serve::http::{Listener, ServerState};
use worker::{WorkerShared, work};

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

impl Server {
    /// Listens, and answers on `workers` threads. With `tls`, clients must use TLS.
    ///
    /// # Errors
    /// When an address cannot be listened on, or threads cannot be started.
    pub fn start(
        public: Bound,
        admin: Option<Bound>,
        tls: Option<Arc<ServerConfig>>,
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
        let shared = Arc::new(WorkerShared {
            state,
            limits,
            tls,
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
        let threads = (0..workers).map(|number| {
            let public = public.try_clone()?;
            let (admin, at_work) = (administering.take(), at_work.clone());
            let (shared, stopping) = (shared.clone(), stopping.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                // So that loads of rows do not hold up requests.
                crate::process::priority::take_short_turns();
                let local = tokio::task::LocalSet::new();
                runtime.block_on(local.run_until(async move {
                    if let Err(why) = work(public, admin, shared, stopping, at_work).await {
                        tracing::error!("a worker cannot use the listener: {why}");
                    }
                }));
                // No request waits for a hash that is still being computed.
                runtime.shutdown_background();
            })
        });
        let workers = threads.collect::<io::Result<_>>()?;
        drop(at_work);
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
