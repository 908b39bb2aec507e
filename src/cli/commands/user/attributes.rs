//! `jitsiprovs user set`, `unset`, `disable` and `enable`.

use super::lookup::{self, UserLookup, UserRecords};
use crate::cli::args::EditArgs;
use crate::cli::attributes::NO_RULES_FOR_DISABLED;
use crate::cli::config::TableAccess;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::print::{self, Text};
use crate::core::history::Tool;
use crate::core::model::{AttributeRow, Edit, Row, Table, UserRow};
use crate::ops::edits::{Assignment, AttributeChange, AttributeEdits, holder};
use crate::snapshot::{DISABLED, Level};
use crate::source::Which;

/// Switches a user off.
///
/// # Errors
/// As [`change`].
pub async fn disable(user: &str, edit: EditArgs) -> anyhow::Result<()> {
    change(user, &AttributeChange::Set(vec![Assignment::new(DISABLED, "yes")]), edit).await
}

/// Switches a user on again. Does nothing if the user is not switched off.
///
/// # Errors
/// As [`change`].
pub async fn enable(user: &str, edit: EditArgs) -> anyhow::Result<()> {
    change(user, &AttributeChange::Unset { names: vec![DISABLED.into()], may_lack: true }, edit).await
}

/// Changes attributes of a user.
///
/// # Errors
/// When there is no such user, or the change cannot be made: then nothing is changed.
pub async fn change(user: &str, change: &AttributeChange, edit: EditArgs) -> anyhow::Result<()> {
    let (mode, tables) = EditMode::open(edit)?;
    let (name, domain) = edit_session::name(user)?;
    tables.source.editable(Table::UserAttribute)?;
    let mut editing = edit_session::begin(&*tables.source, Which::All, Tool::Command);
    let mut found = UserLookup::new(name, domain, &tables.snapshot).find_in(&mut editing).await?;
    found.must_be_there(user)?;
    let row = &found.users[0];
    let whose = lookup::name(row);
    let mut made = change.edits(&found.attributes, &holder(row), &whose, &tables.snapshot)?;
    found.attributes = after(&found.attributes, &made.edits);
    let text = Text::line(format_args!("{whose}: {}", made.summary(mode)));
    let report = EditReport { user: Some(whose.clone()), ..made.report() };
    editing.make(made.edits, mode.dry_run).await?;
    mode.report(text, report)?;
    if change.concerns(DISABLED) {
        say_whether_disabled(&whose, &found, mode, &tables);
    }
    Ok(())
}

/// New attributes of a user who is new.
///
/// # Errors
/// When the server would not use one of them.
pub fn added(
    user: &UserRow,
    known: &[AttributeRow],
    values: Vec<Assignment>,
    tables: &TableAccess,
) -> anyhow::Result<AttributeEdits> {
    if values.is_empty() {
        return Ok(AttributeEdits::default());
    }
    tables.source.editable(Table::UserAttribute)?;
    Ok(AttributeChange::Set(values).edits(known, &holder(user), &lookup::name(user), &tables.snapshot)?)
}

/// The ids of the attributes to remove with the user, whose name another user may get later.
/// Warns if the attributes come from a query, so that they stay.
pub fn removable(user: &str, found: &UserRecords, tables: &TableAccess) -> Vec<i64> {
    match tables.source.editable(Table::UserAttribute) {
        Ok(()) => found.attributes.iter().map(|row| row.id).collect(),
        Err(why) => {
            if !found.attributes.is_empty() {
                print::warn(format_args!("the attributes of {user} stay: {why}"));
            }
            Vec::new()
        }
    }
}

/// The attributes after these edits. The new ones come last.
fn after(before: &[AttributeRow], edits: &[Edit]) -> Vec<AttributeRow> {
    let is_kept = |row: &&AttributeRow| !edits.iter().any(|edit| edit.id() == Some(row.id));
    let put = edits.iter().zip(0..).filter_map(|(edit, at)| match edit {
        // The database chooses the id; it is larger than all that are there.
        Edit::Add(Row::Attribute(row)) => Some(AttributeRow { id: i64::MAX - 1000 + at, ..row.clone() }),
        Edit::Set(Row::Attribute(row), _) => Some(row.clone()),
        _ => None,
    });
    before.iter().filter(is_kept).cloned().chain(put).collect()
}

/// Says whether the user is switched off now, by which level, and what follows from it.
fn say_whether_disabled(whose: &str, found: &UserRecords, mode: EditMode, tables: &TableAccess) {
    let snapshot = found.snapshot(&tables.snapshot);
    let session = found.session(&snapshot);
    let Some(session) = session.filter(|session| session.is_disabled()) else {
        return mode.note(format_args!("{whose} is not switched off"));
    };
    let by = session.attributes().into_iter().find(|(_, attribute)| attribute.name == DISABLED);
    let cause = match by.map(|(level, _)| level) {
        Some(Level::Tenant) => {
            Some(("the tenant", format!("tenant unset {}", found.users[0].domain.shown())))
        }
        Some(Level::Everyone) => Some(("everyone", "tenant unset --all".to_owned())),
        Some(Level::User) | None => None,
    };
    match cause {
        None => mode.note(format_args!(
            "{whose} is switched off: after the right password, only rules for the subject user.{DISABLED}=yes \
             apply"
        )),
        Some((cause, command)) => mode.warn(format_args!(
            "{whose} is switched off, because {cause} is: `jitsiprovs {command} {DISABLED}` changes that, and \
             `jitsiprovs user set {whose} {DISABLED}=no` makes an exception for this user"
        )),
    }
    if !found.has_rules_for_disabled {
        mode.warn(NO_RULES_FOR_DISABLED);
    }
}
