//! `jitsiprovs import`: imports users, rules and attributes from files and other databases, in one
//! transaction.

mod kamailio;
mod passwords;
mod plans;
mod properties;
mod scope;
mod wanted;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::args::{self, Content, ListFormat};
use crate::cli::config::TableAccess;
use crate::cli::consent::is_intended;
use crate::cli::edit_session;
use crate::cli::error::{ConfigError, usage};
use crate::cli::print::{self, NAMED, Text};
use crate::cli::progress::Progress;
use crate::cli::source::origin::ImportOrigin;
use crate::core::conventions::Conventions;
use crate::core::credential::Storage;
use crate::core::history::Tool;
use crate::core::model::Row;
use crate::ops::edit_session::EditSession;
use crate::ops::transfer::csv_file::CsvOptions;
use crate::ops::transfer::shrink::Shrink;
use crate::snapshot::MaxShrink;
use crate::source::Source;
use kamailio::SipTables;
use plans::{Existing, Outsides, Plans, keep};
use properties::Properties;
use scope::Scope;
use wanted::Wanted;

/// Edits the tables to match what is imported or, in a dry run, prints the edits.
///
/// # Errors
/// When something cannot be read or written, or would be lost: then nothing is changed.
pub async fn import(options: args::ImportArgs) -> anyhow::Result<ExitCode> {
    check(&options)?;
    let args::ImportArgs { content, file, origin, tables, dry_run, replace, listed, .. } = options;
    let args::ImportArgs { domain, subject, spriority, templatize, templates: is_template, literal, .. } =
        options;
    let args::ImportArgs { latin1: as_latin1, encoding, columns, hash, allow_shrink, max_shrink, .. } =
        options;
    let TableAccess { source, snapshot, .. } = TableAccess::new(tables)?;
    let storage = hash.map(|hash| super::user::storage(Some(hash), snapshot.pwd_fmt)).transpose()?;
    let mut wanted = match content {
        Content::Database => Wanted::of_database(ImportOrigin::new(origin)?, &snapshot).await?,
        Content::Kamailio => {
            let (domain, prefers_clear) = (domain.as_deref(), storage.is_some());
            let sip = SipTables { domain, prefers_clear, options: &snapshot };
            sip.read(ImportOrigin::new(origin)?).await?
        }
        _ => {
            let csv = CsvOptions { encoding, columns, domain: domain.clone(), is_clear: storage.is_some() };
            let (domain, subject) = (domain.clone(), subject.clone());
            let properties = Properties { domain, subject, spriority, templatize, is_template, as_latin1 };
            Wanted::of_file(content, file, &properties, &csv, literal, replace, &snapshot)?
        }
    };
    let scope = scope(&wanted, content, replace, domain.as_deref(), subject.as_deref(), &snapshot)?;
    if replace && !allow_shrink && wanted.is_empty() {
        bail!(
            "{}: there is no row in it, so --replace would only remove rows: give --allow-shrink if that is \
             intended; nothing was changed",
            wanted.named
        );
    }
    // Also before passwords are hashed, which may take long.
    wanted.tables().try_for_each(|table| source.editable(table))?;
    if let Some(users) = &mut wanted.users {
        let storage = storage.unwrap_or(Storage::Table(snapshot.pwd_fmt));
        let clear = &mut users[..wanted.clear];
        let hashed = passwords::hash_all(clear, storage, content, &*source, &snapshot).await;
        hashed.with_context(|| wanted.named.clone())?;
        users.sort_by_key(|(line, _)| *line);
    }
    let limit = MaxShrink(if allow_shrink { 100 } else { max_shrink });
    let is_strict = content == Content::Users;
    let format = listed.format;
    let mut import =
        Import { source: &*source, scope, replace, dry_run, is_strict, format, limit, options: &snapshot };
    import.run(wanted).await
}

/// The existing rows that the import may remove.
fn scope(
    wanted: &Wanted,
    content: Content,
    replace: bool,
    domain: Option<&str>,
    subject: Option<&str>,
    options: &Conventions,
) -> anyhow::Result<Scope> {
    match &wanted.target {
        Some((domain, subject)) => Ok(Scope::of_rules(domain, subject, options)),
        None if !replace => Ok(Scope::default()),
        None => Scope::of_replace(wanted, domain, subject, content == Content::Database, options)
            .with_context(|| wanted.named.clone()),
    }
}

/// Refuses options that say nothing about what is imported.
fn check(options: &args::ImportArgs) -> Result<(), ConfigError> {
    use Content::{Attributes, Database, Kamailio, Properties, Rules, Users};
    let args::ImportArgs { content, file, origin, domain, subject, replace, .. } = options;
    let args::ImportArgs { spriority, templatize, templates, latin1, literal, .. } = options;
    let args::ImportArgs { encoding, columns, hash, allow_shrink, .. } = options;
    let (content, is_replace) = (*content, *replace);
    let is_properties = content == Properties;
    if !is_properties && (spriority.is_some() || templatize.is_some() || *templates || *latin1) {
        return usage(
            "--spriority, --templatize, --templates and --latin1 are for properties: leave them out",
        );
    }
    if !is_properties && !is_replace && subject.is_some() {
        return usage("--subject is for properties, and for rules with --replace: leave it out");
    }
    if matches!(content, Users | Kamailio | Attributes | Content::AttributesJson) && subject.is_some() {
        return usage("--subject is for rules: leave it out");
    }
    let takes_domain = is_replace || matches!(content, Properties | Users | Kamailio | Database);
    if domain.is_some() && !takes_domain {
        return usage("--domain is for users and properties, and for --replace: leave it out");
    }
    if matches!(content, Users | Kamailio) && domain.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return usage("--domain is empty, but users belong to a tenant: name it");
    }
    if *literal && content != Rules {
        return usage("--literal is for rules: leave it out");
    }
    if (encoding.is_some() || !columns.is_empty()) && !matches!(content, Users | Rules | Attributes) {
        return usage("--encoding and --columns are for CSV: leave them out");
    }
    if hash.is_some() && !matches!(content, Users | Kamailio) {
        return usage("--hash is for users and kamailio: leave it out");
    }
    if *allow_shrink && !is_replace {
        return usage("--allow-shrink is for --replace: leave it out");
    }
    let is_database = matches!(content, Database | Kamailio);
    if !is_database && origin.is_given() {
        return usage("--from and --from-… are for database and kamailio: name a file instead");
    }
    if is_database && file.is_some() {
        return usage("FILE is given, but a database is named with --from: leave out FILE");
    }
    Ok(())
}

/// How to bring the tables into the wanted state.
struct Import<'i> {
    source: &'i dyn Source,
    scope: Scope,
    replace: bool,
    dry_run: bool,
    /// Whether passwords that cannot be used are refused.
    is_strict: bool,
    format: ListFormat,
    limit: MaxShrink,
    options: &'i Conventions,
}

impl<'i> Import<'i> {
    /// Edits the tables. If more would be removed than the limit allows, somebody at a terminal is
    /// asked. The exit code is 1 if the answer is no.
    async fn run(&mut self, mut wanted: Wanted) -> anyhow::Result<ExitCode> {
        let mut agreed = Vec::new();
        loop {
            let (there, outside, editing) = self.read(&wanted).await?;
            let plans = Plans::new(there, &mut wanted, self.replace, self.options)?;
            if let Some(plan) = &plans.users {
                passwords::check_stored(plan, self.is_strict, self.options)
                    .with_context(|| wanted.named.clone())?;
            }
            let shrinks = plans.shrinks(&outside, self.limit, self.options);
            if self.dry_run {
                return self.rehearse(editing, plans, &shrinks).await;
            }
            if shrinks == agreed {
                self.write(editing, plans).await?;
                return Ok(ExitCode::SUCCESS);
            }
            if !agreed.is_empty() {
                bail!("the tables have changed meanwhile: nothing was changed, repeat the command");
            }
            // Others would wait for this transaction while somebody is asked.
            drop(editing);
            if !io::stdin().is_terminal() {
                bail!(too_much(&shrinks));
            }
            let removed = format!("--replace would remove {}.", listed(&shrinks));
            if !is_intended(&removed, "remove them")? {
                print::write(Text::line("nothing was changed"))?;
                return Ok(ExitCode::FAILURE);
            }
            plans.give_back(&mut wanted);
            agreed = shrinks;
        }
    }

    /// Reads the existing rows in a transaction that can edit them later.
    async fn read(&mut self, wanted: &Wanted) -> anyhow::Result<(Existing, Outsides, EditSession<'i>)> {
        let (mut there, mut outside, options) = (Existing::default(), Outsides::default(), self.options);
        let scope = &mut self.scope;
        let take = |row: Row| {
            let is_covered = scope.covers(&row, options);
            match row {
                Row::User(row) if wanted.users.is_some() => {
                    keep(row, is_covered, &mut there.users, &mut outside.users, options);
                }
                Row::Rule(row) if wanted.rules.is_some() => {
                    keep(row, is_covered, &mut there.rules, &mut outside.rules, options);
                }
                Row::Attribute(row) if wanted.attributes.is_some() => {
                    keep(row, is_covered, &mut there.attributes, &mut outside.attributes, options);
                }
                Row::User(_) | Row::Rule(_) | Row::Attribute(_) => {}
            }
        };
        let mut editing = edit_session::begin(self.source, wanted.which(), Tool::Import);
        editing.read(take).await?;
        for row in wanted.narrow(&mut there.attributes, options) {
            outside.attributes.count(&row, options);
        }
        Ok((there, outside, editing))
    }

    async fn write(&self, editing: EditSession<'_>, plans: Plans) -> anyhow::Result<()> {
        let (said, total) = (self.said(&plans)?, plans.total());
        if total > 0 {
            let mut progress = Progress::new("rows written", total);
            editing.commit(plans.edits(), |count| progress.add(count)).await?;
        }
        print::done(said);
        Ok(())
    }

    /// Makes the edits and undoes them, so that a dry run fails where the database would refuse
    /// one of them.
    async fn rehearse(
        &self,
        editing: EditSession<'_>,
        plans: Plans,
        shrinks: &[Shrink],
    ) -> anyhow::Result<ExitCode> {
        let (said, total) = (self.said(&plans)?, plans.total());
        let mut progress = Progress::new("rows tried", total);
        editing.rehearse(plans.edits(), |count| progress.add(count)).await?;
        drop(progress);
        print::write(said)?;
        if !shrinks.is_empty() {
            bail!(too_much(shrinks));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn said(&self, plans: &Plans) -> anyhow::Result<Text> {
        match self.format {
            ListFormat::Json => Text::json(&plans.report(self.dry_run, self.options)),
            ListFormat::Table => Ok(Text::lines(plans.lines(self.dry_run, self.options))),
        }
    }
}

fn listed(shrinks: &[Shrink]) -> String {
    let mut texts: Vec<String> = shrinks.iter().take(NAMED).map(ToString::to_string).collect();
    if shrinks.len() > NAMED {
        texts.push(format!("{} more", shrinks.len() - NAMED));
    }
    texts.join(", ")
}

fn too_much(shrinks: &[Shrink]) -> String {
    format!(
        "--replace would remove {}, which is more than --max-shrink allows: give --allow-shrink if that is \
         intended; nothing was changed",
        listed(shrinks)
    )
}
