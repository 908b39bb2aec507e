//! `jitsiprovs user`: adds, changes, lists and removes users.

mod attributes;
mod list;
mod lookup;
mod removal;

use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;

use super::fetch;
use crate::cli::args::{self, ListFormat, Listed};
use crate::cli::attributes::{AttributeListing, names as attribute_names};
use crate::cli::config::TableAccess;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::error::{ConfigError, usage};
use crate::cli::listing::{self, RuleListing};
use crate::cli::password;
use crate::cli::print::{self, Text};
use crate::core::attributes::AttributeRef;
use crate::core::conventions::Conventions;
use crate::core::credential::{self, PwdFmt, Storage};
use crate::core::fetch::{FetchFilter, FetchListing};
use crate::core::history::Tool;
use crate::core::model::{Cell, Edit, Row, Table, UserRow};
use crate::core::subject::{Means, sent_for};
use crate::ops::edits::{self, Action, Assignment, AttributeChange, AttributeEdits};
use crate::source::Which;
use list::{ShownUser, UserFilter};
use lookup::{UserLookup, UserRecords};

/// Runs the subcommand.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn user(options: args::UserCommand) -> anyhow::Result<ExitCode> {
    match options {
        args::UserCommand::Add { user, surplus, password, set, edit } => {
            if !surplus.is_empty() {
                usage(
                    "only the user is an argument: the command asks for the password, or reads it from standard input \
                     with --password-stdin; attributes are given with --set",
                )?;
            }
            add(&user, &password, &set, edit).await?;
        }
        args::UserCommand::Passwd { user, password, edit } => passwd(&user, &password, edit).await?,
        args::UserCommand::List { domain, name, with, show_secrets, listed, tables } => {
            let with = if with.is_empty() { with } else { attribute_names(&with)? };
            let filter = UserFilter { domain, name, with, show_secrets };
            list::list(filter, listed, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Set { user, values, set: args::SetArgs { value_stdin, edit } } => {
            let change = AttributeChange::Set(Assignment::read(&values, value_stdin.as_deref())?);
            attributes::change(&user, &change, edit).await?;
        }
        args::UserCommand::Unset { user, names, edit } => {
            let change = AttributeChange::Unset { names: attribute_names(&names)?, may_lack: false };
            attributes::change(&user, &change, edit).await?;
        }
        args::UserCommand::Disable { user, edit } => attributes::disable(&user, edit).await?,
        args::UserCommand::Enable { user, edit } => attributes::enable(&user, edit).await?,
        args::UserCommand::Show { user, show_secrets, listed, tables } => {
            show(&user, show_secrets, listed, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Remove { user, keep_rules, with_rules: _, all, id, edit } => {
            removal::remove(&user, removal::Chosen { all, id, keep_rules }, edit).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(
    user: &str,
    typed: &args::PasswordArgs,
    set: &[String],
    edit: args::EditArgs,
) -> anyhow::Result<()> {
    let (mode, tables) = EditMode::open(edit)?;
    let (name, domain) = edit_session::name(user)?;
    let storage = storage(typed.hash, tables.snapshot.pwd_fmt)?;
    let values = if set.is_empty() { Vec::new() } else { Assignment::read(set, None)? };
    tables.source.editable(Table::UserAuth)?;
    let mut row = UserRow::from_cells(0, [name.into(), domain.into(), Cell::Null]);
    if let Some(why) = tables.snapshot.unusable(&Row::User(row.clone())) {
        bail!("{user:?} cannot be a user: {why}");
    }
    let who = UserLookup::new(name, domain, &tables.snapshot);
    if !typed.password_stdin {
        // Check this first, so that nobody types a password in vain.
        who.find(&tables).await?.must_be_new()?;
    }
    row.password = hash(user, typed, storage, &row, mode, &tables)?;
    let mut editing = edit_session::begin(&*tables.source, Which::All, Tool::Command);
    let found = who.find_in(&mut editing).await?;
    found.must_be_new()?;
    let AttributeEdits { edits, done } = attributes::added(&row, &found.attributes, values, &tables)?;
    let edits: Vec<Edit> = [Edit::Add(Row::User(row))].into_iter().chain(edits).collect();
    let added = EditReport::new(Action::Added, &edits);
    editing.make(edits, mode.dry_run).await?;
    let mut text = format!("{}, password stored as {}", mode.did("added", user), storage.name());
    if !done.is_empty() {
        text += &format!(", with {}", print::counted(done.len(), "attribute"));
    }
    let set: Vec<String> = done.iter().map(|one| one.name.to_ascii_lowercase()).collect();
    let (user, stored_as) = (Some(user.to_owned()), Some(storage.name()));
    mode.report(Text::line(text), EditReport { user, stored_as, attributes: done, ..added })?;
    if !found.has_neighbours && !found.other_domains.is_empty() {
        let known = found.other_domains.iter().map(String::as_str);
        mode.note(format_args!(
            "this is the first user of the tenant {domain}{}",
            listing::did_you_mean(domain, known)
        ));
    }
    warn_of_what_was_there(name, &found, &set, mode, &tables.snapshot);
    Ok(())
}

/// Warns of attributes and rules that a new user gets because they were there before. `set` are
/// the attributes that were given, in lower case.
fn warn_of_what_was_there(
    name: &str,
    found: &UserRecords,
    set: &[String],
    mode: EditMode,
    options: &Conventions,
) {
    let names = found.attributes.iter().map(|row| row.name.shown());
    let names: Vec<_> = names.filter(|name| !set.contains(&name.to_ascii_lowercase())).collect();
    if !names.is_empty() {
        mode.warn(format_args!(
            "attributes for this name were there before, and are this user's now: {}",
            names.join(", ")
        ));
    }
    let bare = found.rules.iter().filter(|own| own.means == Means::Name);
    let ids: Vec<i64> = bare.map(|own| own.row.id).collect();
    let known = sent_for(&options.comparison.fold(name));
    if let Some(known) = known.filter(|_| !ids.is_empty()) {
        mode.warn(format_args!(
            "{} for the subject {name:?} now {} for this user alone; if the {} is meant, \
             write the subject as {}={name}",
            listing::rules_of(&ids),
            if ids.len() == 1 { "is" } else { "are" },
            known.name(),
            known.name(),
        ));
    }
}

async fn passwd(user: &str, typed: &args::PasswordArgs, edit: args::EditArgs) -> anyhow::Result<()> {
    let (mode, tables) = EditMode::open(edit)?;
    let (name, domain) = edit_session::name(user)?;
    let storage = storage(typed.hash, tables.snapshot.pwd_fmt)?;
    tables.source.editable(Table::UserAuth)?;
    let mut found = UserLookup::new(name, domain, &tables.snapshot).find(&tables).await?;
    found.must_be_there(user)?;
    let before = found.users.remove(0);
    let (id, shown) = (before.id, lookup::name(&before));
    let password = hash(&shown, typed, storage, &before, mode, &tables)?;
    let mut editing = edit_session::begin(&*tables.source, Which::One(Table::UserAuth, id), Tool::Command);
    let mut now = None;
    editing.read(|row| now = Some(row)).await?;
    let now = match now {
        Some(Row::User(now)) if (&now.username, &now.domain) == (&before.username, &before.domain) => now,
        _ => bail!("{shown}, id {id}, was renamed or removed meanwhile: nothing was changed"),
    };
    let edits = [edits::put_password(now, password)];
    let changed = EditReport::new(Action::Changed, &edits);
    editing.make(edits, mode.dry_run).await?;
    let text = mode.did("changed", format_args!("the password of {shown}"));
    let text = Text::line(format_args!("{text}, stored as {}", storage.name()));
    mode.report(text, EditReport { user: Some(shown), stored_as: Some(storage.name()), ..changed })?;
    if !found.users.is_empty() {
        let others: Vec<i64> = found.users.iter().map(|row| row.id).collect();
        print::warn(format_args!(
            "this is id {id}, the lowest and the only one that the server uses: remove the other rows \
             with this name ({}) with `jitsiprovs user remove --id ID`",
            listing::ids(&others),
        ));
    }
    Ok(())
}

/// The form in which to store passwords.
pub(super) fn storage(typed: Option<args::Hash>, format: PwdFmt) -> Result<Storage, ConfigError> {
    let storage = match typed {
        None => Storage::best_in(format),
        Some(args::Hash::Argon2id) => Storage::Argon2id,
        Some(args::Hash::Bcrypt) => Storage::Bcrypt,
        Some(args::Hash::Sha512Crypt) => Storage::Sha512Crypt,
        Some(args::Hash::Md5) => Storage::Table(PwdFmt::Md5),
        Some(args::Hash::Plain) => Storage::Table(PwdFmt::Plain),
        Some(args::Hash::Ha1) => Storage::Table(PwdFmt::Ha1),
        Some(args::Hash::Ha1Sha256) => Storage::Table(PwdFmt::Ha1Sha256),
    };
    match storage.mistaken_in(format) {
        None => Ok(storage),
        Some(mistaken) => usage(format!(
            "--hash {} with --pwd-fmt {}: a server with that --pwd-fmt would take the stored password for \
             {mistaken}; leave out --hash, or give the --pwd-fmt of your servers",
            storage.name(),
            Storage::Table(format).name(),
        )),
    }
}

/// Asks for the password and returns the hash to store, which is computed from the names as
/// stored. A dry run asks nobody, hashes nothing and returns something else in its place; it
/// checks the password if that comes from standard input.
fn hash(
    whose: &str,
    typed: &args::PasswordArgs,
    storage: Storage,
    user: &UserRow,
    mode: EditMode,
    tables: &TableAccess,
) -> anyhow::Result<Cell> {
    if mode.dry_run {
        if typed.password_stdin {
            credential::check_storable(storage, password::ask(whose, true)?.reveal())?;
        }
        return Ok("".into());
    }
    let password = password::ask(whose, typed.password_stdin)?;
    Ok(edits::stored_password(storage, &password, user, &tables.snapshot)?)
}

async fn show(user: &str, show_secrets: bool, listed: Listed, tables: &TableAccess) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct UserReport {
        users: Vec<ShownUser>,
        attributes: Vec<AttributeListing>,
        rules: Vec<RuleListing>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        fetches: Vec<FetchListing>,
    }
    let (name, domain) = edit_session::name(user)?;
    let found = UserLookup::new(name, domain, &tables.snapshot).find(tables).await?;
    found.must_be_there(user)?;
    let snapshot = found.snapshot(&tables.snapshot);
    let attributes = found.session(&snapshot).map(|session| session.attributes()).unwrap_or_default();
    let shown = |(level, known): (_, AttributeRef<'_>)| AttributeListing::new(known, level, show_secrets);
    let attributes: Vec<AttributeListing> = attributes.into_iter().map(shown).collect();
    let fetches = last_fetches(name, domain, tables).await?;
    let UserRecords { users, mut rules, .. } = found;
    rules.sort_by_key(|own| listing::order(&own.row));
    let rules: Vec<RuleListing> =
        rules.iter().map(|own| RuleListing::new(&own.row, show_secrets, &tables.snapshot)).collect();
    let lowest = users[0].id;
    let users =
        users.iter().map(|row| ShownUser::new(row, row.id == lowest, &tables.snapshot)).collect::<Vec<_>>();
    if listed.format == ListFormat::Json {
        return print::write(Text::json(&UserReport { users, attributes, rules, fetches })?);
    }
    let mut text = Text::listed(&ShownUser::columns(), users.iter().map(ShownUser::cells), listed);
    if !attributes.is_empty() {
        text.push("");
        text.append(Text::listed(
            &AttributeListing::columns(),
            attributes.iter().map(AttributeListing::cells),
            listed,
        ));
        text.push("");
    }
    match rules.is_empty() {
        true => text.push("no rules of their own"),
        false => {
            if attributes.is_empty() {
                text.push("");
            }
            text.append(Text::listed(&RuleListing::columns(), rules.iter().map(RuleListing::cells), listed));
        }
    }
    if !fetches.is_empty() {
        text.push("");
        text.append(Text::listed(&fetch::columns(), fetches.iter().map(fetch::cells), listed));
    }
    print::write(text)
}

/// The user's last success and last failure.
async fn last_fetches(name: &str, domain: &str, tables: &TableAccess) -> anyhow::Result<Vec<FetchListing>> {
    let fold = |name: &str| Some(tables.snapshot.comparison.fold_text(name));
    let wanted =
        FetchFilter { domain: fold(domain), username: fold(name), most: 1000, ..FetchFilter::default() };
    let fetches = tables.source.fetches(wanted).await?;
    let last = |is_ok| fetches.iter().find(|fetch| fetch.is_ok == is_ok).cloned();
    Ok([last(true), last(false)].into_iter().flatten().map(FetchListing::from).collect())
}
