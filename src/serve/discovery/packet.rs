//! The request with which Jitsi asks for the URL, and the answer: packets of DHCP.
//!
//! Only the few fields that matter are read. The crate `dhcproto` knows all of DHCP, but needs a DNS
//! library of about forty crates for options that never occur here.

use std::net::Ipv4Addr;

/// What ends the fixed part of a packet of DHCP.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where options begin.
const FIXED: usize = 240;
/// The shortest answer that old clients accept.
const SHORTEST_ANSWER: usize = 300;

const REQUEST: u8 = 1;
const ANSWER: u8 = 2;
const INFORM: u8 = 8;
const ACK: u8 = 5;

mod option {
    pub(super) const PADDING: u8 = 0;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const ASKED_FOR: u8 = 55;
    pub(super) const URL: u8 = 224;
    pub(super) const END: u8 = 255;
}

/// A DHCPINFORM that asks for option 224.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inform<'p> {
    /// Everything before the options.
    fixed: &'p [u8; FIXED],
}

/// Why a packet gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It is no packet of DHCP.
    Malformed,
    /// It is another request than a DHCPINFORM, or does not ask for option 224.
    AnotherRequest,
}

impl Inform<'_> {
    /// Reads a packet.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn read(packet: &[u8]) -> Result<Inform<'_>, Ignored> {
        let (fixed, options) = packet.split_first_chunk::<FIXED>().ok_or(Ignored::Malformed)?;
        if !fixed.ends_with(&COOKIE) {
            return Err(Ignored::Malformed);
        }
        let (mut is_inform, mut is_asked_for) = (false, false);
        let mut rest = options;
        loop {
            let (code, value);
            (code, value, rest) = match rest {
                [] | [option::END, ..] => break,
                [option::PADDING, rest @ ..] => (option::PADDING, &[][..], rest),
                [code, len, rest @ ..] => {
                    let (value, rest) = rest.split_at_checked((*len).into()).ok_or(Ignored::Malformed)?;
                    (*code, value, rest)
                }
                [_] => return Err(Ignored::Malformed),
            };
            match code {
                option::KIND => is_inform = value == [INFORM],
                option::ASKED_FOR => is_asked_for = value.contains(&option::URL),
                _ => {}
            }
        }
        match fixed[0] == REQUEST && is_inform && is_asked_for {
            true => Ok(Inform { fixed }),
            false => Err(Ignored::AnotherRequest),
        }
    }

    /// The packet that tells the client the `url`, of at most 255 bytes. `server` is the address that
    /// it comes from.
    pub fn answer(&self, server: Ipv4Addr, url: &str) -> Vec<u8> {
        let mut answer = self.fixed.to_vec();
        answer[0] = ANSWER;
        // Hops and seconds.
        answer[3] = 0;
        answer[8..10].fill(0);
        // The addresses of others than the client, which only leases and relays have.
        answer[16..28].fill(0);
        // The names of a server and of a file to boot from.
        answer[44..236].fill(0);
        answer.extend([option::KIND, 1, ACK, option::SERVER, 4]);
        answer.extend(server.octets());
        let len = u8::try_from(url.len()).unwrap_or(u8::MAX);
        answer.extend([option::URL, len]);
        answer.extend(url.bytes().take(len.into()));
        answer.push(option::END);
        answer.resize(answer.len().max(SHORTEST_ANSWER), option::PADDING);
        answer
    }
}

#[cfg(test)]
mod tests;
