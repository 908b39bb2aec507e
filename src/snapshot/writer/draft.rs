//! Changes to a snapshot, row by row, until they are committed.

mod defaults;
mod namesakes;
mod patterns;
mod reports;
mod totals;
mod withhold;

use std::sync::Arc;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};

use super::{LossLimits, Problems, Writer};
use crate::core::model::{AttributeRow, Change, Row, RuleRow, Table, UserRow};
use crate::core::problem::Code;
use crate::core::subject::{Subject, TypedBy};
use crate::snapshot::kind::{OtherParam, SubjectKind};
use crate::snapshot::names::{IndexKey, StoredName};
use crate::snapshot::row_index::{self, RowIndex, RowRecord, UNUSED};
use crate::snapshot::rows::{self, UnusableRow};
use crate::snapshot::{DEFAULT, Piece, SharedEntry, Snapshot, UserEntry, WITHHELD};

/// How many lists of rules are staged at most. This limits the memory of a first load.
const STAGED: usize = 1 << 13;

/// How many rows a draft changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeSummary {
    /// Rows that are new.
    pub added: usize,
    /// Rows that are different now.
    pub changed: usize,
    /// Rows that are no longer there.
    pub removed: usize,
    /// Of the changed rows, those of users with another name or domain than before.
    pub renamed: usize,
    /// Users and rules that are served from now on although the source has lost them.
    pub withheld: usize,
    /// Users and rules of which that is over.
    pub released: usize,
}

/// A draft that was applied.
pub struct Committed {
    /// The new snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The problems of the rows that changed.
    pub problems: Problems,
    /// What changed.
    pub summary: ChangeSummary,
}

impl ChangeSummary {
    /// The numbers of both.
    pub fn and(self, other: ChangeSummary) -> ChangeSummary {
        ChangeSummary {
            added: self.added + other.added,
            changed: self.changed + other.changed,
            removed: self.removed + other.removed,
            renamed: self.renamed + other.renamed,
            withheld: self.withheld + other.withheld,
            released: self.released + other.released,
        }
    }

    /// Whether no row changes.
    pub fn is_empty(&self) -> bool {
        *self == ChangeSummary::default()
    }
}

/// Changes to a snapshot. A draft that is dropped without a commit changes nothing.
#[derive(Debug)]
pub struct Draft<'w> {
    writer: &'w mut Writer,
    next: Snapshot,
    is_load: bool,
    /// For each of [`Table::ALL`], whether the load has not read it.
    kept: [bool; Table::COUNT],
    /// The records that the commit adds to the row index.
    records: RowIndex,
    /// The rows that the commit removes from the row index.
    gone: HashSet<(Table, i64)>,
    /// Rows that a running load must not change, because this draft is newer.
    touched: Vec<(Table, i64)>,
    /// Names that several users of a tenant have.
    collisions: Vec<(u32, StoredName)>,
    /// Changes of rules that are not in the snapshot yet, by subject, so that each list of
    /// rules is built once for all its changes.
    staged: HashMap<IndexKey, Staged>,
    /// Tenants whose rules for everyone have changed.
    new_defaults: HashSet<u32>,
    /// Tenants whose rules for everyone, or whose own attributes, have changed.
    new_everyone: HashSet<u32>,
    /// Patterns whose rules have changed.
    new_patterns: HashSet<IndexKey>,
    /// Words whose rules may match other clients than intended: a user's name that clients
    /// also send as a parameter, or a name that no user has.
    suspects: Vec<(u32, StoredName)>,
    /// Words that are new subjects of rules for all tenants. The commit finds out whether
    /// they are users' names.
    new_names: Vec<StoredName>,
    /// Accounts that somebody could sign in with before an edit.
    accounts: HashSet<IndexKey>,
    /// Rules and attributes that were taken from their entries.
    dropped: Vec<(IndexKey, Piece)>,
    /// The rows of those that were put where others were lost.
    found: Vec<(IndexKey, (Table, i64))>,
    problems: Problems,
    summary: ChangeSummary,
}

/// Changes of the rules and attributes of one name.
#[derive(Debug, Default)]
struct Staged {
    put: Vec<Piece>,
    gone: HashSet<(Table, i64)>,
}

impl<'w> Draft<'w> {
    /// `is_load`: see [`Writer::draft_of_load`].
    pub(super) fn new(writer: &'w mut Writer, is_load: bool) -> Draft<'w> {
        Draft {
            next: writer.current.clone(),
            is_load,
            kept: [false; Table::COUNT],
            records: RowIndex::default(),
            gone: HashSet::new(),
            touched: Vec::new(),
            collisions: Vec::new(),
            staged: HashMap::new(),
            new_defaults: HashSet::new(),
            new_everyone: HashSet::new(),
            new_patterns: HashSet::new(),
            suspects: Vec::new(),
            new_names: Vec::new(),
            accounts: HashSet::new(),
            dropped: Vec::new(),
            found: Vec::new(),
            problems: Problems::default(),
            summary: ChangeSummary::default(),
            writer,
        }
    }

    /// Applies the change of one row.
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

    /// Adds a row, or replaces its old version. Returns whether it is new or changed.
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
            Row::Attribute(row) => self.put_attribute(row),
        };
        let prefix = prefix.unwrap_or_else(|unusable| {
            self.problems.add(Code::BadRow, table, id, unusable.consequence());
            UNUSED
        });
        let is_user = table == Table::UserAuth && prefix != UNUSED;
        if is_user && known.is_some_and(|known| ![prefix, UNUSED].contains(&known.prefix)) {
            self.summary.renamed += 1;
        }
        self.gone.remove(&(table, id));
        self.records.table_mut(table).insert(id, RowRecord::new(prefix, content, load));
        true
    }

    /// Removes a row.
    pub fn remove(&mut self, table: Table, id: i64) {
        if let Some(record) = self.record(table, id) {
            self.take_out(table, id, record.prefix);
            self.summary.removed += 1;
            self.records.table_mut(table).remove(id);
            self.gone.insert((table, id));
        }
    }

    /// Notes that the load has not read a table, because it is as it was.
    pub fn keep(&mut self, table: Table) {
        self.kept[table as usize] = true;
    }

    /// At the end of a load: removes the rows that it has not seen, and calls `gone` for
    /// each. Tables that were kept keep all rows.
    pub fn sweep(&mut self, mut gone: impl FnMut(Table, i64)) {
        for table in Table::ALL {
            if self.kept[table as usize] {
                continue;
            }
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

    /// How many rows the draft changes.
    pub fn summary(&self) -> ChangeSummary {
        self.summary
    }

    /// Applies the draft, except for losses beyond `limits`.
    pub fn commit_within(mut self, limits: &LossLimits, now: Instant) -> Committed {
        self.unstage();
        self.withhold(limits, now);
        self.committed()
    }

    /// Ends a draft without changes of rows: all that was lost before it is served no longer.
    pub fn commit_losses(mut self) -> Committed {
        self.accept_losses();
        self.committed()
    }

    fn committed(self) -> Committed {
        let summary = self.summary;
        let (snapshot, problems) = self.commit();
        Committed { snapshot, problems, summary }
    }

    /// Applies the draft, however much is lost. Returns the new snapshot and the problems
    /// of rows.
    pub fn commit(mut self) -> (Arc<Snapshot>, Problems) {
        self.unstage();
        self.find_namesakes();
        self.merge();
        self.renew_everyone();
        self.index_patterns();
        self.report_collisions();
        self.report_subjects();
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
        let rows::ParsedUser { domain, username, mut credential, details } =
            rows::user(row, &self.writer.options, &mut problem)?;
        if row.id == WITHHELD {
            return Err(UnusableRow("the id is the lowest of all numbers, which no row may have".into()));
        }
        let tenant = self.writer.domains.number(&domain);
        // If the hash has not changed, a password that was found to be right stays known.
        let previous = self
            .writer
            .current
            .entry(tenant, SubjectKind::WORD, &username)
            .and_then(|entry| entry.users.first());
        let place = IndexKey::new(tenant, SubjectKind::WORD, &username);
        if let Some(previous) = previous {
            credential.inherit(&previous.credential);
        }
        let user = UserEntry { id: row.id, credential };
        let is_collision = self.edit(&place, |entry| {
            entry.put_user(user, details);
            entry.users.iter().filter(|user| !user.is_withheld()).count() > 1
        });
        if is_collision {
            self.collisions.push((tenant, place.name.clone()));
        }
        Ok(place.hash())
    }

    fn put_rule(&mut self, row: &RuleRow) -> Result<u32, UnusableRow> {
        let mut problem = |code, what: String| self.problems.add(code, Table::JitsiProperty, row.id, what);
        let rows::ParsedRule { domain, subject, compiled } =
            rows::rule(row, &self.writer.options, &mut self.writer.keys, &mut problem)?;
        let tenant = self.writer.domains.number(&domain);
        let place = self.place(tenant, &subject)?;
        let prefix = place.hash();
        self.stage(place).put.push(Piece::Rule(compiled));
        Ok(prefix)
    }

    fn put_attribute(&mut self, row: &AttributeRow) -> Result<u32, UnusableRow> {
        let rows::ParsedAttribute { domain, username, attribute } =
            rows::attribute(row, &self.writer.options)?;
        let tenant = self.writer.domains.number(&domain);
        let place = match username.is_empty() {
            true => IndexKey::new(tenant, SubjectKind::EVERYONE, DEFAULT),
            false => IndexKey::new(tenant, SubjectKind::WORD, &username),
        };
        let prefix = place.hash();
        self.stage(place).put.push(Piece::Attribute(attribute));
        Ok(prefix)
    }

    fn place(&mut self, tenant: u32, subject: &Subject) -> Result<IndexKey, UnusableRow> {
        let mut other = |by: &TypedBy, pattern| {
            SubjectKind::other(self.writer.others.number(OtherParam { by: by.clone(), pattern }))
        };
        let (kind, name) = match subject {
            Subject::Everyone => (Some(SubjectKind::EVERYONE), DEFAULT),
            Subject::Word(name) => (Some(SubjectKind::WORD), &**name),
            Subject::Param(TypedBy::Known(known), value) => (Some(SubjectKind::known(*known)), &**value),
            Subject::Param(by, value) => (other(by, None), &**value),
            Subject::Pattern(by, kind, pattern) => (other(by, Some(*kind)), &**pattern),
        };
        let kind = kind.ok_or_else(|| {
            UnusableRow(
                "subjects name more than 65,000 different parameters: correct them and restart".into(),
            )
        })?;
        Ok(IndexKey::new(tenant, kind, name))
    }

    /// Removes a row from its entry.
    fn take_out(&mut self, table: Table, id: i64, prefix: u32) {
        if self.records.table(table).get(id).is_some() {
            // This draft put it there, and it may still be staged.
            self.unstage();
        }
        let has = |entry: &SharedEntry| entry.has(table, id);
        // A row that cannot be used is in no entry.
        let Some(entry) = self.next.names.get(prefix, has) else { return };
        let place = IndexKey::new(entry.tenant, entry.kind, &entry.name);
        match table {
            Table::UserAuth => self.edit(&place, |entry| entry.remove_user(id)),
            Table::JitsiProperty | Table::UserAttribute => {
                self.stage(place).gone.insert((table, id));
            }
        }
    }

    fn stage(&mut self, place: IndexKey) -> &mut Staged {
        if self.staged.len() >= STAGED {
            self.unstage();
        }
        self.staged.entry(place).or_default()
    }

    /// Applies the staged changes to the snapshot.
    fn unstage(&mut self) {
        for (place, Staged { put, mut gone }) in std::mem::take(&mut self.staged) {
            if place.kind == SubjectKind::EVERYONE {
                let mut rows = put.iter().map(Piece::row).chain(gone.iter().copied());
                if rows.any(|(table, _)| table == Table::JitsiProperty) {
                    self.new_defaults.insert(place.tenant);
                }
                self.new_everyone.insert(place.tenant);
            }
            if self.pattern_kind(place.kind).is_some() {
                self.new_patterns.insert(place.clone());
            }
            self.note_dropped(&place, &put, &mut gone);
            self.edit(&place, |entry| entry.change(&gone, put));
        }
    }
}
