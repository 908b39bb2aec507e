//! A connection on which nobody speaks. It has none of the HTTP library's buffers, which are
//! 16 KiB.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::deadlines::Run;

/// A connection as the HTTP library uses it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn socket(&self) -> &TcpStream;

    fn socket_mut(&mut self) -> &mut TcpStream;

    /// Lets the runtime of this thread watch the socket, and no longer that of another.
    fn arrive(&mut self) {
        let socket = self.socket_mut();
        let copy = socket.as_fd().try_clone_to_owned().and_then(|copy| TcpStream::from_std(copy.into()));
        // If that fails, the other runtime still wakes the connection, which only takes longer.
        if let Ok(copy) = copy {
            *socket = copy;
        }
    }

    /// Waits for bytes and leaves them there. Returns whether there are any; if not, the
    /// client will send no more.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>>;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn socket_mut(&mut self) -> &mut TcpStream {
        self
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_peek(cx, &mut ReadBuf::new(&mut [0])).map_ok(|read| read > 0)
    }
}

impl Stream for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn socket_mut(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        Pin::new(self).poll_fill_buf(cx).map_ok(|bytes| !bytes.is_empty())
    }
}

/// Waits until the client speaks.
pub(super) struct Waiting<S> {
    stream: Rc<RefCell<S>>,
    /// Whether it has spoken.
    pub(super) has_spoken: bool,
    is_told: bool,
}

impl<S> Waiting<S> {
    pub(super) fn new(stream: Rc<RefCell<S>>) -> Waiting<S> {
        Waiting { stream, has_spoken: false, is_told: false }
    }
}

impl<S: Stream> Run for Waiting<S> {
    fn poll_run(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_told {
            return Poll::Ready(());
        }
        let found = self.stream.borrow_mut().poll_bytes(cx);
        found.map(|found| self.has_spoken = found.unwrap_or(false))
    }

    fn tell(mut self: Pin<&mut Self>) {
        self.is_told = true;
    }
}
