//! HTTPS: which clients can connect, and how certificates are replaced.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::hanging::goes_on;
use support::client::{Reply, exchange, form_request, request};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{PATIENCE, put_pipe, texts, wait_for};

/// The authority that signs the certificates, and that clients trust.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// A key and its certificate.
pub(crate) struct Pair {
    key: String,
    chain: String,
    der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).expect("a certificate").der().clone();
        Authority { issuer: Issuer::new(params, key), root }
    }

    /// Its own certificate, in PEM form.
    pub(crate) fn root_pem(&self) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(&self.root);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    pub(crate) fn pair(&self) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).expect("names");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { key: key.serialize_pem(), chain: certificate.pem(), der: certificate.der().to_vec() }
    }
}

/// The result of a handshake.
pub(crate) struct Shaken {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    certificate: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    config: Arc<ClientConfig>,
    name: &'static str,
}

impl Client {
    fn new(address: SocketAddr, authority: &Authority) -> Client {
        let both = [&rustls::version::TLS12, &rustls::version::TLS13];
        Client::speaking(address, authority, &both, &[])
    }

    pub(crate) fn speaking(
        address: SocketAddr,
        authority: &Authority,
        versions: &[&'static rustls::SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Client {
        let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Client::on(address, authority, versions, aws_lc_rs::default_provider())
            .with(|config| config.alpn_protocols = protocols)
    }

    fn on(
        address: SocketAddr,
        authority: &Authority,
        versions: &[&'static rustls::SupportedProtocolVersion],
        provider: CryptoProvider,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root.clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(versions);
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        Client { address, config: Arc::new(config), name: "localhost" }
    }

    /// Changes a setting of this client.
    fn with(mut self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        change(Arc::make_mut(&mut self.config));
        self
    }

    fn shake(&self) -> std::io::Result<Shaken> {
        self.shake_on(TcpStream::connect_timeout(&self.address, PATIENCE)?)
    }

    /// A handshake on an open connection.
    pub(crate) fn shake_on(&self, mut socket: TcpStream) -> std::io::Result<Shaken> {
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(self.name).expect("a name");
        let mut connection = ClientConnection::new(self.config.clone(), name).expect("a client");
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let certificate = connection.peer_certificates().map_or(Vec::new(), |chain| chain[0].to_vec());
        Ok(Shaken { stream: StreamOwned::new(connection, socket), certificate })
    }
}

impl Shaken {
    fn kind(&self) -> HandshakeKind {
        self.stream.conn.handshake_kind().expect("a complete handshake")
    }

    /// Asks, and keeps the connection open.
    fn ask(&mut self) {
        let request = form_request(&[("username", "alice@a.org"), ("password", "pw")]);
        self.stream.write_all(&request).expect("sends");
        let reply = Reply::read(&mut self.stream, &mut Vec::new()).expect("readable").expect("an answer");
        assert_eq!((reply.status, reply.text()), (200, "k=v\n"));
    }

    fn post(mut self) -> String {
        let request = form_request(&[("username", "alice@a.org"), ("password", "pw")]);
        let request =
            String::from_utf8(request).expect("ASCII").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        self.stream.write_all(request.as_bytes()).expect("sends");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).expect("an answer that ends as it should");
        answer
    }
}

/// A server with its own key and certificate files.
struct Secured {
    _file: SqliteFile,
    folder: TempDir,
    server: Server,
}

impl Secured {
    fn start(pair: &Pair, more: &[&str]) -> Secured {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), pair);
        Secured::on(folder, "key", "chain", more)
    }

    fn on(folder: TempDir, key: &str, chain: &str, more: &[&str]) -> Secured {
        let file = SqliteFile::empty();
        file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v");
        let path = |name| folder.path().join(name).display().to_string();
        let (key, chain) = (path(key), path(chain));
        let own = ["--ssl-keyfile", key.as_str(), "--ssl-certfile", chain.as_str()];
        let server = Server::on_sqlite(&file.path, &[&own, more].concat());
        Secured { _file: file, folder, server }
    }
}

pub(crate) fn write(folder: &Path, pair: &Pair) {
    std::fs::write(folder.join("key"), &pair.key).expect("writes");
    std::fs::write(folder.join("chain"), &pair.chain).expect("writes");
}

#[test]
fn both_versions_are_spoken_with_and_without_a_server_name() {
    let authority = Authority::new();
    let pair = authority.pair();
    let secured = Secured::start(&pair, &[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // Clients send no server name if they connect to an address.
        for name in ["localhost", "127.0.0.1"] {
            let client = Client::speaking(secured.server.address, &authority, &[version], &[]);
            let shaken = Client { name, ..client }.shake().expect("a handshake");
            assert_eq!(shaken.certificate, pair.der);
            assert_eq!(shaken.stream.conn.protocol_version(), Some(version.version));
            let answer = shaken.post();
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("k=v\n"), "{answer}");
        }
    }
}

#[test]
fn clients_that_come_back_resume_on_every_worker_and_after_a_new_certificate() {
    let authority = Authority::new();
    let secured = Secured::start(&authority.pair(), &[]);
    let tls13 = (&rustls::version::TLS13, Tls12Resumption::Disabled);
    let ticket = (&rustls::version::TLS12, Tls12Resumption::SessionIdOrTickets);
    let session_id = (&rustls::version::TLS12, Tls12Resumption::SessionIdOnly);
    let clients = [tls13, ticket, session_id].map(|(version, tls12)| {
        Client::speaking(secured.server.address, &authority, &[version], &[])
            .with(|config| config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(tls12))
    });
    let shake = |client: &Client, expected| {
        let mut shaken = client.shake().expect("a handshake");
        assert_eq!(shaken.kind(), expected);
        // The tickets of TLS 1.3 come with the answer.
        shaken.ask();
        shaken
    };
    for client in &clients {
        shake(client, HandshakeKind::Full);
    }
    // Connections that stay open are spread over all workers.
    let open: Vec<_> = (0..16)
        .flat_map(|_| clients.each_ref().map(|client| shake(client, HandshakeKind::Resumed)))
        .collect();
    write(secured.folder.path(), &authority.pair());
    secured.server.signal("HUP");
    secured.server.wait_for_log("new certificate in use");
    for client in &clients {
        shake(client, HandshakeKind::Resumed);
    }
    drop(open);
}

#[test]
fn clients_that_prefer_it_get_a_key_exchange_that_quantum_computers_cannot_break() {
    let authority = Authority::new();
    let secured = Secured::start(&authority.pair(), &[]);
    let hybrid = NamedGroup::X25519MLKEM768;
    for (version, offered, expected) in [
        (&rustls::version::TLS13, vec![kx_group::X25519MLKEM768, kx_group::X25519], hybrid),
        (&rustls::version::TLS13, vec![kx_group::X25519], NamedGroup::X25519),
        (&rustls::version::TLS12, vec![kx_group::X25519MLKEM768, kx_group::X25519], NamedGroup::X25519),
    ] {
        let provider = CryptoProvider { kx_groups: offered, ..aws_lc_rs::default_provider() };
        let client = Client::on(secured.server.address, &authority, &[version], provider);
        let shaken = client.shake().expect("a handshake");
        let group = shaken.stream.conn.negotiated_key_exchange_group().expect("a group");
        assert_eq!(group.name(), expected);
        assert!(shaken.post().ends_with("k=v\n"));
    }
}

/// One library for all of TLS: a second one would need memory, fixes and time to build of its own.
#[test]
fn the_program_and_its_tests_have_one_library_for_cryptography() {
    let output = Command::new(std::env::var_os("CARGO").expect("run by cargo"))
        .args(["tree", "--locked", "--offline", "--workspace", "--edges", "normal,build,dev"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packages = String::from_utf8_lossy(&output.stdout);
    let has = |name: &str| packages.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(has("rustls") && has("aws-lc-rs"), "{packages}");
    assert!(!has("ring") && !has("openssl-sys"), "cargo tree -i ring; cargo tree -i openssl-sys");
}

#[test]
fn h2_is_used_with_clients_that_offer_it() {
    let authority = Authority::new();
    let secured = Secured::start(&authority.pair(), &[]);
    for (asked, chosen) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], "h2"), (&[b"http/1.1".as_slice()], "http/1.1")]
    {
        let client = Client::speaking(secured.server.address, &authority, &[&rustls::version::TLS13], asked);
        let shaken = client.shake().expect("a handshake");
        assert_eq!(shaken.stream.conn.alpn_protocol(), Some(chosen.as_bytes()));
    }
    let url = format!("https://{}/jitsiprovs/", secured.server.address);
    for (protocol, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let form = "username=alice@a.org&password=pw";
        let output = Command::new("curl")
            .args(["-sk", "-m", "20", protocol, "-w", "%{http_version}", "-d", form, &url, &url])
            .output()
            .expect("curl; see tests/run");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("k=v\n{version}k=v\n{version}"));
    }
}

#[test]
fn an_h2_connection_that_sends_frames_and_no_requests_is_closed() {
    let authority = Authority::new();
    let secured = Secured::start(&authority.pair(), &["--admin-port", "0", "-v"]);
    let tls13 = [&rustls::version::TLS13];
    let client = Client::speaking(secured.server.address, &authority, &tls13, &[b"h2"]);
    let frame = |kind: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("a short frame");
        [&[0, 0, length, kind, 0, 0, 0, 0, stream], payload].concat()
    };
    let settings = frame(4, 0, &[]);
    let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat();
    let closed = |count: usize| {
        let metric = format!("jitsiprovs_connections_closed_total{{reason=\"h2_frames\"}} {count}");
        let reply = exchange(secured.server.admin(), &request("GET", "/metrics", &[], b""));
        reply.text().lines().any(|line| line == metric)
    };
    // WINDOW_UPDATE, PING, SETTINGS and PRIORITY.
    let floods = [frame(8, 0, &[0, 0, 0, 1]), frame(6, 0, &[7; 8]), settings, frame(2, 1, &[0; 5])];
    for (number, flood) in floods.iter().enumerate() {
        let mut shaken = client.shake().expect("a handshake");
        shaken.stream.write_all(&opening).expect("sends");
        // A few are normal.
        shaken.stream.write_all(&flood.repeat(100)).expect("sends");
        assert!(closed(number));
        let flood = flood.repeat(500);
        let sent = (0..10_000).take_while(|_| shaken.stream.write_all(&flood).is_ok()).count();
        assert!(sent < 10_000, "flood {number} was read");
        wait_for("the count", || closed(number + 1).then_some(()));
    }
    assert_eq!(
        Client::new(client.address, &authority).shake().expect("a handshake").post().lines().next(),
        Some("HTTP/1.1 200 OK")
    );
}

#[test]
fn java_connects_also_with_the_settings_of_old_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (key, chain) = (path("key"), path("chain"));
    // Old clients support only RSA certificates.
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", &key, "-out", &chain])
        .output()
        .expect("openssl; see tests/run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let compiled = Command::new("javac")
        .args(["-d", &path("")])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/Fetch.java"))
        .output()
        .expect("javac; see tests/run");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let classes = path("");
    let secured = Secured::on(folder, "key", "chain", &[]);
    let suite = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    for options in [
        &[][..],
        &["-Djdk.tls.client.protocols=TLSv1.2"],
        &[
            "-Djdk.tls.client.protocols=TLSv1.2",
            "-Djdk.tls.client.cipherSuites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ],
    ] {
        for host in ["localhost", "127.0.0.1"] {
            let url = format!("https://{host}:{}/jitsiprovs/", secured.server.address.port());
            let output = Command::new("java")
                .args(options)
                .args(["-XX:TieredStopAtLevel=1", "-cp", &classes, "Fetch", &chain, &url])
                .arg("username=alice@a.org&password=pw")
                .output()
                .expect("java; see tests/run");
            let text = String::from_utf8_lossy(&output.stdout);
            let problems = String::from_utf8_lossy(&output.stderr);
            assert!(text.starts_with("200 ") && text.ends_with("k=v\n"), "{options:?}: {text}{problems}");
            assert!(options.len() < 2 || text.contains(suite), "{text}");
        }
    }
}

#[test]
fn connections_without_tls_or_without_a_complete_handshake_affect_no_other() {
    let authority = Authority::new();
    let secured = Secured::start(&authority.pair(), &["--header-timeout", "1", "--admin-port", "0"]);
    let address = secured.server.address;
    let mut plain = TcpStream::connect(address).expect("connects");
    plain.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    plain.write_all(b"GET /jitsiprovs/ HTTP/1.1\r\n\r\n").expect("sends");
    let mut silent = TcpStream::connect(address).expect("connects");
    silent.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let client = Client::new(address, &authority);
    assert!(client.shake().expect("a handshake").post().ends_with("k=v\n"));
    // The server sends at most an alert, and closes.
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    assert_eq!(silent.read_to_end(&mut rest).expect("an end"), 0);
    assert!(client.shake().expect("a handshake").post().ends_with("k=v\n"));
}

/// The way in which a pair is put into the server's files.
#[derive(Debug, Clone, Copy)]
enum Replacement {
    Rename,
    InPlace,
    /// A symbolic link for each file.
    FileLink,
    /// A symbolic link for the folder.
    FolderLink,
}

impl Replacement {
    /// Installs `pair` in `folder` as version `number`.
    fn put(self, folder: &Path, pair: &Pair, number: usize) {
        let fresh = folder.join(format!("v{number}"));
        std::fs::create_dir(&fresh).expect("a folder");
        let link = |to: PathBuf, name: &str| {
            let temporary = folder.join("new");
            symlink(to, &temporary).expect("a link");
            std::fs::rename(&temporary, folder.join(name)).expect("replaces");
        };
        match self {
            Replacement::Rename => {
                write(&fresh, pair);
                for name in ["key", "chain"] {
                    std::fs::rename(fresh.join(name), folder.join(name)).expect("replaces");
                }
            }
            Replacement::InPlace => write(folder, pair),
            Replacement::FileLink => {
                write(&fresh, pair);
                link(fresh.join("key"), "key");
                link(fresh.join("chain"), "chain");
            }
            Replacement::FolderLink => {
                write(&fresh, pair);
                link(fresh, "current");
            }
        }
    }
}

/// Replaces the certificate `rounds` times while clients connect. No connection may fail, and each
/// certificate must come into use.
fn replace(replacement: Replacement, rounds: usize) {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    replacement.put(folder.path(), &authority.pair(), 0);
    let at = folder.path().to_owned();
    let (key, chain) = match replacement {
        Replacement::FolderLink => ("current/key", "current/chain"),
        _ => ("key", "chain"),
    };
    let secured = Secured::on(folder, key, chain, &["--no-access-log"]);
    let client = Client::new(secured.server.address, &authority);
    let (stop, shaken) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = || {
            // Without session resumption, so each connection makes a full handshake.
            let client = Client::new(secured.server.address, &authority);
            while !stop.load(Ordering::Relaxed) {
                let answer = client.shake().expect("a handshake").post();
                assert!(answer.ends_with("k=v\n"), "{answer}");
                shaken.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients = [scope.spawn(load), scope.spawn(load)];
        for round in 1..=rounds {
            let pair = authority.pair();
            replacement.put(&at, &pair, round);
            wait_for("the new certificate", || {
                // A client that resumes no session, so the server sends its certificate.
                let fresh = Client::new(client.address, &authority);
                (fresh.shake().expect("a handshake").certificate == pair.der).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("no failed handshake"));
    });
    wait_for("each to be told", || {
        let log = secured.server.log();
        (log.iter().filter(|line| line.contains("new certificate in use")).count() == rounds).then_some(())
    });
    let log = secured.server.log();
    assert!(log.iter().all(|line| !line.contains("ERROR")), "{log:?}");
    assert!(shaken.load(Ordering::Relaxed) > rounds);
}

#[test]
fn a_certificate_replaced_by_rename_comes_into_use_without_a_failed_handshake() {
    replace(Replacement::Rename, 25);
}

#[test]
fn a_certificate_written_in_place_comes_into_use_without_a_failed_handshake() {
    replace(Replacement::InPlace, 25);
}

#[test]
fn a_certificate_replaced_by_a_symbolic_link_comes_into_use_without_a_failed_handshake() {
    replace(Replacement::FileLink, 25);
    replace(Replacement::FolderLink, 25);
}

#[test]
fn a_broken_pair_is_reported_and_the_old_one_stays() {
    let authority = Authority::new();
    let (first, second) = (authority.pair(), authority.pair());
    let secured = Secured::start(&first, &["--admin-port", "0"]);
    let client = Client::new(secured.server.address, &authority);
    let chain = secured.folder.path().join("chain");
    let expect = |broken: &str, said: &str| {
        std::fs::write(&chain, broken).expect("writes");
        let line = secured.server.wait_for_log(said);
        assert!(line.contains("ERROR") && line.ends_with("the old certificate stays in use"), "{line}");
        assert_eq!(client.shake().expect("a handshake").certificate, first.der);
    };
    expect(&second.chain, "cannot be used together");
    expect("nonsense", "holds no certificate in PEM form");
    std::fs::remove_file(&chain).expect("removes");
    secured.server.wait_for_log("chain (No such file");
    write(secured.folder.path(), &second);
    secured.server.wait_for_log("new certificate in use");
    assert_eq!(Client::new(client.address, &authority).shake().expect("a handshake").certificate, second.der);
    let log = secured.server.log().join("\n");
    assert!(!log.contains("PRIVATE") && !log.contains("BEGIN"), "{log}");
}

#[test]
fn a_pipe_in_place_of_key_or_certificate_does_not_block_the_server() {
    let authority = Authority::new();
    let mut pair = authority.pair();
    let secured = Secured::start(&pair, &["--admin-port", "0"]);
    let (server, folder) = (&secured.server, secured.folder.path());
    for name in ["chain", "key"] {
        let line = format!("{name} (it is no regular file)");
        put_pipe(&folder.join(name));
        server.wait_for_log(&line);
        let client = Client::new(server.address, &authority);
        assert_eq!(client.shake().expect("a handshake").certificate, pair.der);
        goes_on(server, true);
        pair = authority.pair();
        for name in ["key", "chain"] {
            std::fs::remove_file(folder.join(name)).expect("removes");
        }
        write(folder, &pair);
        wait_for("the new certificate", || {
            let fresh = Client::new(server.address, &authority);
            (fresh.shake().expect("a handshake").certificate == pair.der).then_some(())
        });
    }
    put_pipe(&folder.join("chain"));
    put_pipe(&folder.join("key"));
    server.signal("TERM");
    assert!(secured.server.wait().success());
}

#[test]
fn sighup_reads_the_certificate_too_and_an_expired_one_is_reported() {
    let authority = Authority::new();
    let secured = Secured::start(&authority.pair(), &["--admin-port", "0"]);
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["localhost".into()]).expect("names");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.signed_by(&key, &authority.issuer).expect("a certificate");
    write(
        secured.folder.path(),
        &Pair { key: key.serialize_pem(), chain: certificate.pem(), der: Vec::new() },
    );
    secured.server.signal("HUP");
    secured.server.wait_for_log("has expired: clients will refuse it");
}

#[test]
fn an_unusable_pair_ends_the_start_with_one_line() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (authority.pair(), authority.pair());
    write(folder.path(), &Pair { key: one.key.clone(), chain: other.chain.clone(), der: Vec::new() });
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (key, chain) = (path("key"), path("chain"));
    for (key, chain, said) in [
        (key.as_str(), chain.as_str(), "cannot be used together: give the key that"),
        (chain.as_str(), chain.as_str(), "holds no private key in PEM form: check its name"),
        (key.as_str(), key.as_str(), "holds no certificate in PEM form: check its name"),
        ("/no/such/file", chain.as_str(), "check --ssl-keyfile"),
    ] {
        let output = run(&["-n", "--http-port", "0", "--ssl-keyfile", key, "--ssl-certfile", chain]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.lines().count() == 1 && text.contains(said) && !text.contains("BEGIN"), "{text}");
        assert!(text.contains("--ssl-keyfile") || text.contains("--ssl-certfile"), "{text}");
    }
}

/// A folder in which openssl has made an authority (`ca`), one that it has signed (`mid`), and one
/// that this has signed for `key` (`own`).
fn openssl_chain() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let steps = "
        req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -keyout ca.key -out ca.pem
        req -newkey rsa:2048 -nodes -subj /CN=mid -addext basicConstraints=critical,CA:TRUE -keyout mid.key -out mid.csr
        x509 -req -in mid.csr -copy_extensions copy -CA ca.pem -CAkey ca.key -CAcreateserial -out mid.pem
        req -newkey rsa:2048 -nodes -subj /CN=own -addext subjectAltName=DNS:localhost -keyout key -out own.csr
        x509 -req -in own.csr -copy_extensions copy -CA mid.pem -CAkey mid.key -CAcreateserial -out own.pem";
    steps.lines().map(str::trim).filter(|step| !step.is_empty()).for_each(|step| openssl(&folder, step));
    folder
}

fn openssl(folder: &TempDir, args: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(args.split(' ')).current_dir(folder.path()).output().expect("openssl");
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Puts files one after the other into another.
fn join(folder: &TempDir, parts: &[&str], into: &str) {
    let read = |name: &&str| std::fs::read_to_string(folder.path().join(name)).expect("a file");
    std::fs::write(folder.path().join(into), parts.iter().map(read).collect::<String>()).expect("written");
}

#[test]
fn keys_and_chains_that_cannot_be_used_say_what_to_do() {
    let folder = openssl_chain();
    for step in [
        "pkcs8 -topk8 -in key -passout pass:secret -out encrypted",
        "rsa -traditional -aes256 -passout pass:secret -in key -out encrypted-old",
        "ecparam -genkey -name secp256k1 -out secp256k1",
    ] {
        openssl(&folder, step);
    }
    join(&folder, &["own.pem", "mid.pem"], "chain");
    join(&folder, &["mid.pem", "own.pem"], "reversed");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (key, chain, words) in [
        (
            "encrypted",
            "chain",
            &["encrypted is encrypted with a passphrase", "openssl pkey", "--ssl-keyfile"],
        ),
        ("encrypted-old", "chain", &["old is encrypted with a passphrase", "openssl pkey", "--ssl-keyfile"]),
        (
            "secp256k1",
            "chain",
            &["of a kind that TLS does not use", "P-256, P-384 or P-521", "--ssl-keyfile"],
        ),
        (
            "key",
            "reversed",
            &["reversed has its certificates in the wrong order", "number 2: put it first", "--ssl-certfile"],
        ),
        ("ca.key", "chain", &["cannot be used together", "give the key that", "--ssl-keyfile"]),
    ] {
        for [key_option, chain_option] in
            [["--ssl-keyfile", "--ssl-certfile"], ["--admin-ssl-keyfile", "--admin-ssl-certfile"]]
        {
            let pair = [key_option, &path(key), chain_option, &path(chain)].map(str::to_owned);
            let ports = ["-n", "--http-port", "0", "--admin-port", "0"].map(str::to_owned);
            let output = run(&texts(&[&ports[..], &pair].concat()));
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
            for word in words {
                let word = if key_option.contains("admin") {
                    word.replace("--", "--admin-")
                } else {
                    (*word).into()
                };
                assert!(text.contains(&word), "{key}, {chain}: {text}");
            }
        }
    }
}

#[test]
fn certificates_that_some_clients_refuse_are_served_with_a_warning() {
    let folder = openssl_chain();
    for step in [
        "req -new -key key -subj /CN=localhost -out old.csr",
        "x509 -req -in old.csr -CA mid.pem -CAkey mid.key -CAcreateserial -out old.pem",
        "req -x509 -key key -subj /CN=localhost -out unnamed.pem",
    ] {
        openssl(&folder, step);
    }
    join(&folder, &["own.pem", "ca.pem", "mid.pem"], "unordered.pem");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (chain, said) in [
        ("old.pem", "is of the old version 1, which many clients refuse: sign it again"),
        ("unnamed.pem", "names no host in subjectAltName, so many clients refuse it: sign it again"),
        ("unordered.pem", "has certificates in the wrong order"),
    ] {
        let file = SqliteFile::empty();
        let (key, chain) = (path("key"), path(chain));
        let server = Server::on_sqlite(&file.path, &["--ssl-keyfile", &key, "--ssl-certfile", &chain]);
        let line = server.wait_for_log(said);
        assert!(line.contains("WARN") && line.contains(&chain), "{line}");
        for version in ["-tls1_2", "-tls1_3"] {
            shaken_by_openssl(&server, version);
        }
    }
}

#[test]
fn a_key_on_p_521_is_served_in_both_forms() {
    let folder = tempfile::tempdir().expect("a folder");
    for step in [
        // With the block of parameters before the key.
        "ecparam -genkey -name secp521r1 -out key",
        "req -x509 -key key -subj /CN=localhost -addext subjectAltName=DNS:localhost -out chain",
        "pkcs8 -topk8 -nocrypt -in key -out pkcs8",
    ] {
        openssl(&folder, step);
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    for key in ["key", "pkcs8"] {
        let file = SqliteFile::empty();
        let (key, chain) = (path(key), path("chain"));
        let server = Server::on_sqlite(&file.path, &["--ssl-keyfile", &key, "--ssl-certfile", &chain]);
        for version in ["-tls1_2", "-tls1_3"] {
            shaken_by_openssl(&server, version);
        }
        assert!(!server.log().join("\n").contains("the certificate in"), "{:?}", server.log());
    }
}

/// Makes a handshake as openssl does, which reads every kind of certificate.
fn shaken_by_openssl(server: &Server, version: &str) {
    let mut command = Command::new("openssl");
    command.args(["s_client", version, "-connect", &server.address.to_string()]).stdin(Stdio::null());
    let output = command.output().expect("openssl");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Cipher is ") && !said.contains("Cipher is (NONE)"), "{version}: {said}");
}
