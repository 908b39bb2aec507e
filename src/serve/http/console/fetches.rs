//! The page of what clients fetched last.

use serde::Serialize;

use super::link;
use super::moment::{self, Moment};
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use crate::core::fetch::{Fetch, FetchFilter, address_beginning};

/// How many fetches are shown.
const SHOWN: usize = 200;

#[derive(Serialize)]
struct FetchesPage<'a> {
    domain: &'a str,
    user: &'a str,
    address: &'a str,
    hours: &'a str,
    is_failed: bool,
    fetches: Vec<FetchLine>,
    are_more: bool,
    trouble: String,
}

/// A fetch in a list.
#[derive(Serialize)]
pub(super) struct FetchLine {
    at: Moment,
    user: String,
    href: String,
    is_ok: bool,
    reason: &'static str,
    address: String,
    agent: String,
    os: String,
    node: String,
    properties: u32,
}

impl FetchLine {
    pub fn new(fetch: Fetch) -> FetchLine {
        let param =
            |name| fetch.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        FetchLine {
            at: Moment::at(fetch.at),
            href: link::user(&fetch.domain, &fetch.username),
            user: format!("{}@{}", fetch.username, fetch.domain),
            is_ok: fetch.is_ok,
            reason: fetch.reason.map_or("", |reason| text("reasons", reason.name())),
            address: fetch.address.to_string(),
            os: param("osname").unwrap_or_default(),
            agent: fetch.agent,
            node: fetch.node,
            properties: fetch.properties,
        }
    }
}

/// Lists fetches.
pub(super) async fn list(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let typed = |name| visit.query.text(name).unwrap_or_default();
    let [domain, user, address, hours] = ["domain", "user", "address", "hours"].map(typed);
    let fold = |name: &str| visit.console.conventions.comparison.fold_text(name);
    let (username, domain) = match user.rsplit_once('@') {
        Some((username, own)) => (username, own),
        None => (user, domain),
    };
    let since = match hours {
        "" => None,
        hours => Some(hours.parse::<i64>().map_err(|_| Refusal::Bad(text("fetches", "not_hours").into()))?),
    };
    let no_address = || Refusal::Bad(text("fetches", "not_address").into());
    let begin = match address {
        "" => None,
        typed => Some(address_beginning(typed).ok_or_else(no_address)?),
    };
    let filter = FetchFilter {
        domain: (!domain.is_empty()).then(|| fold(domain)),
        username: (!username.is_empty()).then(|| fold(username)),
        address: begin,
        since: since.map(|hours| moment::now().saturating_sub(hours.saturating_mul(3600))),
        failed: visit.query.text("failed").is_some(),
        most: SHOWN + 1,
    };
    let is_failed = filter.failed;
    let Seen { mut fetches, trouble } = seen(visit, filter).await?;
    let are_more = fetches.len() > SHOWN;
    fetches.truncate(SHOWN);
    let fetches = fetches.into_iter().map(FetchLine::new).collect();
    let page = FetchesPage { domain, user, address, hours, is_failed, fetches, are_more, trouble };
    Ok(page::show(visit, "fetches", text("layout", "fetches"), &page))
}

/// Fetches, the newest first.
#[derive(Default)]
pub(super) struct Seen {
    pub fetches: Vec<Fetch>,
    /// Why the database could not be read; then they are only this node's. Empty if it was read.
    pub trouble: String,
}

/// The fetches that a filter selects, as far as the operator may see them.
///
/// # Errors
/// [`Refusal::NotFound`] if the filter names a tenant that the operator may not see.
pub(super) async fn seen(visit: &Visit<'_>, filter: FetchFilter) -> Result<Seen, Refusal> {
    let Some(own) = visit.operator().tenants.as_ref() else { return Ok(find(visit, filter).await) };
    if let Some(domain) = &filter.domain {
        visit.tenant(domain)?;
        return Ok(find(visit, filter).await);
    }
    let (mut all, most) = (Seen::default(), filter.most);
    for domain in own {
        let of_tenant = find(visit, FetchFilter { domain: Some(domain.clone()), ..filter.clone() }).await;
        all.fetches.extend(of_tenant.fetches);
        if !of_tenant.trouble.is_empty() {
            all.trouble = of_tenant.trouble;
        }
    }
    all.fetches.sort_by_key(|fetch| std::cmp::Reverse(fetch.at));
    all.fetches.truncate(most);
    Ok(all)
}

/// Those of this node, some of which may not be written to the database yet, and those of the
/// database.
async fn find(visit: &Visit<'_>, filter: FetchFilter) -> Seen {
    let (fetches, error) = match &visit.state.fetches {
        Some(fetches) => fetches.find(filter).await,
        None => match visit.console.source.fetches(filter).await {
            Ok(fetches) => (fetches, None),
            Err(error) => (Vec::new(), Some(error)),
        },
    };
    Seen { fetches, trouble: error.map_or_else(String::new, |error| error.to_string()) }
}
