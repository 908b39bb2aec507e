//! What one client would get, and why: for `jitsiprovs explain`.
//!
//! A request is read as the server reads one ([`ClientRequest::read`]), the snapshot
//! is built as the server builds it ([`snapshot`]), and the answer is
//! [`Snapshot::answer`]: the report shows what would be served.

mod report;
mod suggest;

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::core::conventions::Conventions;
use crate::core::model::{Row, RuleRow, UserRow};
use crate::core::params::{Known, Params};
use crate::core::request::{self, Body};
use crate::core::secret::Secret;
use crate::snapshot::{Session, SignIn, Snapshot, Writer};

pub use report::{ExplainReport, KeyReport, Parameter, RuleReport};
pub use suggest::near;

/// What a client sends.
pub struct ClientRequest {
    params: Params,
    has_password: bool,
}

/// Why a client would get nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainRefusal {
    /// The server could not read the request.
    #[error("{0}: leave some of them out")]
    Malformed(request::Malformed),
    /// An argument shows in the list of processes.
    #[error("`{0}` is the password, which is never an argument")]
    Argument(String),
    /// There is no username.
    #[error("{0:?} names no user: write user@domain")]
    Nobody(String),
    /// The tenant has neither users nor rules.
    #[error("there is no tenant {domain:?}{}", or_else(.near, ": `jitsiprovs tenant list` lists them"))]
    NoTenant {
        /// The domain that the request names.
        domain: String,
        /// Tenants called something like that.
        near: Vec<String>,
    },
    /// The tenant has no such user.
    #[error(
        "there is no user {username:?} in the tenant {domain:?}{}",
        or_else(.near, ": `jitsiprovs user list` lists them")
    )]
    NoUser {
        /// The name without its domain.
        username: String,
        /// The tenant.
        domain: String,
        /// Users called something like that there, or so in other tenants.
        near: Vec<String>,
    },
    /// The server would refuse it with 401.
    #[error("the password of {0:?} is wrong: the server would answer 401")]
    WrongPassword(String),
}

fn or_else(near: &[String], otherwise: &str) -> String {
    let near: Vec<String> = near.iter().map(|name| name.escape_debug().to_string()).collect();
    match &*near {
        [] => otherwise.to_owned(),
        [first] => format!(": did you mean {first}?"),
        [more @ .., last] => format!(": did you mean {} or {last}?", more.join(", ")),
    }
}

impl ClientRequest {
    /// Reads what a client sends whose username is `user`, as `http` reads a
    /// form of it. Without a password its place is left empty: whoever gets an
    /// answer has sent one, so rules that use it do apply.
    ///
    /// # Errors
    /// When the server would refuse it before it asks who it is, or a password
    /// is among `sent`.
    pub fn read(
        user: &str,
        sent: &[(String, String)],
        password: Option<&Secret>,
        settings: &request::ParamSettings,
    ) -> Result<ClientRequest, ExplainRefusal> {
        let is_password = |name: &str| {
            let alias = settings.aliases.iter().find(|(alias, _)| alias == name);
            name == Known::Password.name() || alias.is_some_and(|(_, known)| *known == Known::Password)
        };
        if let Some((name, _)) = sent.iter().find(|(name, _)| is_password(name)) {
            return Err(ExplainRefusal::Argument(name.clone()));
        }
        let own = [(Known::Username.name(), user)].into_iter();
        let sent = sent.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let password = password.map(|password| (Known::Password.name(), password.reveal()));
        let pairs = own.chain(sent).chain(password).map(|(name, value)| {
            let side = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
            format!("{}={}", side(name), side(value))
        });
        let form = pairs.collect::<Vec<_>>().join("&");
        let read = request::read("", Body::Form(form.as_bytes()), None, settings);
        let (mut params, _) = read.map_err(ExplainRefusal::Malformed)?;
        if params.known(Known::Username).is_none() {
            return Err(ExplainRefusal::Nobody(user.to_owned()));
        }
        if password.is_none() {
            params.set(Known::Password, Some(String::new()));
        }
        Ok(ClientRequest { params, has_password: password.is_some() })
    }

    /// Its parameters, as the server sees them.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whether the password is known.
    pub fn has_password(&self) -> bool {
        self.has_password
    }

    /// `user@domain`, as the server split them.
    pub fn name(&self) -> String {
        let known = |known| self.params.known(known).unwrap_or_default();
        format!("{}@{}", known(Known::Username), known(Known::Domain))
    }

    /// Signs in; without a password, anybody may who is there.
    ///
    /// # Errors
    /// When there is no such user among `users`, or the password is wrong.
    pub fn sign_in<'s>(
        &self,
        snapshot: &'s Snapshot,
        users: &[UserRow],
    ) -> Result<Session<'s>, ExplainRefusal> {
        // Before the password, so that an unknown user costs no slow hash.
        let session = snapshot.find(&self.params).ok_or_else(|| suggest::unknown(snapshot, self, users))?;
        if !self.has_password {
            return Ok(session);
        }
        let session = match snapshot.authenticate(&self.params) {
            SignIn::Granted(session) => Some(session),
            SignIn::Denied => None,
            SignIn::Pending(pending) => {
                let password = self.params.known(Known::Password).unwrap_or_default();
                let work = pending.work(password.to_owned());
                pending.settle(work())
            }
        };
        session.ok_or_else(|| ExplainRefusal::WrongPassword(self.name()))
    }
}

/// The snapshot that a server builds from these rows when it starts.
pub fn snapshot(options: Conventions, users: &[UserRow], rules: &[RuleRow]) -> Arc<Snapshot> {
    let mut writer = Writer::new(options);
    writer.begin_load();
    let mut draft = writer.draft_of_load();
    for row in users {
        draft.put(&Row::User(row.clone()));
    }
    for row in rules {
        draft.put(&Row::Rule(row.clone()));
    }
    draft.commit().0
}

#[cfg(test)]
mod tests;
