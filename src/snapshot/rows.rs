//! Parses rows. A row without a meaning is refused with a message. A row that is only odd is
//! used as far as possible, and reported.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::core::attributes::{Attribute, Attributes, attribute_name};
use crate::core::conventions::Conventions;
use crate::core::credential::{Credential, Owner};
use crate::core::model::{AttributeRow, Cell, Row, RuleRow, UserRow};
use crate::core::names::Folded;
use crate::core::pattern;
use crate::core::problem::Code;
use crate::core::properties::Side;
use crate::core::rules::{Compiled, CompiledKey, RuleOrder};
use crate::core::subject::Subject;
use crate::core::template::{Fault, Template};
use crate::snapshot::UserDetails;

/// Longest property key in bytes, before substitution.
const MAX_KEY: usize = 1024;
/// Longest text of any column in bytes, before substitution: MySQL's `TEXT`.
const MAX_TEXT: usize = 65_535;

/// A row that cannot be used, and why.
pub(super) struct UnusableRow(pub String);

impl UnusableRow {
    /// The reason, and that the row is left out.
    pub fn consequence(self) -> String {
        format!("{}; the row is left out: correct or remove it", self.0)
    }
}

fn unusable(why: &str) -> UnusableRow {
    UnusableRow(why.to_owned())
}

impl Conventions {
    /// Why a load would leave this row out. `None` if it can be used.
    pub fn unusable(&self, row: &Row) -> Option<String> {
        let quiet = &mut |_, _| ();
        let unusable = match row {
            Row::User(row) => user(row, self, quiet).err(),
            Row::Rule(row) => rule(row, self, &mut Keys::default(), quiet).err(),
            Row::Attribute(row) => attribute(row, self).err(),
        };
        unusable.map(|UnusableRow(why)| why)
    }
}

/// A parsed row of `user_auth`.
pub(super) struct ParsedUser {
    pub domain: Folded,
    pub username: Folded,
    pub credential: Credential,
    pub details: UserDetails,
}

/// A parsed row of `user_attribute`.
pub(super) struct ParsedAttribute {
    /// Empty for everyone.
    pub domain: Folded,
    /// Empty for the whole tenant.
    pub username: Folded,
    pub attribute: Attribute,
}

/// A parsed row of `jitsi_property`.
pub(super) struct ParsedRule {
    /// Empty for all tenants.
    pub domain: Folded,
    pub subject: Subject,
    pub compiled: Compiled,
}

/// Parsed keys and their faults, by text. Very many rules share few keys.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<Box<str>, (Arc<CompiledKey>, Vec<Fault>)>);

impl Keys {
    fn parse(&mut self, text: &str) -> (Arc<CompiledKey>, &[Fault]) {
        // Not the entry API, which would allocate the text each time.
        if !self.0.contains_key(text) {
            let mut faults = Vec::new();
            let key = Arc::new(CompiledKey::parse(text, |fault| faults.push(fault)));
            self.0.insert(text.into(), (key, faults));
        }
        let (key, faults) = &self.0[text];
        (key.clone(), faults)
    }

    /// Forgets keys that no rule uses any more.
    pub fn tidy(&mut self) {
        self.0.retain(|_, (key, _)| Arc::strong_count(key) > 1);
    }
}

pub(super) fn user(
    row: &UserRow,
    options: &Conventions,
    problem: &mut dyn FnMut(Code, String),
) -> Result<ParsedUser, UnusableRow> {
    let stored_username = required(&row.username, "username")?;
    let stored_domain = required(&row.domain, "domain")?;
    let (username, domain) =
        (options.comparison.fold(&stored_username), options.comparison.fold(&stored_domain));
    for (name, column) in [(&username, "username"), (&domain, "domain")] {
        if name.is_empty() {
            return Err(unusable(&format!("{column} is empty, which no client can send")));
        }
    }
    if let Some(Subject::Param(..) | Subject::Pattern(..)) = options.subject(&stored_username) {
        problem(
            Code::AmbiguousSubject,
            "the username looks like a parameter and its value: in rules for this user, write the subject \
             as `username=` and the name"
                .into(),
        );
    }
    let realm = options.realm.as_deref().unwrap_or(&stored_domain);
    let owner = Owner { username: &stored_username, realm };
    // A user whose password cannot be used is still a user, so that clients cannot get their
    // rules by sending the name as another parameter.
    let credential = match row.password.text() {
        _ if row.password.len() > MAX_TEXT => {
            let what = format!(
                "password is longer than {MAX_TEXT} bytes, so nobody can sign in with it: set it again with `jitsiprovs user passwd`"
            );
            problem(Code::BadPassword, what);
            Credential::NEVER
        }
        Ok(stored) => {
            let stored = stored.unwrap_or_default();
            Credential::parse(&stored, options.pwd_fmt, owner).unwrap_or_else(|why| {
                problem(why.code(), why.to_string());
                Credential::unusable(&stored, why)
            })
        }
        Err(_) => {
            problem(Code::BadPassword, "password is not UTF-8, so nobody can sign in with it: set it again with `jitsiprovs user passwd`".into());
            Credential::NEVER
        }
    };
    let stored = |stored: &str, folded: &Folded| {
        let stored = stored.trim_end_matches(' ');
        (stored.as_bytes() != folded.as_slice()).then(|| stored.into())
    };
    let details = UserDetails {
        username: stored(&stored_username, &username),
        domain: stored(&stored_domain, &domain),
        columns: columns(row, problem),
    };
    Ok(ParsedUser { domain, username, credential, details })
}

/// Parses a row of `user_attribute`.
pub(super) fn attribute(row: &AttributeRow, options: &Conventions) -> Result<ParsedAttribute, UnusableRow> {
    let fold = |cell: &Cell, column| match cell {
        Cell::Null => Ok(Folded::default()),
        cell => Ok(options.comparison.fold(&required(cell, column)?)),
    };
    let (domain, username) = (fold(&row.domain, "domain")?, fold(&row.username, "username")?);
    if domain.is_empty() && !username.is_empty() {
        return Err(unusable("the domain is empty but the username is not: write the user's domain"));
    }
    not_longer(&row.name, MAX_KEY, "name")?;
    let name = required(&row.name, "name")?;
    let name = attribute_name(&name).ok_or_else(|| {
        unusable(
            "the name is no name that a template can use: write letters, digits, `_` and dots, and begin with a letter",
        )
    })?;
    let value = required(&row.value, "value")?.into_owned();
    Ok(ParsedAttribute { domain, username, attribute: Attribute { id: row.id, name, value } })
}

/// The attributes in the user's own row. They come before all rows of `user_attribute`.
fn columns(row: &UserRow, problem: &mut dyn FnMut(Code, String)) -> Attributes {
    let mut attributes = Vec::with_capacity(row.attributes.len());
    for (name, cell) in &row.attributes {
        match required(cell, name) {
            Ok(value) => {
                let (name, value) = (name.to_string(), value.into_owned());
                attributes.push(Attribute { id: i64::MIN, name, value });
            }
            Err(UnusableRow(why)) => {
                problem(Code::BadAttribute, format!("{why}; the user does not have this attribute"));
            }
        }
    }
    Attributes::new(attributes)
}

pub(super) fn rule(
    row: &RuleRow,
    options: &Conventions,
    keys: &mut Keys,
    problem: &mut dyn FnMut(Code, String),
) -> Result<ParsedRule, UnusableRow> {
    let domain = match &row.domain {
        Cell::Null => Folded::default(),
        domain => options.comparison.fold(&required(domain, "domain")?),
    };
    let subject = options.subject(&required(&row.subject, "subject")?);
    let subject = subject
        .ok_or_else(|| unusable("the subject is empty, which matches no client: write `default` for all"))?;
    if matches!(&subject, Subject::Pattern(_, _, pattern) if pattern.len() > pattern::LONGEST) {
        return Err(unusable(&format!(
            "the pattern in the subject is longer than {} bytes",
            pattern::LONGEST
        )));
    }
    not_longer(&row.key, MAX_KEY, "property_key")?;
    let key = required(&row.key, "property_key")?;
    let value = required(&row.value, "property_value")?;
    let order = RuleOrder {
        spriority: priority(&row.spriority, "spriority", problem)?,
        ppriority: priority(&row.ppriority, "ppriority", problem)?,
        id: row.id,
    };
    let mut refused = None;
    let mut fault = |column: &str, fault: Fault| {
        let what = format!("{column}: {}", fault.explain());
        match fault {
            Fault::UnknownForm => refused = Some(UnusableRow(what)),
            Fault::StrayDollar | Fault::Mended(_) => problem(fault.code(), what),
        }
    };
    let (key, faults) = keys.parse(&key);
    faults.iter().for_each(|found| fault("property_key", *found));
    let value = Template::parse(&value, Side::Value, |found| fault("property_value", found));
    match refused {
        Some(why) => Err(why),
        None => Ok(ParsedRule { domain, subject, compiled: Compiled { order, key, value } }),
    }
}

fn priority(
    cell: &Cell,
    column: &str,
    problem: &mut dyn FnMut(Code, String),
) -> Result<Option<i32>, UnusableRow> {
    let number = cell.int().map_err(|_| unusable(&format!("{column} is not a whole number")))?;
    let Some(number) = number else {
        problem(
            Code::NullPriority,
            format!("{column} is NULL, which sorts before every number: write the intended number"),
        );
        return Ok(None);
    };
    i32::try_from(number).map(Some).map_err(|_| unusable(&format!("{column} is outside 32 bits")))
}

fn not_longer(cell: &Cell, longest: usize, column: &str) -> Result<(), UnusableRow> {
    match cell.len() > longest {
        true => Err(unusable(&format!("{column} is longer than {longest} bytes"))),
        false => Ok(()),
    }
}

fn required<'c>(cell: &'c Cell, column: &str) -> Result<Cow<'c, str>, UnusableRow> {
    not_longer(cell, MAX_TEXT, column)?;
    match cell.text() {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(unusable(&format!("{column} is NULL"))),
        Err(_) => Err(unusable(&format!("{column} is not UTF-8"))),
    }
}
