//! What is remembered of the requests of clients: the last success and the last failure of each
//! device.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::utc;

/// The last successful or the last failed request of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The domain that the client asked for, in the form in which names are compared.
    pub domain: String,
    /// The username, likewise.
    pub username: String,
    /// The device: its uuid, else its MAC address, else address and program.
    pub device: String,
    /// When, in seconds since 1970 in UTC.
    pub at: i64,
    /// `None` for a success, else why it is none. A user who is switched off gets an answer, but
    /// it counts as a failure, with the reason [`FetchReason::Disabled`].
    pub reason: Option<FetchReason>,
    /// Whether it was answered with the user's properties.
    pub is_ok: bool,
    /// The address from which the client asked.
    pub address: IpAddr,
    /// The `User-Agent`, cut to 255 bytes.
    pub agent: String,
    /// The node that answered: its host name.
    pub node: String,
    /// The place in the table of changes of the snapshot that it was answered from; `None`
    /// without such a table.
    pub snapshot: Option<i64>,
    /// How many properties the answer had.
    pub properties: u32,
    /// What the client sent, by canonical names, without the password.
    pub params: Vec<(String, String)>,
}

/// Why a client gets no properties, or only those of users who are switched off. Clients never
/// see this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchReason {
    /// The tenant does not exist.
    NoTenant,
    /// The tenant has no such user.
    NoUser,
    /// The password is wrong.
    WrongPassword,
    /// No password was sent, or none is stored that could match.
    NoPassword,
    /// The user is switched off.
    Disabled,
    /// There were too many wrong passwords before.
    Locked,
}

impl FetchReason {
    /// All of them.
    pub const ALL: [FetchReason; 6] = [
        FetchReason::NoTenant,
        FetchReason::NoUser,
        FetchReason::WrongPassword,
        FetchReason::NoPassword,
        FetchReason::Disabled,
        FetchReason::Locked,
    ];

    /// Its name in the log, in the table and in lists.
    pub fn name(self) -> &'static str {
        match self {
            FetchReason::NoTenant => "no such tenant",
            FetchReason::NoUser => "no such user",
            FetchReason::WrongPassword => "wrong password",
            FetchReason::NoPassword => "no password",
            FetchReason::Disabled => "disabled",
            FetchReason::Locked => "locked",
        }
    }
}

/// Which fetches to read.
#[derive(Debug, Clone, Default)]
pub struct FetchFilter {
    /// Of this tenant, in the form in which names are compared.
    pub domain: Option<String>,
    /// Of this user, likewise.
    pub username: Option<String>,
    /// From an address whose text begins so.
    pub address: Option<String>,
    /// From this second since 1970 on.
    pub since: Option<i64>,
    /// Only those that failed.
    pub failed: bool,
    /// How many at most, the newest first.
    pub most: usize,
}

/// The beginning of an address as fetches are searched by it: `192.0.2.`, `2001:db8:`. `None` if no
/// address begins so.
pub fn address_beginning(typed: &str) -> Option<String> {
    let can_be_in_one = |byte: u8| byte.is_ascii_hexdigit() || byte == b'.' || byte == b':';
    let is_one = !typed.is_empty() && typed.len() <= 45 && typed.bytes().all(can_be_in_one);
    is_one.then(|| typed.to_ascii_lowercase())
}

/// A fetch as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchListing {
    /// When, in UTC, as in `2026-01-31T23:59:59Z`.
    pub time: String,
    /// [`Fetch::domain`]
    pub domain: String,
    /// [`Fetch::username`]
    pub username: String,
    /// [`Fetch::device`]
    pub device: String,
    /// Whether it was answered with the user's properties.
    pub ok: bool,
    /// The name of the reason, for a failure.
    pub reason: Option<String>,
    /// [`Fetch::address`]
    pub address: IpAddr,
    /// [`Fetch::agent`]
    pub agent: String,
    /// [`Fetch::node`]
    pub node: String,
    /// [`Fetch::snapshot`]
    pub snapshot: Option<i64>,
    /// [`Fetch::properties`]
    pub properties: u32,
    /// [`Fetch::params`]
    pub parameters: BTreeMap<String, String>,
}

impl From<Fetch> for FetchListing {
    fn from(fetch: Fetch) -> FetchListing {
        let Fetch { domain, username, device, at, reason, is_ok, address, agent, node, .. } = fetch;
        FetchListing {
            time: utc::iso(at),
            domain,
            username,
            device,
            ok: is_ok,
            reason: reason.map(|reason| reason.name().to_owned()),
            address,
            agent,
            node,
            snapshot: fetch.snapshot,
            properties: fetch.properties,
            parameters: fetch.params.into_iter().collect(),
        }
    }
}
