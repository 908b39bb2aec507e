//! What may go wrong between a server and its database.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::mariadb::Database;

/// Stands between server and database, and forwards, or does not.
pub struct Proxy {
    port: u16,
    pub is_silent: Arc<AtomicBool>,
    /// Microseconds between pieces.
    pub delay: Arc<AtomicU64>,
}

impl Proxy {
    pub fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let (is_silent, delay) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (silent, wait) = (is_silent.clone(), delay.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let both = [(&client, &server), (&server, &client)];
                for (from, to) in both.map(|(from, to)| (from.try_clone(), to.try_clone())) {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let (silent, wait) = (silent.clone(), wait.clone());
                    std::thread::spawn(move || forward(from, to, &silent, &wait));
                }
            }
        });
        Proxy { port: own, is_silent, delay }
    }

    /// Options to reach the database through it, as the account that may only
    /// SELECT.
    pub fn options(&self, database: &Database<'_>) -> Vec<String> {
        let mut options = database.read();
        let port = options.iter().position(|option| option == "--db-port").expect("it is given") + 1;
        options[port] = self.port.to_string();
        options
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, is_silent: &AtomicBool, delay: &AtomicU64) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        // What was sent while it was silent is lost, as behind a firewall that
        // has forgotten the connection.
        if is_silent.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        std::thread::sleep(Duration::from_micros(delay.load(Ordering::Relaxed)));
        if to.write_all(&piece[..read]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
