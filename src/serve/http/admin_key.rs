//! Keyed hashes of rows, which are useful only with the secret of `--admin-secret-file`.
//!
//! A plain hash of a row would give away the password in it: an attacker could try
//! words until one fits. So a node only sends hashes keyed with a secret, which the
//! operator gives to all nodes and to `jitsiprovs diff`. The secret itself is never
//! sent.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::core::model::Table;
use crate::core::secret::Secret;

/// The shortest secret, in bytes: one that can be guessed protects nothing.
pub const SHORTEST: usize = 32;

/// The secret, ready for use.
#[derive(Clone)]
pub struct AdminKey(Hmac<Sha256>);

impl AdminKey {
    /// Creates the key from a secret of any length.
    pub fn new(secret: &Secret) -> AdminKey {
        AdminKey(Hmac::new_from_slice(secret.reveal().as_bytes()).expect("HMAC takes keys of any length"))
    }

    /// The keyed hash of a row with this [`content`](crate::snapshot::content).
    pub fn row(&self, table: Table, id: i64, content: u64) -> u64 {
        let table = [table as u8];
        first(self.keyed("row", &[&table, &id.to_be_bytes(), &content.to_be_bytes()]))
    }

    /// The keyed hash of all rows, from their `digest`.
    pub fn digest(&self, digest: u64) -> u64 {
        first(self.keyed("digest", &[&digest.to_be_bytes()]))
    }

    /// Proves that a client that requests `target` has the secret. This is the value of
    /// the header `Authorization`.
    pub fn proof(&self, target: &str) -> String {
        let proof = self.keyed("proof", &[target.as_bytes()]).finalize().into_bytes();
        proof.iter().fold(String::from("jitsiprovs "), |text, byte| format!("{text}{byte:02x}"))
    }

    /// Whether `given` is the [`proof`](AdminKey::proof) for `target`.
    pub fn is_proof(&self, target: &str, given: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.proof(target).as_bytes(), given).into()
    }

    /// The key for records of right passwords.
    pub fn of_sign_ins(&self) -> Hmac<Sha256> {
        let key = self.keyed("sign-ins", &[]).finalize().into_bytes();
        Hmac::new_from_slice(&key).expect("HMAC takes keys of any length")
    }

    /// `what` names the purpose, so that a hash cannot be used for another purpose.
    fn keyed(&self, what: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let named = self.0.clone().chain_update(what).chain_update([0]);
        parts.iter().fold(named, |keyed, part| keyed.chain_update(part))
    }
}

fn first(keyed: Hmac<Sha256>) -> u64 {
    let bytes = keyed.finalize().into_bytes();
    u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_depends_on_the_secret_and_on_all_of_what_it_is_told_of() {
        let (one, other) = (AdminKey::new(&Secret::new("one")), AdminKey::new(&Secret::new("other")));
        let told = [
            one.row(Table::UserAuth, 1, 2),
            one.row(Table::UserAuth, 2, 2),
            one.row(Table::UserAuth, 1, 3),
            one.row(Table::JitsiProperty, 1, 2),
            one.digest(2),
            other.row(Table::UserAuth, 1, 2),
            other.digest(2),
        ];
        for (at, first) in told.iter().enumerate() {
            assert!(!told[..at].contains(first), "{told:?}");
        }
        let proof = one.proof("/rows?a=1");
        assert!(one.is_proof("/rows?a=1", proof.as_bytes()));
        assert!(
            !one.is_proof("/rows?a=2", proof.as_bytes()) && !other.is_proof("/rows?a=1", proof.as_bytes())
        );
        assert!(!one.is_proof("/rows?a=1", b"") && !one.is_proof("/rows?a=1", &proof.as_bytes()[..20]));
    }
}
