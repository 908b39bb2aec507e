//! Assembles a configured server: source, snapshot, listener, signals.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Serve;
use crate::http::State;
use crate::process::{self, service};
use crate::reload::Reloader;
use crate::server::{Bound, Server};

/// A server with everything in its hands that takes privileges.
pub struct Prepared {
    bound: Bound,
    config: Serve,
}

impl Prepared {
    /// Takes the address.
    ///
    /// # Errors
    /// When it cannot be had: one line that names it and the fix.
    pub fn new(config: Serve) -> anyhow::Result<Prepared> {
        Ok(Prepared { bound: Bound::new(config.listen)?, config })
    }

    /// Loads the first snapshot, serves, and tells `ready` the address; reloads;
    /// drains and returns on SIGTERM and SIGINT, at once on the second.
    ///
    /// # Errors
    /// When the source cannot be read: one line that names it and the fix.
    pub async fn run(self, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
        // Before anything that takes time, or a signal would end the process.
        let mut hangup = signal(SignalKind::hangup())?;
        let mut stop =
            Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };

        let Prepared { bound, config } = self;
        tracing::info!("reading {}", config.source.name());
        let mut reloader = tokio::select! {
            started = Reloader::start(config.source, config.snapshot, config.reload) => started?,
            caught = stop.caught() => {
                tracing::info!("{caught}: stopped before serving");
                return Ok(());
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Slow hashes must leave room for everybody else.
        let state = State::new(reloader.current(), config.requests, (cores / 2).max(1));
        let server = Server::start(bound, Arc::new(state), cores, config.drain_timeout)?;
        tracing::info!("serving http://{}/jitsiprovs/", server.address);
        ready(server.address);
        service::ready();

        // The workers have their threads; from here on, this one only reloads.
        process::step_back();
        let caught = tokio::select! {
            () = reloader.run(&mut hangup) => unreachable!("reloads go on for ever"),
            caught = stop.caught() => caught,
        };
        tracing::info!("{caught}: finishing the requests under way");
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
