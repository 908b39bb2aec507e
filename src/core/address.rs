//! The forms in which addresses are compared: every usual spelling of an address is equal.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use smallvec::SmallVec;

use super::names::Folded;
use super::pattern;

/// Reads an IP address. IPv4 mapped into IPv6 becomes IPv4. The zone (`fe80::1%eth0`), which is
/// a name inside the client's machine, is left out.
pub fn ip(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let address = match text.split_once('%') {
        Some((address, _)) => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
        None => text.parse().ok()?,
    };
    Some(address.to_canonical())
}

/// Reads a network, such as `10.1.0.0/16`. The bits after its prefix are cleared.
pub fn network(text: &[u8]) -> Option<IpNet> {
    let (address, len) = str::from_utf8(text).ok()?.split_once('/')?;
    // A sign would be a number for Rust.
    let len: u8 = len.parse().ok().filter(|_| len.bytes().all(|byte| byte.is_ascii_digit()))?;
    let address: IpAddr = address.parse().ok()?;
    let mapped = Some(address.to_canonical()).filter(|canonical| canonical != &address);
    let (address, len) = mapped.zip(len.checked_sub(96)).unwrap_or((address, len));
    Some(IpNet::new(address, len).ok()?.trunc())
}

/// The form in which IP addresses are compared; `None` for other texts.
pub fn canonical_ip(text: &[u8]) -> Option<Folded> {
    written(ip(text)?)
}

/// The form in which MAC addresses are compared, `00:1a:2b:3c:4d:5e`; `None` for other texts.
pub fn canonical_mac(text: &[u8]) -> Option<Folded> {
    let digits = mac_digits(text)?;
    Some(spelled(&digits, b":", 2))
}

/// The texts with which a pattern for MAC addresses is compared: the usual spellings of the
/// address. Other texts are compared as they are.
pub fn mac_spellings(text: &[u8]) -> SmallVec<[Folded; 4]> {
    match mac_digits(text) {
        Some(digits) => spellings(&digits).collect(),
        None => SmallVec::from_iter([Folded::from_slice(text)]),
    }
}

/// Whether a folded pattern matches any MAC address.
pub fn can_match_mac(glob: &[u8]) -> bool {
    /// Stands for any hexadecimal digit.
    const DIGIT: u8 = b'x';
    let same = |byte: u8, of_value: u8| match of_value {
        DIGIT => byte.is_ascii_hexdigit(),
        _ => byte == of_value,
    };
    MAC_DIGITS.iter().any(|len| {
        let digits = Folded::from_elem(DIGIT, *len);
        spellings(&digits).any(|spelled| pattern::matches_by(glob, &spelled, same))
    })
}

/// How many digits hardware addresses have: Ethernet, EUI-64 and InfiniBand.
const MAC_DIGITS: [usize; 3] = [12, 16, 40];

/// The digits of a MAC address in lower case. They may be in groups of the same length with the
/// same separator between them.
fn mac_digits(text: &[u8]) -> Option<Folded> {
    let separator = text.iter().copied().find(|byte| !byte.is_ascii_hexdigit());
    if let Some(separator) = separator {
        let len = text.iter().position(|byte| *byte == separator)?;
        let is_usual = b":-.".contains(&separator) && [2, 4].contains(&len);
        if !is_usual || text.split(|byte| *byte == separator).any(|group| group.len() != len) {
            return None;
        }
    }
    let mut digits: Folded = text.iter().copied().filter(|byte| Some(*byte) != separator).collect();
    digits.make_ascii_lowercase();
    (MAC_DIGITS.contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit)).then_some(digits)
}

fn spellings(digits: &[u8]) -> impl Iterator<Item = Folded> {
    let forms: [(&[u8], usize); 4] = [(b":", 2), (b"-", 2), (b".", 4), (b"", 4)];
    forms.into_iter().map(|(separator, len)| spelled(digits, separator, len))
}

fn spelled(digits: &[u8], separator: &[u8], len: usize) -> Folded {
    let mut spelled = Folded::new();
    for (at, group) in digits.chunks(len).enumerate() {
        if at > 0 {
            spelled.extend_from_slice(separator);
        }
        spelled.extend_from_slice(group);
    }
    spelled
}

/// The text of an address or a network.
pub fn written(address: impl fmt::Display) -> Option<Folded> {
    /// Writes without an allocation.
    struct Text(Folded);
    impl Write for Text {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    let mut text = Text(Folded::new());
    write!(text, "{address}").ok()?;
    Some(text.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(folded: Option<Folded>) -> Option<String> {
        folded.map(|folded| String::from_utf8_lossy(&folded).into_owned())
    }

    #[test]
    fn every_usual_spelling_of_a_mac_address_is_the_same() {
        for spelling in [
            "00:1a:2b:3c:4d:5e",
            "00-1A-2B-3C-4D-5E",
            "001a.2b3c.4d5e",
            "001A-2B3C-4D5E",
            "001A2B3C4D5E",
            "00.1a.2b.3c.4d.5e",
        ] {
            assert_eq!(text(canonical_mac(spelling.as_bytes())).as_deref(), Some("00:1a:2b:3c:4d:5e"));
        }
        for other in ["", "00:1a", "00:1a:2b-3c:4d:5e", "001a2b3c4d5", "00:1a:2b:3c:4d:5g", ":001a2b3c4d5e"] {
            assert_eq!(canonical_mac(other.as_bytes()), None, "{other}");
        }
        let eui = text(canonical_mac(b"001A2BFFFE3C4D5E"));
        assert_eq!(eui.as_deref(), Some("00:1a:2b:ff:fe:3c:4d:5e"));
    }

    #[test]
    fn every_spelling_of_an_ip_address_is_the_same() {
        for (spelling, expected) in [
            ("10.1.2.3", Some("10.1.2.3")),
            ("::ffff:10.1.2.3", Some("10.1.2.3")),
            ("2001:DB8:0::1", Some("2001:db8::1")),
            ("fe80:0:0:0:0:0:0:1%eth0", Some("fe80::1")),
            ("10.1.2.3%eth0", None),
            ("10.1.2", None),
        ] {
            assert_eq!(text(canonical_ip(spelling.as_bytes())).as_deref(), expected, "{spelling}");
        }
        for (spelling, expected) in [
            ("10.1.2.3/16", Some("10.1.0.0/16")),
            ("2001:DB8::5/32", Some("2001:db8::/32")),
            ("::ffff:10.1.2.3/112", Some("10.1.0.0/16")),
            ("::/0", Some("::/0")),
            ("10.1.0.0/33", None),
            ("10.1/16", None),
            ("10.1.0.0/+8", None),
            ("010.1.0.0/16", None),
        ] {
            let network = network(spelling.as_bytes()).and_then(written);
            assert_eq!(text(network).as_deref(), expected, "{spelling}");
        }
    }

    #[test]
    fn a_pattern_for_mac_addresses_can_match_some_or_none() {
        for (pattern, expected) in [
            ("00:1a:*", true),
            ("001a.2b*", true),
            ("001a2b??????", true),
            ("*-5e", true),
            ("*", true),
            ("00:1a:2b:3c:4d:??:??:??", true),
            ("00:1g:*", false),
            ("00:1a:2b", false),
            ("0:1a:*", false),
            ("00:1a-*", false),
            ("na*", false),
        ] {
            let pattern::Written::Glob(glob) = pattern::read(pattern.as_bytes()) else {
                assert!(!expected);
                continue;
            };
            assert_eq!(can_match_mac(&glob), expected, "{pattern}");
        }
    }
}
