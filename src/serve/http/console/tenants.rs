//! The list of tenants, and the page of a tenant.

use serde::Serialize;
use url::form_urlencoded;

use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use super::{ROOT, link};
use crate::core::secret::{HIDDEN, NameHint};
use crate::snapshot::TenantSummary;

/// How many tenants a page has.
const SHOWN: usize = 100;

#[derive(Serialize)]
struct TenantsPage<'a> {
    q: &'a str,
    total: usize,
    tenants: Vec<TenantLine>,
    /// Where the next page is; empty on the last one.
    next: String,
}

#[derive(Serialize)]
struct TenantLine {
    href: String,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    domain: String,
    users: usize,
    rules: usize,
    attributes: usize,
}

impl From<TenantSummary> for Summary {
    fn from(TenantSummary { domain, users, rules, attributes }: TenantSummary) -> Summary {
        Summary { domain, users, rules, attributes }
    }
}

#[derive(Serialize)]
struct TenantPage {
    summary: Summary,
    users_href: String,
    rules_href: String,
    /// Of the tenant, and of everyone.
    attributes: Vec<AttributeLine>,
}

#[derive(Serialize)]
struct AttributeLine {
    name: String,
    value: String,
    is_everyones: bool,
}

/// `/console/tenants?q=…&after=DOMAIN`
pub(super) fn list(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let q = visit.query.text("q").unwrap_or_default();
    let after = visit.query.text("after").unwrap_or_default();
    let part = visit.console.conventions.comparison.fold(q);
    let only = visit.operator().tenants.as_deref();
    let found = visit.served()?.snapshot.tenants(&part, only, after, SHOWN);
    let next = found.items.last().filter(|_| found.are_more).map(|last| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        format!("{ROOT}/tenants?{}", query.append_pair("q", q).append_pair("after", &last.domain).finish())
    });
    let line =
        |summary: TenantSummary| TenantLine { href: link::tenant(&summary.domain), summary: summary.into() };
    let tenants = found.items.into_iter().map(line).collect();
    let page = TenantsPage { q, total: found.total, tenants, next: next.unwrap_or_default() };
    Ok(page::show(visit, "tenants", text("layout", "tenants"), &page))
}

/// `/console/tenants/DOMAIN`
pub(super) fn show(visit: &Visit<'_>, domain: &str) -> Result<Reply, Refusal> {
    let (served, domain) = (visit.served()?, visit.tenant(domain)?);
    let (summary, own) =
        served.snapshot.tenant_summary(&domain).filter(|_| !domain.is_empty()).ok_or(Refusal::NotFound)?;
    let everyones = served.snapshot.tenant_summary(b"").map(|(_, own)| own).unwrap_or_default();
    let all = own.iter().map(|known| (known, false)).chain(everyones.iter().map(|known| (known, true)));
    let attributes = all.map(|(known, is_everyones)| AttributeLine {
        name: known.name.to_owned(),
        value: match NameHint::of(known.name).hides_data(known.value) {
            true => HIDDEN.into(),
            false => known.value.to_owned(),
        },
        is_everyones,
    });
    let page = TenantPage {
        users_href: format!("{ROOT}/users?q=%40{}", link::part(&summary.domain)),
        rules_href: format!("{ROOT}/rules?domain={}", link::part(&summary.domain)),
        attributes: attributes.collect(),
        summary: summary.into(),
    };
    Ok(page::show(visit, "tenant", &page.summary.domain, &page))
}
