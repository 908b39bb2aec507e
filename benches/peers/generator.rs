//! Clients that send a request, wait for its answer, and send the next one on the same connection.
//! One thread, which does little besides calls of the kernel, serves all of them.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

pub const CONNECTIONS: usize = 32;
/// The space for one message, in bytes.
const SPACE: usize = 16 * 1024;

/// A connection, and what has arrived of the next message.
pub struct Connection {
    pub stream: TcpStream,
    arrived: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        stream.set_nodelay(true).expect("an option");
        Connection { stream, arrived: vec![0; SPACE], filled: 0 }
    }

    /// Reads what has arrived. Returns whether a message is complete, which is then forgotten, or
    /// `None` if the other side has closed the connection.
    pub fn receive(&mut self) -> Option<bool> {
        // A read that leaves space has taken everything, so the kernel reports what comes next.
        match self.stream.read(&mut self.arrived[self.filled..]) {
            Ok(0) => return None,
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(false),
            Err(_) => return None,
        }
        let is_whole = message(&self.arrived[..self.filled]) == Some(self.filled);
        if is_whole {
            self.filled = 0;
        }
        Some(is_whole)
    }

    /// Sends a message for which the kernel has space. Returns false if the other side has closed
    /// the connection.
    pub fn send(&mut self, message: &[u8]) -> bool {
        match self.stream.write(message) {
            Ok(sent) => {
                assert_eq!(sent, message.len());
                true
            }
            Err(_) => false,
        }
    }
}

/// The length of the message that begins with these bytes, as soon as its head is complete.
///
/// # Panics
/// If it is an answer with another status than 200.
pub fn message(arrived: &[u8]) -> Option<usize> {
    let end = arrived.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&arrived[..end]).expect("ASCII");
    assert!(!head.starts_with("HTTP/") || head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().expect("a number"))
    });
    Some(end + length.unwrap_or(0))
}

/// Open connections, each with a request under way.
pub struct Clients {
    poll: Poll,
    events: Events,
    open: Vec<Connection>,
    request: Vec<u8>,
}

impl Clients {
    pub fn open(address: SocketAddr, request: &[u8]) -> Clients {
        let poll = Poll::new().expect("a poll");
        let open = (0..CONNECTIONS).map(|number| {
            let stream = std::net::TcpStream::connect(address).expect("connects");
            stream.set_nonblocking(true).expect("a mode");
            let mut connection = Connection::new(TcpStream::from_std(stream));
            let (registry, token) = (poll.registry(), Token(number));
            registry.register(&mut connection.stream, token, Interest::READABLE).expect("registers");
            assert!(connection.send(request));
            connection
        });
        let open = open.collect();
        Clients { poll, events: Events::with_capacity(CONNECTIONS), open, request: request.to_owned() }
    }

    /// Asks for this long, and returns the number of answers.
    pub fn ask_for(&mut self, time: Duration) -> u64 {
        let begun = Instant::now();
        let mut answered = 0;
        while begun.elapsed() < time {
            self.poll.poll(&mut self.events, Some(time)).expect("polls");
            for event in &self.events {
                let connection = &mut self.open[event.token().0];
                if connection.receive().expect("the server keeps the connection") {
                    assert!(connection.send(&self.request), "the server closed a connection");
                    answered += 1;
                }
            }
        }
        answered
    }
}
