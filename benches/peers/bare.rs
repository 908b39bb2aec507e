//! Servers that do less than this one: they answer each request with the same bytes. The bench
//! starts itself as one of them, so that each is a process whose processor time can be read.

use std::convert::Infallible;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jitsiprovs::process::cores;
use mio::{Events, Interest, Poll, Token, Waker};
use tokio::sync::mpsc::unbounded_channel;

use crate::generator::{Connection, message};

/// The kinds of servers.
pub const MIO: &str = "mio";
pub const ONE_RUNTIME_A_CORE: &str = "one-runtime-a-core";
pub const DEFAULT_RUNTIME: &str = "default-runtime";

/// Serves until standard input ends, which it does with the process that started this one.
/// Prints the address. `answer` is a file with all bytes of an answer.
pub fn serve(kind: &str, answer: &Path) {
    let answer = std::fs::read(answer).expect("an answer");
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert_eq!(message(&answer), Some(answer.len()));
    let body = Bytes::from(answer[head..].to_vec());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match kind {
        MIO => deal(&listener, || with_mio(answer.clone())),
        ONE_RUNTIME_A_CORE => deal(&listener, || with_own_runtime(body.clone())),
        DEFAULT_RUNTIME => with_default_runtime(listener, &body),
        _ => panic!("there is no `{kind}`"),
    }
}

/// Starts a worker for each core, and gives each in turn a connection, so that all have equally
/// many. `start` returns what hands a connection to the worker that it starts.
fn deal<F: Fn(TcpStream)>(listener: &TcpListener, start: impl Fn() -> F) {
    let workers: Vec<F> = (0..cores()).map(|_| start()).collect();
    for hand_over in workers.iter().cycle() {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_nonblocking(true).expect("a mode");
        stream.set_nodelay(true).expect("an option");
        hand_over(stream);
    }
}

/// The least that a server can do in safe Rust: wait, read, write.
fn with_mio(answer: Vec<u8>) -> impl Fn(TcpStream) {
    let poll = Poll::new().expect("a poll");
    let waker = Waker::new(poll.registry(), Token(usize::MAX)).expect("a waker");
    let (sender, connections) = channel();
    std::thread::spawn(move || answer_with_mio(poll, &connections, &answer));
    move |stream| {
        sender.send(stream).expect("a worker");
        waker.wake().expect("a worker");
    }
}

fn answer_with_mio(mut poll: Poll, connections: &Receiver<TcpStream>, answer: &[u8]) {
    let mut events = Events::with_capacity(256);
    // The places of closed connections stay free: there are only a few hundred in a run.
    let mut open: Vec<Option<Connection>> = Vec::new();
    loop {
        poll.poll(&mut events, None).expect("polls");
        for event in &events {
            let Some(place) = open.get_mut(event.token().0) else {
                for stream in connections.try_iter() {
                    let mut connection = Connection::new(mio::net::TcpStream::from_std(stream));
                    let (registry, token) = (poll.registry(), Token(open.len()));
                    registry.register(&mut connection.stream, token, Interest::READABLE).expect("registers");
                    open.push(Some(connection));
                }
                continue;
            };
            let is_open = place.as_mut().is_some_and(|connection| match connection.receive() {
                Some(true) => connection.send(answer),
                Some(false) => true,
                None => false,
            });
            if !is_open {
                *place = None;
            }
        }
    }
}

/// Hyper with a runtime of its own for each core, which is what this server is made of.
fn with_own_runtime(body: Bytes) -> impl Fn(TcpStream) {
    let (sender, mut connections) = unbounded_channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async {
            while let Some(stream) = connections.recv().await {
                tokio::task::spawn_local(answer_with_hyper(stream, body.clone()));
            }
        });
    });
    move |stream| sender.send(stream).expect("a worker")
}

/// Hyper with the runtime of `#[tokio::main]`.
fn with_default_runtime(listener: TcpListener, body: &Bytes) {
    listener.set_nonblocking(true).expect("a mode");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            let stream = stream.into_std().expect("a socket");
            tokio::spawn(answer_with_hyper(stream, body.clone()));
        }
    });
}

async fn answer_with_hyper(stream: TcpStream, body: Bytes) {
    let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let body = body.clone();
        async move {
            // The form is read, as every server must.
            let _ = request.into_body().collect().await;
            let response = Response::builder()
                .header(CONTENT_TYPE, "text/plain; charset=iso-8859-1")
                .header(CACHE_CONTROL, "no-store")
                .body(Full::new(body));
            Ok::<_, Infallible>(response.expect("an answer"))
        }
    });
    // The client may close at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
