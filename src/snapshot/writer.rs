//! Rows → snapshots: the first from all rows, every next one from the rows that
//! changed.
//!
//! The [`Writer`] keeps a row_index of the rows that made the current snapshot: a
//! hash of what each said, and where it went. So a load of everything is but a
//! comparison, and what is the same costs nothing. All changes go through a
//! [`Draft`]; until it is committed, nothing has happened.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::decoys;
use super::kind::SubjectKind;
use super::names::{self, StoredName};
use super::row_index::{self, RowIndex, RowRecord, UNUSED};
use super::rows::{self, Keys, UnusableRow};
use super::{Counts, DEFAULT, EVERYWHERE, Entry, SharedEntry, Snapshot, Tenant, Trie, UserEntry};
use crate::core::conventions::Conventions;
use crate::core::model::{Change, Row, RuleRow, Table, UserRow};
use crate::core::names::Folded;
use crate::core::problem::{Code, Problem};
use crate::core::rules::{Compiled, RuleSet, Rules};
use crate::core::subject::{Subject, TypedBy, sent_for};

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

    fn add(&mut self, code: Code, table: Table, id: i64, what: impl Into<String>) {
        self.total += 1;
        if self.first.len() < Self::KEPT || self.keeps_all {
            self.first.push(Problem { code, table, id, what: what.into() });
        }
    }
}

/// How many rows a draft changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeSummary {
    /// Rows that were not there.
    pub added: usize,
    /// Rows that said something else.
    pub changed: usize,
    /// Rows that are no longer there.
    pub removed: usize,
}

impl ChangeSummary {
    /// Whether it is nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == ChangeSummary::default()
    }
}

/// The one who makes snapshots. See the module.
#[derive(Debug)]
pub struct Writer {
    options: Conventions,
    current: Snapshot,
    row_index: RowIndex,
    keys: Keys,
    domains: Domains,
    others: Others,
    /// Tells the rows that the latest load has seen from those it has not.
    load: u8,
    /// Rows that were put or removed by others since the latest load began,
    /// which know better than it does.
    since: Option<HashSet<(Table, i64)>>,
}

/// Tenants have numbers, in the order in which they were first seen.
#[derive(Debug)]
struct Domains {
    numbers: HashMap<StoredName, u32>,
    names: Vec<StoredName>,
}

impl Domains {
    fn number(&mut self, domain: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(domain) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("tenants are fewer than four billion");
        let name = StoredName::from_slice(domain);
        self.numbers.insert(name.clone(), number);
        self.names.push(name);
        number
    }

    fn name(&self, number: u32) -> &StoredName {
        &self.names[number as usize]
    }
}

/// Parameters that only the operator knows have numbers, in the order in which
/// they were first seen.
#[derive(Debug, Default)]
struct Others {
    numbers: HashMap<Folded, usize>,
    names: Arc<Vec<Folded>>,
}

impl Others {
    fn number(&mut self, name: Folded) -> usize {
        let next = self.names.len();
        *self.numbers.entry(name).or_insert_with_key(|name| {
            Arc::make_mut(&mut self.names).push(name.clone());
            next
        })
    }
}

/// Where a subject's rules are in the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct IndexKey {
    tenant: u32,
    kind: SubjectKind,
    name: StoredName,
}

impl IndexKey {
    fn new(tenant: u32, kind: SubjectKind, name: &[u8]) -> IndexKey {
        IndexKey { tenant, kind, name: StoredName::from_slice(name) }
    }

    /// See [`names::place`].
    fn hash(&self) -> u64 {
        names::place(self.tenant, self.kind, &self.name)
    }
}

impl Writer {
    /// Begins with an empty snapshot.
    pub fn new(options: Conventions) -> Writer {
        let all = StoredName::new();
        let domains = Domains { numbers: HashMap::from([(all.clone(), EVERYWHERE)]), names: vec![all] };
        let current = Snapshot {
            comparison: options.comparison,
            names: Trie::default(),
            others: Arc::default(),
            tenants: Trie::default(),
            everywhere: Arc::new(Tenant { number: EVERYWHERE, ..Tenant::default() }),
            base: Arc::new(RuleSet::merge([])),
            decoys: super::Decoys::default(),
            decoy_key: decoys::DecoyKey::new(std::iter::empty()),
            counts: Counts::default(),
            digest: 0,
        };
        Writer {
            options,
            current,
            row_index: RowIndex::default(),
            keys: Keys::default(),
            domains,
            others: Others::default(),
            load: 0,
            since: None,
        }
    }

    /// The snapshot of `rows` alone, and what was wrong with them.
    pub fn build(options: Conventions, rows: impl IntoIterator<Item = Row>) -> (Arc<Snapshot>, Problems) {
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
        self.row_index.len()
    }

    /// The next `most` rows of a table after the one of `id`, used or not: their
    /// ids and [`content`](super::content).
    pub fn contents(&self, table: Table, id: i64, most: usize) -> Vec<(i64, u64)> {
        self.row_index.table(table).after(id).take(most).map(|(id, record)| (id, record.content())).collect()
    }

    /// Begins a load of all rows. Drafts committed before its own take
    /// precedence over what it reads.
    pub fn begin_load(&mut self) {
        self.load += 1;
        if self.load == u8::MAX {
            // Numbers begin again, so none of before may be left.
            self.row_index.unmark();
            self.load = 1;
        }
        self.since = Some(HashSet::new());
    }

    /// Whether a row of the load under way says anything new. If not, it is
    /// done with.
    pub fn is_news(&mut self, row: &Row) -> bool {
        let (table, id) = (row.table(), row.id());
        match self.row_index.table(table).get(id) {
            Some(record) if !record.was_seen_in(self.load) && record.says(row_index::content(row)) => {
                self.row_index.table_mut(table).mark(id, self.load);
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

    /// What decoys of `next`, which the row_index tells the rows of, are chosen by.
    fn decoy_key(&self, next: &Snapshot) -> decoys::DecoyKey {
        /// Rows that are looked at: there may be many that no password matches.
        const FEW: usize = 64;
        let is_usable = |id: i64, record: RowRecord| {
            let mine = |user: &UserEntry| user.id == id && user.credential.is_usable();
            next.names.find(record.prefix, |entry| entry.users.iter().any(mine)).is_some()
        };
        let oldest = self.row_index.table(Table::UserAuth).after(i64::MIN).take(FEW);
        let oldest = oldest.filter(|&(id, record)| is_usable(id, record)).take(decoys::OLDEST);
        decoys::DecoyKey::new(oldest.map(|(_, record)| record.content()))
    }

    /// Begins to change the snapshot.
    pub fn draft(&mut self) -> Draft<'_> {
        Draft {
            next: self.current.clone(),
            is_load: false,
            records: RowIndex::default(),
            gone: HashSet::new(),
            touched: Vec::new(),
            collisions: Vec::new(),
            staged: HashMap::new(),
            new_defaults: HashSet::new(),
            suspects: Vec::new(),
            new_names: Vec::new(),
            problems: Problems::default(),
            summary: ChangeSummary::default(),
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
    /// What will be noted in the row_index.
    records: RowIndex,
    /// What will be struck from it.
    gone: HashSet<(Table, i64)>,
    /// Rows that a load under way must leave alone, whatever became of them.
    touched: Vec<(Table, i64)>,
    /// Where several users have one name.
    collisions: Vec<(u32, StoredName)>,
    /// Changes of rules that are not in the snapshot yet, by whom they are for:
    /// each list is made anew but once for all that change in it.
    staged: HashMap<IndexKey, Staged>,
    /// Tenants whose rules for everyone have changed.
    new_defaults: HashSet<u32>,
    /// Words with rules that may be for somebody else than was meant: a user's
    /// name that clients send too, or nobody's name.
    suspects: Vec<(u32, StoredName)>,
    /// Subjects that are new among those of all tenants: whether they are
    /// users' names is still to be found out.
    new_names: Vec<StoredName>,
    problems: Problems,
    summary: ChangeSummary,
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
        let is_open =
            || entry.kind == SubjectKind::WORD && !entry.is_user() && sent_for(&entry.name).is_some();
        let spilled = if entry.name.spilled() { entry.name.len() } else { 0 };
        let users: usize = entry.users.iter().map(|user| user.credential.heap_bytes()).sum();
        Tally {
            users: usize::from(!entry.users.is_empty()),
            rules: entry.rules.len(),
            open: if !entry.rules.is_empty() && is_open() { entry.rules.len() } else { 0 },
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
        let content = row_index::content(row);
        let known = self.record(table, id);
        if self.is_load {
            if self.writer.since.as_ref().is_some_and(|since| since.contains(&(table, id))) {
                return false;
            }
            if known.is_some_and(|record| record.was_seen_in(load)) {
                let what = "another row with this id came before; select an id that is unique; \
                            this row is left out";
                self.problems.add(Code::DuplicateId, table, id, what);
                return false;
            }
        }
        match known {
            Some(record) if record.says(content) && !self.is_load => return false,
            Some(record) if record.says(content) => {
                let is_ours = self.records.table(table).get(id).is_some();
                let row_index = if is_ours { &mut self.records } else { &mut self.writer.row_index };
                row_index.table_mut(table).mark(id, load);
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
            self.problems.add(Code::BadRow, table, id, unusable.consequence());
            UNUSED
        });
        self.gone.remove(&(table, id));
        self.records.table_mut(table).insert(id, RowRecord::new(prefix, content, load));
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
            let known = self.writer.row_index.table(table).iter();
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
    pub fn summary(&self) -> ChangeSummary {
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
            self.report_subject(tenant, &name);
        }
        let Draft { writer, mut next, records, gone, touched, problems, is_load, .. } = self;
        if let Some(since) = writer.since.as_mut().filter(|_| !is_load) {
            since.extend(touched);
        }
        writer.row_index.update(records, &gone);
        if is_load {
            writer.since = None;
            writer.keys.tidy();
        }
        next.others = writer.others.names.clone();
        next.digest = writer.row_index.digest();
        next.decoy_key = writer.decoy_key(&next);
        writer.current = next.clone();
        (Arc::new(next), problems)
    }

    fn record(&self, table: Table, id: i64) -> Option<RowRecord> {
        let record = self.records.table(table).get(id);
        let is_gone = || self.gone.contains(&(table, id));
        record.or_else(|| self.writer.row_index.table(table).get(id).filter(|_| !is_gone()))
    }

    fn put_user(&mut self, row: &UserRow) -> Result<u32, UnusableRow> {
        let mut problem = |code, what: String| self.problems.add(code, Table::UserAuth, row.id, what);
        let rows::ParsedUser { domain, username, mut credential } =
            rows::user(row, &self.writer.options, &mut problem)?;
        let tenant = self.writer.domains.number(&domain);
        // Slow hashes that are still the same need not be computed again.
        let previous = self
            .writer
            .current
            .entry(tenant, SubjectKind::WORD, &username)
            .and_then(|entry| entry.users.first());
        if let Some(previous) = previous {
            credential.inherit(&previous.credential);
        }
        let user = UserEntry { id: row.id, credential };
        let place = IndexKey::new(tenant, SubjectKind::WORD, &username);
        let is_collision = self.edit(&place, |entry| {
            let at = entry.users.partition_point(|known| known.id < user.id);
            entry.users.insert(at, user);
            entry.users.len() > 1
        });
        if is_collision {
            self.collisions.push((tenant, place.name.clone()));
        }
        Ok(names::prefix(place.hash()))
    }

    fn put_rule(&mut self, row: &RuleRow) -> Result<u32, UnusableRow> {
        let mut problem = |code, what: String| self.problems.add(code, Table::JitsiProperty, row.id, what);
        let rows::ParsedRule { domain, subject, compiled } =
            rows::rule(row, &self.writer.options, &mut self.writer.keys, &mut problem)?;
        let tenant = self.writer.domains.number(&domain);
        let place = self.place(tenant, &subject)?;
        let prefix = names::prefix(place.hash());
        self.stage(place).put.push(compiled);
        Ok(prefix)
    }

    fn place(&mut self, tenant: u32, subject: &Subject) -> Result<IndexKey, UnusableRow> {
        let (kind, name) = match subject {
            Subject::Everyone => (Some(SubjectKind::EVERYONE), DEFAULT),
            Subject::Word(name) => (Some(SubjectKind::WORD), &**name),
            Subject::Param(TypedBy::Known(known), value) => (Some(SubjectKind::known(*known)), &**value),
            Subject::Param(TypedBy::Other(param), value) => {
                (SubjectKind::other(self.writer.others.number(param.clone())), &**value)
            }
        };
        let kind = kind.ok_or_else(|| {
            UnusableRow(
                "subjects name more than 65,000 different parameters: correct them and restart".into(),
            )
        })?;
        Ok(IndexKey::new(tenant, kind, name))
    }

    /// Takes a row out from where it went.
    fn take_out(&mut self, table: Table, id: i64, prefix: u32) {
        if self.records.table(table).get(id).is_some() {
            // It went there in this draft.
            self.unstage();
        }
        let has = |entry: &SharedEntry| match table {
            Table::UserAuth => entry.users.iter().any(|user| user.id == id),
            Table::JitsiProperty => entry.rules.has(id),
        };
        // What could not be used is nowhere.
        let Some(entry) = self.next.names.find(prefix, has) else { return };
        let place = IndexKey::new(entry.tenant, entry.kind, &entry.name);
        match table {
            Table::UserAuth => self.edit(&place, |entry| entry.users.retain(|user| user.id != id)),
            Table::JitsiProperty => self.stage(place).gone.push(id),
        }
    }

    fn stage(&mut self, place: IndexKey) -> &mut Staged {
        if self.staged.len() >= STAGED {
            self.unstage();
        }
        self.staged.entry(place).or_default()
    }

    /// Brings the staged changes into the snapshot.
    fn unstage(&mut self) {
        for (place, Staged { put, gone }) in std::mem::take(&mut self.staged) {
            if place.kind == SubjectKind::EVERYONE {
                self.new_defaults.insert(place.tenant);
            }
            let gone: HashSet<i64> = gone.into_iter().collect();
            self.edit(&place, |entry| entry.rules = entry.rules.with(|id| gone.contains(&id), put));
        }
    }

    /// Changes an entry, which is made if it is missing and goes when it is
    /// empty, and keeps every count that depends on it.
    fn edit<R>(&mut self, place: &IndexKey, change: impl FnOnce(&mut Entry) -> R) -> R {
        let IndexKey { tenant, kind, name } = place;
        let (tenant, kind) = (*tenant, *kind);
        let namesakes = self.namesakes(place);
        let mut is_new = false;
        let entry = self.next.names.get_or_insert(
            place.hash(),
            |entry| entry.is(tenant, kind, name),
            || {
                is_new = true;
                let (users, rules) = (smallvec::SmallVec::new(), Rules::default());
                let namesakes = namesakes.unwrap_or_default();
                SharedEntry::new(Entry { tenant, kind, namesakes, name: name.clone(), users, rules })
            },
        );
        let entry = SharedEntry::make_mut(entry);
        let before = if is_new { Tally::default() } else { Tally::of(entry) };
        let (was_user, had_rules) = (entry.is_user(), entry.rules.len());
        let credential = |entry: &Entry| entry.users.first().map(|user| user.credential.clone());
        let old_credential = credential(entry);

        let done = change(entry);

        let mut after = Tally::of(entry);
        let new_credential = credential(entry);
        let is_other = (was_user, had_rules) != (entry.is_user(), entry.rules.len());
        if kind == SubjectKind::WORD && is_other && !entry.rules.is_empty() {
            // Most are the names of users and of no interest.
            if !entry.is_user() || sent_for(name).is_some() {
                self.suspects.push((tenant, name.clone()));
            }
        }
        if entry.users.is_empty() && entry.rules.is_empty() {
            self.next.names.remove(place.hash(), |entry| entry.is(tenant, kind, name));
            after = Tally::default();
        }
        if is_new && tenant == EVERYWHERE && namesakes.is_none() {
            self.new_names.push(name.clone());
        }
        self.account(place, before, after);
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
    fn namesakes(&self, IndexKey { tenant, kind, name }: &IndexKey) -> Option<u16> {
        const FEW: usize = 16;
        let is_known = || self.next.entry(EVERYWHERE, SubjectKind::WORD, name).is_some();
        if *tenant != EVERYWHERE || *kind != SubjectKind::WORD || is_known() {
            return Some(0);
        }
        (self.next.tenants.len() <= FEW).then(|| self.count_users(name))
    }

    /// How many tenants have a user of a name.
    fn count_users(&self, name: &[u8]) -> u16 {
        let is_user = |tenant: &&Arc<Tenant>| {
            let entry = self.next.entry(tenant.number, SubjectKind::WORD, name);
            entry.is_some_and(|entry| !entry.users.is_empty())
        };
        saturating(self.next.tenants.iter().filter(is_user).count())
    }

    /// The name has become, or is no longer, a user's of some tenant.
    fn count_namesake(&mut self, name: &[u8], is_more: bool) {
        // Users mostly come before rules: then there is nothing to look for.
        let of_all = self.next.everywhere.subjects.all > 0;
        if of_all && self.next.entry(EVERYWHERE, SubjectKind::WORD, name).is_some() {
            self.edit(&IndexKey::new(EVERYWHERE, SubjectKind::WORD, name), |entry| {
                entry.namesakes = match (entry.namesakes, is_more) {
                    (u16::MAX, _) => u16::MAX,
                    (known, true) => known + 1,
                    (known, false) => known.saturating_sub(1),
                };
            });
        }
    }

    fn account(&mut self, IndexKey { tenant, kind, .. }: &IndexKey, before: Tally, after: Tally) {
        let change = |count: &mut usize, before: usize, after: usize| *count = *count + after - before;
        let counts = &mut self.next.counts;
        change(&mut counts.users, before.users, after.users);
        change(&mut counts.rules, before.rules, after.rules);
        change(&mut counts.bytes, before.bytes, after.bytes);
        if (before.users, before.rules, before.open) == (after.users, after.rules, after.open) {
            return;
        }
        let is_typed = kind.param().is_some() && before.rules != after.rules;
        let (had_users, has_users) = self.edit_tenant(*tenant, |tenant, _| {
            let had_users = tenant.users > 0;
            change(&mut tenant.users, before.users, after.users);
            let subjects = &mut tenant.subjects;
            change(&mut subjects.all, before.rules, after.rules);
            change(&mut subjects.open, before.open, after.open);
            if *kind == SubjectKind::EVERYONE {
                change(&mut subjects.default, before.rules, after.rules);
            }
            if is_typed {
                let found = subjects.typed.binary_search_by_key(kind, |(known, _)| *known);
                let at = found.unwrap_or_else(|at| {
                    subjects.typed.insert(at, (*kind, 0));
                    at
                });
                change(&mut subjects.typed[at].1, before.rules, after.rules);
                if subjects.typed[at].1 == 0 {
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
        let place = names::place(EVERYWHERE, SubjectKind::WORD, name);
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
        let new_names: HashSet<StoredName> = std::mem::take(&mut self.new_names).into_iter().collect();
        let mut counts: HashMap<StoredName, usize> = HashMap::new();
        let is_many = new_names.len().saturating_mul(self.next.tenants.len()) > self.next.names.len();
        if is_many {
            let users = self.next.names.iter().filter(|entry| !entry.users.is_empty());
            for entry in users.filter(|entry| new_names.contains(&entry.name)) {
                *counts.entry_ref(&entry.name).or_default() += 1;
            }
        }
        for name in new_names {
            // It may have gone again.
            if self.next.entry(EVERYWHERE, SubjectKind::WORD, &name).is_some() {
                let count = match is_many {
                    true => saturating(counts.get(&name).copied().unwrap_or_default()),
                    false => self.count_users(&name),
                };
                self.edit(&IndexKey::new(EVERYWHERE, SubjectKind::WORD, &name), |entry| {
                    entry.namesakes = count
                });
            }
        }
    }

    /// Merges the rules for everyone of the tenants where they changed.
    fn merge(&mut self) {
        let mut stale = std::mem::take(&mut self.new_defaults);
        if stale.is_empty() {
            return;
        }
        let of_all = self.next.entry(EVERYWHERE, SubjectKind::EVERYONE, DEFAULT);
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
            let place = names::place(number, SubjectKind::EVERYONE, DEFAULT);
            let is_default = |entry: &SharedEntry| entry.is(number, SubjectKind::EVERYONE, DEFAULT);
            let default = self.next.names.get(place, is_default).cloned();
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
            let users = self.next.entry(tenant, SubjectKind::WORD, &name).map(|entry| &*entry.users);
            let Some([kept, dropped @ ..]) = users else { continue };
            for user in dropped {
                let what = format!(
                    "the same user as id {} by the way names are compared; only the lowest id counts: remove the others, or rename them",
                    kept.id
                );
                self.problems.add(Code::CollidingUser, Table::UserAuth, user.id, what);
            }
        }
    }

    /// Reports the rules of a word if they may be for somebody else than was
    /// meant.
    fn report_subject(&mut self, tenant: u32, word: &[u8]) {
        let Some(entry) = self.next.entry(tenant, SubjectKind::WORD, word) else { return };
        let name = String::from_utf8_lossy(word);
        let (code, what) = match (self.next.sent_for(word), entry.is_user()) {
            (Some(known), true) => {
                let param = known.name();
                let what = format!(
                    "the subject `{name}` is a user's name, so it matches that user alone; \
                     if the {param} is meant, write `{param}={name}`, else `username={name}`"
                );
                (Code::AmbiguousSubject, what)
            }
            (None, false) => {
                let of = if tenant == EVERYWHERE { "no tenant has" } else { "its tenant does not have" };
                let what = format!(
                    "the subject `{name}` is taken for a username, and {of} such a user, so the rule matches \
                     nobody: create the user, correct the subject, or write the parameter that is meant, \
                     such as `hostname={name}`"
                );
                (Code::NoSuchUser, what)
            }
            _ => return,
        };
        for rule in entry.rules.iter() {
            self.problems.add(code, Table::JitsiProperty, rule.order().id, what.clone());
        }
    }
}

fn saturating(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
