//! `jitsiprovs rule`: adds, changes, lists and removes rules.

mod filter;
mod put;
mod removal;
mod undone;

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::args::{self, ListFormat, Listed};
use crate::cli::config::TableAccess;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::error::usage;
use crate::cli::listing::RuleListing;
use crate::cli::print::{self, Text};
use crate::core::history::Tool;
use crate::core::model::{Edit, Row, RuleRow, Table};
use crate::core::problem::Severity;
use crate::ops::edits::{Action, Audience, RuleChange, TypedRule, check_usable, doubts};
use crate::source::Which;
use filter::Filter;
use put::{IfThere, put};

/// Runs the subcommand.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn rule(options: args::RuleCommand) -> anyhow::Result<ExitCode> {
    match options {
        args::RuleCommand::Add {
            property,
            surplus,
            literal,
            domain,
            subject,
            spriority,
            ppriority,
            also,
            edit,
        } => {
            if !surplus.is_empty() {
                usage(
                    "a property is one argument: write 'key=value' in single quotes, without blanks around the `=`",
                )?;
            }
            let (mode, tables) = EditMode::open(edit)?;
            let ppriority = Some(ppriority);
            let typed = TypedRule { property, literal, domain, subject, spriority, ppriority };
            let if_there = if also { IfThere::AddAnother } else { IfThere::Refuse };
            put(&typed, if_there, mode, &tables).await?;
        }
        args::RuleCommand::List { filter, show_secrets, listed, tables } => {
            list(&filter, show_secrets, listed, &TableAccess::new(tables)?).await?;
        }
        args::RuleCommand::Show { id, show_secrets, listed, tables } => {
            show(id, show_secrets, listed, &TableAccess::new(tables)?).await?;
        }
        args::RuleCommand::Set { what, key, value, literal, domain, subject, spriority, ppriority, edit } => {
            let (mode, tables) = EditMode::open(edit)?;
            if let Ok(id) = what.parse() {
                let change = RuleChange { key, value, literal, domain, subject, spriority, ppriority };
                set(id, change, mode, &tables).await?;
            } else {
                if key.is_some() || value.is_some() {
                    usage("--key and --value go with the id of a rule: write the id, or only KEY=VALUE")?;
                }
                let subject = subject.unwrap_or_else(|| "default".into());
                let typed = TypedRule { property: what, literal, domain, subject, spriority, ppriority };
                put(&typed, IfThere::Change, mode, &tables).await?;
            }
        }
        args::RuleCommand::Remove { ids, filter, yes, edit } => {
            let (mode, tables) = EditMode::open(edit)?;
            let args::RuleFilter { domain, subject, key } = &filter;
            if ids.is_empty() && [domain, subject, key].iter().all(|part| part.is_none()) {
                usage("no rule is named: write ids, or --domain, --subject or --key as for `rule list`")?;
            }
            if ids.is_empty() {
                return removal::by_filter(&filter, yes, mode, &tables).await;
            }
            removal::by_id(ids, mode, &tables).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns of likely mistakes in a rule.
fn warn_of(row: &RuleRow, tables: &TableAccess) {
    for finding in doubts(row, &tables.snapshot) {
        match finding.severity {
            Severity::Hint => print::note(finding.message),
            _ => print::warn(finding.message),
        }
    }
}

/// Changes the rule with this id.
///
/// # Errors
/// When there is no such rule, or the server would not use it then: then nothing is changed.
async fn set(id: i64, change: RuleChange, mode: EditMode, tables: &TableAccess) -> anyhow::Result<()> {
    let RuleChange { key, value, domain, subject, spriority, ppriority, .. } = &change;
    let texts = [key, value, domain, subject].map(Option::is_some);
    let is_given = texts.contains(&true) || spriority.is_some() || ppriority.is_some();
    if !is_given {
        usage("nothing to change: give --key, --value, --domain, --subject, --spriority or --ppriority")?;
    }
    if change.literal && value.is_none() {
        usage("--literal is about a value: give --value too")?;
    }
    tables.source.editable(Table::JitsiProperty)?;
    let is_subject_given = subject.is_some();
    let mut editing =
        edit_session::begin(&*tables.source, Which::One(Table::JitsiProperty, id), Tool::Command);
    let mut before = None;
    editing.read(|row| before = rule_in(row)).await?;
    let before = before.with_context(|| no_rule(id))?;
    let after = change.of(&before, &tables.snapshot)?;
    if is_subject_given {
        let mut audience = Audience::new(&after, &tables.snapshot);
        edit_session::scan(&*tables.source, Which::Of(Table::UserAuth), |row| {
            if let Row::User(user) = row {
                audience.look(&user);
            }
        })
        .await?;
        audience.check_address(&after)?;
    }
    check_usable(&after, &tables.snapshot)?;
    warn_of(&after, tables);
    undone::warn_if_undone(&after, tables).await?;
    let columns = Row::Rule(before.clone()).differing(&Row::Rule(after.clone()));
    let action = if columns.is_empty() { Action::Unchanged } else { Action::Changed };
    let (text, [was, is]) = compared(&before, &after, mode, tables);
    let edits = [Edit::Set(Row::Rule(after), columns)];
    let changed = EditReport::new(action, &edits);
    editing.make(edits, mode.dry_run).await?;
    mode.report(text, EditReport { rule: Some(is), before: Some(was), ..changed })
}

/// A rule before and after a change, as a table and for programs.
fn compared(
    before: &RuleRow,
    after: &RuleRow,
    mode: EditMode,
    tables: &TableAccess,
) -> (Text, [RuleListing; 2]) {
    let both = [before, after].map(|row| RuleListing::new(row, false, &tables.snapshot));
    let heads = if mode.dry_run { ["now", "would be"] } else { ["before", "now"] };
    let lines =
        heads.iter().zip(&both).map(|(head, listed)| [vec![(*head).to_owned()], listed.cells()].concat());
    let columns: Vec<print::ListColumn> =
        [print::text("")].into_iter().chain(RuleListing::columns()).collect();
    (Text::table(&columns, lines), both)
}

async fn find(id: i64, tables: &TableAccess) -> anyhow::Result<RuleRow> {
    let mut found = None;
    edit_session::scan(&*tables.source, Which::One(Table::JitsiProperty, id), |row| found = rule_in(row))
        .await?;
    found.with_context(|| no_rule(id))
}

fn rule_in(row: Row) -> Option<RuleRow> {
    match row {
        Row::Rule(row) => Some(row),
        Row::User(_) | Row::Attribute(_) => None,
    }
}

fn no_rule(id: i64) -> String {
    format!("there is no rule id {id}: `jitsiprovs rule list` shows all rules")
}

async fn list(
    filter: &args::RuleFilter,
    show_secrets: bool,
    listed: Listed,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    let options = &tables.snapshot;
    let rows = Filter::new(filter, options).find(tables).await?;
    let shown: Vec<RuleListing> =
        rows.iter().map(|row| RuleListing::new(row, show_secrets, options)).collect();
    print::list(listed, &shown, &RuleListing::columns(), RuleListing::cells)
}

async fn show(id: i64, show_secrets: bool, listed: Listed, tables: &TableAccess) -> anyhow::Result<()> {
    let row = find(id, tables).await?;
    let shown = RuleListing::new(&row, show_secrets, &tables.snapshot);
    match listed.format {
        ListFormat::Json => print::write(Text::json(&shown)?),
        ListFormat::Table => print::write(Text::listed(&RuleListing::columns(), [shown.cells()], listed)),
    }
}
