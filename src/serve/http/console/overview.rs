//! The first page: the state of this node and of others, losses, charts and what happened last.

use std::time::Duration;

use serde::Serialize;

use super::charts::{self, Charts};
use super::check::{self, Summary};
use super::fetches::{self, FetchLine, Seen};
use super::history::{self, EditLine};
use super::moment::{self, Moment, length};
use super::operator::Role;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use super::{ROOT, Rejection};
use crate::core::fetch::FetchFilter;
use crate::core::history::HistoryFilter;
use crate::core::model::Table;
use crate::metrics::Gauge;
use crate::reload::{NodeStatus, ReloadOutcome};
use crate::serve::http::node;
use crate::snapshot::Withheld;
use tokio::time::timeout;

/// How many edits and failures are shown.
const LATEST: usize = 5;
/// How long the page waits for the database. The rest of the page does not need it.
const PATIENCE: Duration = Duration::from_secs(2);
const DAY: i64 = 24 * 3600;

#[derive(Serialize)]
struct Overview {
    nodes: Vec<NodeLine>,
    losses: Vec<LossLine>,
    rejection: Option<RejectionLine>,
    may_confirm: bool,
    certificates: Vec<CertificateLine>,
    charts: Charts,
    /// What the latest check has found; `None` if there was none.
    check: Option<Summary>,
    edits: Vec<EditLine>,
    failures: Vec<FetchLine>,
    trouble: String,
}

#[derive(Serialize)]
struct NodeLine {
    name: String,
    state: String,
    is_good: bool,
    snapshot: String,
    age: String,
    tenants: usize,
    users: usize,
    rules: usize,
    left_out: usize,
    note: String,
    /// The numbers of its loss, for the form that confirms it; empty without one.
    seen: String,
    loss: String,
    /// The node's URL; empty for this one.
    url: String,
}

#[derive(Serialize)]
struct LossLine {
    tenant: String,
    users: usize,
    rules: usize,
    attributes: usize,
    examples: Vec<String>,
}

#[derive(Serialize)]
struct RejectionLine {
    operator: String,
    at: Moment,
}

#[derive(Serialize)]
struct CertificateLine {
    name: &'static str,
    at: Moment,
    is_soon: bool,
    days: i64,
}

/// `USERS,RULES,ATTRIBUTES`
fn numbers(status: &NodeStatus) -> String {
    format!("{},{},{}", status.withheld_users, status.withheld_rules, status.withheld_attributes)
}

/// The overview.
pub(super) async fn show(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let is_general = visit.operator().tenants.is_none();
    let own = node::status(&visit.state, visit.state.snapshot.load().as_deref());
    let mut nodes = vec![NodeLine::new(text("overview", "this_node").into(), "", &own)];
    let asked = async { if is_general { visit.console.peers.status().await } else { Vec::new() } };
    let edits = HistoryFilter { most: LATEST, ..HistoryFilter::default() };
    let failed = FetchFilter { failed: true, most: LATEST, ..FetchFilter::default() };
    let (peers, edits, failed) = tokio::join!(
        asked,
        timeout(PATIENCE, history::latest(visit, edits)),
        timeout(PATIENCE, fetches::seen(visit, failed)),
    );
    for (url, answer) in peers {
        nodes.push(match answer {
            Ok(status) => NodeLine::new(url.clone(), &url, &status),
            Err(why) => NodeLine::silent(url, why),
        });
    }
    let (edits, trouble) = match edits {
        Ok(Ok(edits)) => (edits, String::new()),
        Ok(Err(Refusal::Unavailable(why) | Refusal::Changed(why))) => (Vec::new(), why),
        _ => (Vec::new(), text("overview", "no_answer").into()),
    };
    let failed = failed.unwrap_or_else(|_| Ok(Seen::default()))?;
    let rejected = visit.console.rejection().filter(|rejected| rejected.seen == numbers(&own));
    let metrics = &visit.state.metrics;
    let certificates = [
        ("certificate", &metrics.certificate_expiry),
        ("admin_certificate", &metrics.admin_certificate_expiry),
    ];
    let page = Overview {
        nodes,
        losses: losses(visit, &visit.state.reload.withheld()),
        rejection: rejected.map(|by| RejectionLine { operator: by.operator, at: Moment::at(by.at) }),
        may_confirm: is_general && visit.operator().role >= Role::Edit,
        certificates: certificates
            .into_iter()
            .filter_map(|(name, expiry)| certificate(name, expiry))
            .collect(),
        charts: charts::draw(&metrics.minutes()),
        check: check::latest(visit),
        edits,
        failures: failed.fetches.into_iter().map(FetchLine::new).collect(),
        trouble: if trouble.is_empty() { failed.trouble } else { trouble },
    };
    Ok(page::show(visit, "overview", text("layout", "overview"), &page))
}

fn certificate(name: &str, expiry: &Gauge) -> Option<CertificateLine> {
    let at = expiry.get();
    let days = (at - moment::now()).div_euclid(DAY);
    (at > 0).then(|| CertificateLine {
        name: text("overview", name),
        at: Moment::at(at),
        is_soon: days < 14,
        days,
    })
}

/// What is withheld, as far as the operator may see it.
fn losses(visit: &Visit<'_>, withheld: &Withheld) -> Vec<LossLine> {
    let is_seen = |domain: &str| visit.operator().sees(domain.as_bytes());
    let line = |tenant: &crate::snapshot::WithheldTenant| {
        let own = withheld.examples.iter().filter(|row| row.domain == tenant.domain);
        let example = |row: &crate::snapshot::WithheldRow| match (row.table, row.id) {
            (Table::UserAuth, _) | (_, None) => row.name.clone(),
            (table, Some(id)) => format!("{} {id} ({})", text("overview", table.name()), row.name),
        };
        LossLine {
            tenant: if tenant.domain.is_empty() {
                text("overview", "all").into()
            } else {
                tenant.domain.clone()
            },
            users: tenant.users,
            rules: tenant.rules,
            attributes: tenant.attributes,
            examples: own.map(example).collect(),
        }
    };
    withheld.tenants.iter().filter(|tenant| is_seen(&tenant.domain)).map(line).collect()
}

impl NodeLine {
    fn new(name: String, url: &str, status: &NodeStatus) -> NodeLine {
        let is_loss = status.is_held_back || status.doubt.is_some();
        let failing = status.failing.as_ref().map(|failing| {
            format!("{} {}: {}", text("overview", "failing"), length(failing.seconds), failing.why)
        });
        let is_from_file = status.is_from_state_file.then(|| text("overview", "from_file").to_owned());
        let notes: Vec<String> =
            failing.into_iter().chain(is_from_file).chain(status.doubt.clone()).collect();
        NodeLine {
            name,
            state: text("overview", &status.state.name().replace(' ', "_")).into(),
            is_good: status.state == crate::reload::NodeState::Ready && !is_loss && status.failing.is_none(),
            snapshot: status
                .snapshot
                .map_or_else(|| status.version.to_string(), |snapshot| snapshot.to_string()),
            age: length(status.age),
            tenants: status.tenants,
            users: status.users,
            rules: status.rules,
            left_out: status.left_out,
            note: notes.join("; "),
            seen: if is_loss { numbers(status) } else { String::new() },
            loss: format!(
                "{} {}, {} {}, {} {}",
                status.withheld_users,
                text("overview", "users"),
                status.withheld_rules,
                text("overview", "rules"),
                status.withheld_attributes,
                text("overview", "attributes")
            ),
            url: url.to_owned(),
        }
    }

    /// A node that does not answer.
    fn silent(url: String, why: String) -> NodeLine {
        let silent = NodeLine::new(url, "", &NodeStatus::default());
        NodeLine {
            state: text("overview", "silent").into(),
            note: why,
            age: String::new(),
            snapshot: String::new(),
            ..silent
        }
    }
}

/// Confirms or rejects the loss of a node, as the page showed it.
pub(super) async fn decide(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    visit.needs(Role::Edit)?;
    if !visit.is_post {
        return Err(Refusal::Method);
    }
    // A loss concerns all tenants of the node.
    if visit.operator().tenants.is_some() {
        return Err(Refusal::Forbidden);
    }
    let (seen, url) =
        (visit.form.text("seen").unwrap_or_default(), visit.form.text("node").unwrap_or_default());
    let (operator, address) = (&*visit.operator().name, visit.asker.address);
    let said = match (visit.form.text("do"), url) {
        (Some("reject"), "") => {
            tracing::warn!(operator, %address, seen, "console: the loss is rejected, so it stays withheld");
            visit.console.reject(Rejection {
                operator: operator.into(),
                at: moment::now(),
                seen: seen.into(),
            });
            text("overview", "rejected").to_owned()
        }
        (Some("confirm"), "") => {
            if node::is_another_loss(&visit.state, seen) {
                return Err(Refusal::Changed(text("overview", "another_loss").into()));
            }
            tracing::warn!(operator, %address, seen, "console: the loss is confirmed");
            match visit.state.reload.ask(true).await {
                ReloadOutcome::Failed(why) => return Err(Refusal::Unavailable(why)),
                ReloadOutcome::LossWithheld => text("overview", "still_withheld").to_owned(),
                ReloadOutcome::Swapped(_) | ReloadOutcome::Unchanged => {
                    text("overview", "confirmed").to_owned()
                }
            }
        }
        (Some("confirm"), url) => {
            let parts: Vec<usize> = seen.split(',').map_while(|number| number.parse().ok()).collect();
            let [withheld_users, withheld_rules, withheld_attributes] = parts[..] else {
                return Err(Refusal::Bad(text("overview", "another_loss").into()));
            };
            let seen_there =
                NodeStatus { withheld_users, withheld_rules, withheld_attributes, ..NodeStatus::default() };
            tracing::warn!(operator, %address, seen, node = url, "console: the loss is confirmed");
            let answer = visit.console.peers.confirm(url, &seen_there).await.ok_or(Refusal::NotFound)?;
            format!("{url}: {}", answer.map_err(Refusal::Unavailable)?.trim_end())
        }
        _ => return Err(Refusal::NotFound),
    };
    visit.session.note(said);
    Ok(Reply::see(ROOT))
}
