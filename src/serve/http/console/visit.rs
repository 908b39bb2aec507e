//! One request of an operator who has signed in.

use std::sync::Arc;

use super::asker::Asker;
use super::fields::Fields;
use super::operator::Role;
use super::reply::Refusal;
use super::sessions::Session;
use super::{Console, Operator, ServerState};
use crate::core::history::{Editor, Tool};
use crate::snapshot::Served;

/// A request, after its session and its token were checked.
pub(super) struct Visit<'c> {
    /// The server.
    pub state: Arc<ServerState>,
    pub console: &'c Console,
    /// Where the request comes from.
    pub asker: Asker,
    /// The first part of the path inside the console; empty for the overview.
    pub section: String,
    /// The session.
    pub session: Arc<Session>,
    /// Whether a form was sent. Its token is right.
    pub is_post: bool,
    pub query: Fields,
    pub form: Fields,
}

impl Visit<'_> {
    /// Who asks.
    pub fn operator(&self) -> &Operator {
        self.session.operator()
    }

    /// Checks that the operator has this role.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`]
    pub fn needs(&self, role: Role) -> Result<(), Refusal> {
        if self.operator().role >= role { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// Checks that the operator may see a tenant, and returns its folded domain. A tenant of
    /// others is refused like one that does not exist.
    ///
    /// # Errors
    /// [`Refusal::NotFound`]
    pub fn tenant(&self, domain: &str) -> Result<Vec<u8>, Refusal> {
        let folded = self.console.conventions.comparison.fold(domain).to_vec();
        if self.operator().sees(&folded) { Ok(folded) } else { Err(Refusal::NotFound) }
    }

    /// The snapshot in use.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] before the first one.
    pub fn served(&self) -> Result<Arc<Served>, Refusal> {
        let served = self.state.snapshot.load_full();
        served.ok_or_else(|| Refusal::Unavailable("the users are not loaded yet".into()))
    }

    /// Who edits, for the history.
    pub fn editor(&self) -> Editor {
        Editor { name: self.operator().name.clone(), tool: Tool::Console }
    }
}
