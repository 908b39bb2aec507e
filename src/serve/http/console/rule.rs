//! The page of a rule: the form, the preview of an edit, and the edit.

use serde::Serialize;

use super::edit::{self, is_unchanged, seal};
use super::known::rule_in;
use super::operator::Role;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::rule_preview::{Preview, preview};
use super::rules::{RuleLine, is_seen};
use super::visit::Visit;
use super::{ROOT, link, rights};
use crate::core::model::{Edit, Row, RuleRow, Table};
use crate::core::secret::HIDDEN;
use crate::ops::edits::{self, RuleChange, TypedRule};
use crate::ops::transfer::{DEFAULT_PPRIORITY, default_spriority};

/// The fields of the form, as they are shown and carried on.
#[derive(Default, Serialize)]
struct RuleFields {
    /// Empty for a new rule.
    id: String,
    /// Seals the row.
    row: String,
    domain: String,
    subject: String,
    spriority: String,
    ppriority: String,
    key: String,
    value: String,
    /// Whether an empty value stands for the stored one, which is a secret.
    is_hidden: bool,
}

#[derive(Serialize)]
struct RulePage {
    fields: RuleFields,
    is_new: bool,
    may_change: bool,
    /// Why the rule cannot be changed by this operator; empty if it can, or if the role is not enough.
    why_not: &'static str,
}

#[derive(Serialize)]
struct PreviewPage {
    fields: RuleFields,
    removes: bool,
    is_new: bool,
    href: String,
    preview: Preview,
}

/// `/console/rules/new`, `/console/rules/ID`, `/console/rules/preview` and `/console/rules/save`
pub(super) async fn show(visit: &Visit<'_>, what: &str) -> Result<Reply, Refusal> {
    match what {
        "new" => form(visit, None).await,
        "preview" if visit.is_post => show_preview(visit).await,
        "save" if visit.is_post => save(visit).await,
        id => {
            let id = id.parse().map_err(|_| Refusal::NotFound)?;
            let row = read(visit, id).await?;
            form(visit, Some(row)).await
        }
    }
}

/// The rule with this id, if the operator may see it.
async fn read(visit: &Visit<'_>, id: i64) -> Result<RuleRow, Refusal> {
    let row = visit.console.source.rows(Table::JitsiProperty, vec![id]).await?.pop();
    let row = row.and_then(rule_in).ok_or(Refusal::NotFound)?;
    if is_seen(visit, &row) { Ok(row) } else { Err(Refusal::NotFound) }
}

async fn form(visit: &Visit<'_>, row: Option<RuleRow>) -> Result<Reply, Refusal> {
    let is_new = row.is_none();
    let (fields, title, allowed) = match row {
        None => {
            visit.needs(Role::Edit)?;
            let own = visit.operator().tenants.as_ref().and_then(|own| own.first());
            let domain = visit.query.text("domain").map(str::to_owned).or_else(|| own.cloned());
            let subject = visit.query.text("subject").unwrap_or("default").to_owned();
            let fields = RuleFields { domain: domain.unwrap_or_default(), subject, ..RuleFields::default() };
            (fields, text("rule", "new").to_owned(), true)
        }
        Some(row) => {
            let fields = stored(visit, &row);
            (fields, text("rule", "title").replace('%', &row.id.to_string()), may_edit(visit, &row).is_ok())
        }
    };
    let [mut why_not] = rights::why_not(visit, Role::Edit, [Table::JitsiProperty]).await;
    if !allowed {
        why_not = text("rule", "read_only");
    }
    let page = RulePage {
        fields,
        is_new,
        may_change: why_not.is_empty() && visit.needs(Role::Edit).is_ok(),
        why_not,
    };
    Ok(page::show(visit, "rule", &title, &page))
}

fn stored(visit: &Visit<'_>, row: &RuleRow) -> RuleFields {
    let RuleLine { id, domain, subject, spriority, ppriority, key, value, .. } = RuleLine::new(row, visit);
    let is_hidden = value == HIDDEN;
    RuleFields {
        id: id.to_string(),
        row: seal(&Row::Rule(row.clone())),
        domain,
        subject,
        spriority,
        ppriority,
        key,
        value: if is_hidden { String::new() } else { value },
        is_hidden,
    }
}

/// Checks that the operator may edit a rule of this tenant.
fn may_edit(visit: &Visit<'_>, row: &RuleRow) -> Result<(), Refusal> {
    let domain = visit.console.conventions.fold(&row.domain).unwrap_or_default();
    match visit.operator().tenants.is_none() || !domain.is_empty() && visit.operator().sees(&domain) {
        true => Ok(()),
        false => Err(Refusal::Forbidden),
    }
}

/// What a form wants: the rule as it is, and as it is to be. The second is `None` for a removal.
struct Wanted {
    before: Option<RuleRow>,
    after: Option<RuleRow>,
}

async fn wanted(visit: &Visit<'_>) -> Result<Wanted, Refusal> {
    visit.needs(Role::Edit)?;
    visit.console.source.editable(Table::JitsiProperty)?;
    let before = match visit.form.text("id") {
        Some(id) => {
            let row =
                read(visit, id.parse().map_err(|_| Refusal::NotFound)?).await.map_err(|why| match why {
                    Refusal::NotFound => Refusal::Changed(text("edit", "gone").into()),
                    why => why,
                })?;
            may_edit(visit, &row)?;
            is_unchanged(&Row::Rule(row.clone()), visit.form.get("row").unwrap_or_default())?;
            Some(row)
        }
        None => None,
    };
    let after = match (visit.form.get("remove").is_some(), &before) {
        (true, Some(_)) => None,
        (true, None) => return Err(Refusal::NotFound),
        (false, before) => Some(typed(visit, before.as_ref())?),
    };
    if let Some(after) = &after {
        may_edit(visit, after)?;
        edits::check_usable(after, &visit.console.conventions)?;
    }
    Ok(Wanted { before, after })
}

/// The rule that was typed.
fn typed(visit: &Visit<'_>, before: Option<&RuleRow>) -> Result<RuleRow, Refusal> {
    let options = &visit.console.conventions;
    let field = |name: &str| visit.form.get(name).unwrap_or_default().to_owned();
    let number = |name: &str, usual: i32| match visit.form.text(name) {
        None => Ok(usual),
        Some(number) => number.parse::<i32>().map_err(|_| Refusal::Bad(text("rule", "number").into())),
    };
    let (domain, subject) = (field("domain").trim().to_owned(), field("subject").trim().to_owned());
    let spriority = Some(number("spriority", default_spriority(&subject, &domain))?);
    let ppriority = Some(number("ppriority", DEFAULT_PPRIORITY)?);
    let (key, value) = (field("key").trim().to_owned(), field("value"));
    let change = |known: &RuleRow| {
        let shown = stored(visit, known);
        RuleChange {
            key: Some(key.clone()),
            value: Some(value.clone()).filter(|value| !(shown.is_hidden && value.is_empty())),
            literal: false,
            domain: Some(domain.clone()).filter(|domain| *domain != shown.domain),
            // A password in a subject is not shown.
            subject: Some(subject.clone()).filter(|subject| *subject != shown.subject),
            spriority,
            ppriority,
        }
    };
    match before {
        Some(known) => Ok(change(known).of(known, options)?),
        None => {
            let new = RuleRow::from_cells(0, std::iter::empty());
            let typed = TypedRule {
                property: format!("{key}={value}"),
                literal: false,
                domain: Some(domain.clone()),
                subject: subject.clone(),
                spriority,
                ppriority,
            };
            // The key may not have a `=`, where the property would be divided.
            change(&new).of(&new, options)?;
            Ok(typed.row(options)?)
        }
    }
}

async fn show_preview(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let Wanted { before, after } = wanted(visit).await?;
    let field = |name: &str| visit.form.get(name).unwrap_or_default().to_owned();
    let [id, row, domain, subject] = ["id", "row", "domain", "subject"].map(field);
    let [spriority, ppriority, key, value] = ["spriority", "ppriority", "key", "value"].map(field);
    let is_hidden = before.as_ref().is_some_and(|before| stored(visit, before).is_hidden);
    let fields = RuleFields { id, row, domain, subject, spriority, ppriority, key, value, is_hidden };
    let page = PreviewPage {
        fields,
        removes: after.is_none(),
        is_new: before.is_none(),
        href: before.as_ref().map(|row| link::rule(row.id)).unwrap_or_default(),
        preview: preview(visit, before.as_ref(), after.as_ref()).await?,
    };
    Ok(page::show(visit, "rule_preview", text("rule", "preview"), &page))
}

async fn save(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let Wanted { before, after } = wanted(visit).await?;
    let sealed = visit.form.get("row").unwrap_or_default();
    let (id, done) = (before.as_ref().map(|row| row.id), after.is_some());
    let stored = match (before, after) {
        (Some(before), Some(after)) => {
            let make = |now: Row| {
                let after = Row::Rule(after);
                let columns = now.differing(&after);
                Ok(if columns.is_empty() { Vec::new() } else { vec![Edit::Set(after, columns)] })
            };
            edit::edit(visit, (Table::JitsiProperty, before.id), sealed, make).await?
        }
        (Some(before), None) => {
            let removal = vec![Edit::Remove(Table::JitsiProperty, before.id)];
            edit::edit(visit, (Table::JitsiProperty, before.id), sealed, |_| Ok(removal)).await?
        }
        (None, Some(after)) => edit::add(visit, Row::Rule(after)).await?,
        (None, None) => return Err(Refusal::NotFound),
    };
    tracing::info!(operator = visit.operator().name, rule = id, removed = !done, "console: rule edited");
    visit.session.note(stored.words(text("rule", if done { "stored" } else { "was_removed" })));
    match id.filter(|_| done) {
        Some(id) => Ok(Reply::see(&link::rule(id))),
        None => Ok(Reply::see(&format!("{ROOT}/rules"))),
    }
}
