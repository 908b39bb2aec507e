//! Assembles a configured server: listeners, certificate, source, snapshot,
//! signals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::config::Serve;
use crate::core::credential::WrongPasswords;
use crate::metrics::Metrics;
use crate::process::{self, service};
use crate::reload::Reloader;
use crate::serve::http::{Listener, ServerState};
use crate::serve::listener::{Bound, Server};
use crate::serve::throttle::Throttle;
use crate::serve::tls::Certificate;
use crate::serve::turns::Turns;

/// A server with everything in its hands that takes privileges.
pub struct Prepared {
    config: Serve,
    public: Bound,
    admin: Option<Bound>,
    certificate: Option<Certificate>,
}

impl Prepared {
    /// Takes the addresses and reads the key.
    ///
    /// # Errors
    /// When an address cannot be listened on or the certificate cannot be used;
    /// each error is one line that names the thing and the fix.
    pub fn new(config: Serve) -> anyhow::Result<Prepared> {
        let public = Bound::new(config.listen, Listener::Public)?;
        let admin = config.admin.map(|address| Bound::new(address, Listener::Admin)).transpose()?;
        let certificate = config.tls.clone().map(Certificate::load).transpose()?;
        Ok(Prepared { config, public, admin, certificate })
    }

    /// Loads the first snapshot, serves, and tells `ready` the address; reloads;
    /// drains and returns on SIGTERM and SIGINT, at once on the second.
    ///
    /// # Errors
    /// When the source cannot be read; each error is one line that names the
    /// thing and the fix.
    pub async fn run(self, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
        let Prepared { config, public, admin, certificate } = self;
        // Before anything that takes time, or a signal would end the process.
        let mut hangup = signal(SignalKind::hangup())?;
        let mut stop =
            Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };

        let metrics = Arc::new(Metrics::new(config.metrics_tenants));
        tracing::info!("reading {}", config.source.name());
        let mut reloader = tokio::select! {
            started = Reloader::start(config.source, config.snapshot, config.reload, metrics.clone()) => started?,
            caught = stop.caught() => {
                tracing::info!("{caught}: stopped before serving");
                return Ok(());
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let state = Arc::new(ServerState {
            snapshot: reloader.current(),
            params: config.params,
            body_timeout: config.body_timeout,
            proxies: config.proxies,
            throttle: Throttle::new(config.throttle, Instant::now()),
            // Slow hashes must leave room for everybody else.
            turns: Turns::new((cores / 2).max(1)),
            wrong: WrongPasswords::default(),
            metrics: metrics.clone(),
            access_log: config.access_log,
            admin: config.operators,
            reload: reloader.handle(),
            is_draining: AtomicBool::new(false),
        });
        let tls = certificate.as_ref().map(Certificate::config);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = Server::start(public, admin, tls, state.clone(), cores, config.limits)?;
        tracing::info!("serving {scheme}://{}/jitsiprovs/", server.address);
        if let Some(admin) = server.admin {
            tracing::info!("for operators http://{admin}/metrics");
        }
        ready(server.address);
        service::ready();

        // The workers have their threads; from here on, this one only reloads, as
        // those do that it writes snapshots on.
        process::step_back();
        if let Some(certificate) = certificate {
            let hangup = signal(SignalKind::hangup())?;
            tokio::spawn(async move { certificate.keep(hangup, &metrics).await });
        }
        let caught = tokio::select! {
            () = reloader.run(&mut hangup) => unreachable!("reloads go on for ever"),
            caught = stop.caught() => caught,
        };
        tracing::info!("{caught}: finishing the requests under way");
        state.is_draining.store(true, Ordering::Relaxed);
        service::stopping();
        let finish = async {
            tokio::task::spawn_blocking(move || server.stop()).await?;
            reloader.close().await;
            anyhow::Ok("stopped")
        };
        let how = tokio::select! {
            done = finish => done?,
            _ = stop.caught() => "stopped by the second signal: what was under way is cut",
        };
        tracing::info!("{how}");
        Ok(())
    }
}

/// The signals that end a server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Waits for one of them, and names it.
    async fn caught(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
