//! What counts as one device.

use std::fmt;
use std::net::IpAddr;

use crate::core::params::Known;

/// How much of the `User-Agent` is in the name of a device, in bytes.
const PROGRAM: usize = 128;

/// From what a user asks.
#[derive(Hash)]
pub(super) enum Device<'a> {
    /// A client that sends its uuid.
    Uuid(&'a str),
    /// A client that sends a MAC address and no uuid.
    Hwaddr(&'a str),
    /// A client that sends neither: its address and `User-Agent`.
    Program(IpAddr, &'a [u8]),
}

impl<'a> Device<'a> {
    /// The device of a request with these parameters.
    pub fn of(param: impl Fn(Known) -> Option<&'a str>, address: IpAddr, agent: &'a [u8]) -> Device<'a> {
        let given = |known| param(known).filter(|value| !value.is_empty());
        match (given(Known::Uuid), given(Known::Hwaddr)) {
            (Some(uuid), _) => Device::Uuid(uuid),
            (None, Some(hwaddr)) => Device::Hwaddr(hwaddr),
            (None, None) => Device::Program(address, agent),
        }
    }
}

/// Its name in lists and in the database.
impl fmt::Display for Device<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Uuid(name) | Device::Hwaddr(name) => f.write_str(name),
            Device::Program(address, b"") => write!(f, "{address}"),
            Device::Program(address, agent) => {
                let agent = String::from_utf8_lossy(agent);
                write!(f, "{address} {}", agent[..agent.floor_char_boundary(PROGRAM)].trim_end())
            }
        }
    }
}
