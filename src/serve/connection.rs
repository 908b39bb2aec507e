//! One connection: whose it is, TLS, HTTP/1.1 or h2, time limits, and a clean end.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::listener::ConnectionLimits;
use super::proxy_protocol;
use crate::serve::http::{self, Listener, ServerState};

/// How much of a request line and headers is buffered, in bytes; a head that
/// does not fit is a 431.
const MAX_HEAD: usize = 32 * 1024;
/// Requests under way at once on one h2 connection: clients have one.
const MAX_STREAMS: u32 = 32;
/// What may be sent to an h2 connection ahead of being read, in bytes, by one
/// request and by all; a body has a quarter of the first at most.
const WINDOWS: (u32, u32) = (64 * 1024, 256 * 1024);
/// How long a connection that is to end, and has nothing under way, may take:
/// a request may be on its way, or the client's last word.
const GRACE: Duration = Duration::from_secs(1);
/// What a client may still send after the last answer before its connection is
/// cut: closing at once would take the answer from it.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 * 1024);

/// What a connection needs.
pub(super) struct Connection {
    pub state: Arc<ServerState>,
    pub limits: ConnectionLimits,
    /// Who is at the other end; behind a proxy that says so, its client.
    pub peer: IpAddr,
    pub stopping: watch::Receiver<bool>,
}

impl Connection {
    /// Answers requests until it ends.
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
        // A time limit that is over is over for the handshake, too.
        if self.unless_stopped(timeout_at(deadline, stream.peek(&mut [0]))).await.is_none() {
            return;
        }
        let done = timeout_at(deadline, TlsAcceptor::from(config).accept(stream)).await;
        let metrics = &self.state.metrics;
        metrics.handshake(matches!(done, Ok(Ok(_))));
        let stream = match done {
            Ok(Ok(stream)) => stream,
            // Whoever scans the network must not fill the log.
            Ok(Err(why)) => return tracing::debug!(address = %self.peer, "TLS handshake failed: {why}"),
            Err(_) => return tracing::debug!(address = %self.peer, "TLS handshake took too long"),
        };
        // Boxed, so that a connection takes the memory of what it is, not of the
        // largest that it could be.
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Box::pin(self.http2(stream)).await;
        } else {
            Box::pin(self.http1(stream, listener)).await;
        }
    }

    /// Lets a trusted proxy say whose connection it is. `None` if there will be
    /// no request.
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

    /// What comes of `waiting`; `None` if the server is to end, and it has not
    /// come soon after. Only for what comes before a request: of that there is
    /// nothing to finish.
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
            // An answer may be lost if the client has gone, which is all that can
            // fail here.
            let _ = finish(stream.into_inner(), phase.get()).await;
        }
    }

    /// Of many requests at once, so there is no phase of a single one: as long
    /// as any is answered, the connection is busy.
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

/// Runs what the HTTP library spawns on the connection's own thread.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// A request under way on an h2 connection; it may be given up at any time.
struct Busy {
    phase: Rc<Cell<Phase>>,
    under_way: Rc<Cell<usize>>,
}

impl Busy {
    fn begin(phase: Rc<Cell<Phase>>, under_way: Rc<Cell<usize>>) -> Busy {
        phase.set(Phase::Busy);
        under_way.set(under_way.get() + 1);
        Busy { phase, under_way }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.under_way.set(self.under_way.get() - 1);
        if self.under_way.get() == 0 {
            self.phase.set(Phase::Idle(Instant::now()));
        }
    }
}

/// Where a connection is, as far as time limits go.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Without a request yet, since then.
    New(Instant),
    /// Between requests since then.
    Idle(Instant),
    /// Receiving a request's head since then.
    Head(Instant),
    /// Making the answer, which has limits of its own.
    Busy,
    /// Sending the answer since then.
    Sending(Instant),
    /// Ending, because there is no request that could be answered.
    Refused(StatusCode),
}

impl Phase {
    /// Whether nothing is under way.
    fn is_quiet(self) -> bool {
        matches!(self, Phase::New(_) | Phase::Idle(_))
    }

    fn deadline(self, limits: ConnectionLimits) -> Option<Instant> {
        match self {
            Phase::Idle(since) | Phase::Sending(since) => Some(since + limits.idle),
            Phase::New(since) | Phase::Head(since) => Some(since + limits.header),
            Phase::Busy | Phase::Refused(_) => None,
        }
    }
}

/// A stream that notes when the first byte of a request arrives, and that
/// outlives the HTTP library's use of it.
struct PhaseStream<S> {
    stream: Rc<RefCell<S>>,
    phase: Rc<Cell<Phase>>,
}

impl<S> PhaseStream<S> {
    /// Whether `bytes` are the library's own refusal of a head it cannot read.
    /// It says nothing but the status; [`finish`] says why.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        let status =
            bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok());
        let phase = self.phase.get();
        if let Some(status) = status.filter(|_| phase.is_quiet() || matches!(phase, Phase::Head(_))) {
            self.phase.set(Phase::Refused(status));
        }
        matches!(self.phase.get(), Phase::Refused(_))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PhaseStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf))?;
        // Some clients end a body with a line break too many, which begins
        // nothing.
        let begins = |bytes: &[u8]| bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        if self.phase.get().is_quiet() && begins(&buf.filled()[before..]) {
            self.phase.set(Phase::Head(Instant::now()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PhaseStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_refusal(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx))?;
        // The HTTP library flushes the stream when its own buffer is empty.
        if let Phase::Sending(_) = self.phase.get() {
            self.phase.set(Phase::Idle(Instant::now()));
        }
        Poll::Ready(Ok(()))
    }

    /// Left to [`finish`], which may have something to say first.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refusal(bufs.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, bufs)
    }
}

/// Runs a connection to its end, or until it has taken too long.
async fn serve<C: GracefulConnection>(
    connection: C,
    phase: &Cell<Phase>,
    limits: ConnectionLimits,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    let mut stopped = pin!(stopping.wait_for(|stop| *stop));
    // When it is over with a connection that is to end and has nothing under way.
    let mut ending: Option<Instant> = None;
    let mut is_told = false;
    let mut timer = pin!(sleep_until(Instant::now() + limits.idle));
    poll_fn(|cx| {
        if ending.is_none() && stopped.as_mut().poll(cx).is_ready() {
            ending = Some(Instant::now() + GRACE);
        }
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The timer is moved only when it must ring earlier; when it rings too
        // early it is set anew. So a request costs no change of timers.
        loop {
            let now = phase.get();
            // The HTTP library would close one whose first request is on its way.
            let is_awaited = matches!(now, Phase::New(_)) && ending.is_some_and(|end| Instant::now() < end);
            if ending.is_some() && !is_awaited && !std::mem::replace(&mut is_told, true) {
                connection.as_mut().graceful_shutdown();
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                continue;
            }
            let limit = now.deadline(limits).unwrap_or_else(|| Instant::now() + limits.idle);
            let deadline = ending.filter(|_| now.is_quiet()).map_or(limit, |end| end.min(limit));
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() < deadline {
                timer.as_mut().reset(deadline);
            } else if now.is_quiet() && ending.is_none() {
                ending = Some(Instant::now() + GRACE);
                // Silence is no promise of a request.
                phase.set(Phase::Idle(Instant::now()));
            } else {
                if let Phase::Head(_) = now {
                    phase.set(Phase::Refused(StatusCode::REQUEST_TIMEOUT));
                }
                return Poll::Ready(());
            }
        }
    })
    .await
}

/// Says why, if a request was refused, and closes so that the last answer
/// arrives.
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
