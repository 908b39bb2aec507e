//! Sockets that are bound before the server is ready to answer.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use crate::serve::http::Listener;

/// How many connections the system queues until we accept them: clients come in bursts.
const BACKLOG: i32 = 4096;

/// A bound socket that does not listen yet. So a port in use is found before the rows are
/// loaded, and no client connects before there is an answer. Or a socket that a service manager
/// has passed: it listens all the time, and clients wait until there is an answer.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    is_passed: bool,
}

/// Why there is no listener, in one line with the address and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({why}): {}", fix(.why, .options))]
pub struct BindError {
    address: SocketAddr,
    options: Listener,
    why: io::Error,
}

impl BindError {
    /// Whether another program has the port, perhaps a server that runs with the same options.
    pub fn is_in_use(&self) -> bool {
        self.why.kind() == io::ErrorKind::AddrInUse
    }
}

fn fix(why: &io::Error, listener: &Listener) -> String {
    let (ip, port) = match listener {
        Listener::Public => ("--http-ip", "--http-port"),
        Listener::Admin => ("--admin-ip", "--admin-port"),
    };
    match why.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program has this port; stop it, or choose another with {port}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need privileges; choose another with {port}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address; choose another with {ip}")
        }
        _ => format!("check {ip} and {port}"),
    }
}

impl Bound {
    /// Binds `address` for `listener`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use, does not belong to this machine, or is not allowed.
    pub fn new(address: SocketAddr, listener: Listener) -> Result<Bound, BindError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // A restart must not wait for the old connections' last packets.
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            Ok(Bound { socket, is_passed: false })
        };
        bind().map_err(|why| BindError { address, options: listener, why })
    }

    /// A socket that a service manager has passed.
    ///
    /// # Errors
    /// When the system does not allow to use it.
    pub fn passed(listener: TcpListener) -> io::Result<Bound> {
        listener.set_nonblocking(true)?;
        Ok(Bound { socket: listener.into(), is_passed: true })
    }

    /// Whether a service manager keeps the socket open when the server ends.
    pub(super) fn is_passed(&self) -> bool {
        self.is_passed
    }

    /// The address of the socket.
    pub fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().ok().and_then(|address| address.as_socket());
        address.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    pub(super) fn listen(self, options: Listener) -> Result<(TcpListener, SocketAddr), BindError> {
        let address = self.address();
        self.socket.listen(BACKLOG).map_err(|why| BindError { address, options, why })?;
        Ok((self.socket.into(), address))
    }
}
