//! What is wrong with a rule by itself.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::names::{Standing, standing};
use super::table::{Rules, is_null, read_value};
use super::{Report, prefixes};
use crate::model::{Known, Name};
use crate::properties;
use crate::rules::Rule;
use crate::snapshot::{ALL_TENANTS, Named, Options, Snapshot, Whom, looks_sent_for};
use crate::template::{self, Piece};

const MANDATORY: &str = "plugin.provisioning.MANDATORY";
/// What the client keeps apart and does not log.
const KEPT_SECRET: &str = ".PASSWORD";

/// What is known of a key, looked at once for all rules that have it.
struct Key {
    fault: Option<(&'static str, String)>,
    names: Vec<(&'static str, String)>,
    /// Whether the client logs what its value is.
    is_logged: bool,
    /// Whether its name says that its value is a secret.
    is_secret: bool,
    is_mandatory: bool,
    is_list: bool,
}

pub(super) fn check(snapshot: &Snapshot, options: &Options, rules: &Rules, report: &mut Report) {
    let mut keys: HashMap<usize, Arc<Key>, RandomState> = HashMap::default();
    for named in snapshot.named().filter(|named| !named.rules().is_empty()) {
        let of_subject = subject(snapshot, options, named);
        for rule in named.rules().iter() {
            let id = rule.order().id;
            for (code, message) in &of_subject {
                report.add_rule(code, id, message.clone());
            }
            let key = keys.entry(rule.key_address()).or_insert_with(|| Arc::new(Key::of(rule, options)));
            of_rule(rule, &key.clone(), options, report);
            if let Some(list) = rules.lists.get(&id).filter(|_| key.is_list) {
                prefixes::spelling(id, list, report);
            }
        }
    }
}

/// What is wrong with a subject, and so with every rule for it.
fn subject(snapshot: &Snapshot, options: &Options, named: Named<'_>) -> Vec<(&'static str, String)> {
    let name = String::from_utf8_lossy(named.name());
    let mut found = Vec::new();
    if named.is_user() {
        if let Some(param) = looks_sent_for(snapshot, named.name()) {
            let what = format!(
                "the subject `{name}` is a user's name, so it matches that user alone; \
                 if the {param} is meant, write `{param}={name}`, else `username={name}`"
            );
            found.push(("ambiguous-subject", what));
        }
        return found;
    }
    match named.whom(options) {
        Whom::User(user) if !snapshot.has_user(named.tenant(), user) => {
            let of = if named.tenant() == ALL_TENANTS { "no tenant has" } else { "its tenant has not" };
            let user = String::from_utf8_lossy(user);
            let what =
                format!("the rule is for the user `{user}`, whom {of}: correct the subject or remove it");
            found.push(("no-such-user", what));
        }
        Whom::Param(..) => {
            let param = template::typed_subject(&name).map(|(param, _)| param.to_owned());
            found.extend(param.and_then(|param| of_name(&param, "subject", options)));
        }
        _ => {}
    }
    found
}

fn of_name(name: &str, column: &str, options: &Options) -> Option<(&'static str, String)> {
    match standing(name, options) {
        Standing::Known => None,
        Standing::Near(known) => {
            let what = format!("{column}: clients send no parameter `{name}`; did you mean `{known}`?");
            Some(("unknown-parameter", what))
        }
        Standing::Own => {
            let what = format!(
                "{column}: clients send `{name}` only if you put it into their URL; \
                 without it the rule does not apply"
            );
            Some(("own-parameter", what))
        }
    }
}

fn names_of(piece: Piece<'_>, column: &str, options: &Options) -> Vec<(&'static str, String)> {
    let mut found: Vec<_> = piece
        .params()
        .filter_map(|(name, _)| match name {
            Name::Known(_) => None,
            Name::Other(name) => of_name(name, column, options),
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

impl Key {
    fn of(rule: Rule<'_>, options: &Options) -> Key {
        let piece = rule.key();
        // Whatever a parameter holds, it is escaped: a letter stands for all.
        let sample = piece.sample("x");
        let key = properties::client_key(sample.as_bytes());
        let fault = match &key {
            None => {
                let what = "the key begins with `#` or `!`, so the client takes it for a comment: write `\\#` or `\\!`";
                Some(("ignored-key", what.into()))
            }
            Some(key) if key.iter().all(|&unit| unit <= u16::from(b' ')) => {
                Some(("ignored-key", "the key is empty to the client, which ignores it: name a property".into()))
            }
            Some(_) => properties::is_split(&sample).then(|| {
                let what = "the key ends for the client at the first blank, `:` or `=`, and the rest belongs to \
                            the value: write a backslash before it";
                ("split-key", what.into())
            }),
        };
        let key = String::from_utf16_lossy(&key.unwrap_or_default());
        let last = key.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        Key {
            fault,
            names: names_of(piece, "property_key", options),
            // Of one that ends with a parameter nobody knows.
            is_logged: !key.ends_with(KEPT_SECRET) && !piece.tail().is_empty(),
            is_secret: ["password", "passwd", "passphrase", "pwd", "secret", "token", "apikey"]
                .iter()
                .any(|word| last.contains(word)),
            is_mandatory: key.ends_with(MANDATORY),
            is_list: matches!(&*key, prefixes::ENFORCE | prefixes::ALLOW),
        }
    }
}

fn of_rule(rule: Rule<'_>, key: &Key, options: &Options, report: &mut Report) {
    let id = rule.order().id;
    let value = rule.value();
    let of_value = names_of(value, "property_value", options);
    for (code, message) in key.fault.iter().chain(&key.names).chain(&of_value) {
        report.add_rule(code, id, message.clone());
    }
    let has_password = value.params().any(|(name, _)| *name == Name::Known(Known::Password));
    let tells = || {
        let is_plain = |text: &str| text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit());
        let text = read_value(rule);
        value.params().next().is_some()
            || !(is_null(rule) || is_plain(&text) || ["true", "false"].contains(&&*text.to_ascii_lowercase()))
    };
    if key.is_logged && (has_password || key.is_secret && tells()) {
        let what = if has_password { "the user's password" } else { "what looks like a secret" };
        let what = format!(
            "the client writes {what} to its log, since the key does not end in `.PASSWORD`: \
             use a key that does, if the client has one"
        );
        report.add_rule("logged-secret", id, what);
    }
    if key.is_mandatory && read_value(rule).trim().eq_ignore_ascii_case("true") {
        let what = "MANDATORY stops clients from starting while the server is out of reach: \
                    remove it unless that is meant";
        report.add_rule("mandatory", id, what);
    }
}
