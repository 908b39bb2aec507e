//! Sign-ins that need a slow hash. A result that is remembered is not computed again; other
//! sign-ins wait for their turn.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::attempt::Attempt;
use super::{Refusal, ServerState};
use crate::core::credential::SignInRecord;
use crate::core::params::{Known, Params};
use crate::process::priority;
use crate::snapshot::Pending;

/// How long a sign-in may wait for its turn. The client gives up after 10 seconds without
/// an answer, and repeats no request that was answered with 503.
const WAIT: Duration = Duration::from_secs(8);
/// How long it may wait behind a proxy, which may ask another node after a while.
const WAIT_BEHIND_PROXY: Duration = Duration::from_secs(5);

/// Whether the password is right. A wrong one is counted as a failure.
///
/// # Errors
/// When too many requests wait, or when too many sign-ins failed during the wait.
pub(super) async fn verify(
    state: &Arc<ServerState>,
    attempt: Attempt,
    is_tenant: bool,
    pending: &Pending<'_>,
    params: &Params,
) -> Result<bool, Refusal> {
    let password = params.known(Known::Password).unwrap_or_default();
    let guess = pending.guess(&state.wrong, [&attempt.domain, &attempt.username], password);
    if state.wrong.knows(guess) {
        attempt.failed(state, params);
        return Ok(false);
    }
    let account: [&[u8]; 2] = [&attempt.domain, &attempt.username];
    let record = state.sign_ins.as_ref().map(|file| pending.record(file.records(), account, password));
    if record.is_some_and(|record| knows(state, record)) {
        pending.prove(password);
        attempt.succeeded(state);
        return Ok(true);
    }
    let has_failed = attempt.has_failed(state);
    let wait = if attempt.origin.is_proxied { WAIT_BEHIND_PROXY } else { WAIT };
    let turn = state.turns.wait(attempt.origin.address, account, is_tenant, has_failed);
    let turn = match timeout(wait, turn).await {
        Ok(Ok(turn)) => turn,
        Ok(Err(_)) | Err(_) => return Err(Refusal::Busy),
    };
    // Others may have failed while this one waited, or tried the same password.
    attempt.check_again(state)?;
    if pending.is_proven(password) {
        attempt.succeeded(state);
        return Ok(true);
    }
    if state.wrong.knows(guess) {
        attempt.failed(state, params);
        return Ok(false);
    }
    let work = pending.work(password.to_owned());
    let (state, params) = (state.clone(), params.clone());
    // If the client hangs up, the work goes on and a failure counts; otherwise guessing
    // would be free. The turn ends with the work.
    let work = move || {
        let _turn = turn;
        // All cores may compute hashes, so the threads that answer requests go first.
        priority::step_back();
        state.metrics.slow_hashes.inc();
        let right = work();
        if right {
            attempt.succeeded(&state);
            if let (Some(file), Some(record)) = (&state.sign_ins, record) {
                file.records().note(record);
            }
        } else {
            state.wrong.remember(guess);
            attempt.failed(&state, &params);
        }
        right
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Busy)
}

/// Whether the password was right in an earlier process.
fn knows(state: &ServerState, record: SignInRecord) -> bool {
    state.sign_ins.as_ref().is_some_and(|file| file.records().knows(record))
}
