//! The page of a user.

use std::time::Instant;

use serde::Serialize;

use super::edit::seal;
use super::fetches::{self, Seen};
use super::known::{Known, KnownAttribute, ago, known, rule_in};
use super::operator::Role;
use super::page;
use super::reply::{Refusal, Reply};
use super::rules::RuleLine;
use super::user_answer::{self, Answer};
use super::visit::Visit;
use super::{ROOT, link, rights};
use crate::core::fetch::{Fetch, FetchFilter};
use crate::core::model::{Row, Table};
use crate::core::secret::{HIDDEN, NameHint, is_secret};
use crate::snapshot::{Level, Served};

/// How many fetches are shown.
const FETCHES: usize = 20;
/// How many of the user's own rules are shown.
const RULES: usize = 200;

#[derive(Serialize)]
struct UserPage {
    username: String,
    domain: String,
    href: String,
    tenant_href: String,
    rules_href: String,
    can_sign_in: bool,
    is_disabled: bool,
    is_withheld: bool,
    /// Further rows with the same name, which are not used.
    others: usize,
    trouble: String,
    /// Seals the row; empty if it cannot be read from its own table.
    row: String,
    may_reset: bool,
    /// Why the password cannot be changed; empty if it can.
    cannot_reset: &'static str,
    may_set: bool,
    /// Why attributes cannot be changed; empty if they can.
    cannot_set: &'static str,
    /// Whether the operator may change attributes, and they can be changed.
    may_change: bool,
    attributes: Vec<AttributeLine>,
    rules: Vec<RuleLine>,
    more_rules: usize,
    answer: Answer,
    fetches: Vec<FetchLine>,
    locks: Vec<LockLine>,
    has_peers: bool,
}

#[derive(Serialize)]
struct AttributeLine {
    id: i64,
    name: String,
    level: &'static str,
    value: String,
    is_hidden: bool,
    /// Seals the row; empty if it cannot be edited here.
    row: String,
}

#[derive(Serialize)]
struct FetchLine {
    ago: String,
    is_ok: bool,
    reason: &'static str,
    address: String,
    agent: String,
    device: String,
    node: String,
    properties: u32,
    params: String,
}

#[derive(Serialize)]
struct LockLine {
    address: String,
    minutes: u64,
}

/// The rows and fetches that a page shows.
struct Read {
    /// Of users, attributes and the user's own rules.
    rows: Vec<Row>,
    fetches: Vec<Fetch>,
    /// Why the database could not be read; empty if it was.
    trouble: String,
}

/// `/console/users/DOMAIN/USERNAME`
pub(super) async fn show(visit: &Visit<'_>, domain: &str, username: &str) -> Result<Reply, Refusal> {
    let served = visit.served()?;
    let known = known(visit, &served, domain, username)?;
    let read = read(visit, &known).await?;
    let answer = user_answer::explain(visit, &served, &known, read.fetches.first()).await?;
    let title = format!("{}@{}", known.username, known.domain);
    let [cannot_reset, cannot_set] = match &*read.trouble {
        "" => rights::why_not(visit, Role::Help, [Table::UserAuth, Table::UserAttribute]).await,
        _ => [""; 2],
    };
    let sealed = |table, id: i64| {
        let row = read.rows.iter().find(|row| row.table() == table && row.id() == id);
        row.map(seal).unwrap_or_default()
    };
    let attribute = |known: &KnownAttribute| {
        let is_hidden = NameHint::of(&known.name).hides_data(&known.value);
        AttributeLine {
            id: known.id,
            name: known.name.clone(),
            level: known.level.name(),
            value: if is_hidden { HIDDEN.into() } else { known.value.clone() },
            is_hidden,
            row: match known.level {
                Level::User if cannot_set.is_empty() => sealed(Table::UserAttribute, known.id),
                _ => String::new(),
            },
        }
    };
    // Attributes of a user can be changed without the right to change the user.
    let id = known.ids.first().filter(|_| visit.console.source.editable(Table::UserAuth).is_ok());
    let row = id.map(|id| sealed(Table::UserAuth, *id)).unwrap_or_default();
    let may_set = !row.is_empty() && cannot_set.is_empty();
    let rules = read.rows.iter().cloned().filter_map(rule_in);
    let page = UserPage {
        href: link::user(&known.domain, &known.username),
        tenant_href: link::tenant(&known.domain),
        rules_href: format!(
            "{ROOT}/rules?user={}%40{}",
            link::part(&known.username),
            link::part(&known.domain)
        ),
        can_sign_in: known.can_sign_in,
        is_disabled: known.is_disabled,
        is_withheld: known.is_withheld,
        others: known.ids.len().saturating_sub(1),
        trouble: read.trouble,
        may_reset: !row.is_empty() && cannot_reset.is_empty(),
        cannot_reset,
        may_set,
        cannot_set,
        may_change: may_set && visit.needs(Role::Edit).is_ok(),
        row,
        attributes: known.attributes.iter().map(attribute).collect(),
        more_rules: known.rules.len().saturating_sub(RULES),
        rules: rules.map(|row| RuleLine::new(&row, visit)).collect(),
        answer,
        fetches: read.fetches.iter().map(fetch).collect(),
        locks: locks(visit, &served, &known),
        has_peers: visit.console.peers.are_there(),
        username: known.username,
        domain: known.domain,
    };
    Ok(page::show(visit, "user", &title, &page))
}

async fn read(visit: &Visit<'_>, known: &Known) -> Result<Read, Refusal> {
    let fold = |name: &str| visit.console.conventions.comparison.fold_text(name);
    let own = known.attributes.iter().filter(|known| known.level == Level::User && known.id != i64::MIN);
    let wanted = vec![
        (Table::UserAuth, known.ids.clone()),
        (Table::UserAttribute, own.map(|known| known.id).collect()),
        (Table::JitsiProperty, known.rules.iter().copied().take(RULES).collect()),
    ];
    let (rows, trouble) = match visit.console.source.rows_in(wanted).await {
        Ok(rows) => (rows, String::new()),
        Err(why) => (Vec::new(), why.to_string()),
    };
    let wanted = FetchFilter {
        domain: Some(fold(&known.domain)),
        username: Some(fold(&known.username)),
        most: FETCHES,
        ..FetchFilter::default()
    };
    let Seen { fetches, trouble: later } = fetches::seen(visit, wanted).await?;
    Ok(Read { rows, fetches, trouble: if trouble.is_empty() { later } else { trouble } })
}

fn fetch(fetch: &Fetch) -> FetchLine {
    let shown = |(name, value): &(String, String)| match is_secret(name, value) {
        true => format!("{name}={HIDDEN}"),
        false => format!("{name}={value}"),
    };
    FetchLine {
        ago: ago(fetch.at),
        is_ok: fetch.is_ok,
        reason: fetch.reason.map_or("", |reason| reason.name()),
        address: fetch.address.to_string(),
        agent: fetch.agent.clone(),
        device: fetch.device.clone(),
        node: fetch.node.clone(),
        properties: fetch.properties,
        params: fetch.params.iter().map(shown).collect::<Vec<_>>().join(", "),
    }
}

/// The locks that keep the user out.
fn locks(visit: &Visit<'_>, served: &Served, known: &Known) -> Vec<LockLine> {
    let fold = |name: &str| served.snapshot.fold(name);
    let (domain, username) = (fold(&known.domain), fold(&known.username));
    let stamp = |domain: &str, username: &str| {
        visit.state.throttle.stamp(&served.snapshot.candidate(&fold(domain), &fold(username)))
    };
    let all = visit.state.throttle.locks(stamp, Instant::now());
    let own = all.into_iter().filter(|lock| {
        lock.account.as_ref().is_some_and(|(of, name)| fold(of) == domain && fold(name) == username)
    });
    let line = |lock: crate::serve::throttle::Lock| LockLine {
        address: lock.address.map(|address| address.to_string()).unwrap_or_default(),
        minutes: lock.left.as_secs() / 60 + 1,
    };
    own.map(line).collect()
}
