//! `jitsiprovs tenant set` and `unset`.

use super::lookup::TenantRecords;
use crate::cli::attributes::{AttributeChange, NO_RULES_FOR_DISABLED};
use crate::cli::config::TableAccess;
use crate::cli::edit_session::EditSession;
use crate::cli::error::{ConfigError, usage};
use crate::cli::print::{self, Text};
use crate::core::model::{AttributeRow, Cell, Edit, Row, Table};
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
        Some(domain) if !domain.trim().is_empty() && !domain.contains('=') => Ok((domain, words.collect())),
        _ => usage("write the tenant's domain first, or --all for all tenants"),
    }
}

/// Changes attributes of the tenant `domain`, or of all tenants if that is empty.
///
/// # Errors
/// When the change cannot be made: then nothing is changed.
pub async fn change(domain: &str, change: &AttributeChange, tables: &TableAccess) -> anyhow::Result<()> {
    tables.source.editable(Table::UserAttribute)?;
    let mut editing = EditSession::new(&*tables.source, Which::All);
    let mut found = TenantRecords::new(domain, &tables.snapshot);
    editing.read(|row| found.look(row)).await?;
    let (whose, cell) = match domain {
        "" => ("all tenants", Cell::Null),
        domain => (domain, domain.into()),
    };
    let empty = || Cell::from("");
    let holder = AttributeRow::from_cells(0, [cell, Cell::Null, empty(), empty()]);
    let made = change.edits(&found.own, &holder, whose, &tables.snapshot)?;
    let disabled = made.edits.iter().find_map(|edit| match edit {
        Edit::Add(Row::Attribute(row)) | Edit::Set(Row::Attribute(row), _) => {
            row.name.shown().eq_ignore_ascii_case(DISABLED).then(|| switches_off(&row.value.shown()))
        }
        _ => None,
    });
    let summary = made.summary();
    editing.commit(made.edits, |_| ()).await?;
    print::done(Text::line(format_args!("{whose}: {summary}")));
    if !domain.is_empty() && found.rows.is_empty() {
        print::warn(format_args!("no user has these attributes yet: {}", found.unknown(domain)));
    }
    if disabled == Some(true) {
        print::note(format_args!(
            "all users of {whose} are switched off, except those who have a `{DISABLED}` of their own: after the \
             right password, only rules for the subject user.{DISABLED}=yes apply"
        ));
        if !found.has_rules_for_disabled {
            print::warn(NO_RULES_FOR_DISABLED);
        }
    }
    Ok(())
}
