//! What a connection is doing, which decides how long it may take.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::ConnectionLimits;
use super::roster::Seat;

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Waiting for the first request.
    New(Instant),
    /// Between requests.
    Idle(Instant),
    /// Receiving a request's head.
    Head(Instant),
    /// Computing the answer, which has its own limits.
    Busy,
    /// Sending the answer, and since when the client has not taken the rest of it. Most answers
    /// are taken at once.
    Sending(Option<Instant>),
    /// Ending, because the request cannot be answered.
    Refused(StatusCode),
}

impl Phase {
    /// Whether no request is under way.
    pub(super) fn is_quiet(self) -> bool {
        matches!(self, Phase::New(_) | Phase::Idle(_))
    }

    /// When the phase has taken too long; `None` if it has no limit here. An idle connection
    /// has `kept`.
    pub(super) fn deadline(self, limits: ConnectionLimits, kept: Duration) -> Option<Instant> {
        match self {
            Phase::Idle(since) => Some(since + kept),
            Phase::Sending(since) => since.map(|since| since + limits.idle),
            Phase::New(since) | Phase::Head(since) => Some(since + limits.header),
            Phase::Busy | Phase::Refused(_) => None,
        }
    }
}

/// The phase of a connection, of which its seat in the roster learns.
#[derive(Debug)]
pub(super) struct PhaseCell {
    phase: Cell<Phase>,
    seat: Option<Seat>,
    /// Whether the connection ends after its next answer.
    is_ending: Cell<bool>,
}

impl PhaseCell {
    /// The phase of a new connection. Operators' connections have no seat.
    pub(super) fn new(seat: Option<Seat>) -> PhaseCell {
        let new = Phase::New(Instant::now());
        let cell = PhaseCell { phase: Cell::new(new), seat, is_ending: Cell::new(false) };
        cell.set(new);
        cell
    }

    pub(super) fn get(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn set(&self, phase: Phase) {
        self.phase.set(phase);
        let Some(seat) = &self.seat else { return };
        match phase {
            Phase::New(since) => seat.new_since(since.into_std()),
            Phase::Idle(since) => seat.idle_since(since.into_std()),
            _ => seat.busy(),
        }
    }

    /// Counts the connection for its client's address. Returns whether it may stay.
    pub(super) fn claim(&self, address: IpAddr) -> bool {
        self.seat.as_ref().is_none_or(|seat| seat.claim(address))
    }

    /// Ends the connection after its next answer.
    pub(super) fn end(&self) {
        self.is_ending.set(true);
    }

    /// Whether the connection ends after its next answer.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.get() || self.seat.as_ref().is_some_and(Seat::is_crowded)
    }
}

/// A stream that sees when the first byte of a request arrives and when an answer is sent.
/// It is still there when the HTTP library has finished with it.
pub(super) struct PhaseStream<S> {
    /// What was read of the stream, but not used.
    pub(super) ahead: Bytes,
    pub(super) stream: Rc<RefCell<S>>,
    pub(super) phase: Rc<PhaseCell>,
}

impl<S> PhaseStream<S> {
    /// Whether `bytes` are the HTTP library's own answer to a head that it cannot read. That
    /// has only a status; [`finish`](super::finish) sends the reason.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        let status =
            bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok());
        let phase = self.phase.get();
        if let Some(status) = status.filter(|_| phase.is_quiet() || matches!(phase, Phase::Head(_))) {
            self.phase.set(Phase::Refused(status));
        }
        matches!(self.phase.get(), Phase::Refused(_))
    }

    /// Notes when the client does not take all of an answer at once.
    fn sent<T>(&self, sent: Poll<T>) -> Poll<T> {
        if sent.is_pending()
            && let Phase::Sending(None) = self.phase.get()
        {
            self.phase.set(Phase::Sending(Some(Instant::now())));
        }
        sent
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PhaseStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf))?;
        } else {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(length));
        }
        // Some clients send an extra line break after a body, which begins no request.
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
        self.sent(Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.sent(Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx)))?;
        // The HTTP library flushes the stream when its own buffer is empty.
        if let Phase::Sending(_) = self.phase.get() {
            self.phase.set(Phase::Idle(Instant::now()));
        }
        Poll::Ready(Ok(()))
    }

    /// Does nothing: [`finish`](super::finish) shuts down, after its own answer.
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
        self.sent(Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, bufs))
    }
}

/// A request under way on an h2 connection, which may be cancelled at any time.
pub(super) struct Busy {
    phase: Rc<PhaseCell>,
    under_way: Rc<Cell<usize>>,
}

impl Busy {
    pub(super) fn begin(phase: Rc<PhaseCell>, under_way: Rc<Cell<usize>>) -> Busy {
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
