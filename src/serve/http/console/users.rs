//! The page that searches users.

use serde::Serialize;

use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use super::{fetches, link};
use crate::core::fetch::{Fetch, FetchFilter, FetchReason, address_beginning};
use crate::core::model::{Row, Table};

/// How many users are shown.
const SHOWN: usize = 50;
/// How many fetches are read to find users by their address.
const FETCHES: usize = 500;
/// The longest search, in bytes.
const LONGEST: usize = 200;

#[derive(Serialize)]
struct UsersPage<'a> {
    q: &'a str,
    is_search: bool,
    users: Vec<UserLine>,
    count: usize,
    are_more: bool,
}

#[derive(Serialize)]
struct UserLine {
    href: String,
    tenant_href: String,
    username: String,
    domain: String,
    found: String,
}

/// `/console/users?q=…`
pub(super) async fn list(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    if let Some(id) = visit.query.text("id").and_then(|id| id.parse().ok()) {
        return find(visit, id).await;
    }
    let q = visit.query.text("q").unwrap_or_default();
    if q.len() > LONGEST {
        return Err(Refusal::Bad(text("users", "too_long").into()));
    }
    let mut page = UsersPage { q, is_search: !q.is_empty(), users: Vec::new(), count: 0, are_more: false };
    if page.is_search {
        let found = visit.served()?.snapshot.search(q, visit.operator().tenants.as_deref(), SHOWN);
        page.are_more = found.are_more;
        let line = |user: crate::snapshot::FoundUser| UserLine {
            href: link::user(&user.domain, &user.username),
            tenant_href: link::tenant(&user.domain),
            found: user.attribute.map(|(name, value)| format!("{name}={value}")).unwrap_or_default(),
            username: user.username,
            domain: user.domain,
        };
        page.users = found.users.into_iter().map(line).collect();
        by_address(visit, &mut page).await?;
        page.count = page.users.len();
    }
    Ok(page::show(visit, "users", text("layout", "users"), &page))
}

/// Adds the users whose clients asked from an address, if one or the beginning of one is searched.
async fn by_address(visit: &Visit<'_>, page: &mut UsersPage<'_>) -> Result<(), Refusal> {
    let is_one = |begin: &String| begin.contains(['.', ':']);
    let Some(address) = address_beginning(page.q).filter(is_one) else { return Ok(()) };
    let wanted = FetchFilter { address: Some(address), most: FETCHES, ..FetchFilter::default() };
    let exists = |fetch: &Fetch| !matches!(fetch.reason, Some(FetchReason::NoTenant | FetchReason::NoUser));
    for fetch in fetches::seen(visit, wanted).await?.fetches.into_iter().filter(exists) {
        let href = link::user(&fetch.domain, &fetch.username);
        if page.users.iter().any(|user| user.href == href) {
            continue;
        }
        if page.users.len() == SHOWN {
            page.are_more = true;
            break;
        }
        page.users.push(UserLine {
            href,
            tenant_href: link::tenant(&fetch.domain),
            found: fetch.address.to_string(),
            username: fetch.username,
            domain: fetch.domain,
        });
    }
    Ok(())
}

/// Sends the browser to the page of the user with this row.
async fn find(visit: &Visit<'_>, id: i64) -> Result<Reply, Refusal> {
    let found = visit.console.source.rows(Table::UserAuth, vec![id]).await?.pop();
    let Some(Row::User(row)) = found else { return Err(Refusal::NotFound) };
    visit.tenant(&row.domain.shown())?;
    Ok(Reply::see(&link::user(&row.domain.shown(), &row.username.shown())))
}
