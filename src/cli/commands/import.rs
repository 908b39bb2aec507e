//! `jitsiprovs import`: users and rules out of files and other databases, in one
//! transaction.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cli::args::{self, Content, ListFormat};
use crate::cli::config::{ConfigError, ImportOrigin, OriginKind, TableAccess};
use crate::cli::edit_session::{self, EditSession};
use crate::cli::print::{self, NAMED, Text, counted, note, note_left_out};
use crate::cli::progress::Progress;
use crate::core::conventions::Conventions;
use crate::core::credential::{Credential, Owner, PwdFmt};
use crate::core::model::{Row, Table};
use crate::core::properties::{IDENTITY, client_key};
use crate::core::secret::is_secret;
use crate::ops::transfer::plan::{Item, Plan, PlanCounts, Told, usable};
use crate::ops::transfer::properties_file::{self, Target, literal};
use crate::ops::transfer::{self, FileRule, FileUser, default_spriority, rules, templatize, users};
use crate::source::{Source, Which};

/// What is to be there, each with its line; `None` for what the import is not
/// about.
#[derive(Default)]
struct Wanted {
    /// Where it is from, for errors.
    named: String,
    users: Option<Vec<(u64, FileUser)>>,
    rules: Option<Vec<(u64, FileRule)>>,
    /// The tenant and the subject whose rules these are, if they are all of one.
    scope: Option<(String, String)>,
}

/// What properties become.
struct Properties {
    domain: Option<String>,
    subject: Option<String>,
    spriority: Option<i32>,
    templatize: Option<String>,
    is_template: bool,
}

impl Properties {
    fn is_given(&self) -> bool {
        let Properties { domain, subject, spriority, templatize, is_template } = self;
        domain.is_some() || subject.is_some() || spriority.is_some() || templatize.is_some() || *is_template
    }
}

/// Edits the tables so that they say what was read, or says what that would be.
///
/// # Errors
/// When something cannot be read or written: then nothing is changed.
pub async fn import(options: args::ImportArgs) -> anyhow::Result<ExitCode> {
    let args::ImportArgs { content, file, from, from_pwd_file, tables, dry_run, replace, listed, .. } =
        options;
    let args::ImportArgs { domain, subject, spriority, templatize, templates: is_template, .. } = options;
    let properties = Properties { domain, subject, spriority, templatize, is_template };
    let TableAccess { source, snapshot, .. } = TableAccess::new(tables)?;
    let is_database = matches!(content, Content::Database | Content::Kamailio);
    if properties.is_given() && content != Content::Properties {
        return usage(
            "--domain, --subject, --spriority, --templatize and --templates are for properties: leave them out",
        );
    }
    if !is_database && (from.is_some() || from_pwd_file.is_some()) {
        return usage("--from and --from-pwd-file are for database and kamailio: name a file instead");
    }
    if is_database && file.is_some() {
        return usage("a database is named with --from, not as a file");
    }
    let wanted = if is_database {
        let kind = if content == Content::Kamailio { OriginKind::Kamailio } else { OriginKind::Jitsiprovs };
        if kind == OriginKind::Kamailio && !matches!(snapshot.pwd_fmt, PwdFmt::Ha1 | PwdFmt::Ha1Sha256) {
            return usage("Kamailio keeps ha1: give --pwd-fmt ha1 here, and to the server");
        }
        of_database(ImportOrigin::new(kind, from, from_pwd_file)?, kind, &snapshot).await?
    } else {
        of_file(content, file, &properties, replace, &snapshot)?
    };
    make(&*source, wanted, replace, dry_run, listed.format, &snapshot).await?;
    Ok(ExitCode::SUCCESS)
}

fn usage<T>(message: &str) -> anyhow::Result<T> {
    Err(ConfigError::Usage(message.into()).into())
}

fn of_file(
    content: Content,
    file: Option<PathBuf>,
    properties: &Properties,
    replace: bool,
    options: &Conventions,
) -> anyhow::Result<Wanted> {
    let (named, text) = read(file.as_deref())?;
    let parsed = || named.clone();
    let rules = |rules| Wanted { rules: Some(rules), ..Wanted::default() };
    let wanted = match content {
        Content::Users => {
            let users = users::parse(&text, options).with_context(parsed)?;
            Wanted { users: Some(users), ..Wanted::default() }
        }
        Content::Rules => rules(rules::parse_csv(&text, options).with_context(parsed)?),
        Content::RulesJson => rules(rules::parse_json(&text, options).with_context(parsed)?),
        Content::Properties => {
            let account = properties
                .templatize
                .as_deref()
                .map(edit_session::name)
                .transpose()
                .context("--templatize")?;
            let domain = properties.domain.clone().unwrap_or_default();
            let subject = properties.subject.clone().unwrap_or_else(|| "default".into());
            let spriority = properties.spriority.unwrap_or_else(|| default_spriority(&subject, &domain));
            let target = Target { domain: &domain, subject: &subject, spriority };
            let templates = templates(&text, account, properties.is_template);
            let found =
                templates.and_then(|templates| target.rules(templates, options)).with_context(parsed)?;
            if found.is_empty() && replace {
                bail!(
                    "{named}: there is no property in it, so --replace would only remove: use `jitsiprovs rule remove`"
                );
            }
            Wanted { scope: Some((domain, subject)), ..rules(found) }
        }
        Content::Database | Content::Kamailio => unreachable!("they are no files"),
    };
    Ok(Wanted { named, ..wanted })
}

/// The file, or standard input.
#[allow(clippy::disallowed_methods, reason = "a command that reads its input serves nobody")]
fn read(file: Option<&Path>) -> anyhow::Result<(String, Vec<u8>)> {
    match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            let name = file.display().to_string();
            let text = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
            Ok((name, text))
        }
        None => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
            Ok(("standard input".into(), text))
        }
    }
}

type Templates = Vec<(u64, String, String)>;

/// The properties of the file as templates; says what is not as it was.
fn templates(
    text: &[u8],
    account: Option<(&str, &str)>,
    is_template: bool,
) -> Result<Templates, transfer::FileError> {
    let (mut properties, doubles) = properties_file::parse(text)?;
    for properties_file::Double { key, lost, kept } in doubles {
        note(format_args!("{key} is there twice: line {kept} counts, as in Java, not line {lost}"));
    }
    let identity = properties.extract_if(.., |property| {
        let read = client_key(property.key.as_bytes()).unwrap_or_default();
        IDENTITY.contains(&&*String::from_utf16_lossy(&read))
    });
    for properties_file::FileProperty { line, key, .. } in identity {
        note(format_args!("{key} in line {line} is left out: each client has its own"));
    }
    let templates: Templates = match account {
        Some((user, domain)) => {
            let templatized = templatize::LiteralAccount::new(user, domain).templatize(properties);
            let placeholders = counted(templatized.placeholders, "placeholder");
            note(format_args!("{placeholders} in place of values of {user}@{domain}"));
            for key in &templatized.passwords {
                note(format_args!(
                    "{key} is the password that the client sends, not the one that was stored"
                ));
            }
            templatized.templates
        }
        None => {
            let template = |text: String| if is_template { text } else { literal(&text) };
            properties.into_iter().map(|p| (p.line, template(p.key), template(p.value))).collect()
        }
    };
    let secrets = templates.iter().filter(|(_, key, value)| is_secret(key, value)).count();
    if secrets > 0 {
        note(format_args!(
            "{} among the properties, which everyone whom the rules are for will get: \
             --templatize puts the own password of each in place of that of one account; remove the others",
            counted(secrets, "stored secret")
        ));
    }
    Ok(templates)
}

/// Users and rules of another database; what a server there could not use is
/// left out.
async fn of_database(
    origin: ImportOrigin,
    kind: OriginKind,
    options: &Conventions,
) -> anyhow::Result<Wanted> {
    let (mut users, mut rules) = (Vec::new(), Vec::new());
    let take = |row| match row {
        Row::User(row) => users.push(row),
        Row::Rule(row) => rules.push(row),
    };
    let which = if kind == OriginKind::Jitsiprovs { Which::All } else { Which::Of(Table::UserAuth) };
    edit_session::scan(&*origin.source, which, take).await.with_context(|| origin.named.clone())?;
    let (users, mut left_out) = usable::<FileUser>(users, options);
    let (rules, rules_left_out) = usable::<FileRule>(rules, options);
    left_out.extend(rules_left_out);
    note_left_out(&left_out);
    Ok(Wanted {
        named: origin.named,
        users: Some((1..).zip(users).collect()),
        rules: (kind == OriginKind::Jitsiprovs).then(|| (1..).zip(rules).collect()),
        scope: None,
    })
}

/// A user whose password cannot be used is a user all the same, perhaps on
/// purpose; thousands of them are the wrong `--pwd-fmt`.
fn note_unusable_passwords<'u>(users: impl Iterator<Item = &'u FileUser>, options: &Conventions) {
    let is_unusable = |user: &FileUser| {
        let realm = options.realm.as_deref().unwrap_or(&user.domain);
        let owner = Owner { username: &user.username, realm };
        Credential::parse(user.password.reveal(), options.pwd_fmt, owner).is_err()
    };
    let mut unusable = users.filter(|user| is_unusable(user));
    if let Some(first) = unusable.next() {
        note(format_args!(
            "{} cannot sign in, since what is stored as the password is none in the format of --pwd-fmt, \
             nor a hash that names its own: the first is {}",
            counted(unusable.count() + 1, "user"),
            first.label(options)
        ));
    }
}

async fn make(
    source: &dyn Source,
    wanted: Wanted,
    replace: bool,
    dry_run: bool,
    format: ListFormat,
    options: &Conventions,
) -> anyhow::Result<()> {
    let Wanted { named, users, rules, scope } = wanted;
    let comparison = options.comparison;
    for (table, is_wanted) in [(Table::UserAuth, users.is_some()), (Table::JitsiProperty, rules.is_some())] {
        // Also where nothing is written, which is to tell what would become of it.
        if is_wanted {
            source.editable(table)?;
        }
    }
    let is_in_scope = |rule: &Option<FileRule>| match (&scope, rule) {
        (None, _) => true,
        (Some((domain, subject)), Some(rule)) => {
            let is_same = |one: &str, other: &str| comparison.fold(one) == comparison.fold(other);
            is_same(domain, &rule.domain) && is_same(subject, &rule.subject)
        }
        (Some(_), None) => false,
    };
    let (mut users_there, mut rules_there) = (Vec::new(), Vec::new());
    let take = |row| match row {
        Row::User(row) if users.is_some() => users_there.push((row.id, FileUser::read(&row, options).ok())),
        Row::Rule(row) if rules.is_some() => {
            let rule = FileRule::read(&row, options).ok();
            if is_in_scope(&rule) {
                rules_there.push((row.id, rule));
            }
        }
        Row::User(_) | Row::Rule(_) => {}
    };
    let which = match (users.is_some(), rules.is_some()) {
        (true, true) => Which::All,
        (true, false) => Which::Of(Table::UserAuth),
        (false, _) => Which::Of(Table::JitsiProperty),
    };
    // A dry run keeps nobody waiting.
    let editing = match dry_run {
        true => {
            edit_session::scan(source, which, take).await?;
            None
        }
        false => {
            let mut editing = EditSession::new(source, which);
            editing.read(take).await?;
            Some(editing)
        }
    };
    let users = users.map(|users| Plan::new(users_there, users, replace, options)).transpose();
    let rules = rules.map(|rules| Plan::new(rules_there, rules, replace, options)).transpose();
    let (users, rules) = users.and_then(|users| Ok((users, rules?))).context(named)?;
    if let Some(plan) = &users {
        note_unusable_passwords(plan.wanted(), options);
    }

    let said = match format {
        ListFormat::Json => {
            let report = ImportReport {
                users: users.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
                rules: rules.as_ref().map(|plan| Edited::new(plan, dry_run, options)),
            };
            Text::json(&report)?
        }
        ListFormat::Table => {
            let mut lines = Vec::new();
            if dry_run {
                lines.extend(users.as_ref().map(|plan| plan.lines(NAMED, options)).unwrap_or_default());
                lines.extend(rules.as_ref().map(|plan| plan.lines(NAMED, options)).unwrap_or_default());
            }
            lines.extend(users.as_ref().map(|plan| summary("users", plan.counts, dry_run)));
            lines.extend(rules.as_ref().map(|plan| summary("rules", plan.counts, dry_run)));
            Text::lines(lines)
        }
    };
    let edits = |counts: Option<PlanCounts>| counts.map_or(0, PlanCounts::edits);
    let total = edits(users.as_ref().map(|plan| plan.counts)) + edits(rules.as_ref().map(|plan| plan.counts));
    if let Some(editing) = editing.filter(|_| total > 0) {
        let users = users.into_iter().flat_map(Plan::edits);
        let rules = rules.into_iter().flat_map(Plan::edits);
        let mut progress = Progress::new("rows written", total);
        editing.commit(users.chain(rules), |count| progress.add(count)).await?;
    }
    match dry_run {
        true => print::write(said),
        false => {
            print::done(said);
            Ok(())
        }
    }
}

/// What an import did, or would do: `None` for what it is not about.
#[derive(Serialize)]
struct ImportReport {
    users: Option<Edited>,
    rules: Option<Edited>,
}

/// What becomes of a table.
#[derive(Serialize)]
struct Edited {
    added: usize,
    changed: usize,
    removed: usize,
    kept: usize,
    /// Of a dry run alone.
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
