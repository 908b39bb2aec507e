//! Assembles a configured server: source, snapshot, listener, signals.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Serve;
use crate::http::State;
use crate::reload::Reloader;
use crate::server::{Bound, Server};

/// A server that answers, until [`Running::until_stopped`] returns.
pub struct Running {
    server: Server,
    reloader: Reloader,
}

/// Loads the first snapshot and begins to answer.
///
/// # Errors
/// When the address cannot be listened on or the source cannot be read; each
/// error is one line that names the thing and the fix.
pub async fn start(config: Serve) -> anyhow::Result<Running> {
    let bound = Bound::new(config.listen)?;
    tracing::info!("reading {}", config.source.name());
    let reloader = Reloader::start(config.source, config.snapshot).await?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Slow hashes must leave room for everybody else.
    let state = State::new(reloader.current(), config.requests, (cores / 2).max(1));
    let server = Server::start(bound, Arc::new(state), cores, config.drain_timeout)?;
    tracing::info!("serving http://{}/jitsiprovs/", server.address);
    Ok(Running { server, reloader })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address
    }

    /// Reloads on SIGHUP; drains and returns on SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When the system does not let signals be caught.
    pub async fn until_stopped(mut self) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let caught = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                // Signals that arrive during a reload are one more reload.
                _ = hangup.recv() => {
                    tokio::select! {
                        () = self.reloader.reload("SIGHUP") => {}
                        _ = terminate.recv() => break "SIGTERM",
                        _ = interrupt.recv() => break "SIGINT",
                    }
                }
            }
        };
        tracing::info!("{caught}: finishing the requests under way");
        tokio::task::spawn_blocking(move || self.server.stop()).await?;
        tracing::info!("stopped");
        Ok(())
    }
}
