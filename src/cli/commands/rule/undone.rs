//! Warns if clients remove again, or ignore, what a rule sets.

use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::print;
use crate::core::model::{Row, RuleRow, Table};
use crate::core::problem::Code;
use crate::ops::check::Undoing;
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
        print::warn(match code {
            Code::EnforcePrefixUndoes => format!(
                "clients remove this property again, because the list in rule {id} (ENFORCE_PREFIX) has no prefix \
                 of its key: add one, or give rule {id} smaller priorities"
            ),
            Code::AllowPrefixDrops => format!(
                "clients ignore this property, because the list in rule {id} (ALLOW_PREFIX) has no prefix of its \
                 key: add one"
            ),
            _ => format!(
                "clients remove this property again, because of rule {id}: give rule {id} smaller priorities, or \
                 this rule larger ones"
            ),
        });
    }
    Ok(())
}
