//! Answers requests: finds the resource, and says what is wrong with a request.

mod admin;
pub mod admin_key;
pub mod admin_token;
mod asker;
mod attempt;
pub mod client_address;
pub mod console;
mod dialect;
mod fetches;
pub mod locks;
pub mod node;
mod provision;
mod slow;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use crate::core::credential::WrongPasswords;
use crate::core::fetch::FetchReason;
use crate::core::params::{Known, Params};
use crate::core::request;
use crate::metrics::{Metrics, RequestOutcome};
use crate::reload;
use crate::serve::cold_sign_ins::ColdSignIns;
use crate::serve::fetches::Fetches;
use crate::serve::sign_ins::SignInFile;
use crate::serve::throttle::Throttle;
use crate::serve::turns::Turns;
use crate::snapshot::Served;
use crate::telemetry::{self, RequestId, RequestLine};
use admin_key::AdminKey;
use admin_token::AdminToken;
use client_address::TrustedProxies;
use console::Console;
pub use dialect::Dialects;

/// The only resource; the client's URL may end with a slash.
const PATH: &str = "/jitsiprovs";
/// For load balancers: this process is alive.
const HEALTH: &str = "/healthz";
/// The client's parser reads ISO-8859-1; answers use only ASCII.
const TEXT: &str = "text/plain; charset=iso-8859-1";
const NO_STORE: &str = "no-store";

/// Who a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Clients.
    Public,
    /// Operators.
    Admin,
}

/// Everything handlers need, shared by all connections.
pub struct ServerState {
    /// The newest snapshot, once there is one.
    pub snapshot: Arc<ArcSwapOption<Served>>,
    /// How requests are interpreted.
    pub params: request::ParamSettings,
    /// Clients whose requests are others.
    pub dialects: Dialects,
    /// `--body-timeout`
    pub body_timeout: Duration,
    /// The proxies that are trusted to send a client's address (`--trusted-proxy`).
    pub proxies: TrustedProxies,
    /// Refuses sign-ins after too many wrong passwords.
    pub throttle: Throttle,
    /// Limits how many slow hashes are computed at once.
    pub turns: Arc<Turns>,
    /// Wrong passwords whose slow hashes were computed lately.
    pub wrong: WrongPasswords,
    /// Right passwords of earlier processes (`--remember-sign-ins`).
    pub sign_ins: Option<SignInFile>,
    /// How many slow hashes this machine can compute.
    pub cold_sign_ins: Arc<ColdSignIns>,
    /// Who fetched what, and why not; `None` with `--no-fetches`.
    pub fetches: Option<Arc<Fetches>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether each request is logged; false with `--no-access-log`.
    pub access_log: bool,
    /// The configuration of the admin listener.
    pub admin: Admin,
    /// Asks for reloads, and reports their status.
    pub reload: reload::Handle,
    /// Whether the server is about to end and should get no more clients.
    pub is_draining: AtomicBool,
}

/// What the admin listener answers, and who may ask.
#[derive(Clone, Default)]
pub struct Admin {
    /// `--admin-host`: names of this machine.
    pub hosts: Vec<String>,
    /// `--admin-secret-file`; without it nothing about rows is reported.
    pub key: Option<AdminKey>,
    /// `--admin-token-file`: what requests must carry.
    pub token: Option<AdminToken>,
    /// Whether the listener speaks HTTPS.
    pub has_tls: bool,
    /// The web pages; `None` without `--console-users`.
    pub console: Option<Arc<Console>>,
}

/// What is logged and counted about a request when it is over.
#[derive(Default)]
struct AccessRecord {
    /// What the client sent, once that is read.
    params: Option<Params>,
    /// The snapshot that it was answered from.
    version: u64,
    /// The tenant in the spelling that is counted, if the tenant exists.
    known: Option<String>,
    /// Why it failed, if that is about the account.
    reason: Option<FetchReason>,
}

/// A request under way. When it ends it is counted and logged, even if the client
/// hangs up.
struct Exchange<'a> {
    state: &'a ServerState,
    begun: Instant,
    address: IpAddr,
    /// None if requests are not logged.
    id: Option<RequestId>,
    record: AccessRecord,
    is_over: bool,
}

impl Exchange<'_> {
    fn end(&mut self, outcome: RequestOutcome, response: Option<&Response<Full<Bytes>>>) {
        self.is_over = true;
        let (record, taken) = (&self.record, self.begun.elapsed());
        self.state.metrics.request(outcome, record.known.as_deref(), taken);
        // Health checks of load balancers would fill the log.
        let Some(id) = self.id.as_ref().filter(|_| outcome != RequestOutcome::Health) else { return };
        let given = |known| record.params.as_ref().and_then(|params| params.known(known)).map(shown);
        telemetry::request(&RequestLine {
            result: outcome.name(),
            reason: record.reason.map(FetchReason::name),
            status: response.map(|response| response.status().as_u16()),
            tenant: given(Known::Domain),
            username: given(Known::Username),
            address: self.address,
            bytes: response.map_or(0, |response| response.body().size_hint().exact().unwrap_or_default()),
            taken,
            snapshot: record.version,
            id,
        });
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(RequestOutcome::Aborted, None);
        }
    }
}

/// Answers one request.
pub async fn respond(
    state: &Arc<ServerState>,
    listener: Listener,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if listener == Listener::Admin {
        return Box::pin(admin::respond(state, peer, request)).await;
    }
    let begun = Instant::now();
    let origin = state.proxies.origin(peer, request.headers());
    let (address, is_proxied) = (origin.address, origin.is_proxied);
    let id = state.access_log.then(|| request_id(state, peer, &request));
    let mut exchange =
        Exchange { state, begun, address, id, record: AccessRecord::default(), is_over: false };
    let dialect = state.dialects.of(request.headers());
    let path = request.uri().path();
    let is_health = path == HEALTH && matches!(*request.method(), Method::GET | Method::HEAD);
    let answered = if is_health {
        Ok(text(StatusCode::OK, b"ok\n".to_vec()))
    } else if path.strip_suffix('/').unwrap_or(path) != PATH {
        Err(Refusal::NotFound)
    } else if request.method() != Method::GET && request.method() != Method::POST {
        Err(Refusal::Method)
    } else {
        provision::provision(state, (origin, dialect), request, begun, &mut exchange.record).await
    };
    let outcome = match &answered {
        Ok(_) if is_health => RequestOutcome::Health,
        Ok(_) => RequestOutcome::Ok,
        Err(refusal) => refusal.outcome(),
    };
    let response = answered.unwrap_or_else(|refusal| dialect.refuse(refusal, is_proxied));
    exchange.end(outcome, Some(&response));
    response
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An identifier to find the request in the log: that of a trusted proxy, if it sent
/// one. Answers do not carry it, so that all refusals are the same.
fn request_id(state: &ServerState, peer: IpAddr, request: &Request<Incoming>) -> RequestId {
    let given = state.proxies.is_trusted(peer).then(|| request.headers().get(REQUEST_ID)).flatten();
    let is_plain = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        (1..=64).contains(&id.len()) && id.bytes().all(plain)
    };
    match given.and_then(|id| id.to_str().ok()).filter(is_plain) {
        Some(id) => RequestId::Given(id.into()),
        None => RequestId::Random(fastrand::u64(..)),
    }
}

/// Shortens text from clients for the log.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(128)]
}

/// Why a request gets no properties. Only [`Refusal::Credentials`] may be a 401, and
/// nothing may be a 403: at these, the client deletes its saved password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NotFound,
    Method,
    ContentType,
    TooLarge,
    Timeout,
    Unreadable,
    Malformed(request::Malformed),
    Credentials {
        /// Whether to offer HTTP Basic. After a form it must not be offered, or the
        /// client asks the user twice. Without any credentials it must be offered,
        /// or the client crashes.
        challenge: bool,
        /// Whether there was a username. This says nothing about users.
        is_named: bool,
    },
    Busy,
    /// There is no snapshot yet.
    NotReady,
    /// The credentials are wrong, but the snapshot may be out of date.
    Stale,
    /// Too many wrong passwords.
    Throttled {
        /// In seconds.
        retry_after: u64,
    },
}

impl Refusal {
    fn outcome(self) -> RequestOutcome {
        match self {
            Refusal::NotFound => RequestOutcome::NotFound,
            Refusal::Method => RequestOutcome::Method,
            Refusal::ContentType => RequestOutcome::ContentType,
            Refusal::TooLarge => RequestOutcome::TooLarge,
            Refusal::Timeout => RequestOutcome::Timeout,
            Refusal::Unreadable => RequestOutcome::Unreadable,
            Refusal::Malformed(_) => RequestOutcome::Malformed,
            Refusal::Credentials { .. } => RequestOutcome::Denied,
            Refusal::Busy => RequestOutcome::Busy,
            Refusal::NotReady => RequestOutcome::NotReady,
            Refusal::Stale => RequestOutcome::Stale,
            Refusal::Throttled { .. } => RequestOutcome::Throttled,
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let (status, why) = match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "not found; the only path is /jitsiprovs/".into()),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "only GET and POST are answered".into()),
            Refusal::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body must be application/x-www-form-urlencoded or application/json".into(),
            ),
            Refusal::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {} bytes", provision::MAX_BODY))
            }
            Refusal::Timeout => (StatusCode::REQUEST_TIMEOUT, TIMEOUT_LINE.into()),
            Refusal::Unreadable => (StatusCode::BAD_REQUEST, "the body could not be read".into()),
            Refusal::Malformed(why) => (StatusCode::BAD_REQUEST, why.to_string()),
            Refusal::Credentials { is_named, .. } => (
                StatusCode::UNAUTHORIZED,
                match is_named {
                    true => "wrong username, domain or password".into(),
                    false => "no username was sent: send username=USER@DOMAIN and \
                              password=..."
                        .into(),
                },
            ),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many sign-ins at once, try again".into()),
            Refusal::NotReady => {
                (StatusCode::SERVICE_UNAVAILABLE, "the users are not loaded yet, try again".into())
            }
            Refusal::Stale => {
                (StatusCode::SERVICE_UNAVAILABLE, "the users may be out of date, try again".into())
            }
            Refusal::Throttled { retry_after } => (
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many wrong passwords, try again in {retry_after} seconds"),
            ),
        };
        let mut response = text(status, comment(&why).into_bytes());
        let headers = response.headers_mut();
        match self {
            Refusal::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
            }
            Refusal::TooLarge | Refusal::Timeout | Refusal::Unreadable => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Refusal::Credentials { challenge: true, .. } => {
                let basic = "Basic realm=\"jitsiprovs\", charset=\"UTF-8\"";
                headers.insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static(basic));
            }
            Refusal::Busy | Refusal::NotReady | Refusal::Stale => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Refusal::Throttled { retry_after } => {
                headers.insert(RETRY_AFTER, retry_after.into());
            }
            _ => {}
        }
        response
    }
}

const TIMEOUT_LINE: &str = "the request did not arrive in time";

/// The outcome that a refused head counts as.
pub fn refused_head(status: StatusCode) -> RequestOutcome {
    match status {
        StatusCode::REQUEST_TIMEOUT => RequestOutcome::Timeout,
        _ => RequestOutcome::Malformed,
    }
}

/// The complete answer to a head that did not arrive or cannot be read. The HTTP
/// library's own answer would give no reason.
pub fn refuse_head(status: StatusCode) -> Vec<u8> {
    let why = match status {
        StatusCode::REQUEST_TIMEOUT => TIMEOUT_LINE,
        StatusCode::URI_TOO_LONG => "the request line is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the headers are too many or too long",
        _ => "this is not an HTTP/1.1 request",
    };
    let body = comment(why);
    let head = format!("connection: close\r\ncache-control: {NO_STORE}\r\ncontent-type: {TEXT}");
    format!("HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The body of a refusal. It is a comment, because old aTalk versions pass the body of
/// any status to their properties parser.
fn comment(why: &str) -> String {
    format!("# {why}\n")
}

fn text(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(NO_STORE));
    response
}
