//! Requests to answers: which resource, and what is wrong with a request.

pub mod params;
mod provision;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::snapshot::Snapshot;

/// The one resource; the client's URL may have a slash more.
const PATH: &str = "/jitsiprovs";
/// What the client's parser reads: ISO-8859-1, of which answers use ASCII.
const TEXT: &str = "text/plain; charset=iso-8859-1";
const NO_STORE: &str = "no-store";

/// Everything handlers need, shared by all connections.
pub struct State {
    /// Where the newest snapshot is, once there is one.
    pub snapshot: Arc<ArcSwapOption<Snapshot>>,
    /// How requests are understood.
    pub settings: params::Settings,
    /// Permits to compute slow hashes.
    slow: Arc<Semaphore>,
}

impl State {
    /// `slow_hashes` is how many slow hashes may be computed at once.
    pub fn new(
        snapshot: Arc<ArcSwapOption<Snapshot>>,
        settings: params::Settings,
        slow_hashes: usize,
    ) -> Self {
        State { snapshot, settings, slow: Arc::new(Semaphore::new(slow_hashes)) }
    }
}

/// Answers one request.
pub async fn respond(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let answered = if path.strip_suffix('/').unwrap_or(path) != PATH {
        Err(Refusal::NotFound)
    } else if request.method() != Method::GET && request.method() != Method::POST {
        Err(Refusal::Method)
    } else {
        provision::provision(state, request).await
    };
    answered.unwrap_or_else(|refusal| refusal.response())
}

/// Why a request gets no properties. Only [`Refusal::Credentials`] may be a
/// 401, and nothing may be a 403: the client then deletes its saved password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NotFound,
    Method,
    ContentType,
    TooLarge,
    Timeout,
    Unreadable,
    Malformed(params::Malformed),
    Credentials {
        /// Whether to offer HTTP Basic. After a form the client must not be
        /// offered it, or it asks the user twice; without any credentials it
        /// must be, or the client crashes.
        challenge: bool,
    },
    Busy,
    /// There is no snapshot yet.
    NotReady,
}

impl Refusal {
    fn response(self) -> Response<Full<Bytes>> {
        let (status, why) = match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "there is nothing here but /jitsiprovs/".into()),
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
            Refusal::Credentials { .. } => {
                (StatusCode::UNAUTHORIZED, "wrong username, domain or password".into())
            }
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many sign-ins at once, try again".into()),
            Refusal::NotReady => {
                (StatusCode::SERVICE_UNAVAILABLE, "the users are not loaded yet, try again".into())
            }
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
            Refusal::Credentials { challenge: true } => {
                let basic = "Basic realm=\"jitsiprovs\", charset=\"UTF-8\"";
                headers.insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static(basic));
            }
            Refusal::Busy | Refusal::NotReady => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

/// How long a client may take to send a head, and again to send a body.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);

const TIMEOUT_LINE: &str = "the request did not arrive in 10 seconds";

/// The whole of an answer to a head that did not arrive or cannot be read,
/// which the HTTP library has no words for.
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

/// The body of a refusal. Old aTalk versions feed the body of any status to
/// their properties parser: to them it must be a comment.
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
