//! The report: each key with the rule that wins and the rules that lose to it.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use serde::Serialize;

use super::ClientRequest;
use super::aftermath::Aftermath;
use crate::core::client::PropertyFate;
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, RuleRow};
use crate::core::params::{Known, ParamName, Params, is_reserved};
use crate::core::properties;
use crate::core::rules::{Compiled, RuleOrder, RuleOutcome};
use crate::core::secret;
use crate::core::secret::HIDDEN;
use crate::core::subject::{PatternKind, Subject, TypedBy};
use crate::snapshot::{Fate, Level, Mismatch, Session, SessionValues, Snapshot, Traced};

/// The number of rules that are listed for one key if they do not match and `all` is not set.
const LISTED: usize = 10;

/// Which rules a report lists.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Also rules of other users, and all rules for one key that do not match.
    pub all: bool,
    /// Only properties whose keys contain this text, in any case.
    pub key: Option<String>,
}

/// What a client would get, and why. Passwords are hidden.
#[derive(Debug, Serialize)]
pub struct ExplainReport {
    /// The user.
    pub username: String,
    /// The tenant.
    pub domain: String,
    /// The parameters of the client, as the server reads them.
    pub parameters: Vec<Parameter>,
    /// The properties. Those in the answer come first, in the order of the answer; then those
    /// that no rule sets for this client.
    pub keys: Vec<KeyReport>,
    /// The number of rules that do not match this client and are not listed.
    pub left_out: usize,
    /// Ids of rules that use the password, in the answer or as their subject, although it is not
    /// known.
    pub without_password: Vec<i64>,
}

/// A parameter.
#[derive(Debug, Serialize)]
pub struct Parameter {
    /// Its canonical name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A property.
#[derive(Debug, Serialize)]
pub struct KeyReport {
    /// Its key, as it is in the answer.
    pub key: String,
    /// Its value in the answer; `None` if it is not in the answer.
    pub value: Option<String>,
    /// The rules for it: the winner first, then the others in their order.
    pub rules: Vec<RuleReport>,
}

/// A rule.
#[derive(Debug, Serialize)]
pub struct RuleReport {
    /// The id of its row.
    pub id: i64,
    /// Its tenant; `None` for all tenants.
    pub domain: Option<String>,
    /// Its subject.
    pub subject: String,
    /// The first priority.
    pub spriority: Option<i64>,
    /// The second priority.
    pub ppriority: Option<i64>,
    /// Its key as rendered, or as stored if it cannot be rendered.
    pub key: String,
    /// Its value as rendered, or as stored if it cannot be rendered.
    pub value: String,
    /// `won`, `undone`, `ignored`, `lost`, `lacks`, `mismatch` or `bad`. The properties of rules
    /// with the first three verdicts are in the answer.
    pub verdict: &'static str,
    /// The id of the rule to which it lost.
    pub lost_to: Option<i64>,
    /// The id of the rule by which the client removes the property again.
    pub undone_by: Option<i64>,
    /// The id of the rule because of which the client ignores the property.
    pub ignored_by: Option<i64>,
    /// The parameter that is missing or has another value than the rule requires.
    pub parameter: Option<String>,
    /// The attributes that it uses, if its property is in the answer.
    pub attributes: Vec<UsedAttribute>,
    /// The verdict as a sentence.
    pub why: String,
}

/// An attribute that a rule uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsedAttribute {
    /// Its name.
    pub name: String,
    /// Who it is stored for.
    pub level: Level,
}

impl ExplainReport {
    /// Explains what `snapshot`, which was built from `rows` with `options`, gives to `request`.
    /// Unless all rules are listed, rules of other users are only counted, and only a few of the
    /// rules for one key that do not match are listed.
    pub fn new(
        snapshot: &Snapshot,
        options: &Conventions,
        session: Session<'_>,
        request: &ClientRequest,
        rows: &[RuleRow],
        listing: &Listing,
    ) -> ExplainReport {
        let Listing { all, ref key } = *listing;
        let part = key.as_deref().map(str::to_lowercase);
        let is_listed = |key: &str| part.as_ref().is_none_or(|part| key.to_lowercase().contains(part));
        let params = request.params();
        let traced = snapshot.trace(options, session, params, rows);
        let mut shown = params.clone();
        shown.set(Known::Password, Some(HIDDEN.to_owned()));
        let levels: BTreeMap<&str, Level> =
            session.attributes().into_iter().map(|(level, known)| (known.name, level)).collect();
        let (values, shown_values) = (session.values(params), session.values(&shown));
        let after = Aftermath::new(&traced, &values);
        let mut report = ExplainReport {
            username: params.known(Known::Username).unwrap_or_default().to_owned(),
            domain: params.known(Known::Domain).unwrap_or_default().to_owned(),
            parameters: parameters(request, &shown),
            keys: Vec::new(),
            left_out: 0,
            without_password: Vec::new(),
        };
        // Keys are compared as the client reads them. If a key cannot be rendered, it is compared
        // as it is stored.
        let mut places: HashMap<Vec<u16>, usize> = HashMap::new();
        let mut mismatches: Vec<usize> = Vec::new();
        for traced in &traced {
            let won = traced.fate == Fate::Matches(RuleOutcome::Won);
            let is_mismatch = matches!(traced.fate, Fate::Mismatch(_) | Fate::Bad(_));
            if !all && is_private(&traced.fate) {
                report.left_out += usize::from(is_listed(&traced.row.key.shown()));
                continue;
            }
            let mut rule = rule(traced, &shown_values, options);
            if !is_listed(&rule.key) {
                continue;
            }
            if !request.has_password() && is_for_a_password(&traced.fate) {
                report.without_password.push(traced.row.id);
            }
            if won {
                rule.add_aftermath(&after);
                rule.add_attributes(used(traced, &levels, options));
            }
            let name = traced.client_key(&values).unwrap_or_else(|| rule.key.encode_utf16().collect());
            let place = *places.entry(name).or_insert_with(|| {
                report.keys.push(KeyReport { key: rule.key.clone(), value: None, rules: Vec::new() });
                mismatches.push(0);
                mismatches.len() - 1
            });
            mismatches[place] += usize::from(is_mismatch);
            if !all && is_mismatch && mismatches[place] > LISTED {
                report.left_out += 1;
                continue;
            }
            let key = &mut report.keys[place];
            if won {
                if !request.has_password() && traced.rule.as_ref().is_some_and(|r| r.uses(Known::Password)) {
                    report.without_password.push(rule.id);
                }
                (key.key, key.value) = (rule.key.clone(), Some(rule.value.clone()));
                key.rules.insert(0, rule);
            } else {
                key.rules.push(rule);
            }
        }
        report.sort(&traced);
        report
    }

    /// Sorts the keys by their order in the answer. Keys that are not in the answer come last.
    fn sort(&mut self, traced: &[Traced<'_>]) {
        let orders: HashMap<i64, RuleOrder> =
            traced.iter().filter_map(|traced| Some((traced.row.id, traced.rule.as_ref()?.order))).collect();
        // The sort is stable, so the others stay in the order of their first rules.
        self.keys.sort_by_key(|key| {
            let winner = key.rules.first().filter(|_| key.value.is_some());
            let order = winner.and_then(|rule| orders.get(&rule.id)).copied();
            (order.is_none(), order)
        });
    }
}

fn parameters(request: &ClientRequest, shown: &Params) -> Vec<Parameter> {
    let is_sent = |known: &Known| *known != Known::Password || request.has_password();
    let known = Known::ALL.into_iter().filter(is_sent);
    let known = known.filter_map(|known| Some((known.name(), shown.known(known)?)));
    let all = known.chain(shown.others());
    let shown = |name, value| if secret::is_secret(name, value) { HIDDEN } else { value };
    all.map(|(name, value)| Parameter { name: name.into(), value: shown(name, value).into() }).collect()
}

/// Whether a rule belongs to another user. There may be very many of these. If the client sends
/// this user's name in another parameter, the rule is worth listing.
fn is_private(fate: &Fate) -> bool {
    match fate {
        Fate::Mismatch(Mismatch::OtherUser { is_sent }) => !is_sent,
        Fate::Mismatch(Mismatch::Param { name, pattern: None, .. }) => name == Known::Username.name(),
        _ => false,
    }
}

fn is_for_a_password(fate: &Fate) -> bool {
    matches!(fate, Fate::Mismatch(Mismatch::Param { name, .. }) if name == Known::Password.name())
}

/// The attributes in the templates and the subject of a rule, by name.
fn used(traced: &Traced<'_>, levels: &BTreeMap<&str, Level>, options: &Conventions) -> Vec<UsedAttribute> {
    let subject = traced.row.subject.text().ok().flatten().and_then(|subject| options.subject(&subject));
    let of_subject = match &subject {
        Some(
            Subject::Param(TypedBy::Attribute(name), _) | Subject::Pattern(TypedBy::Attribute(name), ..),
        ) => Some(&**name),
        _ => None,
    };
    let names: BTreeSet<&str> =
        traced.rule.iter().flat_map(|rule| rule.attributes()).chain(of_subject).collect();
    let level = |name: &str| Some(UsedAttribute { name: name.to_owned(), level: *levels.get(name)? });
    names.into_iter().filter_map(level).collect()
}

impl RuleReport {
    /// Says what happens to its property, which is in the answer, in the client.
    fn add_aftermath(&mut self, after: &Aftermath) {
        match after.fates.get(&self.id) {
            Some((by, PropertyFate::Undone(_))) => {
                let list = if after.enforcer == Some(*by) { " (ENFORCE_PREFIX)" } else { "" };
                self.why = format!("undone by rule {by}{list}");
                (self.verdict, self.undone_by) = ("undone", Some(*by));
            }
            Some((by, _)) => {
                self.why = format!("ignored because of rule {by} (ALLOW_PREFIX)");
                (self.verdict, self.ignored_by) = ("ignored", Some(*by));
            }
            None => {}
        }
    }

    fn add_attributes(&mut self, used: Vec<UsedAttribute>) {
        let named = used.iter().map(|used| format!("user.{} ({})", used.name, used.level.name()));
        let named: Vec<String> = named.collect();
        if !named.is_empty() {
            self.why = format!("{}, with {}", self.why, named.join(", "));
        }
        self.attributes = used;
    }
}

impl Traced<'_> {
    /// The key as the client reads it; `None` if it cannot be rendered.
    fn client_key(&self, values: &SessionValues<'_>) -> Option<Vec<u16>> {
        let rule = self.rule.as_ref().filter(|rule| rule.key_missing(values).is_none())?;
        let written = rule.render_key(values);
        // Comments are compared by their whole text.
        Some(properties::client_key(&written).unwrap_or_else(|| written.into_iter().map(u16::from).collect()))
    }
}

fn rule(traced: &Traced<'_>, shown: &SessionValues<'_>, options: &Conventions) -> RuleReport {
    let Traced { row, rule, fate } = traced;
    let stored = |cell: &Cell| cell.shown().into_owned();
    let rendered = |written| String::from_utf8(written).expect("rendered text is ASCII");
    let usable = |is_whole: fn(&Compiled, &SessionValues<'_>) -> bool| {
        rule.as_ref().filter(|rule| is_whole(rule, shown))
    };
    let key = usable(|rule, shown| rule.key_missing(shown).is_none());
    let key = key.map_or_else(|| stored(&row.key), |rule| rendered(rule.render_key(shown)));
    let value = usable(|rule, shown| rule.value_missing(shown).is_none());
    let value = value.map_or_else(|| stored(&row.value), |rule| rendered(rule.render_value(shown)));
    // A rendered placeholder may contain a secret, and a rendered `$$` may look like a
    // placeholder. So both forms are checked.
    let (stored_key, stored_value) = (stored(&row.key), stored(&row.value));
    let is_hidden = [&key, &stored_key].into_iter().any(|key| {
        let name = secret::NameHint::of(key);
        name.hides(&value) || name.hides(&stored_value)
    });
    let is_hidden = is_hidden || rule.as_ref().is_some_and(Compiled::uses_secret_attribute);
    let (verdict, lost_to, parameter, why) = words(fate, rule.as_ref().map(|rule| rule.order));
    let priority = |cell: &Cell| cell.int().ok().flatten();
    RuleReport {
        id: row.id,
        domain: Some(stored(&row.domain)).filter(|domain| !domain.is_empty()),
        subject: options.shown_subject(&stored(&row.subject)),
        spriority: priority(&row.spriority),
        ppriority: priority(&row.ppriority),
        value: if is_hidden { HIDDEN.to_owned() } else { value },
        key,
        verdict,
        lost_to,
        undone_by: None,
        ignored_by: None,
        parameter,
        attributes: Vec::new(),
        why,
    }
}

type Words = (&'static str, Option<i64>, Option<String>, String);

fn words(fate: &Fate, order: Option<RuleOrder>) -> Words {
    match fate {
        Fate::Matches(RuleOutcome::Won) => ("won", None, None, "won".into()),
        Fate::Matches(RuleOutcome::Lost(to)) => {
            let priorities = |order: RuleOrder| (order.spriority, order.ppriority);
            let why = match order.map(priorities) == Some(priorities(*to)) {
                true => format!("lost to rule {}: same priorities, larger id", to.id),
                false => format!("lost to rule {}: lower priority", to.id),
            };
            ("lost", Some(to.id), None, why)
        }
        Fate::Matches(RuleOutcome::Lacks(name)) => {
            let why = match name {
                ParamName::Attribute(_) => format!("the user has no {name}"),
                _ => format!("the client did not send {name}"),
            };
            ("lacks", None, Some(name.to_string()), why)
        }
        Fate::Mismatch(Mismatch::OtherUser { is_sent }) => {
            let why = match is_sent {
                true => "only for the user with that name, not for other users who send it",
                false => "for another user",
            };
            ("mismatch", None, None, why.into())
        }
        Fate::Mismatch(Mismatch::Disabled) => ("mismatch", None, None, "the user is switched off".into()),
        Fate::Mismatch(Mismatch::Param { name, sent, pattern }) => {
            let is_password = name == Known::Password.name();
            let is_servers = is_reserved(name);
            let is_secret = |sent: &str| is_password || secret::is_secret(name, sent);
            // An empty password means that none was sent, or that the password is not known.
            let mismatch = match pattern {
                Some((PatternKind::Glob, pattern)) => format!(", which does not match {pattern}"),
                Some((PatternKind::Network, network)) => format!(", which is not in {network}"),
                None => String::new(),
            };
            let why = match sent.as_deref().filter(|sent| !is_password || !sent.is_empty()) {
                Some(value) if is_servers && secret::NameHint::of(name).hides_data(value) => {
                    format!("{name} is another")
                }
                Some(value) if is_servers => format!("{name} is {value:?}{mismatch}"),
                None if is_servers => format!("there is no {name}"),
                Some(sent) if is_secret(sent) => format!("the client sent another {name}"),
                None if is_password => "the password is not known".into(),
                Some("") => format!("the client sent an empty {name}"),
                Some(sent) => format!("the client sent {name}={sent}{mismatch}"),
                None => format!("the client did not send {name}"),
            };
            ("mismatch", None, Some(name.clone()), why)
        }
        Fate::Bad(why) => ("bad", None, None, format!("bad row: {why}")),
    }
}
