//! Answers to a browser, and the headers that protect it.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};

/// An answer.
pub(super) struct Reply(pub Response<Full<Bytes>>);

/// Why a page is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody has signed in.
    SignedOut,
    /// There is no such page, or no such thing that the operator may see.
    NotFound,
    /// Only GET and POST are answered.
    Method,
    /// The operator's role does not allow it.
    Forbidden,
    /// The form was not sent from a page of this session.
    Forged,
    /// What was typed cannot be used.
    Bad(String),
    /// The row was changed since the page was shown.
    Changed(String),
    /// The database cannot be used, or the server is not ready.
    Unavailable(String),
}

impl Refusal {
    /// A defect of this program stopped the thread that made the page.
    pub fn broken() -> Refusal {
        Refusal::Unavailable("the page could not be made: see the log".into())
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::SignedOut => StatusCode::UNAUTHORIZED,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Forbidden | Refusal::Forged => StatusCode::FORBIDDEN,
            Refusal::Bad(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Changed(_) => StatusCode::CONFLICT,
            Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<crate::source::SourceError> for Refusal {
    fn from(error: crate::source::SourceError) -> Refusal {
        use crate::source::SourceError::Gone;
        match error {
            Gone { .. } => Refusal::Changed(error.to_string()),
            _ => Refusal::Unavailable(error.to_string()),
        }
    }
}

/// Nothing is loaded from elsewhere, no script is inline, and no other page may show this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

impl Reply {
    /// A page.
    pub fn html(status: StatusCode, html: String) -> Reply {
        Reply::of(status, "text/html; charset=utf-8", html.into())
    }

    /// A file of the console.
    pub fn of(status: StatusCode, kind: &'static str, body: Bytes) -> Reply {
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Reply(response)
    }

    /// Sends the browser to another page of the console, with GET. `path` is encoded and begins
    /// with the console's root.
    pub fn see(path: &str) -> Reply {
        let mut reply = Reply::html(StatusCode::SEE_OTHER, String::new());
        let path = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static(super::ROOT));
        reply.0.headers_mut().insert(LOCATION, path);
        reply
    }

    /// Adds the headers that all answers of the console have.
    pub fn guarded(mut self) -> Reply {
        const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
        const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_FRAME_OPTIONS, "DENY"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // With `no-referrer`, browsers would send `Origin: null` with the console's own forms.
            (REFERRER_POLICY, "same-origin"),
            (OPENER, "same-origin"),
            (RESOURCE, "same-origin"),
            (CACHE_CONTROL, "no-store"),
        ] {
            self.0.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        self
    }
}
