//! The clients to which a rule applies, according to its subject.
//!
//! A subject is a value with a type. Only [`Conventions::written_subject`] reads it, and resolves
//! the names of parameters; the index uses the result as its key. The type depends only on the
//! text of the subject, so it stays the same when users are added or removed:
//!
//! - `default` is everyone;
//! - `param=value` is every client that sends this value for this parameter;
//! - `param=pattern`, with the wildcards `*` and `?`, is every client that sends a value that
//!   matches, and so is a network for the parameters that are IP addresses;
//! - any other word is the name of a user.
//!
//! The original also compared a bare word with every parameter that a client sends. That would
//! let a client get another user's rules as soon as that user's row is missing. So here a bare
//! word is compared with a parameter only if it has a form that machines' values have and users'
//! names do not ([`sent_for`]), and only as long as no user has this name.

use std::fmt;
use std::net::IpAddr;

use crate::core::address;
use crate::core::conventions::Conventions;
use crate::core::model::Cell;
use crate::core::names::{Comparison, Folded};
use crate::core::params::{ClientFact, Known, ParamName, begins_name, continues_name, is_reserved};
use crate::core::pattern::{self, Written};
use crate::core::secret::HIDDEN;

/// The clients to which a rule applies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// `default`
    Everyone,
    /// A word without a parameter, in folded form.
    Word(Folded),
    /// `param=value`, with the value in the form in which values are compared.
    Param(TypedBy, Folded),
    /// `param=pattern`
    Pattern(TypedBy, PatternKind, Folded),
}

/// What a subject compares values with, if not with one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PatternKind {
    /// Wildcards. The pattern is in the form of [`core::pattern`](crate::core::pattern).
    Glob,
    /// An IP network, as `10.1.0.0/16`.
    Network,
}

impl PatternKind {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            PatternKind::Glob => "pattern",
            PatternKind::Network => "network",
        }
    }

    /// A pattern as it is written in a subject.
    pub fn shown(self, pattern: &[u8]) -> String {
        match self {
            PatternKind::Glob => pattern::shown(pattern),
            PatternKind::Network => String::from_utf8_lossy(pattern).into_owned(),
        }
    }
}

/// The parameter of a typed subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TypedBy {
    /// A parameter that clients fill by themselves, under any of its names.
    Known(Known),
    /// A parameter that the operator wrote into the client's URL, in folded form.
    Other(Folded),
    /// `user.` and the name of an attribute, in lower case.
    Attribute(Box<str>),
    /// What the server itself knows of a request.
    Client(ClientFact),
}

/// How the values of a parameter are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// As names are.
    Text,
    /// As IP addresses.
    Ip,
    /// As MAC addresses.
    Mac,
}

impl fmt::Display for TypedBy {
    /// Its name in subjects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypedBy::Known(known) => f.write_str(known.name()),
            TypedBy::Other(name) => f.write_str(&String::from_utf8_lossy(name)),
            TypedBy::Attribute(name) => ParamName::Attribute(name.clone()).fmt(f),
            TypedBy::Client(fact) => f.write_str(fact.name()),
        }
    }
}

impl TypedBy {
    /// How its values are compared.
    pub fn value_kind(&self) -> ValueKind {
        match self {
            TypedBy::Known(Known::Ipaddr) | TypedBy::Client(ClientFact::Address) => ValueKind::Ip,
            TypedBy::Known(Known::Hwaddr) => ValueKind::Mac,
            _ => ValueKind::Text,
        }
    }
}

impl ValueKind {
    /// The form in which a value is compared with exact subjects.
    pub fn compared(self, value: &str, comparison: Comparison) -> Folded {
        self.canonical(comparison.fold(value))
    }

    /// A folded value with an address in its usual spelling.
    fn canonical(self, folded: Folded) -> Folded {
        let address = match self {
            ValueKind::Text => None,
            ValueKind::Ip => address::canonical_ip(&folded),
            ValueKind::Mac => address::canonical_mac(&folded),
        };
        address.unwrap_or(folded)
    }

    /// Calls `take` with each form in which a value is compared with wildcards: it matches if one
    /// of them does.
    pub fn each_form(self, value: &str, comparison: Comparison, mut take: impl FnMut(&[u8])) {
        let folded = self.of_globs(comparison).fold(value);
        match self {
            ValueKind::Mac => address::each_mac_spelling(&folded, take),
            ValueKind::Text | ValueKind::Ip => take(&self.canonical(folded)),
        }
    }

    /// How patterns are compared. The case of digits in addresses never counts.
    fn of_globs(self, comparison: Comparison) -> Comparison {
        match self {
            ValueKind::Text => comparison,
            ValueKind::Ip | ValueKind::Mac => Comparison::Folded,
        }
    }
}

/// The way in which a subject names a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// By the bare name.
    Name,
    /// As `username=name`, or with another name of that parameter.
    Typed,
}

impl Subject {
    /// How this subject names the user with this folded name: as a bare word or as
    /// `username=name`. `None` if the subject means everyone or something else. The caller checks
    /// that the rule applies in the user's tenant.
    pub fn means(&self, username: &Folded) -> Option<Means> {
        match self {
            Subject::Word(name) => (name == username).then_some(Means::Name),
            Subject::Param(TypedBy::Known(Known::Username), name) => {
                (name == username).then_some(Means::Typed)
            }
            _ => None,
        }
    }
}

/// A subject with its original text, so that it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSubject<'s> {
    /// The meaning of the text; `None` if it matches no client, because it or its value is empty.
    pub subject: Option<Subject>,
    /// The parameter as it is written, if there is one.
    pub param: Option<&'s str>,
    /// The text after the `=`, or all of the text if there is no parameter.
    value: &'s str,
    has_password: bool,
}

impl<'s> WrittenSubject<'s> {
    /// Whether the value must not be shown.
    pub fn hides_value(&self) -> bool {
        self.has_password
    }

    /// The two parts of an address such as alice@example.org, if that is the name of a user in
    /// this subject. Usernames have no domain in them, so such a subject is a mistake unless a
    /// user is really called so.
    pub fn address(&self) -> Option<(&'s str, &'s str)> {
        match &self.subject {
            Some(Subject::Word(_) | Subject::Param(TypedBy::Known(Known::Username), _)) => {
                address_of_user(self.value)
            }
            _ => None,
        }
    }

    /// The value or the word, in a form that may be shown: a password is hidden.
    pub fn value(&self) -> &'s str {
        if self.has_password { HIDDEN } else { self.value }
    }
}

impl fmt::Display for WrittenSubject<'_> {
    /// All of the text, in a form that may be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.param {
            Some(param) => write!(f, "{param}={}", self.value()),
            None => f.write_str(self.value()),
        }
    }
}

impl Conventions {
    /// A name in folded form; `None` if there is no name or it cannot be read.
    pub fn fold(&self, name: &Cell) -> Option<Folded> {
        Some(self.comparison.fold(&name.text().ok()??))
    }

    /// Whether a user can have this name: nobody can send an empty name.
    pub fn can_be_user(&self, username: &Folded, domain: &Folded) -> bool {
        !username.is_empty() && !domain.is_empty()
    }

    /// The meaning of a stored subject; `None` if it matches no client, because it or its value
    /// is empty.
    pub fn subject(&self, stored: &str) -> Option<Subject> {
        self.written_subject(stored).subject
    }

    /// Reads a stored subject.
    pub fn written_subject<'s>(&self, stored: &'s str) -> WrittenSubject<'s> {
        let folded = self.comparison.fold(stored);
        let typed = (folded.as_slice() != b"default").then(|| self.typed(stored)).flatten();
        let Some((param, written, value)) = typed else {
            let subject = match folded.as_slice() {
                b"" => None,
                b"default" => Some(Subject::Everyone),
                _ => Some(Subject::Word(folded)),
            };
            return WrittenSubject { subject, param: None, value: stored, has_password: false };
        };
        let has_password = param == TypedBy::Known(Known::Password);
        let subject = self.of_value(param, value);
        WrittenSubject { subject, param: Some(written), value, has_password }
    }

    /// The subject of a parameter and a value, a pattern or a network.
    fn of_value(&self, param: TypedBy, value: &str) -> Option<Subject> {
        let kind = param.value_kind();
        let folded = self.comparison.fold(value);
        if let Some(network) = address::network(&folded).filter(|_| kind == ValueKind::Ip) {
            return Some(match network.prefix_len() == network.max_prefix_len() {
                true => Subject::Param(param, address::written(network.addr())?),
                false => Subject::Pattern(param, PatternKind::Network, address::written(network)?),
            });
        }
        match pattern::read(&folded) {
            Written::Exact(text) if text.is_empty() => None,
            Written::Exact(text) => Some(Subject::Param(param, kind.canonical(text))),
            Written::Glob(_) => match pattern::read(&kind.of_globs(self.comparison).fold(value)) {
                Written::Glob(glob) => Some(Subject::Pattern(param, PatternKind::Glob, glob)),
                Written::Exact(_) => None,
            },
        }
    }

    /// The parameter that a typed subject names, and both sides of the `=` as they are written.
    fn typed<'s>(&self, stored: &'s str) -> Option<(TypedBy, &'s str, &'s str)> {
        let (written, value) = stored.split_once('=')?;
        // The name is always folded without regard to case, even if names are compared exactly.
        // Otherwise an odd spelling of `username` would become a parameter that clients may send.
        let fold = |name: &str| Comparison::Folded.fold(name);
        let name = fold(written);
        if let Some(reserved) = str::from_utf8(&name).ok().filter(|name| is_reserved(name)) {
            let typed = match ParamName::new(reserved) {
                ParamName::Attribute(name) => TypedBy::Attribute(name),
                ParamName::Client(fact) => TypedBy::Client(fact),
                // Nothing has this name, and clients cannot send it.
                ParamName::Known(_) | ParamName::Other(_) => TypedBy::Other(name),
            };
            return Some((typed, written, value));
        }
        let aliases = self.aliases.iter().filter(|(alias, _)| fold(alias) == name);
        let known = Known::ALL.into_iter().filter(|known| known.name().as_bytes() == name.as_slice());
        let meant: Vec<Known> = aliases.map(|(_, known)| *known).chain(known).collect();
        let exact = || self.aliases.iter().find(|(alias, _)| alias == written).map(|(_, known)| *known);
        let known = meant.iter().copied().find(|known| *known == Known::Username);
        if let Some(known) = known.or_else(exact).or_else(|| meant.first().copied()) {
            return Some((TypedBy::Known(known), written, value));
        }
        let is_name =
            name.first().copied().is_some_and(begins_name) && name.iter().all(|&b| continues_name(b));
        is_name.then(|| (TypedBy::Other(self.comparison.fold(written)), written, value))
    }

    /// A subject in a form that may be shown: without the password that it may contain.
    pub fn shown_subject(&self, stored: &str) -> String {
        self.written_subject(stored).to_string()
    }
}

/// The name and the domain of an address such as alice@example.org, as requests split it.
pub fn address_of_user(text: &str) -> Option<(&str, &str)> {
    let (name, domain) = text.trim_end().rsplit_once('@')?;
    (!name.is_empty() && !domain.is_empty()).then_some((name, domain))
}

/// What is wrong with the subject of a rule that is the address `name`@`domain`, as the load and
/// `check` report it.
pub fn address_is_no_name(name: &str, domain: &str) -> String {
    format!(
        "the subject `{name}@{domain}` is taken for a username, and usernames have no domain in them, so the rule \
         matches nobody: write the subject as `{name}`, and `{domain}` as the rule's domain"
    )
}

/// The parameter with which a bare word is compared as long as no user has this name. Values of
/// machines have these forms, and names of people do not: Java's `os.name` and `os.arch`,
/// addresses, UUIDs and the client's version. Other words with a dot may be the client's domain.
pub fn sent_for(word: &[u8]) -> Option<Known> {
    let word = std::str::from_utf8(word).ok()?;
    let is_one = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    let is_windows = word.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case("windows "));
    if is_windows || is_one(&["linux", "mac os x", "freebsd", "openbsd", "netbsd", "sunos"]) {
        Some(Known::Osname)
    } else if is_one(&["amd64", "x86_64", "i386", "i686", "x86", "aarch64", "arm", "ppc64le", "riscv64"]) {
        Some(Known::Arch)
    } else if word.parse::<IpAddr>().is_ok() {
        Some(Known::Ipaddr)
    } else if is_grouped(word, ':', &[2; 6]) || is_grouped(word, '-', &[2; 6]) {
        Some(Known::Hwaddr)
    } else if is_grouped(word, '-', &[8, 4, 4, 4, 12]) {
        Some(Known::Uuid)
    } else if is_version(word) {
        Some(Known::Build)
    } else {
        word.contains('.').then_some(Known::Domain)
    }
}

/// Whether a word is at least three numbers with dots between them.
fn is_version(word: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split('.').count() >= 3 && word.split('.').all(is_number)
}

/// Whether a word has groups of hexadecimal digits with these lengths.
fn is_grouped(word: &str, separator: char, groups: &[usize]) -> bool {
    let hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    word.split(separator).count() == groups.len()
        && word.split(separator).zip(groups).all(|(group, len)| group.len() == *len && hex(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Conventions {
        let mut options = Conventions::default();
        options.aliases.push(("Login".into(), Known::Username));
        options.aliases.push(("my-login".into(), Known::Username));
        options.aliases.push(("Kennwort".into(), Known::Password));
        options
    }

    fn param(known: Known, value: &str) -> Option<Subject> {
        Some(Subject::Param(TypedBy::Known(known), Folded::from_slice(value.as_bytes())))
    }

    #[test]
    fn the_username_is_the_username_however_it_is_spelled() {
        for comparison in [Comparison::Folded, Comparison::Exact] {
            let options = Conventions { comparison, ..login() };
            for name in [
                "username",
                "Username",
                "uſername",
                "USERNAME ",
                "user",
                "Login",
                "LOGIN",
                "my-login",
                "My-Login",
            ] {
                let subject = options.subject(&format!("{name}=bob"));
                assert_eq!(subject, param(Known::Username, "bob"), "{name} {comparison:?}");
            }
        }
    }

    #[test]
    fn a_subject_is_typed_by_its_text_alone() {
        let options = login();
        let text = |text: &str| Folded::from_slice(text.as_bytes());
        let word = |word: &str| Some(Subject::Word(text(word)));
        let other = |name: &str, value: &str| Some(Subject::Param(TypedBy::Other(text(name)), text(value)));
        let attribute =
            |name: &str, value: &str| Some(Subject::Param(TypedBy::Attribute(name.into()), text(value)));
        for (stored, expected) in [
            ("Default ", Some(Subject::Everyone)),
            ("Alice ", word("alice")),
            ("os=Linux", param(Known::Osname, "linux")),
            ("Hwaddr=00:1A", param(Known::Hwaddr, "00:1a")),
            ("Dept=Sales=x ", other("dept", "sales=x")),
            ("User.Branch =Berlin", attribute("branch", "berlin")),
            ("uſer.branch=Berlin", attribute("branch", "berlin")),
            ("Client.Address=::1", Some(Subject::Param(TypedBy::Client(ClientFact::Address), text("::1")))),
            ("client.x=y", other("client.x", "y")),
            ("env.X=a", other("env.x", "a")),
            ("a b=x", word("a b=x")),
            ("=x", word("=x")),
            ("", None),
            (" ", None),
            ("osname= ", None),
        ] {
            assert_eq!(options.subject(stored), expected, "{stored:?}");
        }
        let exact = Conventions { comparison: Comparison::Exact, ..login() };
        assert_eq!(exact.subject("Dept=Sales"), other("Dept", "Sales"));
        assert_eq!(exact.subject("Default"), word("Default"));
    }

    #[test]
    fn a_typed_value_may_be_a_pattern_a_network_or_an_address_in_any_spelling() {
        let options = login();
        let os = |value: &str| param(Known::Osname, value);
        let pattern = |typed: TypedBy, kind: PatternKind, shown: &str| (typed, kind, shown.to_owned());
        let address = TypedBy::Client(ClientFact::Address);
        for (stored, expected) in [
            (r"osname=Windows\*", os("windows*")),
            (r"osname=a\\b\c", os(r"a\b\c")),
            ("hw=00-1A-2B-3C-4D-5E", param(Known::Hwaddr, "00:1a:2b:3c:4d:5e")),
            ("ipaddr=::FFFF:10.0.0.1", param(Known::Ipaddr, "10.0.0.1")),
            ("ipaddr=10.0.0.1/32", param(Known::Ipaddr, "10.0.0.1")),
            ("osname=10.1.0.0/16", os("10.1.0.0/16")),
            ("ipaddr=10.1.0.0/33", param(Known::Ipaddr, "10.1.0.0/33")),
        ] {
            assert_eq!(options.subject(stored), expected, "{stored:?}");
        }
        for (stored, expected) in [
            ("osname=Windows*", pattern(TypedBy::Known(Known::Osname), PatternKind::Glob, "windows*")),
            ("Dept=S?les ", pattern(TypedBy::Other("dept".as_bytes().into()), PatternKind::Glob, "s?les")),
            ("user.branch=B*", pattern(TypedBy::Attribute("branch".into()), PatternKind::Glob, "b*")),
            ("client.address=10.1.2.3/8", pattern(address, PatternKind::Network, "10.0.0.0/8")),
        ] {
            let Some(Subject::Pattern(typed, kind, text)) = options.subject(stored) else {
                panic!("{stored} is no pattern");
            };
            assert_eq!((typed, kind, kind.shown(&text)), expected, "{stored}");
        }
        assert_eq!(options.subject("win*"), Some(Subject::Word(Folded::from_slice(b"win*"))));
        let exact = Conventions { comparison: Comparison::Exact, ..login() };
        assert_eq!(exact.subject("hwaddr=00-1A-2B-3C-4D-5E"), param(Known::Hwaddr, "00:1a:2b:3c:4d:5e"));
        let Some(Subject::Pattern(_, _, glob)) = exact.subject("hwaddr=00-1A*") else { panic!("no pattern") };
        let mut is_match = false;
        let mut compare = |form: &[u8]| is_match |= pattern::matches(&glob, form);
        ValueKind::Mac.each_form("001A2B3C4D5E", Comparison::Exact, &mut compare);
        assert!(is_match);
    }

    #[test]
    fn a_rule_is_a_users_by_the_bare_name_or_the_typed_one() {
        for (subject, username, expected) in [
            ("Alice ", "alice", Some(Means::Name)),
            ("username=ALICE", "alice", Some(Means::Typed)),
            ("Login=alice", "alice", Some(Means::Typed)),
            ("hwaddr=alice", "alice", None),
            ("alice2", "alice", None),
            ("default", "default", None),
            ("username=default", "default", Some(Means::Typed)),
            ("osname=linux", "osname=linux", None),
            ("username=osname=linux", "osname=linux", Some(Means::Typed)),
        ] {
            let options = login();
            let username = options.comparison.fold(username);
            let means = options.subject(subject).and_then(|subject| subject.means(&username));
            assert_eq!(means, expected, "{subject}");
        }
        let exact = Conventions { comparison: Comparison::Exact, ..Conventions::default() };
        let alice = exact.subject("Alice").expect("a word");
        assert_eq!(alice.means(&exact.comparison.fold("alice")), None);
    }

    #[test]
    fn only_words_that_machines_have_are_compared_with_a_parameter() {
        for (word, expected) in [
            ("Linux", Some(Known::Osname)),
            ("windows 10", Some(Known::Osname)),
            ("AMD64", Some(Known::Arch)),
            ("10.0.0.1", Some(Known::Ipaddr)),
            ("fe80::1", Some(Known::Ipaddr)),
            ("00:1A:2b:3c:4d:5e", Some(Known::Hwaddr)),
            ("00-1a-2b-3c-4d-5e", Some(Known::Hwaddr)),
            ("00:1a:2b-3c:4d:5e", None),
            ("123e4567-e89b-12d3-a456-426614174000", Some(Known::Uuid)),
            ("2.10.5550", Some(Known::Build)),
            ("2.10", Some(Known::Domain)),
            ("a.org", Some(Known::Domain)),
            ("bob", None),
            ("1001", None),
            ("de_DE", None),
            ("001a2b3c4d5e", None),
        ] {
            assert_eq!(sent_for(word.as_bytes()), expected, "{word}");
        }
    }

    #[test]
    fn a_password_is_hidden_by_whatever_name_it_goes() {
        let options = login();
        for (stored, shown) in [
            ("password=x=y", "password=***"),
            ("Pass=x", "Pass=***"),
            ("KENNWORT=x", "KENNWORT=***"),
            ("Kennwort=x", "Kennwort=***"),
            ("hwaddr=x", "hwaddr=x"),
            ("password", "password"),
        ] {
            assert_eq!(options.shown_subject(stored), shown);
        }
    }
}
