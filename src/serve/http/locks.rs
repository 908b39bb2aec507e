//! `/locks` of the admin listener: shows and lifts the locks of the throttle.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use url::form_urlencoded;

use super::{ServerState, text};
use crate::serve::throttle::{Account, Cleared, Lock};
use crate::snapshot::Served;

/// How often is looked whether there is another snapshot.
const FOLLOWING: Duration = Duration::from_millis(500);

/// A lock in force, as `/locks` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LockListing {
    /// The counter that is full: `account_from_address`, `address` or `account`.
    pub counter: String,
    /// The address; `None` if the counter is not about one.
    pub address: Option<IpAddr>,
    /// The domain of the account; `None` if the counter is not about one.
    pub domain: Option<String>,
    /// Its username.
    pub username: Option<String>,
    /// How long the lock lasts, in seconds.
    pub seconds: u64,
}

/// The answer to `POST /locks/clear`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ClearedLocks {
    /// How many locks were lifted.
    pub lifted: usize,
}

pub(super) fn list(state: &ServerState) -> Response<Full<Bytes>> {
    json(&listings(state))
}

/// The locks in force, the newest first.
pub(super) fn listings(state: &ServerState) -> Vec<LockListing> {
    let served = state.snapshot.load();
    let stamp = |domain: &str, username: &str| stamp(state, served.as_deref(), domain, username);
    let listing = |lock: Lock| {
        let (domain, username) = lock.account.unzip();
        let counter = lock.by.name().into();
        LockListing { counter, address: lock.address, domain, username, seconds: lock.left.as_secs() + 1 }
    };
    let locks = state.throttle.locks(stamp, Instant::now());
    locks.into_iter().map(listing).collect()
}

/// Lifts the locks that the query names: `all`, `user=USER@DOMAIN`, `address=ADDRESS`, or the
/// last two.
pub(super) fn clear(state: &ServerState, query: &str) -> Response<Full<Bytes>> {
    lift(state, query).map_or_else(refuse, |lifted| json(&ClearedLocks { lifted }))
}

/// Lifts the locks that a query names, as [`clear`]. Returns how many; `None` if the query names
/// nothing.
pub(super) fn lift(state: &ServerState, query: &str) -> Option<usize> {
    let (mut is_all, mut user, mut address) = (false, None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, value.parse::<IpAddr>()) {
            ("all", _) => is_all = true,
            ("user", _) => user = Some(value.into_owned()),
            ("address", Ok(value)) => address = Some(value),
            _ => return None,
        }
    }
    let served = state.snapshot.load();
    let fold = |name: &str| match served.as_deref() {
        Some(served) => served.snapshot.fold(name),
        None => name.as_bytes().into(),
    };
    let user = user.as_deref().map(|user| match user.rsplit_once('@') {
        Some((username, domain)) if !domain.is_empty() => (domain, username),
        Some((username, _)) => (&*state.params.default_domain, username),
        None => (&*state.params.default_domain, user),
    });
    let names = user.map(|(domain, username)| {
        (fold(domain), fold(username), stamp(state, served.as_deref(), domain, username))
    });
    let account = names.as_ref().map(|(domain, username, stamp)| Account { domain, username, stamp: *stamp });
    let cleared = match (is_all, account, address) {
        (true, None, None) => Cleared::All,
        (false, Some(account), None) => Cleared::Account(account),
        (false, None, Some(address)) => Cleared::Address(address),
        (false, Some(account), Some(address)) => Cleared::AccountFromAddress(address, account),
        _ => return None,
    };
    let lifted = state.throttle.clear(&cleared, Instant::now());
    let what = match cleared {
        Cleared::All => "all counters".to_owned(),
        _ => [
            user.map(|(domain, username)| format!("{username}@{domain}")),
            address.map(|one| one.to_string()),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" from "),
    };
    tracing::info!(cleared = super::shown(&what), lifted, "locks cleared");
    Some(lifted)
}

/// Forgets locks of accounts that have changed, after each new snapshot. Never returns.
pub(in crate::serve) async fn follow(state: Arc<ServerState>) {
    let mut seen = 0;
    loop {
        sleep(FOLLOWING).await;
        let served = state.snapshot.load_full();
        let version = served.as_ref().map_or(0, |served| served.version);
        if version != seen {
            seen = version;
            let stamp = |domain: &str, username: &str| stamp(&state, served.as_deref(), domain, username);
            state.throttle.forget_changed(stamp, Instant::now());
        }
    }
}

/// The stamp of the account's stored password.
fn stamp(state: &ServerState, served: Option<&Served>, domain: &str, username: &str) -> u64 {
    let Some(Served { snapshot, .. }) = served else { return 0 };
    let candidate = snapshot.candidate(&snapshot.fold(domain), &snapshot.fold(username));
    state.throttle.stamp(&candidate)
}

fn refuse() -> Response<Full<Bytes>> {
    let line = "ask for /locks/clear?user=USER@DOMAIN, ?address=ADDRESS, both, or ?all\n";
    text(StatusCode::BAD_REQUEST, line.into())
}

pub(super) fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).expect("plain data");
    let mut response = text(StatusCode::OK, [&body, &b"\n"[..]].concat());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
