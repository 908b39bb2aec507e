//! Faults between a server and its database.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::database::Database;

/// A proxy between server and database, which can delay, drop or cut the traffic.
pub struct Proxy {
    port: u16,
    pub is_silent: Arc<AtomicBool>,
    /// The delay between pieces, in microseconds.
    pub delay: Arc<AtomicU64>,
    /// A connection that sends this text is closed after the text has been forwarded. An empty text
    /// matches nothing.
    pub last_words: Arc<Mutex<&'static str>>,
    /// A statement with this text does not reach the database. The proxy answers it with
    /// [`REFUSAL`]. An empty text matches nothing.
    pub refused: Arc<Mutex<&'static str>>,
}

/// How Galera refuses named locks before version 10.6.14.
pub const REFUSAL: &str = "This version of MariaDB doesn't yet support 'GET_LOCK in cluster (WSREP_ON=ON)'";

impl Proxy {
    pub fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let (is_silent, delay) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let [last_words, refused] = [(); 2].map(|()| Arc::new(Mutex::new("")));
        let (silent, wait, last) = (is_silent.clone(), delay.clone(), last_words.clone());
        let refuse = refused.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let both = [(&client, &server), (&server, &client)];
                for (from, to) in both.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let (silent, wait, last) = (silent.clone(), wait.clone(), last.clone());
                    let refuse = refuse.clone();
                    std::thread::spawn(move || forward(from, to, &silent, &wait, &last, &refuse));
                }
            }
        });
        Proxy { port: own, is_silent, delay, last_words, refused }
    }

    /// Options to connect through the proxy with the account that may only SELECT.
    pub fn options(&self, database: &Database<'_>) -> Vec<String> {
        self.through(database.read())
    }

    /// The given options, changed to connect through the proxy.
    pub fn through(&self, mut options: Vec<String>) -> Vec<String> {
        let port = options.iter().position(|option| option == "--db-port").expect("it is given") + 1;
        options[port] = self.port.to_string();
        options
    }
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    is_silent: &AtomicBool,
    delay: &AtomicU64,
    last_words: &Mutex<&str>,
    refused: &Mutex<&str>,
) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        // Data sent while the proxy was silent is lost, as behind a firewall that has forgotten the
        // connection.
        if is_silent.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        std::thread::sleep(Duration::from_micros(delay.load(Ordering::Relaxed)));
        let says = |words: &Mutex<&str>| {
            let words = *words.lock().expect("no panic");
            !words.is_empty() && piece[..read].windows(words.len()).any(|part| part == words.as_bytes())
        };
        if says(refused) {
            // The first packet of an answer: error 1235, ER_NOT_SUPPORTED_YET.
            let error = [&b"\xff\xd3\x04#42000"[..], REFUSAL.as_bytes()].concat();
            let head = [error.len() as u8, 0, 0, 1];
            from.write_all(&[&head[..], &error].concat()).expect("it listens");
            continue;
        }
        let has_said = says(last_words);
        if has_said {
            // The connection is closed before the answer.
            let _ = from.shutdown(std::net::Shutdown::Both);
        }
        if to.write_all(&piece[..read]).is_err() || has_said {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
