//! `jitsiprovs import`: imports users, rules and attributes from files and other databases, in one
//! transaction.

mod properties;
mod wanted;

use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use crate::cli::args::{self, Content, ListFormat};
use crate::cli::config::TableAccess;
use crate::cli::edit_session::{self, EditSession};
use crate::cli::error::usage;
use crate::cli::print::{self, NAMED, Text, counted, note};
use crate::cli::progress::Progress;
use crate::cli::source::origin::{ImportOrigin, OriginKind};
use crate::core::conventions::Conventions;
use crate::core::credential::{Credential, Owner, PwdFmt};
use crate::core::model::{AttributeRow, Cell, Edit, Row, RuleRow, UserRow};
use crate::ops::transfer::plan::{Plan, PlanCounts, Told};
use crate::ops::transfer::{FileError, Item};
use crate::source::Source;
use properties::Properties;
use wanted::Wanted;

/// Edits the tables to match what is imported or, in a dry run, prints the edits.
///
/// # Errors
/// When something cannot be read or written: then nothing is changed.
pub async fn import(options: args::ImportArgs) -> anyhow::Result<ExitCode> {
    let args::ImportArgs { content, file, from, from_pwd_file, tables, dry_run, replace, listed, .. } =
        options;
    let args::ImportArgs {
        domain,
        subject,
        spriority,
        templatize,
        templates: is_template,
        literal,
        latin1,
        ..
    } = options;
    let properties = Properties { domain, subject, spriority, templatize, is_template, as_latin1: latin1 };
    let TableAccess { source, snapshot, .. } = TableAccess::new(tables)?;
    let is_database = matches!(content, Content::Database | Content::Kamailio);
    if properties.is_given() && content != Content::Properties {
        return Ok(usage(
            "--domain, --subject, --spriority, --templatize, --templates and --latin1 are for properties: leave them out",
        )?);
    }
    if literal && content != Content::Rules {
        return Ok(usage("--literal is for rules: leave it out")?);
    }
    if !is_database && (from.is_some() || from_pwd_file.is_some()) {
        return Ok(usage("--from and --from-pwd-file are for database and kamailio: name a file instead")?);
    }
    if is_database && file.is_some() {
        return Ok(usage("FILE is given, but a database is named with --from: leave out FILE")?);
    }
    let wanted = if is_database {
        let kind = if content == Content::Kamailio { OriginKind::Kamailio } else { OriginKind::Jitsiprovs };
        if kind == OriginKind::Kamailio && !matches!(snapshot.pwd_fmt, PwdFmt::Ha1 | PwdFmt::Ha1Sha256) {
            return Ok(usage("Kamailio stores ha1: give --pwd-fmt ha1 here and to the server")?);
        }
        Wanted::of_database(ImportOrigin::new(kind, from, from_pwd_file)?, kind, &snapshot).await?
    } else {
        Wanted::of_file(content, file, &properties, literal, replace, &snapshot)?
    };
    edit(&*source, wanted, replace, dry_run, listed.format, &snapshot).await?;
    Ok(ExitCode::SUCCESS)
}

async fn edit(
    source: &dyn Source,
    wanted: Wanted,
    replace: bool,
    dry_run: bool,
    format: ListFormat,
    options: &Conventions,
) -> anyhow::Result<()> {
    // A dry run checks this too, because it must fail where the import would fail.
    wanted.tables().try_for_each(|table| source.editable(table))?;
    let (there, editing) = Existing::read(source, &wanted, dry_run, options).await?;
    let plans = Plans::new(there, wanted, replace, options)?;
    if let Some(plan) = &plans.users {
        note_unusable_passwords(plan.wanted(), options);
    }
    let said = match format {
        ListFormat::Json => Text::json(&plans.report(dry_run, options))?,
        ListFormat::Table => Text::lines(plans.lines(dry_run, options)),
    };
    let total = plans.total();
    if let Some(editing) = editing.filter(|_| total > 0) {
        let mut progress = Progress::new("rows written", total);
        editing.commit(plans.edits(), |count| progress.add(count)).await?;
    }
    match dry_run {
        true => print::write(said),
        false => {
            print::done(said);
            Ok(())
        }
    }
}

/// The existing rows in the scope of an import, by id; `None` for a row that the server
/// could not use.
#[derive(Default)]
struct Existing {
    users: Vec<(i64, Option<UserRow>)>,
    rules: Vec<(i64, Option<RuleRow>)>,
    attributes: Vec<(i64, Option<AttributeRow>)>,
}

impl Existing {
    /// Reads them in a transaction that can edit them later. A dry run reads without a
    /// transaction, so that other commands do not wait for it.
    async fn read<'s>(
        source: &'s dyn Source,
        wanted: &Wanted,
        dry_run: bool,
        options: &Conventions,
    ) -> anyhow::Result<(Existing, Option<EditSession<'s>>)> {
        let mut there = Existing::default();
        let take = |row| match row {
            Row::User(row) if wanted.users.is_some() => {
                there.users.push((row.id, row.canonical(options).ok()));
            }
            Row::Rule(row) => {
                let rule = row.canonical(options).ok();
                if wanted.covers(rule.as_ref(), options) {
                    there.rules.push((row.id, rule));
                }
            }
            Row::Attribute(row) if wanted.attributes.is_some() => {
                there.attributes.push((row.id, row.canonical(options).ok()));
            }
            Row::User(_) | Row::Attribute(_) => {}
        };
        let editing = match dry_run {
            true => {
                edit_session::scan(source, wanted.which(), take).await?;
                None
            }
            false => {
                let mut editing = EditSession::new(source, wanted.which());
                editing.read(take).await?;
                Some(editing)
            }
        };
        wanted.narrow(&mut there.attributes, options);
        Ok((there, editing))
    }
}

/// The edits of each table; `None` for a table that the import does not edit.
struct Plans {
    users: Option<Plan<UserRow>>,
    rules: Option<Plan<RuleRow>>,
    attributes: Option<Plan<AttributeRow>>,
}

impl Plans {
    fn new(there: Existing, wanted: Wanted, replace: bool, options: &Conventions) -> anyhow::Result<Plans> {
        fn plan<T: Item>(
            there: Vec<(i64, Option<T>)>,
            wanted: Option<Vec<(u64, T)>>,
            replace: bool,
            options: &Conventions,
        ) -> Result<Option<Plan<T>>, FileError> {
            wanted.map(|wanted| Plan::new(there, wanted, replace, options)).transpose()
        }
        let Wanted { named, users, rules, attributes, .. } = wanted;
        let plans = || {
            Ok::<_, FileError>(Plans {
                users: plan(there.users, users, replace, options)?,
                rules: plan(there.rules, rules, replace, options)?,
                attributes: plan(there.attributes, attributes, replace, options)?,
            })
        };
        plans().context(named)
    }

    fn counts(&self) -> impl Iterator<Item = (&'static str, PlanCounts)> {
        let users = self.users.as_ref().map(|plan| ("users", plan.counts));
        let rules = self.rules.as_ref().map(|plan| ("rules", plan.counts));
        let attributes = self.attributes.as_ref().map(|plan| ("attributes", plan.counts));
        users.into_iter().chain(rules).chain(attributes)
    }

    fn total(&self) -> usize {
        self.counts().map(|(_, counts)| counts.edits()).sum()
    }

    fn edits(self) -> impl Iterator<Item = Edit> + Send {
        let users = self.users.into_iter().flat_map(Plan::edits);
        let rules = self.rules.into_iter().flat_map(Plan::edits);
        users.chain(rules).chain(self.attributes.into_iter().flat_map(Plan::edits))
    }

    /// For programs.
    fn report(&self, dry_run: bool, options: &Conventions) -> ImportReport {
        ImportReport {
            users: self.users.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
            rules: self.rules.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
            attributes: self.attributes.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
        }
    }

    /// For people.
    fn lines(&self, dry_run: bool, options: &Conventions) -> Vec<String> {
        let mut lines = Vec::new();
        if dry_run {
            lines.extend(self.users.iter().flat_map(|plan| plan.lines(NAMED, options)));
            lines.extend(self.rules.iter().flat_map(|plan| plan.lines(NAMED, options)));
            lines.extend(self.attributes.iter().flat_map(|plan| plan.lines(NAMED, options)));
        }
        lines.extend(self.counts().map(|(name, counts)| summary(name, counts, dry_run)));
        lines
    }
}

/// Notes how many users have passwords that cannot be used. Such users are imported,
/// because some may be intended; but thousands of them mean a wrong `--pwd-fmt`.
fn note_unusable_passwords<'u>(users: impl Iterator<Item = &'u UserRow>, options: &Conventions) {
    let is_unusable = |user: &UserRow| {
        let [username, domain, password] = user.cells().map(Cell::shown);
        let realm = options.realm.as_deref().unwrap_or(&domain);
        Credential::parse(&password, options.pwd_fmt, Owner { username: &username, realm }).is_err()
    };
    let mut unusable = users.filter(|user| is_unusable(user));
    if let Some(first) = unusable.next() {
        note(format_args!(
            "{} cannot sign in, because the stored password is neither in the format of --pwd-fmt \
             nor a hash that names its own format: the first is {}",
            counted(unusable.count() + 1, "user"),
            first.label(options)
        ));
    }
}

/// What an import did or would do: `None` for a table that it does not edit.
#[derive(Serialize)]
struct ImportReport {
    users: Option<Edited>,
    rules: Option<Edited>,
    attributes: Option<Edited>,
}

/// The edits of one table.
#[derive(Serialize)]
struct Edited {
    added: usize,
    changed: usize,
    removed: usize,
    kept: usize,
    /// Listed only in a dry run.
    edits: Option<Vec<Told>>,
}

impl Edited {
    fn new<T: Item>(plan: &Plan<T>, dry_run: bool, options: &Conventions) -> Edited {
        let PlanCounts { added, set: changed, removed, kept } = plan.counts;
        let edits = dry_run.then(|| plan.told(options).collect());
        Edited { added, changed, removed, kept, edits }
    }
}

fn summary(name: &str, counts: PlanCounts, dry_run: bool) -> String {
    let PlanCounts { added, set, removed, kept } = counts;
    match dry_run {
        true => {
            format!("{name}: {added} to add, {set} to change, {removed} to remove, {kept} as they should be")
        }
        false => format!("{name}: {added} added, {set} changed, {removed} removed, {kept} as they were"),
    }
}
