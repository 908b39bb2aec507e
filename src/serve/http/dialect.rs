//! Clients that need another form of the protocol, recognised by their header `User-Agent`. What is
//! counted and logged about a request is the same in every dialect.

use http_body_util::Full;
use hyper::header::{HeaderMap, USER_AGENT, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode, body::Bytes};

use super::Refusal;
use crate::core::params::Known;
use crate::core::request::ParamSettings;

/// MaX UC sends this with its version, in all its brands.
const MAX_UC: &[u8] = b"Accession Communicator/";
/// How MaX UC calls known parameters in the URLs of its usual server.
const MAX_UC_NAMES: [(&str, Known); 2] =
    [("DirectoryNumber", Known::Username), ("Password", Known::Password)];
/// MaX UC uses an answer only if this is in it.
const MARK: &str = "net.java.sip.communicator";

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// As Jitsi does, and nearly all its forks.
    Usual,
    /// As MaX UC does: it reads the body of a 200 only, and asks for a password again and again
    /// after a 401.
    MaxUc,
}

/// How requests that are not the usual ones are read.
pub struct Dialects {
    /// `None` with `--client-dialects off`.
    max_uc: Option<ParamSettings>,
}

impl Dialects {
    /// The dialects of a server that reads the usual requests with `params`. Unless `are_on`, all
    /// clients are treated alike.
    pub fn new(params: &ParamSettings, are_on: bool) -> Dialects {
        let max_uc = are_on.then(|| {
            let mut max_uc = ParamSettings { values_are_encoded_twice: true, ..params.clone() };
            // The operator's own aliases come first, and of two the first counts.
            max_uc.aliases.extend(MAX_UC_NAMES.map(|(name, known)| (name.to_owned(), known)));
            max_uc
        });
        Dialects { max_uc }
    }

    /// The dialect of the client that sent these headers.
    pub(super) fn of(&self, headers: &HeaderMap) -> Dialect {
        let is_max_uc = |agent: &[u8]| agent.starts_with(MAX_UC);
        match headers.get(USER_AGENT).filter(|_| self.max_uc.is_some()) {
            Some(agent) if is_max_uc(agent.as_bytes()) => Dialect::MaxUc,
            _ => Dialect::Usual,
        }
    }

    /// How requests in this dialect are read, if they are not the usual ones.
    pub(super) fn params(&self, dialect: Dialect) -> Option<&ParamSettings> {
        self.max_uc.as_ref().filter(|_| dialect == Dialect::MaxUc)
    }
}

impl Dialect {
    /// The properties in the form that the client accepts.
    pub(super) fn complete(self, properties: Vec<u8>) -> Vec<u8> {
        let has_mark = || properties.windows(MARK.len()).any(|part| part == MARK.as_bytes());
        if self == Dialect::Usual || has_mark() {
            return properties;
        }
        [super::comment(MARK).into_bytes(), properties].concat()
    }

    /// The answer to a request that is refused. `is_proxied` says that a proxy stands between.
    pub(super) fn refuse(self, refusal: Refusal, is_proxied: bool) -> Response<Full<Bytes>> {
        let usual = refusal.response();
        let Some(error) = self.error(refusal, is_proxied) else { return usual };
        let (mut head, _) = usual.into_parts();
        head.status = StatusCode::OK;
        head.headers.remove(WWW_AUTHENTICATE);
        // The whole body must be this line: the client takes all that follows `=` for the name.
        Response::from_parts(head, Full::from(format!("Error={error}\n")))
    }

    /// The name that the client has for the refusal, if it needs one.
    fn error(self, refusal: Refusal, is_proxied: bool) -> Option<&'static str> {
        match refusal {
            _ if self == Dialect::Usual => None,
            // These are no requests for properties.
            Refusal::NotFound | Refusal::Method => None,
            Refusal::Credentials { .. } => Some("AuthFailed"),
            Refusal::Throttled { .. } => Some("RetryExceeded"),
            // The proxy must see the status, so that it asks another node.
            Refusal::Busy | Refusal::NotReady | Refusal::Stale if is_proxied => None,
            Refusal::Busy | Refusal::NotReady | Refusal::Stale => Some("InternalError"),
            Refusal::ContentType
            | Refusal::TooLarge
            | Refusal::Timeout
            | Refusal::Unreadable
            | Refusal::Malformed(_) => Some("InternalError"),
        }
    }
}
