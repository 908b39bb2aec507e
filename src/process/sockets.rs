//! Listening sockets that a service manager has opened for this process (`LISTEN_FDS`). They
//! stay open while the process is restarted, so no client is refused meanwhile.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The name by which a manager passes the listener of operators. All other names are those of
/// the clients' listener, because a manager that is not told a name invents one.
const ADMIN: &str = "admin";

/// The sockets that a manager has passed.
#[derive(Debug, Default)]
pub struct PassedSockets {
    /// The listener of clients.
    pub public: Option<TcpListener>,
    /// The listener of operators.
    pub admin: Option<TcpListener>,
}

impl PassedSockets {
    /// Takes the sockets from the environment. None are left for child processes.
    ///
    /// # Errors
    /// When a socket cannot be a listener, or there are two for the same purpose.
    pub fn take() -> Result<PassedSockets, String> {
        let mut passed = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = PassedSockets::default();
        for number in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let what = format!("socket {} of the service manager (LISTEN_FDS)", number + 1);
            let listener = match passed.take_tcp_listener(number) {
                Ok(Some(listener)) if SockRef::from(&listener).is_listener().unwrap_or(false) => listener,
                Ok(_) => return Err(format!("{what} does not listen; in a .socket unit, write Accept=no")),
                Err(why) => return Err(format!("{what} is not for TCP: {why}")),
            };
            let place = if name == ADMIN { &mut sockets.admin } else { &mut sockets.public };
            if place.replace(listener).is_some() {
                return Err(format!(
                    "{what} is the second one for the same purpose: pass one for clients, and at most one \
                     with the name {ADMIN} (FileDescriptorName={ADMIN})"
                ));
            }
        }
        Ok(sockets)
    }

    /// Whether no socket was passed.
    pub fn is_empty(&self) -> bool {
        self.public.is_none() && self.admin.is_none()
    }
}
