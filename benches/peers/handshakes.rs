//! Full TLS handshakes of this server and of nginx, with the same certificates.
//!
//! Each server has one worker, and all of them run on one core; the clients run on another. So the
//! rate is what one core can do, unless the clients are slower than the server: then its core is
//! not busy, and the processor time of each handshake still tells.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, SignatureScheme,
    SupportedProtocolVersion,
};
use socket2::SockRef;
use support::nginx::{Nginx, http_with};
use support::server::Running;
use support::sqlite::SqliteFile;

use crate::figures::{self, Figures, Sample};
use crate::servers::own_server;
use crate::{MEASURED, ROUNDS, WARM_UP};

/// Clients that connect at the same time.
const CLIENTS: usize = 4;
const KINDS: [&str; 2] = ["RSA 2048", "ECDSA P-256"];
const VERSIONS: [(&str, &SupportedProtocolVersion); 2] = [("1.2", &TLS12), ("1.3", &TLS13)];

/// A server with one of the certificates.
struct Peer {
    name: &'static str,
    address: SocketAddr,
    process: u32,
}

pub fn handshakes() {
    let file = SqliteFile::seeded();
    let folder = file.folder.path();
    let db = file.path.to_str().expect("UTF-8");
    // The servers inherit the core of this process.
    run_on(0);
    let (mut nginx, mut running): (Vec<Nginx>, Vec<Running>) = (Vec::new(), Vec::new());
    let peers = KINDS.map(|kind| {
        let [key, chain] = certificate(folder, kind);
        nginx.push(tls_server(&key, &chain));
        let options = ["--db-path", db, "--no-access-log", "--ssl-keyfile", &key, "--ssl-certfile", &chain];
        let (address, process) = own_server(folder, &options);
        let own = Peer { name: "jitsiprovs", address, process: process.0.id() };
        running.push(process);
        let other = nginx.last().expect("just started");
        [Peer { name: "nginx", address: other.address, process: other.pid() }, own]
    });
    run_on(1);

    println!("Full handshakes with X25519, medians of {ROUNDS} rounds, and ratios to nginx:");
    for version in VERSIONS {
        let client = client(version.1);
        let mut own_costs = Vec::new();
        for (kind, peers) in KINDS.iter().zip(&peers) {
            let mut all = peers.each_ref().map(|peer| Figures::new(peer.name));
            for round in 0..ROUNDS {
                for at in [round % 2, (round + 1) % 2] {
                    let Peer { address, process, .. } = peers[at];
                    connect_for(WARM_UP, address, &client);
                    all[at].add(Sample::of(&[process], || connect_for(MEASURED, address, &client)));
                }
            }
            let busy = all.each_ref().map(|figures| figures.summary(|sample| sample.busy).median * 100.0);
            println!("TLS {}, {kind}; cores {:.0} % and {:.0} % busy:", version.0, busy[0], busy[1]);
            figures::print(&all, &all[0], "handshakes/s");
            own_costs.push(all[1].summary(|sample| sample.cost).median);
        }
        println!("  {} costs jitsiprovs {:.2} of {}", KINDS[0], own_costs[0] / own_costs[1], KINDS[1]);
    }
}

/// Restricts this thread, and the processes and threads that it starts, to one core.
fn run_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("handshakes are measured with two cores");
}

/// Creates a key and a certificate, and returns the paths of their files.
fn certificate(folder: &Path, kind: &str) -> [String; 2] {
    let key = match kind {
        "RSA 2048" => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        _ => KeyPair::generate(),
    };
    let key = key.expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let chain = params.self_signed(&key).expect("a certificate");
    [("key", key.serialize_pem()), ("chain", chain.pem())].map(|(what, pem)| {
        let path = folder.join(format!("{kind} {what}"));
        std::fs::write(&path, pem).expect("written");
        path.display().to_string()
    })
}

fn tls_server(key: &str, chain: &str) -> Nginx {
    Nginx::with(|address, own| {
        let server = format!(
            "server {{
                 listen {address} ssl;
                 ssl_certificate \"{chain}\";
                 ssl_certificate_key \"{key}\";
                 ssl_protocols TLSv1.2 TLSv1.3;
             }}"
        );
        http_with(own, &server)
    })
}

/// A client that resumes no session. It offers no newer key exchange than X25519, because the nginx
/// of some systems knows none. P-256 is for the certificates.
fn client(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let kx_groups = vec![kx_group::X25519, kx_group::SECP256R1];
    let provider = CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() };
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(&[version]);
    let verifier = Arc::new(Credulous(schemes));
    let config = config.expect("a version").dangerous().with_custom_certificate_verifier(verifier);
    let mut config = config.with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.into()
}

/// Checks no certificate and no signature, because the clients should be faster than the servers.
#[derive(Debug)]
struct Credulous(Vec<SignatureScheme>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Connects for this long, and returns the number of handshakes.
fn connect_for(time: Duration, address: SocketAddr, config: &Arc<ClientConfig>) -> u64 {
    let (begun, stop) = (Instant::now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let client = || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                shake(address, config);
                count += 1;
            }
            count
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        std::thread::sleep(time.saturating_sub(begun.elapsed()));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    })
}

/// Connects, makes a handshake, and waits until the server has closed the connection.
fn shake(address: SocketAddr, config: &Arc<ClientConfig>) {
    let mut socket = TcpStream::connect(address).expect("connects");
    socket.set_nodelay(true).expect("an option");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    // Closed connections would otherwise keep their ports for a minute.
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("an option");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(config.clone(), name).expect("a client");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("a handshake");
    }
    assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519));
    connection.send_close_notify();
    while connection.wants_write() {
        connection.write_tls(&mut socket).expect("sends");
    }
    // Tickets and the server's own end come before it closes.
    while connection.read_tls(&mut socket).expect("an end") > 0 {
        connection.process_new_packets().expect("valid records");
    }
}
