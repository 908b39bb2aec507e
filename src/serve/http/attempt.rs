//! An attempt to sign in, as the throttle sees it.

use std::time::Instant;

use super::{Refusal, ServerState, shown};
use crate::core::names::Folded;
use crate::core::params::{Known, Params};
use crate::serve::http::client_address::Origin;
use crate::serve::throttle::{Account, Attempted, By, Failure, Throttled};
use crate::snapshot::{Candidate, Served};

/// Where a sign-in comes from, and its account.
pub(super) struct Attempt {
    pub origin: Origin,
    pub domain: Folded,
    pub username: Folded,
    /// That of the stored password.
    stamp: u64,
    /// When the head of the request had arrived. A lock that ended since then still holds.
    at: Instant,
}

impl Attempt {
    /// The attempt of a request whose head had arrived `at` this time, and its account, which has
    /// this folded domain and username.
    pub fn new<'s>(
        origin: Origin,
        state: &ServerState,
        served: &'s Served,
        [domain, username]: [Folded; 2],
        at: Instant,
    ) -> (Attempt, Candidate<'s>) {
        let candidate = served.snapshot.candidate(&domain, &username);
        let stamp = state.throttle.stamp(&candidate);
        (Attempt { origin, domain, username, stamp, at }, candidate)
    }

    /// The folded domain and username.
    pub fn into_names(self) -> [Folded; 2] {
        [self.domain, self.username]
    }

    /// The same, copied.
    pub fn names(&self) -> [Folded; 2] {
        [&self.domain, &self.username].map(|name| Folded::from_slice(name))
    }

    fn attempted(&self) -> Attempted<'_> {
        let Attempt { origin: Origin { address, is_forwarded, .. }, domain, username, stamp, .. } = self;
        let account = Account { domain, username, stamp: *stamp };
        Attempted { address: *address, is_forwarded: *is_forwarded, account }
    }

    /// Refuses the attempt if there were too many failures before it.
    pub fn check(&self, state: &ServerState) -> Result<(), Refusal> {
        self.check_at(state, self.at)
    }

    /// Refuses the attempt, which has waited, if there were too many failures until now.
    pub fn check_again(&self, state: &ServerState) -> Result<(), Refusal> {
        self.check_at(state, Instant::now())
    }

    fn check_at(&self, state: &ServerState, at: Instant) -> Result<(), Refusal> {
        let checked = state.throttle.check(&self.attempted(), at);
        checked.map_err(|Throttled { by, retry_after }| {
            state.metrics.throttled(by.name());
            Refusal::Throttled { retry_after: retry_after.as_secs() + 1 }
        })
    }

    /// Whether the address has failed lately.
    pub fn has_failed(&self, state: &ServerState) -> bool {
        state.throttle.has_failed(&self.attempted(), Instant::now())
    }

    /// Remembers that the password was right, so that failures elsewhere do not lock this
    /// account out here.
    pub fn succeeded(&self, state: &ServerState) {
        state.throttle.succeed(&self.attempted(), self.at);
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
        let Failure { is_guess, locked, seems_proxy } =
            state.throttle.fail(&self.attempted(), password.as_bytes(), Instant::now());
        if !is_guess {
            return;
        }
        let address = self.origin.address;
        state.turns.fail(address);
        let (domain, username) = (shown(params.known(Known::Domain).unwrap_or_default()), shown(username));
        if state.reload.is_certain(&self.domain, &self.username) {
            state.metrics.auth_failures.inc();
            tracing::warn!(%address, domain, username, "authentication failed");
        }
        for by in locked {
            let (counter, seconds) = (by.name(), state.throttle.window().as_secs());
            match by {
                By::AccountFromAddress => {
                    tracing::warn!(%counter, %address, domain, username, seconds, "locked out");
                }
                By::Account => tracing::warn!(%counter, domain, username, seconds, "locked out"),
                By::Address => tracing::warn!(
                    %counter,
                    %address,
                    seconds,
                    advice = "an office with many old passwords can be let in with `jitsiprovs lock clear`; raise \
                              --auth-fail-limit for it; name a proxy with --trusted-proxy",
                    "locked out"
                ),
            }
        }
        if seems_proxy {
            tracing::warn!(
                peer = %address,
                "wrong passwords of many accounts come from one address, whose requests say that they were \
                 forwarded: if it is your proxy, name it with --trusted-proxy, so that each client has its own \
                 limit"
            );
        }
    }
}
