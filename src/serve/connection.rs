//! One connection: its client, TLS, HTTP/1.1 or h2, time limits, and a clean end.

mod deadlines;
mod phase;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::proxy_protocol;
use crate::serve::http::{self, Listener, ServerState};
use deadlines::serve;
use phase::{Busy, Phase, PhaseStream};

/// The longest request line and headers in bytes; a longer head is answered with 431.
const MAX_HEAD: usize = 32 * 1024;
/// How many requests may be under way on one h2 connection; clients have one.
const MAX_STREAMS: u32 = 32;
/// How many bytes a client may send before they are read, for one request and for the whole
/// h2 connection. A body has at most a quarter of the first.
const WINDOWS: (u32, u32) = (64 * 1024, 256 * 1024);
/// How long a connection without a request under way stays open when it is to end: a request
/// may be on its way.
const GRACE: Duration = Duration::from_secs(1);
/// How long, and how many bytes, a client may still send after the last answer before its
/// connection is cut. If it were cut at once, the client might lose the answer.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 * 1024);

/// How many connections there may be, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// `--max-connections` on the public listener; the next ones wait.
    pub connections: usize,
    /// `--header-timeout`, for a proxy's header, a TLS handshake, and a
    /// request's head.
    pub header: Duration,
    /// `--idle-timeout`, between requests, and for an answer to be read.
    pub idle: Duration,
    /// `--drain-timeout`, for requests under way at the end.
    pub drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let [header, idle, drain] = [10, 75, 10].map(Duration::from_secs);
        ConnectionLimits { connections: 50_000, header, idle, drain }
    }
}

/// What a connection needs.
pub(super) struct Connection {
    pub state: Arc<ServerState>,
    pub limits: ConnectionLimits,
    /// The client's address: that of the other end, or the one that a trusted proxy sends.
    pub peer: IpAddr,
    pub stopping: watch::Receiver<bool>,
}

impl Connection {
    /// Answers requests until the connection ends.
    pub async fn run(mut self, mut stream: TcpStream, listener: Listener, tls: Option<Arc<ServerConfig>>) {
        // Answers are written whole; waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        let is_proxy = listener == Listener::Public && self.state.proxies.is_trusted(self.peer);
        if is_proxy && self.meet(&mut stream, tls.is_some()).await.is_none() {
            return;
        }
        let Some(config) = tls else {
            return Box::pin(self.http1(stream, listener)).await;
        };
        let deadline = Instant::now() + self.limits.header;
        // The handshake has the rest of this time.
        if self.unless_stopped(timeout_at(deadline, stream.peek(&mut [0]))).await.is_none() {
            return;
        }
        let done = timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await;
        let metrics = &self.state.metrics;
        metrics.handshake(matches!(done, Ok(Ok(_))));
        let stream = match done {
            Ok(Ok(stream)) => stream,
            // Scans of the network must not fill the log.
            Ok(Err(why)) => return tracing::debug!(address = %self.peer, "TLS handshake failed: {why}"),
            Err(_) => return tracing::debug!(address = %self.peer, "TLS handshake took too long"),
        };
        // Boxed, so that a connection takes the memory of its own protocol, not of the
        // largest one.
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Box::pin(self.http2(stream)).await;
        } else {
            Box::pin(self.http1(stream, listener)).await;
        }
    }

    /// Reads the client's address from a trusted proxy. `None` if there will be no request.
    async fn meet(&mut self, stream: &mut TcpStream, has_tls: bool) -> Option<()> {
        // Proxies may connect before they have a request.
        let first = if has_tls { self.limits.header } else { self.limits.idle };
        self.unless_stopped(timeout(first, stream.peek(&mut [0]))).await?.ok()?.ok()?;
        match self.unless_stopped(proxy_protocol::read(stream, self.limits.header)).await? {
            Ok(None) => {}
            Ok(Some(header)) => {
                self.state.metrics.proxy_header(true);
                self.peer = header.source.unwrap_or(self.peer);
            }
            Err(why) => {
                self.state.metrics.proxy_header(false);
                tracing::debug!(address = %self.peer, "PROXY header refused: {why}");
                return None;
            }
        }
        Some(())
    }

    /// The result of `waiting`. `None` if the server stops and the result does not come soon
    /// after. Only for the time before a request, when there is nothing to finish.
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.stopping.clone();
        let stopped = async {
            let _ = stopping.wait_for(|stop| *stop).await;
            sleep(GRACE).await;
        };
        tokio::select! {
            done = waiting => Some(done),
            () = stopped => None,
        }
    }

    async fn http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: S, listener: Listener) {
        let phase = Rc::new(Cell::new(Phase::New(Instant::now())));
        let stream = Rc::new(RefCell::new(stream));
        let io = TokioIo::new(PhaseStream { stream: stream.clone(), phase: phase.clone() });
        let answering = phase.clone();
        let (state, peer) = (self.state.clone(), self.peer);
        let service = service_fn(move |request| {
            answering.set(Phase::Busy);
            let (state, phase) = (state.clone(), answering.clone());
            async move {
                let response = http::respond(&state, listener, peer, request).await;
                phase.set(Phase::Sending(Instant::now()));
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(io, service);
        serve(connection, &phase, self.limits, self.stopping).await;
        if let Phase::Refused(status) = phase.get() {
            self.state.metrics.refused(http::refused_head(status));
        }
        if let Some(stream) = Rc::into_inner(stream) {
            // This fails only if the client has gone, and then there is nothing to do.
            let _ = finish(stream.into_inner(), phase.get()).await;
        }
    }

    /// Many requests may be under way at once: the connection is busy while any of them is.
    async fn http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: S) {
        let phase = Rc::new(Cell::new(Phase::New(Instant::now())));
        let (answering, under_way) = (phase.clone(), Rc::new(Cell::new(0_usize)));
        let (state, peer) = (self.state.clone(), self.peer);
        let service = service_fn(move |request| {
            let busy = Busy::begin(answering.clone(), under_way.clone());
            let state = state.clone();
            async move {
                let response = http::respond(&state, Listener::Public, peer, request).await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http2::Builder::new(Local)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD as u32)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .serve_connection(TokioIo::new(stream), service);
        serve(connection, &phase, self.limits, self.stopping).await;
    }
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
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, last: Phase) -> io::Result<()> {
    let (time, mut allowance) = LINGER;
    let closing = async {
        if let Phase::Refused(status) = last {
            stream.write_all(&http::refuse_head(status)).await?;
        }
        stream.shutdown().await?;
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
