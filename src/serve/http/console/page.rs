//! Makes pages from templates.

use std::sync::LazyLock;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tinytemplate::TinyTemplate;

use super::ROOT;
use super::operator::Role;
use super::reply::{Refusal, Reply};
use super::visit::Visit;

macro_rules! templates {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("pages/", $name, ".html")))),*]
    };
}

/// The templates, by the names of their files.
const TEMPLATES: &[(&str, &str)] = &templates![
    "check" "edit" "fetches" "history" "layout" "locks" "overview" "password" "refusal" "rule" "rule_preview"
    "rules" "sign_in" "tenant" "tenants" "user" "users"
];

/// All English of the console.
static TEXTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("texts.json")).expect("a test reads it"));

thread_local! {
    /// Compiled once for each thread, because they cannot be shared.
    static COMPILED: TinyTemplate<'static> = {
        let mut templates = TinyTemplate::new();
        for &(name, text) in TEMPLATES {
            templates.add_template(name, text).expect("a test compiles it");
        }
        templates
    };
}

/// What templates see: `{t.…}` are texts, `{page.…}` is the page's own, `{csrf}` belongs in every
/// form.
#[derive(Serialize)]
struct Context<'a, P> {
    t: &'static Value,
    page: &'a P,
    csrf: &'a str,
    operator: &'a str,
    may_help: bool,
    may_edit: bool,
    /// Whether the operator is not limited to tenants.
    is_general: bool,
}

/// What the layout sees.
#[derive(Serialize)]
struct Frame<'a> {
    title: &'a str,
    content: &'a str,
    notice: Option<String>,
    is_signed_in: bool,
    menu: Vec<Link>,
}

/// An entry of the menu.
#[derive(Serialize)]
struct Link {
    path: String,
    text: &'static str,
    is_here: bool,
}

/// The pages in the menu: the first part of the path, and the text.
const MENU: [(&str, &str); 8] = [
    ("", "overview"),
    ("users", "users"),
    ("rules", "rules"),
    ("tenants", "tenants"),
    ("fetches", "fetches"),
    ("locks", "locks"),
    ("history", "history"),
    ("check", "check"),
];

fn menu(here: &str) -> Vec<Link> {
    let link = |(part, name): (&str, &str)| Link {
        path: format!("{ROOT}/{part}").trim_end_matches('/').to_owned(),
        text: text("layout", name),
        is_here: part == here,
    };
    MENU.map(link).into()
}

/// The text `section.name` of `texts.json`.
pub(super) fn text(section: &str, name: &str) -> &'static str {
    TEXTS[section][name].as_str().unwrap_or_default()
}

/// A page for somebody who has signed in. `title` is shown by the browser.
pub(super) fn show(visit: &Visit<'_>, template: &str, title: &str, page: &impl Serialize) -> Reply {
    Reply::html(StatusCode::OK, render(Some(visit), template, title, page))
}

/// The text `section.name`, with `value` in place of its `%`.
pub(super) fn said(section: &str, name: &str, value: &str) -> String {
    text(section, name).replacen('%', value, 1)
}

/// A page for everybody.
pub(super) fn open(status: StatusCode, template: &str, title: &str, page: &impl Serialize) -> Reply {
    Reply::html(status, render(None, template, title, page))
}

/// The page that says why there is no page.
pub(super) fn refusal(visit: Option<&Visit<'_>>, refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct Why<'a> {
        what: &'a str,
        more: &'a str,
    }
    let (what, more) = match refusal {
        Refusal::SignedOut => ("signed_out", ""),
        Refusal::NotFound => ("not_found", ""),
        Refusal::Method => ("method", ""),
        Refusal::Forbidden => ("forbidden", ""),
        Refusal::Forged => ("forged", ""),
        Refusal::Bad(why) => ("bad", &**why),
        Refusal::Changed(why) => ("changed", &**why),
        Refusal::Unavailable(why) => ("unavailable", &**why),
    };
    let what = text("refusal", what);
    Reply::html(refusal.status(), render(visit, "refusal", what, &Why { what, more }))
}

fn render(visit: Option<&Visit<'_>>, template: &str, title: &str, page: &impl Serialize) -> String {
    let operator = visit.map(Visit::operator);
    let may = |role| operator.is_some_and(|operator| operator.role >= role);
    let context = Context {
        t: &TEXTS,
        page,
        csrf: visit.map_or("", |visit| visit.session.csrf()),
        operator: operator.map_or("", |operator| &operator.name),
        may_help: may(Role::Help),
        may_edit: may(Role::Edit),
        is_general: operator.is_some_and(|operator| operator.tenants.is_none()),
    };
    COMPILED.with(|compiled| {
        let content = compiled.render(template, &context).expect("a test renders every template");
        let notice = visit.and_then(|visit| visit.session.take_notice());
        let menu = visit.map_or_else(Vec::new, |visit| menu(&visit.section));
        let frame = Frame { title, content: &content, notice, is_signed_in: visit.is_some(), menu };
        let framed = Context {
            t: context.t,
            page: &frame,
            csrf: context.csrf,
            operator: context.operator,
            may_help: context.may_help,
            may_edit: context.may_edit,
            is_general: context.is_general,
        };
        compiled.render("layout", &framed).expect("a test renders every template")
    })
}

#[cfg(test)]
mod tests;
