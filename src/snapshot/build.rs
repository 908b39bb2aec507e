//! Rows → snapshot. A bad row is reported and left out, or used as far as it
//! can be; it never takes the others down.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Comparison, Counts, Decoys, Folded, NameMap, Options, Snapshot, Subjects, Tenant, User};
use crate::credential::{Credential, Owner};
use crate::model::{Cell, Name, Problem, Row, RuleRow, Table, UserRow};
use crate::properties::Place;
use crate::rules::{Key, Order, Rule, RuleSet};
use crate::template::{self, Fault, Template};

/// Longest property key in bytes, before substitution.
const MAX_KEY: usize = 1024;
/// Longest property value in bytes, before substitution: MySQL's `TEXT`.
const MAX_VALUE: usize = 65_535;

/// A tenant's default rules are merged with those of all tenants at load if
/// they are more than one in this many of those, else at each request.
const LAID_OVER: usize = 8;

/// What was wrong with the rows of one load.
#[derive(Debug, Default)]
pub struct Problems {
    /// The first of them.
    pub first: Vec<Problem>,
    /// How many there are in all.
    pub total: usize,
}

impl Problems {
    /// As many as are worth keeping: the log shows fewer still.
    const KEPT: usize = 1000;

    fn add(&mut self, table: Table, id: i64, what: impl Into<String>) {
        self.total += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(Problem { table, id, what: what.into() });
        }
    }
}

/// Collects rows into a [`Snapshot`].
#[derive(Debug, Default)]
pub struct Builder {
    options: Options,
    /// Slow hashes that are still the same need not be computed again.
    previous: Option<Arc<Snapshot>>,
    tenants: NameMap<Tenant>,
    everywhere: Subjects,
    /// Keys by their text, with what was odd in them.
    keys: HashMap<Box<str>, (Arc<Key>, Vec<Fault>)>,
    problems: Problems,
}

/// A row that cannot be used, and why.
struct Unusable(String);

fn unusable(why: &str) -> Unusable {
    Unusable(format!("{why}; the row is left out"))
}

impl Builder {
    /// Begins a snapshot. `previous` is the one it will replace.
    pub fn new(options: Options, previous: Option<Arc<Snapshot>>) -> Self {
        Builder { options, previous, ..Builder::default() }
    }

    /// Adds a row, in any order.
    pub fn add(&mut self, row: Row) {
        let (table, id, added) = match row {
            Row::User(row) => (Table::UserAuth, row.id, self.add_user(&row)),
            Row::Rule(row) => (Table::JitsiProperty, row.id, self.add_rule(&row)),
        };
        if let Err(Unusable(why)) = added {
            self.problems.add(table, id, why);
        }
    }

    fn add_user(&mut self, row: &UserRow) -> Result<(), Unusable> {
        let mut problem = |what: String| self.problems.add(Table::UserAuth, row.id, what);
        let username = required(&row.username, "username")?;
        let domain = required(&row.domain, "domain")?;
        let comparison = self.options.comparison;
        let (folded_domain, folded_username) = (comparison.fold(&domain), comparison.fold(&username));
        for (name, column) in [(&folded_username, "username"), (&folded_domain, "domain")] {
            if name.is_empty() {
                return Err(unusable(&format!("{column} is empty, which no client can send")));
            }
        }
        let owner = Owner { username: &username, realm: self.options.realm.as_deref().unwrap_or(&domain) };
        // Whose password cannot be used is a user all the same: their name
        // must go on protecting their rules.
        let mut credential = match row.password.text() {
            Ok(stored) => Credential::parse(&stored.unwrap_or_default(), self.options.pwd_fmt, owner)
                .unwrap_or_else(|why| {
                    problem(why.to_string());
                    Credential::NEVER
                }),
            Err(_) => {
                problem("password is not UTF-8, so nobody can sign in with it".into());
                Credential::NEVER
            }
        };

        let (domain, username) = (folded_domain, folded_username);
        if let Some(previous) = self.previous.as_ref().and_then(|old| old.user(&domain, &username)) {
            credential.inherit(&previous.credential);
        }
        let tenant = self.tenants.get_or_default(&domain);
        if let Some(user) = tenant.users.get_mut(&username) {
            let (kept, dropped) = (row.id.min(user.id), row.id.max(user.id));
            if row.id < user.id {
                (user.id, user.credential) = (row.id, credential);
            }
            let what = format!(
                "the same user as id {kept} by the way names are compared; only the lowest id counts"
            );
            self.problems.add(Table::UserAuth, dropped, what);
        } else {
            let rules = tenant.subjects.take(&username, comparison);
            tenant.users.insert(&username, User { id: row.id, credential, rules });
        }
        Ok(())
    }

    fn add_rule(&mut self, row: &RuleRow) -> Result<(), Unusable> {
        let domain = match row.domain.text() {
            Ok(domain) => domain.unwrap_or_default(),
            Err(_) => return Err(unusable("domain is not UTF-8")),
        };
        let subject = required(&row.subject, "subject")?;
        let key = required(&row.key, "property_key")?;
        let value = required(&row.value, "property_value")?;
        for (text, longest, column) in
            [(&key, MAX_KEY, "property_key"), (&value, MAX_VALUE, "property_value")]
        {
            if text.len() > longest {
                return Err(unusable(&format!("{column} is longer than {longest} bytes")));
            }
        }
        let order = Order {
            spriority: self.priority(row.id, &row.spriority, "spriority")?,
            ppriority: self.priority(row.id, &row.ppriority, "ppriority")?,
            id: row.id,
        };

        let mut problem = |what: String| self.problems.add(Table::JitsiProperty, row.id, what);
        let mut fault = |column: &str, fault: Fault| problem(format!("{column}: {}", fault.explain()));
        let (key, faults) = match self.keys.get(&*key) {
            Some(known) => known.clone(),
            None => {
                let mut faults = Vec::new();
                let parsed = (Arc::new(Key::parse(&key, |fault| faults.push(fault))), faults);
                self.keys.insert((&*key).into(), parsed.clone());
                parsed
            }
        };
        faults.into_iter().for_each(|found| fault("property_key", found));
        let value = Template::parse(&value, Place::Value, |found| fault("property_value", found));
        let rule = Rule::new(order, key, value);

        let comparison = self.options.comparison;
        let (domain, folded) = (comparison.fold(&domain), comparison.fold(&subject));
        let list = if domain.is_empty() {
            self.everywhere.list(&subject, &folded, &self.options)
        } else {
            let tenant = self.tenants.get_or_default(&domain);
            match tenant.users.get_mut(&folded) {
                Some(user) if !is_default(&folded) => Some(&mut user.rules),
                _ => tenant.subjects.list(&subject, &folded, &self.options),
            }
        };
        match list {
            Some(list) => list.push(rule),
            None => problem("the subject is empty, which matches no client; write `default` for all".into()),
        }
        Ok(())
    }

    fn priority(&mut self, id: i64, cell: &Cell, column: &str) -> Result<Option<i32>, Unusable> {
        let number = cell.int().map_err(|_| unusable(&format!("{column} is not a whole number")))?;
        let Some(number) = number else {
            let what = format!("{column} is NULL, which sorts before every number; write the number meant");
            self.problems.add(Table::JitsiProperty, id, what);
            return Ok(None);
        };
        i32::try_from(number).map(Some).map_err(|_| unusable(&format!("{column} is outside 32 bits")))
    }

    /// The snapshot of all rows added, and what was wrong with them.
    pub fn finish(mut self) -> (Snapshot, Problems) {
        let mut user_rules: NameMap<Vec<Rule>> = NameMap::default();
        let comparison = self.options.comparison;
        for name in self.tenants.iter().flat_map(|(_, tenant)| tenant.users.iter().map(|(name, _)| name)) {
            let rules = self.everywhere.take(name, comparison);
            if !rules.is_empty() {
                user_rules.insert(name, rules);
            }
        }
        let users = self.tenants.iter().flat_map(|(_, tenant)| tenant.users.iter());
        let for_users = users.map(|(name, user)| (name, &user.rules)).chain(user_rules.iter());
        for_users.for_each(|(name, rules)| report_user_subject(name, rules, &mut self.problems));
        user_rules.values_mut().chain(self.everywhere.lists_mut()).for_each(settle);
        let base = Arc::new(RuleSet::merge(&self.everywhere.default));

        let mut decoys = Decoys::default();
        for tenant in self.tenants.values_mut() {
            tenant.subjects.lists_mut().for_each(settle);
            for user in tenant.users.values_mut() {
                settle(&mut user.rules);
                if user.credential.is_usable() {
                    tenant.decoys.add(user.credential.kind(), &user.credential, 1);
                }
            }
            tenant.decoys.settle();
            for (kind, credential, count) in &tenant.decoys.kinds {
                decoys.add(kind.clone(), credential, *count);
            }
            // A few rules of its own are no reason to keep a whole answer for
            // each of very many tenants.
            if tenant.subjects.default.len() * LAID_OVER > self.everywhere.default.len() {
                let mut defaults: Vec<&Rule> =
                    tenant.subjects.default.iter().chain(&self.everywhere.default).collect();
                defaults.sort_unstable_by_key(|rule| rule.order);
                tenant.base = Some(Arc::new(RuleSet::merge(defaults)));
            }
        }
        decoys.settle();
        let mut snapshot = Snapshot {
            comparison,
            tenants: self.tenants,
            everywhere: self.everywhere,
            user_rules,
            base,
            decoys,
            counts: Counts::default(),
        };
        snapshot.counts = snapshot.count();
        (snapshot, self.problems)
    }
}

/// A subject such as `Linux` stops matching what it was written for once a user
/// has that name. Only names that clients are known to send for another
/// parameter can be recognised here.
fn report_user_subject(name: &[u8], rules: &[Rule], problems: &mut Problems) {
    let Some((name, param)) = std::str::from_utf8(name).ok().and_then(|name| Some((name, sent_for(name)?)))
    else {
        return;
    };
    for rule in rules {
        let what = format!(
            "the subject `{name}` is a user's name, so it matches that user alone; \
             if the {param} is meant, write `{param}={name}`, else `username={name}`"
        );
        problems.add(Table::JitsiProperty, rule.order.id, what);
    }
}

/// The parameter that clients are known to send this value for: Java's
/// `os.name` and `os.arch`, lower-case.
fn sent_for(value: &str) -> Option<&'static str> {
    match value {
        "linux" | "mac os x" | "freebsd" | "openbsd" | "netbsd" | "sunos" => Some("osname"),
        _ if value.starts_with("windows ") => Some("osname"),
        "amd64" | "x86_64" | "i386" | "i686" | "x86" | "aarch64" | "arm" => Some("arch"),
        _ => None,
    }
}

fn required<'c>(cell: &'c Cell, column: &str) -> Result<std::borrow::Cow<'c, str>, Unusable> {
    match cell.text() {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(unusable(&format!("{column} is NULL"))),
        Err(_) => Err(unusable(&format!("{column} is not UTF-8"))),
    }
}

fn is_default(subject: &Folded) -> bool {
    subject.as_slice() == b"default"
}

fn settle(rules: &mut Vec<Rule>) {
    rules.sort_unstable_by_key(|rule| rule.order);
    rules.shrink_to_fit();
}

impl Subjects {
    /// Where rules for `subject`, also given `folded`, go; `None` if no client
    /// can match it.
    fn list(&mut self, subject: &str, folded: &Folded, options: &Options) -> Option<&mut Vec<Rule>> {
        if is_default(folded) {
            return Some(&mut self.default);
        }
        let Some((name, value)) = template::typed_subject(subject) else {
            return (!folded.is_empty()).then(|| self.named.get_or_default(folded));
        };
        let value = options.comparison.fold(value);
        if value.is_empty() {
            return None;
        }
        let alias = options.aliases.iter().find(|(alias, _)| alias == name);
        let name = alias.map_or_else(|| Name::new(name), |(_, known)| Name::Known(*known));
        let known = self.typed.iter().position(|(typed, _)| *typed == name);
        let at = known.unwrap_or_else(|| {
            self.typed.push((name, NameMap::default()));
            self.typed.len() - 1
        });
        Some(self.typed[at].1.get_or_default(&value))
    }

    /// Takes out the rules whose whole subject is `user`, which may look like a
    /// typed one.
    fn take(&mut self, user: &[u8], comparison: Comparison) -> Vec<Rule> {
        if self.named.is_empty() && self.typed.is_empty() {
            return Vec::new();
        }
        let mut rules = self.named.remove(user).unwrap_or_default();
        if let Some(at) = user.iter().position(|&byte| byte == b'=') {
            let (name, value) = (&user[..at], &user[at + 1..]);
            for (typed, subjects) in &mut self.typed {
                if comparison.fold(&typed.to_string()).as_slice() == name {
                    rules.extend(subjects.remove(value).unwrap_or_default());
                }
            }
        }
        rules
    }

    /// Rules, and bytes behind them.
    fn count(&self) -> (usize, usize) {
        let typed = self.typed.iter().map(|(_, subjects)| subjects);
        let maps = typed.chain([&self.named]);
        let mut counts = count_rules(&self.default);
        for map in maps {
            counts.1 += map.heap_bytes();
            for (_, rules) in map.iter() {
                let more = count_rules(rules);
                counts = (counts.0 + more.0, counts.1 + more.1);
            }
        }
        counts
    }
}

fn count_rules(rules: &[Rule]) -> (usize, usize) {
    let bytes = rules.iter().map(|rule| size_of::<Rule>() + rule.heap_bytes());
    (rules.len(), bytes.sum())
}

impl Snapshot {
    fn user(&self, domain: &Folded, username: &Folded) -> Option<&User> {
        self.tenants.get(domain)?.users.get(username)
    }

    fn count(&self) -> Counts {
        let mut counts = Counts::default();
        let mut add = |(rules, bytes): (usize, usize)| {
            counts.rules += rules;
            counts.bytes += bytes;
        };
        add(self.everywhere.count());
        add((0, self.base.heap_bytes() + self.tenants.heap_bytes() + self.user_rules.heap_bytes()));
        self.user_rules.iter().for_each(|(_, rules)| add(count_rules(rules)));
        let (mut users, mut tenants) = (0, 0);
        for (_, tenant) in self.tenants.iter() {
            users += tenant.users.len();
            tenants += usize::from(!tenant.users.is_empty());
            add(tenant.subjects.count());
            add((0, tenant.base.as_ref().map_or(0, |base| base.heap_bytes()) + tenant.users.heap_bytes()));
            for (_, user) in tenant.users.iter() {
                add((0, user.credential.heap_bytes()));
                add(count_rules(&user.rules));
            }
        }
        Counts { users, tenants, ..counts }
    }
}
