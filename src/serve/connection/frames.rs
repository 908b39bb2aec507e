//! Ends h2 connections that send frames and no requests.
//!
//! The HTTP library answers or applies control frames itself, and limits few of them, so a
//! client could keep a core busy with them (WINDOW_UPDATE, PING, SETTINGS, PRIORITY, empty
//! DATA, RST_STREAM). So frames are counted as they are read. A connection has an allowance,
//! from which each frame is paid. Requests and time add to it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::metrics::Metrics;

/// The most that a connection can have, which it has at its beginning.
const MOST: u32 = 1000;
/// What it gets for each second.
const PER_SECOND: u32 = 100;
/// What it gets for a request. Clients send about four frames for one.
const PER_REQUEST: u32 = 20;
/// What the reset of a request costs; other frames cost 1. So a request that is reset at
/// once earns nothing.
const RESET: u32 = PER_REQUEST;
/// What a client sends before its first frame.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// The length of a frame's head: its length in 3 bytes, type, flags, and stream in 4 bytes.
const HEAD: usize = 9;
const RST_STREAM: u8 = 3;

/// How many frames a connection may still send.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Cell<u32>,
    /// When time was added last.
    since: Cell<Instant>,
}

impl Allowance {
    pub(super) fn new() -> Allowance {
        Allowance { left: Cell::new(MOST), since: Cell::new(Instant::now()) }
    }

    /// Adds what a request earns.
    pub(super) fn request(&self) {
        self.add(PER_REQUEST);
    }

    fn add(&self, more: u32) {
        self.left.set(self.left.get().saturating_add(more).min(MOST));
    }

    /// Returns whether there is enough. The clock is read only if there is not.
    fn pay(&self, cost: u32, clock: impl Fn() -> Instant) -> bool {
        if self.left.get() < cost {
            let now = clock();
            let earned = (now - self.since.get()).as_millis() * u128::from(PER_SECOND) / 1000;
            if earned > 0 {
                self.add(u32::try_from(earned).unwrap_or(MOST));
                self.since.set(now);
            }
        }
        let left = self.left.get().checked_sub(cost);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// Where the next byte belongs.
#[derive(Debug)]
struct Reader {
    /// How many bytes to pass over: of the preface, or of a frame after its head.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
}

impl Reader {
    fn new() -> Reader {
        Reader { skip: PREFACE, head: [0; HEAD], filled: 0 }
    }

    /// Calls `frame` with the type of each frame whose head ends in `bytes`, until it returns
    /// `false`. Returns whether it never did.
    fn read(&mut self, mut bytes: &[u8], mut frame: impl FnMut(u8) -> bool) -> bool {
        loop {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            let taken = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < HEAD {
                return true;
            }
            self.filled = 0;
            let [high, middle, low, kind, ..] = self.head;
            self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
            if !frame(kind) {
                return false;
            }
        }
    }
}

/// A stream that ends when its client has sent too many frames.
pub(super) struct FrameStream<S> {
    stream: Rc<RefCell<S>>,
    allowance: Rc<Allowance>,
    reader: Reader,
    metrics: Arc<Metrics>,
}

impl<S> FrameStream<S> {
    pub(super) fn new(stream: Rc<RefCell<S>>, allowance: Rc<Allowance>, metrics: Arc<Metrics>) -> Self {
        FrameStream { stream, allowance, reader: Reader::new(), metrics }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf))?;
        let FrameStream { allowance, reader, metrics, .. } = &mut *self;
        let cost = |kind| if kind == RST_STREAM { RESET } else { 1 };
        if reader.read(&buf.filled()[before..], |kind| allowance.pay(cost(kind), Instant::now)) {
            return Poll::Ready(Ok(()));
        }
        metrics.connections_closed("h2_frames");
        tracing::debug!("h2 connection closed: too many frames without a request");
        Poll::Ready(Err(io::Error::other("too many frames without a request")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The preface, and a frame of each length.
    fn sent(lengths: &[u8]) -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, length) in (0..).zip(lengths) {
            bytes.extend([0, 0, *length, kind, 0, 0, 0, 0, 1]);
            bytes.extend(std::iter::repeat_n(0xff, usize::from(*length)));
        }
        bytes
    }

    #[test]
    fn frames_are_found_however_the_bytes_arrive() {
        let bytes = sent(&[18, 0, 0, 200, 1]);
        for size in 1..bytes.len() {
            let (mut reader, mut found) = (Reader::new(), Vec::new());
            for part in bytes.chunks(size) {
                assert!(reader.read(part, |kind| {
                    found.push(kind);
                    true
                }));
            }
            assert_eq!(found, [0, 1, 2, 3, 4], "in parts of {size} bytes");
        }
        assert!(!Reader::new().read(&bytes, |kind| kind < 3));
    }

    #[test]
    fn requests_and_time_add_to_the_allowance() {
        let allowance = Allowance::new();
        let begun = allowance.since.get();
        let paid = |second| {
            let now = || begun + Duration::from_secs(second);
            std::iter::repeat_with(|| allowance.pay(1, now)).take_while(|paid| *paid).count()
        };
        assert_eq!(paid(0), 1000);
        allowance.request();
        assert_eq!(paid(0), 20);
        assert_eq!(paid(3), 300);
        assert_eq!(paid(60), 1000);
        allowance.request();
        assert!(allowance.pay(RESET, || begun) && !allowance.pay(1, || begun));
    }
}
