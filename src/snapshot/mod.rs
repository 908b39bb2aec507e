//! Everything requests are answered from, immutable: tenants, their users'
//! credentials, and rules indexed by whom they are for.
//!
//! A [`Writer`] makes one from rows, and the next from what changed; both share
//! what is the same. A request asks it twice: who is this
//! ([`Snapshot::authenticate`]), and what do they get ([`Snapshot::answer`]).

mod decoys;
mod ledger;
mod names;
mod owners;
mod rows;
mod survey;
mod trace;
mod trie;
mod writer;

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

pub use ledger::content;
pub use names::{Comparison, Folded};
pub use owners::Means;

pub(crate) use survey::{ALL_TENANTS, Named, Whom, looks_sent_for};
pub use trace::{Fate, Mismatch, Traced};
pub use writer::{Draft, Problems, Summary, Writer};

use crate::credential::{Credential, PwdFmt, Slow, Verdict};
use crate::model::{Aliases, Known, Params, built_in_aliases};
use crate::rules::{self, Answer, Rule, RuleSet, Rules};
use crate::template;
use decoys::Decoys;
use names::Stored;
use trie::Trie;

/// How stored rows are to be understood.
#[derive(Debug, Clone)]
pub struct Options {
    /// How names are compared (`--case-sensitive`).
    pub comparison: Comparison,
    /// How passwords are stored (`--pwd-fmt`).
    pub pwd_fmt: PwdFmt,
    /// The realm in `ha1` digests (`--realm`); the user's domain if `None`.
    pub realm: Option<String>,
    /// What else parameters are called, in typed subjects as in requests
    /// (`--param-alias`).
    pub aliases: Aliases,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            comparison: Comparison::default(),
            pwd_fmt: PwdFmt::default(),
            realm: None,
            aliases: built_in_aliases(),
        }
    }
}

/// See the module. A copy is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Snapshot {
    comparison: Comparison,
    names: Trie<Shared>,
    tenants: Trie<Arc<Tenant>>,
    /// Rules of all tenants are kept as those of one more, [`EVERYWHERE`].
    everywhere: Arc<Tenant>,
    /// What a tenant without default rules of its own starts from.
    base: Arc<RuleSet>,
    decoys: Decoys,
    counts: Counts,
    digest: u64,
}

/// A snapshot in use.
#[derive(Debug)]
pub struct Served {
    /// Counts the snapshots of this process, from 1.
    pub version: u64,
    /// What requests are answered from.
    pub snapshot: Arc<Snapshot>,
    /// Rows that are not in use, whatever the reason.
    pub left_out: usize,
    /// The newest line in the source's table of changes when the snapshot was
    /// what the source said: the same on all nodes. `None` without such a table.
    pub cursor: Option<i64>,
}

/// The size of a snapshot, for the log and for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tenants that have at least one user.
    pub tenants: usize,
    /// Users who can be authenticated or at least are known by name.
    pub users: usize,
    /// Rules in use.
    pub rules: usize,
    /// Memory in bytes, without the allocator's own.
    pub bytes: usize,
}

/// The number of the tenant that is all tenants.
const EVERYWHERE: u32 = 0;
/// The name that rules for everyone are kept under: nobody else's, since
/// neither a username nor a subject can be empty.
const DEFAULT: &[u8] = b"";

/// A name of a tenant: a user's, a rule's subject, or both. A user's own rules
/// lie beside the credential, and no parameter but the username leads there.
#[derive(Debug, Clone)]
struct Entry {
    tenant: u32,
    name: Stored,
    /// Users of this name, the lowest id first: the others do not count as long
    /// as it is there.
    users: SmallVec<[User; 1]>,
    /// Of a name of all tenants: how many tenants have a user of that name.
    namesakes: u32,
    rules: Rules,
}

/// Without the count of weak references, of which there are none: with it,
/// every entry would take a quarter more.
type Shared = triomphe::Arc<Entry>;

impl Entry {
    /// Whether the name is a user's, so that rules for it are that user's.
    fn is_user(&self) -> bool {
        !self.users.is_empty() || self.namesakes > 0
    }
}

#[derive(Debug, Clone, PartialEq)]
struct User {
    id: i64,
    credential: Credential,
}

#[derive(Debug, Clone, Default)]
struct Tenant {
    number: u32,
    /// The domain, as it is compared.
    name: Stored,
    users: usize,
    /// Its rules, by what their subject is.
    subjects: Subjects,
    /// Rules for everyone of it, when there are any.
    default: Option<Shared>,
    /// `None`: the snapshot's, over which the tenant's few default rules are
    /// laid at each request.
    base: Option<Arc<RuleSet>>,
    decoys: Decoys,
}

/// How many rules of a tenant have which kind of subject, so that a request
/// looks up nothing that cannot be there.
#[derive(Debug, Clone, Default, PartialEq)]
struct Subjects {
    /// All of them.
    all: usize,
    /// `default`
    default: usize,
    /// A value that is no user's name: whoever sends it matches.
    open: usize,
    /// `param=value`, by what stands before the value.
    typed: Vec<Typed>,
}

#[derive(Debug, Clone, PartialEq)]
struct Typed {
    /// `param=`, as it is compared.
    prefix: Stored,
    param: Param,
    rules: usize,
}

/// The parameter a typed subject names.
#[derive(Debug, Clone, PartialEq)]
enum Param {
    Known(Known),
    /// As it is compared.
    Other(Stored),
}

/// An authenticated request's place in the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Session<'s> {
    tenant: &'s Tenant,
    user: &'s Entry,
}

/// What authentication came to.
pub enum Outcome<'s> {
    /// The credentials are right.
    Granted(Session<'s>),
    /// They are not; whether the user exists cannot be told from it.
    Denied,
    /// A slow hash must be computed first: do [`Pending::work`], and
    /// [`Pending::settle`] it.
    Pending(Pending<'s>),
}

/// See [`Outcome::Pending`].
pub struct Pending<'s> {
    slow: Arc<Slow>,
    /// `None` when the hash is a decoy's or no password was sent.
    session: Option<Session<'s>>,
}

impl<'s> Pending<'s> {
    /// The work to be done where it blocks nobody: says whether `password` is
    /// right for a user who exists, and remembers it if so, even if nobody waits
    /// for that any more.
    pub fn work(&self, password: String) -> impl FnOnce() -> bool + Send + 'static {
        let (slow, is_real) = (self.slow.clone(), self.session.is_some());
        move || {
            let right = slow.verify(&password) && is_real;
            if right {
                slow.remember(&password);
            }
            right
        }
    }

    /// The session, given what the work returned.
    pub fn settle(self, right: bool) -> Option<Session<'s>> {
        self.session.filter(|_| right)
    }
}

impl Snapshot {
    /// Compares the request's `username`, `domain` and `password` with the
    /// tenant's users. An unknown user takes the same time as a wrong
    /// password.
    pub fn authenticate(&self, params: &Params) -> Outcome<'_> {
        let fold = |known| self.comparison.fold(params.known(known).unwrap_or_default());
        let (domain, username) = (fold(Known::Domain), fold(Known::Username));
        let tenant = self.tenant(&domain);
        // Looked up in any case, or an unknown tenant would be told sooner.
        let entry = self.entry(tenant.map_or(EVERYWHERE, |tenant| tenant.number), &username);
        let found = tenant.zip(entry).and_then(|(tenant, entry)| {
            let credential = &entry.users.first()?.credential;
            credential.is_usable().then_some((Session { tenant, user: entry }, credential))
        });
        let credential = match found {
            Some((_, credential)) => credential,
            None => tenant
                .and_then(|tenant| tenant.decoys.choose(&username))
                .or_else(|| self.decoys.choose(&username))
                .unwrap_or(&Credential::NEVER),
        };
        let password = params.known(Known::Password);
        let session = found.map(|(session, _)| session).filter(|_| password.is_some());
        match (credential.verify(password.unwrap_or_default()), session) {
            (Verdict::Right, Some(session)) => Outcome::Granted(session),
            (Verdict::Right, None) | (Verdict::Wrong, _) => Outcome::Denied,
            (Verdict::Ask(slow), session) => Outcome::Pending(Pending { slow, session }),
        }
    }

    /// The answer to an authenticated request.
    pub fn answer<'s>(&'s self, session: Session<'s>, params: &Params) -> Answer<'s> {
        let mut extras = Extras::new();
        self.gather(session, params, &mut extras);
        // One rule may be selected by two parameters of the same value.
        extras.sort_unstable_by_key(|rule| rule.order());
        extras.dedup_by(|one, other| one.is(*other));
        let base = session.tenant.base.as_ref().unwrap_or(&self.base);
        rules::answer(base, &extras, params)
    }

    /// The rules that match a request, without those that are merged in its
    /// base.
    fn gather<'s>(&'s self, session: Session<'s>, params: &Params, extras: &mut Extras<'s>) {
        let Session { tenant, user } = session;
        extras.extend(user.rules.iter());
        if self.everywhere.subjects.all > self.everywhere.subjects.default {
            let name = self.comparison.fold(params.known(Known::Username).unwrap_or_default());
            extras.extend(self.entry(EVERYWHERE, &name).into_iter().flat_map(|entry| entry.rules.iter()));
        }
        self.select(tenant, params, extras);
        self.select(&self.everywhere, params, extras);
        if tenant.base.is_none() {
            extras.extend(tenant.default.iter().flat_map(|entry| entry.rules.iter()));
        }
    }

    /// Rules of a tenant for whoever sends certain parameters. The username
    /// leads only to a user's own rules, which are not among them.
    fn select<'s>(&'s self, tenant: &'s Tenant, params: &Params, extras: &mut Extras<'s>) {
        let mut take = |name: &[u8]| {
            let entry = self.entry(tenant.number, name).filter(|entry| !entry.is_user());
            extras.extend(entry.into_iter().flat_map(|entry| entry.rules.iter()));
        };
        if tenant.subjects.open > 0 {
            for known in Known::ALL.into_iter().filter(|&known| known != Known::Username) {
                // A value that looks like a typed subject is not one.
                let value = params.known(known).filter(|value| template::typed_subject(value).is_none());
                if let Some(value) = value.map(|value| self.comparison.fold(value)).filter(|v| !v.is_empty())
                {
                    take(&value);
                }
            }
        }
        for Typed { prefix, param, .. } in &tenant.subjects.typed {
            let mut take = |value: &str| {
                let value = self.comparison.fold(value);
                if !value.is_empty() {
                    let mut name = Folded::from_slice(prefix);
                    name.extend_from_slice(&value);
                    take(&name);
                }
            };
            match param {
                Param::Known(known) => params.known(*known).into_iter().for_each(&mut take),
                Param::Other(wanted) => {
                    let is_it = |name: &str| *self.comparison.fold(name) == **wanted;
                    params.others().filter(|(name, _)| is_it(name)).for_each(|(_, value)| take(value));
                }
            }
        }
    }

    /// Brings a name into the form in which it is compared.
    pub fn fold(&self, name: &str) -> Folded {
        self.comparison.fold(name)
    }

    /// Whether a folded domain is a tenant's.
    pub fn has_tenant(&self, domain: &Folded) -> bool {
        self.tenant(domain).is_some()
    }

    /// The same for the same rows, on every node and whatever order they came
    /// in; how the rows are understood does not matter.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The size of it.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The user of a name, and what their password is compared with.
    fn user<'s>(&'s self, tenant: &'s Tenant, username: &[u8]) -> Option<(Session<'s>, &'s Credential)> {
        let user = self.entry(tenant.number, username)?;
        Some((Session { tenant, user }, &user.users.first()?.credential))
    }

    fn tenant(&self, domain: &[u8]) -> Option<&Tenant> {
        let is_it = |tenant: &Arc<Tenant>| *tenant.name == *domain;
        Some(self.tenants.get(names::place(EVERYWHERE, domain), is_it)?)
    }

    fn entry(&self, tenant: u32, name: &[u8]) -> Option<&Entry> {
        Some(self.names.get(names::place(tenant, name), |entry| entry.is(tenant, name))?)
    }
}

/// Whether everyone gets the same answers from both: all that was counted and
/// merged while rows came and went is compared too, numbers of tenants and
/// memory are not.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        let sizes = |snapshot: &Snapshot| Counts { bytes: 0, ..snapshot.counts };
        let same_entry = |one: &Entry, tenant: u32| {
            other.entry(tenant, &one.name).is_some_and(|other| {
                (&one.users, one.namesakes, &one.rules) == (&other.users, other.namesakes, &other.rules)
            })
        };
        let same_tenant = |one: &Tenant, other: &Tenant| {
            (one.users, &one.subjects, &one.base, &one.decoys)
                == (other.users, &other.subjects, &other.base, &other.decoys)
                && match (&one.default, &other.default) {
                    (Some(one), Some(other)) => one.rules == other.rules,
                    (one, other) => one.is_none() && other.is_none(),
                }
        };
        let mut numbers = HashMap::new();
        numbers.insert(EVERYWHERE, EVERYWHERE);
        (sizes(self), self.comparison, self.names.len(), self.tenants.len())
            == (sizes(other), other.comparison, other.names.len(), other.tenants.len())
            && self.base == other.base
            && self.decoys == other.decoys
            && same_tenant(&self.everywhere, &other.everywhere)
            && self.tenants.iter().all(|tenant| {
                other.tenant(&tenant.name).is_some_and(|other| {
                    numbers.insert(tenant.number, other.number);
                    same_tenant(tenant, other)
                })
            })
            && self
                .names
                .iter()
                .all(|entry| numbers.get(&entry.tenant).is_some_and(|&tenant| same_entry(entry, tenant)))
    }
}

impl Entry {
    fn is(&self, tenant: u32, name: &[u8]) -> bool {
        self.tenant == tenant && *self.name == *name
    }
}

type Extras<'s> = SmallVec<[Rule<'s>; 16]>;

#[cfg(test)]
mod tests;
