//! The PROXY protocol, versions 1 and 2: a proxy that forwards bytes first sends
//! a header with the client's address.
//!
//! The header is read from trusted proxies only; from others the same bytes are an
//! invalid request. <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line that the protocol allows, with its end.
const V1_LONGEST: usize = 107;
/// The length of what stands before the addresses: signature, command, family, length.
const V2_FIXED: usize = 16;
/// The longest header that is accepted; the protocol allows 64 KiB. Proxies add a
/// certificate's name to the addresses, not whole certificates.
const V2_LONGEST: usize = 4096;
/// How long to wait before checking an incomplete header again. Its bytes stay in the
/// socket, so the system does not report when more arrive.
const PAUSE: Duration = Duration::from_millis(5);

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// There are not enough bytes to decide.
    Partial,
    /// No header.
    Other,
    /// A header.
    Header(Header),
}

/// A header, which may not have arrived completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The length in bytes; the bytes after it are the client's.
    pub length: usize,
    /// The client; `None` if the proxy speaks for itself, as in health checks,
    /// or the client has no address.
    pub source: Option<IpAddr>,
}

/// Why a connection that begins with a header is not served.
#[derive(Debug, thiserror::Error)]
pub enum BadHeader {
    /// It cannot be read.
    #[error("it is malformed")]
    Malformed,
    /// It is longer than any header needs to be.
    #[error("it is too long")]
    TooLong,
    /// It did not arrive in time.
    #[error("it took too long")]
    Late,
    /// The connection ended or failed before the header was complete.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// Decides what a connection begins with; `bytes` are its first. Once that is decided,
/// more bytes do not change it; 107 bytes are always enough.
///
/// # Errors
/// When `bytes` are a header that is refused.
pub fn parse(bytes: &[u8]) -> Result<Opening, BadHeader> {
    if let Some(rest) = bytes.strip_prefix(V1_SIGNATURE) {
        let longest = &bytes[..bytes.len().min(V1_LONGEST)];
        let Some(end) = longest.windows(2).position(|two| two == b"\r\n") else {
            return if longest.len() < V1_LONGEST { Ok(Opening::Partial) } else { Err(BadHeader::TooLong) };
        };
        let source = line(&rest[..end - V1_SIGNATURE.len()]).ok_or(BadHeader::Malformed)?;
        return Ok(Opening::Header(Header { length: end + 2, source }));
    }
    if bytes.starts_with(V2_SIGNATURE) {
        return binary(bytes);
    }
    let is_partial = [V1_SIGNATURE, V2_SIGNATURE].iter().any(|signature| signature.starts_with(bytes));
    Ok(if is_partial { Opening::Partial } else { Opening::Other })
}

/// The rest of a line of version 1: `TCP4 192.0.2.1 192.0.2.2 4711 443`.
fn line(text: &[u8]) -> Option<Option<IpAddr>> {
    // The protocol says to ignore the rest of the line.
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    let fields: Vec<&str> = str::from_utf8(text).ok()?.split(' ').collect();
    let [family, source, destination, ports @ ..] = &*fields else { return None };
    // The parser of numbers would accept a sign.
    let is_port = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let [source, destination]: [IpAddr; 2] = [source.parse().ok()?, destination.parse().ok()?];
    let is_consistent = match *family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (is_consistent && ports.len() == 2 && ports.iter().all(is_port)).then_some(Some(source))
}

/// A header of version 2. The bytes after the addresses are not used.
fn binary(bytes: &[u8]) -> Result<Opening, BadHeader> {
    let Some([command, family, high, low]) = bytes.get(V2_SIGNATURE.len()..V2_FIXED) else {
        return Ok(Opening::Partial);
    };
    let size = usize::from(u16::from_be_bytes([*high, *low]));
    let length = V2_FIXED + size;
    if length > V2_LONGEST {
        return Err(BadHeader::TooLong);
    }
    let addresses = match (command, family) {
        // The protocol says to ignore the family of command 0x20.
        (0x20, _) | (0x21, 0x00) => 0,
        (0x21, 0x11 | 0x12) => 2 * (4 + 2),
        (0x21, 0x21 | 0x22) => 2 * (16 + 2),
        (0x21, 0x31 | 0x32) => 2 * 108,
        _ => return Err(BadHeader::Malformed),
    };
    if size < addresses {
        return Err(BadHeader::Malformed);
    }
    let rest = &bytes[V2_FIXED..];
    let source = match addresses {
        12 => rest.first_chunk().map(|v4: &[u8; 4]| Some(Ipv4Addr::from(*v4).into())),
        36 => rest.first_chunk().map(|v6: &[u8; 16]| Some(Ipv6Addr::from(*v6).into())),
        _ => Some(None),
    };
    Ok(source.map_or(Opening::Partial, |source| Opening::Header(Header { length, source })))
}

/// Reads the header from `stream`, if it begins with one, and nothing after it.
/// The header may arrive in pieces, but within `time`.
///
/// # Errors
/// When the header is refused.
pub async fn read(stream: &mut TcpStream, time: Duration) -> Result<Option<Header>, BadHeader> {
    let reading = async {
        let mut bytes = [0; V1_LONGEST];
        let header = loop {
            // This is checked first, so that no byte can arrive between the two calls.
            let is_over = stream.ready(Interest::READABLE).await?.is_read_closed();
            let arrived = stream.peek(&mut bytes).await?;
            match parse(&bytes[..arrived])? {
                Opening::Header(header) => break header,
                Opening::Other => return Ok(None),
                Opening::Partial if arrived == 0 => return Ok(None),
                Opening::Partial if is_over => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Opening::Partial => sleep(PAUSE).await,
            }
        };
        let mut left = header.length;
        while left > 0 {
            let piece = left.min(bytes.len());
            left -= stream.read_exact(&mut bytes[..piece]).await?;
        }
        Ok(Some(header))
    };
    timeout(time, reading).await.unwrap_or(Err(BadHeader::Late))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The result of [`parse`], in a form that can be compared.
    fn told(bytes: &[u8]) -> Result<Opening, String> {
        parse(bytes).map_err(|why| why.to_string())
    }

    fn header(length: usize, source: Option<&str>) -> Result<Opening, String> {
        Ok(Opening::Header(Header { length, source: source.map(|text| text.parse().unwrap()) }))
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let size = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &size, body].concat()
    }

    /// A header of `version` as a proxy writes it.
    fn written(version: u8, source: IpAddr, tlvs: &[u8]) -> Vec<u8> {
        match (version, source) {
            (1, IpAddr::V4(source)) => format!("PROXY TCP4 {source} 192.0.2.2 0 65535\r\n").into_bytes(),
            (1, IpAddr::V6(source)) => format!("PROXY TCP6 {source} 2001:db8::2 1 443\r\n").into_bytes(),
            (_, IpAddr::V4(source)) => v2(0x21, 0x11, &[&source.octets(), &[9; 8][..], tlvs].concat()),
            (_, IpAddr::V6(source)) => v2(0x21, 0x21, &[&source.octets(), &[9; 20][..], tlvs].concat()),
        }
    }

    #[test]
    fn a_line_names_the_client_or_nobody() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n", Some("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", Some("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 0\r\n", Some("::ffff:192.0.2.1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN whatever \u{e4} \r stands there\r\n", None),
        ] {
            assert_eq!(told(line.as_bytes()), header(line.len(), source), "{line:?}");
            assert_eq!(told(&[line.as_bytes(), b"POST"].concat()), header(line.len(), source), "{line:?}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_LONGEST - 16));
        assert_eq!(told(longest.as_bytes()), header(V1_LONGEST, None));
    }

    #[test]
    fn a_line_that_says_something_else_is_malformed() {
        for line in [
            "PROXY \r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 4711 443\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 1\r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 4711 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711 +443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
            "PROXY TCP4 192.0.2.1 2001:db8::2 4711 443\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 4711 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\nPOST / HTTP/1.1\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.2 4711 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY / HTTP/1.1\r\n",
        ] {
            assert_eq!(told(line.as_bytes()), Err("it is malformed".into()), "{line:?}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_LONGEST - 15));
        assert_eq!(told(long.as_bytes()), Err("it is too long".into()));
    }

    #[test]
    fn of_version_2_what_names_no_client_keeps_the_peer() {
        for (command, family, body) in [
            (0x20, 0x00, &[][..]),
            (0x20, 0x11, &[1; 12]),
            (0x20, 0x11, &[]),
            (0x20, 0xff, &[1; 5]),
            (0x21, 0x00, &[1; 12]),
            (0x21, 0x31, &[1; 216]),
        ] {
            let bytes = v2(command, family, body);
            assert_eq!(told(&bytes), header(bytes.len(), None), "{command:x} {family:x}");
        }
        for (command, family, body) in [
            (0x22, 0x11, &[1; 12][..]),
            (0x11, 0x11, &[1; 12]),
            (0x21, 0x10, &[1; 12]),
            (0x21, 0x41, &[1; 216]),
            (0x21, 0x11, &[1; 11]),
            (0x21, 0x21, &[1; 35]),
            (0x21, 0x31, &[1; 215]),
        ] {
            let bytes = v2(command, family, body);
            assert_eq!(told(&bytes), Err("it is malformed".into()), "{command:x} {family:x}");
        }
    }

    #[test]
    fn version_2_may_have_4_kib_in_all() {
        let longest = v2(0x21, 0x11, &[1; V2_LONGEST - V2_FIXED]);
        assert_eq!(told(&longest), header(V2_LONGEST, Some("1.1.1.1")));
        assert_eq!(told(&longest[..V1_LONGEST]), header(V2_LONGEST, Some("1.1.1.1")));
        assert_eq!(told(&v2(0x20, 0x00, &[1; V2_LONGEST + 1 - V2_FIXED])), Err("it is too long".into()));
    }

    #[test]
    fn neither_http_nor_tls_is_taken_for_a_header() {
        let begins: [&[u8]; 8] =
            [b"GET /", b"POST", b"PRI *", b"PUT", b"PROXYS /", b"\r\nGET", b"\r\n\r\nGET", b"\x16\x03\x01"];
        for bytes in begins {
            assert_eq!(told(bytes), Ok(Opening::Other), "{bytes:?}");
        }
        for bytes in [&b""[..], b"P", b"PROXY", b"PROXY TC", b"\r", b"\r\n\r\n", V2_SIGNATURE] {
            assert_eq!(told(bytes), Ok(Opening::Partial), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_proxy_writes_is_read_however_it_is_split(
            version in 1_u8..=2,
            source in any::<IpAddr>(),
            tlvs in prop::collection::vec(any::<u8>(), 0..300),
            after in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let bytes = written(version, source, &tlvs);
            let expected = Ok(Opening::Header(Header { length: bytes.len(), source: Some(source) }));
            let all = [bytes, after].concat();
            prop_assert_eq!(told(&all), expected.clone());
            for cut in 0..all.len() {
                let piece = told(&all[..cut]);
                prop_assert!(piece == Ok(Opening::Partial) || piece == expected, "{} {:?}", cut, piece);
            }
        }

        #[test]
        fn once_bytes_tell_more_of_them_tell_the_same_and_107_do(
            begin in prop::sample::select(vec![
                &b""[..], b"P", V1_SIGNATURE, b"PROXY TCP4 ", b"PROXY UNKNOWN ", V2_SIGNATURE,
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0",
            ]),
            rest in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..150),
                "[0-9a-f.: \r\n]{0,150}".prop_map(String::into_bytes),
            ],
        ) {
            let bytes = [begin, &rest].concat();
            let whole = told(&bytes);
            prop_assert!(bytes.len() < V1_LONGEST || whole != Ok(Opening::Partial));
            for cut in 0..bytes.len() {
                let piece = told(&bytes[..cut]);
                prop_assert!(piece == Ok(Opening::Partial) || piece == whole, "{} {:?}", cut, piece);
            }
        }
    }
}
