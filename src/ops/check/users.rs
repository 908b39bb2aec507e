//! Checks users and whole tenants.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::report::{CheckReport, CheckSettings};
use crate::core::credential::Weakness;
use crate::core::model::Table;
use crate::core::names::is_asterisk;
use crate::core::problem::Code;
use crate::snapshot::{ALL_TENANTS, Snapshot};

/// The users and rules of a tenant: their lowest ids and their numbers.
#[derive(Default)]
struct TenantUsers {
    user: Option<i64>,
    users: usize,
    rule: Option<i64>,
    rules: usize,
}

pub(super) fn check(snapshot: &Snapshot, settings: &CheckSettings, report: &mut CheckReport) {
    let domains: HashMap<u32, &[u8]> = snapshot.domains().collect();
    let domain = |tenant| String::from_utf8_lossy(domains.get(&tenant).copied().unwrap_or_default());
    let mut tenants: BTreeMap<u32, TenantUsers> = BTreeMap::new();
    let mut weak: BTreeMap<(u32, Weakness), (i64, usize)> = BTreeMap::new();
    for named in snapshot.named() {
        let tenant = tenants.entry(named.tenant()).or_default();
        tenant.rules += named.rules().len();
        let lowest = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        tenant.rule = lowest(tenant.rule, named.rules().iter().map(|rule| rule.order().id).min());
        for (id, credential) in named.users() {
            tenant.users += 1;
            tenant.user = lowest(tenant.user, Some(id));
            match credential.weakness() {
                Some(weakness) if settings.each_user => weak_hash(weakness, id, "it is", report),
                Some(weakness) => {
                    let (first, count) = weak.entry((named.tenant(), weakness)).or_insert((id, 0));
                    *first = id.min(*first);
                    *count += 1;
                }
                None => {}
            }
            if named.name() == b"default" {
                let what = "the subject `default` is everyone and not this user: write `username=default` \
                            to mean the user";
                report.add(Code::AmbiguousSubject, Table::UserAuth, id, what);
            }
        }
    }
    for ((tenant, weakness), (first, count)) in weak {
        let of = match count {
            1 => format!("one password of {} is", domain(tenant)),
            _ => format!("{count} passwords of {}, this user's and others, are", domain(tenant)),
        };
        weak_hash(weakness, first, &of, report);
    }
    let has_rules_for_all = tenants.get(&ALL_TENANTS).is_some_and(|all| all.rules > 0);
    for (number, tenant) in tenants.iter().filter(|(number, _)| **number != ALL_TENANTS) {
        let name = domain(*number);
        match (tenant.user, tenant.rule) {
            (Some(user), None) if !has_rules_for_all => {
                let what = format!(
                    "no rule applies to the tenant {name}, so its users ({}) get nothing: add rules, or correct the domain",
                    tenant.users
                );
                report.add(Code::NoRules, Table::UserAuth, user, what);
            }
            (None, Some(rule)) if is_asterisk(&name) => {
                let what = "no tenant is called `*`, so the rule matches no client: leave its domain empty if it \
                            is for all tenants";
                report.add_rule(Code::NoUsers, rule, what);
            }
            (None, Some(rule)) => {
                let what = format!(
                    "the tenant {name} has no users, so its rules ({}) match no client: add users, or correct the domain",
                    tenant.rules
                );
                report.add_rule(Code::NoUsers, rule, what);
            }
            _ => {}
        }
    }
}

fn weak_hash(weakness: Weakness, id: i64, of: &str, report: &mut CheckReport) {
    let (code, what) = match weakness {
        Weakness::Plain => {
            (Code::WeakHash, "stored in plain text, so everybody who reads the table can sign in".to_owned())
        }
        Weakness::Md5 => {
            (Code::WeakHash, "stored as unsalted md5, from which it can be guessed very quickly".to_owned())
        }
        Weakness::Cheap(kind) => {
            (Code::WeakHash, format!("stored as {kind} with a work factor that is too low"))
        }
        Weakness::Ha1 => (
            Code::WeakHa1,
            "stored in the format that SIP servers need, from which it can be guessed quickly".to_owned(),
        ),
    };
    let fix = if code == Code::WeakHa1 {
        "make sure that nobody else can read the table"
    } else {
        "set it again with `jitsiprovs user passwd`"
    };
    report.add(code, Table::UserAuth, id, format!("{of} {what}: {fix}"));
}
