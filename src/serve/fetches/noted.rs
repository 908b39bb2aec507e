//! What is noted of a request, in the compact form in which it is kept.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::core::fetch::{Fetch, FetchReason};
use crate::core::names::Folded;
use crate::core::params::{Known, Params};
use crate::core::secret::is_secret;
use crate::snapshot::AccountState;

/// The longest name and the longest value of a parameter that are kept, in bytes.
const NAME: usize = 64;
const VALUE: usize = 255;
/// How many bytes of parameters are kept of one request, with their lengths. The rest is left out.
const PARAMS: usize = 2048;
/// How many bytes the lengths of a name and a value take at most.
const LENGTHS: usize = 4;
/// The longest `User-Agent` that is kept, in bytes.
const AGENT: usize = 256;
/// How much of the `User-Agent` is in the name of a device, in bytes.
const PROGRAM: usize = 128;

/// A request about an account that was decided.
#[derive(Clone, Copy)]
pub struct Decided<'a> {
    /// The folded domain.
    pub domain: &'a Folded,
    /// The folded username.
    pub username: &'a Folded,
    /// What the client sent.
    pub params: &'a Params,
    /// The address from which the client asks.
    pub address: IpAddr,
    /// The `User-Agent`; empty without one.
    pub agent: &'a [u8],
    /// What there is of the account.
    pub account: AccountState,
    /// Why it failed; `None` for a success.
    pub reason: Option<FetchReason>,
    /// The place of the snapshot in the table of changes.
    pub snapshot: Option<i64>,
    /// How many properties the answer has.
    pub properties: u32,
}

/// What tells devices apart: hashes with keys that nobody knows. That two of a million devices have
/// the same is as likely as one in 18 million.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub account: u64,
    /// Of the account with the device.
    pub device: u64,
    /// Of the account with the address; 0 for a success, which does not need it.
    pub address: u64,
}

/// What is kept of a request besides what changes with each one.
pub(super) trait Description {
    /// A hash of it with a key that nobody knows. If it is the same, nothing else is looked at.
    fn hash(&self) -> u64;

    /// Puts it in the place of what is kept.
    fn write(self, details: &mut Details);
}

/// That of a request that was decided.
pub(super) struct Given<'a>(pub &'a HashKeys, pub &'a Decided<'a>);

impl Description for Given<'_> {
    fn hash(&self) -> u64 {
        self.0.details(self.1)
    }

    fn write(self, details: &mut Details) {
        details.set(self.1);
    }
}

/// That of a request whose part of the table was in use.
pub(super) struct Described {
    hash: u64,
    details: Details,
}

impl From<Given<'_>> for Described {
    fn from(given: Given<'_>) -> Described {
        let (hash, mut details) = (given.hash(), Details::default());
        given.write(&mut details);
        Described { hash, details }
    }
}

impl Description for Described {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn write(self, details: &mut Details) {
        *details = self.details;
    }
}

/// The keys of the hashes.
pub(super) struct HashKeys {
    accounts: foldhash::quality::RandomState,
    details: foldhash::fast::RandomState,
}

impl HashKeys {
    pub fn new() -> HashKeys {
        HashKeys { accounts: Default::default(), details: Default::default() }
    }

    /// The hash of a folded account.
    pub fn account(&self, domain: &[u8], username: &[u8]) -> u64 {
        self.of_account(domain, username).finish()
    }

    fn of_account(&self, domain: &[u8], username: &[u8]) -> foldhash::quality::FoldHasher<'_> {
        let mut hasher = self.accounts.build_hasher();
        hasher.write_usize(domain.len());
        hasher.write(domain);
        hasher.write(username);
        hasher.write_u8(0xff);
        hasher
    }

    pub fn of(&self, decided: &Decided<'_>) -> Keys {
        let hasher = self.of_account(decided.domain, decided.username);
        let with = |device: &Device<'_>| {
            let mut hasher = hasher.clone();
            match device {
                Device::Named(tag, name) => {
                    hasher.write_u8(*tag);
                    hasher.write(name.as_bytes());
                }
                Device::Program(address, agent) => {
                    hasher.write_u8(PROGRAM_TAG);
                    hasher.write_u128(bits(*address));
                    hasher.write(agent);
                }
            }
            hasher.finish()
        };
        let address = Device::Program(decided.address, b"");
        Keys {
            account: hasher.finish(),
            device: with(&Device::of(decided)),
            address: if decided.reason.is_none() { 0 } else { with(&address) },
        }
    }

    fn details(&self, decided: &Decided<'_>) -> u64 {
        let mut hasher = self.details.build_hasher();
        for known in KEPT {
            match decided.params.known(known) {
                Some(value) => hasher.write(value.as_bytes()),
                None => hasher.write_u8(0xff),
            }
        }
        for (name, value) in decided.params.others() {
            hasher.write(name.as_bytes());
            hasher.write(value.as_bytes());
        }
        hasher.write(decided.agent);
        hasher.write_u128(bits(decided.address));
        hasher.write_u8(decided.reason.map_or(0, |reason| reason as u8 + 1));
        hasher.finish()
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The known parameters that are kept. The account is kept besides them, and the password never.
const KEPT: [Known; 10] = match Known::ALL {
    [Known::Username, Known::Password, Known::Domain, kept @ ..] => kept,
    _ => panic!("those that are not kept come first"),
};

const UUID_TAG: u8 = 1;
const HWADDR_TAG: u8 = 2;
const PROGRAM_TAG: u8 = 3;

/// From what a user asks.
enum Device<'a> {
    /// The tag says which parameter names it.
    Named(u8, &'a str),
    /// A client that sends neither a uuid nor a MAC address.
    Program(IpAddr, &'a [u8]),
}

impl<'a> Device<'a> {
    fn of(decided: &Decided<'a>) -> Device<'a> {
        let given = |known| decided.params.known(known).filter(|value| !value.is_empty());
        match (given(Known::Uuid), given(Known::Hwaddr)) {
            (Some(uuid), _) => Device::Named(UUID_TAG, uuid),
            (None, Some(hwaddr)) => Device::Named(HWADDR_TAG, hwaddr),
            (None, None) => Device::Program(decided.address, decided.agent),
        }
    }
}

/// What is kept of a request besides what changes with each one.
#[derive(Serialize, Deserialize)]
struct Stored<'a, P> {
    #[serde(borrow)]
    whose: Whose<'a>,
    reason: Option<u8>,
    agent: &'a str,
    /// The values of [`KEPT`].
    #[serde(borrow)]
    known: [Option<&'a str>; KEPT.len()],
    /// The names and values of other parameters.
    others: P,
}

/// What comes first, so that readers of many need not read the rest.
#[derive(Serialize, Deserialize)]
pub(super) struct Whose<'a> {
    pub domain: &'a str,
    pub username: &'a str,
    pub address: IpAddr,
}

/// The same in few bytes, and perhaps more bytes that say nothing.
#[derive(Clone, Default)]
pub(super) struct Details(Box<[u8]>);

/// Details take a multiple of so many bytes, so that others mostly fit in their place.
const ROOM: usize = 64;
/// The most that details can take: parameters, two names, the `User-Agent`, and a few bytes.
const MOST: usize = PARAMS + 2 * VALUE + AGENT + 64;

thread_local! {
    /// Where details are written before they are copied. Their own place is in no cache of the
    /// processor, which waits for memory if many single bytes are written there.
    static WRITING: RefCell<[u8; MOST]> = const { RefCell::new([0; MOST]) };
}

impl Details {
    /// Puts those of a request in their place, and in their memory if they fit.
    fn set(&mut self, decided: &Decided<'_>) {
        let agent = String::from_utf8_lossy(decided.agent);
        let password = decided.params.known(Known::Password).unwrap_or_default();
        // A client may send its password under another name, too.
        let is_open = |name: &str, value: &str| {
            let is_password = !password.is_empty() && value == password;
            !is_password && !is_secret(name, value)
        };
        let others = decided.params.others().filter(|(name, value)| is_open(name, value));
        let mut left = PARAMS;
        let mut fitting = |name, value| {
            let (name, value) = (cut(name, NAME), cut(value, VALUE));
            left = left.checked_sub(name.len() + value.len() + LENGTHS)?;
            Some((name, value))
        };
        let known = KEPT.map(|known| {
            let (_, value) = fitting(known.name(), decided.params.known(known)?)?;
            Some(value)
        });
        let others = others.map_while(|(name, value)| fitting(name, value));
        let others: SmallVec<[(&str, &str); 8]> = others.collect();
        let whose = Whose {
            domain: text(decided.domain),
            username: text(decided.username),
            address: decided.address,
        };
        let stored = Stored {
            reason: decided.reason.map(|reason| reason as u8),
            agent: cut(&agent, AGENT),
            known,
            others: &*others,
            whose,
        };
        WRITING.with_borrow_mut(|bytes| {
            // It fits, so this cannot fail.
            let bytes = postcard::to_slice(&stored, bytes).unwrap_or_default();
            match self.0.get_mut(..bytes.len()) {
                Some(place) => place.copy_from_slice(bytes),
                None => {
                    let mut details = Vec::with_capacity(bytes.len().next_multiple_of(ROOM));
                    details.extend_from_slice(bytes);
                    details.resize(details.capacity(), 0);
                    self.0 = details.into();
                }
            }
        });
    }

    fn read(&self) -> Option<Stored<'_, Vec<(&str, &str)>>> {
        postcard::take_from_bytes(&self.0).ok().map(|(stored, _)| stored)
    }

    /// Whose request it was.
    pub fn whose(&self) -> Option<Whose<'_>> {
        postcard::take_from_bytes(&self.0).ok().map(|(whose, _)| whose)
    }

    /// The fetch, without what changes with each request.
    pub fn fetch(&self, is_by_address: bool, node: &str) -> Option<Fetch> {
        let Stored { whose: Whose { domain, username, address }, reason, agent, known, others } =
            self.read()?;
        let known = KEPT.into_iter().zip(known).filter_map(|(known, value)| Some((known, value?)));
        let given = |wanted: Known| {
            let mut known = known.clone().filter(|(known, value)| *known == wanted && !value.is_empty());
            known.next().map(|(_, value)| value.to_owned())
        };
        let device = match is_by_address {
            true => address.to_string(),
            false => given(Known::Uuid)
                .or_else(|| given(Known::Hwaddr))
                .unwrap_or_else(|| format!("{address} {}", cut(agent, PROGRAM)).trim_end().to_owned()),
        };
        let reason =
            reason.and_then(|number| FetchReason::ALL.into_iter().find(|reason| *reason as u8 == number));
        Some(Fetch {
            domain: domain.to_owned(),
            username: username.to_owned(),
            device,
            at: 0,
            is_ok: reason.is_none(),
            reason,
            address,
            agent: agent.to_owned(),
            node: node.to_owned(),
            snapshot: None,
            properties: 0,
            params: known
                .map(|(known, value)| (known.name(), value))
                .chain(others)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }
}

/// Folded names are text.
fn text(folded: &[u8]) -> &str {
    cut(str::from_utf8(folded).unwrap_or_default(), VALUE)
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
