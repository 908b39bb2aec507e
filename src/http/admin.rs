//! What operators ask: is it alive, is it ready, how is it doing, reload.

use std::sync::atomic::Ordering;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{HEALTH, State, node, text};
use crate::metrics::{self, Scrape};
use crate::reload::Verdict;
use crate::telemetry;

pub(super) async fn respond(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let say = |status, line: &str| text(status, format!("{line}\n").into_bytes());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        HEALTH if is_read => say(StatusCode::OK, "ok"),
        "/readyz" if is_read => {
            let status = state.reload.status();
            match state.is_draining.load(Ordering::Relaxed) {
                true => say(StatusCode::SERVICE_UNAVAILABLE, "not ready: about to end"),
                false if status.is_ready() => say(StatusCode::OK, &status.to_string()),
                false => say(StatusCode::SERVICE_UNAVAILABLE, &status.to_string()),
            }
        }
        "/metrics" if is_read => {
            let mut response = text(StatusCode::OK, state.metrics.write(scrape(state)).into_bytes());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            response
        }
        "/status" if is_read => {
            let body = serde_json::to_vec(&node::node(state)).expect("plain data");
            let mut response = text(StatusCode::OK, [&body, &b"\n"[..]].concat());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        "/rows" if is_read => match node::rows(state, request.uri().query().unwrap_or_default()).await {
            Some(rows) => text(StatusCode::OK, rows.into_bytes()),
            None => say(StatusCode::BAD_REQUEST, "ask for /rows?user_auth=ID or /rows?jitsi_property=ID"),
        },
        "/reload" if request.method() == Method::POST => match state.reload.ask().await {
            Verdict::Swapped(version) => say(StatusCode::OK, &format!("reloaded: snapshot {version}")),
            Verdict::Unchanged => say(StatusCode::OK, "loaded: nothing has changed"),
            Verdict::HeldBack => say(
                StatusCode::CONFLICT,
                "held back, since too much would be lost: see the log; SIGHUP twice confirms it",
            ),
            Verdict::Failed(why) => say(StatusCode::SERVICE_UNAVAILABLE, &format!("failed: {why}")),
        },
        path @ (HEALTH | "/readyz" | "/metrics" | "/status" | "/rows" | "/reload") => {
            let allowed = if path == "/reload" { "POST" } else { "GET, HEAD" };
            let mut response = say(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed}"));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
        _ => say(
            StatusCode::NOT_FOUND,
            "there are /healthz, /readyz, /metrics, /status, /rows and POST /reload",
        ),
    }
}

fn scrape(state: &State) -> Scrape {
    let status = state.reload.status();
    let served = state.snapshot.load();
    Scrape {
        is_ready: status.is_ready() && !state.is_draining.load(Ordering::Relaxed),
        is_source_up: status.failing.is_none(),
        is_held_back: status.is_held_back,
        version: status.version,
        age: status.age(),
        counts: served.as_ref().map(|served| served.snapshot.counts()).unwrap_or_default(),
        bad_rows: served.as_ref().map_or(0, |served| served.left_out),
        log_lines_dropped: telemetry::lost(),
    }
}
