//! Who has signed in: sessions in memory, found by a cookie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Operator;
use super::accounts::Account;

/// The name of the cookie.
pub(super) const COOKIE: &str = "jitsiprovs_console";
/// How long a session lasts without a request.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a session lasts at most.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// The most sessions. For one more, the one that was idle for longest ends.
const MOST: usize = 1000;

/// An operator's session.
pub(super) struct Session {
    account: Account,
    csrf: String,
    notice: Mutex<Option<String>>,
}

impl Session {
    /// Who has signed in.
    pub fn operator(&self) -> &Operator {
        &self.account.operator
    }

    /// The account as it was at the sign-in.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The token that each form of this session must carry.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Keeps a sentence for the next page.
    pub fn note(&self, what: impl Into<String>) {
        *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.into());
    }

    /// Takes the sentence that was kept.
    pub fn take_notice(&self) -> Option<String> {
        self.notice.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Kept {
    session: Arc<Session>,
    begun: Instant,
    used: Instant,
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        let since = |then| now.saturating_duration_since(then);
        since(self.used) >= IDLE || since(self.begun) >= LONGEST
    }
}

/// All sessions, by the digest of what their cookie says.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Kept>>);

impl Sessions {
    /// Begins a session. Returns the value of its cookie, which is a new one, so that nobody can
    /// know it before.
    pub fn begin(&self, account: Account, now: Instant) -> String {
        let (cookie, csrf) = (random(), random());
        let session = Arc::new(Session { account, csrf, notice: Mutex::default() });
        let mut sessions = self.open();
        sessions.retain(|_, kept| !kept.is_over(now));
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(digest(&cookie), Kept { session, begun: now, used: now });
        cookie
    }

    /// The session that a browser's cookies name. It is used now.
    pub fn find<'h>(&self, headers: impl Iterator<Item = &'h [u8]>, now: Instant) -> Option<Arc<Session>> {
        let mut sessions = self.open();
        cookies(headers).find_map(|cookie| {
            let kept = sessions.get_mut(&digest(cookie)).filter(|kept| !kept.is_over(now))?;
            kept.used = now;
            Some(kept.session.clone())
        })
    }

    /// Ends the session.
    pub fn end<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) {
        let mut sessions = self.open();
        for cookie in cookies(headers) {
            sessions.remove(&digest(cookie));
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cookies<'h>(headers: impl Iterator<Item = &'h [u8]>) -> impl Iterator<Item = &'h str> {
    let pairs = headers.filter_map(|header| str::from_utf8(header).ok()).flat_map(|header| header.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == COOKIE).map(|(_, v)| v)
}

fn digest(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

/// 256 random bits.
fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::Comparison;
    use crate::serve::http::console::accounts::tests::account;

    fn find(sessions: &Sessions, cookie: &str, now: Instant) -> Option<Arc<Session>> {
        let header = format!("other=1; {COOKIE}={cookie}");
        sessions.find([header.as_bytes()].into_iter(), now)
    }

    #[test]
    fn a_session_ends_when_it_is_idle_or_old() {
        let (sessions, begun) = (Sessions::default(), Instant::now());
        let cookie = sessions.begin(account("one", Comparison::Folded), begun);
        let minutes = |count: u64| begun + Duration::from_secs(60 * count);
        for minute in (29..720).step_by(29) {
            assert!(find(&sessions, &cookie, minutes(minute)).is_some(), "{minute}");
        }
        assert!(find(&sessions, &cookie, minutes(720)).is_none());
        let cookie = sessions.begin(account("one", Comparison::Folded), begun);
        assert!(find(&sessions, "", begun).is_none());
        assert!(find(&sessions, &cookie, minutes(30)).is_none());
    }

    #[test]
    fn of_too_many_sessions_the_one_idle_for_longest_ends() {
        let (sessions, begun) = (Sessions::default(), Instant::now());
        let one = account("one", Comparison::Folded);
        let cookies: Vec<String> = (0..MOST as u64)
            .map(|at| sessions.begin(one.clone(), begun + Duration::from_millis(at)))
            .collect();
        let now = begun + Duration::from_secs(10);
        assert!(find(&sessions, &cookies[0], now).is_some());
        let new = sessions.begin(one, now);
        for (cookie, is_there) in [(&cookies[0], true), (&cookies[1], false), (&new, true)] {
            assert_eq!(find(&sessions, cookie, now).is_some(), is_there);
        }
        sessions.end([format!("{COOKIE}={new}").as_bytes()].into_iter());
        assert!(find(&sessions, &new, now).is_none());
    }
}
