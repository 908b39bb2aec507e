//! Describes in words who a rule is for.

use std::collections::BTreeMap;

use super::{Refused, refuse};
use crate::core::conventions::Conventions;
use crate::core::model::{RuleRow, UserRow};
use crate::core::names::Folded;
use crate::core::params::{ClientFact, Known};
use crate::core::secret::HIDDEN;
use crate::core::subject::{PatternKind, Subject, TypedBy, WrittenSubject, sent_for};
use crate::ops::explain::near;

/// How people read the empty domain.
pub const ALL_TENANTS: &str = "all tenants";

/// The largest number of tenants that a note names.
const NAMED: usize = 10;

/// Who a rule is for. What the users say about it is collected one by one.
pub struct Audience<'o> {
    options: &'o Conventions,
    subject: Option<Subject>,
    /// Folded; empty for all tenants.
    domain: Folded,
    /// A user in the rule's tenants has this name.
    is_user: bool,
    /// The subject is the domain of a tenant.
    is_domain: bool,
    /// The domains of the rule's users, by their folded form.
    tenants: BTreeMap<Folded, String>,
    /// The domains of all other users.
    elsewhere: BTreeMap<Folded, String>,
}

impl<'o> Audience<'o> {
    /// The audience of `row`, as long as there are no users.
    pub fn new(row: &RuleRow, options: &'o Conventions) -> Audience<'o> {
        Audience {
            options,
            subject: options.subject(&row.subject.shown()),
            domain: options.fold(&row.domain).unwrap_or_default(),
            is_user: false,
            is_domain: false,
            tenants: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
        }
    }

    /// Takes note of a user.
    pub fn look(&mut self, user: &UserRow) {
        let (name, of) = (self.options.fold(&user.username), self.options.fold(&user.domain));
        let is_here = self.domain.is_empty() || of.as_ref() == Some(&self.domain);
        if let Some(subject) = &self.subject {
            self.is_domain |= matches!((subject, &of), (Subject::Word(word), Some(of)) if word == of);
            self.is_user |= is_here && name.is_some_and(|name| subject.means(&name).is_some());
        }
        let tenants = if is_here { &mut self.tenants } else { &mut self.elsewhere };
        if let Some(of) = of.filter(|of| !of.is_empty() && !tenants.contains_key(of)) {
            tenants.insert(of, user.domain.shown().into_owned());
        }
    }

    /// Checks that the subject is not an address of the form alice@example.org, unless a user has
    /// this name. No other subject would match the users of that tenant.
    ///
    /// # Errors
    /// With the right spelling.
    pub fn check_address(&self, row: &RuleRow) -> Result<(), Refused> {
        let stored = row.subject.shown();
        let written = self.options.written_subject(&stored);
        match written.address().filter(|_| !self.is_user) {
            Some((name, domain)) => refuse(format!(
                "usernames have no domain in them, so the subject {:?} would match nobody: write --subject {} \
                 --domain {domain}; nothing was changed",
                written.to_string(),
                written.param.map_or(name.to_owned(), |param| format!("{param}={name}")),
            )),
            None => Ok(()),
        }
    }

    /// The tenants, if the rule is for all of them and there are several.
    pub fn tenants(&self) -> Option<String> {
        let count = self.tenants.len();
        let is_several = self.domain.is_empty() && count > 1;
        let more = count.saturating_sub(NAMED);
        let names: Vec<&str> = self.tenants.values().take(NAMED).map(String::as_str).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        is_several.then(|| format!("{count} tenants have users: {}{more}", names.join(", ")))
    }

    /// What to do if nobody is in the audience, because the tenant has no users, or the subject is
    /// no user's name and nothing that clients are known to send.
    pub fn advice(&self, row: &RuleRow) -> Option<String> {
        if !self.domain.is_empty() && self.tenants.is_empty() {
            let domain = row.domain.shown();
            let known = self.elsewhere.values().map(String::as_str);
            return Some(format!("the tenant {domain} has no users yet{}", did_you_mean(&domain, known)));
        }
        match &self.subject {
            Some(Subject::Word(word)) if !self.is_user && sent_for(word).is_none() => {
                let word = row.subject.shown();
                let word = word.trim_end();
                Some(format!(
                    "a subject without a parameter is a username: if {word} is none, write what clients send, such \
                     as --subject 'osname=Windows*' or --subject hostname={word}"
                ))
            }
            _ => None,
        }
    }

    /// The audience in words. `row` has the same domain and subject as that of [`Audience::new`].
    pub fn words(&self, row: &RuleRow) -> String {
        let tenant = Some(row.domain.shown()).filter(|domain| !domain.is_empty());
        let tenant = tenant.map_or(ALL_TENANTS.into(), |domain| format!("the tenant {domain}"));
        words(&self.options.written_subject(&row.subject.shown()), &tenant, self)
    }
}

fn words(written: &WrittenSubject<'_>, tenant: &str, facts: &Audience<'_>) -> String {
    let value = meant(written);
    let sender = |param: &str| format!("clients of {tenant} that send {value:?} for {param}");
    let user = || match facts.is_user {
        true => format!("the user {value} of {tenant}"),
        false => format!("the user {value} of {tenant}, who does not exist yet"),
    };
    match &written.subject {
        None => "nobody, because the subject is empty".into(),
        Some(Subject::Everyone) => format!("everyone of {tenant}"),
        Some(Subject::Word(word)) => {
            let is_sent = |known: &Known| !facts.is_user && (*known != Known::Domain || facts.is_domain);
            match sent_for(word).filter(is_sent) {
                Some(known) => format!("{}, as long as no user has that name", sender(known.name())),
                None => user(),
            }
        }
        Some(Subject::Param(TypedBy::Known(Known::Username), _)) => user(),
        Some(Subject::Param(TypedBy::Known(known), _)) => sender(known.name()),
        Some(Subject::Param(TypedBy::Attribute(name), _)) => {
            format!("users of {tenant} whose attribute {name} is {value:?}")
        }
        Some(Subject::Param(TypedBy::Client(ClientFact::Address), _)) => {
            format!("clients of {tenant} that ask from {value}")
        }
        Some(Subject::Param(TypedBy::Client(ClientFact::Username), _)) => {
            format!("clients of {tenant} whose user typed {value:?}")
        }
        Some(Subject::Pattern(by, kind, pattern)) => {
            let pattern = if written.hides_value() { HIDDEN.to_owned() } else { kind.shown(pattern) };
            of_pattern(by, *kind, &pattern, written.param.unwrap_or_default(), tenant)
        }
        Some(Subject::Param(TypedBy::Other(_), _)) => sender(written.param.unwrap_or_default()),
    }
}

/// The value as clients send it: without the backslashes of escapes.
fn meant(written: &WrittenSubject<'_>) -> String {
    match &written.subject {
        Some(Subject::Param(_, value)) if written.value().contains('\\') => {
            String::from_utf8_lossy(value).into_owned()
        }
        _ => written.value().to_owned(),
    }
}

fn of_pattern(by: &TypedBy, kind: PatternKind, pattern: &str, param: &str, tenant: &str) -> String {
    let matches = match kind {
        PatternKind::Glob => format!("matches {pattern}"),
        PatternKind::Network => format!("is in {pattern}"),
    };
    match by {
        TypedBy::Known(Known::Username) => format!("users of {tenant} whose name {matches}"),
        TypedBy::Known(_) | TypedBy::Other(_) => {
            format!("clients of {tenant} that send a value for {param} that {matches}")
        }
        TypedBy::Attribute(name) => format!("users of {tenant} whose attribute {name} {matches}"),
        TypedBy::Client(ClientFact::Address) => format!("clients of {tenant} whose address {matches}"),
        TypedBy::Client(ClientFact::Username) => {
            format!("clients of {tenant} whose user typed a name that {matches}")
        }
    }
}

/// `; did you mean example.org?` if one of `names` is similar to `wanted`, else nothing.
pub fn did_you_mean<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    match &*near(wanted, names) {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(" or ")),
    }
}
