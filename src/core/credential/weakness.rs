//! How easily a stored password can be guessed if the table is stolen.

use std::str::FromStr;

use super::{Credential, Form, Scheme};

/// Why a stored password is easily guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weakness {
    /// It is the password itself.
    Plain,
    /// Unsalted md5: billions of guesses a second, for all users at once.
    Md5,
    /// Fast, but what SIP servers need.
    Ha1,
    /// A slow hash with too little work. It has the name of the algorithm.
    Cheap(&'static str),
}

/// Below these limits guessing is cheap. They are the minimums that OWASP recommends: bcrypt's
/// cost, argon2's memory in KiB times its passes, and SHA-crypt's rounds.
const BCRYPT: u32 = 10;
const ARGON2: u64 = 7 * 1024 * 5;
const SHA_CRYPT: u32 = 5000;

impl Credential {
    /// Why the stored password is weak; `None` if it is not.
    pub fn weakness(&self) -> Option<Weakness> {
        match &self.0 {
            Form::Never(_) => None,
            Form::Plain(..) => Some(Weakness::Plain),
            Form::Md5(_) => Some(Weakness::Md5),
            Form::Ha1(_) => Some(Weakness::Ha1),
            Form::Slow(slow) => {
                let (is_cheap, name) = match slow.scheme {
                    Scheme::Bcrypt => {
                        let cost = bcrypt::HashParts::from_str(&slow.hash).map(|parts| parts.get_cost());
                        (cost.is_ok_and(|cost| cost < BCRYPT), "bcrypt")
                    }
                    Scheme::Argon2id => {
                        let hash = argon2::PasswordHash::new(&slow.hash);
                        let params = hash.ok().and_then(|hash| argon2::Params::try_from(&hash).ok());
                        let work =
                            params.map(|params| u64::from(params.m_cost()) * u64::from(params.t_cost()));
                        (work.is_some_and(|work| work < ARGON2), "argon2id")
                    }
                    Scheme::ShaCrypt => {
                        let rounds = slow.hash[3..].strip_prefix("rounds=");
                        let rounds = rounds.and_then(|rest| rest.split('$').next()?.parse::<u32>().ok());
                        (rounds.is_some_and(|rounds| rounds < SHA_CRYPT), "SHA-crypt")
                    }
                };
                is_cheap.then_some(Weakness::Cheap(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Owner, PwdFmt};
    use super::*;

    #[test]
    fn what_is_fast_to_guess_is_weak() {
        let of = |stored: &str, format| {
            let owner = Owner { username: "a", realm: "b" };
            Credential::parse(stored, format, owner).expect("usable").weakness()
        };
        let md5 = "00112233445566778899aabbccddeeff";
        assert_eq!(of(md5, PwdFmt::Md5), Some(Weakness::Md5));
        assert_eq!(of(md5, PwdFmt::Ha1), Some(Weakness::Ha1));
        assert_eq!(of(md5, PwdFmt::Plain), Some(Weakness::Plain));
        let salted = "abcdefghijklmnopqrstuuTmzS5VNGHHnjFTCMqgYqb6lBcVBDwsO";
        assert_eq!(of(&format!("$2b$04${salted}"), PwdFmt::Md5), Some(Weakness::Cheap("bcrypt")));
        assert_eq!(of(&format!("$2b$12${salted}"), PwdFmt::Md5), None);
        let argon2 = |m, t| {
            let hash = format!("$argon2id$v=19$m={m},t={t},p=1$c29tZXNhbHQxMjM0${}", "A".repeat(43));
            of(&hash, PwdFmt::Md5)
        };
        assert_eq!(argon2(19456, 2), None);
        assert_eq!(argon2(1024, 1), Some(Weakness::Cheap("argon2id")));
    }
}
