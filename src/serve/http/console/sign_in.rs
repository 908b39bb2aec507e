//! Signing in and out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{COOKIE, HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::accounts::{Account, LONGEST_NAME};
use super::asker::Asker;
use super::fields::Fields;
use super::reply::{Refusal, Reply};
use super::sessions;
use super::{Console, ROOT, page};
use crate::serve::http::shown;
use crate::serve::throttle::{self, Attempted, Throttle, ThrottleSettings};

/// How many passwords are compared at once. Each takes a processor for a moment.
const AT_ONCE: usize = 2;
/// How long a sign-in waits for others.
const PATIENCE: Duration = Duration::from_secs(10);
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const ORIGIN: HeaderName = hyper::header::ORIGIN;

/// Limits sign-ins.
pub(super) struct Gate {
    throttle: Throttle,
    turns: Arc<Semaphore>,
}

impl Gate {
    /// The limits are those of clients, but their failures are counted separately.
    pub fn new(settings: ThrottleSettings) -> Gate {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Gate { throttle: Throttle::new(settings, Instant::now()), turns }
    }
}

/// The page with the form. `why` says why the last attempt failed.
fn form(status: StatusCode, why: Option<String>, wanted: &str, name: &str) -> Reply {
    #[derive(Serialize)]
    struct Form<'a> {
        why: Option<String>,
        wanted: &'a str,
        name: &'a str,
    }
    let title = page::text("sign_in", "title");
    page::open(status, "sign_in", title, &Form { why, wanted, name })
}

/// Shows the form.
pub(super) fn ask(query: &Fields) -> Reply {
    form(StatusCode::OK, None, query.text("to").unwrap_or_default(), "")
}

/// Sends a browser without a session to the form, from where it comes back to `wanted`.
pub(super) fn redirect(wanted: &str) -> Reply {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if wanted != ROOT {
        query.append_pair("to", wanted);
    }
    Reply::see(format!("{ROOT}/sign-in?{}", query.finish()).trim_end_matches('?'))
}

/// Checks name and password, and begins a session.
///
/// # Errors
/// [`Refusal::Forged`] if the form was not on a page of this console. [`Refusal::Unavailable`] if
/// too many sign in at once.
pub(super) async fn sign_in(
    console: &Console,
    asker: Asker,
    headers: &HeaderMap,
    sent: &Fields,
) -> Result<Reply, Refusal> {
    if !is_own_form(headers) {
        return Err(Refusal::Forged);
    }
    let (name, wanted) = (sent.text("name").unwrap_or_default(), sent.text("to").unwrap_or_default());
    let password = sent.get("password").unwrap_or_default();
    // Anybody can fill the queue, but only up to these limits of each address.
    let turn = timeout(PATIENCE, console.gate.turns.clone().acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(Refusal::Unavailable(page::text("sign_in", "crowded").into()));
    };
    let account = console.accounts.find(name).await;
    let attempted = Attempted {
        address: asker.address,
        is_forwarded: asker.is_forwarded,
        account: throttle::Account {
            domain: b"",
            username: cut(name).as_bytes(),
            stamp: account.as_ref().map_or(0, Account::stamp),
        },
    };
    let (throttle, address) = (&console.gate.throttle, asker.address);
    if let Err(refused) = throttle.check(&attempted, Instant::now()) {
        let seconds = refused.retry_after.as_secs() + 1;
        tracing::warn!(operator = cut(name), %address, limit = refused.by.name(), "console: sign-in refused");
        let why = page::said("sign_in", "throttled", &seconds.to_string());
        let mut reply = form(StatusCode::TOO_MANY_REQUESTS, Some(why), wanted, name);
        reply.0.headers_mut().insert(RETRY_AFTER, seconds.into());
        return Ok(reply);
    }
    let compared = account.clone().unwrap_or_else(|| console.accounts.decoy(name));
    let is_right = compared.has_password(password);
    drop(turn);
    let Some(account) = account.filter(|_| is_right) else {
        throttle.fail(&attempted, password.as_bytes(), Instant::now());
        tracing::warn!(operator = cut(name), %address, "console: wrong name or password");
        let why = page::text("sign_in", "wrong").to_owned();
        return Ok(form(StatusCode::UNAUTHORIZED, Some(why), wanted, name));
    };
    throttle.succeed(&attempted, Instant::now());
    tracing::info!(operator = cut(name), %address, role = account.operator.role.name(), "console: signed in");
    // A session that the browser still has ends; its cookie is never used again.
    console.sessions.end(cookies(headers));
    let value = console.sessions.begin(account, Instant::now());
    let mut reply = Reply::see(destination(wanted));
    set_cookie(&mut reply, &value, "", asker.is_https);
    Ok(reply)
}

/// Ends the session.
pub(super) fn sign_out(console: &Console, asker: Asker, headers: &HeaderMap, operator: &str) -> Reply {
    console.sessions.end(cookies(headers));
    tracing::info!(operator, address = %asker.address, "console: signed out");
    let mut reply = Reply::see(&format!("{ROOT}/sign-in"));
    set_cookie(&mut reply, "", "; Max-Age=0", asker.is_https);
    reply
}

/// The cookies of a request.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes)
}

fn set_cookie(reply: &mut Reply, value: &str, more: &str, is_https: bool) {
    let secure = if is_https { "; Secure" } else { "" };
    let name = sessions::COOKIE;
    let cookie = format!("{name}={value}; Path={ROOT}; HttpOnly; SameSite=Strict{secure}{more}");
    reply.0.headers_mut().insert(SET_COOKIE, cookie.parse().expect("hexadecimal digits"));
}

/// Whether the form of the sign-in was on a page of this console. There is no session whose token
/// it could carry, but browsers say where it was: in `Origin` of every POST, which was compared
/// before (see `asker`), and in `Sec-Fetch-Site`. So another page cannot sign a browser in under
/// an account of its own.
fn is_own_form(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_SITE) {
        Some(site) => site == "same-origin" || site == "none",
        None => headers.contains_key(ORIGIN),
    }
}

/// The page that was wanted before the sign-in, if it is one of the console.
fn destination(wanted: &str) -> &str {
    let path = wanted.split(['?', '#']).next().unwrap_or_default();
    let is_plain = wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_inside = Console::has(path) && !path.contains("//") && !path.split('/').any(|part| part == "..");
    if is_plain && is_inside { wanted } else { ROOT }
}

/// A name for the log.
fn cut(name: &str) -> &str {
    let name = shown(name);
    &name[..name.floor_char_boundary(LONGEST_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_sign_in_only_pages_of_the_console_are_shown() {
        for own in ["/console", "/console/users?q=a%2Fb", "/console/users/a.org/bob#locks"] {
            assert_eq!(destination(own), own);
        }
        for foreign in [
            "",
            "/",
            "/reload",
            "//evil.org/console",
            "https://evil.org/console",
            "/consoles",
            "/console//evil.org",
            "/console/..//evil.org",
            "/console\\evil",
            "/console/\r\nset-cookie: a=b",
            "javascript:alert(1)",
        ] {
            assert_eq!(destination(foreign), ROOT, "{foreign}");
        }
    }

    #[test]
    fn a_form_without_a_sign_of_its_page_is_refused() {
        let is_own = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_own_form(&headers.collect())
        };
        assert!(is_own(&[("origin", "http://localhost")]));
        assert!(is_own(&[("sec-fetch-site", "same-origin")]));
        for site in ["cross-site", "same-site", ""] {
            assert!(!is_own(&[("origin", "http://localhost"), ("sec-fetch-site", site)]), "{site}");
        }
        assert!(!is_own(&[]));
    }
}
