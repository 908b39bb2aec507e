//! The page of the locks after too many wrong passwords.

use serde::Serialize;

use super::ROOT;
use super::moment::length;
use super::operator::Role;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::unlock::{self, Wanted};
use super::visit::Visit;
use crate::serve::http::locks;

#[derive(Serialize)]
struct LocksPage {
    locks: Vec<LockLine>,
    has_peers: bool,
}

#[derive(Serialize)]
struct LockLine {
    counter: &'static str,
    address: String,
    /// `user@domain`; empty if the lock is not about an account.
    user: String,
    left: String,
}

/// Lists the locks of this node, or lifts some of them.
pub(super) async fn show(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    if visit.is_post {
        return lift(visit).await;
    }
    let is_seen = |domain: &Option<String>| match domain {
        Some(domain) => visit.operator().sees(domain.as_bytes()),
        None => visit.operator().tenants.is_none(),
    };
    let locks = locks::listings(&visit.state).into_iter().filter(|lock| is_seen(&lock.domain));
    let line = |lock: locks::LockListing| LockLine {
        counter: text("locks", &lock.counter),
        address: lock.address.map_or_else(String::new, |address| address.to_string()),
        user: lock
            .username
            .zip(lock.domain)
            .map_or_else(String::new, |(name, domain)| format!("{name}@{domain}")),
        left: length(lock.seconds as f64),
    };
    let page = LocksPage { locks: locks.map(line).collect(), has_peers: visit.console.peers.are_there() };
    Ok(page::show(visit, "locks", text("layout", "locks"), &page))
}

/// Lifts what the form names: an account, an address, both, or all.
async fn lift(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    visit.needs(Role::Help)?;
    let (user, address) = (visit.form.text("user"), visit.form.text("address"));
    let is_all = visit.form.text("all").is_some();
    let domain = user
        .map(|user| user.rsplit_once('@').map_or(&*visit.state.params.default_domain, |(_, domain)| domain));
    match domain {
        Some(domain) => drop(visit.tenant(domain)?),
        // Locks that are not about one account concern all tenants.
        None if visit.operator().tenants.is_some() => return Err(Refusal::Forbidden),
        None => {}
    }
    let lifted = unlock::lift(visit, &Wanted { user, address, is_all }).await?;
    visit.session.note(lifted.words);
    Ok(Reply::see(&format!("{ROOT}/locks")))
}
