//! `/fetches` of the admin listener: what this node has in memory.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use url::form_urlencoded;

use super::{ServerState, locks, text};
use crate::core::fetch::{FetchFilter, FetchListing};
use crate::process::priority;

/// How many fetches are listed at most.
const MOST: usize = 10_000;

/// The fetches that the query selects: `domain=DOMAIN`, `username=NAME`, `address=BEGIN`,
/// `since=SECOND`, `failed` and `most=NUMBER`, the newest first.
pub(super) async fn list(state: &ServerState, query: &str) -> Response<Full<Bytes>> {
    let Some(fetches) = state.fetches.clone() else {
        return text(StatusCode::NOT_FOUND, b"this node runs with --no-fetches\n".to_vec());
    };
    let fold = |name: &str| match state.snapshot.load().as_deref() {
        Some(served) => String::from_utf8_lossy(&served.snapshot.fold(name)).into_owned(),
        None => name.to_owned(),
    };
    let mut wanted = FetchFilter { most: MOST, ..FetchFilter::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, value.parse::<i64>()) {
            ("domain", _) => wanted.domain = Some(fold(&value)),
            ("username", _) => wanted.username = Some(fold(&value)),
            ("address", _) => wanted.address = Some(value.to_ascii_lowercase()),
            ("since", Ok(since)) => wanted.since = Some(since),
            ("failed", _) => wanted.failed = true,
            ("most", Ok(most @ 1..)) => wanted.most = MOST.min(most as usize),
            _ => {
                let line = "ask for /fetches?domain=DOMAIN&username=NAME&address=BEGIN&since=SECOND&failed\
                            &most=NUMBER\n";
                return text(StatusCode::BAD_REQUEST, line.into());
            }
        }
    }
    let listing = move || {
        priority::step_back();
        locks::json(&fetches.seen(&wanted).into_iter().map(FetchListing::from).collect::<Vec<_>>())
    };
    let listed = tokio::task::spawn_blocking(listing).await;
    listed.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, Vec::new()))
}
