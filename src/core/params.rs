//! The parameters of one request, and their names.

use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use super::names::Comparison;

/// The parameters that a Jitsi client can fill by itself and whose values select rules
/// (`ProvisioningServiceImpl` of the client, plus `domain`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the parameters' names")]
pub enum Known {
    Username,
    Password,
    Domain,
    Osname,
    Ipaddr,
    Hwaddr,
    Build,
    Uuid,
    Arch,
    Hostname,
    Locale,
    Resx,
    Resy,
}

impl Known {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Known; 13] = [
        Known::Username,
        Known::Password,
        Known::Domain,
        Known::Osname,
        Known::Ipaddr,
        Known::Hwaddr,
        Known::Build,
        Known::Uuid,
        Known::Arch,
        Known::Hostname,
        Known::Locale,
        Known::Resx,
        Known::Resy,
    ];

    /// The parameter's name in requests, templates and typed subjects.
    pub fn name(self) -> &'static str {
        match self {
            Known::Username => "username",
            Known::Password => "password",
            Known::Domain => "domain",
            Known::Osname => "osname",
            Known::Ipaddr => "ipaddr",
            Known::Hwaddr => "hwaddr",
            Known::Build => "build",
            Known::Uuid => "uuid",
            Known::Arch => "arch",
            Known::Hostname => "hostname",
            Known::Locale => "locale",
            Known::Resx => "resx",
            Known::Resy => "resy",
        }
    }

    /// The parameter called `name`, if it is one of these.
    pub fn from_name(name: &str) -> Option<Known> {
        Known::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether an authenticated request always has it.
    pub fn always_given(self) -> bool {
        matches!(self, Known::Username | Known::Password | Known::Domain)
    }
}

/// The client sends this text if it does not have a password.
pub const UNFILLED_PASSWORD: &str = "${password}";

/// Other names of known parameters.
pub type Aliases = Vec<(String, Known)>;

/// The aliases that need no option: names that the example URL in Jitsi's own documentation uses.
pub fn built_in_aliases() -> Aliases {
    [("user", Known::Username), ("pass", Known::Password), ("os", Known::Osname), ("hw", Known::Hwaddr)]
        .map(|(alias, known)| (alias.to_owned(), known))
        .into()
}

/// The name of a parameter: a [`Known`] one or one of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ParamName {
    /// A parameter that clients fill by themselves.
    Known(Known),
    /// A parameter that the operator wrote into the client's URL.
    Other(Box<str>),
    /// `user.` and the name of an attribute, which is in lower case here.
    Attribute(Box<str>),
    /// `client.` and what the server knows of the request.
    Client(ClientFact),
}

/// What the server itself knows of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientFact {
    /// `client.address`: the address from which the client asks.
    Address,
    /// `client.username`: the username as it was typed.
    Username,
}

impl ClientFact {
    /// All of them.
    pub const ALL: [ClientFact; 2] = [ClientFact::Address, ClientFact::Username];

    /// Its name in templates and typed subjects.
    pub fn name(self) -> &'static str {
        match self {
            ClientFact::Address => "client.address",
            ClientFact::Username => "client.username",
        }
    }
}

/// What the names of attributes begin with in templates and subjects.
const ATTRIBUTE: &str = "user.";
/// What names begin with that the server alone may give a value. Clients cannot send them.
const RESERVED: [&str; 2] = [ATTRIBUTE, "client."];

/// Whether only the server may give this name a value, in whatever way it is written.
pub fn is_reserved(name: &str) -> bool {
    if !name.is_ascii() {
        let folded = Comparison::Folded.fold(name);
        return RESERVED.iter().any(|reserved| folded.starts_with(reserved.as_bytes()));
    }
    let begins = |reserved: &&str| {
        name.get(..reserved.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(reserved))
    };
    RESERVED.iter().any(begins)
}

impl ParamName {
    /// The meaning of `name`.
    pub fn new(name: &str) -> Self {
        if let Some(known) = Known::from_name(name) {
            return ParamName::Known(known);
        }
        let attribute = name.get(..ATTRIBUTE.len()).filter(|begin| begin.eq_ignore_ascii_case(ATTRIBUTE));
        if attribute.is_some() {
            return ParamName::Attribute(name[ATTRIBUTE.len()..].to_ascii_lowercase().into());
        }
        let fact = ClientFact::ALL.into_iter().find(|fact| fact.name().eq_ignore_ascii_case(name));
        fact.map_or_else(|| ParamName::Other(name.into()), ParamName::Client)
    }

    /// Whether every authenticated request has a value for it.
    pub fn always_given(&self) -> bool {
        match self {
            ParamName::Known(known) => known.always_given(),
            ParamName::Client(_) => true,
            ParamName::Other(_) | ParamName::Attribute(_) => false,
        }
    }
}

impl fmt::Display for ParamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamName::Known(known) => f.write_str(known.name()),
            ParamName::Other(name) => f.write_str(name),
            ParamName::Attribute(name) => write!(f, "{ATTRIBUTE}{name}"),
            ParamName::Client(fact) => f.write_str(fact.name()),
        }
    }
}

/// Whether `byte` can begin a parameter name in a template.
pub fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// Whether `byte` can continue a parameter name inside a template's braces.
pub fn continues_name(byte: u8) -> bool {
    begins_name(byte) || byte.is_ascii_digit() || byte == b'.'
}

/// What fills the holes of templates.
pub trait Values {
    /// The value of `name`, if there is one.
    fn get(&self, name: &ParamName) -> Option<&str>;
}

/// The parameters of one request. They include the password, so `Debug` shows only their number.
#[derive(Clone, Default)]
pub struct Params {
    known: [Option<String>; Known::ALL.len()],
    other: Vec<(String, String)>,
    address: Option<IpAddr>,
    /// The address as text, once something needs it.
    address_text: OnceLock<Box<str>>,
}

impl Values for Params {
    /// The value that the client sent, or what the server knows of the client.
    fn get(&self, name: &ParamName) -> Option<&str> {
        match name {
            ParamName::Known(known) => self.known(*known),
            ParamName::Other(name) => self.other(name),
            ParamName::Client(ClientFact::Username) => self.known(Known::Username),
            ParamName::Client(ClientFact::Address) => self.address(),
            ParamName::Attribute(_) => None,
        }
    }
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// The address from which the client asks.
    pub fn address(&self) -> Option<&str> {
        let address = self.address?;
        Some(self.address_text.get_or_init(|| address.to_string().into()))
    }

    /// Sets the address from which the client asks.
    pub fn set_address(&mut self, address: IpAddr) {
        (self.address, self.address_text) = (Some(address), OnceLock::new());
    }

    /// The value of a known parameter.
    pub fn known(&self, name: Known) -> Option<&str> {
        self.known[name as usize].as_deref()
    }

    /// The name and value of every parameter that is not a known one.
    pub fn others(&self) -> impl Iterator<Item = (&str, &str)> {
        self.other.iter().map(|(name, value)| (&**name, &**value))
    }

    fn other(&self, name: &str) -> Option<&str> {
        let pair = self.other.iter().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// Sets `name` to `value` unless it has a value already: the first of repeated names counts.
    pub fn offer(&mut self, name: &str, value: String) {
        match Known::from_name(name) {
            Some(known) => self.offer_known(known, value),
            None if self.other(name).is_none() => self.other.push((name.to_owned(), value)),
            None => {}
        }
    }

    /// Does the same as [`Params::offer`] for a known parameter.
    pub fn offer_known(&mut self, name: Known, value: String) {
        self.known[name as usize].get_or_insert(value);
    }

    /// Removes a known parameter.
    pub fn take(&mut self, name: Known) -> Option<String> {
        self.known[name as usize].take()
    }

    /// Sets a known parameter, or removes it.
    pub fn set(&mut self, name: Known, value: Option<String>) {
        self.known[name as usize] = value;
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.iter().flatten().count();
        write!(f, "Params({} given)", known + self.other.len())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Params {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut params = Params::new();
        for (name, value) in pairs {
            params.offer(name, value.to_owned());
        }
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_listed_in_the_order_of_their_discriminants() {
        for (place, known) in Known::ALL.into_iter().enumerate() {
            assert_eq!(known as usize, place);
            assert_eq!(Known::from_name(known.name()), Some(known));
        }
    }

    #[test]
    fn names_that_the_server_gives_a_value_are_known_in_every_spelling() {
        for name in ["user.x", "USER.", "Client.address", "uſer.x", "client.other"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["user", "users.x", "client", "xuser.a", "us", "é.user."] {
            assert!(!is_reserved(name), "{name}");
        }
        assert_eq!(ParamName::new("User.Line2"), ParamName::Attribute("line2".into()));
        assert_eq!(ParamName::new("CLIENT.address"), ParamName::Client(ClientFact::Address));
        assert_eq!(ParamName::new("client.other"), ParamName::Other("client.other".into()));
    }

    #[test]
    fn of_a_repeated_parameter_the_first_counts() {
        let params: Params =
            [("osname", "Linux"), ("osname", "Mac"), ("x", "1"), ("x", "2")].into_iter().collect();
        assert_eq!(params.known(Known::Osname), Some("Linux"));
        assert_eq!(params.get(&ParamName::new("x")), Some("1"));
    }
}
