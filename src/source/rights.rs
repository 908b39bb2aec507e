//! Which tables the database lets its account change.

use super::SourceError;
use super::backend::{Backend, Purpose, Session};
use super::database::{Database, begin, begin_attempt, close, undo_attempt};
use super::error::{Failure, FailureKind};
use crate::core::model::Table;

impl<B: Backend> Database<B> {
    /// [`Source::writable`](super::Source::writable)
    ///
    /// It tries a statement that matches no row, because databases check whether they may run a
    /// statement before they look for rows. So nothing here has to understand grants, roles and the
    /// modes of files.
    pub(super) async fn writable_tables(&self) -> Result<[bool; Table::COUNT], SourceError> {
        let mut session = self.backend.connect(Purpose::Prune).await?;
        // A trigger for whole statements runs without a row too, and must leave nothing.
        begin(&mut session, &["BEGIN"]).await?;
        let mut writable = [false; Table::COUNT];
        for table in Table::ALL.into_iter().filter(|table| !self.queries.is_own(*table)) {
            begin_attempt(&mut session).await?;
            let tried = session.run(&format!("trying to write `{table}`"), &changes_nothing(table)).await;
            writable[table as usize] = match tried {
                Ok(()) => true,
                Err(failure) => {
                    let is_refused = is_refusal(&failure);
                    if is_refused.is_none() {
                        return Err(failure.error);
                    }
                    undo_attempt(&mut session).await?;
                    is_refused == Some(false)
                }
            };
        }
        session.run("ending a transaction", "ROLLBACK").await?;
        close(session).await;
        Ok(writable)
    }
}

/// Needs the right to change what edits change most: passwords and values.
fn changes_nothing(table: Table) -> String {
    let changed = table.columns().iter().rfind(|column| column.is_required);
    let name = changed.map_or("id", |column| column.name);
    format!("UPDATE {table} SET {name} = {name} WHERE 1 = 0")
}

/// Whether the database has refused to write the table. `None` if it has not decided that.
fn is_refusal(failure: &Failure) -> Option<bool> {
    match failure.kind {
        FailureKind::ReadOnly => Some(true),
        // An edit says what to do.
        FailureKind::NoTable => Some(false),
        FailureKind::Busy | FailureKind::NoAnswer => None,
        // The database denies it, or something that every edit would meet too.
        _ => (!failure.error.is_unreachable()).then_some(true),
    }
}
