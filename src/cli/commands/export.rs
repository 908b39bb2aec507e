//! `jitsiprovs export`: writes users or rules in the form that `import` reads.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::args::{self, Exported};
use crate::cli::config::TableAccess;
use crate::cli::error::usage;
use crate::cli::print::{note, note_left_out};
use crate::cli::{edit_session, print};
use crate::core::conventions::Conventions;
use crate::core::model::{Cell, Row, RuleRow, Table, UserRow};
use crate::ops::transfer::plan::usable;
use crate::ops::transfer::{Item, csv_file, json_file, properties_file};
use crate::source::{Source, Which};

/// Writes users or rules. Users are sorted by domain and name, and rules by precedence,
/// so that equal tables give equal bytes. Rows that the server cannot use are left out,
/// and a note names them.
///
/// # Errors
/// When the tables cannot be read, or when rules with placeholders are exported as
/// properties without `--templates`.
pub async fn export(options: args::ExportArgs) -> anyhow::Result<ExitCode> {
    let args::ExportArgs { content, domain, subject, templates, tables } = options;
    let is_properties = content == Exported::Properties;
    if templates && !is_properties {
        return Ok(usage("--templates is for properties: leave it out")?);
    }
    if subject.is_some() && content == Exported::Users {
        return Ok(usage("--subject is for rules: leave it out")?);
    }
    let TableAccess { source, snapshot, .. } = TableAccess::new(tables)?;
    let comparison = snapshot.comparison;
    let is_wanted = |wanted: &Option<String>, name: &Cell| {
        wanted.as_ref().is_none_or(|wanted| comparison.fold(wanted) == comparison.fold(&name.shown()))
    };
    let written = match content {
        Exported::Users => {
            let mut found = all_users(&*source, &snapshot).await?;
            found.retain(|user| is_wanted(&domain, &user.domain));
            found.sort_by_cached_key(|user| user.natural_key(comparison));
            csv_file::write(&found)
        }
        Exported::Properties | Exported::Rules | Exported::RulesJson => {
            let (mut domain, mut subject) = (domain, subject);
            if is_properties {
                domain.get_or_insert_default();
                subject.get_or_insert_with(|| "default".into());
            }
            let mut found = all_rules(&*source, &snapshot).await?;
            found.retain(|rule| is_wanted(&domain, &rule.domain) && is_wanted(&subject, &rule.subject));
            match content {
                Exported::Rules => csv_file::write(&found),
                Exported::RulesJson => json_file::write(&found),
                _ => match properties_file::write(&found, templates) {
                    Ok((written, lost)) => {
                        let lost = lost.iter().map(|rule| {
                            format!("{}: another rule of this key precedes it", rule.key.shown())
                        });
                        note_left_out(&lost.collect::<Vec<_>>());
                        written
                    }
                    Err(rule) => bail!(
                        "{}: this rule has placeholders, which properties do not have; export them with \
                         --templates, or export rules",
                        rule.key.shown()
                    ),
                },
            }
        }
    };
    print::exact(written.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

async fn all_users(source: &dyn Source, options: &Conventions) -> anyhow::Result<Vec<UserRow>> {
    let mut rows = Vec::new();
    let take = |row| {
        if let Row::User(row) = row {
            if row.password.text().is_err() {
                note(format_args!(
                    "user_auth id {}: the password is not UTF-8, so it is left empty; the user cannot sign in anyway",
                    row.id
                ));
            }
            rows.push(row);
        }
    };
    edit_session::scan(source, Which::Of(Table::UserAuth), take).await?;
    let (users, left_out) = usable(rows, options);
    note_left_out(&left_out);
    Ok(users)
}

async fn all_rules(source: &dyn Source, options: &Conventions) -> anyhow::Result<Vec<RuleRow>> {
    let mut rows = Vec::new();
    let take = |row| {
        if let Row::Rule(row) = row {
            rows.push(row);
        }
    };
    edit_session::scan(source, Which::Of(Table::JitsiProperty), take).await?;
    let (rules, left_out) = usable(rows, options);
    note_left_out(&left_out);
    Ok(rules)
}
