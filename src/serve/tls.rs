//! HTTPS: loads the key and certificate, and reloads them when their files change.

use std::fmt;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use notify::EventKind;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::metrics::Metrics;
use crate::process::files::{self, Aside};
use crate::process::key_pair::{Fault, KeyPair, Part};
use crate::reload::watch::Watch;

/// How long to wait after a change: key and certificate are two files, which are
/// replaced one after the other.
const SETTLES: Duration = Duration::from_millis(50);
/// How long to retry a pair that cannot be used: perhaps only half of it is replaced yet.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the files are checked even if no change is reported.
const LOOK: Duration = Duration::from_secs(10);
/// How long before the certificate expires the log begins to warn.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long until the log warns again: somebody may have missed the first warning.
const WARN_AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How many sessions of clients without tickets are remembered: Java has tickets only since
/// version 13. They take about 1 MB.
const SESSIONS: usize = 4096;

/// `--ssl-keyfile` and `--ssl-certfile`, or those of the admin listener.
#[derive(Debug, Clone)]
pub struct Files {
    /// Whether only the admin listener uses them.
    pub is_admin: bool,
    /// The private key.
    pub key: PathBuf,
    /// The certificate, followed by its intermediate certificates.
    pub chain: PathBuf,
}

/// Why a pair cannot be used: one line that names the file and the fix.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {} ({why}): check {option} and the file's permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The option that names it.
        option: &'static str,
        /// The system's error.
        why: io::Error,
    },
    /// The file system does not answer.
    #[error("cannot read {} and {} ({why}): check {} and their file systems", key.display(), chain.display(), options.join(" and "))]
    Hangs {
        /// The options that name them.
        options: [&'static str; 2],
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        chain: PathBuf,
        /// The error of waiting for the files.
        why: io::Error,
    },
    /// One of the files cannot be used.
    #[error("{} {fault} ({option})", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The option that names it.
        option: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Key and certificate do not belong together.
    #[error("the key in {} and the certificate in {} {why} ({})", key.display(), chain.display(), options.join(", "))]
    Pair {
        /// The options that name them.
        options: [&'static str; 2],
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        chain: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// A key and certificate, as they were read.
struct Pair {
    pair: KeyPair,
    /// A hash of the content of both files, to detect changes.
    content: u64,
}

impl Files {
    /// The options that name the key and the certificate.
    fn options(&self) -> [&'static str; 2] {
        match self.is_admin {
            true => ["--admin-ssl-keyfile", "--admin-ssl-certfile"],
            false => ["--ssl-keyfile", "--ssl-certfile"],
        }
    }

    fn unusable(&self, fault: Fault) -> TlsError {
        let [key_option, chain_option] = self.options();
        match fault.part {
            Part::Key => TlsError::Unusable { path: self.key.clone(), option: key_option, fault },
            Part::Chain => TlsError::Unusable { path: self.chain.clone(), option: chain_option, fault },
            Part::Both => self.unusable_pair(fault.to_string()),
        }
    }

    fn unusable_pair(&self, why: String) -> TlsError {
        TlsError::Pair { options: self.options(), key: self.key.clone(), chain: self.chain.clone(), why }
    }

    fn hangs(&self, why: io::Error) -> TlsError {
        TlsError::Hangs { options: self.options(), key: self.key.clone(), chain: self.chain.clone(), why }
    }

    fn read(&self) -> Result<Pair, TlsError> {
        let read = |path: &Path, option| {
            files::read(path).map_err(|why| TlsError::File { path: path.to_owned(), option, why })
        };
        let [key_option, chain_option] = self.options();
        let key = read(&self.key, key_option)?;
        let chain = read(&self.chain, chain_option)?;
        let content = content(&key, &chain);
        let pair = KeyPair::read(&key, &chain).map_err(|fault| self.unusable(fault))?;
        Ok(Pair { pair, content })
    }

    /// A hash of what both files contain now; 0 if they cannot be read.
    fn content(&self) -> u64 {
        match (files::read(&self.key), files::read(&self.chain)) {
            (Ok(key), Ok(chain)) => content(&key, &chain),
            _ => 0,
        }
    }
}

fn content(key: &[u8], chain: &[u8]) -> u64 {
    // This hash is only compared within this process, and never shown.
    foldhash::quality::FixedState::default().hash_one((key, chain)).max(1)
}

/// The key and certificate in use. Each handshake takes the newest.
pub struct Certificate {
    files: Files,
    current: Arc<CurrentPair>,
    config: Arc<ServerConfig>,
    expiry: i64,
    /// What clients may refuse about the certificate.
    doubts: Vec<String>,
    /// The hash of the files' content when they were last checked.
    seen: u64,
    /// Reads the files on other threads.
    reading: Aside,
    /// When the expiry was last checked for a warning.
    warned: Instant,
}

struct CurrentPair(ArcSwap<CertifiedKey>);

impl fmt::Debug for CurrentPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for CurrentPair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // There is only one, so the server name that a client sends does not matter.
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads the pair.
    ///
    /// # Errors
    /// When it cannot be used: see [`TlsError`].
    pub fn load(files: Files) -> Result<Certificate, TlsError> {
        let reading = files.clone();
        let read = files::within_bound(move || reading.read());
        let Pair { pair, content } = read.map_err(|why| files.hangs(why)).flatten()?;
        let KeyPair { certified, expiry, doubts } = pair;
        let current = Arc::new(CurrentPair(ArcSwap::from_pointee(certified)));
        let versions = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
        let unusable = |why: rustls::Error| files.unusable_pair(format!("cannot be used: {why}"));
        let mut config =
            versions.map_err(unusable)?.with_no_client_auth().with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Clients that come back need no second full handshake. The keys of the tickets change
        // every six hours. All workers use this configuration, and it stays when the
        // certificate is replaced, so every worker knows the tickets of the others.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(Certificate {
            files,
            current,
            config: Arc::new(config),
            expiry,
            doubts,
            seen: content,
            reading: Aside::new(),
            warned: Instant::now(),
        })
    }

    /// The configuration for handshakes.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The configuration for handshakes of the admin listener, which speaks only HTTP/1.1.
    pub fn admin_config(&self) -> Arc<ServerConfig> {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Reloads the files whenever they change, and never returns. `hangup` is SIGHUP.
    pub async fn keep(mut self, mut hangup: Signal, metrics: &Metrics) {
        self.report(metrics);
        self.warn();
        let paths = vec![self.files.key.clone(), self.files.chain.clone()];
        loop {
            // A new watch each time, because links may lead elsewhere now.
            let watch = Watch::aside(&self.reading, paths.clone(), is_change).await;
            let mut is_asked = false;
            // The watch sees each change that comes after this check.
            while self.content().await == self.seen && !is_asked {
                is_asked = tokio::select! {
                    () = watch.changed() => false,
                    () = sleep(LOOK) => false,
                    _ = hangup.recv() => true,
                };
                if self.warned.elapsed() >= WARN_AGAIN {
                    self.warn();
                }
            }
            if !is_asked {
                sleep(SETTLES).await;
            }
            match self.read_patiently().await {
                Ok(pair) => self.take(pair, is_asked, metrics),
                Err(error) => {
                    metrics.certificate_reload(false);
                    tracing::error!("{error}; the old certificate stays in use");
                }
            }
        }
    }

    /// What the files hold now; 0 if they cannot be read.
    async fn content(&self) -> u64 {
        let files = self.files.clone();
        self.reading.run(move || files.content()).await.unwrap_or(0)
    }

    async fn read_patiently(&mut self) -> Result<Pair, TlsError> {
        let until = Instant::now() + PATIENCE;
        loop {
            // Hashed before reading: if this read fails, a later change is not missed.
            self.seen = self.content().await;
            let files = self.files.clone();
            let read = self.reading.run(move || files.read()).await;
            match read.map_err(|why| self.files.hangs(why)).flatten() {
                Err(_) if Instant::now() < until => sleep_until((Instant::now() + SETTLES).min(until)).await,
                read => return read,
            }
        }
    }

    fn take(&mut self, Pair { pair, content }: Pair, is_asked: bool, metrics: &Metrics) {
        self.seen = content;
        let is_same = self.current.0.load().cert == pair.certified.cert;
        self.current.0.store(Arc::new(pair.certified));
        self.expiry = pair.expiry;
        self.doubts = pair.doubts;
        self.report(metrics);
        if !(is_same && is_asked) {
            metrics.certificate_reload(true);
            tracing::info!(expires_in_days = self.left().map_or(0, days), "new certificate in use");
        }
        self.warn();
    }

    fn report(&self, metrics: &Metrics) {
        let gauge = match self.files.is_admin {
            true => &metrics.admin_certificate_expiry,
            false => &metrics.certificate_expiry,
        };
        gauge.set(self.expiry);
    }

    /// How long the certificate is still valid; `None` if it no longer is.
    fn left(&self) -> Option<Duration> {
        let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(self.expiry).unwrap_or(0));
        end.duration_since(SystemTime::now()).ok()
    }

    fn warn(&mut self) {
        self.warned = Instant::now();
        let path = self.files.chain.display();
        match self.left() {
            None => {
                tracing::error!("the certificate in {path} has expired: clients will refuse it; renew it")
            }
            Some(left) if left < ENDS_SOON => {
                tracing::warn!("the certificate in {path} expires in {} days", days(left));
            }
            Some(_) => {}
        }
        for doubt in &self.doubts {
            tracing::warn!("the certificate in {path} {doubt}");
        }
    }
}

fn days(time: Duration) -> u64 {
    time.as_secs() / (24 * 3600)
}

/// Whether an event may change a file: all do but reads.
fn is_change(kind: EventKind) -> bool {
    !kind.is_access()
}
