//! Hashes passwords for storage, and names the kind of a stored password.

use argon2::{Argon2, PasswordHasher};
use sha_crypt::ShaCrypt;
use sha2::{Digest, Sha256};

use super::{Credential, MAX_SLOW_PASSWORD, Owner, PwdFmt, Scheme, foreign};
use crate::core::params::UNFILLED_PASSWORD;

/// The bytes of a password that bcrypt uses. It ignores the rest.
const MAX_BCRYPT_PASSWORD: usize = 72;
/// This takes a quarter of a second on a current machine.
const BCRYPT_COST: u32 = 12;

/// The formats in which a password can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// `$argon2id$`
    Argon2id,
    /// `$2b$`
    Bcrypt,
    /// `$6$`
    Sha512Crypt,
    /// The format of `--pwd-fmt`.
    Table(PwdFmt),
}

impl Storage {
    /// The default format for a table of `format`. SIP servers read `ha1` from the same table, so
    /// `ha1` stays `ha1`.
    pub fn best_in(format: PwdFmt) -> Storage {
        match format {
            PwdFmt::Md5 | PwdFmt::Plain => Storage::Argon2id,
            PwdFmt::Ha1 | PwdFmt::Ha1Sha256 => Storage::Table(format),
        }
    }

    /// What a server whose `--pwd-fmt` is `format` would take it for; `None` if the server reads
    /// it correctly.
    pub fn mistaken_in(self, format: PwdFmt) -> Option<&'static str> {
        let Storage::Table(own) = self else { return None };
        (own != format).then_some(match format {
            PwdFmt::Plain => "the password itself",
            PwdFmt::Md5 => "the md5 of a password",
            PwdFmt::Ha1 => "the md5 of username:realm:password",
            PwdFmt::Ha1Sha256 => "the SHA-256 of username:realm:password",
        })
    }

    /// The name that `--hash` uses.
    pub fn name(self) -> &'static str {
        match self {
            Storage::Argon2id => "argon2id",
            Storage::Bcrypt => "bcrypt",
            Storage::Sha512Crypt => "sha512-crypt",
            Storage::Table(PwdFmt::Md5) => "md5",
            Storage::Table(PwdFmt::Plain) => "plain",
            Storage::Table(PwdFmt::Ha1) => "ha1",
            Storage::Table(PwdFmt::Ha1Sha256) => "ha1_sha256",
        }
    }
}

/// Why a password cannot be stored in the requested format. It never shows the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnstorablePassword {
    /// Nobody could sign in with an empty password.
    #[error("the password is empty: nobody could sign in with it")]
    Empty,
    /// The server or the hash algorithm would ignore a part of it.
    #[error(
        "the password is longer than {most} bytes, which is the most that can be verified if it is stored as {scheme}: \
         choose a shorter one{instead}"
    )]
    TooLong {
        /// The requested format.
        scheme: &'static str,
        /// The longest password, in bytes.
        most: usize,
        /// An alternative, as the end of the message.
        instead: &'static str,
    },
    /// Clients send this text when they have no password.
    #[error("clients send `{UNFILLED_PASSWORD}` when they have no password: choose another")]
    Unfilled,
    /// If stored as plain text, it would be taken for a hash.
    #[error(
        "the password begins like a hash and would be taken for one: choose another, or another kind of hash"
    )]
    LikeAHash,
}

/// Checks that a password can be stored in this format, without the work of hashing it.
///
/// # Errors
/// When it cannot.
pub fn check_storable(storage: Storage, password: &str) -> Result<(), UnstorablePassword> {
    let (most, instead) = match storage {
        Storage::Bcrypt => (MAX_BCRYPT_PASSWORD, ", or store it as argon2id"),
        Storage::Argon2id | Storage::Sha512Crypt => (MAX_SLOW_PASSWORD, ""),
        Storage::Table(_) => (usize::MAX, ""),
    };
    if password.is_empty() {
        return Err(UnstorablePassword::Empty);
    }
    if password == UNFILLED_PASSWORD {
        return Err(UnstorablePassword::Unfilled);
    }
    if password.len() > most {
        return Err(UnstorablePassword::TooLong { scheme: storage.name(), most, instead });
    }
    let is_plain = storage == Storage::Table(PwdFmt::Plain);
    if is_plain && (Scheme::of(password).is_some() || foreign::is_hash(password)) {
        return Err(UnstorablePassword::LikeAHash);
    }
    Ok(())
}

/// Returns the text to store, so that `password` verifies.
///
/// # Errors
/// When the password cannot be stored in this format.
pub fn hash(storage: Storage, password: &str, owner: Owner<'_>) -> Result<String, UnstorablePassword> {
    check_storable(storage, password)?;
    let owned = || format!("{}:{}:{password}", owner.username, owner.realm);
    Ok(match storage {
        Storage::Argon2id => {
            let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &random::<16>());
            hash.expect("the parameters are the recommended ones").to_string()
        }
        Storage::Bcrypt => {
            let hash = bcrypt::hash_with_salt(password, BCRYPT_COST, random());
            hash.expect("the cost is valid").format_for_version(bcrypt::Version::TwoB)
        }
        Storage::Sha512Crypt => {
            // This encodes to 16 characters; other implementations use no more than that.
            let salt = random::<12>();
            let hash = ShaCrypt::SHA512.hash_password_with_salt(password.as_bytes(), &salt);
            hash.expect("the parameters are the recommended ones").to_string()
        }
        Storage::Table(PwdFmt::Plain) => password.to_owned(),
        Storage::Table(PwdFmt::Md5) => format!("{:x}", md5::compute(password)),
        Storage::Table(PwdFmt::Ha1) => format!("{:x}", md5::compute(owned())),
        Storage::Table(PwdFmt::Ha1Sha256) => {
            Sha256::digest(owned()).iter().map(|byte| format!("{byte:02x}")).collect()
        }
    })
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

/// The kind of a stored password in one word: `none` if there is no password, `unusable` if no
/// password can match it. It never shows the stored text.
pub fn stored_as(stored: &str, format: PwdFmt) -> &'static str {
    let owner = Owner { username: "", realm: "" };
    match (Credential::parse(stored, format, owner), Scheme::of(stored)) {
        (Err(super::UnusableHash::Empty), _) => "none",
        (Err(_), _) => "unusable",
        (Ok(_), Some(Scheme::Argon2id)) => "argon2id",
        (Ok(_), Some(Scheme::Bcrypt)) => "bcrypt",
        (Ok(_), Some(Scheme::ShaCrypt)) if stored.starts_with("$5$") => "sha256-crypt",
        (Ok(_), Some(Scheme::ShaCrypt)) => "sha512-crypt",
        (Ok(_), None) => Storage::Table(format).name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::credential::Verdict;
    use proptest::prelude::*;

    const FORMATS: [PwdFmt; 4] = [PwdFmt::Md5, PwdFmt::Plain, PwdFmt::Ha1, PwdFmt::Ha1Sha256];
    const SLOW: [Storage; 3] = [Storage::Argon2id, Storage::Bcrypt, Storage::Sha512Crypt];
    const OWNER: Owner<'_> = Owner { username: "alice", realm: "a.org" };

    fn matches(stored: &str, format: PwdFmt, owner: Owner<'_>, password: &str) -> bool {
        match Credential::parse(stored, format, owner).expect("usable").verify(password) {
            Verdict::Right => true,
            Verdict::Wrong => false,
            Verdict::Ask(slow) => slow.verify(password),
        }
    }

    #[test]
    fn what_names_its_own_format_is_understood_in_every_table_and_the_rest_in_its_own() {
        for format in FORMATS {
            for storage in SLOW {
                assert_eq!(storage.mistaken_in(format), None);
            }
            for own in FORMATS {
                assert_eq!(Storage::Table(own).mistaken_in(format).is_none(), own == format);
            }
            assert_eq!(Storage::best_in(format).mistaken_in(format), None);
        }
    }

    #[test]
    fn passwords_that_could_never_sign_in_are_refused() {
        let refused = |storage, password: &str| hash(storage, password, OWNER).expect_err(password);
        for storage in SLOW.into_iter().chain(FORMATS.map(Storage::Table)) {
            assert_eq!(refused(storage, ""), UnstorablePassword::Empty);
            assert_eq!(refused(storage, "${password}"), UnstorablePassword::Unfilled);
        }
        let long = "x".repeat(73);
        assert!(matches!(refused(Storage::Bcrypt, &long), UnstorablePassword::TooLong { most: 72, .. }));
        assert!(matches!(
            refused(Storage::Argon2id, &"é".repeat(129)),
            UnstorablePassword::TooLong { most: 256, .. }
        ));
        assert!(matches!(
            refused(Storage::Sha512Crypt, &"x".repeat(257)),
            UnstorablePassword::TooLong { most: 256, .. }
        ));
        for hash in ["$6$is mine", "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0"] {
            assert_eq!(refused(Storage::Table(PwdFmt::Plain), hash), UnstorablePassword::LikeAHash);
        }
        for storage in [Storage::Bcrypt, Storage::Table(PwdFmt::Plain)] {
            let message = refused(storage, &format!("$6${long}")).to_string();
            assert!(!message.contains("xxx"), "{message}");
        }
    }

    #[test]
    fn the_salt_of_sha_crypt_is_no_longer_than_other_programs_read() {
        let stored = hash(Storage::Sha512Crypt, "pw", OWNER).expect("made");
        let salt = stored.rsplit('$').nth(1).expect("a salt");
        assert_eq!(salt.len(), 16, "{stored}");
        assert_ne!(stored, hash(Storage::Sha512Crypt, "pw", OWNER).expect("made"));
    }

    #[test]
    fn how_a_password_is_stored_is_told_in_a_word() {
        for storage in SLOW {
            let stored = hash(storage, "pw", OWNER).expect("made");
            assert_eq!(stored_as(&stored, PwdFmt::Plain), storage.name());
        }
        for format in FORMATS {
            let storage = Storage::Table(format);
            assert_eq!(stored_as(&hash(storage, "pw", OWNER).expect("made"), format), storage.name());
            assert_eq!(stored_as("", format), "none");
            assert_eq!(stored_as("$6$broken", format), "unusable");
        }
        assert_eq!(stored_as("not hexadecimal", PwdFmt::Md5), "unusable");
    }

    proptest! {
        #[test]
        fn what_was_made_verifies_the_password_alone(
            password in ".{1,30}", other in ".{0,30}", username in ".{1,8}", realm in ".{1,8}",
        ) {
            let owner = Owner { username: &username, realm: &realm };
            for format in FORMATS {
                match hash(Storage::Table(format), &password, owner) {
                    Ok(stored) => {
                        prop_assert!(matches(&stored, format, owner, &password));
                        prop_assert_eq!(matches(&stored, format, owner, &other), password == other);
                    }
                    Err(refused) => prop_assert_eq!(refused, UnstorablePassword::LikeAHash),
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]
        #[test]
        fn what_was_made_slowly_verifies_the_password_alone(password in "[a-zé$ ]{1,36}", other in ".{0,30}") {
            prop_assume!(password != other);
            for storage in SLOW {
                let stored = hash(storage, &password, OWNER).expect("short enough");
                prop_assert!(matches(&stored, PwdFmt::Md5, OWNER, &password));
                prop_assert!(!matches(&stored, PwdFmt::Md5, OWNER, &other));
            }
        }
    }
}
