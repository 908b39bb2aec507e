//! The admin listener: health, readiness, metrics, status, rows and reloads.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};

use super::console::{Asker, Console};
use super::{HEALTH, ServerState, asker, fetches, locks, node, text};
use crate::metrics::{self, Scrape};
use crate::reload::{NodeState, ReloadOutcome};
use crate::telemetry;

pub(super) async fn respond(
    state: &Arc<ServerState>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let say = |status, line: &str| text(status, format!("{line}\n").into_bytes());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // The health check reveals nothing, and load balancers send any host name with it.
    let is_health = is_read && request.uri().path() == HEALTH;
    let asker = asker(state, peer, &request);
    if let Some(why) = asker::refuse(&request, &state.admin.hosts, asker.is_https).filter(|_| !is_health) {
        return say(StatusCode::FORBIDDEN, &why);
    }
    // The console has its own accounts.
    if let Some(console) = state.admin.console.as_ref().filter(|_| Console::has(request.uri().path())) {
        return console.clone().respond(state.clone(), asker, request).await;
    }
    // `/rows` wants a proof of another secret in the same header.
    let is_open = is_health || request.uri().path() == "/rows";
    if state.admin.token.as_ref().is_some_and(|token| !is_open && !token.is_in(&request)) {
        let mut response = say(StatusCode::UNAUTHORIZED, "show the token in this node's --admin-token-file");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    match request.uri().path() {
        HEALTH if is_read => say(StatusCode::OK, "ok"),
        "/readyz" if is_read => {
            let status = node::status(state, state.snapshot.load().as_deref());
            let code = match status.state {
                NodeState::Ready => StatusCode::OK,
                NodeState::NotReady | NodeState::Ending => StatusCode::SERVICE_UNAVAILABLE,
            };
            say(code, &status.to_string())
        }
        "/metrics" if is_read => {
            let mut response = text(StatusCode::OK, state.metrics.write(scrape(state)).into_bytes());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            response
        }
        "/status" if is_read => {
            let body = serde_json::to_vec(&node::status(state, state.snapshot.load().as_deref()))
                .expect("plain data");
            let mut response = text(StatusCode::OK, [&body, &b"\n"[..]].concat());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        "/rows" if is_read => rows(state, &request).await,
        "/fetches" if is_read => fetches::list(state, request.uri().query().unwrap_or_default()).await,
        "/locks" if is_read => locks::list(state),
        "/locks/clear" if request.method() == Method::POST => {
            locks::clear(state, request.uri().query().unwrap_or_default())
        }
        "/reload" if request.method() == Method::POST && is_another_loss(state, &request) => {
            say(StatusCode::CONFLICT, "not confirmed: the loss is another one by now: see /status")
        }
        "/reload" if request.method() == Method::POST => match state.reload.ask(confirms(&request)).await {
            ReloadOutcome::Swapped(version) => say(StatusCode::OK, &format!("reloaded: snapshot {version}")),
            ReloadOutcome::Unchanged => say(StatusCode::OK, "loaded: nothing has changed"),
            ReloadOutcome::LossWithheld => say(
                StatusCode::CONFLICT,
                "loaded, but a loss is withheld: see /status; to confirm it, use `jitsiprovs confirm`, or \
                 POST /reload?confirm",
            ),
            ReloadOutcome::Failed(why) => say(StatusCode::SERVICE_UNAVAILABLE, &format!("failed: {why}")),
        },
        path @ (HEALTH | "/readyz" | "/metrics" | "/status" | "/rows" | "/fetches" | "/locks"
        | "/locks/clear" | "/reload") => {
            let allowed = if matches!(path, "/reload" | "/locks/clear") { "POST" } else { "GET, HEAD" };
            let mut response = say(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed} here"));
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
        _ => say(
            StatusCode::NOT_FOUND,
            "not found; there are /healthz, /readyz, /metrics, /status, /rows, /fetches, /locks, POST /locks/clear and \
             POST /reload",
        ),
    }
}

/// Where a request comes from. A proxy that is trusted says whether it was asked by HTTPS.
fn asker(state: &ServerState, peer: IpAddr, request: &Request<Incoming>) -> Asker {
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let origin = state.proxies.origin(peer, request.headers());
    let said = state.proxies.is_trusted(peer).then(|| request.headers().get(PROTO)).flatten();
    let is_https = said.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    Asker {
        address: origin.address,
        is_forwarded: origin.is_forwarded,
        is_https: is_https || state.admin.has_tls,
    }
}

/// Whether a reload confirms the loss that is withheld: `POST /reload?confirm`.
fn confirms(request: &Request<Incoming>) -> bool {
    request.uri().query().is_some_and(|query| query == "confirm" || query.starts_with("confirm="))
}

/// Whether a reload confirms a loss of other numbers than is withheld:
/// `POST /reload?confirm=USERS,RULES` or `POST /reload?confirm=USERS,RULES,ATTRIBUTES`.
fn is_another_loss(state: &ServerState, request: &Request<Incoming>) -> bool {
    let seen = request.uri().query().and_then(|query| query.strip_prefix("confirm="));
    seen.is_some_and(|seen| node::is_another_loss(state, seen))
}

/// Answers `/rows`, which `jitsiprovs diff` reads.
async fn rows(state: &ServerState, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let refuse = |status, line: &str| text(status, format!("{line}\n").into_bytes());
    let Some(key) = &state.admin.key else {
        return refuse(StatusCode::NOT_FOUND, "/rows is only answered with --admin-secret-file");
    };
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let proof = request.headers().get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    if !key.is_proof(target, proof) {
        return refuse(StatusCode::FORBIDDEN, "this node has another secret in --admin-secret-file");
    }
    match node::rows(state, key, request.uri().query().unwrap_or_default()).await {
        Some(rows) => text(StatusCode::OK, rows.into_bytes()),
        None => {
            refuse(StatusCode::BAD_REQUEST, "ask for /rows?user_auth=ID, and likewise for the other tables")
        }
    }
}

fn scrape(state: &ServerState) -> Scrape {
    let served = state.snapshot.load();
    let status = node::status(state, served.as_deref());
    let lost = telemetry::lost();
    Scrape {
        is_ready: status.state == NodeState::Ready,
        is_source_up: status.failing.is_none(),
        withheld_users: status.withheld_users,
        withheld_rules: status.withheld_rules,
        withheld_attributes: status.withheld_attributes,
        version: status.version,
        age: status.age,
        tenants: status.tenants,
        users: status.users,
        rules: status.rules,
        attributes: status.attributes,
        bytes: served.as_ref().map_or(0, |served| served.snapshot.counts().bytes),
        bad_rows: status.left_out,
        important_lines_dropped: lost.important,
        routine_lines_dropped: lost.routine,
    }
}
