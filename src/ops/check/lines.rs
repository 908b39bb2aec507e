//! Checks each rule by itself.

use std::cell::LazyCell;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::backslashes::{Shown, lost_backslashes};
use super::names::{Standing, standing};
use super::prefixes;
use super::report::CheckReport;
use super::table::RuleTable;
use crate::core::address;
use crate::core::client::{self, Personal, personal};
use crate::core::conventions::Conventions;
use crate::core::params::{Known, ParamName};
use crate::core::problem::Code;
use crate::core::properties;
use crate::core::rules::RuleRef;
use crate::core::secret;
use crate::core::subject::{PatternKind, TypedBy, ValueKind, address_is_no_name, address_of_user};
use crate::core::template::TemplatePiece;
use crate::snapshot::{ALL_TENANTS, Audience, NameEntry, Snapshot};

const SUBJECT: &str = "subject";

/// Facts about a key, which are determined once for all rules with this key.
struct KeyFacts {
    fault: Option<(Code, String)>,
    names: Vec<(Code, String)>,
    /// Whether the client logs its value.
    is_logged: bool,
    /// Whether its name says that its value is a secret.
    name: secret::NameHint,
    is_mandatory: bool,
    is_list: bool,
    /// Why the property is one person's.
    personal: Option<Personal>,
}

pub(super) fn check(
    snapshot: &Snapshot,
    options: &Conventions,
    rules: &RuleTable<'_>,
    report: &mut CheckReport,
) {
    let mut keys: HashMap<usize, Arc<KeyFacts>, RandomState> = HashMap::default();
    for named in snapshot.named().filter(|named| !named.rules().is_empty()) {
        let of_subject = subject(snapshot, options, named);
        let is_shared = LazyCell::new(|| is_for_several(snapshot, named));
        for rule in named.rules().iter() {
            let id = rule.order().id;
            for (code, message) in &of_subject {
                report.add_rule(*code, id, message.clone());
            }
            let key = keys.entry(rule.key_address()).or_insert_with(|| Arc::new(KeyFacts::of(rule, options)));
            let key = key.clone();
            of_rule(rule, &key, options, report);
            if let Some(why) = key.personal.filter(|_| sets_text(rule) && *is_shared) {
                report.add_rule(Code::PersonalKey, id, shared(why));
            }
            if let Some(list) = rules.lists.get(&id).filter(|_| key.is_list) {
                prefixes::spelling(id, list, report);
            }
        }
    }
}

/// Whether several users may get the rules of this name.
fn is_for_several(snapshot: &Snapshot, named: NameEntry<'_>) -> bool {
    match named.audience() {
        Audience::User(user) if named.tenant() == ALL_TENANTS => {
            snapshot.domains().filter(|(tenant, _)| snapshot.has_user(*tenant, user)).nth(1).is_some()
        }
        Audience::User(_) => false,
        _ => true,
    }
}

/// Whether the rule gives the same text to everyone, and does not remove the property.
fn sets_text(rule: RuleRef<'_>) -> bool {
    let value = rule.value();
    value.params().next().is_none() && !["", "${null}"].contains(&&*properties::client_value(value.head()))
}

/// What is wrong with a rule that gives one person's property to several users.
fn shared(why: Personal) -> String {
    let fix = match why {
        Personal::Provisioning => "remove the rule, unless it is to move the clients to another server",
        _ => "remove the rule",
    };
    format!("several users get this property, and it is {}: {fix}", why.what())
}

/// Problems with a subject, which affect every rule for it. The load has already reported
/// problems with bare words.
fn subject(snapshot: &Snapshot, options: &Conventions, named: NameEntry<'_>) -> Vec<(Code, String)> {
    match named.audience() {
        Audience::User(user) if !named.is_word() && !snapshot.has_user(named.tenant(), user) => {
            let of = if named.tenant() == ALL_TENANTS { "no tenant has" } else { "its tenant does not have" };
            let user = String::from_utf8_lossy(user);
            let what = match address_of_user(&user) {
                Some((name, domain)) => address_is_no_name(name, domain),
                None => {
                    format!("the rule is for the user `{user}`, which {of}: correct the subject or remove it")
                }
            };
            vec![(Code::NoSuchUser, what)]
        }
        Audience::Param(TypedBy::Other(param), _) | Audience::Pattern(TypedBy::Other(param), ..) => {
            of_name(&String::from_utf8_lossy(&param), SUBJECT, true, options).into_iter().collect()
        }
        Audience::Param(TypedBy::Known(known @ (Known::Hwaddr | Known::Ipaddr | Known::Uuid)), value)
            if named.is_word() =>
        {
            let (param, value) = (known.name(), String::from_utf8_lossy(value));
            let what = format!(
                "the subject `{value}` names no parameter, so the rule is for clients that send it for the {param}, \
                 also if it was written for a user who had this name: write `{param}={value}`, or remove the rule"
            );
            vec![(Code::UntypedWord, what)]
        }
        Audience::Param(by, value) => {
            bad_address(&by, None, value).map(|what| (Code::BadAddress, what)).into_iter().collect()
        }
        Audience::Pattern(by, kind, pattern) => {
            bad_address(&by, Some(kind), pattern).map(|what| (Code::BadAddress, what)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What is wrong with a subject that needs an address and that no address can match.
fn bad_address(by: &TypedBy, pattern: Option<PatternKind>, value: &[u8]) -> Option<String> {
    let shown = pattern.map_or_else(|| String::from_utf8_lossy(value).into_owned(), |kind| kind.shown(value));
    let (is_possible, what, example) = match (by.value_kind(), pattern) {
        (ValueKind::Mac, None) => {
            (address::canonical_mac(value).is_some(), "is no MAC address", "`00:1a:2b:3c:4d:5e` or `00:1a:*`")
        }
        (ValueKind::Mac, Some(_)) => {
            (address::can_match_mac(value), "matches no MAC address", "`00:1a:*` or `001a2b*`")
        }
        (ValueKind::Ip, None) => (
            address::ip(value).is_some(),
            "is neither an IP address nor a network",
            "`10.1.2.3` or `10.1.0.0/16`",
        ),
        (ValueKind::Ip, Some(_)) | (ValueKind::Text, _) => return None,
    };
    (!is_possible).then(|| {
        format!("the subject names the {by}, and `{shown}` {what}, so the rule matches nobody: write a value such as {example}")
    })
}

/// A problem with the name of a parameter. If it `is_needed`, the rule does not apply without it.
fn of_name(name: &str, column: &str, is_needed: bool, options: &Conventions) -> Option<(Code, String)> {
    let is_subject = column == SUBJECT;
    match standing(name, options) {
        Standing::Known => None,
        // A typed subject may use an alias.
        Standing::Alias(_) if is_subject => None,
        Standing::Alias(known) => {
            let what = format!(
                "{column}: clients send `{name}` only if their URL uses this name for the {known}: \
                 write `${{{known}}}`, which works with every name"
            );
            Some((Code::UnknownParameter, what))
        }
        Standing::Servers => {
            let what = format!("{column}: `{name}` is reserved for the server, so no client can send it");
            Some((Code::UnknownParameter, what))
        }
        Standing::Group if !is_subject => {
            let what = format!(
                "{column}: a name without braces ends at the dot: write `${{{name}.…}}` for a name that begins with `{name}.`"
            );
            Some((Code::UnknownParameter, what))
        }
        Standing::Near(known) => {
            let what = format!("{column}: clients send no parameter `{name}`; did you mean `{known}`?");
            Some((Code::UnknownParameter, what))
        }
        Standing::Own | Standing::Group if is_needed => {
            let what = format!(
                "{column}: clients send `{name}` only if you put it into their URL; \
                 without it the rule does not apply"
            );
            Some((Code::OwnParameter, what))
        }
        Standing::Own | Standing::Group => None,
    }
}

fn names_of(piece: TemplatePiece<'_>, column: &str, options: &Conventions) -> Vec<(Code, String)> {
    let mut found: Vec<_> = piece
        .params()
        .filter_map(|(name, is_needed)| match name {
            ParamName::Known(_) | ParamName::Attribute(_) | ParamName::Client(_) => None,
            ParamName::Other(name) => of_name(name, column, is_needed, options),
        })
        .collect();
    if piece.fallbacks().flatten().any(|fallback| fallback.contains('$')) {
        let what =
            format!("{column}: the text after `:-` ends at the first brace, and cannot contain placeholders");
        found.push((Code::StrayDollar, what));
    }
    found.sort_unstable();
    found.dedup();
    found
}

impl KeyFacts {
    fn of(rule: RuleRef<'_>, options: &Conventions) -> KeyFacts {
        let piece = rule.key();
        // Values of parameters are escaped, so one letter can represent all of them.
        let sample = piece.sample("x");
        let key = properties::client_key(sample.as_bytes());
        // The text after `:-` comes from the operator and is not escaped.
        let fault = fault(&sample).or_else(|| fault(&piece.fallback_sample("x")));
        let key = String::from_utf16_lossy(&key.unwrap_or_default());
        let mut names = names_of(piece, "property_key", options);
        names.extend(lost_backslashes(piece, "property_key", Shown::Text));
        KeyFacts {
            fault,
            names,
            // If the key ends with a parameter, its end is not known.
            is_logged: !key.ends_with(client::UNLOGGED) && !piece.tail().is_empty(),
            name: secret::NameHint::of(&key),
            is_mandatory: key == client::MANDATORY,
            is_list: matches!(&*key, client::ENFORCE_PREFIX | client::ALLOW_PREFIX),
            personal: personal(&key),
        }
    }
}

/// A problem with a key in the form that it has in an answer.
fn fault(key: &str) -> Option<(Code, String)> {
    match properties::client_key(key.as_bytes()) {
        None => {
            let what =
                "the key begins with `#` or `!`, so the client reads it as a comment: write `\\#` or `\\!`";
            Some((Code::IgnoredKey, what.into()))
        }
        Some(read) if read.iter().all(|&unit| unit <= u16::from(b' ')) => Some((
            Code::IgnoredKey,
            "the client reads an empty key and ignores the property: write a key".into(),
        )),
        Some(_) => properties::is_split(key).then(|| {
            let what = "the key ends for the client at the first blank, `:` or `=`, and the rest belongs to \
                        the value: write a backslash before it";
            (Code::SplitKey, what.into())
        }),
    }
}

fn of_rule(rule: RuleRef<'_>, key: &KeyFacts, options: &Conventions, report: &mut CheckReport) {
    let id = rule.order().id;
    let value = rule.value();
    let of_value = names_of(value, "property_value", options);
    let shown = if key.name.hides(&value.sample("x")) { Shown::Nothing } else { Shown::Text };
    let backslashes = lost_backslashes(value, "property_value", shown);
    for (code, message) in key.fault.iter().chain(&key.names).chain(&of_value).chain(&backslashes) {
        report.add_rule(*code, id, message.clone());
    }
    if value.head().starts_with(properties::is_blank) {
        let what = "property_value: Java leaves out blanks at the beginning of a value: remove them, or write \
                    a backslash before the first";
        report.add_rule(Code::LeadingBlank, id, what);
    }
    if rule.key().uses(Known::Password) {
        let what = "the client writes the user's password to its log, as it does with every key: use another parameter";
        report.add_rule(Code::LoggedSecret, id, what);
    }
    let has_password = value.uses(Known::Password);
    // The value is checked with its parameters filled, because they may hold secrets too.
    if key.is_logged && (has_password || key.name.hides(&value.sample("x"))) {
        let what = if has_password { "the user's password" } else { "what looks like a secret" };
        let what = format!(
            "the client writes {what} to its log, because the key does not end in `.PASSWORD`: \
             use a key that does, if the client has one"
        );
        report.add_rule(Code::LoggedSecret, id, what);
    }
    if key.is_mandatory && properties::client_value(value.head()).trim().eq_ignore_ascii_case("true") {
        let what = "MANDATORY stops clients from starting while the server is out of reach: \
                    remove it unless you intend this";
        report.add_rule(Code::Mandatory, id, what);
    }
}
