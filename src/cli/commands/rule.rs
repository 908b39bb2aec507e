//! `jitsiprovs rule`: adds, changes, lists and removes rules.

mod audience;

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};

use crate::cli::args::{self, ListFormat};
use crate::cli::config::TableAccess;
use crate::cli::edit_session::{self, EditSession};
use crate::cli::listing::{self, RuleListing};
use crate::cli::print::{self, Text};
use crate::core::model::{Cell, Edit, Row, RuleRow, Table};
use crate::core::names::Folded;
use crate::core::problem::{Code, Severity};
use crate::core::template;
use crate::ops::check;
use crate::ops::transfer::default_spriority;
use crate::source::{self, Which};
use audience::audience;

/// Runs the subcommand.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn rule(options: args::RuleCommand) -> anyhow::Result<ExitCode> {
    match options {
        args::RuleCommand::Add { property, literal, domain, subject, spriority, ppriority, tables } => {
            let tables = TableAccess::new(tables)?;
            let split = if literal { template::split_literal } else { template::split };
            let (key, value) = split(&property).context("this is not a property")?;
            let value = value_of(value, literal)?;
            let domain = of_tenant(domain.as_deref().unwrap_or_default(), &tables);
            let spriority = spriority.unwrap_or_else(|| default_spriority(&subject, &domain.shown()));
            let row = RuleRow::from_cells(
                0,
                [
                    domain,
                    (*subject).into(),
                    i64::from(spriority).into(),
                    i64::from(ppriority).into(),
                    key.into(),
                    (*value).into(),
                ],
            );
            add(row, &tables).await?;
        }
        args::RuleCommand::List { filter, show_secrets, listed, tables } => {
            list(filter, show_secrets, listed.format, &TableAccess::new(tables)?).await?;
        }
        args::RuleCommand::Show { id, show_secrets, listed, tables } => {
            show(id, show_secrets, listed.format, &TableAccess::new(tables)?).await?;
        }
        args::RuleCommand::Set { id, key, value, literal, domain, subject, spriority, ppriority, tables } => {
            let tables = TableAccess::new(tables)?;
            tables.source.editable(Table::JitsiProperty)?;
            let mut editing = EditSession::new(&*tables.source, Which::One(Table::JitsiProperty, id));
            let mut before = None;
            editing.read(|row| before = rule_in(row)).await?;
            let before = before.with_context(|| no_rule(id))?;
            if let Some(key) = &key {
                template::check_key(key).context("this is not a key")?;
            }
            let value = value.map(|value| value_of(&value, literal)).transpose()?;
            let mut after = before.clone();
            let text =
                |cell: &mut Cell, new: Option<String>| new.iter().for_each(|new| *cell = (**new).into());
            let number =
                |cell: &mut Cell, new: Option<i32>| new.iter().for_each(|new| *cell = i64::from(*new).into());
            domain.iter().for_each(|domain| after.domain = of_tenant(domain, &tables));
            text(&mut after.subject, subject);
            number(&mut after.spriority, spriority);
            number(&mut after.ppriority, ppriority);
            text(&mut after.key, key);
            text(&mut after.value, value);
            set(before, after, editing, &tables).await?;
        }
        args::RuleCommand::Remove { ids, tables } => remove(ids, &TableAccess::new(tables)?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The value as it is stored.
fn value_of(value: &str, is_literal: bool) -> anyhow::Result<String> {
    match is_literal {
        true => template::literal(value).context("leave out --literal if you mean this"),
        false => Ok(value.to_owned()),
    }
}

/// The cell for `domain`: NULL stands for all tenants.
fn of_tenant(domain: &str, tables: &TableAccess) -> Cell {
    if tables.snapshot.comparison.fold(domain).is_empty() { Cell::Null } else { domain.into() }
}

/// Fails if the server would not use this rule, and warns of likely mistakes in it.
fn warn_of(row: &RuleRow, tables: &TableAccess) -> anyhow::Result<()> {
    if let Some(why) = tables.snapshot.unusable(&Row::Rule(row.clone())) {
        bail!("the server would not use this rule: {why}");
    }
    for finding in check::check_rule(row, &tables.snapshot).findings {
        match (finding.severity, finding.code) {
            // This hint is about the text that was just typed.
            (Severity::Hint, Code::ControlCharacter) => print::note(finding.message),
            (Severity::Hint, _) => {}
            _ => print::warn(finding.message),
        }
    }
    Ok(())
}

async fn add(row: RuleRow, tables: &TableAccess) -> anyhow::Result<()> {
    tables.source.editable(Table::JitsiProperty)?;
    warn_of(&row, tables)?;
    let editing = EditSession::new(&*tables.source, Which::None);
    editing.commit([Edit::Add(Row::Rule(row.clone()))], |_| ()).await?;
    // Of all rules with these values, the one with the highest id is the new one.
    let mut added = None;
    let audience = audience(&row, tables, |known| {
        if reads_alike(known, &row) {
            added = added.max(Some(known.id));
        }
    });
    let for_audience = match audience.await {
        Ok(audience) => format!(", for {audience}"),
        Err(why) => {
            print::note(format_args!("the rule is added, but it is not known who it is for: {why:#}"));
            String::new()
        }
    };
    let id = added.map_or("a rule".into(), |id| listing::rules_of(&[id]));
    print::done(Text::line(format_args!("added {id}{for_audience}")));
    Ok(())
}

/// Whether two rules differ in nothing but the id.
fn reads_alike(one: &RuleRow, other: &RuleRow) -> bool {
    let texts = |row: &RuleRow| {
        let cells = [&row.domain, &row.subject, &row.spriority, &row.ppriority, &row.key, &row.value];
        cells.map(listing::text)
    };
    texts(one) == texts(other)
}

async fn set(
    before: RuleRow,
    after: RuleRow,
    editing: EditSession<'_>,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    warn_of(&after, tables)?;
    let (row, written) = (Row::Rule(before.clone()), Row::Rule(after.clone()));
    let columns = row.differing(&written);
    editing.commit([Edit::Set(written, columns)], |_| ()).await?;
    let line = |when: &str, row: &RuleRow| {
        let mut cells = RuleListing::new(row, false, &tables.snapshot).cells();
        cells.insert(0, when.to_owned());
        cells
    };
    let columns: Vec<print::ListColumn> =
        [print::text("")].into_iter().chain(RuleListing::columns()).collect();
    print::done(Text::table(&columns, [line("before", &before), line("now", &after)]));
    Ok(())
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
    filter: args::RuleFilter,
    show_secrets: bool,
    format: ListFormat,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    let args::RuleFilter { domain, subject, key } = filter;
    let options = &tables.snapshot;
    let fold = |text: Option<String>| text.map(|text| options.comparison.fold(&text));
    let (domain, key) = (fold(domain), fold(key));
    // Two spellings of one subject, such as `os=Linux` and `osname=Linux`, are the same.
    let meaning = |stored: &str| options.subject(stored);
    let subject = subject.map(|subject| meaning(&subject));
    let is_for =
        |row: &RuleRow| subject.as_ref().is_none_or(|wanted| meaning(&row.subject.shown()) == *wanted);
    let is = |wanted: &Option<Folded>, cell: &Cell| {
        wanted.as_ref().is_none_or(|wanted| options.fold(cell).unwrap_or_default() == *wanted)
    };
    let has = |wanted: &Option<Folded>, cell: &Cell| {
        let found = |part| options.fold(cell).is_some_and(|text| listing::contains(&text, part));
        wanted.as_ref().is_none_or(|part| found(part))
    };
    let mut rows = Vec::new();
    edit_session::scan(&*tables.source, Which::Of(Table::JitsiProperty), |row| match row {
        Row::Rule(row) if is(&domain, &row.domain) && is_for(&row) && has(&key, &row.key) => {
            rows.push(row);
        }
        _ => {}
    })
    .await?;
    rows.sort_by_key(listing::order);
    let shown: Vec<RuleListing> =
        rows.iter().map(|row| RuleListing::new(row, show_secrets, options)).collect();
    print::list(format, &shown, &RuleListing::columns(), RuleListing::cells)
}

async fn show(id: i64, show_secrets: bool, format: ListFormat, tables: &TableAccess) -> anyhow::Result<()> {
    let row = find(id, tables).await?;
    let shown = RuleListing::new(&row, show_secrets, &tables.snapshot);
    match format {
        ListFormat::Json => print::write(Text::json(&shown)?),
        ListFormat::Table => print::write(Text::table(&RuleListing::columns(), [shown.cells()])),
    }
}

async fn remove(mut ids: Vec<i64>, tables: &TableAccess) -> anyhow::Result<()> {
    ids.sort_unstable();
    ids.dedup();
    let edits: Vec<Edit> = ids.iter().map(|id| Edit::Remove(Table::JitsiProperty, *id)).collect();
    let removed = EditSession::new(&*tables.source, Which::None).commit(edits, |_| ()).await;
    removed.map_err(|error| match error.downcast_ref() {
        Some(source::SourceError::Gone { id, .. }) => anyhow!("{}; nothing was removed", no_rule(*id)),
        _ => error,
    })?;
    print::done(Text::line(format_args!("removed {}", listing::rules_of(&ids))));
    Ok(())
}
