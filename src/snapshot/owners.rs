//! Whose a rule is, by what its subject says.

use std::borrow::Cow;

use super::names::Folded;
use super::{Options, Param, rows};
use crate::model::{Cell, HIDDEN, Known};
use crate::template;

/// How a subject says that a rule is one user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// By the bare name, which meant any parameter of that value before there
    /// was such a user.
    Name,
    /// As `username=name`, or by another name of that parameter.
    Typed,
}

impl Options {
    /// A name as it is compared; `None` if there is none that can be read.
    pub fn fold(&self, name: &Cell) -> Option<Folded> {
        Some(self.comparison.fold(&name.text().ok()??))
    }

    /// Whether a user may be called so: nobody can send an empty name, and one
    /// that reads as a typed subject would get what is another user's.
    pub fn can_be_user(&self, username: &Folded, domain: &Folded) -> bool {
        let is_anothers = matches!(rows::typed(username, self), Some((_, Param::Known(Known::Username))));
        !username.is_empty() && !domain.is_empty() && !is_anothers
    }

    /// A subject as it may be shown: without the password that it may name.
    pub fn shown_subject<'s>(&self, stored: &'s str) -> Cow<'s, str> {
        let Some((name, _)) = template::typed_subject(stored) else { return stored.into() };
        // Whoever wrote it in capitals meant it all the same.
        match rows::typed(stored[..=name.len()].to_lowercase().as_bytes(), self) {
            Some((_, Param::Known(Known::Password))) => format!("{name}={HIDDEN}").into(),
            _ => stored.into(),
        }
    }

    /// Whether, and how, the rules of a `subject` are those of the user of a
    /// folded name, in the tenants that the rule is for.
    pub fn means(&self, subject: &str, username: &Folded) -> Option<Means> {
        let subject = self.comparison.fold(subject);
        if subject.as_slice() == b"default" {
            // Everyone, even if there is a user of that name.
            return None;
        }
        if subject == *username {
            return Some(Means::Name);
        }
        match rows::typed(&subject, self)? {
            (prefix, Param::Known(Known::Username)) => {
                (subject[prefix.len()..] == username[..]).then_some(Means::Typed)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Comparison;

    #[test]
    fn a_rule_is_a_users_by_the_bare_name_or_the_typed_one() {
        for (subject, username, expected) in [
            ("Alice ", "alice", Some(Means::Name)),
            ("username=ALICE", "alice", Some(Means::Typed)),
            ("user=alice", "alice", Some(Means::Typed)),
            ("hwaddr=alice", "alice", None),
            ("alice2", "alice", None),
            ("default", "default", None),
            ("username=default", "default", Some(Means::Typed)),
            ("osname=linux", "osname=linux", Some(Means::Name)),
        ] {
            let options = Options::default();
            let username = options.comparison.fold(username);
            assert_eq!(options.means(subject, &username), expected, "{subject}");
        }
        let fold = |name| Options::default().comparison.fold(name);
        for (username, domain, can_be) in
            [("a", "b", true), ("", "b", false), ("a", " ", false), ("username=x", "b", false)]
        {
            assert_eq!(Options::default().can_be_user(&fold(username), &fold(domain)), can_be);
        }
        let exact = Options { comparison: Comparison::Exact, ..Options::default() };
        assert_eq!(exact.means("Alice", &exact.comparison.fold("alice")), None);
    }
}
