//! The parameters of the URL, and what Jitsi does with them.
//!
//! Jitsi splits the text after the `?` at each `&`, and decodes nothing. It fills most placeholders
//! wherever they stand. It removes `${username}` and `${password}`; only if both of their parameters are
//! empty then, it asks the user and puts the answers in their place.

use std::fmt;
use std::str::FromStr;

/// A parameter of the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    name: String,
    value: String,
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl FromStr for Parameter {
    type Err = String;

    fn from_str(typed: &str) -> Result<Parameter, String> {
        let Some((name, value)) = typed.split_once('=') else {
            return Err("write NAME=VALUE, such as branch=berlin or 'mac=${hwaddr}'".into());
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(format!("`{name}` cannot be a name: use letters, digits, `.`, `_` and `-`"));
        }
        let is_bad = |c: &char| !c.is_ascii_graphic() || "\"#&<>\\^`".contains(*c);
        if let Some(bad) = value.chars().find(is_bad) {
            return Err(format!(
                "a value cannot have {bad:?}: the URL goes through other programs, and Jitsi decodes no \
                 %-escapes; use other characters"
            ));
        }
        Ok(Parameter { name: name.to_owned(), value: value.to_owned() })
    }
}

/// The parameters that every URL has unless they are left out.
const USUAL: [&str; 5] = ["username", "password", "osname", "hwaddr", "uuid"];
const USERNAME: &str = "${username}";
const PASSWORD: &str = "${password}";
/// The placeholders that Jitsi fills.
const KNOWN: [&str; 14] = [
    "username",
    "password",
    "uuid",
    "osname",
    "arch",
    "build",
    "ipaddr",
    "hwaddr",
    "hostname",
    "locale",
    "resx",
    "resy",
    "home.location",
    "home.name",
];

/// The usual parameters and those that were typed.
pub(super) fn merge(typed: Vec<Parameter>) -> Vec<Parameter> {
    let usual = USUAL.map(|name| Parameter { name: name.into(), value: format!("${{{name}}}") });
    let mut merged = Vec::from(usual);
    for typed in typed {
        match merged.iter_mut().find(|one| one.name == typed.name) {
            Some(one) => *one = typed,
            None => merged.push(typed),
        }
    }
    merged.retain(|one| !one.value.is_empty());
    merged
}

/// Why a client could not sign in with these parameters.
pub(super) fn refusal(parameters: &[Parameter]) -> Option<String> {
    for placeholder in [USERNAME, PASSWORD] {
        let mut holders = parameters.iter().filter(|one| one.value.contains(placeholder));
        let Some(one) = holders.next() else { continue };
        if let Some(other) = holders.next() {
            return Some(format!(
                "`{one}` and `{other}`: Jitsi fills {placeholder} in only one parameter and sends the other \
                 one without it: leave out one of them"
            ));
        }
        let rest = one.value.replacen(placeholder, "", 1);
        let is_tenant = placeholder == USERNAME && is_tenant(&one.value);
        if !rest.is_empty() && !is_tenant {
            return Some(format!(
                "`{one}`: Jitsi removes {placeholder}, sends `{}={rest}` and does not ask the user, because it \
                 fills {placeholder} only if nothing else is in the value: give it a parameter of its own",
                one.name
            ));
        }
    }
    None
}

/// Whether a value is a tenant for which users sign in with HTTP Basic.
fn is_tenant(value: &str) -> bool {
    let tenant = value.strip_prefix(USERNAME).and_then(|rest| rest.strip_prefix('@'));
    tenant.is_some_and(|tenant| !tenant.is_empty() && !tenant.contains(['@', '$']))
}

/// What is unwise, or works in another way than it seems to.
pub(super) fn doubts(parameters: &[Parameter]) -> Vec<String> {
    let mut doubts = Vec::new();
    let find = |placeholder: &str| parameters.iter().find(|one| one.value.contains(placeholder));
    let (username, password) = (find(USERNAME), find(PASSWORD));
    let basic = "users sign in with HTTP Basic, in which Jitsi replaces characters beyond ASCII by `?`";
    match (username, password) {
        (Some(one), _) if one.value != USERNAME => {
            let tenant = one.value.replacen(USERNAME, "", 1);
            doubts.push(format!("`{one}`: Jitsi sends only `{}={tenant}`, and {basic}", one.name));
        }
        (Some(_), Some(_)) => {}
        (None, None) => doubts.push(format!("without {USERNAME} and {PASSWORD}, {basic}")),
        (Some(_), None) => doubts.push(format!("without {PASSWORD}, {basic}")),
        (None, Some(_)) => doubts.push(format!("without {USERNAME}, {basic}")),
    }
    for one in parameters {
        doubts.extend(one.placeholders().filter_map(|name| doubt_of(one, name)));
        if one.value.contains('%') {
            doubts.push(format!(
                "`{one}`: Jitsi sends `%` as it stands and decodes no %-escapes, and on a command line of \
                 Windows %NAME% is a variable"
            ));
        }
    }
    doubts
}

fn doubt_of(parameter: &Parameter, placeholder: &str) -> Option<String> {
    let is_known = KNOWN.contains(&placeholder)
        || ["env.", "system."].iter().any(|prefix| placeholder.starts_with(prefix));
    match placeholder {
        "hostname" => Some(format!(
            "`{parameter}`: Jitsi looks the name up in the DNS except on Windows, which can delay each start \
             by 10 s"
        )),
        _ if is_known => None,
        _ => Some(format!(
            "`{parameter}`: Jitsi does not know ${{{placeholder}}} and sends it as it stands; the server then \
             takes a value that is nothing else as not given"
        )),
    }
}

impl Parameter {
    /// The names in its `${…}`.
    fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.value.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    }
}
