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
}

impl Proxy {
    pub fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let (is_silent, delay) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let last_words = Arc::new(Mutex::new(""));
        let (silent, wait, last) = (is_silent.clone(), delay.clone(), last_words.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let both = [(&client, &server), (&server, &client)];
                for (from, to) in both.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let (silent, wait, last) = (silent.clone(), wait.clone(), last.clone());
                    std::thread::spawn(move || forward(from, to, &silent, &wait, &last));
                }
            }
        });
        Proxy { port: own, is_silent, delay, last_words }
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
        let words = *last_words.lock().expect("no panic");
        let has_said =
            !words.is_empty() && piece[..read].windows(words.len()).any(|part| part == words.as_bytes());
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
