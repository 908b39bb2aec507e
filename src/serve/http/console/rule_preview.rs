//! What an edit of a rule would do.

use hashbrown::HashSet;
use serde::Serialize;

use super::reply::Refusal;
use super::visit::Visit;
use crate::core::model::{Cell, Row, RuleRow, Table, TableRows, UserRow};
use crate::core::params::{ClientFact, Known};
use crate::core::subject::{PatternKind, Subject, TypedBy, sent_for};
use crate::ops::check::Undoing;
use crate::ops::edits::{self, Audience, Effect, PropertyChange};
use crate::ops::explain::{ClientRequest, Hypothesis};
use crate::snapshot::{Level, Reach, Snapshot};

/// For how many users the answers are compared.
const SAMPLE: usize = 10;

/// What an edit would do.
#[derive(Serialize)]
pub(super) struct Preview {
    /// Which users the rule is for, in words.
    audience: String,
    users: usize,
    depends_on_clients: bool,
    effects: Vec<EffectLine>,
    /// What `check` says, in words.
    findings: Vec<String>,
}

#[derive(Serialize)]
struct EffectLine {
    user: String,
    changes: Vec<ChangeLine>,
}

#[derive(Serialize)]
struct ChangeLine {
    key: String,
    before: String,
    after: String,
    is_added: bool,
    is_removed: bool,
}

/// The ids of the rows that matter for the answers to some users.
#[derive(Default)]
struct Ids {
    users: Vec<i64>,
    attributes: HashSet<i64>,
    rules: HashSet<i64>,
}

/// Computes the preview of a change, an addition or a removal.
///
/// # Errors
/// When the subject cannot be meant, or the rows cannot be read.
pub(super) async fn preview(
    visit: &Visit<'_>,
    before: Option<&RuleRow>,
    after: Option<&RuleRow>,
) -> Result<Preview, Refusal> {
    let Some(shown) = after.or(before) else { return Err(Refusal::NotFound) };
    let options = &visit.console.conventions;
    let reach = reach(visit, shown)?;
    let mut sample: Vec<(&RuleRow, [String; 2])> =
        reach.sample.iter().map(|user| (shown, user.clone())).collect();
    if let (Some(before), true) = (before, after.is_some()) {
        let of_before = self::reach(visit, before)?.sample;
        let others = of_before.into_iter().filter(|user| !reach.sample.contains(user));
        // Who loses the rule matters as much as who gets it.
        let others: Vec<_> = others.map(|user| (before, user)).collect();
        sample.truncate(SAMPLE.saturating_sub(others.len().min(SAMPLE / 2)));
        sample.extend(others);
        sample.truncate(SAMPLE);
    }
    let mut audience = Audience::new(shown, options);
    for [username, domain] in &reach.sample {
        let cells = [username.as_str().into(), domain.as_str().into(), Cell::Null];
        audience.look(&UserRow::from_cells(0, cells));
    }
    if after.is_some() {
        audience.check_address(shown)?;
    }
    let requests = sample.into_iter().filter_map(|(rule, user)| request(visit, rule, &user));
    let requests: Vec<ClientRequest> = requests.collect();
    let rows = rows(visit, &requests, before).await?;
    let mut findings = Vec::new();
    if let Some(after) = after {
        findings.extend(edits::doubts(after, options).map(|finding| finding.message));
        let mut undoing = Undoing::new(after, options);
        rows.rules.iter().for_each(|row| undoing.look(row.clone()));
        findings.extend(undoing.found().into_iter().map(|(code, id)| edits::undone_by(code, id)));
    }
    let (audience, users) = (audience.words(shown), reach.users);
    let gone = before.filter(|_| after.is_none()).map(|row| row.id);
    let effects = edits::effects(&rows, after, gone, &requests, options).into_iter().map(line).collect();
    Ok(Preview { audience, users, depends_on_clients: reach.depends_on_clients, effects, findings })
}

fn reach(visit: &Visit<'_>, rule: &RuleRow) -> Result<Reach, Refusal> {
    let options = &visit.console.conventions;
    let domain = options.fold(&rule.domain).unwrap_or_default();
    let Some(subject) = options.subject(&rule.subject.shown()) else { return Ok(Reach::default()) };
    Ok(visit.served()?.snapshot.reach(&domain, &subject, SAMPLE))
}

/// A request of the user that matches the subject of the rule, as far as one can be made up.
fn request(visit: &Visit<'_>, rule: &RuleRow, [username, domain]: &[String; 2]) -> Option<ClientRequest> {
    let options = &visit.console.conventions;
    let mut sent =
        options.subject(&rule.subject.shown()).and_then(|subject| sent(&subject)).into_iter().collect();
    let tried = Hypothesis::take(&mut sent).ok()?;
    let name = format!("{username}@{domain}");
    let mut request = ClientRequest::read(&name, &sent, None, &visit.state.params).ok()?;
    tried.apply(&mut request, &mut TableRows::default(), options).ok()?;
    Some(request)
}

/// A parameter that a client must send, so that the subject matches.
fn sent(subject: &Subject) -> Option<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let (by, value) = match subject {
        Subject::Everyone => return None,
        Subject::Word(word) => (TypedBy::Known(sent_for(word)?), text(word)),
        Subject::Param(by, value) => (by.clone(), text(value)),
        Subject::Pattern(by, PatternKind::Glob, glob) => {
            (by.clone(), PatternKind::Glob.shown(glob).replace('*', "").replace('?', "x"))
        }
        Subject::Pattern(by, PatternKind::Network, network) => {
            let network = text(network);
            (by.clone(), network.split('/').next().unwrap_or_default().to_owned())
        }
    };
    match by {
        TypedBy::Known(Known::Username | Known::Domain | Known::Password)
        | TypedBy::Attribute(_)
        | TypedBy::Client(ClientFact::Username) => None,
        by => Some((by.to_string(), value)),
    }
}

fn ids(snapshot: &Snapshot, requests: &[ClientRequest]) -> Ids {
    let mut ids = Ids::default();
    for params in requests.iter().map(ClientRequest::params) {
        let known = |known| params.known(known).unwrap_or_default();
        let account = snapshot.account(known(Known::Domain), known(Known::Username));
        let Some(account) = account else { continue };
        ids.users.extend(account.ids);
        let attributes = account.session.attributes().into_iter();
        let is_row = |level: Level, id: i64| level != Level::User || id != i64::MIN;
        ids.attributes
            .extend(attributes.filter(|(level, one)| is_row(*level, one.id)).map(|(_, one)| one.id));
        ids.rules.extend(snapshot.matching(account.session, params));
    }
    ids
}

/// The rows that matter for the requests, and the rule as it was.
async fn rows(
    visit: &Visit<'_>,
    requests: &[ClientRequest],
    before: Option<&RuleRow>,
) -> Result<TableRows, Refusal> {
    let Ids { users, attributes, mut rules } = ids(&visit.served()?.snapshot, requests);
    rules.extend(before.map(|row| row.id));
    let source = &visit.console.source;
    let mut rows = TableRows::default();
    let wanted = [
        (Table::UserAuth, users),
        (Table::JitsiProperty, rules.into_iter().collect()),
        (Table::UserAttribute, attributes.into_iter().collect()),
    ];
    for (table, ids) in wanted {
        let read: Vec<Row> = source.rows(table, ids).await?;
        read.into_iter().for_each(|row| rows.push(row));
    }
    Ok(rows)
}

fn line(effect: Effect) -> EffectLine {
    let change = |PropertyChange { key, before, after }| ChangeLine {
        key,
        is_added: before.is_none(),
        is_removed: after.is_none(),
        before: before.unwrap_or_default(),
        after: after.unwrap_or_default(),
    };
    EffectLine { user: effect.user, changes: effect.changes.into_iter().map(change).collect() }
}
