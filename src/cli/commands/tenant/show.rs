//! `jitsiprovs tenant show`.

use serde::Serialize;

use super::lookup::TenantRecords;
use crate::cli::args::{ListFormat, Listed};
use crate::cli::attributes::AttributeListing;
use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::listing::ALL_TENANTS;
use crate::cli::print::{self, Text};
use crate::core::attributes::AttributeRef;
use crate::core::model::{AttributeRow, Table};
use crate::ops::edits::level;
use crate::source::Which;

/// A tenant, for programs.
#[derive(Serialize)]
struct TenantReport {
    /// As it was typed; `None` for all tenants.
    domain: Option<String>,
    users: usize,
    rules: usize,
    /// All attributes, also those of its users.
    attribute_rows: usize,
    /// The tenant's own attributes.
    attributes: Vec<AttributeListing>,
}

/// Shows how much a tenant has, and its own attributes. An empty domain stands for what is for
/// all tenants.
///
/// # Errors
/// When there is no such tenant.
pub async fn show(
    domain: &str,
    show_secrets: bool,
    listed: Listed,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    let mut found = TenantRecords::new(domain, &tables.snapshot);
    edit_session::scan(&*tables.source, Which::All, |row| found.look(row)).await?;
    found.must_be_there(domain)?;
    let shown = |row: &AttributeRow| {
        let (name, value) = (row.name.shown().to_ascii_lowercase(), row.value.shown());
        let known = AttributeRef { id: row.id, name: &name, value: &value };
        Some(AttributeListing::new(known, level(row, &tables.snapshot)?, show_secrets))
    };
    let report = TenantReport {
        domain: (!domain.is_empty()).then(|| domain.to_owned()),
        users: found.users(),
        rules: found.count(Table::JitsiProperty),
        attribute_rows: found.count(Table::UserAttribute),
        attributes: found.own.iter().filter_map(shown).collect(),
    };
    if listed.format == ListFormat::Json {
        return print::write(Text::json(&report)?);
    }
    let whose = if domain.is_empty() { ALL_TENANTS } else { domain };
    let mut text = Text::line(format_args!("{whose}: {}", found.summary()));
    match report.attributes.is_empty() {
        true => text.push("no attributes of its own"),
        false => {
            text.push("");
            let rows = report.attributes.iter().map(AttributeListing::cells);
            text.append(Text::listed(&AttributeListing::columns(), rows, listed));
        }
    }
    print::write(text)
}
