//! Where a request of a browser comes from.

use std::net::IpAddr;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The browser's address, as far as it is known.
    pub address: IpAddr,
    /// Whether other people may be behind the address.
    pub is_forwarded: bool,
    /// Whether the browser uses HTTPS.
    pub is_https: bool,
}
