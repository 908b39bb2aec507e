//! Clients of nodes behind nginx that send requests all the time over TLS, and wait as long as
//! Jitsi does.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::client::{Reply, request};
use crate::cluster::{Cluster, NAME};
use crate::wait_for;

/// How long a client waits for anything, which is as long as in Jitsi. nginx gives up on a node
/// after 6 s and asks the next one.
pub const BOUND: Duration = Duration::from_secs(10);

/// A connection over TLS. Its operations return errors and do not panic.
pub struct Secure {
    stream: StreamOwned<ClientConnection, TcpStream>,
    ahead: Vec<u8>,
}

impl Secure {
    /// Connects from the address `source`, which may be any in 127.0.0.0/8.
    pub fn open(
        source: impl Into<IpAddr>,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> std::io::Result<Secure> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source.into(), 0).into())?;
        socket.connect_timeout(&address.into(), BOUND)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        let name = ServerName::try_from(NAME).expect("a name");
        let connection = ClientConnection::new(config.clone(), name).map_err(std::io::Error::other)?;
        Ok(Secure { stream: StreamOwned::new(connection, stream), ahead: Vec::new() })
    }

    /// Connects to nginx in front of the nodes.
    pub fn to(cluster: &Cluster) -> Secure {
        Secure::open([127, 0, 0, 1], cluster.nginx.address, &cluster.tls).expect("connects")
    }

    pub fn ask(&mut self, request: &[u8]) -> std::io::Result<Reply> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let closed = || std::io::Error::other("closed instead of an answer");
        Reply::read(&mut self.stream, &mut self.ahead)?.ok_or_else(closed)
    }
}

/// The request that a client posts.
pub fn sign_in(username: &str, password: &str) -> Vec<u8> {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("username={username}&password={password}");
    request("POST", "/jitsiprovs/", &headers, body.as_bytes())
}

/// Running clients.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
    clients: Vec<JoinHandle<()>>,
}

/// The results of the clients.
#[derive(Default)]
pub struct Seen {
    /// The time from the start of each request to its answer, including requests that failed.
    pub micros: Vec<u64>,
    pub failures: Vec<String>,
}

impl Load {
    /// Starts `clients` that post `request` and pause for `pause` after each answer. An answer
    /// counts as failed unless it has status 200 and `is_right` returns true.
    pub fn on(
        cluster: &Cluster,
        clients: usize,
        pause: Duration,
        request: Vec<u8>,
        is_right: fn(&Reply) -> bool,
    ) -> Load {
        let (stop, answered, seen) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<Mutex<Seen>>)>::default();
        let client = |number| {
            let (stop, answered, seen) = (stop.clone(), answered.clone(), seen.clone());
            let (address, tls, request) = (cluster.nginx.address, cluster.tls.clone(), request.clone());
            std::thread::spawn(move || {
                let mut connection = None;
                let mut asked = number;
                while !stop.load(Ordering::Relaxed) {
                    asked += 1;
                    // Some clients keep their connection, as Jitsi does. All of them reconnect now
                    // and then.
                    if asked % 50 == 0 {
                        connection = None;
                    }
                    let begun = Instant::now();
                    let replied = ask(&mut connection, address, &tls, &request);
                    let micros = begun.elapsed().as_micros() as u64;
                    let failure = match replied {
                        Ok(reply) if reply.status != 200 || !is_right(&reply) => Some(format!("{reply:?}")),
                        Ok(_) => None,
                        Err(why) => Some(why.to_string()),
                    };
                    let mut seen = seen.lock().expect("what is seen");
                    seen.micros.push(micros);
                    if let Some(why) = failure {
                        connection = None;
                        seen.failures.push(format!("after {micros} µs: {why}"));
                    }
                    drop(seen);
                    answered.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(pause);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Load { stop, answered, seen, clients }
    }

    /// Waits for this many more answers.
    pub fn go_on(&self, count: u64) {
        let before = self.answered.load(Ordering::Relaxed);
        wait_for("requests to be answered", || {
            (self.answered.load(Ordering::Relaxed) >= before + count).then_some(())
        });
    }

    /// The longest time that an answer took.
    pub fn longest(&self) -> Duration {
        let most = self.seen.lock().expect("what is seen").micros.iter().copied().max();
        Duration::from_micros(most.unwrap_or_default())
    }

    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("no panic"));
        let mut seen = std::mem::take(&mut *self.seen.lock().expect("what is seen"));
        seen.micros.sort_unstable();
        seen
    }
}

/// Sends a request on an open connection, or on a new one. nginx closes the connection after an
/// answer that says so; the next request then needs a new connection.
fn ask(
    connection: &mut Option<Secure>,
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
    request: &[u8],
) -> std::io::Result<Reply> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Secure::open([127, 0, 0, 1], address, tls)?,
    };
    let reply = open.ask(request)?;
    if reply.header("connection") != Some("close") {
        *connection = Some(open);
    }
    Ok(reply)
}
