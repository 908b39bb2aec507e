//! Finds peers that are proxies without being trusted: sign-ins of many accounts fail through
//! them, and their requests say that they were forwarded.
//!
//! The list is bounded. Only failures in such requests take its mutex.

use std::sync::{Mutex, PoisonError};

/// More failing accounts than this are not those of one person.
pub(super) const MANY: usize = 20;
/// How many peers are watched. The one whose window began first makes room.
const WATCHED: usize = 64;

#[derive(Default)]
pub(super) struct Forwarders(Mutex<Vec<Peer>>);

struct Peer {
    owner: u128,
    /// The tick at which the window began.
    start: u32,
    /// Hashes of the accounts that failed since then, at most one more than [`MANY`].
    accounts: Vec<u64>,
    /// The tick of the last report.
    reported: Option<u32>,
}

/// The most memory of the list, in bytes.
pub(super) const BYTES: usize = WATCHED * (size_of::<Peer>() + 2 * (MANY + 1) * size_of::<u64>());

impl Forwarders {
    /// Notes a failure of an account through a peer. Returns whether to report the peer: many
    /// accounts failed within `window`, and the last report was `rest` ago. All times are in ticks.
    pub fn note(&self, owner: u128, account: u64, now: u32, window: u32, rest: u32) -> bool {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = peers.iter().position(|peer| peer.owner == owner).unwrap_or_else(|| {
            if peers.len() >= WATCHED
                && let Some(oldest) = (0..peers.len()).min_by_key(|&at| peers[at].start)
            {
                peers.swap_remove(oldest);
            }
            peers.push(Peer { owner, start: now, accounts: Vec::new(), reported: None });
            peers.len() - 1
        });
        let peer = &mut peers[at];
        if now.saturating_sub(peer.start) >= window {
            peer.accounts.clear();
            peer.start = now;
        }
        if peer.accounts.len() <= MANY && !peer.accounts.contains(&account) {
            peer.accounts.push(account);
        }
        let has_rested = peer.reported.is_none_or(|last| now.saturating_sub(last) >= rest);
        let reports = peer.accounts.len() > MANY && has_rested;
        if reports {
            peer.reported = Some(now);
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_reported_once_in_a_while_when_many_accounts_fail_within_a_window() {
        let forwarders = Forwarders::default();
        let note = |owner, account, now| forwarders.note(owner, account, now, 10, 100);
        assert!((0..20).all(|account| !note(1, account, 0) && !note(1, account, 1)));
        assert!(!note(2, 20, 1) && note(1, 20, 1));
        assert!((0..50).all(|account| !note(1, account, 5)));
        // Another window has other accounts.
        assert!((0..20).all(|account| !note(1, account, 101)));
        assert!(note(1, 20, 101));
        // Others that are forgotten begin again.
        (100..200).for_each(|owner| assert!(!note(owner, 0, 102)));
        assert_eq!(forwarders.0.lock().expect("the list").len(), WATCHED);
    }
}
