//! Finds out what a client would get, and why, for `jitsiprovs explain`.
//!
//! The request is read as in the server ([`ClientRequest::read`]), the snapshot is built as in
//! the server ([`snapshot`]), and the answer comes from [`Snapshot::answer`]. So the report shows
//! what the server would serve.

mod aftermath;
mod hypothesis;
mod report;
mod suggest;

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::core::conventions::Conventions;
use crate::core::model::{TableRows, UserRow};
use crate::core::params::{Known, Params};
use crate::core::request::{self, Body};
use crate::core::secret::Secret;
use crate::snapshot::{Session, SignIn, Snapshot, Writer};

pub use hypothesis::Hypothesis;
pub use report::{ExplainReport, KeyReport, Listing, Parameter, RuleReport, UsedAttribute};
pub use suggest::near;

/// The request of a client.
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
    /// An argument is visible in the list of processes.
    #[error("`{0}` is the password, which is never an argument")]
    Argument(String),
    /// The same for an attribute.
    #[error("`user.{0}` is a secret, which is never an argument")]
    SecretAttribute(String),
    /// The server would not use the attribute.
    #[error("`user.{name}` cannot be an attribute: {why}")]
    BadAttribute {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The address from which the client asks is none.
    #[error("client.address={0:?} is no address: write an IPv4 or IPv6 address")]
    NoAddress(String),
    /// The server gives this name its value, and it cannot be chosen.
    #[error("`{0}` comes from the server: only user.NAME and client.address can be tried")]
    Untried(String),
    /// There is no username.
    #[error("{0:?} names no user: write user@domain")]
    Nobody(String),
    /// The tenant has neither users nor rules.
    #[error(
        "there is no tenant {domain:?}{}{}",
        or_else(.near, ": `jitsiprovs tenant list` lists them"),
        or_else(.namesakes, "")
    )]
    NoTenant {
        /// The domain that the request names.
        domain: String,
        /// Tenants with similar names.
        near: Vec<String>,
        /// If there are none, users with this name in other tenants.
        namesakes: Vec<String>,
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
        /// Users with similar names in this tenant, or users with this name in other tenants.
        near: Vec<String>,
    },
    /// The server would refuse it with 401.
    #[error("the password of {0:?} is wrong: the server would answer 401")]
    WrongPassword(String),
    /// The same, but it is right with a line break at its end, as `echo` without `-n` writes it.
    #[error(
        "the password of {0:?} is stored with a line break at its end, so the server would answer 401: set it \
         again with `jitsiprovs user passwd`, or hash it without the line break, such as `printf %s` in place of \
         `echo`"
    )]
    LineBreakStored(String),
}

impl ExplainRefusal {
    /// Whether the tenant or the user does not exist.
    pub fn is_unknown(&self) -> bool {
        matches!(self, ExplainRefusal::NoTenant { .. } | ExplainRefusal::NoUser { .. })
    }
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
    /// Creates the request of a client with the username `user`, as `http` reads it from a form.
    /// Without a password, an empty one is used: a client that gets an answer has always sent a
    /// password, so rules that use it do apply.
    ///
    /// # Errors
    /// When the server would refuse the request before it looks for the user, or if `sent`
    /// contains a password.
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

    /// The parameters, as the server reads them.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whether the password is known.
    pub fn has_password(&self) -> bool {
        self.has_password
    }

    /// `user@domain`, as the server splits them.
    pub fn name(&self) -> String {
        let known = |known| self.params.known(known).unwrap_or_default();
        format!("{}@{}", known(Known::Username), known(Known::Domain))
    }

    /// Signs in. Without a password, this works for every user who exists.
    ///
    /// # Errors
    /// When `users` does not have this user, or the password is wrong.
    pub fn sign_in<'s>(
        &self,
        snapshot: &'s Snapshot,
        users: &[UserRow],
    ) -> Result<Session<'s>, ExplainRefusal> {
        // The user is looked up first, so that no slow hash is computed for an unknown user.
        let session = snapshot.find(&self.params).ok_or_else(|| suggest::unknown(snapshot, self, users))?;
        if !self.has_password {
            return Ok(session);
        }
        if let Some(session) = authenticate(snapshot, &self.params) {
            return Ok(session);
        }
        let mut with_line_break = self.params.clone();
        let password = self.params.known(Known::Password).unwrap_or_default();
        with_line_break.set(Known::Password, Some(format!("{password}\n")));
        Err(match authenticate(snapshot, &with_line_break) {
            Some(_) => ExplainRefusal::LineBreakStored(self.name()),
            None => ExplainRefusal::WrongPassword(self.name()),
        })
    }
}

fn authenticate<'s>(snapshot: &'s Snapshot, params: &Params) -> Option<Session<'s>> {
    match snapshot.authenticate(params) {
        SignIn::Granted(session) => Some(session),
        SignIn::Denied => None,
        SignIn::Pending(pending) => {
            let password = params.known(Known::Password).unwrap_or_default();
            let work = pending.work(password.to_owned());
            pending.settle(work())
        }
    }
}

/// The snapshot that a server builds from these rows at its start.
pub fn snapshot(options: Conventions, rows: &TableRows) -> Arc<Snapshot> {
    let mut writer = Writer::new(options);
    writer.begin_load();
    let mut draft = writer.draft_of_load();
    for row in rows.clone() {
        draft.put(&row);
    }
    draft.commit().0
}

#[cfg(test)]
mod tests;
