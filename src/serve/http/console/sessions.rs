//! Who has signed in: sessions in memory, found by a cookie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::Operator;

/// The name of the cookie.
pub(super) const COOKIE: &str = "jitsiprovs_console";

/// An operator's session.
pub(super) struct Session {
    operator: Operator,
    csrf: String,
    notice: Mutex<Option<String>>,
}

impl Session {
    /// Who has signed in.
    pub fn operator(&self) -> &Operator {
        &self.operator
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

/// All sessions, by the digest of what their cookie says.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Arc<Session>>>);

impl Sessions {
    /// Begins a session. Returns the value of its cookie.
    pub fn begin(&self, operator: Operator) -> String {
        let (cookie, csrf) = (random(), random());
        let session = Arc::new(Session { operator, csrf, notice: Mutex::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest(&cookie), session);
        cookie
    }

    /// The session that a browser's cookies name.
    pub fn find<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) -> Option<Arc<Session>> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cookies(headers).find_map(|cookie| sessions.get(&digest(cookie)).cloned())
    }

    /// Ends the session.
    pub fn end<'h>(&self, headers: impl Iterator<Item = &'h [u8]>) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for cookie in cookies(headers) {
            sessions.remove(&digest(cookie));
        }
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
