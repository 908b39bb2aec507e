//! Assembles a configured server: source, snapshot, listener, signals.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Serve;
use crate::http::State;
use crate::process;
use crate::reload::Reloader;
use crate::server::{Bound, Server};

/// Loads the first snapshot, serves, and tells `ready` the address; reloads;
/// drains and returns on SIGTERM and SIGINT.
///
/// # Errors
/// When the address cannot be listened on or the source cannot be read; each
/// error is one line that names the thing and the fix.
pub async fn run(config: Serve, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    // Before anything that takes time, or a signal would end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut stop =
        Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };

    let bound = Bound::new(config.listen)?;
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

    // The workers have their threads; from here on, this one only reloads.
    process::step_back();
    let caught = tokio::select! {
        () = reloader.run(&mut hangup) => unreachable!("reloads go on for ever"),
        caught = stop.caught() => caught,
    };
    tracing::info!("{caught}: finishing the requests under way");
    tokio::task::spawn_blocking(move || server.stop()).await?;
    reloader.close().await;
    tracing::info!("stopped");
    Ok(())
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
