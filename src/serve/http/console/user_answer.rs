//! What a user's client gets, and why.

use std::sync::Arc;

use serde::Serialize;

use super::known::{Known, ago, rule_in};
use super::link;
use super::page::text;
use super::reply::Refusal;
use super::visit::Visit;
use crate::core::fetch::Fetch;
use crate::core::model::{RuleRow, Table, TableRows};
use crate::core::params::{self, is_reserved};
use crate::core::secret::{HIDDEN, is_secret};
use crate::ops::explain::{ClientRequest, ExplainReport, Hypothesis, KeyReport, Listing};
use crate::snapshot::Served;

/// What the names of the fields of parameters begin with.
const FIELD: &str = "p_";
/// The parameter of the address from which a client asks.
const ADDRESS: &str = "client.address";

/// The answer to a client, and the form in which its parameters are typed.
#[derive(Default, Serialize)]
pub(super) struct Answer {
    /// Why there is none.
    trouble: String,
    /// From where the parameters are.
    from: String,
    fields: Vec<ParamField>,
    /// Parameters that have no field, one a line.
    others: String,
    keys: Vec<KeyLine>,
    count: usize,
}

#[derive(Serialize)]
struct ParamField {
    field: String,
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct KeyLine {
    key: String,
    is_in: bool,
    value: String,
    rules: Vec<RuleVerdict>,
}

#[derive(Serialize)]
struct RuleVerdict {
    id: i64,
    href: String,
    domain: String,
    subject: String,
    value: String,
    why: String,
    is_winner: bool,
}

/// The parameters of a request, and where they are from.
struct Sent {
    pairs: Vec<(String, String)>,
    from: String,
}

impl Sent {
    /// The parameters that were typed, else those of the last fetch.
    fn of(visit: &Visit<'_>, last: Option<&Fetch>) -> Sent {
        if visit.query.get("typed").is_some() {
            return Sent { pairs: typed(visit), from: text("user", "from_typed").into() };
        }
        match last {
            Some(fetch) => {
                let names = |name: &str| matches!(name, "username" | "domain" | "password");
                let sent = fetch.params.iter().filter(|(name, _)| !names(name)).cloned();
                let address = (ADDRESS.to_owned(), fetch.address.to_string());
                let from = text("user", "from_fetch").replace('%', &ago(fetch.at));
                Sent { pairs: sent.chain([address]).collect(), from }
            }
            None => Sent { pairs: Vec::new(), from: text("user", "from_nothing").into() },
        }
    }
}

fn typed(visit: &Visit<'_>) -> Vec<(String, String)> {
    let fields = names().filter_map(|name| {
        let value = visit.query.text(&format!("{FIELD}{name}"))?;
        Some((name.to_owned(), value.to_owned()))
    });
    let lines = visit.query.get("others").unwrap_or_default().lines();
    let others = lines.filter_map(|line| line.trim().split_once('='));
    let others = others.map(|(name, value)| (name.trim().to_owned(), value.to_owned()));
    fields.chain(others).collect()
}

/// The parameters that have a field.
fn names() -> impl Iterator<Item = &'static str> {
    let sent = params::Known::ALL.into_iter().filter(|known| !known.always_given());
    sent.map(params::Known::name).chain([ADDRESS])
}

/// Explains the answer.
///
/// # Errors
/// [`Refusal::Unavailable`] if the work failed.
pub(super) async fn explain(
    visit: &Visit<'_>,
    served: &Arc<Served>,
    known: &Known,
    last: Option<&Fetch>,
) -> Result<Answer, Refusal> {
    let Sent { pairs, from } = Sent::of(visit, last);
    let shown =
        |name: &str, value: &str| if is_secret(name, value) { String::new() } else { value.to_owned() };
    let field = |name: &'static str| ParamField {
        field: format!("{FIELD}{name}"),
        name,
        value: pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default(),
    };
    let others = pairs.iter().filter(|(name, _)| !names().any(|known| known == name));
    let others = others.map(|(name, value)| format!("{name}={}", shown(name, value)));
    let others = others.collect::<Vec<_>>().join("\n");
    let mut answer = Answer { from, fields: names().map(field).collect(), others, ..Answer::default() };
    let request = match request(visit, known, pairs) {
        Ok(request) => request,
        Err(why) => return Ok(Answer { trouble: why, ..answer }),
    };
    let (snapshot, params) = (&served.snapshot, request.params());
    let Some(session) = snapshot.find(params) else { return Ok(answer) };
    let ids = snapshot.matching(session, params);
    let rows = match visit.console.source.rows(Table::JitsiProperty, ids).await {
        Ok(rows) => Some(rows.into_iter().filter_map(rule_in).collect::<Vec<RuleRow>>()),
        Err(why) => {
            answer.trouble = why.to_string();
            None
        }
    };
    answer.keys = match rows {
        Some(rows) => {
            let (options, listing) = (&visit.console.conventions, Listing { all: true, key: None });
            let report = ExplainReport::new(snapshot, options, session, &request, &rows, &listing);
            report.keys.into_iter().map(line).collect()
        }
        None => plain(&snapshot.answer(session, params).body),
    };
    answer.count = answer.keys.iter().filter(|key| key.is_in).count();
    Ok(answer)
}

/// The request of the client.
fn request(
    visit: &Visit<'_>,
    known: &Known,
    mut sent: Vec<(String, String)>,
) -> Result<ClientRequest, String> {
    if let Some((name, _)) = sent.iter().find(|(name, _)| is_reserved(name) && name != ADDRESS) {
        return Err(text("user", "reserved").replace('%', name));
    }
    let tried = Hypothesis::take(&mut sent).map_err(|why| why.to_string())?;
    let name = format!("{}@{}", known.username, known.domain);
    let mut request =
        ClientRequest::read(&name, &sent, None, &visit.state.params).map_err(|why| why.to_string())?;
    let applied = tried.apply(&mut request, &mut TableRows::default(), &visit.console.conventions);
    applied.map_err(|why| why.to_string())?;
    Ok(request)
}

fn line(key: KeyReport) -> KeyLine {
    let rules = key.rules.into_iter().map(|rule| RuleVerdict {
        id: rule.id,
        href: link::rule(rule.id),
        domain: rule.domain.unwrap_or_default(),
        subject: rule.subject,
        value: rule.value,
        why: rule.why,
        is_winner: matches!(rule.verdict, "won" | "undone" | "ignored"),
    });
    KeyLine {
        key: key.key,
        is_in: key.value.is_some(),
        value: key.value.unwrap_or_default(),
        rules: rules.collect(),
    }
}

/// The keys of an answer, as long as the rules cannot be read. All values are hidden: a value may
/// come from a secret attribute, and only the rule says so.
fn plain(body: &[u8]) -> Vec<KeyLine> {
    let body = String::from_utf8_lossy(body);
    let line = |line: &str| {
        let key = line.split_once('=').map_or(line, |(key, _)| key);
        KeyLine { key: key.to_owned(), is_in: true, value: HIDDEN.into(), rules: Vec::new() }
    };
    body.lines().map(line).collect()
}
