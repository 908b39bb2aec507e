//! Assembles a configured server: listeners, certificate, source, snapshot,
//! signals.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::core::conventions::Conventions;
use crate::core::credential::WrongPasswords;
use crate::core::request::ParamSettings;
use crate::metrics::Metrics;
use crate::process::sockets::PassedSockets;
use crate::process::{self, priority, service};
use crate::reload::{LoadError, ReloadSettings, Reloader};
use crate::serve::cold_sign_ins::ColdSignIns;
use crate::serve::fetches::{FetchSettings, Fetches};
use crate::serve::http::client_address::TrustedProxies;
use crate::serve::http::{self, Dialects, Listener, ServerState};
use crate::serve::listener::{Bound, ConnectionLimits, Handshakes, Server};
use crate::serve::sign_ins::SignInFile;
use crate::serve::throttle::{Throttle, ThrottleSettings};
use crate::serve::tls::{self, Certificate};
use crate::serve::turns::Turns;
use crate::serve::writable;
use crate::source::Source;

/// What to serve, and how.
pub struct Serve {
    /// `--http-ip` and `--http-port`
    pub listen: SocketAddr,
    /// `--admin-ip` and `--admin-port`
    pub admin: Option<SocketAddr>,
    /// What a service manager has passed; these replace the addresses.
    pub sockets: PassedSockets,
    /// `--ssl-keyfile` and `--ssl-certfile`
    pub tls: Option<tls::Files>,
    /// The pair of the admin listener; `None` if it speaks HTTP.
    pub admin_tls: Option<tls::Files>,
    /// `--trusted-proxy`
    pub proxies: TrustedProxies,
    /// How many connections, and how long they may take.
    pub limits: ConnectionLimits,
    /// `--workers`
    pub workers: usize,
    /// `--body-timeout`
    pub body_timeout: Duration,
    /// `--auth-fail-limit` and `--auth-fail-window`
    pub throttle: ThrottleSettings,
    /// The source of users and rules.
    pub source: Arc<dyn Source>,
    /// How rows are interpreted.
    pub snapshot: Conventions,
    /// When and how to reload.
    pub reload: ReloadSettings,
    /// How requests are interpreted.
    pub params: ParamSettings,
    /// `--client-dialects`
    pub client_dialects: bool,
    /// Whether each request is logged.
    pub access_log: bool,
    /// `--metrics-tenants`
    pub metrics_tenants: bool,
    /// What the admin listener answers, and who may ask.
    pub operators: http::Admin,
    /// `--remember-sign-ins`
    pub sign_ins: Option<SignInFile>,
    /// What to keep of requests; `None` with `--no-fetches`.
    pub fetches: Option<FetchSettings>,
}

impl Serve {
    /// Does what a start does before it serves, and then stops: reads the key and the certificate,
    /// binds the addresses and loads the first snapshot. Returns what does not stop a start, but
    /// needs attention.
    ///
    /// # Errors
    /// The errors of a start.
    pub async fn rehearse(self) -> anyhow::Result<Vec<String>> {
        let mut notes = Vec::new();
        let admin = self.admin.map(|address| (address, Listener::Admin));
        for (address, listener) in [(self.listen, Listener::Public)].into_iter().chain(admin) {
            match Bound::new(address, listener) {
                // A server that runs with these options has the port.
                Err(error) if error.is_in_use() => notes.push(error.to_string()),
                bound => drop(bound?),
            }
        }
        self.tls.map(Certificate::load).transpose()?;
        self.admin_tls.map(Certificate::load).transpose()?;
        let has_state_file = self.reload.state_file.is_some();
        // Without the state file, the start fails if the source cannot be read.
        let settings = ReloadSettings { state_file: None, ..self.reload };
        let metrics = Arc::new(Metrics::new(self.metrics_tenants));
        match Reloader::start(self.source, self.snapshot, settings, metrics).await {
            Err(error) if has_state_file && matches!(error, LoadError::Source(_)) => {
                notes.push(format!("{error}; with --state-file, a server starts all the same"));
            }
            started => drop(started?),
        }
        Ok(notes)
    }
}

/// A server that has opened everything for which it needs privileges.
pub struct Prepared {
    config: Serve,
    public: Bound,
    admin: Option<Bound>,
    certificate: Option<Certificate>,
    admin_certificate: Option<Certificate>,
}

impl Prepared {
    /// Binds the addresses and reads the key.
    ///
    /// # Errors
    /// When an address cannot be listened on or the certificate cannot be used;
    /// each error is one line that names the thing and says what to do.
    pub fn new(mut config: Serve) -> anyhow::Result<Prepared> {
        let PassedSockets { public, admin } = std::mem::take(&mut config.sockets);
        let public = match public {
            Some(listener) => passed(listener, "--http-ip and --http-port")?,
            None => Bound::new(config.listen, Listener::Public)?,
        };
        let admin = match (admin, config.admin) {
            (Some(listener), _) => Some(passed(listener, "--admin-ip and --admin-port")?),
            (None, address) => address.map(|address| Bound::new(address, Listener::Admin)).transpose()?,
        };
        let certificate = config.tls.clone().map(Certificate::load).transpose()?;
        let admin_certificate = config.admin_tls.clone().map(Certificate::load).transpose()?;
        Ok(Prepared { config, public, admin, certificate, admin_certificate })
    }

    /// Loads the first snapshot, serves and reloads. Calls `ready` with the address once it
    /// serves. After SIGTERM or SIGINT it finishes the requests under way and returns; after
    /// a second signal, it returns at once.
    ///
    /// # Errors
    /// When the source cannot be read; each error is one line that names the thing and says
    /// what to do.
    pub async fn run(self, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
        let Prepared { config, public, admin, certificate, admin_certificate } = self;
        // This comes before anything that takes time: until then a signal ends the process.
        let mut hangup = signal(SignalKind::hangup())?;
        let mut stop =
            Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };

        let metrics = Arc::new(Metrics::new(config.metrics_tenants));
        if let Some(path) = &config.reload.state_file {
            writable::check(path, &metrics).await;
        }
        tracing::info!("reading {}", config.source.name());
        let fetches = config
            .fetches
            .map(|settings| Arc::new(Fetches::new(settings, config.source.clone(), metrics.clone())));
        let mut reloader = tokio::select! {
            started = Reloader::start(config.source, config.snapshot, config.reload, metrics.clone()) => started?,
            caught = stop.caught() => {
                tracing::info!("{caught}: stopped before serving");
                return Ok(());
            }
        };
        if let Some(file) = &config.sign_ins {
            file.load().await;
            tokio::spawn(file.clone().keep(reloader.current()));
        }
        let cold_sign_ins = Arc::new(ColdSignIns::default());
        tokio::spawn(cold_sign_ins.clone().keep(reloader.current()));
        let state = Arc::new(ServerState {
            snapshot: reloader.current(),
            dialects: Dialects::new(&config.params, config.client_dialects),
            params: config.params,
            body_timeout: config.body_timeout,
            proxies: config.proxies,
            throttle: Throttle::new(config.throttle, Instant::now()),
            // Their threads step back, so that other requests have processor time.
            turns: Turns::new(process::cores()),
            wrong: WrongPasswords::default(),
            sign_ins: config.sign_ins.clone(),
            cold_sign_ins,
            fetches: fetches.clone(),
            metrics: metrics.clone(),
            access_log: config.access_log,
            admin: config.operators,
            reload: reloader.handle(),
            is_draining: AtomicBool::new(false),
        });
        let tls = certificate.as_ref().map(Certificate::config);
        let admin_tls = admin_certificate.as_ref().map(Certificate::admin_config);
        let has_tls = [tls.is_some(), admin_tls.is_some()];
        let handshakes = Handshakes { public: tls, admin: admin_tls };
        tokio::spawn(count_minutes(metrics.clone()));
        let server = Server::start(public, admin, handshakes, state.clone(), config.workers, config.limits)?;
        log_addresses(&server, has_tls);
        ready(server.address);
        service::ready();

        // The workers have their own threads. From here on, this thread and those that it
        // starts only reload, at a lower priority.
        priority::step_back();
        if let Some(fetches) = &fetches {
            tokio::spawn(fetches.clone().keep());
        }
        tokio::spawn(http::locks::follow(state.clone()));
        for certificate in certificate.into_iter().chain(admin_certificate) {
            let (hangup, metrics) = (signal(SignalKind::hangup())?, metrics.clone());
            tokio::spawn(async move { certificate.keep(hangup, &metrics).await });
        }
        let caught = tokio::select! {
            () = reloader.run(&mut hangup) => unreachable!("reloads never end"),
            caught = stop.caught() => caught,
        };
        tracing::info!("{caught}: finishing the requests under way");
        state.is_draining.store(true, Ordering::Relaxed);
        service::stopping();
        let how = tokio::select! {
            done = finish(server, reloader, config.sign_ins, fetches) => done?,
            _ = stop.caught() => "stopped by the second signal: requests under way are cut",
        };
        tracing::info!("{how}");
        Ok(())
    }
}

/// A socket that a service manager has passed, in place of the address of these options.
fn passed(listener: TcpListener, options: &str) -> anyhow::Result<Bound> {
    let bound = Bound::passed(listener).context("cannot use the socket of the service manager")?;
    tracing::info!("using the service manager's socket for {}: {options} are ignored", bound.address());
    Ok(bound)
}

/// Counts the requests of each minute, for the charts of the console.
async fn count_minutes(metrics: Arc<Metrics>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        metrics.end_minute();
    }
}

fn log_addresses(server: &Server, has_tls: [bool; 2]) {
    let [scheme, admin_scheme] = has_tls.map(|has_tls| if has_tls { "https" } else { "http" });
    tracing::info!("serving {scheme}://{}/jitsiprovs/", server.address);
    if let Some(admin) = server.admin {
        tracing::info!("for operators {admin_scheme}://{admin}/metrics");
    }
}

/// Finishes the requests under way, then what reloads still have to write.
async fn finish(
    server: Server,
    reloader: Reloader,
    sign_ins: Option<SignInFile>,
    fetches: Option<Arc<Fetches>>,
) -> anyhow::Result<&'static str> {
    tokio::task::spawn_blocking(move || server.stop()).await?;
    if let Some(fetches) = fetches {
        fetches.close().await;
    }
    if let Some(file) = sign_ins {
        file.close(&reloader.current()).await;
    }
    reloader.close().await;
    Ok("stopped")
}

/// The signals that end a server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Waits for one of them, and returns its name.
    async fn caught(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
