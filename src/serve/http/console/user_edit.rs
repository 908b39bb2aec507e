//! The forms of a user's page.

use serde::Serialize;

use super::edit::{edit, is_unchanged};
use super::known::{Known, known};
use super::link;
use super::operator::Role;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::unlock::{self, Lifted, Wanted};
use super::visit::Visit;
use crate::core::credential::Storage;
use crate::core::model::{AttributeRow, Row, Table, UserRow};
use crate::core::secret::Secret;
use crate::ops::edits::{self, Assignment, AttributeChange};
use crate::snapshot::{DISABLED, Level};

/// `/console/users/DOMAIN/USERNAME/ACTION`
pub(super) async fn act(
    visit: &Visit<'_>,
    domain: &str,
    username: &str,
    action: &str,
) -> Result<Reply, Refusal> {
    if !visit.is_post {
        return Err(Refusal::NotFound);
    }
    let known = known(visit, &*visit.served()?, domain, username)?;
    match action {
        "password" => return reset(visit, &known).await,
        "unlock" => unlock(visit, &known).await?,
        "disable" => {
            visit.needs(Role::Help)?;
            let change = AttributeChange::Set(vec![Assignment::new(DISABLED, "yes")]);
            attributes(visit, &known, change, None, text("user", "disabled")).await?;
        }
        "enable" => {
            visit.needs(Role::Help)?;
            let change = AttributeChange::Unset { names: vec![DISABLED.into()], may_lack: true };
            attributes(visit, &known, change, None, text("user", "enabled")).await?;
        }
        "attributes" => attribute(visit, &known).await?,
        _ => return Err(Refusal::NotFound),
    }
    Ok(Reply::see(&link::user(&known.domain, &known.username)))
}

/// Stores a new password, and shows it if it is random.
async fn reset(visit: &Visit<'_>, known: &Known) -> Result<Reply, Refusal> {
    #[derive(Serialize)]
    struct PasswordPage {
        name: String,
        href: String,
        /// What was done.
        done: String,
        /// Empty if it was typed.
        password: String,
        /// On which nodes locks were lifted; empty if there are no others.
        lifted: String,
    }
    visit.needs(Role::Help)?;
    let id = *known.ids.first().ok_or(Refusal::NotFound)?;
    let sealed = visit.form.get("row").unwrap_or_default();
    let typed = visit.form.get("password").filter(|typed| !typed.is_empty());
    let password = typed.map_or_else(edits::new_password, Secret::new);
    visit.console.source.editable(Table::UserAuth)?;
    let row = visit.console.source.rows(Table::UserAuth, vec![id]).await?.pop();
    let row = row.ok_or_else(|| Refusal::Changed(text("edit", "gone").into()))?;
    is_unchanged(&row, sealed)?;
    let Row::User(user) = row else { return Err(Refusal::NotFound) };
    let options = &visit.console.conventions;
    let stored = edits::stored_password(Storage::best_in(options.pwd_fmt), &password, &user, options);
    let stored = stored.map_err(|why| Refusal::Bad(why.to_string()))?;
    let edited = edit(visit, (Table::UserAuth, id), sealed, |row| match row {
        Row::User(now) => Ok(vec![edits::put_password(now, stored)]),
        _ => Ok(Vec::new()),
    })
    .await?;
    let name = format!("{}@{}", known.username, known.domain);
    tracing::info!(operator = visit.operator().name, user = name, "console: password reset");
    let lifted = lift(visit, known).await?;
    let lifted = if visit.console.peers.are_there() { lifted.words } else { String::new() };
    let href = link::user(&known.domain, &known.username);
    let password = if typed.is_some() { String::new() } else { password.reveal().to_owned() };
    let done = edited.words(text("user", "password_set"));
    let page = PasswordPage { name: name.clone(), href, done, password, lifted };
    Ok(page::show(visit, "password", &name, &page))
}

async fn unlock(visit: &Visit<'_>, known: &Known) -> Result<(), Refusal> {
    visit.needs(Role::Help)?;
    let lifted = lift(visit, known).await?;
    visit.session.note(match visit.console.peers.are_there() {
        true => lifted.words,
        false => text("user", if lifted.here > 0 { "unlocked" } else { "not_locked" }).to_owned(),
    });
    Ok(())
}

/// Forgets the failures of the user's account on all nodes.
async fn lift(visit: &Visit<'_>, known: &Known) -> Result<Lifted, Refusal> {
    let name = format!("{}@{}", known.username, known.domain);
    unlock::lift(visit, &Wanted { user: Some(&name), ..Wanted::default() }).await
}

/// Sets or removes the attribute that the form names.
async fn attribute(visit: &Visit<'_>, known: &Known) -> Result<(), Refusal> {
    visit.needs(Role::Edit)?;
    let name = visit.form.text("name").ok_or_else(|| Refusal::Bad(text("user", "no_name").into()))?;
    edits::check_name(name)?;
    let change = match visit.form.get("do") {
        Some("unset") => AttributeChange::Unset { names: vec![name.to_ascii_lowercase()], may_lack: false },
        _ => {
            let value = Secret::new(visit.form.get("value").unwrap_or_default());
            AttributeChange::Set(vec![Assignment { name: name.to_owned(), value }])
        }
    };
    let id = match visit.form.get("id") {
        Some(id) => Some(id.parse().map_err(|_| Refusal::NotFound)?),
        None => None,
    };
    attributes(visit, known, change, id, text("user", "attribute_changed")).await
}

/// Changes attributes of the user: the row `only`, or all rows of the names.
async fn attributes(
    visit: &Visit<'_>,
    known: &Known,
    change: AttributeChange,
    only: Option<i64>,
    done: &str,
) -> Result<(), Refusal> {
    let sealed = visit.form.get("row").unwrap_or_default();
    let own = known.attributes.iter().filter(|one| one.level == Level::User && one.id != i64::MIN);
    let wanted = own.filter(|one| only.map_or(change.concerns(&one.name), |only| one.id == only));
    let ids: Vec<i64> = wanted.map(|one| one.id).collect();
    if only.is_some() && ids.is_empty() {
        return Err(Refusal::Changed(text("edit", "gone").into()));
    }
    let user = *known.ids.first().ok_or(Refusal::NotFound)?;
    let source = &visit.console.source;
    source.editable(Table::UserAttribute)?;
    let rows = source.rows(Table::UserAttribute, ids).await?.into_iter();
    let rows: Vec<AttributeRow> = rows
        .filter_map(|row| match row {
            Row::Attribute(row) => Some(row),
            _ => None,
        })
        .collect();
    let whose = format!("{}@{}", known.username, known.domain);
    let options = &visit.console.conventions;
    let made = |holder: &AttributeRow, rows: &[AttributeRow]| -> Result<Vec<_>, Refusal> {
        Ok(change.edits(rows, holder, &whose, options)?.edits)
    };
    let stored = match only {
        Some(id) => {
            let make = |row| match row {
                Row::Attribute(now) => made(&now, std::slice::from_ref(&now)),
                _ => Ok(Vec::new()),
            };
            edit(visit, (Table::UserAttribute, id), sealed, make).await?
        }
        None => {
            let holder = |user: &UserRow| edits::holder(user);
            let make = |row| match row {
                Row::User(now) => made(&holder(&now), &rows),
                _ => Ok(Vec::new()),
            };
            edit(visit, (Table::UserAuth, user), sealed, make).await?
        }
    };
    tracing::info!(operator = visit.operator().name, user = whose, "console: attributes changed");
    visit.session.note(stored.words(done));
    Ok(())
}
