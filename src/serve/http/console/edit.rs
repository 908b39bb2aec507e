//! How pages edit the database: only rows that are still as the page showed them.

use std::sync::LazyLock;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::page::text;
use super::reply::Refusal;
use super::visit::Visit;
use crate::core::model::{Edit, Row, Table};
use crate::ops::edit_session::EditSession;
use crate::ops::edits::Refused;
use crate::source::Which;

/// How long a page waits until an edit is served.
const SERVED_WITHIN: Duration = Duration::from_secs(2);

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        Refusal::Bad(refused.0)
    }
}

/// What a form carries to show which state of a row its page was made from. It is keyed, because a
/// plain hash would let others guess a stored password.
pub(super) fn seal(row: &Row) -> String {
    static KEY: LazyLock<Hmac<Sha256>> = LazyLock::new(|| {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has random numbers");
        Hmac::new_from_slice(&key).expect("HMAC takes keys of any length")
    });
    let cells: Vec<_> = row.cells().collect();
    let written = (row.table() as u8, row.id(), cells);
    let bytes = postcard::to_extend(&written, Vec::new()).expect("cells can be written");
    let sealed = KEY.clone().chain_update(bytes).finalize().into_bytes();
    sealed.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Checks that a row is still as it was when it was sealed.
///
/// # Errors
/// [`Refusal::Changed`]
pub(super) fn is_unchanged(row: &Row, sealed: &str) -> Result<(), Refusal> {
    match seal(row).as_bytes().ct_eq(sealed.as_bytes()).into() {
        true => Ok(()),
        false => Err(Refusal::Changed(text("edit", "changed").into())),
    }
}

/// An edit that is in the database.
#[must_use]
pub(super) struct Stored {
    is_served: bool,
}

impl Stored {
    /// What was done, and whether it is not served yet: a reload takes long, or withholds it.
    pub fn words(&self, done: &str) -> String {
        match self.is_served {
            true => done.to_owned(),
            false => format!("{done}; {}", text("edit", "later")),
        }
    }
}

/// Makes the edits of one row in one transaction, and waits a moment until they are served. `make`
/// gets the row as it is now, which is as it was when it was sealed.
///
/// # Errors
/// [`Refusal::Changed`] if it is not; what `make` refuses; or when the database cannot be edited.
/// Then nothing is changed.
pub(super) async fn edit(
    visit: &Visit<'_>,
    (table, id): (Table, i64),
    sealed: &str,
    make: impl FnOnce(Row) -> Result<Vec<Edit>, Refusal>,
) -> Result<Stored, Refusal> {
    let source = &*visit.console.source;
    source.editable(table)?;
    let mut editing = EditSession::new(source, Which::One(table, id), visit.editor(), ());
    let mut now = None;
    editing.read(|row| now = Some(row)).await?;
    let now = now.ok_or_else(|| Refusal::Changed(text("edit", "gone").into()))?;
    is_unchanged(&now, sealed)?;
    finish(visit, editing, make(now)?).await
}

/// Adds rows, as [`edit`].
///
/// # Errors
/// When the database cannot be edited.
pub(super) async fn add(visit: &Visit<'_>, row: Row) -> Result<Stored, Refusal> {
    let source = &*visit.console.source;
    source.editable(row.table())?;
    let editing = EditSession::new(source, Which::None, visit.editor(), ());
    finish(visit, editing, vec![Edit::Add(row)]).await
}

async fn finish(visit: &Visit<'_>, editing: EditSession<'_>, edits: Vec<Edit>) -> Result<Stored, Refusal> {
    if edits.is_empty() {
        return Ok(Stored { is_served: true });
    }
    let before = visit.state.snapshot.load().as_ref().map_or(0, |served| served.version);
    editing.commit(edits, |_| ()).await?;
    Ok(Stored { is_served: visit.state.reload.is_later_than(before, SERVED_WITHIN).await })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::UserRow;

    #[test]
    fn a_seal_says_whether_a_row_is_as_it_was_and_nothing_else() {
        let row = |password: &str| {
            Row::User(UserRow::from_cells(1, ["alice".into(), "a.org".into(), password.into()]))
        };
        let sealed = seal(&row("one"));
        assert!(is_unchanged(&row("one"), &sealed).is_ok());
        assert!(is_unchanged(&row("two"), &sealed).is_err() && is_unchanged(&row("one"), "").is_err());
        assert!(is_unchanged(&row("one").with_id(2), &sealed).is_err());
    }
}
