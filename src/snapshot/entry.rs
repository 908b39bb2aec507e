//! What is stored under one name of a tenant: its users, its rules, its attributes.

use std::ops::Deref;
use std::slice;

use hashbrown::HashSet;

use super::kind::SubjectKind;
use super::names::StoredName;
use crate::core::attributes::{Attribute, Attributes};
use crate::core::credential::Credential;
use crate::core::model::Table;
use crate::core::rules::{Compiled, Rules};

/// A subject of a tenant and its rules. If the subject is a word and a user's name, the entry
/// also contains the credential and the user's attributes. That of everyone contains the
/// attributes of the tenant.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub tenant: u32,
    pub kind: SubjectKind,
    /// For a word in rules for all tenants: how many tenants have a user of that name. Once
    /// this reaches the largest number, it stays there: to be safe, the word then counts as a
    /// user's name even after these users are gone.
    pub namesakes: u16,
    pub name: StoredName,
    /// Users of this name, sorted by id. Only the first one is used.
    pub users: Users,
    pub rules: Rules,
    extra: Option<Box<Extra>>,
}

/// `triomphe::Arc` has no weak count, which saves 8 bytes an entry.
pub(super) type SharedEntry = triomphe::Arc<Entry>;

/// What only some entries have.
#[derive(Debug, Clone, Default, PartialEq)]
struct Extra {
    attributes: Attributes,
    /// By the id of the user.
    details: Box<[(i64, UserDetails)]>,
}

/// A rule or an attribute of an entry.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Rule(Compiled),
    Attribute(Attribute),
}

impl Piece {
    /// The row that it is from.
    pub fn row(&self) -> (Table, i64) {
        match self {
            Piece::Rule(rule) => (Table::JitsiProperty, rule.order.id),
            Piece::Attribute(attribute) => (Table::UserAttribute, attribute.id),
        }
    }
}

/// What is stored of some users only.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct UserDetails {
    /// The stored name, if it is not the folded one.
    pub username: Option<Box<str>>,
    /// The stored domain, if it is not the folded one.
    pub domain: Option<Box<str>>,
    /// The further columns of the operator's own query for users.
    pub columns: Attributes,
}

impl Entry {
    /// An entry in which nothing is stored yet.
    pub fn new(tenant: u32, kind: SubjectKind, name: StoredName, namesakes: u16) -> Entry {
        let (users, rules) = (Users::default(), Rules::default());
        Entry { tenant, kind, namesakes, name, users, rules, extra: None }
    }

    /// Whether a word is a user's name. Then its rules do not match other parameters.
    #[inline]
    pub fn is_user(&self) -> bool {
        !self.users.is_empty() || self.namesakes > 0
    }

    /// The user that the source has for this name.
    #[inline]
    pub fn in_source(&self) -> Option<&UserEntry> {
        self.users.iter().find(|user| !user.is_withheld())
    }

    /// The credential that the source has for this name, if somebody can sign in with it.
    pub fn able(&self) -> Option<&Credential> {
        self.in_source().map(|user| &user.credential).filter(|credential| credential.is_usable())
    }

    /// Whether nothing is stored under this name.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.rules.is_empty() && self.extra.is_none()
    }

    #[inline]
    pub fn is(&self, tenant: u32, kind: SubjectKind, name: &[u8]) -> bool {
        (self.tenant, self.kind) == (tenant, kind) && *self.name == *name
    }

    /// Whether both store the same under their names.
    pub fn has_equal_contents(&self, other: &Entry) -> bool {
        let parts = |entry: &Entry| (entry.namesakes, entry.extra.clone());
        parts(self) == parts(other) && *self.users == *other.users && self.rules == other.rules
    }

    /// The attributes: of the user, or of the tenant.
    #[inline]
    pub fn attributes(&self) -> Option<&Attributes> {
        self.extra.as_ref().map(|extra| &extra.attributes)
    }

    /// The attributes that count for the user: those of the user's own row, and the others.
    pub fn known(&self) -> impl Iterator<Item = &Attributes> {
        let columns = self.users.first().and_then(|user| self.details(user.id)).map(|user| &user.columns);
        columns.into_iter().chain(self.attributes()).filter(|known| !known.is_empty())
    }

    /// Whether it is a user with attributes.
    pub fn is_known(&self) -> bool {
        !self.users.is_empty() && self.known().next().is_some()
    }

    /// How many attributes of this name there are, also in users' own rows.
    pub fn count_attributes(&self, name: &str) -> usize {
        let Some(extra) = &self.extra else { return 0 };
        let columns = extra.details.iter().map(|(_, details)| &details.columns);
        [&extra.attributes].into_iter().chain(columns).map(|known| known.values(name).count()).sum()
    }

    /// What else is stored of a user.
    pub fn details(&self, id: i64) -> Option<&UserDetails> {
        let details = &self.extra.as_ref()?.details;
        details.iter().find(|(of, _)| *of == id).map(|(_, details)| details)
    }

    /// Whether a user, a rule or an attribute is from this row.
    pub fn has(&self, table: Table, id: i64) -> bool {
        match table {
            Table::UserAuth => self.users.iter().any(|user| user.id == id),
            Table::JitsiProperty => self.rules.has(id),
            Table::UserAttribute => self.attributes().is_some_and(|attributes| attributes.has(id)),
        }
    }

    /// The rules and attributes for which `is_one` is true.
    pub fn pieces(&self, is_one: impl Fn((Table, i64)) -> bool) -> Vec<Piece> {
        let rules = self.rules.iter().filter(|rule| is_one((Table::JitsiProperty, rule.order().id)));
        let attributes = self.attributes().into_iter().flat_map(Attributes::iter);
        let attributes = attributes.filter(|attribute| is_one((Table::UserAttribute, attribute.id)));
        let rules = rules.map(|rule| Piece::Rule(rule.compiled()));
        rules.chain(attributes.map(|attribute| Piece::Attribute(attribute.to_owned()))).collect()
    }

    /// Removes the rules and attributes that are `gone`, and adds `more`.
    pub fn change(&mut self, gone: &HashSet<(Table, i64)>, more: Vec<Piece>) {
        let (mut rules, mut attributes) = (Vec::new(), Vec::new());
        for piece in more {
            match piece {
                Piece::Rule(rule) => rules.push(rule),
                Piece::Attribute(attribute) => attributes.push(attribute),
            }
        }
        let is_gone = |table| gone.iter().any(|(of, _)| *of == table);
        if !rules.is_empty() || is_gone(Table::JitsiProperty) {
            self.rules = self.rules.with(|id| gone.contains(&(Table::JitsiProperty, id)), rules);
        }
        if !attributes.is_empty() || is_gone(Table::UserAttribute) {
            let old = &mut self.extra.get_or_insert_default().attributes;
            *old = old.with(|id| gone.contains(&(Table::UserAttribute, id)), attributes);
            self.tidy();
        }
    }

    /// Adds a user.
    pub fn put_user(&mut self, user: UserEntry, details: UserDetails) {
        let id = user.id;
        self.users.insert(user);
        if details != UserDetails::default() {
            let extra = self.extra.get_or_insert_default();
            let mut all = std::mem::take(&mut extra.details).into_vec();
            all.push((id, details));
            all.sort_by_key(|(id, _)| *id);
            extra.details = all.into();
        }
    }

    /// Removes the user with this id, if there is one.
    pub fn remove_user(&mut self, id: i64) {
        self.users.remove(id);
        if let Some(extra) = &mut self.extra {
            let kept = std::mem::take(&mut extra.details).into_iter().filter(|(of, _)| *of != id);
            extra.details = kept.collect();
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        self.extra = self.extra.take().filter(|extra| **extra != Extra::default());
    }

    /// Bytes that it uses on the heap.
    pub fn heap_bytes(&self) -> usize {
        let name = if self.name.spilled() { self.name.len() } else { 0 };
        let users: usize = self.users.iter().map(|user| user.credential.heap_bytes()).sum();
        let extra = self.extra.as_ref().map_or(0, |extra| {
            let details = extra.details.iter().map(|(_, details)| details.heap_bytes());
            size_of::<Extra>() + extra.attributes.heap_bytes() + details.sum::<usize>()
        });
        name + users + self.users.heap_bytes() + extra + self.rules.heap_bytes()
    }
}

impl UserDetails {
    fn heap_bytes(&self) -> usize {
        let names = [&self.username, &self.domain].into_iter().flatten().map(|name| name.len());
        size_of::<(i64, UserDetails)>() + names.sum::<usize>() + self.columns.heap_bytes()
    }
}

/// A row of a user.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UserEntry {
    pub id: i64,
    pub credential: Credential,
}

/// The id of a user who is served although the source has lost the row. No row may have it.
pub(super) const WITHHELD: i64 = i64::MIN;

impl UserEntry {
    pub fn is_withheld(&self) -> bool {
        self.id == WITHHELD
    }
}

/// The users of one name, sorted by id. Almost always there is at most one.
#[derive(Debug, Clone, Default)]
pub(super) enum Users {
    #[default]
    None,
    One(UserEntry),
    Many(Box<[UserEntry]>),
}

impl Deref for Users {
    type Target = [UserEntry];

    #[inline]
    fn deref(&self) -> &[UserEntry] {
        match self {
            Users::None => &[],
            Users::One(user) => slice::from_ref(user),
            Users::Many(users) => users,
        }
    }
}

impl Users {
    fn insert(&mut self, user: UserEntry) {
        let mut all = std::mem::take(self).into_vec();
        all.insert(all.partition_point(|known| known.id < user.id), user);
        *self = Users::of(all);
    }

    fn remove(&mut self, id: i64) {
        if self.iter().any(|user| user.id == id) {
            let mut all = std::mem::take(self).into_vec();
            all.retain(|user| user.id != id);
            *self = Users::of(all);
        }
    }

    fn into_vec(self) -> Vec<UserEntry> {
        match self {
            Users::None => Vec::new(),
            Users::One(user) => vec![user],
            Users::Many(users) => users.into_vec(),
        }
    }

    fn of(mut users: Vec<UserEntry>) -> Users {
        match users.len() {
            0 => Users::None,
            1 => users.pop().map_or(Users::None, Users::One),
            _ => Users::Many(users.into()),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Users::Many(users) => size_of_val(&**users),
            Users::None | Users::One(_) => 0,
        }
    }
}
