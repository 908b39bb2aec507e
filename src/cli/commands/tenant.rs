//! `jitsiprovs tenant`: lists, shows, changes and removes tenants.

mod attributes;
mod lookup;
mod removal;
mod show;

use std::process::ExitCode;

use hashbrown::{HashMap, HashSet};
use serde::Serialize;

use crate::cli::args::{self, Listed};
use crate::cli::attributes::names as attribute_names;
use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::listing::ALL_TENANTS;
use crate::cli::print::{self, number, text};
use crate::core::model::{Row, Table};
use crate::core::names::Folded;
use crate::ops::edits::{Assignment, AttributeChange};
use crate::source::Which;

/// A tenant as lists show it.
#[derive(Serialize)]
struct TenantListing {
    /// The domain as the first row spells it; `None` for rules that apply to all tenants.
    domain: Option<String>,
    users: usize,
    rules: usize,
    /// Its own attributes, and those of its users.
    attributes: usize,
}

/// The counts of one tenant.
#[derive(Default)]
struct Counted {
    /// The first row with the domain (its table and its id), and its spelling.
    first: Option<(Table, i64, String)>,
    /// Users by name, because several rows may have the same name.
    users: HashSet<Folded>,
    rules: usize,
    attributes: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn tenant(options: args::TenantCommand) -> anyhow::Result<ExitCode> {
    match options {
        args::TenantCommand::List { listed, tables } => list(listed, &TableAccess::new(tables)?).await?,
        args::TenantCommand::Show { domain, all: _, show_secrets, listed, tables } => {
            let domain = domain.unwrap_or_default();
            show::show(&domain, show_secrets, listed, &TableAccess::new(tables)?).await?;
        }
        args::TenantCommand::Set { words, all, set: args::SetArgs { value_stdin, edit } } => {
            let (domain, values) = attributes::holder(words, all)?;
            let change = AttributeChange::Set(Assignment::read(&values, value_stdin.as_deref())?);
            attributes::change(&domain, &change, edit).await?;
        }
        args::TenantCommand::Unset { words, all, edit } => {
            let (domain, names) = attributes::holder(words, all)?;
            let change = AttributeChange::Unset { names: attribute_names(&names)?, may_lack: false };
            attributes::change(&domain, &change, edit).await?;
        }
        args::TenantCommand::Remove { domain, yes, edit } => {
            return removal::remove(&domain, yes, edit).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists tenants: domains that have users, rules or attributes.
async fn list(listed: Listed, tables: &TableAccess) -> anyhow::Result<()> {
    let options = &tables.snapshot;
    let mut tenants: HashMap<Folded, Counted> = HashMap::new();
    edit_session::scan(&*tables.source, Which::All, |row| {
        let domain = match &row {
            Row::User(row) => &row.domain,
            Row::Rule(row) => &row.domain,
            Row::Attribute(row) => &row.domain,
        };
        let is_user = row.table() == Table::UserAuth;
        let name = match &row {
            Row::User(row) => options.fold(&row.username),
            Row::Rule(_) | Row::Attribute(_) => None,
        };
        let folded = match (options.fold(domain), &name) {
            (Some(domain), Some(name)) if !options.can_be_user(name, &domain) => return,
            (Some(domain), _) => domain,
            // The domain is NULL or cannot be read.
            (None, _) if !is_user && domain.text().is_ok() => Folded::new(),
            (None, _) => return,
        };
        if is_user && name.is_none() {
            return;
        }
        let counted = tenants.entry(folded).or_default();
        let seen = (row.table(), row.id(), domain.shown().into_owned());
        if counted.first.as_ref().is_none_or(|first| seen < *first) {
            counted.first = Some(seen);
        }
        counted.users.extend(name);
        counted.rules += usize::from(row.table() == Table::JitsiProperty);
        counted.attributes += usize::from(row.table() == Table::UserAttribute);
    })
    .await?;
    let mut tenants: Vec<(Folded, Counted)> = tenants.into_iter().collect();
    tenants.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let shown = tenants.into_iter().map(|(folded, counted)| TenantListing {
        domain: counted.first.map(|(_, _, domain)| domain).filter(|_| !folded.is_empty()),
        users: counted.users.len(),
        rules: counted.rules,
        attributes: counted.attributes,
    });
    let shown: Vec<TenantListing> = shown.collect();
    let columns = [text("DOMAIN"), number("USERS"), number("RULES"), number("ATTRIBUTES")];
    print::list(listed, &shown, &columns, |tenant| {
        let domain = tenant.domain.clone().unwrap_or_else(|| ALL_TENANTS.into());
        let counts = [tenant.users, tenant.rules, tenant.attributes];
        std::iter::once(domain).chain(counts.iter().map(ToString::to_string)).collect()
    })
}
