//! A plain client that sends exactly the given bytes: HTTP/1.1 over a socket.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::{PATIENCE, uninterrupted};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is ASCII")
    }

    /// Reads the next answer of a stream; `None` if the stream has ended instead. `ahead` holds
    /// bytes that were received but belong to no answer yet.
    pub fn read(stream: &mut impl Read, ahead: &mut Vec<u8>) -> std::io::Result<Option<Reply>> {
        let cut = |what: &str| std::io::Error::other(format!("closed in the middle of a {what}"));
        let mut more = |ahead: &mut Vec<u8>| {
            let mut buffer = [0; 16 * 1024];
            let read = uninterrupted(|| stream.read(&mut buffer))?;
            ahead.extend_from_slice(&buffer[..read]);
            std::io::Result::Ok(read)
        };
        let end = loop {
            if let Some(end) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if more(ahead)? == 0 {
                return if ahead.is_empty() { Ok(None) } else { Err(cut("head")) };
            }
        };
        let rest = ahead.split_off(end + 4);
        let head = String::from_utf8(std::mem::replace(ahead, rest)).expect("heads are ASCII");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply { status: status.parse().expect("a number"), headers, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        while ahead.len() < length {
            if more(ahead)? == 0 {
                return Err(cut("body"));
            }
        }
        let rest = ahead.split_off(length);
        reply.body = std::mem::replace(ahead, rest);
        Ok(Some(reply))
    }
}

/// A connection, which may carry several requests.
pub struct Connection {
    stream: TcpStream,
    /// Bytes that were received but belong to no answer yet.
    ahead: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Connection {
        Connection::on(TcpStream::connect_timeout(&address, PATIENCE).expect("connects"))
    }

    /// Connects from the address `source`, which may be any in 127.0.0.0/8.
    pub fn open_from(source: impl Into<IpAddr>, address: SocketAddr) -> Connection {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(source.into(), 0).into()).expect("an address of this machine");
        socket.connect_timeout(&address.into(), PATIENCE).expect("connects");
        Connection::on(socket.into())
    }

    /// Uses an open connection.
    pub fn on(stream: TcpStream) -> Connection {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Connection { stream, ahead: Vec::new() }
    }

    /// The connection without what this client keeps about it.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // A server may answer and close before it has read everything.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a request, and returns its answer.
    pub fn ask(&mut self, request: &[u8]) -> Reply {
        self.send(request);
        self.receive().expect("an answer")
    }

    /// Whether there is something to receive now, which includes the end of the stream.
    pub fn has_news(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a mode");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a mode");
        !peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// The next answer; `None` if the server closed the connection instead.
    pub fn receive(&mut self) -> Option<Reply> {
        Reply::read(&mut self.stream, &mut self.ahead).expect("an answer in time")
    }

    /// The next answer; `None` if the server closed the connection instead.
    ///
    /// # Errors
    /// When the connection breaks, or there is no answer in time.
    pub fn try_receive(&mut self) -> std::io::Result<Option<Reply>> {
        Reply::read(&mut self.stream, &mut self.ahead)
    }

    /// The next answer, to a HEAD request, which has no body.
    pub fn receive_head(&mut self) -> Reply {
        let mut lines = Vec::new();
        while !lines.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(self.stream.read(&mut byte).expect("an answer in time"), 1);
            lines.push(byte[0]);
        }
        let status = String::from_utf8_lossy(&lines).split(' ').nth(1).and_then(|status| status.parse().ok());
        Reply { status: status.expect("a number"), headers: Vec::new(), body: Vec::new() }
    }

    /// Whether the server closed the connection without sending anything more.
    pub fn is_closed(&mut self) -> bool {
        self.ahead.is_empty()
            && match uninterrupted(|| self.stream.read(&mut [0])) {
                Ok(read) => read == 0,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            }
    }
}

/// Sends one request on a new connection.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Reply {
    Connection::open(address).ask(request)
}

/// The bytes of a request with a body.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The request that the client posts.
pub fn form_request(pairs: &[(&str, &str)]) -> Vec<u8> {
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    request("POST", "/jitsiprovs/", &kind, encode(pairs).as_bytes())
}

pub fn post(address: SocketAddr, pairs: &[(&str, &str)]) -> Reply {
    exchange(address, &form_request(pairs))
}

/// The pairs as a form.
pub fn encode(pairs: &[(&str, &str)]) -> String {
    let side = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", side(name), side(value))).collect();
    pairs.join("&")
}
