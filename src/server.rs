//! Connections: bind, accept, time limits, drain.
//!
//! Each worker is a thread with a runtime of its own, so that a connection and
//! everything it does stay on one core; all of them accept from one listener.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::http::{self, SEND_TIMEOUT, State};

/// Connections the system keeps waiting for us: clients come in bursts.
const BACKLOG: i32 = 4096;
/// How long a connection may stay open between requests, and an answer may take
/// to be read. Jitsi's client keeps its connection for 15 seconds and more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How much of a request line and headers is buffered, in bytes; a head that
/// does not fit is a 431.
const MAX_HEAD: usize = 32 * 1024;
/// How long accepting rests after an error, such as no descriptors being left.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// What a client may still send after the last answer before its connection is
/// cut: closing at once would take the answer from it.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256 * 1024);

/// An address taken, not yet listened on: a port in use is found out before
/// the work of a load, and nobody connects before there is an answer.
#[derive(Debug)]
pub struct Bound(Socket);

/// Why there is no listener: one line that names the address and the fix.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({why}): {}", fix(.why))]
pub struct BindError {
    address: SocketAddr,
    why: io::Error,
}

fn fix(why: &io::Error) -> &'static str {
    match why.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has this port; stop it, or choose another with --http-port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges; choose another with --http-port"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose another with --http-ip",
        _ => "check --http-ip and --http-port",
    }
}

impl Bound {
    /// Takes `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken, foreign or forbidden.
    pub fn new(address: SocketAddr) -> Result<Bound, BindError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // A restart must not wait for the old connections' last packets.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            Ok(Bound(socket))
        };
        bind().map_err(|why| BindError { address, why })
    }

    fn listen(self) -> Result<(std::net::TcpListener, SocketAddr), BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = self.0.local_addr().ok().and_then(|address| address.as_socket());
        let address = address.unwrap_or(unknown);
        self.0.listen(BACKLOG).map_err(|why| BindError { address, why })?;
        Ok((self.0.into(), address))
    }
}

/// A server at work.
#[derive(Debug)]
pub struct Server {
    /// The address it listens on.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens, and answers on `workers` threads.
    ///
    /// # Errors
    /// When the address was taken since it was bound, or threads cannot be
    /// started.
    pub fn start(bound: Bound, state: Arc<State>, workers: usize, drain: Duration) -> anyhow::Result<Server> {
        let (listener, address) = bound.listen()?;
        let (stop, stopping) = watch::channel(false);
        let workers = (0..workers).map(|number| {
            let listener = listener.try_clone()?;
            let (state, stopping) = (state.clone(), stopping.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let local = tokio::task::LocalSet::new();
                runtime.block_on(local.run_until(work(listener, state, stopping, drain)));
                // A hash that is still computed has nobody waiting for it.
                runtime.shutdown_background();
            })
        });
        let workers = workers.collect::<io::Result<_>>()?;
        Ok(Server { address, stop, workers })
    }

    /// Stops accepting, finishes the requests under way for as long as
    /// `drain` allowed, and ends.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

async fn work(
    listener: std::net::TcpListener,
    state: Arc<State>,
    mut stopping: watch::Receiver<bool>,
    drain: Duration,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(why) => return tracing::error!("a worker cannot use the listener: {why}"),
    };
    // Every connection holds a sender; when all are gone, so are they.
    let (open, mut closed) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (state, stopping, open) = (state.clone(), stopping.clone(), open.clone());
                tokio::task::spawn_local(async move {
                    connection(stream, state, stopping).await;
                    drop(open);
                });
            }
            Err(why) => {
                tracing::warn!("cannot accept a connection: {why}");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop((listener, open));
    if timeout(drain, closed.recv()).await.is_err() {
        tracing::warn!("connections are cut: their requests did not end in {} s", drain.as_secs());
    }
}

/// Where a connection is, as far as time limits go.
#[derive(Debug, Clone, Copy)]
enum Phase {
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
    fn deadline(self) -> Option<Instant> {
        match self {
            Phase::Idle(since) | Phase::Sending(since) => Some(since + IDLE_TIMEOUT),
            Phase::Head(since) => Some(since + SEND_TIMEOUT),
            Phase::Busy | Phase::Refused(_) => None,
        }
    }
}

/// A stream that notes when the first byte of a request arrives, and that
/// outlives the HTTP library's use of it.
struct Watched {
    stream: Rc<RefCell<TcpStream>>,
    phase: Rc<Cell<Phase>>,
}

impl Watched {
    /// Whether `bytes` are the library's own refusal of a head it cannot read.
    /// It says nothing but the status; [`finish`] says why.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        let status =
            bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok());
        if let (Phase::Idle(_) | Phase::Head(_), Some(status)) = (self.phase.get(), status) {
            self.phase.set(Phase::Refused(status));
        }
        matches!(self.phase.get(), Phase::Refused(_))
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf))?;
        // Some clients end a body with a line break too many, which begins
        // nothing.
        let begins = |bytes: &[u8]| bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        if matches!(self.phase.get(), Phase::Idle(_)) && begins(&buf.filled()[before..]) {
            self.phase.set(Phase::Head(Instant::now()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
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

async fn connection(stream: TcpStream, state: Arc<State>, stopping: watch::Receiver<bool>) {
    // Answers are written whole; waiting to fill packets only delays them.
    let _ = stream.set_nodelay(true);
    let phase = Rc::new(Cell::new(Phase::Idle(Instant::now())));
    let stream = Rc::new(RefCell::new(stream));
    let io = TokioIo::new(Watched { stream: stream.clone(), phase: phase.clone() });
    let answering = phase.clone();
    let service = service_fn(move |request| {
        answering.set(Phase::Busy);
        let (state, phase) = (state.clone(), answering.clone());
        async move {
            let response = http::respond(&state, request).await;
            phase.set(Phase::Sending(Instant::now()));
            Ok::<_, Infallible>(response)
        }
    });
    serve(http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(io, service), &phase, stopping).await;
    if let Some(stream) = Rc::into_inner(stream) {
        // An answer may be lost if the client has gone, which is all that can
        // fail here.
        let _ = finish(stream.into_inner(), phase.get()).await;
    }
}

/// Runs a connection to its end, or until it has taken too long.
async fn serve<C: GracefulConnection>(
    connection: C,
    phase: &Cell<Phase>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    let mut stopped = pin!(stopping.wait_for(|stop| *stop));
    let mut draining = false;
    let mut timer = pin!(sleep_until(Instant::now() + IDLE_TIMEOUT));
    poll_fn(|cx| {
        if !draining && stopped.as_mut().poll(cx).is_ready() {
            draining = true;
            connection.as_mut().graceful_shutdown();
        }
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The timer is moved only when it must ring earlier; when it rings too
        // early it is set anew. So a request costs no change of timers.
        loop {
            let now = phase.get();
            let deadline = now.deadline().unwrap_or_else(|| Instant::now() + IDLE_TIMEOUT);
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                if let Phase::Head(_) = now {
                    phase.set(Phase::Refused(StatusCode::REQUEST_TIMEOUT));
                }
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    })
    .await
}

/// Says why, if a request was refused, and closes so that the last answer
/// arrives.
async fn finish(mut stream: TcpStream, last: Phase) -> io::Result<()> {
    let (time, mut allowance) = LINGER;
    let closing = async {
        if let Phase::Refused(status) = last {
            stream.write_all(&http::refuse_head(status)).await?;
        }
        stream.shutdown().await?;
        let mut dropped = [0; 4096];
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
