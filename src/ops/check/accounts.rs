//! Checks the keys of accounts.
//!
//! The client finds an account by the line `net.java.sip.communicator.impl.protocol.sip.acc1=acc1`.
//! It ignores the properties of an account that has no such line. The id begins with `acc` and
//! ends at the first dot, so an id that contains a dot is no id, and the client ignores the
//! account.

use hashbrown::{HashMap, HashSet};

use super::report::CheckReport;
use crate::core::params::{Known, ParamName, Values};
use crate::core::problem::Code;
use crate::core::properties;
use crate::core::rules::RuleRef;
use crate::core::template::TemplatePiece;
use crate::snapshot::{ALL_TENANTS, Audience, NameEntry, Snapshot};

/// What the keys of all accounts begin with. The protocol follows.
const PROTOCOLS: &str = "net.java.sip.communicator.impl.protocol.";
/// What the ids of accounts begin with.
const ID: &str = "acc";
/// Stands for a parameter in a key.
const HOLE: &str = "\u{1}";

/// The key of a rule that is about an account.
struct AccountKey {
    /// The key of the account's own line, with [`HOLE`] for each parameter.
    line: String,
    /// The names of these parameters.
    params: Vec<ParamName>,
    /// The name of the account's property. `None` for the account's own line.
    property: Option<String>,
}

/// The account's own line and the name of its property, in a key as the client reads it.
fn divide(key: &str) -> Option<(&str, Option<&str>)> {
    let begin = PROTOCOLS.len() + key.strip_prefix(PROTOCOLS)?.find('.')? + 1;
    let id = key[begin..].strip_prefix(ID)?;
    match id.find('.') {
        Some(end) => {
            let end = begin + ID.len() + end;
            Some((&key[..end], Some(&key[end + 1..])))
        }
        None => Some((key, None)),
    }
}

fn read(key: &[u8]) -> String {
    String::from_utf16_lossy(&properties::client_key(key).unwrap_or_default())
}

impl AccountKey {
    fn of(piece: TemplatePiece<'_>) -> Option<AccountKey> {
        let key = read(piece.sample(HOLE).as_bytes());
        let (line, property) = divide(&key)?;
        let holes = line.matches(HOLE).count();
        let params = piece.params().take(holes).map(|(name, _)| name.clone()).collect();
        Some(AccountKey { line: line.to_owned(), params, property: property.map(str::to_owned) })
    }
}

/// Every parameter has the same value, except one.
struct Dotted<'n>(&'n ParamName);

impl Values for Dotted<'_> {
    fn get(&self, name: &ParamName) -> Option<&str> {
        Some(if name == self.0 { "x.x" } else { "xx" })
    }
}

/// Whether a dot in the value of a parameter ends the id early. It does not if the template
/// leaves dots out.
fn keeps_dots(piece: TemplatePiece<'_>, param: &ParamName) -> bool {
    let line = |values: &Dotted<'_>| {
        let mut key = Vec::new();
        piece.render(values, &mut key);
        divide(&read(&key)).map(|(line, _)| line.to_owned())
    };
    line(&Dotted(param)) != line(&Dotted(&ParamName::Known(Known::Password)))
}

/// Names and values that contain a dot.
#[derive(Default)]
struct WithDots<'s> {
    /// A username of each tenant.
    users: HashMap<u32, &'s [u8]>,
    attributes: HashSet<&'s str>,
}

impl<'s> WithDots<'s> {
    fn of(snapshot: &'s Snapshot) -> WithDots<'s> {
        let mut all = WithDots::default();
        for named in snapshot.named() {
            if named.users().next().is_some() && named.name().contains(&b'.') {
                let first = all.users.entry(named.tenant()).or_insert(named.name());
                *first = named.name().min(*first);
            }
            let attributes = named.attributes().chain(named.columns());
            all.attributes.extend(attributes.filter(|one| one.value.contains('.')).map(|one| one.name));
        }
        all
    }

    /// What has a dot and is the value of `param` for a client of these rules.
    fn example(&self, param: &ParamName, named: NameEntry<'s>) -> Option<String> {
        let user = match (param, named.audience()) {
            (ParamName::Attribute(name), _) => {
                return self
                    .attributes
                    .contains(&**name)
                    .then(|| format!("a value of `user.{name}` has a dot"));
            }
            (ParamName::Known(Known::Username), Audience::User(user)) => {
                Some(user).filter(|user| user.contains(&b'.'))
            }
            (ParamName::Known(Known::Username), _) if named.tenant() == ALL_TENANTS => {
                self.users.values().min().copied()
            }
            (ParamName::Known(Known::Username), _) => self.users.get(&named.tenant()).copied(),
            _ => None,
        };
        user.map(|user| format!("the name of the user `{}` has a dot", String::from_utf8_lossy(user)))
    }
}

pub(super) fn check(snapshot: &Snapshot, report: &mut CheckReport) {
    let with_dots = WithDots::of(snapshot);
    let mut keys: HashMap<usize, Option<AccountKey>> = HashMap::new();
    let mut lines: HashSet<(u32, String)> = HashSet::new();
    // By tenant and line: the lowest id of a rule for a property, and how many there are.
    let mut properties: HashMap<(u32, String), (i64, usize)> = HashMap::new();
    for named in snapshot.named() {
        for rule in named.rules().iter().filter(|rule| !is_removal(*rule)) {
            let key = keys.entry(rule.key_address()).or_insert_with(|| AccountKey::of(rule.key()));
            let Some(key) = key else { continue };
            let id = rule.order().id;
            let names: Vec<String> = key.params.iter().map(ParamName::to_string).collect();
            let account = (named.tenant(), format!("{}{HOLE}{}", key.line, names.join(HOLE)));
            match &key.property {
                None => {
                    lines.insert(account);
                }
                Some(rest) if is_line_with_dot(rule, &key.line, rest) => {
                    let what =
                        format!("the id of the account has a dot, so the client ignores it: {LEAVE_OUT}");
                    report.add_rule(Code::IgnoredAccount, id, what);
                    lines.insert(account);
                }
                Some(_) => {
                    let (lowest, count) = properties.entry(account).or_insert((id, 0));
                    *lowest = id.min(*lowest);
                    *count += 1;
                }
            }
            for param in key.params.iter().filter(|param| keeps_dots(rule.key(), param)) {
                if let Some(example) = with_dots.example(param, named) {
                    let what = format!(
                        "{example}, and the client ignores an account whose id has one: write \
                         `${{{param}:id}}`, which leaves it out"
                    );
                    report.add_rule(Code::IgnoredAccount, id, what);
                }
            }
        }
    }
    for ((tenant, account), (id, count)) in properties {
        let is_there = |tenant| lines.contains(&(tenant, account.clone()));
        let in_any = || tenant == ALL_TENANTS && lines.iter().any(|(_, line)| *line == account);
        if !is_there(tenant) && !is_there(ALL_TENANTS) && !in_any() {
            let what = format!(
                "the client ignores the properties of an account ({count}) without the account's own line: \
                 add a rule whose key ends with the account's id, and whose value is the id"
            );
            report.add_rule(Code::NoAccountLine, id, what);
        }
    }
}

const LEAVE_OUT: &str = "write an id without dots";

fn is_removal(rule: RuleRef<'_>) -> bool {
    let value = rule.value();
    value.params().next().is_none() && properties::client_value(value.head()) == "${null}"
}

/// Whether a rule seems to be the own line of an account whose id has a dot.
fn is_line_with_dot(rule: RuleRef<'_>, line: &str, rest: &str) -> bool {
    let id = line.rsplit('.').next().unwrap_or_default();
    properties::client_value(&rule.value().sample(HOLE)) == format!("{id}.{rest}")
}
