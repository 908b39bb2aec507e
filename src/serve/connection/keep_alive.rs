//! What answers say about how long their connection stays open.
//!
//! A client that sends a request just when the server closes loses it, and does not know
//! whether it was read. So clients learn a time that is shorter than the server's. Apache's
//! HttpClient, which Jitsi uses, opens another connection after that time.

use std::time::Duration;

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// How much earlier than the server a client should end, for the time that bytes travel.
const MARGIN: Duration = Duration::from_secs(1);

/// What answers say.
#[derive(Debug, Clone)]
pub(in crate::serve) struct KeepAlive {
    /// `None` if connections are not kept for as long as [`MARGIN`].
    timeout: Option<HeaderValue>,
}

impl KeepAlive {
    /// For connections that are kept for `time` after an answer.
    pub fn of(time: Duration) -> KeepAlive {
        let seconds = time.saturating_sub(MARGIN).as_secs();
        // Kept until the end of the process: otherwise each answer would count the owners of the
        // text, in one place for all workers.
        let text = || HeaderValue::from_static(format!("timeout={seconds}").leak());
        KeepAlive { timeout: (seconds > 0).then(text) }
    }

    /// Adds the header of an answer. If the connection `is_ending`, it is closed after the
    /// answer, and the answer says so.
    pub fn tell(&self, is_ending: bool, headers: &mut HeaderMap) {
        match self.timeout.as_ref().filter(|_| !is_ending) {
            Some(_) if headers.keys().any(|name| name == CONNECTION) => {}
            Some(timeout) => drop(headers.insert(KEEP_ALIVE, timeout.clone())),
            None => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
        }
    }
}

/// Whether the client wants to keep the connection after this request.
pub(super) fn is_kept<B>(request: &Request<B>) -> bool {
    let closes = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    request.version() == Version::HTTP_11 && !request.headers().get(CONNECTION).is_some_and(closes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(time: Duration, is_ending: bool) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        KeepAlive::of(time).tell(is_ending, &mut headers);
        let value = |name| headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
        (value(KEEP_ALIVE), value(CONNECTION))
    }

    #[test]
    fn clients_learn_a_shorter_time_or_that_the_connection_ends() {
        let timeout = |seconds: u64| (Some(format!("timeout={seconds}")), None);
        let close = (None, Some("close".to_owned()));
        assert_eq!(told(Duration::from_secs(5), false), timeout(4));
        assert_eq!(told(Duration::from_millis(2999), false), timeout(1));
        assert_eq!(told(Duration::from_millis(1999), false), close);
        assert_eq!(told(Duration::from_secs(5), true), close);
    }
}
