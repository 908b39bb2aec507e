//! An attempt to sign in, as the throttle sees it.

use std::net::IpAddr;
use std::time::Instant;

use super::{Refusal, ServerState, shown};
use crate::core::names::Folded;
use crate::core::params::{Known, Params};
use crate::serve::throttle::{By, Throttled};
use crate::snapshot::Served;

/// The address and the account of an attempt.
pub(super) struct Attempt {
    pub address: IpAddr,
    pub domain: Folded,
    pub username: Folded,
}

impl Attempt {
    pub fn new(address: IpAddr, served: &Served, params: &Params) -> Attempt {
        let fold = |known| served.snapshot.fold(params.known(known).unwrap_or_default());
        Attempt { address, domain: fold(Known::Domain), username: fold(Known::Username) }
    }

    /// Refuses the attempt if there were too many failures before.
    pub fn check(&self, state: &ServerState) -> Result<(), Refusal> {
        let Throttled { by, retry_after } =
            match state.throttle.check(self.address, &self.domain, &self.username, Instant::now()) {
                Ok(()) => return Ok(()),
                Err(throttled) => throttled,
            };
        state.metrics.throttled(match by {
            By::AccountFromAddress => "account_from_address",
            By::Address => "address",
            By::Account => "account",
        });
        Err(Refusal::Throttled { retry_after: retry_after.as_secs() + 1 })
    }

    /// Counts a wrong password. The log line is for fail2ban, so its beginning must not change.
    /// There is no line while the snapshot may be old, because then the password may be
    /// right.
    pub fn failed(&self, state: &ServerState, params: &Params) {
        // A request without a password is not a guess.
        let (Some(username), Some(password)) = (params.known(Known::Username), params.known(Known::Password))
        else {
            return;
        };
        let Attempt { address, domain: tenant, username: account } = self;
        if !state.throttle.fail(*address, tenant, account, password.as_bytes(), Instant::now()) {
            return;
        }
        state.turns.fail(*address);
        if state.reload.is_certain(tenant, account) {
            state.metrics.auth_failures.inc();
            let domain = shown(params.known(Known::Domain).unwrap_or_default());
            tracing::warn!(%address, domain, username = shown(username), "authentication failed");
        }
    }
}
