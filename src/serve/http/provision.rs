//! The provisioning request itself: parameters in, properties out.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::dialect::Dialect;
use super::{AccessRecord, Refusal, ServerState, slow, text};
use crate::core::fetch::FetchReason;
use crate::core::names::Folded;
use crate::core::params::{Known, Params};
use crate::core::request::{self, Body, UsernameOrigin};
use crate::serve::fetches::{Asking, Decided, Expected};
use crate::serve::http::client_address::Origin;
use crate::snapshot::{AccountState, Candidate, Served, Session, SignIn};

/// The largest body in bytes. What a client sends on its own is well under 1 KiB.
pub(super) const MAX_BODY: usize = 16 * 1024;

/// The number of the last change that the answer includes. It is the same on all nodes, and
/// ascending.
const SNAPSHOT: HeaderName = HeaderName::from_static("x-snapshot");

pub(super) async fn provision(
    state: &Arc<ServerState>,
    (origin, dialect): (Origin, Dialect),
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
    let settings = state.dialects.params(dialect).unwrap_or(&state.params);
    let (mut params, username_from) =
        request::read(query, body, authorization, settings).map_err(Refusal::Malformed)?;
    params.set_address(origin.address);
    let AccessRecord { params: given, version, known, reason } = record;
    let params = &*given.insert(params);

    // Loaded once, so that the whole request sees one snapshot.
    let served = state.snapshot.load();
    let served = served.as_ref().ok_or(Refusal::NotReady)?;
    *version = served.version;
    let names = names(served, params);
    let is_named = params.known(Known::Username).is_some_and(|name| !name.is_empty());
    let agent = head.headers.get(USER_AGENT).map_or(&b""[..], |agent| agent.as_bytes());
    let fetches = state.fetches.as_ref().filter(|_| is_named);
    let expected = fetches.map(|fetches| fetches.expect(&asking(&names, params, (origin, agent))));
    let (attempt, candidate) = Attempt::new(origin, state, served, names, begun);
    // Counted in the form in which names are compared, so all spellings are one tenant.
    if state.metrics.counts_tenants() && served.snapshot.has_tenant(&attempt.domain) {
        *known = Some(String::from_utf8_lossy(&attempt.domain).into_owned());
    }
    let (names, signed_in) = sign_in(state, served, attempt, candidate, (params, is_named)).await;
    let is_disabled = matches!(&signed_in, Ok(Some(session)) if session.is_disabled());
    let (answered, properties) = match signed_in {
        Ok(Some(session)) => {
            let (response, properties) = answer(state, served, session, (params, dialect));
            (Ok(response), properties)
        }
        Ok(None) if has_credentials(params) && !is_certain(state, served, params) => (Err(Refusal::Stale), 0),
        Ok(None) => {
            (Err(Refusal::Credentials { challenge: username_from == UsernameOrigin::Header, is_named }), 0)
        }
        Err(refusal) => (Err(refusal), 0),
    };
    let outcome = Outcome { refusal: answered.as_ref().err(), is_disabled, properties };
    if is_named {
        *reason = outcome.note(state, served, asking(&names, params, (origin, agent)), expected);
    }
    answered
}

/// The folded domain and username.
fn names(served: &Served, params: &Params) -> [Folded; 2] {
    [Known::Domain, Known::Username]
        .map(|known| served.snapshot.fold(params.known(known).unwrap_or_default()))
}

fn asking<'a>(
    [domain, username]: &'a [Folded; 2],
    params: &'a Params,
    (origin, agent): (Origin, &'a [u8]),
) -> Asking<'a> {
    Asking { domain, username, params, address: origin.address, agent }
}

/// Signs in, unless there were too many failures before. Returns the folded domain and username,
/// and the session, which is `None` if the credentials are wrong.
async fn sign_in<'s>(
    state: &Arc<ServerState>,
    served: &Served,
    attempt: Attempt,
    candidate: Candidate<'s>,
    (params, is_named): (&Params, bool),
) -> ([Folded; 2], Result<Option<Session<'s>>, Refusal>) {
    let password = params.known(Known::Password).filter(|_| is_named);
    match attempt.check(state).map(|()| candidate.verify(password)) {
        Err(refusal) => (attempt.into_names(), Err(refusal)),
        Ok(SignIn::Granted(session)) => {
            attempt.succeeded(state);
            (attempt.into_names(), Ok(Some(session)))
        }
        Ok(SignIn::Denied) => {
            attempt.failed(state, params);
            (attempt.into_names(), Ok(None))
        }
        Ok(SignIn::Pending(pending)) => {
            let is_tenant = served.snapshot.has_tenant(&attempt.domain);
            let names = attempt.names();
            // On the heap, so that other requests do not pay for its memory.
            let right = Box::pin(slow::verify(state, attempt, is_tenant, &pending, params)).await;
            (names, right.map(|right| pending.settle(right)))
        }
    }
}

/// What became of a request that names a user.
struct Outcome<'a> {
    refusal: Option<&'a Refusal>,
    is_disabled: bool,
    properties: usize,
}

impl Outcome<'_> {
    /// Notes the request, which is decided by now, and returns why it failed. That takes the same
    /// work for all accounts, so that the time does not tell which of them exist.
    fn note(
        &self,
        state: &ServerState,
        served: &Served,
        asking: Asking<'_>,
        expected: Option<Expected>,
    ) -> Option<FetchReason> {
        let Asking { domain, username, params, .. } = asking;
        let account = match self.refusal {
            None => AccountState::Usable,
            Some(_) => served.snapshot.account_state(domain, username),
        };
        let has_password = params.known(Known::Password).is_some_and(|password| !password.is_empty());
        let reason = match (self.refusal, account) {
            (None, _) => self.is_disabled.then_some(FetchReason::Disabled),
            (Some(Refusal::Throttled { .. }), _) => Some(FetchReason::Locked),
            (Some(Refusal::Credentials { .. } | Refusal::Stale), AccountState::NoTenant) => {
                Some(FetchReason::NoTenant)
            }
            (Some(Refusal::Credentials { .. } | Refusal::Stale), AccountState::NoUser) => {
                Some(FetchReason::NoUser)
            }
            (Some(Refusal::Credentials { .. } | Refusal::Stale), AccountState::Usable) if has_password => {
                Some(FetchReason::WrongPassword)
            }
            (Some(Refusal::Credentials { .. } | Refusal::Stale), _) => Some(FetchReason::NoPassword),
            // Nothing was found out about the account.
            (Some(_), _) => return None,
        };
        if let (Some(fetches), Some(expected)) = (&state.fetches, expected) {
            let (snapshot, properties) = (served.cursor, self.properties as u32);
            fetches.note(expected, &Decided { asking, account, reason, snapshot, properties });
        }
        reason
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
    let [domain, username] = names(served, params);
    newest == Some(served.version) && state.reload.is_certain(&domain, &username)
}

fn answer(
    state: &ServerState,
    served: &Served,
    session: Session<'_>,
    (params, dialect): (&Params, Dialect),
) -> (Response<Full<Bytes>>, usize) {
    let answer = served.snapshot.answer(session, params);
    for skipped in &answer.skipped {
        state.metrics.rules_skipped.inc();
        tracing::debug!(
            rule = skipped.id,
            parameter = %skipped.missing,
            "a rule does not apply: the client did not send a parameter that it needs"
        );
    }
    let mut response = text(StatusCode::OK, dialect.complete(answer.body));
    if let Some(cursor) = served.cursor {
        response.headers_mut().insert(SNAPSHOT, cursor.into());
    }
    (response, answer.properties)
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
