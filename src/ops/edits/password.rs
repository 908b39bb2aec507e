//! New passwords.

use crate::core::conventions::Conventions;
use crate::core::credential::{self, Owner, Storage, UnstorablePassword};
use crate::core::model::{Cell, Edit, Row, UserRow};
use crate::core::secret::Secret;

/// Letters and digits that are not mistaken for each other when somebody reads them out.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// How many of them a new password has: more than 90 bits.
const LENGTH: usize = 16;

/// A random password that can be read out.
pub fn new_password() -> Secret {
    let mut password = String::with_capacity(LENGTH);
    let mut random = [0; 64];
    while password.len() < LENGTH {
        getrandom::fill(&mut random).expect("the system has random numbers");
        // Larger numbers are left out, so that all letters are equally likely.
        let even = random.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < LETTERS.len() * 4);
        let letters = even.map(|byte| char::from(LETTERS[byte % LETTERS.len()]));
        password.extend(letters.take(LENGTH - password.len()));
    }
    Secret::new(password)
}

/// The password of a user as it is stored, which is computed from the names as they are stored.
/// May take a quarter of a second of processor time.
///
/// # Errors
/// When the password cannot be stored in this format.
pub fn stored_password(
    storage: Storage,
    password: &Secret,
    user: &UserRow,
    options: &Conventions,
) -> Result<Cell, UnstorablePassword> {
    let (username, domain) = (user.username.shown(), user.domain.shown());
    let realm = options.realm.as_deref().unwrap_or(&domain);
    let stored = credential::hash(storage, password.reveal(), Owner { username: &username, realm })?;
    Ok(Cell::from(&*stored))
}

/// Gives a user another stored password.
pub fn put_password(now: UserRow, password: Cell) -> Edit {
    let after = Row::User(UserRow { password, ..now.clone() });
    let columns = Row::User(now).differing(&after);
    Edit::Set(after, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_passwords_are_long_and_differ() {
        let (one, other) = (new_password(), new_password());
        assert_eq!((one.reveal().len(), other.reveal().len()), (LENGTH, LENGTH));
        assert!(one != other);
    }
}
