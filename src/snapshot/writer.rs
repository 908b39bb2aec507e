//! Rows → snapshots: the first from all rows, every next one from the rows that
//! changed.
//!
//! The [`Writer`] keeps a ledger of the rows that made the current snapshot: a
//! hash of what each said, and where it went. So a load of everything is but a
//! comparison, and what is the same costs nothing. All changes go through a
//! [`Draft`]; until it is committed, nothing has happened.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::ledger::{self, Ledger, Record, UNUSED};
use super::names::{self, Stored};
use super::rows::{self, Keys, Unusable};
use super::{Counts, DEFAULT, EVERYWHERE, Entry, Options, Shared, Snapshot, Tenant, Trie, Typed, User};
use crate::model::{Change, Problem, Row, RuleRow, Table, UserRow};
use crate::rules::{Compiled, RuleSet, Rules};

/// A tenant's default rules are merged with those of all tenants at load if
/// they are more than one in this many of those, else at each request.
const LAID_OVER: usize = 8;

/// What was wrong with the rows that were looked at.
#[derive(Debug, Default)]
pub struct Problems {
    /// The first of them.
    pub first: Vec<Problem>,
    /// How many there are in all.
    pub total: usize,
    keeps_all: bool,
}

impl Problems {
    /// As many as are worth keeping: the log shows fewer still.
    const KEPT: usize = 1000;

    fn add(&mut self, code: &'static str, table: Table, id: i64, what: impl Into<String>) {
        self.total += 1;
        if self.first.len() < Self::KEPT || self.keeps_all {
            self.first.push(Problem { code, table, id, what: what.into() });
        }
    }
}

/// How many rows a draft changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Rows that were not there.
    pub added: usize,
    /// Rows that said something else.
    pub changed: usize,
    /// Rows that are no longer there.
    pub removed: usize,
}

impl Summary {
    /// Whether it is nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Summary::default()
    }
}

/// The one who makes snapshots. See the module.
#[derive(Debug)]
pub struct Writer {
    options: Options,
    current: Snapshot,
    ledger: Ledger,
    keys: Keys,
    domains: Domains,
    /// Tells the rows that the latest load has seen from those it has not.
    load: u8,
    /// Rows that were put or removed by others since the latest load began,
    /// which know better than it does.
    since: Option<HashSet<(Table, i64)>>,
}

/// Tenants have numbers, in the order in which they were first seen.
#[derive(Debug)]
struct Domains {
    numbers: HashMap<Stored, u32>,
    names: Vec<Stored>,
}

impl Domains {
    fn number(&mut self, domain: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(domain) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("tenants are fewer than four billion");
        let name = Stored::from_slice(domain);
        self.numbers.insert(name.clone(), number);
        self.names.push(name);
        number
    }

    fn name(&self, number: u32) -> &Stored {
        &self.names[number as usize]
    }
}

impl Writer {
    /// Begins with an empty snapshot.
    pub fn new(options: Options) -> Writer {
        let all = Stored::new();
        let domains = Domains { numbers: HashMap::from([(all.clone(), EVERYWHERE)]), names: vec![all] };
        let current = Snapshot {
            comparison: options.comparison,
            names: Trie::default(),
            tenants: Trie::default(),
            everywhere: Arc::new(Tenant { number: EVERYWHERE, ..Tenant::default() }),
            base: Arc::new(RuleSet::merge([])),
            decoys: super::Decoys::default(),
            counts: Counts::default(),
            digest: 0,
        };
        Writer {
            options,
            current,
            ledger: Ledger::default(),
            keys: Keys::default(),
            domains,
            load: 0,
            since: None,
        }
    }

    /// The snapshot of `rows` alone, and what was wrong with them.
    pub fn build(options: Options, rows: impl IntoIterator<Item = Row>) -> (Arc<Snapshot>, Problems) {
        let mut writer = Writer::new(options);
        let mut draft = writer.draft();
        for row in rows {
            draft.put(&row);
        }
        draft.commit()
    }

    /// The snapshot of everything committed so far.
    pub fn current(&self) -> &Snapshot {
        &self.current
    }

    /// How many rows there are, used or not.
    pub fn rows(&self) -> usize {
        self.ledger.len()
    }

    /// The next `most` rows of a table after the one of `id`, used or not: their
    /// ids and [`content`](super::content).
    pub fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        self.ledger.table(table).after(id).take(most).map(|(id, record)| (id, record.content())).collect()
    }

    /// Begins a load of all rows. Drafts committed before its own take
    /// precedence over what it reads.
    pub fn begin_load(&mut self) {
        self.load += 1;
        if self.load == u8::MAX {
            // Numbers begin again, so none of before may be left.
            self.ledger.unmark();
            self.load = 1;
        }
        self.since = Some(HashSet::new());
    }

    /// Whether a row of the load under way says anything new. If not, it is
    /// done with.
    pub fn is_news(&mut self, row: &Row) -> bool {
        let (table, id) = (row.table(), row.id());
        match self.ledger.table(table).get(id) {
            Some(record) if !record.was_seen_in(self.load) && record.says(ledger::content(row)) => {
                self.ledger.table_mut(table).mark(id, self.load);
                false
            }
            _ => true,
        }
    }

    /// Whether nobody has changed the row since the load under way began.
    pub fn is_current(&self, row: &Row) -> bool {
        !self.since.as_ref().is_some_and(|since| since.contains(&(row.table(), row.id())))
    }

    /// Ends a load that came to nothing.
    pub fn abandon_load(&mut self) {
        self.since = None;
    }

    /// Begins to change the snapshot.
    pub fn draft(&mut self) -> Draft<'_> {
        Draft {
            next: self.current.clone(),
            is_load: false,
            records: Ledger::default(),
            gone: HashSet::new(),
            touched: Vec::new(),
            collisions: Vec::new(),
            staged: HashMap::new(),
            new_defaults: HashSet::new(),
            suspects: Vec::new(),
            new_names: Vec::new(),
            problems: Problems::default(),
            summary: Summary::default(),
            writer: self,
        }
    }

    /// Begins to change the snapshot to what the load under way has read: rows
    /// it has not seen are gone, unless they came meanwhile.
    pub fn draft_of_load(&mut self) -> Draft<'_> {
        Draft { is_load: true, ..self.draft() }
    }
}

/// A snapshot in the making. Dropped without a commit, it has never been.
#[derive(Debug)]
pub struct Draft<'w> {
    writer: &'w mut Writer,
    next: Snapshot,
    is_load: bool,
    /// What will be noted in the ledger.
    records: Ledger,
    /// What will be struck from it.
    gone: HashSet<(Table, i64)>,
    /// Rows that a load under way must leave alone, whatever became of them.
    touched: Vec<(Table, i64)>,
    /// Where several users have one name.
    collisions: Vec<(u32, Stored)>,
    /// Changes of rules that are not in the snapshot yet, by whom they are for:
    /// each list is made anew but once for all that change in it.
    staged: HashMap<(u32, Stored), Staged>,
    /// Tenants whose rules for everyone have changed.
    new_defaults: HashSet<u32>,
    /// Where a name that clients send for another parameter may have become a
    /// user's.
    suspects: Vec<(u32, Stored)>,
    /// Subjects that are new among those of all tenants: whether they are
    /// users' names is still to be found out.
    new_names: Vec<Stored>,
    problems: Problems,
    summary: Summary,
}

#[derive(Debug, Default)]
struct Staged {
    put: Vec<Compiled>,
    gone: Vec<i64>,
}

/// Lists of rules that are staged at most, to bound what a first load holds
/// twice.
const STAGED: usize = 1 << 13;

/// What an entry contributes to the counts.
#[derive(Clone, Copy, Default)]
struct Tally {
    users: usize,
    rules: usize,
    open: usize,
    bytes: usize,
}

impl Tally {
    fn of(entry: &Entry) -> Tally {
        let is_open = *entry.name != *DEFAULT && !entry.is_user();
        let spilled = if entry.name.spilled() { entry.name.len() } else { 0 };
        let users: usize = entry.users.iter().map(|user| user.credential.heap_bytes()).sum();
        Tally {
            users: usize::from(!entry.users.is_empty()),
            rules: entry.rules.len(),
            open: if is_open { entry.rules.len() } else { 0 },
            // With its counter, and its slot in a leaf of the trie.
            bytes: size_of::<Entry>() + 8 + 16 + spilled + users + entry.rules.heap_bytes(),
        }
    }
}

impl<'w> Draft<'w> {
    /// Takes a change of one row.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(row) => {
                self.touched.push((row.table(), row.id()));
                self.put(&row);
            }
            Change::Gone(table, id) => {
                self.touched.push((table, id));
                self.remove(table, id);
            }
        }
    }

    /// Takes a row as it is now, and says whether it is news.
    pub fn put(&mut self, row: &Row) -> bool {
        let (table, id) = (row.table(), row.id());
        let load = self.writer.load;
        let content = ledger::content(row);
        let known = self.record(table, id);
        if self.is_load {
            if self.writer.since.as_ref().is_some_and(|since| since.contains(&(table, id))) {
                return false;
            }
            if known.is_some_and(|record| record.was_seen_in(load)) {
                let what = "another row with this id came before; select an id that is unique; \
                            this row is left out";
                self.problems.add("duplicate-id", table, id, what);
                return false;
            }
        }
        match known {
            Some(record) if record.says(content) && !self.is_load => return false,
            Some(record) if record.says(content) => {
                let is_ours = self.records.table(table).get(id).is_some();
                let ledger = if is_ours { &mut self.records } else { &mut self.writer.ledger };
                ledger.table_mut(table).mark(id, load);
                return false;
            }
            Some(record) => {
                self.take_out(table, id, record.prefix);
                self.summary.changed += 1;
            }
            None => self.summary.added += 1,
        }
        let prefix = match row {
            Row::User(row) => self.put_user(row),
            Row::Rule(row) => self.put_rule(row),
        };
        let prefix = prefix.unwrap_or_else(|unusable| {
            self.problems.add(rows::BAD_ROW, table, id, unusable.consequence());
            UNUSED
        });
        self.gone.remove(&(table, id));
        self.records.table_mut(table).insert(id, Record::new(prefix, content, load));
        true
    }

    /// Takes it that a row is no longer there.
    pub fn remove(&mut self, table: Table, id: i64) {
        if let Some(record) = self.record(table, id) {
            self.take_out(table, id, record.prefix);
            self.summary.removed += 1;
            self.records.table_mut(table).remove(id);
            self.gone.insert((table, id));
        }
    }

    /// At the end of a load: removes the rows that it has not seen, and tells
    /// of each.
    pub fn sweep(&mut self, mut gone: impl FnMut(Table, i64)) {
        for table in [Table::UserAuth, Table::JitsiProperty] {
            let load = self.writer.load;
            let seen = |id| self.records.table(table).get(id).is_some() || self.gone.contains(&(table, id));
            let since =
                |id: i64| self.writer.since.as_ref().is_some_and(|since| since.contains(&(table, id)));
            let known = self.writer.ledger.table(table).iter();
            let unseen = known.filter(|(id, record)| !record.was_seen_in(load) && !seen(*id) && !since(*id));
            let unseen: Vec<i64> = unseen.map(|(id, _)| id).collect();
            for id in unseen {
                self.remove(table, id);
                gone(table, id);
            }
        }
    }

    /// [`Writer::is_current`]
    pub fn is_current(&self, row: &Row) -> bool {
        self.writer.is_current(row)
    }

    /// Keeps all problems, however many there are.
    pub fn keep_all_problems(&mut self) {
        self.problems.keeps_all = true;
    }

    /// How many rows there would be, used or not.
    pub fn rows(&self) -> usize {
        self.writer.rows() + self.summary.added - self.summary.removed
    }

    /// Ends it as if it had never been.
    pub fn give_up(self) -> &'w mut Writer {
        self.writer
    }

    /// What it changes.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// The size of the snapshot as it was, and as it would be.
    pub fn counts(&mut self) -> (Counts, Counts) {
        self.unstage();
        (self.writer.current.counts, self.next.counts)
    }

    /// Makes it so. Returns the new snapshot and what was wrong with rows.
    pub fn commit(mut self) -> (Arc<Snapshot>, Problems) {
        self.unstage();
        self.find_namesakes();
        self.merge();
        self.report_collisions();
        self.suspects.sort_unstable();
        self.suspects.dedup();
        for (tenant, name) in std::mem::take(&mut self.suspects) {
            self.report_user_subject(tenant, &name);
        }
        let Draft { writer, mut next, records, gone, touched, problems, is_load, .. } = self;
        if let Some(since) = writer.since.as_mut().filter(|_| !is_load) {
            since.extend(touched);
        }
        writer.ledger.update(records, &gone);
        if is_load {
            writer.since = None;
            writer.keys.tidy();
        }
        next.digest = writer.ledger.digest();
        writer.current = next.clone();
        (Arc::new(next), problems)
    }

    fn record(&self, table: Table, id: i64) -> Option<Record> {
        let record = self.records.table(table).get(id);
        let is_gone = || self.gone.contains(&(table, id));
        record.or_else(|| self.writer.ledger.table(table).get(id).filter(|_| !is_gone()))
    }

    fn put_user(&mut self, row: &UserRow) -> Result<u32, Unusable> {
        let mut problem = |code, what: String| self.problems.add(code, Table::UserAuth, row.id, what);
        let rows::User { domain, username, mut credential } =
            rows::user(row, &self.writer.options, &mut problem)?;
        let tenant = self.writer.domains.number(&domain);
        // Slow hashes that are still the same need not be computed again.
        let previous = self.writer.current.entry(tenant, &username).and_then(|entry| entry.users.first());
        if let Some(previous) = previous {
            credential.inherit(&previous.credential);
        }
        let user = User { id: row.id, credential };
        let is_collision = self.edit(tenant, &username, |entry| {
            let at = entry.users.partition_point(|known| known.id < user.id);
            entry.users.insert(at, user);
            entry.users.len() > 1
        });
        if is_collision {
            self.collisions.push((tenant, Stored::from_slice(&username)));
        }
        Ok(names::prefix(names::place(tenant, &username)))
    }

    fn put_rule(&mut self, row: &RuleRow) -> Result<u32, Unusable> {
        let mut problem = |code, what: String| self.problems.add(code, Table::JitsiProperty, row.id, what);
        let rows::Rule { domain, subject, compiled } =
            rows::rule(row, &self.writer.options, &mut self.writer.keys, &mut problem)?;
        let tenant = self.writer.domains.number(&domain);
        self.stage(tenant, &subject).put.push(compiled);
        Ok(names::prefix(names::place(tenant, &subject)))
    }

    /// Takes a row out from where it went.
    fn take_out(&mut self, table: Table, id: i64, prefix: u32) {
        if self.records.table(table).get(id).is_some() {
            // It went there in this draft.
            self.unstage();
        }
        let has = |entry: &Shared| match table {
            Table::UserAuth => entry.users.iter().any(|user| user.id == id),
            Table::JitsiProperty => entry.rules.has(id),
        };
        // What could not be used is nowhere.
        let Some(entry) = self.next.names.find(prefix, has) else { return };
        let (tenant, name) = (entry.tenant, entry.name.clone());
        match table {
            Table::UserAuth => self.edit(tenant, &name, |entry| entry.users.retain(|user| user.id != id)),
            Table::JitsiProperty => self.stage(tenant, &name).gone.push(id),
        }
    }

    fn stage(&mut self, tenant: u32, name: &[u8]) -> &mut Staged {
        if self.staged.len() >= STAGED {
            self.unstage();
        }
        self.staged.entry((tenant, Stored::from_slice(name))).or_default()
    }

    /// Brings the staged changes into the snapshot.
    fn unstage(&mut self) {
        for ((tenant, name), Staged { put, gone }) in std::mem::take(&mut self.staged) {
            if *name == *DEFAULT {
                self.new_defaults.insert(tenant);
            }
            if rows::sent_for(&name).is_some() {
                self.suspects.push((tenant, name.clone()));
            }
            let gone: HashSet<i64> = gone.into_iter().collect();
            self.edit(tenant, &name, |entry| entry.rules = entry.rules.with(|id| gone.contains(&id), put));
        }
    }

    /// Changes an entry, which is made if it is missing and goes when it is
    /// empty, and keeps every count that depends on it.
    fn edit<R>(&mut self, tenant: u32, name: &[u8], change: impl FnOnce(&mut Entry) -> R) -> R {
        let place = names::place(tenant, name);
        let namesakes = self.namesakes(tenant, name);
        let mut is_new = false;
        let entry = self.next.names.get_or_insert(
            place,
            |entry| entry.is(tenant, name),
            || {
                is_new = true;
                let name = Stored::from_slice(name);
                let (users, rules) = (smallvec::SmallVec::new(), Rules::default());
                Shared::new(Entry { tenant, name, users, namesakes: namesakes.unwrap_or_default(), rules })
            },
        );
        let entry = Shared::make_mut(entry);
        let before = if is_new { Tally::default() } else { Tally::of(entry) };
        let was_user = entry.is_user();
        let credential = |entry: &Entry| entry.users.first().map(|user| user.credential.clone());
        let old_credential = credential(entry);

        let done = change(entry);

        let mut after = Tally::of(entry);
        let new_credential = credential(entry);
        if entry.is_user() && !was_user && rows::sent_for(name).is_some() {
            self.suspects.push((tenant, Stored::from_slice(name)));
        }
        if entry.users.is_empty() && entry.rules.is_empty() {
            self.next.names.remove(place, |entry| entry.is(tenant, name));
            after = Tally::default();
        }
        if is_new && tenant == EVERYWHERE && namesakes.is_none() {
            self.new_names.push(Stored::from_slice(name));
        }
        self.account(tenant, name, before, after);
        if old_credential != new_credential {
            self.edit_tenant(tenant, |tenant, all| {
                for decoys in [&mut tenant.decoys, all] {
                    old_credential.iter().for_each(|credential| decoys.remove(credential));
                    new_credential.iter().for_each(|credential| decoys.add(credential));
                }
            });
        }
        if before.users != after.users {
            self.count_namesake(name, after.users > before.users);
        }
        done
    }

    /// How many tenants have a user of a name, if it is new among the subjects of
    /// all tenants; `None` if that is too much to ask now.
    fn namesakes(&self, tenant: u32, name: &[u8]) -> Option<u32> {
        const FEW: usize = 16;
        if tenant != EVERYWHERE || *name == *DEFAULT || self.next.entry(EVERYWHERE, name).is_some() {
            return Some(0);
        }
        let is_user = |tenant: &&Arc<Tenant>| {
            self.next.entry(tenant.number, name).is_some_and(|entry| !entry.users.is_empty())
        };
        (self.next.tenants.len() <= FEW).then(|| self.next.tenants.iter().filter(is_user).count() as u32)
    }

    /// The name has become, or is no longer, a user's of some tenant.
    fn count_namesake(&mut self, name: &[u8], is_more: bool) {
        // Users mostly come before rules: then there is nothing to look for.
        if self.next.everywhere.subjects.all > 0 && self.next.entry(EVERYWHERE, name).is_some() {
            self.edit(EVERYWHERE, name, |entry| {
                entry.namesakes =
                    if is_more { entry.namesakes + 1 } else { entry.namesakes.saturating_sub(1) };
            });
        }
    }

    fn account(&mut self, tenant: u32, name: &[u8], before: Tally, after: Tally) {
        let change = |count: &mut usize, before: usize, after: usize| *count = *count + after - before;
        let counts = &mut self.next.counts;
        change(&mut counts.users, before.users, after.users);
        change(&mut counts.rules, before.rules, after.rules);
        change(&mut counts.bytes, before.bytes, after.bytes);
        if (before.users, before.rules, before.open) == (after.users, after.rules, after.open) {
            return;
        }
        let typed = rows::typed(name, &self.writer.options).filter(|_| before.rules != after.rules);
        let (had_users, has_users) = self.edit_tenant(tenant, |tenant, _| {
            let had_users = tenant.users > 0;
            change(&mut tenant.users, before.users, after.users);
            let subjects = &mut tenant.subjects;
            change(&mut subjects.all, before.rules, after.rules);
            change(&mut subjects.open, before.open, after.open);
            if *name == *DEFAULT {
                change(&mut subjects.default, before.rules, after.rules);
            }
            if let Some((prefix, param)) = typed {
                let found = subjects.typed.binary_search_by(|known| known.prefix.cmp(&prefix));
                let at = found.unwrap_or_else(|at| {
                    subjects.typed.insert(at, Typed { prefix, param, rules: 0 });
                    at
                });
                change(&mut subjects.typed[at].rules, before.rules, after.rules);
                if subjects.typed[at].rules == 0 {
                    subjects.typed.remove(at);
                }
            }
            (had_users, tenant.users > 0)
        });
        change(&mut self.next.counts.tenants, usize::from(had_users), usize::from(has_users));
    }

    /// Changes a tenant, which is made if it is missing and goes when it is
    /// empty, and the decoys of all.
    fn edit_tenant<R>(&mut self, number: u32, edit: impl FnOnce(&mut Tenant, &mut super::Decoys) -> R) -> R {
        let all = &mut self.next.decoys;
        if number == EVERYWHERE {
            return edit(Arc::make_mut(&mut self.next.everywhere), all);
        }
        let name = self.writer.domains.name(number);
        let place = names::place(EVERYWHERE, name);
        let is_it = |tenant: &Arc<Tenant>| tenant.number == number;
        let tenant = self.next.tenants.get_or_insert(place, is_it, || {
            Arc::new(Tenant { number, name: name.clone(), ..Tenant::default() })
        });
        let tenant = Arc::make_mut(tenant);
        let done = edit(tenant, all);
        if tenant.users == 0 && tenant.subjects.all == 0 && tenant.decoys == super::Decoys::default() {
            self.next.counts.bytes -= tenant.base.as_ref().map_or(0, |base| base.heap_bytes());
            self.next.tenants.remove(place, is_it);
        }
        done
    }

    /// Finds out how many tenants have users of the names that are new among
    /// the subjects of all tenants: by looking for each name in each tenant, or
    /// for each user among the names, whichever is less.
    fn find_namesakes(&mut self) {
        let new_names: HashSet<Stored> = std::mem::take(&mut self.new_names).into_iter().collect();
        let mut counts: HashMap<Stored, u32> = HashMap::new();
        if new_names.len().saturating_mul(self.next.tenants.len()) > self.next.names.len() {
            let users = self.next.names.iter().filter(|entry| !entry.users.is_empty());
            for entry in users.filter(|entry| new_names.contains(&entry.name)) {
                *counts.entry_ref(&entry.name).or_default() += 1;
            }
        } else {
            for name in &new_names {
                let is_user = |tenant: &&Arc<Tenant>| {
                    self.next.entry(tenant.number, name).is_some_and(|entry| !entry.users.is_empty())
                };
                let count = self.next.tenants.iter().filter(is_user).count();
                counts.insert(name.clone(), u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
        for name in new_names {
            // It may have gone again.
            if self.next.entry(EVERYWHERE, &name).is_some() {
                let count = counts.get(&name).copied().unwrap_or_default();
                self.edit(EVERYWHERE, &name, |entry| entry.namesakes = count);
            }
        }
    }

    /// Merges the rules for everyone of the tenants where they changed.
    fn merge(&mut self) {
        let mut stale = std::mem::take(&mut self.new_defaults);
        if stale.is_empty() {
            return;
        }
        let of_all = self.next.names.get(names::place(EVERYWHERE, DEFAULT), |e| e.is(EVERYWHERE, DEFAULT));
        let of_all = of_all.map(|entry| entry.rules.clone()).unwrap_or_default();
        if stale.contains(&EVERYWHERE) {
            let base = Arc::new(RuleSet::merge(of_all.iter()));
            let bytes = &mut self.next.counts.bytes;
            *bytes = *bytes + base.heap_bytes() - self.next.base.heap_bytes();
            self.next.base = base;
            let with_default = self.next.tenants.iter().filter(|tenant| tenant.subjects.default > 0);
            stale.extend(with_default.map(|tenant| tenant.number));
        }
        for number in stale.into_iter().filter(|number| *number != EVERYWHERE) {
            let is_default = |entry: &Shared| entry.is(number, DEFAULT);
            let default = self.next.names.get(names::place(number, DEFAULT), is_default).cloned();
            let own = default.as_ref().map(|entry| &entry.rules);
            // A few rules of its own are no reason to keep a whole answer for
            // each of very many tenants.
            let own = own.filter(|own| own.len() * LAID_OVER > of_all.len());
            let base = own.map(|own| {
                let mut rules: Vec<_> = own.iter().chain(of_all.iter()).collect();
                rules.sort_unstable_by_key(|rule| rule.order());
                Arc::new(RuleSet::merge(rules))
            });
            // A tenant that went needs none.
            if self.next.tenant(&self.writer.domains.name(number).clone()).is_none() {
                continue;
            }
            let size = |base: &Option<Arc<RuleSet>>| base.as_ref().map_or(0, |base| base.heap_bytes());
            let more = size(&base);
            let less = self.edit_tenant(number, |tenant, _| {
                tenant.default = default;
                size(&std::mem::replace(&mut tenant.base, base))
            });
            let bytes = &mut self.next.counts.bytes;
            *bytes = *bytes + more - less;
        }
    }

    /// Reports users who do not count beside others of their name. Some of them
    /// may have gone since they met.
    fn report_collisions(&mut self) {
        self.collisions.sort_unstable();
        self.collisions.dedup();
        for (tenant, name) in std::mem::take(&mut self.collisions) {
            let users = self.next.entry(tenant, &name).map(|entry| &*entry.users);
            let Some([kept, dropped @ ..]) = users else { continue };
            for user in dropped {
                let what = format!(
                    "the same user as id {} by the way names are compared; only the lowest id counts: remove the others, or rename them",
                    kept.id
                );
                self.problems.add("colliding-user", Table::UserAuth, user.id, what);
            }
        }
    }

    /// Reports rules of a name that is a user's now, though it was written for
    /// another parameter.
    fn report_user_subject(&mut self, tenant: u32, name: &[u8]) {
        let Some((name, param)) = rows::sent_for(name) else { return };
        let entry = self.next.entry(tenant, name.as_bytes()).filter(|entry| entry.is_user());
        for rule in entry.into_iter().flat_map(|entry| entry.rules.iter()) {
            let what = format!(
                "the subject `{name}` is a user's name, so it matches that user alone; \
                 if the {param} is meant, write `{param}={name}`, else `username={name}`"
            );
            self.problems.add("ambiguous-subject", Table::JitsiProperty, rule.order().id, what);
        }
    }
}
