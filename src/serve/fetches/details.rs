//! What is kept of a request besides what changes with each one, in few bytes.
//!
//! First whose request it was, so that readers of many need not read the rest: domain, username and
//! address. Then the reason, the `User-Agent`, which known parameters follow, their values, how many
//! other parameters follow, and their names and values. A byte before each text is its length.
//!
//! This is no library's format because writing it takes half the time.

use std::cell::RefCell;
use std::net::IpAddr;

use super::device::Device;
use crate::core::fetch::{Fetch, FetchReason};
use crate::core::names::Folded;
use crate::core::params::{Known, Params};
use crate::core::secret::is_secret;
use crate::snapshot::AccountState;

/// The longest name of a parameter that is kept, in bytes.
const NAME: usize = 64;
/// The longest other text that is kept, in bytes.
const TEXT: usize = 255;
/// How many bytes of parameters are kept of one request, with their lengths. The rest is left out.
const PARAMS: usize = 2048;
/// The most that details can take: two names, an address, the `User-Agent`, four bytes, and
/// parameters.
const MOST: usize = 3 * (1 + TEXT) + 17 + 4 + PARAMS;
/// Details take a multiple of so many bytes, so that others mostly fit in their place.
const ROOM: usize = 64;

thread_local! {
    /// Where details are written before they are copied. Their own place is in no cache of the
    /// processor, which waits for memory if many single bytes are written there.
    static WRITING: RefCell<[u8; MOST]> = const { RefCell::new([0; MOST]) };
}

/// A request about an account.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
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
}

/// A request about an account that was decided.
#[derive(Clone, Copy)]
pub struct Decided<'a> {
    /// The request.
    pub asking: Asking<'a>,
    /// What there is of the account.
    pub account: AccountState,
    /// Why it failed; `None` for a success.
    pub reason: Option<FetchReason>,
    /// The place of the snapshot in the table of changes.
    pub snapshot: Option<i64>,
    /// How many properties the answer has.
    pub properties: u32,
}

/// The known parameters that are kept. The account is kept besides them, and the password never.
pub(super) const KEPT: [Known; 10] = match Known::ALL {
    [Known::Username, Known::Password, Known::Domain, kept @ ..] => kept,
    _ => panic!("those that are not kept come first"),
};

/// The details of a request, and perhaps more bytes that say nothing.
#[derive(Clone, Default)]
pub(super) struct Details(Box<[u8]>);

/// Whose request it was.
pub(super) struct Whose<'a> {
    pub domain: &'a str,
    pub username: &'a str,
    pub address: IpAddr,
}

impl Details {
    /// Puts those of a request in their place, and in their memory if they fit.
    pub fn set(&mut self, decided: &Decided<'_>) {
        WRITING.with_borrow_mut(|bytes| {
            let mut writer = Writer { bytes, length: 0 };
            writer.request(decided);
            let bytes = writer.written();
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

    /// Whose request it was.
    pub fn whose(&self) -> Option<Whose<'_>> {
        Reader(&self.0).whose()
    }

    /// The fetch, of the node called `node`, without what changes with each request.
    pub fn fetch(&self, is_by_address: bool, node: &str) -> Option<Fetch> {
        let mut reader = Reader(&self.0);
        let Whose { domain, username, address } = reader.whose()?;
        let reason = reader.byte()?.checked_sub(1);
        let agent = reader.text()?;
        let mut params = Vec::new();
        let mut given: [Option<&str>; KEPT.len()] = Default::default();
        let are_given = u16::from_le_bytes([reader.byte()?, reader.byte()?]);
        for (place, known) in KEPT.into_iter().enumerate().filter(|(place, _)| are_given & 1 << place != 0) {
            let value = reader.text()?;
            given[place] = Some(value);
            params.push((known.name().to_owned(), value.to_owned()));
        }
        for _ in 0..reader.byte()? {
            params.push((reader.text()?.to_owned(), reader.text()?.to_owned()));
        }
        let param =
            |wanted| KEPT.iter().zip(given).find_map(|(known, value)| value.filter(|_| *known == wanted));
        let device = match is_by_address {
            true => Device::Program(address, b""),
            false => Device::of(param, address, agent.as_bytes()),
        };
        let reason =
            reason.and_then(|number| FetchReason::ALL.into_iter().find(|reason| *reason as u8 == number));
        Some(Fetch {
            domain: domain.to_owned(),
            username: username.to_owned(),
            device: device.to_string(),
            at: 0,
            is_ok: reason.is_none(),
            reason,
            address,
            agent: agent.to_owned(),
            node: node.to_owned(),
            snapshot: None,
            properties: 0,
            params,
        })
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8; MOST],
    length: usize,
}

impl Writer<'_> {
    fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn request(&mut self, decided: &Decided<'_>) {
        let Asking { domain, username, params, address, agent } = decided.asking;
        // Folded names are text.
        self.text(cut(str::from_utf8(domain).unwrap_or_default(), TEXT));
        self.text(cut(str::from_utf8(username).unwrap_or_default(), TEXT));
        match address {
            IpAddr::V4(address) => self.with_length(&address.octets()),
            IpAddr::V6(address) => self.with_length(&address.octets()),
        }
        self.raw(&[decided.reason.map_or(0, |reason| reason as u8 + 1)]);
        self.text(cut(&String::from_utf8_lossy(agent), TEXT));
        let mut left = PARAMS;
        self.known(params, &mut left);
        self.others(params, &mut left);
    }

    fn known(&mut self, params: &Params, left: &mut usize) {
        let (begin, mut given) = (self.length, 0_u16);
        self.raw(&given.to_le_bytes());
        for (place, known) in KEPT.into_iter().enumerate() {
            let Some(value) = params.known(known).map(|value| cut(value, TEXT)) else { continue };
            if let Some(after) = left.checked_sub(1 + value.len()) {
                *left = after;
                given |= 1 << place;
                self.text(value);
            }
        }
        self.bytes[begin..begin + 2].copy_from_slice(&given.to_le_bytes());
    }

    fn others(&mut self, params: &Params, left: &mut usize) {
        let password = params.known(Known::Password).unwrap_or_default();
        let (place, mut count) = (self.length, 0);
        self.raw(&[count]);
        for (name, value) in params.others() {
            // A client may send its password under another name, too.
            let is_password = !password.is_empty() && value == password;
            if is_password || is_secret(name, value) {
                continue;
            }
            let (name, value) = (cut(name, NAME), cut(value, TEXT));
            let after = left.checked_sub(2 + name.len() + value.len());
            let (Some(after), true) = (after, count < u8::MAX) else { break };
            *left = after;
            count += 1;
            self.text(name);
            self.text(value);
        }
        self.bytes[place] = count;
    }

    /// A text of at most [`TEXT`] bytes.
    fn text(&mut self, text: &str) {
        self.with_length(text.as_bytes());
    }

    fn with_length(&mut self, bytes: &[u8]) {
        self.raw(&[bytes.len() as u8]);
        self.raw(bytes);
    }

    fn raw(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}

/// What is not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn whose(&mut self) -> Option<Whose<'a>> {
        let (domain, username) = (self.text()?, self.text()?);
        let address = self.with_length()?;
        let address = match <[u8; 4]>::try_from(address) {
            Ok(address) => address.into(),
            Err(_) => <[u8; 16]>::try_from(address).ok()?.into(),
        };
        Some(Whose { domain, username, address })
    }

    fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.with_length()?).ok()
    }

    fn with_length(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?.into();
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
