//! Hashes that are slow by design: argon2id, bcrypt and SHA-crypt.

use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::OnceLock;

use argon2::Argon2;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use subtle::ConstantTimeEq;

use super::{Tag, UnusableHash, tag};

/// A hash that is slow to verify by design.
pub struct SlowHash {
    pub(super) hash: Box<str>,
    pub(super) scheme: Scheme,
    /// A keyed digest of the password that was right before.
    proven: OnceLock<Tag>,
}

/// Hashes are equal if their stored text is equal, whatever they remember.
impl PartialEq for SlowHash {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for SlowHash {}

impl Hash for SlowHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Argon2id,
    Bcrypt,
    ShaCrypt,
}

impl SlowHash {
    /// Creates a slow hash. `hash` must have passed [`Scheme::check`].
    pub(super) fn new(hash: Box<str>, scheme: Scheme) -> SlowHash {
        SlowHash { hash, scheme, proven: OnceLock::new() }
    }

    /// The same hash without the remembered password.
    pub(super) fn unproven(&self) -> SlowHash {
        SlowHash::new(self.hash.clone(), self.scheme)
    }

    /// Computes the hash of `password` and compares it. This takes milliseconds to seconds of
    /// processor time: never call it on a thread that serves requests.
    pub fn verify(&self, password: &str) -> bool {
        match self.scheme {
            Scheme::Argon2id => argon2::PasswordHash::new(&self.hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            Scheme::Bcrypt => bcrypt::verify(password, &self.hash).unwrap_or(false),
            Scheme::ShaCrypt => sha_crypt::PasswordHashRef::new(&self.hash)
                .is_ok_and(|hash| ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok()),
        }
    }

    /// Whether `password` is the one that was right before. It takes the same time if no password
    /// is remembered, so that clients cannot notice. It is not inlined, to keep the fast forms
    /// fast.
    #[inline(never)]
    pub fn is_proven(&self, password: &str) -> bool {
        let (tag, proven) = (tag(password), self.proven.get());
        let is_same: bool = tag.ct_eq(proven.unwrap_or(&[0; 16])).into();
        is_same && proven.is_some()
    }

    /// Remembers that `password` was right, so that the client's next request costs only one
    /// keyed digest. Later passwords are not remembered.
    pub fn remember(&self, password: &str) {
        self.proven.get_or_init(|| tag(password));
    }

    /// The part of the hash that decides how long verification takes.
    pub fn cost(&self) -> &str {
        let fields = match self.scheme {
            // $argon2id$v=19$m=…,t=…,p=…$salt$hash
            Scheme::Argon2id => 3,
            // $2b$12$salthash
            Scheme::Bcrypt => 2,
            // $6$salt$hash or $6$rounds=…$salt$hash
            Scheme::ShaCrypt if self.hash[3..].starts_with("rounds=") => 2,
            Scheme::ShaCrypt => 1,
        };
        // The first `$` begins the hash and does not end a field.
        let end = self.hash.match_indices('$').nth(fields).map_or(self.hash.len(), |(at, _)| at);
        &self.hash[..end]
    }
}

impl Scheme {
    pub(super) fn of(stored: &str) -> Option<Scheme> {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| stored.starts_with(prefix));
        if begins(&["$argon2id$"]) {
            Some(Scheme::Argon2id)
        } else if begins(&["$2a$", "$2b$", "$2y$"]) {
            Some(Scheme::Bcrypt)
        } else if begins(&["$5$", "$6$"]) {
            Some(Scheme::ShaCrypt)
        } else {
            None
        }
    }

    /// Refuses a hash that cannot be verified, or that is so expensive that a single row in the
    /// database could stop the server.
    pub(super) fn check(self, stored: &str) -> Result<(), UnusableHash> {
        match self {
            Scheme::Argon2id => check_argon2id(stored),
            Scheme::Bcrypt => check_bcrypt(stored),
            Scheme::ShaCrypt => check_sha_crypt(stored),
        }
    }
}

fn check_argon2id(stored: &str) -> Result<(), UnusableHash> {
    let damaged = UnusableHash::Damaged("argon2id");
    let hash = argon2::PasswordHash::new(stored).map_err(|_| damaged)?;
    let params = argon2::Params::try_from(&hash).map_err(|_| damaged)?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(damaged);
    }
    // `m_cost` is in KiB. The limit is 1 GiB, many times more than anybody recommends.
    let costly = params.m_cost() > 1 << 20 || params.t_cost() > 64;
    if costly { Err(UnusableHash::TooCostly("argon2id")) } else { Ok(()) }
}

fn check_bcrypt(stored: &str) -> Result<(), UnusableHash> {
    let parts = bcrypt::HashParts::from_str(stored).map_err(|_| UnusableHash::Damaged("bcrypt"))?;
    if parts.get_cost() > 17 { Err(UnusableHash::TooCostly("bcrypt")) } else { Ok(()) }
}

fn check_sha_crypt(stored: &str) -> Result<(), UnusableHash> {
    let damaged = UnusableHash::Damaged("SHA-crypt");
    let fields: Vec<&str> = stored[3..].split('$').collect();
    let (rounds, salt, hash) = match fields[..] {
        [rounds, salt, hash] => (rounds.strip_prefix("rounds=").ok_or(damaged)?, salt, hash),
        [salt, hash] => ("5000", salt, hash),
        _ => return Err(damaged),
    };
    let rounds: u32 = rounds.parse().map_err(|_| damaged)?;
    // The length of the hash, and the characters that can be its last: its unused bits are zero.
    let (length, lasts) = match stored.starts_with("$5$") {
        true => (43, "./0123456789ABCD"),
        false => (86, "./01"),
    };
    let crypt64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let is_whole = hash.len() == length && hash.bytes().all(crypt64) && hash.ends_with(|c| lasts.contains(c));
    let is_salted = !salt.is_empty() && !salt.starts_with("rounds=");
    if !is_whole || !is_salted || rounds < 1000 {
        return Err(damaged);
    }
    sha_crypt::PasswordHashRef::new(stored).map_err(|_| damaged)?;
    if rounds > 5_000_000 { Err(UnusableHash::TooCostly("SHA-crypt")) } else { Ok(()) }
}
