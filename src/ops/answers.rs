//! Compares the answers of two provisioning servers to the same request, as Jitsi reads them.

mod asker;
mod users;

pub use asker::{Asker, ServerUrl};
pub use users::{TestUser, test_users};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::core::client::{ClientState, PropertyFate};
use crate::core::properties::{BadEscape, client_text, client_value, logical_lines, split_line, units};
use crate::core::secret::{HIDDEN, is_secret};

/// An answer as Jitsi reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// Keys and values of a 200. Of other answers, Jitsi reads nothing.
    properties: Result<Vec<(String, String)>, BadEscape>,
}

/// One thing in which two answers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `status`, `unreadable`, `added`, `removed`, `changed` or `order`.
    pub what: &'static str,
    /// The key of the property, if it is about one.
    pub key: Option<String>,
    /// On the old server.
    pub old: Option<String>,
    /// On the new server.
    pub new: Option<String>,
}

impl Answer {
    /// Reads an answer. Java's parser takes each byte for a character.
    pub fn read(status: u16, body: &[u8]) -> Answer {
        let text: String = body.iter().copied().map(char::from).collect();
        let lines = match status {
            200 => logical_lines(&text),
            _ => Vec::new(),
        };
        let mut properties: Vec<(String, String)> = Vec::new();
        for (_, line) in &lines {
            let (key, value) = split_line(line);
            if let Some(bad) = [key, value].into_iter().flat_map(units).find_map(Result::err) {
                return Answer { status, properties: Err(bad) };
            }
            let (key, value) = (client_text(key), client_value(value));
            // Java keeps the last of two values, in the place of the first.
            match properties.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => properties.push((key, value)),
            }
        }
        Answer { status, properties: Ok(properties) }
    }
}

/// In what the answers differ. Secrets are not shown, and neither is `password`, the password with
/// which both servers were asked.
pub fn differences(old: &Answer, new: &Answer, password: &str) -> Vec<Difference> {
    if old.status != new.status {
        let status = |answer: &Answer| Some(answer.status.to_string());
        return vec![Difference { what: "status", key: None, old: status(old), new: status(new) }];
    }
    let (before, after) = match (&old.properties, &new.properties) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(_), Err(_)) => return Vec::new(),
        (before, after) => {
            let why = |side: &Result<_, BadEscape>| side.as_ref().err().map(ToString::to_string);
            return vec![Difference { what: "unreadable", key: None, old: why(before), new: why(after) }];
        }
    };
    let (was, is) = (Read::new(before), Read::new(after));
    let new_keys = after.iter().map(|(key, _)| key).filter(|key| !was.at.contains_key(key.as_str()));
    let all = before.iter().map(|(key, _)| key).chain(new_keys);
    all.filter_map(|key| {
        let (one, other) = (was.value(key), is.value(key));
        let (what, old, new) = match (one, other) {
            (Some(one), Some(other)) if one == other => {
                let (one, other) = (was.fate(key), is.fate(key));
                return (one != other).then(|| Difference {
                    what: "order",
                    key: Some(key.clone()),
                    old: Some(one),
                    new: Some(other),
                });
            }
            (Some(_), Some(_)) => ("changed", one, other),
            (_, None) => ("removed", one, None),
            (None, _) => ("added", None, other),
        };
        let shown = |value: &str| match is_hidden(key, value, password) {
            true => HIDDEN.to_owned(),
            false => value.to_owned(),
        };
        Some(Difference { what, key: Some(key.clone()), old: old.map(shown), new: new.map(shown) })
    })
    .collect()
}

fn is_hidden(key: &str, value: &str, password: &str) -> bool {
    is_secret(key, value) || (!password.is_empty() && value.contains(password))
}

/// The properties of an answer, and what Jitsi does with each.
struct Read<'a> {
    properties: &'a [(String, String)],
    at: BTreeMap<&'a str, usize>,
    fates: Vec<PropertyFate>,
}

impl<'a> Read<'a> {
    fn new(properties: &'a [(String, String)]) -> Read<'a> {
        let at = properties.iter().enumerate().map(|(at, (key, _))| (key.as_str(), at)).collect();
        Read { properties, at, fates: ClientState::after(properties).fates }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.at.get(key).map(|at| self.properties[*at].1.as_str())
    }

    /// What Jitsi does with the property, which is in the answer.
    fn fate(&self, key: &str) -> String {
        let by = |at: usize| &self.properties[at].0;
        match self.at.get(key).map(|at| self.fates[*at]) {
            None | Some(PropertyFate::Obeyed) => "used".into(),
            Some(PropertyFate::Undone(at)) => format!("removed again by {}", by(at)),
            Some(PropertyFate::Ignored(at)) => format!("ignored because of {}", by(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(old: &str, new: &str) -> Vec<(&'static str, String)> {
        let read = |text: &str| Answer::read(200, text.as_bytes());
        let found = differences(&read(old), &read(new), "hunter2");
        found
            .into_iter()
            .map(|one| {
                let side = |text: Option<String>| text.unwrap_or_else(|| "-".into());
                (one.what, format!("{} {} {}", side(one.key), side(one.old), side(one.new)))
            })
            .collect()
    }

    #[test]
    fn only_what_java_reads_differently_is_a_difference() {
        let same = compared("a=1\nb=x\\\n  y\n# note\nc=\\u00fc\n", "b : xy\r\na=1\nc=\u{5c}u00FC\n");
        assert_eq!(same, []);
        // The last of two values counts.
        assert_eq!(compared("a=0\na=1\n", "a=1\n"), []);
        assert_eq!(
            compared("a=1\nb=2\nc=3\n", "a=1\nb=4\nd=5\n"),
            [("changed", "b 2 4".into()), ("removed", "c 3 -".into()), ("added", "d - 5".into())]
        );
        assert_eq!(compared("a=1\n", "a=\\u1\n")[0].0, "unreadable");
    }

    #[test]
    fn order_counts_where_jitsi_acts_on_it() {
        assert_eq!(compared("a=1\nb=2\n", "b=2\na=1\n"), []);
        assert_eq!(
            compared("p.a=1\np=${null}\n", "p=${null}\np.a=1\n"),
            [("order", "p.a removed again by p used".into())]
        );
        assert_eq!(
            compared("provisioning.ALLOW_PREFIX=x\ny=1\n", "y=1\nprovisioning.ALLOW_PREFIX=x\n"),
            [("order", "y ignored because of provisioning.ALLOW_PREFIX used".into())]
        );
    }

    #[test]
    fn secrets_are_hidden_and_statuses_come_first() {
        assert_eq!(
            compared("x.PASSWORD=abc\nurl=u:hunter2@h\n", "x.PASSWORD=abd\nurl=v\n"),
            [("changed", "x.PASSWORD *** ***".into()), ("changed", "url *** v".into())]
        );
        let (ok, denied) = (Answer::read(200, b"a=1\n"), Answer::read(401, b"b=1\n"));
        let found = differences(&ok, &denied, "");
        assert_eq!((found.len(), found[0].what, found[0].new.as_deref()), (1, "status", Some("401")));
        assert_eq!(differences(&denied, &Answer::read(401, b"# no\n"), ""), []);
    }
}
