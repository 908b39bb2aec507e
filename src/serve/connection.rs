//! One connection: its client, TLS, HTTP/1.1 or h2, time limits, and a clean end.

pub(super) mod deadlines;
mod frames;
pub(super) mod keep_alive;
pub(super) mod moving;
mod phase;
pub(super) mod roster;
mod waiting;
mod woken;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::proxy_protocol;
use crate::serve::http::{self, Listener, ServerState};
use deadlines::{BRIEF, GRACE, Outcome, Quiet, Signals, serve};
use frames::{Allowance, FrameStream};
use keep_alive::{KeepAlive, is_kept};
use moving::{Call, Moving, Running};
use phase::{Busy, Phase, PhaseCell, PhaseStream};
use roster::Seat;
use waiting::{Stream, Waiting};

/// The longest request line and headers in bytes; a longer head is answered with 431.
const MAX_HEAD: usize = 32 * 1024;
/// The same for h2, where each header needs more memory than its bytes.
const MAX_H2_HEAD: u32 = 16 * 1024;
/// How many requests may be under way on one h2 connection; clients have one.
const MAX_STREAMS: u32 = 32;
/// How many bytes a client may send before they are read, for one request and for the whole
/// h2 connection. A body fits into the first.
const WINDOWS: (u32, u32) = (16 * 1024, 64 * 1024);
/// How long, and how many bytes, a client may still send after the last answer before its
/// connection is cut. If it were cut at once, the client might lose the answer.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 * 1024);
/// After which time without a request the buffers of a connection are freed.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the client of an h2 connection may take to end after it was told to.
const FAREWELL: Duration = Duration::from_millis(100);

/// How many connections there may be, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// `--max-connections` on the public listener; for further ones, idle ones are closed.
    pub connections: usize,
    /// `--max-connections-per-address`; if not given, a fifth of all.
    pub per_address: Option<usize>,
    /// `--header-timeout`, for a proxy's header, a TLS handshake, and a
    /// request's head.
    pub header: Duration,
    /// `--idle-timeout`, between requests of a trusted proxy, and for an answer to be read.
    pub idle: Duration,
    /// `--client-idle-timeout`, between requests of other clients.
    pub client_idle: Duration,
    /// `--drain-timeout`, for requests under way at the end.
    pub drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let [header, idle, client_idle, drain] = [10, 75, 5, 10].map(Duration::from_secs);
        ConnectionLimits { connections: 50_000, per_address: None, header, idle, client_idle, drain }
    }
}

impl ConnectionLimits {
    /// How long a client's connection stays open after an answer.
    pub(super) fn client_kept(&self) -> Duration {
        self.client_idle.min(self.idle)
    }
}

/// What a connection needs.
pub(super) struct Connection {
    pub state: Arc<ServerState>,
    pub limits: ConnectionLimits,
    /// The client's address: that of the other end, or the one that a trusted proxy sends.
    pub peer: IpAddr,
    /// What answers say about the connection; `None` for trusted proxies and operators, who
    /// have their own settings.
    pub keep_alive: Option<KeepAlive>,
    pub signals: Signals,
    /// How long after its beginning its first byte is waited for when the server stops.
    pub first: Duration,
    /// `None` for operators.
    pub seat: Option<Seat>,
    /// Calls for it to move to another worker; `None` for operators.
    pub call: Option<Arc<Call>>,
}

/// A connection of which the client is known, and that carries requests next.
struct Carrier {
    state: Arc<ServerState>,
    limits: ConnectionLimits,
    peer: IpAddr,
    signals: Signals,
    phase: Rc<PhaseCell>,
    /// How long it is kept after an answer.
    kept: Duration,
    /// What answers say about that, if anything.
    keep_alive: Option<KeepAlive>,
    /// How long after its beginning its first request is waited for when the server stops.
    first: Duration,
    call: Option<Arc<Call>>,
}

impl Connection {
    /// Answers requests until the connection ends or moves.
    pub fn run(self, stream: TcpStream, listener: Listener, tls: Option<Arc<ServerConfig>>) -> Running {
        // Answers are written whole; waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        let Connection { state, limits, peer, keep_alive, signals, first, seat, call } = self;
        let is_proxy = keep_alive.is_none();
        let kept = if is_proxy { limits.idle } else { limits.client_kept() };
        let phase = Rc::new(PhaseCell::new(seat));
        let carrier = Carrier { state, limits, peer, signals, phase, kept, keep_alive, first, call };
        let meets = is_proxy && listener == Listener::Public;
        boxed(|| carrier.begin(stream, meets, listener, tls))
    }
}

impl Carrier {
    /// Does what comes before requests. `meets` says whether a PROXY header may come.
    async fn begin(
        mut self,
        mut stream: TcpStream,
        meets: bool,
        listener: Listener,
        tls: Option<Arc<ServerConfig>>,
    ) -> Option<Moving> {
        if meets {
            boxed(|| self.meet(&mut stream, tls.is_some())).await?;
        }
        let Some(config) = tls else {
            return boxed(|| self.http1(shared(stream), listener)).await;
        };
        let stream = boxed(|| self.shake_hands(stream, config)).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            boxed(|| self.http2(shared(stream))).await;
            return None;
        }
        boxed(|| self.http1(shared(stream), listener)).await
    }

    /// Reads the client's address from a trusted proxy. `None` if there will be no request.
    async fn meet(&mut self, stream: &mut TcpStream, has_tls: bool) -> Option<()> {
        // Proxies may connect before they have a request.
        let first = if has_tls { self.limits.header } else { self.limits.idle };
        self.signals.unless_received(self.first, timeout(first, stream.peek(&mut [0]))).await?.ok()?.ok()?;
        self.phase.set(Phase::Busy);
        let header = proxy_protocol::read(stream, self.limits.header);
        match self.signals.unless_received(GRACE, header).await? {
            Ok(None) => {}
            Ok(Some(header)) => {
                self.state.metrics.proxy_header(true);
                self.first = GRACE;
                self.peer = header.source.unwrap_or(self.peer);
                if !self.state.proxies.is_trusted(self.peer) && !self.phase.claim(self.peer) {
                    return None;
                }
            }
            Err(why) => {
                self.state.metrics.proxy_header(false);
                tracing::debug!(address = %self.peer, "PROXY header refused: {why}");
                return None;
            }
        }
        self.phase.set(Phase::New(Instant::now()));
        Some(())
    }

    /// `None` if there will be no request.
    async fn shake_hands(
        &mut self,
        stream: TcpStream,
        config: Arc<ServerConfig>,
    ) -> Option<TlsStream<TcpStream>> {
        let deadline = Instant::now() + self.limits.header;
        // The handshake has the rest of this time.
        let mut byte = [0];
        let first = stream.peek(&mut byte);
        self.signals.unless_received(self.first, timeout_at(deadline, first)).await?.ok()?.ok()?;
        self.phase.set(Phase::Busy);
        let done = timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await;
        self.state.metrics.handshake(matches!(done, Ok(Ok(_))));
        // A request begins with the name of its method.
        if byte[0].is_ascii_uppercase() {
            warn_of_http(self.peer);
        }
        match done {
            Ok(Ok(stream)) => {
                self.first = GRACE;
                self.phase.set(Phase::New(Instant::now()));
                return Some(stream);
            }
            // Scans of the network must not fill the log.
            Ok(Err(why)) => tracing::debug!(address = %self.peer, "TLS handshake failed: {why}"),
            Err(_) => tracing::debug!(address = %self.peer, "TLS handshake took too long"),
        }
        None
    }

    /// Answers requests until the connection ends or moves. It moves only between requests.
    async fn http1<S: Stream>(mut self, stream: Rc<RefCell<S>>, listener: Listener) -> Option<Moving> {
        let phase = self.phase.clone();
        let mut ahead = Bytes::new();
        let outcome = loop {
            if ahead.is_empty() {
                let mut waiting = Waiting::new(stream.clone());
                let quiet = self.quiet(None, Duration::ZERO, || has_bytes(stream.borrow().socket()));
                let called = Call::take(self.call.clone());
                let waited = tokio::select! {
                    biased;
                    waited = serve(Pin::new(&mut waiting), &phase, &mut self.signals, quiet) => Some(waited),
                    () = called => None,
                };
                let Some(waited) = waited else {
                    drop((waiting, phase));
                    return self.moving(stream, listener);
                };
                if !waiting.has_spoken {
                    break waited;
                }
            }
            match boxed(|| self.requests(&stream, ahead, listener)).await {
                (Outcome::Paused, rest) => ahead = without_line_breaks(rest),
                (outcome, _) => break outcome,
            }
        };
        if let Phase::Refused(status) = phase.get() {
            self.state.metrics.refused(http::refused_head(status));
        }
        // A connection that ends for the sake of others does not wait for bytes that may never
        // come.
        let is_silent = phase.is_ending() && !has_bytes(stream.borrow().socket());
        let lingers = outcome != Outcome::Dismissed && !is_silent;
        let closing = boxed(|| finish(stream, phase.get(), lingers));
        phase.set(Phase::Idle(Instant::now()));
        // This fails only if the client has gone, and then there is nothing to do.
        let _ = self.signals.unless_received(BRIEF, closing).await;
        None
    }

    /// Takes the connection off this thread.
    fn moving<S: Stream>(self, stream: Rc<RefCell<S>>, listener: Listener) -> Option<Moving> {
        let Carrier { state, limits, peer, signals, phase, kept, keep_alive, first, .. } = self;
        // Nothing else uses them while the connection waits.
        let (mut stream, phase) = (Rc::into_inner(stream)?.into_inner(), Rc::into_inner(phase)?);
        Some(Moving::new(move |call| {
            stream.arrive();
            let (phase, call) = (Rc::new(phase), Some(call));
            let carrier = Carrier { state, limits, peer, signals, phase, kept, keep_alive, first, call };
            boxed(|| carrier.http1(shared(stream), listener))
        }))
    }

    /// Answers requests until there is none for a while. Returns what was read of the next one.
    async fn requests<S: Stream>(
        &mut self,
        stream: &Rc<RefCell<S>>,
        ahead: Bytes,
        listener: Listener,
    ) -> (Outcome, Bytes) {
        let quiet = self.quiet(Some(PAUSE), Duration::ZERO, || has_bytes(stream.borrow().socket()));
        let io = TokioIo::new(PhaseStream { ahead, stream: stream.clone(), phase: self.phase.clone() });
        // Borrowed, because all workers would count the owners of each request in one place.
        let Carrier { state, phase, keep_alive, signals, peer, .. } = self;
        let (state, phase, keep_alive, peer) = (&*state, &**phase, keep_alive.as_ref(), *peer);
        let service = service_fn(move |request| {
            phase.set(Phase::Busy);
            async move {
                let keep_alive = keep_alive.filter(|_| is_kept(&request));
                let mut response = http::respond(state, listener, peer, request).await;
                if let Some(keep_alive) = keep_alive {
                    keep_alive.tell(phase.is_ending(), response.headers_mut());
                }
                phase.set(Phase::Sending(None));
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection =
            boxed(|| http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(io, service));
        let outcome = serve(connection.as_mut(), phase, signals, quiet).await;
        (outcome, Pin::into_inner(connection).into_parts().read_buf)
    }

    /// Many requests may be under way at once: the connection is busy while any of them is.
    async fn http2<S: Stream>(mut self, stream: Rc<RefCell<S>>) {
        let phase = self.phase.clone();
        let allowance = Rc::new(Allowance::new());
        let io = FrameStream::new(stream.clone(), allowance.clone(), self.state.metrics.clone());
        let (answering, under_way) = (phase.clone(), Rc::new(Cell::new(0_usize)));
        let (state, peer) = (self.state.clone(), self.peer);
        let service = service_fn(move |request| {
            allowance.request();
            let busy = Busy::begin(answering.clone(), under_way.clone());
            let state = state.clone();
            async move {
                let response = http::respond(&state, Listener::Public, peer, request).await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = boxed(|| {
            http2::Builder::new(Local)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(MAX_H2_HEAD)
                .initial_stream_window_size(WINDOWS.0)
                .initial_connection_window_size(WINDOWS.1)
                .serve_connection(TokioIo::new(io), service)
        });
        let quiet = self.quiet(None, FAREWELL, || has_bytes(stream.borrow().socket()));
        boxed(|| serve(connection.as_mut(), &phase, &mut self.signals, quiet)).await;
    }

    fn quiet<F: Fn() -> bool>(&self, pause: Option<Duration>, farewell: Duration, has_bytes: F) -> Quiet<F> {
        let call = self.call.clone().filter(|_| pause.is_some());
        Quiet { limits: self.limits, kept: self.kept, first: self.first, farewell, pause, call, has_bytes }
    }
}

/// Makes a future on the heap, so that a connection takes the memory of what it does at the
/// moment, and not of everything that it may do.
fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(make())
}

/// A stream that is still there when the HTTP library has finished with it.
fn shared<S>(stream: S) -> Rc<RefCell<S>> {
    Rc::new(RefCell::new(stream))
}

/// Warns that a client speaks HTTP without TLS. Only once, because scans of the network must not
/// fill the log.
fn warn_of_http(peer: IpAddr) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            address = %peer,
            "a client speaks HTTP without TLS, and the server has only HTTPS: write https:// in the clients' URL"
        );
    });
}

/// Whether the system has bytes of the client that nobody has read yet.
fn has_bytes(socket: &TcpStream) -> bool {
    SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|read| read > 0)
}

/// What was read after a request, without the extra line break that some clients send after a
/// body. The HTTP library keeps it, but no request has begun.
fn without_line_breaks(rest: Bytes) -> Bytes {
    let begin = rest.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    rest.slice(begin.unwrap_or(rest.len())..)
}

/// Runs tasks of the HTTP library on the connection's own thread.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Answers a refused request with the reason, and closes so that the last answer arrives.
async fn finish<S: Stream>(stream: Rc<RefCell<S>>, last: Phase, lingers: bool) -> io::Result<()> {
    let Some(stream) = Rc::into_inner(stream) else { return Ok(()) };
    let mut stream = stream.into_inner();
    let (time, mut allowance) = LINGER;
    let closing = async {
        if let Phase::Refused(status) = last {
            stream.write_all(&http::refuse_head(status)).await?;
        }
        stream.shutdown().await?;
        if !lingers {
            return Ok(());
        }
        let mut dropped = vec![0; 4096];
        while allowance > 0 {
            match stream.read(&mut dropped).await? {
                0 => break,
                read => allowance = allowance.saturating_sub(read),
            }
        }
        Ok(())
    };
    timeout(time, closing).await.unwrap_or(Ok(()))
}
