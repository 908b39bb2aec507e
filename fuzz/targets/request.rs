//! Requests of clients: the parameters that are read must be the ones that were sent, and no
//! others.
//!
//! Input: `form`, `json` or `none`; the query; the `Authorization` header, or `=user:password` for
//! a valid one; the body.

use jitsiprovs::core::params::{Known, Params};
use jitsiprovs::core::request::{Body, MAX_PARAMS, Malformed, ParamSettings, UsernameOrigin, read};

use crate::text;

/// Runs the target on one input; panics at a defect.
pub fn run(data: &[u8]) {
    let (kind, rest) = text::line(data);
    let (query, rest) = text::line(rest);
    let (header, body) = text::line(rest);
    let settings = ParamSettings::default();
    let query = text::text(query.to_vec());
    let credentials = header.strip_prefix(b"=").map(|pair| text::text(pair.to_vec()));
    let header = match &credentials {
        Some(pair) => Some(format!("Basic {}", base64(pair.as_bytes())).into_bytes()),
        None => Some(header.to_vec()).filter(|header| !header.is_empty()),
    };
    let header = header.as_deref();
    let (body, pairs) = match kind.first() {
        Some(b'f') => (Body::Form(body), Some(pairs(body))),
        Some(b'j') => (Body::Json(body), None),
        _ => (Body::Empty, Some(vec![])),
    };
    let result = read(&query, body, header, &settings);
    assert_eq!(result.as_ref().map(sent).ok(), read(&query, body, header, &settings).as_ref().map(sent).ok());
    if let Ok((params, _)) = &result {
        check(params, &settings);
    }

    let Some(mut pairs) = pairs else { return };
    pairs.extend(self::pairs(query.as_bytes()));
    if pairs.len() > MAX_PARAMS {
        assert!(matches!(result, Err(Malformed::TooMany)));
        return;
    }
    let (params, origin) = result.expect("a form is always well-formed");
    let (mut expected, expected_origin) = expected(&pairs, &settings);
    let basic = credentials.as_deref().and_then(|pair| pair.split_once(':'));
    match (expected_origin, basic, header) {
        (UsernameOrigin::Header, Some((username, password)), _) => {
            let (name, domain) = split(username);
            let given = self::given(&pairs, Known::Domain, &settings);
            expected.0[Known::Username as usize] = Some(name).filter(|name| !name.is_empty());
            // Without either, it is the tenant of the username parameter or the default one.
            let fallback = expected.0[Known::Domain as usize].take();
            expected.0[Known::Domain as usize] = given.or(domain).or(fallback);
            expected.0[Known::Password as usize] = Some(password.to_owned());
        }
        // The content of the header is unknown here, except that it sets these three parameters.
        (UsernameOrigin::Header, None, Some(_)) => {
            for known in [Known::Username, Known::Password, Known::Domain] {
                expected.0[known as usize] = params.known(known).map(str::to_owned);
            }
        }
        (UsernameOrigin::Parameter, Some((username, password)), _) => {
            if names_the_same(&pairs, username, &settings) && !password.is_empty() {
                let form = &mut expected.0[Known::Password as usize];
                let is_damaged = password.contains('?') && form.as_ref().is_some_and(|form| !form.is_ascii());
                if !is_damaged {
                    *form = Some(password.to_owned());
                }
            }
        }
        // Here, it may set the password.
        (UsernameOrigin::Parameter, None, Some(_)) => {
            let password = params.known(Known::Password).map(str::to_owned);
            expected.0[Known::Password as usize] = password;
        }
        (_, None, None) => {}
    }
    assert_eq!((sent(&(params, origin)).0, origin), (expected.clone(), expected_origin));

    // The same pairs have the same meaning in each encoding.
    let encoded = |pairs: &[(String, String)]| {
        let percent = |side: &str| {
            let mut encoded = String::new();
            for byte in side.bytes() {
                encoded.push('%');
                text::hex(byte.into(), 2, &mut encoded);
            }
            encoded
        };
        let pair = |(name, value): &(String, String)| format!("{}={}", percent(name), percent(value));
        pairs.iter().map(pair).collect::<Vec<_>>().join("&")
    };
    let (first, second) = pairs.split_at(pairs.len() / 2);
    for (query, body) in [
        (encoded(&pairs), Body::Empty),
        (String::new(), Body::Form(encoded(&pairs).as_bytes())),
        (encoded(second), Body::Form(encoded(first).as_bytes())),
        (encoded(second), Body::Json(json(first).as_bytes())),
    ] {
        let again = read(&query, body, header, &settings).expect("no more parameters than before");
        assert_eq!((sent(&again).0, again.1), (expected.clone(), expected_origin), "{query} {body:?}");
    }
}

/// The known parameters and the others: the complete content of [`Params`].
type Sent = (Vec<Option<String>>, Vec<(String, String)>);

fn sent((params, origin): &(Params, UsernameOrigin)) -> (Sent, UsernameOrigin) {
    let known = Known::ALL.map(|known| params.known(known).map(str::to_owned)).to_vec();
    let others = params.others().map(|(name, value)| (name.to_owned(), value.to_owned()));
    ((known, others.collect()), *origin)
}

/// Checks what holds for all parameters in each encoding.
fn check(params: &Params, settings: &ParamSettings) {
    let others: Vec<(&str, &str)> = params.others().collect();
    assert!(others.len() <= MAX_PARAMS);
    assert!(params.known(Known::Domain).is_some_and(|domain| !domain.is_empty()));
    assert_ne!(params.known(Known::Username), Some(""));
    assert_ne!(params.known(Known::Hwaddr), Some("NA"));
    for (at, (name, value)) in others.iter().enumerate() {
        assert!(!["", "default", "null"].contains(name) && Known::from_name(name).is_none());
        assert!(!is_unfilled(name, value, settings) && !is_servers(name));
        assert!(others[..at].iter().all(|(other, _)| other != name));
    }
    // These may come from a Basic header, or from a part of a text.
    let split = [Known::Username, Known::Domain, Known::Password];
    for known in Known::ALL.into_iter().filter(|known| !split.contains(known)) {
        assert!(!params.known(known).is_some_and(is_placeholder));
    }
}

/// The specification, without the header.
fn expected(pairs: &[(String, String)], settings: &ParamSettings) -> (Sent, UsernameOrigin) {
    let mut known = Known::ALL.map(|known| given(pairs, known, settings)).to_vec();
    let (username, domain) = split(known[Known::Username as usize].as_deref().unwrap_or_default());
    let origin = if username.is_empty() { UsernameOrigin::Header } else { UsernameOrigin::Parameter };
    known[Known::Username as usize] = Some(username).filter(|username| !username.is_empty());
    known[Known::Domain as usize].get_or_insert(domain.unwrap_or_else(|| settings.default_domain.clone()));
    let mut others: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        let is_ours = ["", "default", "null"].contains(&&**name)
            || is_servers(name)
            || Known::from_name(name).is_some();
        if !is_ours && !is_unfilled(name, value, settings) && others.iter().all(|(other, _)| other != name) {
            others.push((name.clone(), value.clone()));
        }
    }
    ((known, others), origin)
}

/// Whether the username of a header is that of the parameters, and its tenant, if both say one.
fn names_the_same(pairs: &[(String, String)], username: &str, settings: &ParamSettings) -> bool {
    let same = |one: &str, other: &str| settings.comparison.fold(one) == settings.comparison.fold(other);
    let (name, said) = split(username);
    let (own, own_tenant) = split(&given(pairs, Known::Username, settings).unwrap_or_default());
    let tenant = given(pairs, Known::Domain, settings).or(own_tenant);
    same(&name, &own) && tenant.zip(said).is_none_or(|(tenant, said)| same(&tenant, &said))
}

/// The first valid value of the parameter, under its own name or else under an alias.
fn given(pairs: &[(String, String)], known: Known, settings: &ParamSettings) -> Option<String> {
    let is_given = |value: &str| match known {
        Known::Username | Known::Domain if value.is_empty() => false,
        Known::Hwaddr if value == "NA" => false,
        Known::Password => value != "${password}",
        _ => !is_placeholder(value),
    };
    let is_alias = |name: &str| settings.aliases.contains(&(name.to_owned(), known));
    let mut own = pairs.iter().filter(|(name, value)| name == known.name() && is_given(value));
    let mut alias = pairs.iter().filter(|(name, value)| is_alias(name) && is_given(value));
    own.next().or_else(|| alias.next()).map(|(_, value)| value.clone())
}

fn split(username: &str) -> (String, Option<String>) {
    let Some(at) = username.rfind('@') else { return (username.to_owned(), None) };
    (username[..at].to_owned(), Some(username[at + 1..].to_owned()).filter(|domain| !domain.is_empty()))
}

/// Whether only the server gives this name a value. The long s is an s, as names are compared.
fn is_servers(name: &str) -> bool {
    let name = name.replace('\u{17f}', "s").to_ascii_lowercase();
    name.starts_with("user.") || name.starts_with("client.")
}

/// Whether the client could not fill in a parameter, which therefore has no value. A password may
/// look like other placeholders, under each of its names.
fn is_unfilled(name: &str, value: &str, settings: &ParamSettings) -> bool {
    match settings.aliases.contains(&(name.to_owned(), Known::Password)) {
        true => value == "${password}",
        false => is_placeholder(value),
    }
}

fn is_placeholder(value: &str) -> bool {
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// Reads a form, independently of the library.
fn pairs(form: &[u8]) -> Vec<(String, String)> {
    let side = |side: &[u8]| {
        let spaced: Vec<u8> = side.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
        text::text(text::unescape(&spaced))
    };
    let pairs = form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| text::cut(pair, b'=')).map(|(name, value)| (side(name), side(value))).collect()
}

fn json(pairs: &[(String, String)]) -> String {
    let quoted = |side: &str| {
        let mut quoted = String::from('"');
        for unit in side.encode_utf16() {
            quoted.push_str("\\u");
            text::hex(unit, 4, &mut quoted);
        }
        quoted + "\""
    };
    let members = pairs.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= three.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}
