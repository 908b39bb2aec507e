//! `jitsiprovs user remove`.

use anyhow::bail;

use super::attributes;
use super::lookup::{Own, UserLookup};
use crate::cli::args::EditArgs;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::listing;
use crate::cli::print::{self, Text};
use crate::core::conventions::Conventions;
use crate::core::history::Tool;
use crate::core::model::{Edit, Table};
use crate::core::subject::{Means, sent_for};
use crate::ops::edits::Action;
use crate::source::Which;

/// What to remove.
pub struct Chosen {
    /// All rows with the user's name.
    pub all: bool,
    /// Only the row with this id.
    pub id: Option<i64>,
    /// Not the user's own rules.
    pub keep_rules: bool,
}

/// Removes a user with their attributes and their own rules.
///
/// # Errors
/// When there is no such user, or when several rows have the name and none is chosen: then
/// nothing is changed.
pub async fn remove(user: &str, chosen: Chosen, edit: EditArgs) -> anyhow::Result<()> {
    let (mode, tables) = EditMode::open(edit)?;
    let Chosen { all, id, keep_rules } = chosen;
    let (name, domain) = edit_session::name(user)?;
    tables.source.editable(Table::UserAuth)?;
    let mut editing = edit_session::begin(&*tables.source, Which::All, Tool::Command);
    let mut found = UserLookup::new(name, domain, &tables.snapshot).find_in(&mut editing).await?;
    found.must_be_there(user)?;
    let known: Vec<i64> = found.users.iter().map(|row| row.id).collect();
    let gone = rows(user, &known, all, id)?;
    let is_last = gone.len() == known.len();
    // If another row with this name stays, the rules and the attributes are still its user's.
    found.rules.retain(|_| is_last);
    let others_too = |own: &&Own| own.is_of_all && found.namesakes > 0;
    let (of_others, own): (Vec<_>, Vec<_>) = found.rules.iter().partition(others_too);
    let (goes, stays) = match tables.source.editable(Table::JitsiProperty) {
        _ if keep_rules => (Vec::new(), own),
        Ok(()) => (own, Vec::new()),
        Err(why) => {
            if !own.is_empty() {
                mode.warn(format_args!("the rules of {user} stay: {why}"));
            }
            (Vec::new(), own)
        }
    };
    let rules: Vec<i64> = goes.iter().map(|own| own.row.id).collect();
    let attributes = if is_last { attributes::removable(user, &found, &tables) } else { Vec::new() };
    let of = |table| move |id: &i64| Edit::Remove(table, *id);
    let edits = gone.iter().map(of(Table::UserAuth));
    let edits = edits.chain(rules.iter().map(of(Table::JitsiProperty)));
    let edits: Vec<Edit> = edits.chain(attributes.iter().map(of(Table::UserAttribute))).collect();
    let report = EditReport { user: Some(user.to_owned()), ..EditReport::new(Action::Removed, &edits) };
    editing.make(edits, mode.dry_run).await?;
    let text = mode.did("removed", removed(user, &gone, attributes.len(), &rules));
    mode.report(Text::line(text), report)?;
    if is_last && !found.has_neighbours {
        mode.warn(format_args!(
            "this was the only user of the tenant {domain}: servers withhold such a loss, and let the user in, \
             until you confirm it with `jitsiprovs confirm`"
        ));
    }
    warn_of_own_rules(name, &stays, mode, &tables.snapshot);
    let of_others: Vec<i64> = of_others.iter().map(|own| own.row.id).collect();
    if !keep_rules && !of_others.is_empty() {
        mode.warn(format_args!(
            "{} {}: another tenant also has a user with that name, and rules for all tenants are for both",
            listing::rules_of(&of_others),
            stay(&of_others),
        ));
    }
    Ok(())
}

/// What is removed.
fn removed(user: &str, gone: &[i64], attributes: usize, rules: &[i64]) -> String {
    let mut text = format!("{user}, {}", listing::ids(gone));
    if attributes > 0 {
        text += &format!(", with {}", print::counted(attributes, "attribute"));
    }
    if !rules.is_empty() {
        text += &format!(" and {}", listing::rules_of(rules));
    }
    text
}

/// The ids to remove, of the rows with the name `user`.
fn rows(user: &str, known: &[i64], all: bool, id: Option<i64>) -> anyhow::Result<Vec<i64>> {
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
fn warn_of_own_rules(name: &str, own: &[&Own], mode: EditMode, options: &Conventions) {
    let ids = |means: Means| -> Vec<i64> {
        own.iter().filter(|own| own.means == means).map(|own| own.row.id).collect()
    };
    let (bare, mut typed) = (ids(Means::Name), ids(Means::Typed));
    match sent_for(&options.comparison.fold(name)).filter(|_| !bare.is_empty()) {
        Some(known) => mode.warn(format_args!(
            "{} {}, and from now on may apply to any client that sends {name:?} for the {}: to remove rules, \
             use `jitsiprovs rule remove`",
            listing::rules_of(&bare),
            stay(&bare),
            known.name(),
        )),
        None => typed.extend(bare),
    }
    if !typed.is_empty() {
        mode.warn(format_args!(
            "{} {}, and will apply to any new user with that name",
            listing::rules_of(&typed),
            stay(&typed)
        ));
    }
}

fn stay(ids: &[i64]) -> &'static str {
    if ids.len() == 1 { "stays" } else { "stay" }
}
