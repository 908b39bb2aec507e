//! Warns if clients remove again, or ignore, what a rule sets.

use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::print;
use crate::core::model::{Row, RuleRow, Table};
use crate::ops::check::Undoing;
use crate::ops::edits::undone_by;
use crate::source::Which;

/// Warns of the rules that undo `row`, which is new or changed.
///
/// # Errors
/// When the tables cannot be read.
pub(super) async fn warn_if_undone(row: &RuleRow, tables: &TableAccess) -> anyhow::Result<()> {
    let mut undoing = Undoing::new(row, &tables.snapshot);
    edit_session::scan(&*tables.source, Which::Of(Table::JitsiProperty), |known| {
        if let Row::Rule(known) = known {
            undoing.look(known);
        }
    })
    .await?;
    for (code, id) in undoing.found() {
        print::warn(undone_by(code, id));
    }
    Ok(())
}
