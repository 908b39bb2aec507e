//! `jitsiprovs user`: adds, changes, lists and removes users.

mod attributes;
mod list;
mod lookup;

use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;

use crate::cli::args::{self, ListFormat, Listed};
use crate::cli::attributes::{Assignment, AttributeChange, AttributeListing, names as attribute_names};
use crate::cli::config::TableAccess;
use crate::cli::edit_session::{self, EditSession};
use crate::cli::error::{ConfigError, usage};
use crate::cli::listing::{self, RuleListing};
use crate::cli::password;
use crate::cli::print::{self, Text};
use crate::core::attributes::AttributeRef;
use crate::core::conventions::Conventions;
use crate::core::credential::{self, Owner, PwdFmt, Storage};
use crate::core::model::{Cell, Edit, Row, Table, UserRow};
use crate::core::subject::{Means, sent_for};
use crate::source::Which;
use list::{ShownUser, UserFilter};
use lookup::{Own, UserLookup, UserRecords};

/// Runs the subcommand.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn user(options: args::UserCommand) -> anyhow::Result<ExitCode> {
    match options {
        args::UserCommand::Add { user, password, tables } => {
            add(&user, &password, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Passwd { user, password, tables } => {
            passwd(&user, &password, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::List { domain, name, with, show_secrets, listed, tables } => {
            let with = if with.is_empty() { with } else { attribute_names(&with)? };
            let filter = UserFilter { domain, name, with, show_secrets };
            list::list(filter, listed, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Set { user, values, set: args::SetArgs { value_stdin, tables } } => {
            let change = AttributeChange::Set(Assignment::read(&values, value_stdin.as_deref())?);
            attributes::change(&user, &change, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Unset { user, names, tables } => {
            let change = AttributeChange::Unset { names: attribute_names(&names)?, may_lack: false };
            attributes::change(&user, &change, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Disable { user, tables } => {
            attributes::disable(&user, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Enable { user, tables } => {
            attributes::enable(&user, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Show { user, show_secrets, listed, tables } => {
            show(&user, show_secrets, listed, &TableAccess::new(tables)?).await?;
        }
        args::UserCommand::Remove { user, with_rules, all, id, tables } => {
            remove(&user, with_rules, all, id, &TableAccess::new(tables)?).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(user: &str, typed: &args::PasswordArgs, tables: &TableAccess) -> anyhow::Result<()> {
    let (name, domain) = edit_session::name(user)?;
    let storage = storage(typed.hash, tables.snapshot.pwd_fmt)?;
    tables.source.editable(Table::UserAuth)?;
    let mut row = UserRow::from_cells(0, [name.into(), domain.into(), Cell::Null]);
    if let Some(why) = tables.snapshot.unusable(&Row::User(row.clone())) {
        bail!("{user:?} cannot be a user: {why}");
    }
    let who = UserLookup::new(name, domain, &tables.snapshot);
    if !typed.password_stdin {
        // Check this first, so that nobody types a password in vain.
        who.find(tables).await?.must_be_new()?;
    }
    row.password = hash(user, typed, storage, name, domain, tables)?;
    let mut editing = EditSession::new(&*tables.source, Which::All);
    let found = who.find_in(&mut editing).await?;
    found.must_be_new()?;
    editing.commit([Edit::Add(Row::User(row))], |_| ()).await?;
    print::done(Text::line(format_args!("added {user}, password stored as {}", storage.name())));
    if !found.attributes.is_empty() {
        let names: Vec<_> = found.attributes.iter().map(|row| row.name.shown()).collect();
        print::warn(format_args!(
            "attributes for this name were there before, and are this user's now: {}",
            names.join(", ")
        ));
    }
    let bare = found.rules.iter().filter(|own| own.means == Means::Name);
    let ids: Vec<i64> = bare.map(|own| own.row.id).collect();
    let known = sent_for(&tables.snapshot.comparison.fold(name));
    if let Some(known) = known.filter(|_| !ids.is_empty()) {
        print::warn(format_args!(
            "{} for the subject {name:?} now {} for this user alone; if the {} is meant, \
             write the subject as {}={name}",
            listing::rules_of(&ids),
            if ids.len() == 1 { "is" } else { "are" },
            known.name(),
            known.name(),
        ));
    }
    Ok(())
}

async fn passwd(user: &str, typed: &args::PasswordArgs, tables: &TableAccess) -> anyhow::Result<()> {
    let (name, domain) = edit_session::name(user)?;
    let storage = storage(typed.hash, tables.snapshot.pwd_fmt)?;
    tables.source.editable(Table::UserAuth)?;
    let mut found = UserLookup::new(name, domain, &tables.snapshot).find(tables).await?;
    found.must_be_there(user)?;
    let before = found.users.remove(0);
    // Digests are computed from the names as stored.
    let (name, domain) = (before.username.shown().into_owned(), before.domain.shown().into_owned());
    let (id, shown) = (before.id, lookup::name(&before));
    let password = hash(&shown, typed, storage, &name, &domain, tables)?;
    let mut editing = EditSession::new(&*tables.source, Which::One(Table::UserAuth, id));
    let mut now = None;
    editing.read(|row| now = Some(row)).await?;
    let now = match now {
        Some(Row::User(now)) if (&now.username, &now.domain) == (&before.username, &before.domain) => now,
        _ => bail!("{shown}, id {id}, was renamed or removed meanwhile: nothing was changed"),
    };
    let (now, after) = (Row::User(now), Row::User(UserRow { password, ..before }));
    let columns = now.differing(&after);
    editing.commit([Edit::Set(after, columns)], |_| ()).await?;
    print::done(Text::line(format_args!("changed the password of {shown}, stored as {}", storage.name())));
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
fn storage(typed: Option<args::Hash>, format: PwdFmt) -> Result<Storage, ConfigError> {
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

/// Asks for the password and returns the hash to store.
fn hash(
    whose: &str,
    typed: &args::PasswordArgs,
    storage: Storage,
    username: &str,
    domain: &str,
    tables: &TableAccess,
) -> anyhow::Result<Cell> {
    let password = password::ask(whose, typed.password_stdin)?;
    let realm = tables.snapshot.realm.as_deref().unwrap_or(domain);
    let stored = credential::hash(storage, password.reveal(), Owner { username, realm })?;
    Ok(Cell::from(&*stored))
}

async fn show(user: &str, show_secrets: bool, listed: Listed, tables: &TableAccess) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct UserReport {
        users: Vec<ShownUser>,
        attributes: Vec<AttributeListing>,
        rules: Vec<RuleListing>,
    }
    let (name, domain) = edit_session::name(user)?;
    let found = UserLookup::new(name, domain, &tables.snapshot).find(tables).await?;
    found.must_be_there(user)?;
    let snapshot = found.snapshot(&tables.snapshot);
    let attributes = found.session(&snapshot).map(|session| session.attributes()).unwrap_or_default();
    let shown = |(level, known): (_, AttributeRef<'_>)| AttributeListing::new(known, level, show_secrets);
    let attributes: Vec<AttributeListing> = attributes.into_iter().map(shown).collect();
    let UserRecords { users, mut rules, .. } = found;
    rules.sort_by_key(|own| listing::order(&own.row));
    let rules: Vec<RuleListing> =
        rules.iter().map(|own| RuleListing::new(&own.row, show_secrets, &tables.snapshot)).collect();
    let lowest = users[0].id;
    let users =
        users.iter().map(|row| ShownUser::new(row, row.id == lowest, &tables.snapshot)).collect::<Vec<_>>();
    if listed.format == ListFormat::Json {
        return print::write(Text::json(&UserReport { users, attributes, rules })?);
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
    print::write(text)
}

async fn remove(
    user: &str,
    with_rules: bool,
    all: bool,
    id: Option<i64>,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    let (name, domain) = edit_session::name(user)?;
    tables.source.editable(Table::UserAuth)?;
    let mut editing = EditSession::new(&*tables.source, Which::All);
    let mut found = UserLookup::new(name, domain, &tables.snapshot).find_in(&mut editing).await?;
    found.must_be_there(user)?;
    let known: Vec<i64> = found.users.iter().map(|row| row.id).collect();
    let gone = chosen(user, &known, all, id)?;
    let is_last = gone.len() == known.len();
    if with_rules && !is_last {
        bail!(
            "--with-rules cannot be used with --id here: other rows with this name would remain, and the \
             rules are theirs too; use --all to remove all rows and the rules, or leave out --with-rules; \
             nothing was changed"
        );
    }
    // If another user with this name stays, the rules stay too.
    found.rules.retain(|_| is_last);
    let (goes, stays): (Vec<_>, Vec<_>) =
        found.rules.iter().partition(|own| with_rules && (!own.is_of_all || found.namesakes == 0));
    let rules: Vec<i64> = goes.iter().map(|own| own.row.id).collect();
    let attributes = if is_last { attributes::removable(user, &found, tables) } else { Vec::new() };
    let of = |table| move |id: &i64| Edit::Remove(table, *id);
    let edits = gone.iter().map(of(Table::UserAuth));
    let edits = edits.chain(rules.iter().map(of(Table::JitsiProperty)));
    let edits: Vec<Edit> = edits.chain(attributes.iter().map(of(Table::UserAttribute))).collect();
    editing.commit(edits, |_| ()).await?;
    print::done(Text::line(removed(user, &gone, attributes.len(), &rules)));
    if is_last && !found.has_neighbours {
        print::warn(format_args!(
            "this was the only user of the tenant {domain}: servers withhold such a loss, and let the user in, \
             until you confirm it with `jitsiprovs confirm`"
        ));
    }
    let (others, own): (Vec<_>, Vec<_>) =
        stays.into_iter().partition(|own| own.is_of_all && found.namesakes > 0);
    warn_of_own_rules(name, &own, &tables.snapshot);
    let others: Vec<i64> = others.iter().map(|own| own.row.id).collect();
    if with_rules && !others.is_empty() {
        print::warn(format_args!(
            "{} {}: another tenant also has a user with that name, and rules for all tenants are for both",
            listing::rules_of(&others),
            stay(&others),
        ));
    }
    Ok(())
}

/// What was removed, as a sentence.
fn removed(user: &str, gone: &[i64], attributes: usize, rules: &[i64]) -> String {
    let mut text = format!("removed {user}, {}", listing::ids(gone));
    if attributes > 0 {
        text += &format!(", with {}", print::counted(attributes, "attribute"));
    }
    if !rules.is_empty() {
        text += &format!(" and {}", listing::rules_of(rules));
    }
    text
}

/// The ids to remove, of the rows with the name `user`.
fn chosen(user: &str, known: &[i64], all: bool, id: Option<i64>) -> anyhow::Result<Vec<i64>> {
    match id {
        Some(id) if !known.contains(&id) => {
            bail!("id {id} is not {user}, who has {}: nothing was changed", listing::ids(known))
        }
        Some(id) => Ok(vec![id]),
        None if known.len() > 1 && !all => bail!(
            "{} all have the name {user}, and the server uses id {}: use --all to remove all, or --id for one",
            listing::ids(known),
            known[0]
        ),
        None => Ok(known.to_vec()),
    }
}

/// Warns that other users may now get the rules of a removed user.
fn warn_of_own_rules(name: &str, own: &[&Own], options: &Conventions) {
    let ids = |means: Means| -> Vec<i64> {
        own.iter().filter(|own| own.means == means).map(|own| own.row.id).collect()
    };
    let (bare, mut typed) = (ids(Means::Name), ids(Means::Typed));
    match sent_for(&options.comparison.fold(name)).filter(|_| !bare.is_empty()) {
        Some(known) => print::warn(format_args!(
            "{} {}, and from now on may apply to any client that sends {name:?} for the {}: to remove rules, \
             use `jitsiprovs rule remove`",
            listing::rules_of(&bare),
            stay(&bare),
            known.name(),
        )),
        None => typed.extend(bare),
    }
    if !typed.is_empty() {
        print::warn(format_args!(
            "{} {}, and will apply to any new user with that name",
            listing::rules_of(&typed),
            stay(&typed)
        ));
    }
}

fn stay(ids: &[i64]) -> &'static str {
    if ids.len() == 1 { "stays" } else { "stay" }
}
