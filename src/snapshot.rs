//! The immutable snapshot that answers requests: tenants, the credentials of their users, and
//! rules indexed by subject.
//!
//! A [`Writer`] builds a snapshot from rows, and the next snapshot from the rows that changed.
//! Both share their equal parts. [`Snapshot::authenticate`] finds the user of a request, and
//! [`Snapshot::answer`] returns the user's properties.

mod account;
mod decoys;
mod entry;
mod equality;
mod inspect;
mod kind;
mod marks;
mod misfits;
mod names;
mod overview;
mod patterns;
mod reach;
mod resolve;
mod row_index;
mod rows;
mod search;
mod session;
mod trace;
mod trie;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use account::Account;
pub(crate) use inspect::{ALL_TENANTS, Audience, NameEntry};
pub use misfits::MisfitTenant;
pub use overview::{Page, RuleFilter, TenantSummary};
pub use reach::Reach;
pub use resolve::{AccountState, Candidate, Pending, SignIn};
pub use row_index::content;
pub use search::{FoundUser, FoundUsers};
pub(crate) use session::is_for_disabled;
pub use session::{DISABLED, Level, Session, SessionValues, switches_off};
pub use trace::{Fate, Mismatch, Traced};
pub use writer::{
    ChangeSummary, Committed, Draft, LOSS_WINDOW, LossLimits, MaxShrink, Problems, Withheld, WithheldRow,
    WithheldTenant, Writer,
};

use crate::core::credential::SlowHash;
use crate::core::names::{Comparison, Folded};
use crate::core::params::Known;
use crate::core::rules::RuleSet;
use crate::core::subject::sent_for;
use decoys::Decoys;
use entry::{Entry, Piece, SharedEntry, UserDetails, UserEntry, WITHHELD};
use kind::{OtherParam, SubjectKind};
use marks::KnownUser;
use names::StoredName;
use patterns::Patterns;
use trie::Trie;

/// All users and rules as they were at one moment. A copy is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Snapshot {
    comparison: Comparison,
    names: Trie<SharedEntry>,
    /// The users with attributes, for searches.
    known: Trie<KnownUser>,
    /// What subjects are typed by besides the values of parameters that clients fill in
    /// themselves, by number.
    others: Arc<Vec<OtherParam>>,
    tenants: Trie<Arc<Tenant>>,
    /// The rules for all tenants. They are stored like a tenant's rules, under the number
    /// [`EVERYWHERE`].
    everywhere: Arc<Tenant>,
    /// The merged default rules for all tenants. If a tenant has few default rules of its
    /// own, its answers start from these.
    base: Arc<RuleSet>,
    decoys: Decoys,
    decoy_key: decoys::DecoyKey,
    counts: Counts,
    digest: u64,
    /// Accounts that were lost or changed lately.
    doubts: Trie<triomphe::Arc<Doubt>>,
}

/// An account that was lost or changed lately.
#[derive(Debug)]
struct Doubt {
    /// Its folded domain, which may have no other user.
    domain: StoredName,
    name: StoredName,
    since: Instant,
}

impl Doubt {
    fn place(domain: &[u8], name: &[u8]) -> u32 {
        names::place(EVERYWHERE, SubjectKind::WORD, &[domain, b"\0", name].concat())
    }

    fn is(&self, domain: &[u8], name: &[u8]) -> bool {
        *self.domain == *domain && *self.name == *name
    }
}

/// A snapshot in use.
#[derive(Debug)]
pub struct Served {
    /// Counts the snapshots of this process, from 1.
    pub version: u64,
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// How many rows are not used, for any reason.
    pub left_out: usize,
    /// The newest id in the database's table of changes when the snapshot was read. Ids are
    /// the same on all nodes. `None` without such a table.
    pub cursor: Option<i64>,
}

/// The size of a snapshot, for the log and for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tenants that have at least one user.
    pub tenants: usize,
    /// Users, including users whose password cannot be used.
    pub users: usize,
    /// Rules in use.
    pub rules: usize,
    /// Of the rules in use, those for everyone.
    pub defaults: usize,
    /// Attributes in use.
    pub attributes: usize,
    /// Users who can sign in by what the source says: not those who are withheld.
    pub able: usize,
    /// Users who are served although the source has no row for them.
    pub rowless: usize,
    /// Memory in bytes, without the allocator's overhead.
    pub bytes: usize,
}

/// Users whose stored password is a slow hash.
#[derive(Clone)]
pub struct SlowUsers {
    /// A hash of the kind that most of them have.
    pub hash: Arc<SlowHash>,
    /// How many they are.
    pub users: usize,
}

/// The number that stands for all tenants.
const EVERYWHERE: u32 = 0;
/// The name under which rules for everyone are stored.
const DEFAULT: &[u8] = b"";

#[derive(Debug, Clone, Default)]
struct Tenant {
    number: u32,
    /// The folded domain.
    name: StoredName,
    users: usize,
    /// [`Counts::able`] of this tenant.
    able: usize,
    /// How many rules the tenant has, by kind of subject.
    subjects: Subjects,
    /// How many attributes it and its users have.
    attributes: usize,
    /// Of these, and of those in users' own rows, how many may switch somebody off.
    switches: usize,
    /// Its rules for everyone and its attributes, if it has any.
    default: Option<SharedEntry>,
    /// Its default rules, merged with the default rules for all tenants. `None` if it has
    /// few: then each request merges them.
    base: Option<Arc<RuleSet>>,
    decoys: Decoys,
    /// Its patterns. `None` without any, as in most tenants.
    patterns: Option<Box<Patterns>>,
}

impl Tenant {
    fn patterns(&self) -> &Patterns {
        static NONE: Patterns = Patterns::NONE;
        self.patterns.as_deref().unwrap_or(&NONE)
    }
}

/// How many rules a tenant has for each kind of subject, so that a request does not search
/// for kinds that the tenant does not use.
#[derive(Debug, Clone, Default)]
struct Subjects {
    /// All rules.
    all: usize,
    /// Rules for everyone.
    default: usize,
    /// Rules for words that are not users' names and that clients may send as a parameter.
    open: usize,
    /// Rules for `param=value`, by parameter.
    typed: Vec<(SubjectKind, usize)>,
}

impl Subjects {
    /// Whether any rule depends on parameters that clients send.
    #[inline]
    fn are_sent(&self) -> bool {
        self.open > 0 || !self.typed.is_empty()
    }
}

impl Snapshot {
    /// Folds a name: equal names become equal bytes.
    pub fn fold(&self, name: &str) -> Folded {
        self.comparison.fold(name)
    }

    /// Whether there is a tenant with this folded domain.
    pub fn has_tenant(&self, domain: &Folded) -> bool {
        self.tenant(domain).is_some()
    }

    /// A hash of all rows. It is the same on all nodes with the same rows, and does not depend
    /// on the order of the rows or on settings.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The users whose stored password is a slow hash; `None` if there are none.
    pub fn slow_users(&self) -> Option<SlowUsers> {
        self.decoys.slow().map(|(hash, users)| SlowUsers { hash: hash.clone(), users })
    }

    /// The size of the snapshot.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether a refusal of this account is certain. It is not while the account is withheld,
    /// for `settle` after its row was lost or got another password, and while the source has
    /// nobody who can sign in, which is more likely a mistake than the truth. The names are
    /// folded.
    pub fn is_certain(&self, domain: &[u8], username: &[u8], settle: Duration, now: Instant) -> bool {
        let entry =
            self.tenant(domain).and_then(|tenant| self.entry(tenant.number, SubjectKind::WORD, username));
        let is_withheld = entry.is_some_and(|entry| entry.users.iter().any(UserEntry::is_withheld));
        let doubt = self.doubts.get(Doubt::place(domain, username), |doubt| doubt.is(domain, username));
        let is_recent = doubt.is_some_and(|doubt| now.duration_since(doubt.since) < settle);
        self.counts.able > 0 && !is_withheld && !is_recent
    }

    /// Like [`sent_for`], for a folded word. A word with a dot counts as a domain only if
    /// there is a tenant with this domain.
    fn sent_for(&self, word: &[u8]) -> Option<Known> {
        let known = sent_for(word)?;
        (known != Known::Domain || self.tenant(word).is_some()).then_some(known)
    }
}

#[cfg(test)]
mod tests;
