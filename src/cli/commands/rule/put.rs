//! `jitsiprovs rule add`, and `rule set` with a property.

use anyhow::bail;

use super::filter::Place;
use super::undone::warn_if_undone;
use super::{compared, warn_of};
use crate::cli::config::TableAccess;
use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::edit_session;
use crate::cli::listing::{self, RuleListing};
use crate::cli::print::{self, Text};
use crate::core::history::Tool;
use crate::core::model::{Edit, Row, RuleRow, Table};
use crate::ops::edit_session::EditSession;
use crate::ops::edits::{Action, Audience, TypedRule, check_usable};
use crate::source::Which;

/// What to do if the tenant and the subject have a rule with this key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IfThere {
    Refuse,
    AddAnother,
    Change,
}

/// Adds the rule, or changes the one that is there.
///
/// # Errors
/// When the server would not use the rule, or a rule is there and not meant: then nothing is
/// changed.
pub(super) async fn put(
    typed: &TypedRule,
    if_there: IfThere,
    mode: EditMode,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    let options = &tables.snapshot;
    let row = typed.row(options)?;
    tables.source.editable(Table::JitsiProperty)?;
    check_usable(&row, options)?;
    let mut editing = edit_session::begin(&*tables.source, Which::All, Tool::Command);
    let (place, mut there) = (Place::of(&row, options), Vec::new());
    let mut audience = Audience::new(&row, options);
    editing
        .read(|known| match known {
            Row::Rule(known) if place.has(&known) => there.push(known),
            Row::User(user) => audience.look(&user),
            Row::Rule(_) | Row::Attribute(_) => {}
        })
        .await?;
    audience.check_address(&row)?;
    there.sort_by_key(|known| known.id);
    match (if_there, &*there) {
        (IfThere::Change, [known]) => {
            let after = typed.change(known, &row);
            warn_of(&after, tables);
            warn_if_undone(&after, tables).await?;
            change(known, after, &audience, editing, mode, tables).await
        }
        (IfThere::Change, [_, _, ..]) => {
            let ids: Vec<i64> = there.iter().map(|known| known.id).collect();
            bail!(
                "{} have this key for {}: write the id of the one to change, as `jitsiprovs rule set ID --value \
                 VALUE`, or remove the others; nothing was changed",
                listing::rules_of(&ids),
                audience.words(&row),
            )
        }
        (IfThere::Refuse, [known, ..]) => bail!(
            "rule {} has this key for {}: to change it, write `rule set` in place of `rule add`, or \
             `jitsiprovs rule set {} --value VALUE`; to add another one, give --also; nothing was changed",
            known.id,
            audience.words(&row),
            known.id,
        ),
        (IfThere::AddAnother, _) | (_, []) => {
            warn_of(&row, tables);
            warn_if_undone(&row, tables).await?;
            add(row, typed.domain.is_some(), &audience, editing, mode, tables).await
        }
    }
}

async fn add(
    row: RuleRow,
    is_tenant_given: bool,
    audience: &Audience<'_>,
    editing: EditSession<'_>,
    mode: EditMode,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    let edits = [Edit::Add(Row::Rule(row.clone()))];
    let added = EditReport::new(Action::Added, &edits);
    editing.make(edits, mode.dry_run).await?;
    let id = if mode.dry_run { None } else { id_of(&row, tables).await };
    let words = audience.words(&row);
    let rule = id.map_or("a rule".into(), |id| listing::rules_of(&[id]));
    let text = Text::line(format_args!("{}, for {words}", mode.did("added", rule)));
    let rule = Some(RuleListing { id, ..RuleListing::new(&row, false, &tables.snapshot) });
    mode.report(text, EditReport { rule, audience: Some(words), ..added })?;
    if let Some(tenants) = audience.tenants().filter(|_| !is_tenant_given) {
        print::note(format_args!(
            "without --domain, a rule is for all tenants, and {tenants}; --domain '' says that this is meant"
        ));
    }
    if let Some(advice) = audience.advice(&row) {
        print::note(advice);
    }
    if row.value.shown().is_empty() {
        print::note(
            "the value is empty: if you wrote ${...} in double quotes, the shell has put nothing in its place; write \
             the property in single quotes",
        );
    }
    Ok(())
}

/// The id of the rule that was just added: of all rules with these values, the highest.
async fn id_of(row: &RuleRow, tables: &TableAccess) -> Option<i64> {
    let mut added = None;
    let found = edit_session::scan(&*tables.source, Which::Of(Table::JitsiProperty), |known| match known {
        Row::Rule(known) if reads_alike(&known, row) => added = added.max(Some(known.id)),
        _ => {}
    });
    if let Err(why) = found.await {
        print::note(format_args!("the rule is added, but its id is not known: {why:#}"));
    }
    added
}

/// Whether two rules differ in nothing but the id.
fn reads_alike(one: &RuleRow, other: &RuleRow) -> bool {
    let texts = |row: &RuleRow| {
        let cells = [&row.domain, &row.subject, &row.spriority, &row.ppriority, &row.key, &row.value];
        cells.map(listing::text)
    };
    texts(one) == texts(other)
}

async fn change(
    before: &RuleRow,
    after: RuleRow,
    audience: &Audience<'_>,
    editing: EditSession<'_>,
    mode: EditMode,
    tables: &TableAccess,
) -> anyhow::Result<()> {
    let (table, [was, is]) = compared(before, &after, mode, tables);
    let words = audience.words(before);
    let columns = Row::Rule(before.clone()).differing(&Row::Rule(after.clone()));
    let (action, done) = match columns.is_empty() {
        true => (Action::Unchanged, "left unchanged"),
        false => (Action::Changed, "changed"),
    };
    let edits = [Edit::Set(Row::Rule(after), columns)];
    let changed = EditReport::new(action, &edits);
    editing.make(edits, mode.dry_run).await?;
    let rule = listing::rules_of(&[before.id]);
    let mut said = Text::line(format_args!("{}, for {words}", mode.did(done, rule)));
    said.append(table);
    mode.report(said, EditReport { rule: Some(is), before: Some(was), audience: Some(words), ..changed })
}
