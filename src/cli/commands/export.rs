//! `jitsiprovs export`: writes users, rules or attributes in the form that `import` reads.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::args::{self, Exported};
use crate::cli::config::TableAccess;
use crate::cli::error::usage;
use crate::cli::print::{counted, note, note_left_out};
use crate::cli::{edit_session, print};
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Row, RuleRow, Table, TableRows, UserRow};
use crate::core::names::Comparison;
use crate::ops::transfer::plan::usable;
use crate::ops::transfer::{Item, csv_file, json_file, properties_file};
use crate::source::{Source, Which};

/// Writes users, rules or attributes. Users and attributes are sorted by domain and name, and
/// rules by precedence, so that equal tables give equal bytes. Rows that the server cannot use
/// are left out, and a note names them.
///
/// # Errors
/// When the tables cannot be read, or when rules with placeholders are exported as
/// properties without `--templates`.
pub async fn export(options: args::ExportArgs) -> anyhow::Result<ExitCode> {
    let args::ExportArgs { content, domain, subject, templates, tables } = options;
    if templates && content != Exported::Properties {
        return Ok(usage("--templates is for properties: leave it out")?);
    }
    if subject.is_some() && !matches!(content, Exported::Properties | Exported::Rules | Exported::RulesJson) {
        return Ok(usage("--subject is for rules: leave it out")?);
    }
    let TableAccess { source, snapshot: conventions, .. } = TableAccess::new(tables)?;
    let which = match content {
        Exported::Users => Which::Without(Table::JitsiProperty),
        Exported::Attributes | Exported::AttributesJson => Which::Of(Table::UserAttribute),
        Exported::Json => Which::All,
        Exported::Properties | Exported::Rules | Exported::RulesJson => Which::Of(Table::JitsiProperty),
    };
    let mut found = Found::read(&*source, which, &conventions).await?;
    let (mut domain, mut subject) = (domain, subject);
    if content == Exported::Properties {
        domain.get_or_insert_default();
        subject.get_or_insert_with(|| "default".into());
    }
    found.narrow(domain.as_deref(), subject.as_deref(), conventions.comparison);
    let Found { users, rules, attributes } = &found;
    let written = match content {
        Exported::Users => {
            let (written, left_out) = csv_file::write_users(users, attributes, conventions.comparison);
            if left_out > 0 {
                note(format_args!(
                    "{} left out: this file has one value of a user for each name, and none that is empty; \
                     `export attributes` has all",
                    counted(left_out, "attribute")
                ));
            }
            written
        }
        Exported::Attributes => csv_file::write(attributes),
        Exported::AttributesJson => json_file::write(attributes),
        Exported::Json => json_file::write_all(users, rules, attributes),
        Exported::Rules => csv_file::write(rules),
        Exported::RulesJson => json_file::write(rules),
        Exported::Properties => properties(rules, templates)?,
    };
    print::exact(written.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

fn properties(rules: &[RuleRow], templates: bool) -> anyhow::Result<Vec<u8>> {
    match properties_file::write(rules, templates) {
        Ok((written, lost)) => {
            let lost =
                lost.iter().map(|rule| format!("{}: another rule of this key precedes it", rule.key.shown()));
            note_left_out(&lost.collect::<Vec<_>>());
            Ok(written)
        }
        Err(rule) => bail!(
            "{}: this rule has placeholders, which properties do not have; export them with \
             --templates, or export rules",
            rule.key.shown()
        ),
    }
}

/// The rows that the server can use, in the order in which they are written.
struct Found {
    users: Vec<UserRow>,
    rules: Vec<RuleRow>,
    attributes: Vec<AttributeRow>,
}

impl Found {
    /// Reads them. Further columns of the operator's own query for users become attributes.
    async fn read(source: &dyn Source, which: Which, conventions: &Conventions) -> anyhow::Result<Found> {
        let (mut rows, mut columns) = (TableRows::default(), Vec::new());
        let take = |row| {
            if let Row::User(row) = &row {
                if row.password.text().is_err() {
                    note(format_args!(
                        "user_auth id {}: the password is not UTF-8, so it is left empty; the user cannot sign in anyway",
                        row.id
                    ));
                }
                columns.extend(row.attributes.iter().map(|(name, value)| {
                    let cells = [row.domain.clone(), row.username.clone(), (&**name).into(), value.clone()];
                    AttributeRow::from_cells(i64::MIN, cells)
                }));
            }
            rows.push(row);
        };
        edit_session::scan(source, which, take).await?;
        columns.append(&mut rows.attributes);
        let (mut users, mut left_out) = usable(rows.users, conventions);
        let (rules, more) = usable(rows.rules, conventions);
        left_out.extend(more);
        let (mut attributes, more) = usable(columns, conventions);
        left_out.extend(more);
        note_left_out(&left_out);
        users.sort_by_cached_key(|user| user.natural_key(conventions.comparison));
        attributes.sort_by_cached_key(|attribute| attribute.natural_key(conventions.comparison));
        Ok(Found { users, rules, attributes })
    }

    /// Keeps only the rows of a tenant, and only the rules for a subject.
    fn narrow(&mut self, domain: Option<&str>, subject: Option<&str>, comparison: Comparison) {
        let is_wanted = |wanted: Option<&str>, name: &Cell| {
            wanted.is_none_or(|wanted| comparison.fold(wanted) == comparison.fold(&name.shown()))
        };
        self.users.retain(|user| is_wanted(domain, &user.domain));
        self.rules.retain(|rule| is_wanted(domain, &rule.domain) && is_wanted(subject, &rule.subject));
        self.attributes.retain(|attribute| is_wanted(domain, &attribute.domain));
    }
}
