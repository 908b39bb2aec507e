//! `jitsiprovs tenant`: lists tenants.

use std::process::ExitCode;

use hashbrown::{HashMap, HashSet};
use serde::Serialize;

use crate::cli::args;
use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::print::{self, number, text};
use crate::core::model::Row;
use crate::core::names::Folded;
use crate::source::Which;

/// A tenant as lists show it.
#[derive(Serialize)]
struct TenantListing {
    /// The domain as the first row spells it; `None` for rules that apply to all tenants.
    domain: Option<String>,
    users: usize,
    rules: usize,
}

/// The counts of one tenant.
#[derive(Default)]
struct Counted {
    /// The first row with the domain (whether it is a rule, and its id), and its spelling.
    first: Option<(bool, i64, String)>,
    /// Users by name, because several rows may have the same name.
    users: HashSet<Folded>,
    rules: usize,
}

/// Lists tenants: domains that have users or rules.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn tenant(options: args::TenantCommand) -> anyhow::Result<ExitCode> {
    let args::TenantCommand::List { listed, tables } = options;
    let tables = TableAccess::new(tables)?;
    let options = &tables.snapshot;
    let mut tenants: HashMap<Folded, Counted> = HashMap::new();
    edit_session::scan(&*tables.source, Which::All, |row| {
        let (is_rule, id, domain) = match &row {
            Row::User(row) => (false, row.id, &row.domain),
            Row::Rule(row) => (true, row.id, &row.domain),
            Row::Attribute(_) => return,
        };
        let name = match &row {
            Row::User(row) => options.fold(&row.username),
            Row::Rule(_) | Row::Attribute(_) => None,
        };
        let folded = match (options.fold(domain), &name) {
            (Some(domain), Some(name)) if !options.can_be_user(name, &domain) => return,
            (Some(domain), _) => domain,
            // The domain is NULL or cannot be read.
            (None, _) if is_rule && domain.text().is_ok() => Folded::new(),
            (None, _) => return,
        };
        if !is_rule && name.is_none() {
            return;
        }
        let counted = tenants.entry(folded).or_default();
        let seen = (is_rule, id, domain.shown().into_owned());
        if counted.first.as_ref().is_none_or(|first| seen < *first) {
            counted.first = Some(seen);
        }
        counted.users.extend(name);
        counted.rules += usize::from(is_rule);
    })
    .await?;
    let mut tenants: Vec<(Folded, Counted)> = tenants.into_iter().collect();
    tenants.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let shown = tenants.into_iter().map(|(folded, counted)| TenantListing {
        domain: counted.first.map(|(_, _, domain)| domain).filter(|_| !folded.is_empty()),
        users: counted.users.len(),
        rules: counted.rules,
    });
    let shown: Vec<TenantListing> = shown.collect();
    let columns = [text("DOMAIN"), number("USERS"), number("RULES")];
    print::list(listed.format, &shown, &columns, |tenant| {
        let domain = tenant.domain.clone().unwrap_or_else(|| "(all tenants)".into());
        vec![domain, tenant.users.to_string(), tenant.rules.to_string()]
    })?;
    Ok(ExitCode::SUCCESS)
}
