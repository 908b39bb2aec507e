//! The page of the locks after too many wrong passwords.

use serde::Serialize;
use url::form_urlencoded;

use super::ROOT;
use super::moment::length;
use super::operator::Role;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
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
    let mut query = form_urlencoded::Serializer::new(String::new());
    user.into_iter().for_each(|user| _ = query.append_pair("user", user));
    address.into_iter().for_each(|address| _ = query.append_pair("address", address));
    if is_all {
        query.append_key_only("all");
    }
    let query = query.finish();
    let nothing = || Refusal::Bad(text("locks", "nothing").into());
    let lifted = locks::lift(&visit.state, &query).ok_or_else(nothing)?;
    let mut said = page::said("locks", "lifted", &lifted.to_string());
    tracing::info!(operator = visit.operator().name, address = %visit.asker.address, "console: locks lifted");
    for (url, answer) in visit.console.peers.post(&format!("/locks/clear?{query}")).await {
        match answer {
            Ok(_) => said.push_str(&format!("; {url}: {}", text("locks", "also"))),
            Err(why) => said.push_str(&format!("; {url}: {why}")),
        }
    }
    visit.session.note(said);
    Ok(Reply::see(&format!("{ROOT}/locks")))
}
