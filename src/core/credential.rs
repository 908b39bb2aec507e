//! Stored passwords. They are parsed once at load and verified at each request.
//!
//! The fast forms (plain, md5, ha1) are verified immediately, in constant time. A slow hash
//! (argon2id, bcrypt, SHA-crypt) is returned to the caller, who verifies it on a blocking thread.
//! A slow hash remembers the right password until the row changes.

mod foreign;
mod look;
mod making;
mod records;
mod slow;
mod weakness;
mod wrong;

use std::sync::{Arc, LazyLock};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::core::problem::Code;

pub use look::{Fit, Look};
pub use making::{Storage, UnstorablePassword, check_storable, hash, stored_as};
pub use records::{NotRecords, SignInRecord, SignInRecords};
pub use slow::SlowHash;
pub use weakness::Weakness;
pub use wrong::{Guess, WrongPasswords};

use slow::Scheme;

/// The format of `user_auth.password`, unless the stored hash names its own (`--pwd-fmt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PwdFmt {
    /// Hexadecimal md5 of the password in upper or lower case, as in the original.
    #[default]
    Md5,
    /// The password itself.
    Plain,
    /// Hexadecimal md5 of `username:realm:password`, as SIP servers store it.
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
    /// Neither in the format of `--pwd-fmt` nor a hash that names its own format.
    #[error(
        "the stored password is neither in the configured format nor a hash that names its own: set the password again with `jitsiprovs user passwd`"
    )]
    Unknown,
    /// A hash of a kind that this server cannot verify. It must not be taken for a plain
    /// password: otherwise anybody who reads the table could sign in with the hash itself.
    #[error(
        "the stored password is a hash of an unknown kind, so nobody can sign in with it: set the password with `jitsiprovs user passwd`"
    )]
    Foreign,
    /// It begins like a hash that names its format, but is not valid.
    #[error("the stored {0} hash is damaged: set the password again with `jitsiprovs user passwd`")]
    Damaged(&'static str),
    /// Verifying it would take seconds of processor time or gigabytes of memory.
    #[error(
        "the stored {0} hash takes more work to verify than one sign-in may cost: set the password again with `jitsiprovs user passwd`"
    )]
    TooCostly(&'static str),
}

impl UnusableHash {
    /// The code of the finding.
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

/// A parsed password that can be compared. Its `Debug` shows only the form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credential(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    /// No password matches. If the stored one is in no known format: what it looks like.
    Never(Option<Look>),
    /// A keyed digest, so that the password itself is not kept in memory, and what it looks
    /// like.
    Plain(Tag, Look),
    Md5([u8; 16]),
    Ha1(Arc<Ha1>),
    Slow(Arc<SlowHash>),
}

#[derive(PartialEq, Eq, Hash)]
struct Ha1 {
    /// `username:realm:`
    prefix: Box<str>,
    digest: Ha1Digest,
}

#[derive(PartialEq, Eq, Hash)]
enum Ha1Digest {
    Md5([u8; 16]),
    Sha256([u8; 32]),
}

/// The longest password, in bytes, for which a slow hash is computed. SHA-crypt takes seconds for
/// a few kilobytes, and anybody can send them.
const MAX_SLOW_PASSWORD: usize = 256;

const MD5_OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// The result of comparing a password.
pub enum Verdict {
    /// The password is right.
    Right,
    /// It is wrong.
    Wrong,
    /// Only [`SlowHash::verify`] can tell.
    Ask(Arc<SlowHash>),
}

/// A digest with a key that only this process knows.
type Tag = [u8; 16];

fn tag(password: &str) -> Tag {
    static KEYED: LazyLock<Hmac<Sha256>> = LazyLock::new(keyed);
    truncated(KEYED.clone().chain_update(password))
}

/// Starts a digest with a new random key.
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

/// The user who owns a stored password. Only `ha1` uses it, as a part of the digest.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The username as stored.
    pub username: &'a str,
    /// `--realm`, or the user's domain as stored.
    pub realm: &'a str,
}

impl Credential {
    /// A credential that no password matches.
    pub const NEVER: Credential = Credential(Form::Never(None));

    /// A credential that no password matches, because [`Credential::parse`] has refused the
    /// stored one for this reason.
    pub fn unusable(stored: &str, why: UnusableHash) -> Credential {
        Credential(Form::Never((why == UnusableHash::Unknown).then(|| Look::of(stored))))
    }

    /// Parses a stored password.
    ///
    /// # Errors
    /// When no password can ever match it. The error never shows the stored text.
    pub fn parse(stored: &str, format: PwdFmt, owner: Owner<'_>) -> Result<Credential, UnusableHash> {
        if stored.is_empty() {
            return Err(UnusableHash::Empty);
        }
        if let Some(scheme) = Scheme::of(stored) {
            scheme.check(stored)?;
            return Ok(Credential(Form::Slow(Arc::new(SlowHash::new(stored.into(), scheme)))));
        }
        if foreign::is_hash(stored) {
            return Err(UnusableHash::Foreign);
        }
        let ha1 = |digest| {
            let prefix = format!("{}:{}:", owner.username, owner.realm).into();
            Form::Ha1(Arc::new(Ha1 { prefix, digest }))
        };
        Ok(Credential(match format {
            PwdFmt::Plain => Form::Plain(tag(stored), Look::of(stored)),
            // The digest of the empty password, which is never accepted.
            PwdFmt::Md5 if stored.eq_ignore_ascii_case(MD5_OF_NOTHING) => return Err(UnusableHash::Empty),
            PwdFmt::Md5 => Form::Md5(unhex(stored)?),
            PwdFmt::Ha1 => ha1(Ha1Digest::Md5(unhex(stored)?)),
            PwdFmt::Ha1Sha256 => ha1(Ha1Digest::Sha256(unhex(stored)?)),
        }))
    }

    /// Compares `password`, in constant time for the fast forms.
    pub fn verify(&self, password: &str) -> Verdict {
        let right = match &self.0 {
            Form::Never(_) => false,
            Form::Plain(stored, _) => tag(password).ct_eq(stored).into(),
            Form::Md5(stored) => md5::compute(password).0.ct_eq(stored).into(),
            Form::Ha1(ha1) => ha1.verify(password),
            // This also applies to decoys, because the work may grow with the length.
            Form::Slow(_) if password.len() > MAX_SLOW_PASSWORD => false,
            Form::Slow(slow) if slow.is_proven(password) => true,
            Form::Slow(slow) => return Verdict::Ask(slow.clone()),
        };
        if right { Verdict::Right } else { Verdict::Wrong }
    }

    /// Whether any password can match it.
    pub fn is_usable(&self) -> bool {
        !matches!(self.0, Form::Never(_))
    }

    /// A credential that takes as long to verify and remembers nothing. The password of an
    /// unknown user is compared with a decoy, so that the response time does not reveal that the
    /// user is unknown.
    pub fn decoy(&self) -> Credential {
        match &self.0 {
            Form::Slow(slow) => Credential(Form::Slow(Arc::new(slow.unproven()))),
            _ => self.clone(),
        }
    }

    /// The slow hash, if it is one.
    pub fn slow(&self) -> Option<&Arc<SlowHash>> {
        match &self.0 {
            Form::Slow(slow) => Some(slow),
            _ => None,
        }
    }

    /// The kind of the form. Forms of the same kind take the same time to verify.
    pub fn kind(&self) -> HashKind {
        match &self.0 {
            Form::Never(_) => HashKind(0, String::new()),
            Form::Plain(..) => HashKind(1, String::new()),
            Form::Md5(_) => HashKind(2, String::new()),
            Form::Ha1(ha1) if matches!(ha1.digest, Ha1Digest::Md5(_)) => HashKind(3, String::new()),
            Form::Ha1(_) => HashKind(4, String::new()),
            Form::Slow(slow) => HashKind(5, slow.cost().to_owned()),
        }
    }

    /// The bytes of the stored password, or of a keyed digest of it: equal for users whose
    /// stored passwords are equal.
    pub fn stored(&self) -> &[u8] {
        match &self.0 {
            Form::Never(_) => &[],
            Form::Plain(tag, _) => tag,
            Form::Md5(digest) => digest,
            Form::Ha1(ha1) => match &ha1.digest {
                Ha1Digest::Md5(digest) => digest,
                Ha1Digest::Sha256(digest) => digest,
            },
            Form::Slow(slow) => slow.hash.as_bytes(),
        }
    }

    /// Takes over what `old` remembers, if both have the same stored hash.
    pub fn inherit(&mut self, old: &Credential) {
        if let (Form::Slow(new), Form::Slow(old)) = (&mut self.0, &old.0)
            && new.hash == old.hash
        {
            *new = old.clone();
        }
    }

    /// Bytes that it uses on the heap, without its own size.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Never(_) | Form::Plain(..) | Form::Md5(_) => 0,
            Form::Ha1(ha1) => size_of::<Ha1>() + ha1.prefix.len(),
            Form::Slow(slow) => size_of::<SlowHash>() + slow.hash.len(),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Form::Never(_) => "Credential(never)",
            Form::Plain(..) => "Credential(plain)",
            Form::Md5(_) => "Credential(md5)",
            Form::Ha1(_) => "Credential(ha1)",
            Form::Slow(_) => "Credential(slow)",
        })
    }
}

/// The kind of a credential, for [`Credential::kind`].
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
