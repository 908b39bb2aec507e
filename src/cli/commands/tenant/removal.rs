//! `jitsiprovs tenant remove`.

use std::process::ExitCode;

use anyhow::bail;

use super::lookup::TenantRecords;
use crate::cli::args::EditArgs;
use crate::cli::consent::is_intended;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::error::usage;
use crate::cli::print::{self, Text};
use crate::core::history::Tool;
use crate::core::model::{Edit, Table};
use crate::ops::edits::Action;
use crate::source::Which;

/// Shows what the tenant has, asks whether to remove it, and removes all of it in one
/// transaction. The exit code is 1 if the answer is no.
///
/// # Errors
/// When there is no such tenant, when nobody can be asked, or when the tenant has changed
/// meanwhile: then nothing is changed.
pub async fn remove(domain: &str, yes: bool, edit: EditArgs) -> anyhow::Result<ExitCode> {
    let (mode, tables) = EditMode::open(edit)?;
    if tables.snapshot.comparison.fold(domain).is_empty() {
        usage("the domain is empty: write the tenant to remove")?;
    }
    let mut shown = TenantRecords::new(domain, &tables.snapshot);
    edit_session::scan(&*tables.source, Which::All, |row| shown.look(row)).await?;
    shown.must_be_there(domain)?;
    for table in Table::ALL.into_iter().filter(|table| shown.count(*table) > 0) {
        tables.source.editable(table)?;
    }
    if mode.must_ask(yes)? {
        print::write(Text::line(format_args!("the tenant {domain} has {}", shown.summary())))?;
        if !is_intended("All of this will be removed.", "remove it")? {
            print::write(Text::line("nothing was changed"))?;
            return Ok(ExitCode::FAILURE);
        }
    }
    // Not one transaction from the beginning: others would wait while somebody is asked.
    let mut editing = edit_session::begin(&*tables.source, Which::All, Tool::Command);
    let mut found = TenantRecords::new(domain, &tables.snapshot);
    editing.read(|row| found.look(row)).await?;
    if found.rows != shown.rows {
        bail!(
            "the tenant {domain} has changed meanwhile, and has {} now: nothing was changed",
            found.summary()
        );
    }
    let edits: Vec<Edit> = found.rows.iter().map(|(table, id)| Edit::Remove(*table, *id)).collect();
    let removed = EditReport::new(Action::Removed, &edits);
    editing.make(edits, mode.dry_run).await?;
    let text = mode.did("removed", format_args!("the tenant {domain}"));
    let text = Text::line(format_args!("{text}: {}", found.summary()));
    mode.report(text, EditReport { tenant: Some(domain.to_owned()), ..removed })?;
    if found.users() > 0 {
        mode.warn(
            "servers withhold such a loss, and let the users in, until you confirm it with `jitsiprovs confirm`",
        );
    }
    Ok(ExitCode::SUCCESS)
}
