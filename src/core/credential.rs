//! Stored passwords: parsed once at load, verified per request.
//!
//! The fast forms (plain, md5, ha1) are verified on the spot, in constant
//! time. The slow ones ($argon2id$, bcrypt, SHA-crypt) are handed back to the
//! caller, who runs them where they block nobody, and remembers a success in
//! the credential itself: the memory of it goes when the row changes.

mod foreign;
mod making;
mod weakness;
mod wrong;

use std::str::FromStr;
use std::sync::{Arc, LazyLock, OnceLock};

use argon2::Argon2;
use hmac::{Hmac, KeyInit, Mac};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::core::problem::Code;

pub use making::{Storage, UnstorablePassword, hash, stored_as};
pub use weakness::Weakness;
pub use wrong::{Guess, WrongPasswords};

/// How `user_auth.password` is stored unless it describes itself (`--pwd-fmt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PwdFmt {
    /// Hexadecimal md5 of the password, either case, as the original had it.
    #[default]
    Md5,
    /// The password itself.
    Plain,
    /// Hexadecimal md5 of `username:realm:password`, as SIP servers keep it.
    Ha1,
    /// Hexadecimal SHA-256 of `username:realm:password`.
    Ha1Sha256,
}

/// Why a stored password can never verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    /// `NULL` or empty.
    #[error("no password is stored, so nobody can sign in with it: set one with `jitsiprovs user passwd`")]
    Empty,
    /// Not of the format of `--pwd-fmt`, nor one that describes itself.
    #[error(
        "the stored password is not in the format of --pwd-fmt, nor a hash that names its own: set it anew with `jitsiprovs user passwd`"
    )]
    Unknown,
    /// A hash of a kind that is not verified here. Taken for a plain password,
    /// its text would sign in.
    #[error(
        "the stored password is a hash of a kind that is not known here, so nobody can sign in with it: set the password with `jitsiprovs user passwd`"
    )]
    Foreign,
    /// Begins like a hash that describes itself, but is none.
    #[error("the stored {0} hash is damaged: set the password anew with `jitsiprovs user passwd`")]
    Damaged(&'static str),
    /// One request would take seconds, or gigabytes.
    #[error(
        "the stored {0} hash asks for more work than one sign-in may cost: set the password anew with `jitsiprovs user passwd`"
    )]
    TooCostly(&'static str),
}

impl UnusableHash {
    /// What kind of finding it is.
    pub fn code(self) -> Code {
        match self {
            UnusableHash::Empty => Code::NoPassword,
            UnusableHash::Unknown
            | UnusableHash::Foreign
            | UnusableHash::Damaged(_)
            | UnusableHash::TooCostly(_) => Code::BadPassword,
        }
    }
}

/// A stored password, ready to be compared. Its `Debug` shows the form only.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Never,
    /// Keyed digest, so that the password itself is not kept in memory.
    Plain(Tag),
    Md5([u8; 16]),
    Ha1(Arc<Ha1>),
    Slow(Arc<SlowHash>),
}

#[derive(PartialEq, Eq)]
struct Ha1 {
    /// `username:realm:`
    prefix: Box<str>,
    digest: Ha1Digest,
}

#[derive(PartialEq, Eq)]
enum Ha1Digest {
    Md5([u8; 16]),
    Sha256([u8; 32]),
}

/// A hash that takes long to verify, by design.
pub struct SlowHash {
    hash: Box<str>,
    scheme: Scheme,
    /// The password that was right before, under this process' key.
    proven: OnceLock<Tag>,
}

/// The same stored hash, whatever is remembered of it.
impl PartialEq for SlowHash {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for SlowHash {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Argon2id,
    Bcrypt,
    ShaCrypt,
}

/// The longest password in bytes that a slow hash is computed of. SHA-crypt
/// takes seconds for some kilobytes, and anybody can send them.
const MAX_SLOW_PASSWORD: usize = 256;

const MD5_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// What comparing a password gave.
pub enum Verdict {
    /// It is the right one.
    Right,
    /// It is not.
    Wrong,
    /// Only [`SlowHash::verify`] can tell.
    Ask(Arc<SlowHash>),
}

/// A keyed digest under a key that only this process knows.
type Tag = [u8; 16];

fn tag(password: &str) -> Tag {
    static KEYED: LazyLock<Hmac<Sha256>> = LazyLock::new(keyed);
    truncated(KEYED.clone().chain_update(password))
}

/// A digest with a new key.
fn keyed() -> Hmac<Sha256> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the system has random numbers");
    Hmac::new_from_slice(&key).expect("HMAC takes keys of any length")
}

fn truncated(digest: Hmac<Sha256>) -> Tag {
    let mut tag = [0; 16];
    tag.copy_from_slice(&digest.finalize().into_bytes()[..16]);
    tag
}

/// What a username and a realm are needed for is `ha1` alone, where they are
/// part of the stored digest.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The username as stored.
    pub username: &'a str,
    /// `--realm`, or the user's domain as stored.
    pub realm: &'a str,
}

impl Credential {
    /// One that no password matches.
    pub const NEVER: Credential = Credential(Form::Never);

    /// Understands a stored password.
    ///
    /// # Errors
    /// When no password could ever match it. The error never shows it.
    pub fn parse(stored: &str, format: PwdFmt, owner: Owner<'_>) -> Result<Credential, UnusableHash> {
        if stored.is_empty() {
            return Err(UnusableHash::Empty);
        }
        if let Some(scheme) = Scheme::of(stored) {
            scheme.check(stored)?;
            let slow = SlowHash { hash: stored.into(), scheme, proven: OnceLock::new() };
            return Ok(Credential(Form::Slow(Arc::new(slow))));
        }
        if foreign::is_hash(stored) {
            return Err(UnusableHash::Foreign);
        }
        let ha1 = |digest| {
            let prefix = format!("{}:{}:", owner.username, owner.realm).into();
            Form::Ha1(Arc::new(Ha1 { prefix, digest }))
        };
        Ok(Credential(match format {
            PwdFmt::Plain => Form::Plain(tag(stored)),
            // That of the empty password, which nobody signs in with.
            PwdFmt::Md5 if stored.eq_ignore_ascii_case(MD5_OF_NOTHING) => return Err(UnusableHash::Empty),
            PwdFmt::Md5 => Form::Md5(unhex(stored)?),
            PwdFmt::Ha1 => ha1(Ha1Digest::Md5(unhex(stored)?)),
            PwdFmt::Ha1Sha256 => ha1(Ha1Digest::Sha256(unhex(stored)?)),
        }))
    }

    /// Compares `password`, in constant time for the fast forms.
    pub fn verify(&self, password: &str) -> Verdict {
        let right = match &self.0 {
            Form::Never => false,
            Form::Plain(stored) => tag(password).ct_eq(stored).into(),
            Form::Md5(stored) => md5::compute(password).0.ct_eq(stored).into(),
            Form::Ha1(ha1) => ha1.verify(password),
            // Before a decoy too: the work may grow with the password.
            Form::Slow(_) if password.len() > MAX_SLOW_PASSWORD => false,
            Form::Slow(slow) if slow.is_proven(password) => true,
            Form::Slow(slow) => return Verdict::Ask(slow.clone()),
        };
        if right { Verdict::Right } else { Verdict::Wrong }
    }

    /// Whether some password can match it.
    pub fn is_usable(&self) -> bool {
        !matches!(self.0, Form::Never)
    }

    /// One that takes as long to verify and knows nothing of its model: what
    /// an unknown user is compared with, so that the time does not tell.
    pub fn decoy(&self) -> Credential {
        match &self.0 {
            Form::Slow(slow) => Credential(Form::Slow(Arc::new(SlowHash {
                hash: slow.hash.clone(),
                scheme: slow.scheme,
                proven: OnceLock::new(),
            }))),
            _ => self.clone(),
        }
    }

    /// Forms of the same kind take the same time to verify.
    pub fn kind(&self) -> HashKind {
        match &self.0 {
            Form::Never => HashKind(0, String::new()),
            Form::Plain(_) => HashKind(1, String::new()),
            Form::Md5(_) => HashKind(2, String::new()),
            Form::Ha1(ha1) if matches!(ha1.digest, Ha1Digest::Md5(_)) => HashKind(3, String::new()),
            Form::Ha1(_) => HashKind(4, String::new()),
            Form::Slow(slow) => HashKind(5, slow.cost().to_owned()),
        }
    }

    /// Takes over what `old` remembers, if it stands for the same stored hash.
    pub fn inherit(&mut self, old: &Credential) {
        if let (Form::Slow(new), Form::Slow(old)) = (&mut self.0, &old.0)
            && new.hash == old.hash
        {
            *new = old.clone();
        }
    }

    /// Bytes of memory behind it, its own size left out.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Never | Form::Plain(_) | Form::Md5(_) => 0,
            Form::Ha1(ha1) => size_of::<Ha1>() + ha1.prefix.len(),
            Form::Slow(slow) => size_of::<SlowHash>() + slow.hash.len(),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Form::Never => "Credential(never)",
            Form::Plain(_) => "Credential(plain)",
            Form::Md5(_) => "Credential(md5)",
            Form::Ha1(_) => "Credential(ha1)",
            Form::Slow(_) => "Credential(slow)",
        })
    }
}

/// See [`Credential::kind`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashKind(u8, String);

impl Ha1 {
    fn verify(&self, password: &str) -> bool {
        match &self.digest {
            Ha1Digest::Md5(stored) => {
                let mut context = md5::Context::new();
                context.consume(self.prefix.as_bytes());
                context.consume(password);
                context.finalize().0.ct_eq(stored).into()
            }
            Ha1Digest::Sha256(stored) => {
                let digest = Sha256::new().chain_update(self.prefix.as_bytes()).chain_update(password);
                digest.finalize().as_slice().ct_eq(stored).into()
            }
        }
    }
}

impl SlowHash {
    /// Computes the hash of `password` and compares. Takes milliseconds to
    /// seconds of processor time: never call it where requests are served.
    pub fn verify(&self, password: &str) -> bool {
        match self.scheme {
            Scheme::Argon2id => argon2::PasswordHash::new(&self.hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            Scheme::Bcrypt => bcrypt::verify(password, &self.hash).unwrap_or(false),
            Scheme::ShaCrypt => sha_crypt::PasswordHashRef::new(&self.hash)
                .is_ok_and(|hash| ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok()),
        }
    }

    /// Whether `password` is the one that was right before. Takes the same time
    /// if none was, which nobody is to find out. Not inlined, for the sake of the
    /// fast forms.
    #[inline(never)]
    pub fn is_proven(&self, password: &str) -> bool {
        let (tag, proven) = (tag(password), self.proven.get());
        let is_same: bool = tag.ct_eq(proven.unwrap_or(&[0; 16])).into();
        is_same && proven.is_some()
    }

    /// Remembers that `password` was right, so that the next request of the
    /// same client costs one keyed digest. Only the first one is remembered.
    pub fn remember(&self, password: &str) {
        self.proven.get_or_init(|| tag(password));
    }

    /// The part of the hash that decides how long it takes.
    fn cost(&self) -> &str {
        let fields = match self.scheme {
            // $argon2id$v=19$m=…,t=…,p=…$salt$hash
            Scheme::Argon2id => 3,
            // $2b$12$salthash
            Scheme::Bcrypt => 2,
            // $6$salt$hash or $6$rounds=…$salt$hash
            Scheme::ShaCrypt if self.hash[3..].starts_with("rounds=") => 2,
            Scheme::ShaCrypt => 1,
        };
        // The first `$` begins the hash and ends no field.
        let end = self.hash.match_indices('$').nth(fields).map_or(self.hash.len(), |(at, _)| at);
        &self.hash[..end]
    }
}

impl Scheme {
    fn of(stored: &str) -> Option<Scheme> {
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

    /// Refuses what could not be verified, or only at a price that would let
    /// one row in the database stop the server.
    fn check(self, stored: &str) -> Result<(), UnusableHash> {
        match self {
            Scheme::Argon2id => {
                let damaged = UnusableHash::Damaged("argon2id");
                let hash = argon2::PasswordHash::new(stored).map_err(|_| damaged)?;
                let params = argon2::Params::try_from(&hash).map_err(|_| damaged)?;
                if hash.salt.is_none() || hash.hash.is_none() {
                    return Err(damaged);
                }
                // KiB: a GiB of memory, a multiple of what anyone recommends.
                let costly = params.m_cost() > 1 << 20 || params.t_cost() > 64;
                if costly { Err(UnusableHash::TooCostly("argon2id")) } else { Ok(()) }
            }
            Scheme::Bcrypt => {
                let parts =
                    bcrypt::HashParts::from_str(stored).map_err(|_| UnusableHash::Damaged("bcrypt"))?;
                if parts.get_cost() > 17 { Err(UnusableHash::TooCostly("bcrypt")) } else { Ok(()) }
            }
            Scheme::ShaCrypt => {
                let damaged = UnusableHash::Damaged("SHA-crypt");
                let fields: Vec<&str> = stored[3..].split('$').collect();
                let (rounds, salt, hash) = match fields[..] {
                    [rounds, salt, hash] => (rounds.strip_prefix("rounds=").ok_or(damaged)?, salt, hash),
                    [salt, hash] => ("5000", salt, hash),
                    _ => return Err(damaged),
                };
                let rounds: u32 = rounds.parse().map_err(|_| damaged)?;
                // Its length, and what the bits left over at its end may be.
                let (length, lasts) = match stored.starts_with("$5$") {
                    true => (43, "./0123456789ABCD"),
                    false => (86, "./01"),
                };
                let crypt64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
                let is_whole = hash.len() == length
                    && hash.bytes().all(crypt64)
                    && hash.ends_with(|c| lasts.contains(c));
                let is_salted = !salt.is_empty() && !salt.starts_with("rounds=");
                if !is_whole || !is_salted || rounds < 1000 {
                    return Err(damaged);
                }
                sha_crypt::PasswordHashRef::new(stored).map_err(|_| damaged)?;
                if rounds > 5_000_000 { Err(UnusableHash::TooCostly("SHA-crypt")) } else { Ok(()) }
            }
        }
    }
}

fn unhex<const N: usize>(text: &str) -> Result<[u8; N], UnusableHash> {
    let digits = text.trim_end_matches(' ').as_bytes();
    if digits.len() != 2 * N {
        return Err(UnusableHash::Unknown);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(UnusableHash::Unknown);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
