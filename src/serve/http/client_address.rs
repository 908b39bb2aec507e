//! The client's address, with or without proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName, HeaderValue};
use ipnet::{IpNet, Ipv4Net};

/// How many hops are read, from the right. Nobody has more proxies in a row.
const MOST_HOPS: usize = 32;
/// How long a hop may be in bytes. The longest address in brackets with a port
/// has 53; the rest is for blanks.
const LONGEST_HOP: usize = 64;

/// The proxies that are trusted to send the client's address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Box<[IpNet]>);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Headers with which proxies name the client.
static NAMING_THE_CLIENT: [HeaderName; 3] =
    [X_FORWARDED_FOR, HeaderName::from_static("x-real-ip"), FORWARDED];

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, as far as it is known.
    pub address: IpAddr,
    /// Whether the peer is not trusted, but says that it is a proxy. Then `address` may be
    /// that of many clients.
    pub is_forwarded: bool,
    /// Whether the peer is a proxy, trusted or not.
    pub is_proxied: bool,
}

/// A text that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network, such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotANetwork(String);

impl TrustedProxies {
    /// The proxies in `networks`: addresses, or networks in CIDR notation, in
    /// which the bits after the prefix do not count.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn parse<T: AsRef<str>>(networks: impl IntoIterator<Item = T>) -> Result<Self, NotANetwork> {
        let parsed = networks.into_iter().map(|text| {
            let text = text.as_ref().trim();
            network(text).ok_or_else(|| NotANetwork(text.to_owned()))
        });
        Ok(TrustedProxies(parsed.collect::<Result<_, _>>()?))
    }

    /// Whether `peer` is one of them.
    pub fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// Where a request from `peer` with these headers comes from.
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        if self.is_trusted(peer) {
            let forwarded = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
            return Origin { address: self.client(peer, forwarded), is_forwarded: false, is_proxied: true };
        }
        // Most requests have few headers, which are compared faster than names are hashed.
        let is_forwarded = headers.keys().any(|name| NAMING_THE_CLIENT.contains(name));
        Origin { address: peer.to_canonical(), is_forwarded, is_proxied: is_forwarded }
    }

    /// The client's address, for a request from `peer` with these `X-Forwarded-For`
    /// headers. The headers together are one list. The client is the last address in
    /// it that is not a trusted proxy's; anybody can have written the entries before it.
    /// If the list ends or cannot be read before that, the result is the address to the
    /// right of that point.
    ///
    /// An IPv4 address is never returned in its IPv6 form.
    pub fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a [u8]>) -> IpAddr {
        let mut sure = peer.to_canonical();
        if !self.is_trusted(sure) {
            return sure;
        }
        for hop in forwarded.rev().flat_map(hops_from_right).take(MOST_HOPS) {
            let Some(hop) = hop.and_then(address) else { return sure };
            sure = hop;
            if !self.is_trusted(sure) {
                return sure;
            }
        }
        sure
    }
}

/// The hops of a header, the last one first. A hop that is too long is `None` and
/// ends the list. Reads no more bytes than needed.
fn hops_from_right(header: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let text = rest?;
        let looked_at = text.len().saturating_sub(LONGEST_HOP + 1);
        let comma = text[looked_at..].iter().rposition(|&byte| byte == b',');
        rest = comma.map(|comma| &text[..looked_at + comma]);
        let hop = &text[comma.map_or(0, |comma| looked_at + comma + 1)..];
        Some((hop.len() <= LONGEST_HOP).then_some(hop))
    })
}

/// The address of a hop, which may have a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop.trim_ascii()).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let address = text.parse().ok().or_else(|| text.parse().ok().map(|hop: SocketAddr| hop.ip()));
    Some(address.or_else(bracketed)?.to_canonical())
}

fn network(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return Some(IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical()));
    };
    // The parser of numbers would accept a sign.
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let network = IpNet::new(address.parse().ok()?, prefix.parse().ok().filter(|_| digits)?).ok()?;
    // IPv4 peers are compared in their IPv4 form, so IPv4 networks must have that form too.
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(prefix)) if network.addr().is_ipv6() => {
            Some(Ipv4Net::new(address, prefix).ok()?.into())
        }
        _ => Some(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::parse(["10.0.0.0/8", " 192.0.2.1 ", "2001:db8::/32", "::ffff:172.16.0.0/108"])
            .unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        proxies().client(ip(peer), forwarded.iter().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn networks_and_single_addresses_are_trusted_and_no_others() {
        for trusted in ["10.1.2.3", "192.0.2.1", "2001:db8:1::1", "172.31.0.1", "::ffff:10.1.2.3"] {
            assert!(proxies().is_trusted(ip(trusted)), "{trusted}");
        }
        for other in ["11.0.0.1", "192.0.2.2", "2001:db9::1", "172.32.0.1", "::ffff:11.0.0.1", "::a01:203"] {
            assert!(!proxies().is_trusted(ip(other)), "{other}");
        }
        assert!(!TrustedProxies::default().is_trusted(ip("127.0.0.1")));
        let all_of_ipv4 = TrustedProxies::parse(["::ffff:0:0/96"]).unwrap();
        assert!(all_of_ipv4.is_trusted(ip("8.8.8.8")) && !all_of_ipv4.is_trusted(ip("::1")));
        assert!(!TrustedProxies::parse(["::/0"]).unwrap().is_trusted(ip("::ffff:8.8.8.8")));
        assert!(TrustedProxies::parse(["10.1.2.3/8"]).unwrap().is_trusted(ip("10.9.9.9")));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_would_be() {
        for wrong in
            ["", "proxy", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "::/129", "1.2.3.4:80"]
        {
            let error = TrustedProxies::parse(["10.0.0.0/8", wrong]).unwrap_err();
            let told = format!("{wrong:?} is neither an address nor a network, such as ");
            assert!(error.to_string().starts_with(&told), "{error}");
        }
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["198.51.100.7"][..], "203.0.113.9"),
            ("::ffff:203.0.113.9", &["198.51.100.7"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.7 ,10.0.0.2,\t192.0.2.1"], "198.51.100.7"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7, 10.0.0.2", "10.0.0.3"], "198.51.100.7"),
            ("2001:db8::1", &["2001:db9::1"], "2001:db9::1"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn a_hop_may_have_a_port_and_brackets() {
        for (hop, expected) in [
            ("198.51.100.7:567", "198.51.100.7"),
            ("[2001:db9::1]:567", "2001:db9::1"),
            ("[2001:db9::1]", "2001:db9::1"),
            (" 2001:db9::1 ", "2001:db9::1"),
            ("[::ffff:198.51.100.7]:567", "198.51.100.7"),
            (
                "[2001:0db9:1111:2222:3333:4444:255.255.255.255]:65535",
                "2001:db9:1111:2222:3333:4444:ffff:ffff",
            ),
        ] {
            assert_eq!(client("10.0.0.1", &[hop]), expected);
        }
    }

    #[test]
    fn a_hop_that_cannot_be_read_ends_the_walk_at_the_proxy_right_of_it() {
        let long = " ".repeat(LONGEST_HOP) + "1.2.3.4";
        for hop in [
            "",
            "unknown",
            "_hidden",
            "1.2.3",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:65536",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "1.2.3.4 5.6.7.8",
            "01.2.3.4",
            "\"1.2.3.4\"",
            "fe80::1%eth0",
            &long,
        ] {
            assert_eq!(client("10.0.0.1", &[hop]), "10.0.0.1", "{hop:?}");
            let list = format!("198.51.100.7, {hop}, 10.0.0.2");
            assert_eq!(client("10.0.0.1", &[&list]), "10.0.0.2", "{hop:?}");
            assert_eq!(client("10.0.0.1", &["198.51.100.7", hop, "10.0.0.2"]), "10.0.0.2", "{hop:?}");
        }
        let bytes: &[u8] = b"198.51.100.7, \xff, 10.0.0.2";
        assert_eq!(proxies().client(ip("10.0.0.1"), [bytes].into_iter()), ip("10.0.0.2"));
    }

    #[test]
    fn of_very_many_hops_the_last_are_looked_at() {
        let list = |trusted| "198.51.100.7, ".to_owned() + &vec!["10.0.0.2"; trusted].join(", ");
        assert_eq!(client("10.0.0.1", &[&list(MOST_HOPS - 1)]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &[&list(MOST_HOPS)]), "10.0.0.2");
        let spaces = " ".repeat(1 << 20);
        assert_eq!(client("10.0.0.1", &[&format!("198.51.100.7,{spaces}")]), "10.0.0.1");
    }

    /// Mostly valid headers, and some others.
    fn header() -> impl Strategy<Value = Vec<u8>> {
        let hop = prop_oneof![
            Just("10.0.0.2".to_owned()),
            Just("2001:db8::7".to_owned()),
            any::<IpAddr>().prop_map(|address| address.to_string()),
            any::<SocketAddr>().prop_map(|address| address.to_string()),
            "[ -~]{0,70}",
        ];
        let list = prop::collection::vec(hop, 0..6).prop_map(|hops| hops.join(", ").into_bytes());
        prop_oneof![list, prop::collection::vec(any::<u8>(), 0..200)]
    }

    fn headers() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(header(), 0..4)
    }

    fn walk(peer: IpAddr, headers: &[Vec<u8>]) -> IpAddr {
        proxies().client(peer, headers.iter().map(Vec::as_slice))
    }

    proptest! {
        #[test]
        fn the_header_of_an_untrusted_peer_changes_nothing(peer in any::<IpAddr>(), headers in headers()) {
            prop_assume!(!proxies().is_trusted(peer));
            prop_assert_eq!(walk(peer, &headers), peer.to_canonical());
        }

        #[test]
        fn what_stands_left_of_the_client_changes_nothing(
            left in headers(),
            same_line in any::<bool>(),
            client in any::<IpAddr>(),
            trusted in prop::collection::vec(prop_oneof![Just("10.0.0.2"), Just("[2001:db8::7]:80")], 0..6),
        ) {
            prop_assume!(!proxies().is_trusted(client));
            let list = [&[&*client.to_string()], &*trusted].concat().join(", ").into_bytes();
            let mut headers = left;
            match headers.last_mut() {
                Some(last) if same_line => *last = [&**last, b",", &list].concat(),
                _ => headers.push(list),
            }
            prop_assert_eq!(walk(ip("10.0.0.1"), &headers), client.to_canonical());
        }

        #[test]
        fn an_answer_is_the_peer_or_a_hop_of_the_header(headers in headers()) {
            let found = walk(ip("10.0.0.1"), &headers);
            let mut hops = headers.iter().flat_map(|line| line.split(|&byte| byte == b','));
            prop_assert!(found == ip("10.0.0.1") || hops.any(|hop| address(hop) == Some(found)));
        }
    }
}
