//! `jitsiprovs tenant set` and `unset`.

use super::lookup::TenantRecords;
use crate::cli::args::EditArgs;
use crate::cli::attributes::NO_RULES_FOR_DISABLED;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::error::{ConfigError, usage};
use crate::cli::listing::ALL_TENANTS;
use crate::cli::print::Text;
use crate::core::history::Tool;
use crate::core::model::{AttributeRow, Cell, Edit, Row, Table};
use crate::core::names::is_asterisk;
use crate::ops::edits::AttributeChange;
use crate::snapshot::{DISABLED, switches_off};
use crate::source::Which;

/// The domain, which is empty for all tenants, and the other words.
///
/// # Errors
/// When the domain is missing.
pub fn holder(words: Vec<String>, all: bool) -> Result<(String, Vec<String>), ConfigError> {
    if all {
        return Ok((String::new(), words));
    }
    let mut words = words.into_iter();
    match words.next() {
        Some(domain) if is_asterisk(&domain) => usage("no tenant is called `*`: write --all for all tenants"),
        Some(domain) if !domain.trim().is_empty() && !domain.contains('=') => Ok((domain, words.collect())),
        _ => usage("write the tenant's domain first, or --all for all tenants"),
    }
}

/// Changes attributes of the tenant `domain`, or of all tenants if that is empty.
///
/// # Errors
/// When the change cannot be made: then nothing is changed.
pub async fn change(domain: &str, change: &AttributeChange, edit: EditArgs) -> anyhow::Result<()> {
    let (mode, tables) = EditMode::open(edit)?;
    tables.source.editable(Table::UserAttribute)?;
    let mut editing = edit_session::begin(&*tables.source, Which::All, Tool::Command);
    let mut found = TenantRecords::new(domain, &tables.snapshot);
    editing.read(|row| found.look(row)).await?;
    let (whose, cell) = match domain {
        "" => (ALL_TENANTS, Cell::Null),
        domain => (domain, domain.into()),
    };
    let empty = || Cell::from("");
    let holder = AttributeRow::from_cells(0, [cell, Cell::Null, empty(), empty()]);
    let mut made = change.edits(&found.own, &holder, whose, &tables.snapshot)?;
    let disabled = made.edits.iter().find_map(|edit| match edit {
        Edit::Add(Row::Attribute(row)) | Edit::Set(Row::Attribute(row), _) => {
            row.name.shown().eq_ignore_ascii_case(DISABLED).then(|| switches_off(&row.value.shown()))
        }
        _ => None,
    });
    let text = Text::line(format_args!("{whose}: {}", made.summary(mode)));
    let tenant = Some(domain.to_owned()).filter(|domain| !domain.is_empty());
    let report = EditReport { tenant, ..made.report() };
    editing.make(made.edits, mode.dry_run).await?;
    mode.report(text, report)?;
    if !domain.is_empty() && found.rows.is_empty() {
        mode.warn(format_args!("no user has these attributes yet: {}", found.unknown(domain)));
    }
    if disabled == Some(true) {
        mode.note(format_args!(
            "all users of {whose} are switched off, except those who have a `{DISABLED}` of their own: after the \
             right password, only rules for the subject user.{DISABLED}=yes apply"
        ));
        if !found.has_rules_for_disabled {
            mode.warn(NO_RULES_FOR_DISABLED);
        }
    }
    Ok(())
}
