//! Describes in words who a rule is for.

use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::listing;
use crate::core::model::{Row, RuleRow};
use crate::core::params::{ClientFact, Known};
use crate::core::secret::HIDDEN;
use crate::core::subject::{PatternKind, Subject, TypedBy, WrittenSubject, sent_for};
use crate::source::Which;

/// Facts from the tables about the subject of a rule.
#[derive(Default)]
struct SubjectFacts {
    /// A user in the rule's tenants has this name.
    is_user: bool,
    /// The subject is the domain of a tenant.
    is_domain: bool,
}

/// Describes who `row` is for. Also calls `look` with every rule in the table.
///
/// # Errors
/// When the tables cannot be read.
pub(super) async fn audience(
    row: &RuleRow,
    tables: &TableAccess,
    mut look: impl FnMut(&RuleRow),
) -> anyhow::Result<String> {
    let options = &tables.snapshot;
    let stored = row.subject.shown();
    let written = options.written_subject(&stored);
    let domain = options.fold(&row.domain).unwrap_or_default();
    let mut facts = SubjectFacts::default();
    edit_session::scan(&*tables.source, Which::All, |known| match known {
        Row::Rule(known) => look(&known),
        Row::User(user) => {
            let Some(subject) = &written.subject else { return };
            let (name, of) = (options.fold(&user.username), options.fold(&user.domain));
            facts.is_domain |= matches!((subject, &of), (Subject::Word(word), Some(of)) if word == of);
            let is_here = domain.is_empty() || of.as_ref() == Some(&domain);
            facts.is_user |= is_here && name.is_some_and(|name| subject.means(&name).is_some());
        }
        Row::Attribute(_) => {}
    })
    .await?;
    let tenant = listing::text(&row.domain);
    let tenant = tenant.map_or("all tenants".into(), |domain| format!("the tenant {domain}"));
    Ok(words(&written, &tenant, &facts))
}

fn words(written: &WrittenSubject<'_>, tenant: &str, facts: &SubjectFacts) -> String {
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
