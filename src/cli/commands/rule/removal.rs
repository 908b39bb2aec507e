//! `jitsiprovs rule remove`.

use std::process::ExitCode;

use anyhow::{anyhow, bail};

use super::filter::Filter;
use super::no_rule;
use crate::cli::args::{ListFormat, RuleFilter};
use crate::cli::config::TableAccess;
use crate::cli::consent::is_intended;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::listing::{self, RuleListing};
use crate::cli::print::{self, Text};
use crate::core::history::Tool;
use crate::core::model::{Edit, Row, RuleRow, Table};
use crate::ops::edit_session::EditSession;
use crate::ops::edits::Action;
use crate::source::{self, Which};

/// Removes the rules with these ids.
///
/// # Errors
/// When one of them does not exist: then nothing is changed.
pub(super) async fn by_id(mut ids: Vec<i64>, mode: EditMode, tables: &TableAccess) -> anyhow::Result<()> {
    ids.sort_unstable();
    ids.dedup();
    let editing = edit_session::begin(&*tables.source, Which::None, Tool::Command);
    remove(&ids, editing, mode).await
}

async fn remove(ids: &[i64], editing: EditSession<'_>, mode: EditMode) -> anyhow::Result<()> {
    let edits: Vec<Edit> = ids.iter().map(|id| Edit::Remove(Table::JitsiProperty, *id)).collect();
    let removed = EditReport::new(Action::Removed, &edits);
    editing.make(edits, mode.dry_run).await.map_err(|error| match error {
        source::SourceError::Gone { id, .. } => anyhow!("{}; nothing was removed", no_rule(id)),
        _ => error.into(),
    })?;
    mode.report(Text::line(mode.did("removed", listing::rules_of(ids))), removed)
}

/// Shows the rules that a list with the same options shows, asks whether to remove them, and
/// removes them in one transaction. The exit code is 1 if the answer is no.
///
/// # Errors
/// When there is no such rule, when nobody can be asked, or when the rules have changed
/// meanwhile: then nothing is changed.
pub(super) async fn by_filter(
    typed: &RuleFilter,
    yes: bool,
    mode: EditMode,
    tables: &TableAccess,
) -> anyhow::Result<ExitCode> {
    tables.source.editable(Table::JitsiProperty)?;
    let must_ask = mode.must_ask(yes)?;
    let filter = Filter::new(typed, &tables.snapshot);
    let shown = filter.find(tables).await?;
    if shown.is_empty() {
        bail!("no rule matches: `jitsiprovs rule list` with the same options shows which do");
    }
    if mode.format == ListFormat::Table {
        let lines = shown.iter().map(|row| RuleListing::new(row, false, &tables.snapshot).cells());
        print::write(Text::table(&RuleListing::columns(), lines))?;
    }
    if must_ask {
        let these = print::counted(shown.len(), "rule");
        if !is_intended(&format!("{these} will be removed."), "remove them")? {
            print::write(Text::line("nothing was changed"))?;
            return Ok(ExitCode::FAILURE);
        }
    }
    // Not one transaction from the beginning: others would wait while somebody is asked.
    let mut editing = edit_session::begin(&*tables.source, Which::Of(Table::JitsiProperty), Tool::Command);
    let mut found: Vec<RuleRow> = Vec::new();
    editing
        .read(|row| match row {
            Row::Rule(row) if filter.takes(&row) => found.push(row),
            _ => {}
        })
        .await?;
    found.sort_by_key(listing::order);
    if found != shown {
        bail!("these rules have changed meanwhile, or others match now: nothing was changed");
    }
    let mut ids: Vec<i64> = found.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    remove(&ids, editing, mode).await?;
    Ok(ExitCode::SUCCESS)
}
