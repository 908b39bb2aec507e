//! The console: web pages on the admin listener, for operators who do not use a terminal.
//!
//! [`Console::respond`] finds out who asks ([`Visit`]) and which page is meant. Each page is a
//! file, with a template of the same name in `pages/`. All English is in `texts.json`.

pub mod accounts;
mod asker;
mod assets;
mod charts;
mod check;
mod edit;
mod fetches;
mod fields;
mod history;
mod known;
mod link;
mod locks;
mod moment;
mod operator;
mod overview;
mod page;
pub mod peers;
mod reply;
mod rights;
mod rule;
mod rule_preview;
mod rules;
mod sessions;
mod sign_in;
mod tenants;
mod threads;
mod unlock;
mod user;
mod user_answer;
mod user_edit;
mod users;
mod visit;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use tokio::runtime::Handle;

use super::ServerState;
use crate::core::conventions::Conventions;
use crate::serve::throttle::ThrottleSettings;
use crate::source::Source;
use accounts::Accounts;
pub use asker::Asker;
use check::Checks;
use fields::Fields;
pub use operator::{Operator, Role};
use peers::Peers;
use reply::{Refusal, Reply};
use rights::Rights;
use sessions::{Session, Sessions};

use sign_in::Gate;
use threads::Threads;
use visit::Visit;

/// Where the console begins.
const ROOT: &str = "/console";
/// The longest form, in bytes.
const LONGEST_FORM: usize = 256 * 1024;

/// What the console works on.
pub struct Console {
    /// Where users and rules are.
    pub source: Arc<dyn Source>,
    /// How rows are interpreted.
    pub conventions: Conventions,
    accounts: Accounts,
    peers: Peers,
    gate: Gate,
    sessions: Sessions,
    checks: Checks,
    rights: Rights,
    rejection: Mutex<Option<Rejection>>,
    threads: Threads,
}

/// An operator's word that a loss is not intended.
#[derive(Debug, Clone)]
struct Rejection {
    operator: String,
    /// In seconds since 1970.
    at: i64,
    /// The numbers of the loss.
    seen: String,
}

impl Console {
    /// A console without sessions. `throttle` limits wrong passwords.
    pub fn new(
        source: Arc<dyn Source>,
        conventions: Conventions,
        accounts: Accounts,
        throttle: ThrottleSettings,
        peers: Peers,
    ) -> Console {
        let (gate, sessions) = (Gate::new(throttle), Sessions::default());
        Console {
            source,
            conventions,
            accounts,
            peers,
            gate,
            sessions,
            checks: Checks::default(),
            rights: Rights::default(),
            rejection: Mutex::default(),
            threads: Threads::new(),
        }
    }

    /// Whether a path is the console's.
    pub(super) fn has(path: &str) -> bool {
        path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers an operator's browser, on a thread that clients do not wait for: to make a page
    /// takes some milliseconds.
    pub(super) async fn respond(
        self: Arc<Self>,
        state: Arc<ServerState>,
        asker: Asker,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let (runtime, console) = (Handle::current(), self.clone());
        let answering = move || runtime.block_on(console.answer(&state, asker, request));
        let answered = self.threads.run(answering).await.unwrap_or_else(|| Err(Refusal::broken()));
        answered.unwrap_or_else(|refusal| page::refusal(None, &refusal)).guarded().0
    }

    async fn answer(
        &self,
        state: &Arc<ServerState>,
        asker: Asker,
        request: Request<Incoming>,
    ) -> Result<Reply, Refusal> {
        let (head, body) = request.into_parts();
        let path = Fields::segments(head.uri.path().strip_prefix(ROOT).unwrap_or_default());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(asset) = assets::find(&head.method, &path) {
            return Ok(asset);
        }
        let query = Fields::parse(head.uri.query().unwrap_or_default().as_bytes());
        let is_post = head.method == Method::POST;
        let form = match head.method {
            Method::GET | Method::HEAD => Fields::default(),
            Method::POST => read_form(&head, body).await?,
            _ => return Err(Refusal::Method),
        };
        match path[..] {
            ["sign-in"] if is_post => return sign_in::sign_in(self, asker, &head.headers, &form).await,
            ["sign-in"] => return Ok(sign_in::ask(&query)),
            _ => {}
        }
        let session = match self.session(&head.headers).await {
            Some(session) => session,
            None if is_post => return Err(Refusal::SignedOut),
            None => {
                return Ok(sign_in::redirect(
                    head.uri.path_and_query().map_or(ROOT, |wanted| wanted.as_str()),
                ));
            }
        };
        if is_post && form.get("csrf") != Some(session.csrf()) {
            return Err(Refusal::Forged);
        }
        if let (["sign-out"], true) = (&path[..], is_post) {
            return Ok(sign_in::sign_out(self, asker, &head.headers, &session.operator().name));
        }
        let section = path.first().map_or_else(String::new, |part| (*part).to_owned());
        let state = state.clone();
        let visit = Visit { state, console: self, asker, section, session, is_post, query, form };
        let answered = route(&visit, &path).await;
        if let (true, Err(Refusal::Unavailable(_))) = (is_post, &answered) {
            self.rights.forget();
        }
        Ok(answered.unwrap_or_else(|refusal| page::refusal(Some(&visit), &refusal)))
    }

    /// Who rejected a loss last.
    fn rejection(&self) -> Option<Rejection> {
        self.rejection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a loss was rejected.
    fn reject(&self, rejection: Rejection) {
        *self.rejection.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejection);
    }

    /// The session of a browser. It ends if the operator's account was removed or changed.
    async fn session(&self, headers: &hyper::HeaderMap) -> Option<Arc<Session>> {
        let session = self.sessions.find(sign_in::cookies(headers), Instant::now())?;
        if self.accounts.has(session.account()).await {
            return Some(session);
        }
        self.sessions.end(sign_in::cookies(headers));
        tracing::info!(
            operator = session.operator().name,
            "console: the account has changed, so the session ends"
        );
        None
    }
}

/// Calls the page that a path names.
async fn route(visit: &Visit<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    match *path {
        [] => overview::show(visit).await,
        ["loss"] => overview::decide(visit).await,
        ["locks"] => locks::show(visit).await,
        ["fetches"] => fetches::list(visit).await,
        ["history"] => history::list(visit).await,
        ["history", id] => history::show(visit, id, false).await,
        ["history", id, "undo"] => history::show(visit, id, true).await,
        ["users"] => users::list(visit).await,
        ["users", domain, username] => user::show(visit, domain, username).await,
        ["users", domain, username, action] => user_edit::act(visit, domain, username, action).await,
        ["rules"] => rules::list(visit).await,
        ["rules", what] => rule::show(visit, what).await,
        ["tenants"] => tenants::list(visit),
        ["tenants", domain] => tenants::show(visit, domain),
        ["check"] => check::check(visit).await,
        _ => Err(Refusal::NotFound),
    }
}

async fn read_form(head: &hyper::http::request::Parts, body: Incoming) -> Result<Fields, Refusal> {
    let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !kind.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded") {
        return Err(Refusal::Bad("forms are sent as application/x-www-form-urlencoded".into()));
    }
    let whole = Limited::new(body, LONGEST_FORM).collect().await;
    let whole = whole.map_err(|_| Refusal::Bad("the form is incomplete or too long".into()))?;
    Ok(Fields::parse(&whole.to_bytes()))
}
