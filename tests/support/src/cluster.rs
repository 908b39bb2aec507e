//! Several nodes as operators run them: a MariaDB and its replica, nodes on both, and nginx in
//! front with the configuration in `contrib`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::client::{Connection, request};
use crate::mariadb::{Database, MariaDb};
use crate::nginx::{Nginx, http_with};
use crate::server::{Server, jitsiprovs, run};
use crate::texts;

/// The name in the certificate, which clients request.
pub const NAME: &str = "provisioning.example.org";

const HTTP: &str = include_str!("../../../contrib/nginx/jitsiprovs.conf");

/// A MariaDB and its replica.
pub struct Pair {
    pub primary: MariaDb,
    pub replica: MariaDb,
}

impl Pair {
    pub fn start() -> Pair {
        let own = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        // The options for replication, and the one that --setup needs if there is a binary log. All
        // other options have their defaults.
        let primary = own(&["--server-id=1", "--log-bin=log", "--log-bin-trust-function-creators=1"]);
        let replica = own(&["--server-id=2", "--relay-log=relay", "--read-only"]);
        let (primary, replica) = std::thread::scope(|scope| {
            let primary = scope.spawn(|| MariaDb::start(&primary));
            let replica = MariaDb::start(&replica);
            (primary.join().expect("it starts"), replica)
        });
        primary.script(
            "",
            "CREATE USER replica@'127.0.0.1' IDENTIFIED BY 'replica';
             GRANT REPLICATION SLAVE ON *.* TO replica@'127.0.0.1'",
        );
        let port = primary.port;
        replica.script(
            "",
            &format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_CONNECT_RETRY = 1,
                     MASTER_USER = 'replica', MASTER_PASSWORD = 'replica', MASTER_USE_GTID = slave_pos;
                 START SLAVE"
            ),
        );
        Pair { primary, replica }
    }

    /// A new database with empty tables on the primary, and the same database on the replica.
    pub fn database(&self) -> (Database<'_>, Database<'_>) {
        let database = self.primary.database();
        let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        database.script("DELETE FROM jitsi_property");
        self.wait_replicated();
        let copy = Database { server: &self.replica, name: database.name.clone() };
        (database, copy)
    }

    /// Waits until the replica has everything that the primary has committed so far.
    pub fn wait_replicated(&self) {
        let at = self.primary.script("", "SELECT @@gtid_binlog_pos");
        let waited = self.replica.script("", &format!("SELECT MASTER_GTID_WAIT('{}', 60)", at.trim()));
        assert_eq!(waited.trim(), "0", "{}", self.replica.script("", "SHOW SLAVE STATUS"));
    }
}

/// A server that can be restarted at its address.
pub struct Node {
    pub address: SocketAddr,
    /// The command that starts the server. Another program may come first.
    pub program: Vec<PathBuf>,
    args: Vec<String>,
    server: Option<Server>,
}

impl Node {
    fn start(ip: IpAddr, program: Vec<PathBuf>, args: &[String]) -> Node {
        let own = ["--trusted-proxy", "127.0.0.1", "--admin-port", "0"].map(str::to_owned);
        let args = [&own, args].concat();
        let mut node = Node { address: SocketAddr::new(ip, 0), program, args, server: None };
        node.start_again();
        node
    }

    pub fn start_again(&mut self) {
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(["-n", "--http-ip", &ip, "--http-port", &port]);
        command.args(&self.args).env_clear().stdin(Stdio::null());
        let server = Server::spawn(command);
        self.address = server.address;
        self.server = Some(server);
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// Ends the server with SIGTERM, as operators do.
    pub fn stop(&mut self) {
        let server = self.server.take().expect("it runs");
        server.signal("TERM");
        let log = server.log();
        let status = server.wait();
        assert!(status.success(), "{status}: {log:#?}");
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        drop(self.server.take().expect("it runs"));
    }

    /// The value of a metric, or 0 if it has none yet.
    pub fn metric(&self, name: &str) -> u64 {
        let reply = Connection::open(self.server().admin()).ask(&request("GET", "/metrics", &[], b""));
        let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }
}

/// The nodes, and nginx in front of them.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub nginx: Nginx,
    /// The address at which nginx reports the health of each node.
    pub monitor: SocketAddr,
    /// Clients that trust the certificate.
    pub tls: Arc<ClientConfig>,
    _files: TempDir,
}

impl Cluster {
    /// Starts a node for each list of options, and at most three.
    pub fn start(nodes: &[Vec<String>]) -> Cluster {
        let program = vec![PathBuf::from(jitsiprovs(&[]).get_program())];
        Cluster::of(&program, nodes)
    }

    /// The same as [`Cluster::start`], with another program.
    pub fn of(program: &[PathBuf], nodes: &[Vec<String>]) -> Cluster {
        // These addresses are used only here, so no other process takes a port while its node is
        // down.
        let any = || fastrand::u8(1..=254);
        let (a, b) = (any(), any());
        let ip = |last| IpAddr::V4(Ipv4Addr::new(127, a, b, last));
        let nodes: Vec<Node> = nodes
            .iter()
            .zip(11..)
            .map(|(args, last)| Node::start(ip(last), program.to_vec(), args))
            .collect();
        let (files, tls) = certificate();
        let monitor = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let nginx = Nginx::with(|address, folder| {
            let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
            let folder_of_pair = files.path().display().to_string();
            let text = at(HTTP, "8080", &addresses);
            let text = replaced(&text, "listen 443 ", &format!("listen {address} "));
            let text = replaced(&text, "listen 127.0.0.1:8081;", &format!("listen {monitor};"));
            let text = replaced(&text, "/var/log/nginx", &folder.display().to_string());
            http_with(folder, &replaced(&text, "/etc/ssl/jitsiprovs", &folder_of_pair))
        });
        Cluster { nodes, nginx, monitor, tls, _files: files }
    }
}

/// `text` with the addresses of these nodes, and without the lines for other nodes.
pub fn at(text: &str, port: &str, nodes: &[SocketAddr]) -> String {
    let mut text = text.to_owned();
    for number in 0..3 {
        let written = format!("10.0.0.1{}:{port}", number + 1);
        text = match nodes.get(number) {
            Some(address) => replaced(&text, &written, &address.to_string()),
            None => text.lines().filter(|line| !line.contains(&written)).collect::<Vec<_>>().join("\n"),
        };
    }
    text
}

/// Replaces `from`, which must exist, because otherwise the tests would test something else.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the configuration has no `{from}`");
    text.replace(from, to)
}

/// A folder with a certificate and its key, and clients that trust it.
fn certificate() -> (TempDir, Arc<ClientConfig>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([NAME.into()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let files = tempfile::tempdir().expect("a folder");
    std::fs::write(files.path().join("chain.pem"), certificate.pem()).expect("written");
    std::fs::write(files.path().join("key.pem"), key.serialize_pem()).expect("written");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    (files, Arc::new(config))
}
