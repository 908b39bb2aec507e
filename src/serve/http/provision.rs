//! The provisioning request itself: parameters in, properties out.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::{AccessRecord, Refusal, ServerState, slow, text};
use crate::core::params::{Known, Params};
use crate::core::request::{self, Body, UsernameOrigin};
use crate::serve::http::client_address::Origin;
use crate::snapshot::{Served, Session, SignIn};

/// The largest body in bytes. What a client sends on its own is well under 1 KiB.
pub(super) const MAX_BODY: usize = 16 * 1024;

/// The number of the last change that the answer includes. It is the same on all nodes, and
/// ascending.
const SNAPSHOT: HeaderName = HeaderName::from_static("x-snapshot");

pub(super) async fn provision(
    state: &Arc<ServerState>,
    origin: Origin,
    request: Request<Incoming>,
    begun: Instant,
    record: &mut AccessRecord,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let (head, body) = request.into_parts();
    let kind = if head.method == Method::POST { content_type(&head, &body)? } else { BodyKind::None };
    let bytes = if kind == BodyKind::None { Bytes::new() } else { collect(body, state.body_timeout).await? };
    let body = match kind {
        BodyKind::None => Body::Empty,
        BodyKind::Form => Body::Form(&bytes),
        BodyKind::Json => Body::Json(&bytes),
    };
    let query = head.uri.query().unwrap_or_default();
    let authorization = head.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let (mut params, username_from) =
        request::read(query, body, authorization, &state.params).map_err(Refusal::Malformed)?;
    params.set_address(origin.address);
    let AccessRecord { params: given, version, known } = record;
    let params = &*given.insert(params);

    // Loaded once, so that the whole request sees one snapshot.
    let served = state.snapshot.load();
    let served = served.as_ref().ok_or(Refusal::NotReady)?;
    *version = served.version;
    let (attempt, candidate) = Attempt::new(origin, state, served, params, begun);
    // Counted in the form in which names are compared, so all spellings are one tenant.
    if state.metrics.counts_tenants() && served.snapshot.has_tenant(&attempt.domain) {
        *known = Some(String::from_utf8_lossy(&attempt.domain).into_owned());
    }
    attempt.check(state)?;
    let is_named = params.known(Known::Username).is_some_and(|name| !name.is_empty());
    let session = match candidate.verify(params.known(Known::Password).filter(|_| is_named)) {
        SignIn::Granted(session) => {
            attempt.succeeded(state);
            Some(session)
        }
        SignIn::Denied => {
            attempt.failed(state, params);
            None
        }
        SignIn::Pending(pending) => {
            let is_tenant = served.snapshot.has_tenant(&attempt.domain);
            // On the heap, so that other requests do not pay for its memory.
            let right = Box::pin(slow::verify(state, attempt, is_tenant, &pending, params)).await?;
            pending.settle(right)
        }
    };
    match session {
        Some(session) => Ok(answer(state, served, session, params)),
        None if has_credentials(params) && !is_certain(state, served, params) => Err(Refusal::Stale),
        None => Err(Refusal::Credentials { challenge: username_from == UsernameOrigin::Header, is_named }),
    }
}

/// Whether there are a username and a password. Without them every snapshot refuses a request.
fn has_credentials(params: &Params) -> bool {
    [Known::Username, Known::Password]
        .iter()
        .all(|known| params.known(*known).is_some_and(|value| !value.is_empty()))
}

/// Whether a refusal by `served` is certain. A refusal makes the client forget its password,
/// so it must not come from data that may be old, or that may be wrong about this account.
fn is_certain(state: &ServerState, served: &Served, params: &Params) -> bool {
    let newest = state.snapshot.load().as_ref().map(|newest| newest.version);
    let fold = |known| served.snapshot.fold(params.known(known).unwrap_or_default());
    newest == Some(served.version) && state.reload.is_certain(&fold(Known::Domain), &fold(Known::Username))
}

fn answer(
    state: &ServerState,
    served: &Served,
    session: Session<'_>,
    params: &Params,
) -> Response<Full<Bytes>> {
    let answer = served.snapshot.answer(session, params);
    for skipped in &answer.skipped {
        state.metrics.rules_skipped.inc();
        tracing::debug!(
            rule = skipped.id,
            parameter = %skipped.missing,
            "a rule does not apply: the client did not send a parameter that it needs"
        );
    }
    let mut response = text(StatusCode::OK, answer.body);
    if let Some(cursor) = served.cursor {
        response.headers_mut().insert(SNAPSHOT, cursor.into());
    }
    response
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyKind {
    None,
    Form,
    Json,
}

fn content_type(head: &hyper::http::request::Parts, body: &Incoming) -> Result<BodyKind, Refusal> {
    let Some(value) = head.headers.get(CONTENT_TYPE) else {
        // All parameters may be in the query.
        return if body.is_end_stream() { Ok(BodyKind::None) } else { Err(Refusal::ContentType) };
    };
    let essence = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        Ok(BodyKind::Form)
    } else if essence.eq_ignore_ascii_case(b"application/json") {
        Ok(BodyKind::Json)
    } else {
        Err(Refusal::ContentType)
    }
}

async fn collect(body: Incoming, patience: Duration) -> Result<Bytes, Refusal> {
    // The announced length is too large, so nothing is read.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(Refusal::TooLarge);
    }
    let mut whole = pin!(join(body));
    // Most bodies arrive together with their head, and need no timer.
    match poll_fn(|cx| Poll::Ready(whole.as_mut().poll(cx))).await {
        Poll::Ready(joined) => joined,
        Poll::Pending => Box::pin(timeout(patience, whole)).await.map_err(|_| Refusal::Timeout)?,
    }
}

/// Reads a body to its end. Most bodies come in one part, which is not copied.
async fn join(mut body: Incoming) -> Result<Bytes, Refusal> {
    let (mut first, mut joined) = (Bytes::new(), Vec::new());
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(part) = frame.map_err(|_| Refusal::Unreadable)?.into_data() else { continue };
        if first.len().max(joined.len()) + part.len() > MAX_BODY {
            return Err(Refusal::TooLarge);
        }
        if first.is_empty() {
            first = part;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&part);
    }
    Ok(if joined.is_empty() { first } else { joined.into() })
}
