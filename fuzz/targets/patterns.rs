//! What patterns, networks and addresses in typed subjects match, without any index.

use std::net::{IpAddr, Ipv6Addr};

use jitsiprovs::core::params::Known;

/// A character, or a wildcard.
#[derive(Clone, Copy, PartialEq)]
enum Token {
    Char(char),
    Any,
    One,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = chars.next_if(|next| c == '\\' && "*?\\".contains(*next));
        tokens.push(match (c, escaped) {
            (_, Some(escaped)) => Token::Char(escaped),
            ('*', None) => Token::Any,
            ('?', None) => Token::One,
            (c, None) => Token::Char(c),
        });
    }
    tokens
}

/// Whether there are wildcards, and the pattern is longer than 255 bytes. Neighbouring `*` count
/// once.
pub fn is_too_long(text: &str) -> bool {
    let tokens = tokens(text);
    let runs = tokens.split(|token| matches!(token, Token::Char(_)));
    let wildcards = |run: &[Token]| {
        run.iter().filter(|token| **token == Token::One).count() + usize::from(run.contains(&Token::Any))
    };
    let chars = tokens.iter().map(|token| if let Token::Char(c) = token { c.len_utf8() } else { 0 });
    let has_wildcards = tokens.iter().any(|token| !matches!(token, Token::Char(_)));
    has_wildcards && runs.map(wildcards).sum::<usize>() + chars.sum::<usize>() > 255
}

/// Whether a value, in folded form as `wanted` is, matches what a subject says.
pub fn is_match(param: Option<Known>, wanted: &str, value: &str) -> bool {
    let tokens = tokens(wanted);
    let exact: Option<String> =
        tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect();
    match (param, exact) {
        (Some(Known::Ipaddr), Some(exact)) => match (network(wanted), ip(value), ip(&exact)) {
            (Some((network, len)), Some(value), _) => bits(network)[..=len] == bits(value)[..=len],
            (Some(_), None, _) => false,
            (None, Some(value), Some(exact)) => value == exact,
            (None, ..) => value == exact,
        },
        (Some(Known::Hwaddr), Some(exact)) => match (mac(value), mac(&exact)) {
            (Some(value), Some(exact)) => value == exact,
            _ => value == exact,
        },
        (Some(Known::Ipaddr), None) => {
            is_like(&tokens, &ip(value).map_or_else(|| value.to_owned(), |ip| ip.to_string()))
        }
        (Some(Known::Hwaddr), None) => match mac(value) {
            Some(digits) => [(":", 2), ("-", 2), (".", 4), ("", 4)].iter().any(|(separator, len)| {
                let groups: Vec<&str> =
                    (0..digits.len()).step_by(*len).map(|at| &digits[at..at + len]).collect();
                is_like(&tokens, &groups.join(separator))
            }),
            None => is_like(&tokens, value),
        },
        (_, Some(exact)) => value == exact,
        (_, None) => is_like(&tokens, value),
    }
}

/// Whether each prefix of the value matches each beginning of the pattern.
fn is_like(tokens: &[Token], value: &str) -> bool {
    let chars: Vec<char> = value.chars().collect();
    let mut matched = vec![vec![false; chars.len() + 1]; tokens.len() + 1];
    matched[0][0] = true;
    for (row, token) in tokens.iter().enumerate() {
        for at in 0..=chars.len() {
            matched[row + 1][at] = match token {
                Token::Any => matched[row][at] || at > 0 && matched[row + 1][at - 1],
                Token::One => at > 0 && matched[row][at - 1],
                Token::Char(c) => at > 0 && chars[at - 1] == *c && matched[row][at - 1],
            };
        }
    }
    !chars.is_empty() && matched[tokens.len()][chars.len()]
}

fn ip(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((address, _)) => address.parse::<Ipv6Addr>().ok()?.into(),
        None => text.parse::<IpAddr>().ok()?,
    };
    Some(address.to_canonical())
}

/// The version of an address and its bits.
fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("4{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("6{:0128b}", address.to_bits()),
    }
}

fn network(text: &str) -> Option<(IpAddr, usize)> {
    let (address, len) = text.split_once('/')?;
    let is_number = !len.is_empty() && len.len() <= 3 && len.bytes().all(|byte| byte.is_ascii_digit());
    let (address, len): (IpAddr, usize) = (address.parse().ok()?, len.parse().ok().filter(|_| is_number)?);
    let canonical = address.to_canonical();
    match (address.is_ipv6(), canonical.is_ipv4()) {
        (true, true) if (96..=128).contains(&len) => Some((canonical, len - 96)),
        (true, _) => (len <= 128).then_some((address, len)),
        (false, _) => (len <= 32).then_some((address, len)),
    }
}

fn mac(text: &str) -> Option<String> {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_grouped = |separator: char| {
        let mut groups = text.split(separator);
        groups.clone().count() > 1
            && [2, 4].iter().any(|len| groups.clone().all(|group| group.len() == *len))
            && groups.all(hex)
    };
    let digits = text.replace([':', '-', '.'], "").to_ascii_lowercase();
    let is_usual = hex(text) || [':', '-', '.'].into_iter().any(is_grouped);
    (is_usual && [12, 16, 40].contains(&digits.len())).then_some(digits)
}
