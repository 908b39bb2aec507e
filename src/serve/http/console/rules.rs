//! The list of rules.

use serde::Serialize;
use url::form_urlencoded;

use super::known::rule_in;
use super::operator::Role;
use super::page::{self, text};
use super::reply::{Refusal, Reply};
use super::visit::Visit;
use super::{ROOT, link, rights};
use crate::core::model::{Row, RuleRow, Table};
use crate::core::secret::{HIDDEN, is_secret};
use crate::snapshot::RuleFilter;

/// How many rules a page has.
const SHOWN: usize = 50;

/// A rule as lists show it.
#[derive(Serialize)]
pub(super) struct RuleLine {
    pub id: i64,
    pub href: String,
    /// Empty for all tenants.
    pub domain: String,
    pub subject: String,
    pub spriority: String,
    pub ppriority: String,
    pub key: String,
    pub value: String,
}

impl RuleLine {
    /// Hides secrets.
    pub fn new(row: &RuleRow, visit: &Visit<'_>) -> RuleLine {
        let (key, value) = (row.key.shown().into_owned(), row.value.shown().into_owned());
        RuleLine {
            id: row.id,
            href: link::rule(row.id),
            domain: row.domain.shown().into_owned(),
            subject: visit.console.conventions.shown_subject(&row.subject.shown()),
            spriority: row.spriority.shown().into_owned(),
            ppriority: row.ppriority.shown().into_owned(),
            value: if is_secret(&key, &value) { HIDDEN.into() } else { value },
            key,
        }
    }
}

#[derive(Serialize)]
struct RulesPage<'a> {
    domain: &'a str,
    subject: &'a str,
    key: &'a str,
    user: &'a str,
    total: usize,
    rules: Vec<RuleLine>,
    /// Ids of rules that the database no longer has, or cannot show.
    unread: Vec<i64>,
    trouble: String,
    /// Where the next page is; empty on the last one.
    next: String,
    /// Why no rule can be added; empty if one can.
    why_not: &'static str,
}

/// `/console/rules?domain=…&subject=…&key=…&user=…&after=ID`
pub(super) async fn list(visit: &Visit<'_>) -> Result<Reply, Refusal> {
    let field = |name: &str| visit.query.text(name).unwrap_or_default();
    let [domain, subject, key, user] = ["domain", "subject", "key", "user"].map(field);
    let after = visit.query.text("after").and_then(|after| after.parse().ok()).unwrap_or(i64::MIN);
    let served = visit.served()?;
    let filter = filter(visit, [domain, subject, key, user])?;
    let found = served.snapshot.rules(&filter, after, SHOWN);
    let read = visit.console.source.rows(Table::JitsiProperty, found.items.clone()).await;
    let (rows, trouble) = match read {
        Ok(rows) => (rows, String::new()),
        Err(why) => (Vec::new(), why.to_string()),
    };
    let unread = found.items.iter().copied().filter(|id| !rows.iter().any(|row: &Row| row.id() == *id));
    let rules = rows.iter().cloned().filter_map(rule_in).filter(|row| is_seen(visit, row));
    let next = found.items.last().filter(|_| found.are_more).map(|last| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("domain", domain), ("subject", subject), ("key", key), ("user", user)] {
            query.append_pair(name, value);
        }
        format!("{ROOT}/rules?{}", query.append_pair("after", &last.to_string()).finish())
    });
    let [why_not] = match &*trouble {
        "" => rights::why_not(visit, Role::Edit, [Table::JitsiProperty]).await,
        _ => [""],
    };
    let page = RulesPage {
        domain,
        subject,
        key,
        user,
        total: found.total,
        unread: unread.collect(),
        rules: rules.map(|row| RuleLine::new(&row, visit)).collect(),
        trouble,
        next: next.unwrap_or_default(),
        why_not,
    };
    Ok(page::show(visit, "rules", text("layout", "rules"), &page))
}

/// Whether the operator may see a rule. Rules for all tenants are for everybody's eyes.
pub(super) fn is_seen(visit: &Visit<'_>, row: &RuleRow) -> bool {
    let domain = visit.console.conventions.fold(&row.domain).unwrap_or_default();
    domain.is_empty() || visit.operator().sees(&domain)
}

fn filter(visit: &Visit<'_>, [domain, subject, key, user]: [&str; 4]) -> Result<RuleFilter, Refusal> {
    let options = &visit.console.conventions;
    let fold = |name: &str| options.comparison.fold(name);
    let user = match user {
        "" => None,
        user => {
            let (name, domain) =
                user.rsplit_once('@').ok_or_else(|| Refusal::Bad(text("rules", "user_form").into()))?;
            Some([fold(domain), fold(name)])
        }
    };
    Ok(RuleFilter {
        domain: match domain {
            "" => None,
            // No tenant is called so, and a form cannot tell an empty field from none.
            "*" => Some(fold("")),
            domain => Some(fold(domain)),
        },
        only: visit.operator().tenants.clone(),
        subject: match subject {
            "" => None,
            subject => options.subject(subject),
        },
        key: Some(key.to_owned()).filter(|key| !key.is_empty()),
        user,
    })
}
