//! Reads what a client sent into [`Params`]: query, form, JSON and HTTP Basic, merged by the
//! rules of the protocol.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use percent_encoding::percent_decode;

use crate::core::names::Comparison;
use crate::core::params::{
    Aliases, Known, Params, UNFILLED_PASSWORD, begins_name, built_in_aliases, continues_name, is_reserved,
};

/// Requests with more pairs than this, including repeated names, are refused.
pub const MAX_PARAMS: usize = 64;

/// The settings for reading requests.
#[derive(Debug, Clone)]
pub struct ParamSettings {
    /// The tenant of a request that names none (`--default-domain`).
    pub default_domain: String,
    /// Other names of known parameters.
    pub aliases: Aliases,
    /// How names are compared (`--case-sensitive`).
    pub comparison: Comparison,
    /// Whether clients encode values once more than others do, all but usernames and passwords.
    pub values_are_encoded_twice: bool,
}

impl Default for ParamSettings {
    fn default() -> Self {
        ParamSettings {
            default_domain: "localdomain".into(),
            aliases: built_in_aliases(),
            comparison: Comparison::default(),
            values_are_encoded_twice: false,
        }
    }
}

/// The body of a request, by its content type.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// No body, or a body that is ignored.
    Empty,
    /// `application/x-www-form-urlencoded`
    Form(&'a [u8]),
    /// `application/json`, which aTalk sends
    Json(&'a [u8]),
}

/// The place of the username in the request. It decides what a refusal must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsernameOrigin {
    /// A parameter.
    Parameter,
    /// HTTP Basic, or no place at all. A refusal then has a Basic challenge.
    Header,
}

/// Why a request cannot be read, as one line for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More than [`MAX_PARAMS`] parameters.
    #[error("more than {MAX_PARAMS} parameters")]
    TooMany,
    /// The body is not valid JSON, or it is nested.
    #[error("the body is not a flat JSON object of strings, numbers and booleans")]
    Json,
}

/// Merges all parameters of a request. `authorization` is the value of the `Authorization`
/// header.
///
/// # Errors
/// When the request is [`Malformed`].
pub fn read(
    query: &str,
    body: Body<'_>,
    authorization: Option<&[u8]>,
    settings: &ParamSettings,
) -> Result<(Params, UsernameOrigin), Malformed> {
    let mut reading = Reading { settings, params: Params::new(), aliased: Vec::new(), pairs: 0 };
    // The form comes before the query, because the first of repeated names counts.
    match body {
        Body::Empty => {}
        Body::Form(form) => reading.add(urlencoded(form))?,
        Body::Json(json) => reading.add(json_pairs(json)?)?,
    }
    reading.add(urlencoded(query.as_bytes()))?;
    let Reading { mut params, aliased, .. } = reading;
    // The aliases come last, so that the canonical name always wins.
    for (known, value) in aliased {
        params.offer_known(known, value);
    }
    let origin = identify(&mut params, authorization, settings);
    Ok((params, origin))
}

/// What was read of a request so far.
struct Reading<'s> {
    settings: &'s ParamSettings,
    params: Params,
    /// The values of known parameters under other names.
    aliased: Vec<(Known, String)>,
    pairs: usize,
}

impl Reading<'_> {
    fn add<'a>(&mut self, pairs: impl IntoIterator<Item = Pair<'a>>) -> Result<(), Malformed> {
        for (name, value) in pairs {
            self.pairs += 1;
            if self.pairs > MAX_PARAMS {
                return Err(Malformed::TooMany);
            }
            // Dropped before anything else sees it, so that no alias can stand for it either.
            if is_reserved(&name) {
                continue;
            }
            let alias = self.settings.aliases.iter().find(|(alias, _)| *alias == *name);
            let known = alias.map(|(_, known)| *known);
            let is_typed = || {
                matches!(known.or_else(|| Known::from_name(&name)), Some(Known::Username | Known::Password))
            };
            let value = match self.settings.values_are_encoded_twice && !is_typed() {
                true => decode(value.as_bytes(), Some(&value)).into_owned().into(),
                false => value,
            };
            // A password is treated as such under any of its names, in templates too.
            let is_password = known == Some(Known::Password);
            let given_as = if is_password { Known::Password.name() } else { &name };
            if let Some(known) = known.filter(|known| is_given(known.name(), &value)) {
                self.aliased.push((known, value.clone().into_owned()));
            }
            if is_given(given_as, &value) {
                self.params.offer(&name, value.into_owned());
            }
        }
        Ok(())
    }
}

/// Whether the client really sent this pair: the client could fill the value, and the name is not
/// reserved for the server.
fn is_given(name: &str, value: &str) -> bool {
    match name {
        "" | "default" | "null" => false,
        "username" | "domain" if value.is_empty() => false,
        // aTalk sends this for an address that it cannot find out.
        "hwaddr" if value == "NA" => false,
        // People choose passwords, so a password may look like any other placeholder.
        "password" => value != UNFILLED_PASSWORD,
        _ => !is_placeholder(value),
    }
}

/// Whether the value is a placeholder such as `${hwaddr}`, which means that the client did not
/// know the value.
fn is_placeholder(value: &str) -> bool {
    let inner = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|name| name.bytes().next().is_some_and(begins_name) && name.bytes().all(continues_name))
}

/// Determines the username, the domain and the password.
fn identify(params: &mut Params, authorization: Option<&[u8]>, settings: &ParamSettings) -> UsernameOrigin {
    let (mut name, mut tenant) = split(params.take(Known::Username).unwrap_or_default());
    let domain = params.take(Known::Domain);
    let origin = if name.is_empty() { UsernameOrigin::Header } else { UsernameOrigin::Parameter };
    if let Some((username, password)) = authorization.and_then(basic) {
        let (username, said) = split(username);
        if name.is_empty() {
            // With `username=${username}@example.org` in its URL, a client that knows no name yet
            // sends the tenant alone.
            (name, tenant) = (username, said.or(tenant));
            params.set(Known::Password, Some(password));
        } else {
            let same =
                |one: &str, other: &str| settings.comparison.fold(one) == settings.comparison.fold(other);
            let tenants = domain.as_deref().or(tenant.as_deref()).zip(said.as_deref());
            let is_same = same(&name, &username) && tenants.is_none_or(|(one, other)| same(one, other));
            if is_same && is_whole(&password, params.known(Known::Password)) {
                params.set(Known::Password, Some(password));
            }
        }
    }
    params.set(Known::Username, Some(name).filter(|name| !name.is_empty()));
    let domain = domain.or(tenant).unwrap_or_else(|| settings.default_domain.clone());
    params.set(Known::Domain, Some(domain));
    origin
}

/// Whether the password of HTTP Basic can be trusted more than that of the form for the same user.
/// aTalk cuts passwords with `=` or `&` out of its JSON; but a client may turn characters that are
/// not ASCII into `?` for Basic.
fn is_whole(of_basic: &str, of_form: Option<&str>) -> bool {
    let may_be_replaced = of_basic.contains('?') && of_form.is_some_and(|form| !form.is_ascii());
    !of_basic.is_empty() && !may_be_replaced
}

/// Splits `user@domain` at the last `@`.
fn split(mut username: String) -> (String, Option<String>) {
    let Some(at) = username.bytes().rposition(|byte| byte == b'@') else { return (username, None) };
    let domain = username.split_off(at + 1);
    username.truncate(at);
    (username, Some(domain).filter(|domain| !domain.is_empty()))
}

fn basic(authorization: &[u8]) -> Option<(String, String)> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(token.trim()).ok()?;
    let (username, password) =
        text(decoded.into()).split_once(':').map(|(u, p)| (u.to_owned(), p.to_owned()))?;
    Some((username, password))
}

/// A name and a value, borrowed if they are in the request as they are.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

fn urlencoded(bytes: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    // Most texts are UTF-8 as a whole, and need no check of each part.
    let utf8 = str::from_utf8(bytes).ok();
    let side = move |place: Range<usize>| decode(&bytes[place.clone()], utf8.map(|text| &text[place]));
    let mut next = 0;
    let places = bytes.split(|&byte| byte == b'&').map(move |pair| {
        let begin = next;
        next += pair.len() + "&".len();
        begin..begin + pair.len()
    });
    places.filter(|pair| !pair.is_empty()).map(move |pair| {
        let equals = bytes[pair.clone()].iter().position(|&byte| byte == b'=');
        let (name, value) = match equals {
            Some(at) => (pair.start..pair.start + at, pair.start + at + 1..pair.end),
            None => (pair.clone(), pair.end..pair.end),
        };
        (side(name), side(value))
    })
}

/// Decodes `+` and `%XX`. Malformed parts stay as they are. `utf8` is the same text if it is
/// known to be UTF-8.
fn decode<'a>(side: &'a [u8], utf8: Option<&'a str>) -> Cow<'a, str> {
    if !side.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return utf8.map_or_else(|| text(side.into()), Cow::from);
    }
    let mut decoded = side.to_vec();
    // This comes before percent decoding, because `%2B` is a plus.
    decoded.iter_mut().filter(|byte| **byte == b'+').for_each(|byte| *byte = b' ');
    if decoded.contains(&b'%') {
        decoded = percent_decode(&decoded).collect();
    }
    text(decoded.into())
}

/// Decodes UTF-8 or, if it is not valid, ISO-8859-1, which one fork of the client sends.
fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    let latin = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map_or_else(|_| latin(bytes), Cow::from),
        Cow::Owned(bytes) => String::from_utf8(bytes).map_or_else(|bad| latin(bad.as_bytes()), Cow::from),
    }
}

fn json_pairs(json: &[u8]) -> Result<Vec<Pair<'static>>, Malformed> {
    let Flat(pairs) = serde_json::from_str(&text(json.into())).map_err(|_| Malformed::Json)?;
    let text = |value| match value {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) => Ok(Some(text)),
        serde_json::Value::Number(number) => Ok(Some(number.to_string())),
        serde_json::Value::Bool(truth) => Ok(Some(truth.to_string())),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => Err(Malformed::Json),
    };
    let given =
        pairs.into_iter().map(|(name, value)| Ok(text(value)?.map(|value| (name.into(), value.into()))));
    given.filter_map(Result::transpose).collect()
}

/// A JSON object with its members in order, including repeated ones.
struct Flat(Vec<(String, serde_json::Value)>);

impl<'de> serde::Deserialize<'de> for Flat {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Flat;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Flat, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Flat(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests;
