//! Everything requests are answered from, immutable: tenants, their users'
//! credentials, and rules indexed by whom they are for.
//!
//! A [`Writer`] makes one from rows, and the next from what changed; both share
//! what is the same. A request asks it twice: who is this
//! ([`Snapshot::authenticate`]), and what do they get ([`Snapshot::answer`]).

mod decoys;
mod inspect;
mod kind;
mod names;
mod row_index;
mod rows;
mod trace;
mod trie;
mod writer;

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

pub use row_index::content;

pub(crate) use inspect::{ALL_TENANTS, Audience, NameEntry};
pub use trace::{Fate, Mismatch, Traced};
pub use writer::{ChangeSummary, Draft, Problems, Writer};

use crate::core::credential::{Credential, Guess, SlowHash, Verdict, WrongPasswords};
use crate::core::names::{Comparison, Folded};
use crate::core::params::{Known, Params};
use crate::core::rules::{self, Answer, RuleRef, RuleSet, Rules};
use crate::core::subject::sent_for;
use decoys::Decoys;
use kind::{SubjectKind, SubjectParam};
use names::StoredName;
use trie::Trie;

/// See the module. A copy is cheap and shares everything.
#[derive(Debug, Clone)]
pub struct Snapshot {
    comparison: Comparison,
    names: Trie<SharedEntry>,
    /// The parameters of typed subjects that only the operator knows, as they are
    /// compared, by number.
    others: Arc<Vec<Folded>>,
    tenants: Trie<Arc<Tenant>>,
    /// Rules of all tenants are kept as those of one more, [`EVERYWHERE`].
    everywhere: Arc<Tenant>,
    /// What a tenant without default rules of its own starts from.
    base: Arc<RuleSet>,
    decoys: Decoys,
    decoy_key: decoys::DecoyKey,
    counts: Counts,
    digest: u64,
}

impl Subjects {
    /// Whether what clients send may lead to any rule.
    fn are_sent(&self) -> bool {
        self.open > 0 || !self.typed.is_empty()
    }
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
/// What rules for everyone are kept under.
const DEFAULT: &[u8] = b"";

/// A subject of a tenant. A bare word is also the name of a user, if there is
/// one: their rules lie beside the credential.
#[derive(Debug, Clone)]
struct Entry {
    tenant: u32,
    kind: SubjectKind,
    /// Of a word of all tenants: how many tenants have a user of that name. It
    /// stays at the largest number once it is there, which only keeps more from
    /// clients.
    namesakes: u16,
    name: StoredName,
    /// Users of this name, the lowest id first: the others do not count as long
    /// as it is there.
    users: SmallVec<[UserEntry; 1]>,
    rules: Rules,
}

/// Without the count of weak references, of which there are none: with it,
/// every entry would take a quarter more.
type SharedEntry = triomphe::Arc<Entry>;

impl Entry {
    /// Whether a word is a user's name, so that no parameter leads to it.
    fn is_user(&self) -> bool {
        !self.users.is_empty() || self.namesakes > 0
    }
}

#[derive(Debug, Clone, PartialEq)]
struct UserEntry {
    id: i64,
    credential: Credential,
}

#[derive(Debug, Clone, Default)]
struct Tenant {
    number: u32,
    /// The domain, as it is compared.
    name: StoredName,
    users: usize,
    /// Its rules, by what their subject is.
    subjects: Subjects,
    /// Rules for everyone of it, when there are any.
    default: Option<SharedEntry>,
    /// `None`: the snapshot's, over which the tenant's few default rules are
    /// laid at each request.
    base: Option<Arc<RuleSet>>,
    decoys: Decoys,
}

/// How many rules of a tenant have which kind of subject, so that a request
/// looks up nothing that cannot be there.
#[derive(Debug, Clone, Default)]
struct Subjects {
    /// All of them.
    all: usize,
    /// `default`
    default: usize,
    /// A word that is no user's name, and that clients send for a parameter.
    open: usize,
    /// `param=value`, by parameter.
    typed: Vec<(SubjectKind, usize)>,
}

/// An authenticated request's place in the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Session<'s> {
    tenant: &'s Tenant,
    user: &'s Entry,
}

/// What authentication came to.
pub enum SignIn<'s> {
    /// The credentials are right.
    Granted(Session<'s>),
    /// They are not; whether the user exists cannot be told from it.
    Denied,
    /// A slow hash must be computed first: do [`Pending::work`], and
    /// [`Pending::settle`] it.
    Pending(Pending<'s>),
}

/// See [`SignIn::Pending`].
pub struct Pending<'s> {
    slow: Arc<SlowHash>,
    /// `None` when the hash is a decoy's.
    session: Option<Session<'s>>,
}

impl<'s> Pending<'s> {
    /// The password as it is remembered when it is wrong. `account` is domain
    /// and username as they are compared.
    pub fn guess(&self, wrong: &WrongPasswords, account: [&[u8]; 2], password: &str) -> Guess {
        wrong.guess(account, &self.slow, self.session.is_some(), password)
    }

    /// Whether another request has found out meanwhile that `password` is right.
    pub fn is_proven(&self, password: &str) -> bool {
        self.slow.is_proven(password) && self.session.is_some()
    }

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
    /// password. Without a username or a password, or with an empty one, nothing is
    /// looked up: such a request is nobody's, and would cost the work of a guess
    /// without being one.
    pub fn authenticate<'s>(&'s self, params: &Params) -> SignIn<'s> {
        let given = |known| params.known(known).filter(|value| !value.is_empty());
        let (Some(username), Some(password)) = (given(Known::Username), given(Known::Password)) else {
            return SignIn::Denied;
        };
        let domain = self.comparison.fold(params.known(Known::Domain).unwrap_or_default());
        let username = self.comparison.fold(username);
        let tenant = self.tenant(&domain);
        // Looked up in any case, or an unknown tenant would be told sooner.
        let entry =
            self.entry(tenant.map_or(EVERYWHERE, |tenant| tenant.number), SubjectKind::WORD, &username);
        let found = tenant.zip(entry).and_then(|(tenant, entry)| {
            let credential = &entry.users.first()?.credential;
            credential.is_usable().then_some((Session { tenant, user: entry }, credential))
        });
        let credential = match found {
            Some((_, credential)) => credential,
            None => self.decoy(tenant, [&domain, &username]),
        };
        let session = found.map(|(session, _)| session);
        match (credential.verify(password), session) {
            (Verdict::Right, Some(session)) => SignIn::Granted(session),
            (Verdict::Right, None) | (Verdict::Wrong, _) => SignIn::Denied,
            (Verdict::Ask(slow), session) => SignIn::Pending(Pending { slow, session }),
        }
    }

    /// What an account that does not exist is compared with. Not inlined, so that
    /// other sign-ins do not pay for the room its work needs.
    #[inline(never)]
    fn decoy<'s>(&'s self, tenant: Option<&'s Tenant>, account: [&[u8]; 2]) -> &'s Credential {
        let choose = |decoys: &'s Decoys| decoys.choose(&self.decoy_key, account);
        let own = tenant.and_then(|tenant| choose(&tenant.decoys));
        own.or_else(|| choose(&self.decoys)).unwrap_or(&Credential::NEVER)
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
            let of_all = self.entry(EVERYWHERE, SubjectKind::WORD, &name);
            extras.extend(of_all.into_iter().flat_map(|entry| entry.rules.iter()));
        }
        for tenant in [tenant, &*self.everywhere] {
            if tenant.subjects.are_sent() {
                self.select(tenant, params, extras);
            }
        }
        if tenant.base.is_none() {
            extras.extend(tenant.default.iter().flat_map(|entry| entry.rules.iter()));
        }
    }

    /// Rules of a tenant for clients that send certain parameters. What is a
    /// user's by its bare name is not among them. Not inlined, so that requests of
    /// tenants without such rules do not pay for the room its work needs.
    #[inline(never)]
    fn select<'s>(&'s self, tenant: &'s Tenant, params: &Params, extras: &mut Extras<'s>) {
        if tenant.subjects.open > 0 {
            for known in Known::ALL {
                let Some(value) = params.known(known).map(|value| self.comparison.fold(value)) else {
                    continue;
                };
                if sent_for(&value) != Some(known) {
                    continue;
                }
                let entry = self.entry(tenant.number, SubjectKind::WORD, &value);
                let open = entry.filter(|entry| !entry.is_user());
                extras.extend(open.into_iter().flat_map(|entry| entry.rules.iter()));
            }
        }
        for (kind, _) in &tenant.subjects.typed {
            let mut take = |value: &str| {
                // Nothing has an empty value, so nothing is found for one.
                let entry = self.entry(tenant.number, *kind, &self.comparison.fold(value));
                extras.extend(entry.into_iter().flat_map(|entry| entry.rules.iter()));
            };
            match kind.param() {
                Some(SubjectParam::Known(known)) => params.known(known).into_iter().for_each(&mut take),
                Some(SubjectParam::Other(number)) => {
                    let is_it = |name: &str| self.comparison.fold(name) == self.others[number];
                    params.others().filter(|(name, _)| is_it(name)).for_each(|(_, value)| take(value));
                }
                None => {}
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
        let user = self.entry(tenant.number, SubjectKind::WORD, username)?;
        Some((Session { tenant, user }, &user.users.first()?.credential))
    }

    fn tenant(&self, domain: &[u8]) -> Option<&Tenant> {
        let is_it = |tenant: &Arc<Tenant>| *tenant.name == *domain;
        Some(self.tenants.get(names::place(EVERYWHERE, SubjectKind::WORD, domain), is_it)?)
    }

    fn entry(&self, tenant: u32, kind: SubjectKind, name: &[u8]) -> Option<&Entry> {
        Some(self.names.get(names::place(tenant, kind, name), |entry| entry.is(tenant, kind, name))?)
    }
}

/// Whether everyone gets the same answers from both: all that was counted and
/// merged while rows came and went is compared too, numbers of tenants and
/// memory are not.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        let sizes = |snapshot: &Snapshot| Counts { bytes: 0, ..snapshot.counts };
        let same_entry = |one: &Entry, tenant: u32, kind: SubjectKind| {
            other.entry(tenant, kind, &one.name).is_some_and(|other| {
                (&one.users, one.namesakes, &one.rules) == (&other.users, other.namesakes, &other.rules)
            })
        };
        // Parameters that only the operator knows may have other numbers there.
        let same_kind = |kind: SubjectKind| match kind.param() {
            Some(SubjectParam::Other(number)) => {
                SubjectKind::other(other.others.iter().position(|name| *name == self.others[number])?)
            }
            _ => Some(kind),
        };
        let same_subjects = |one: &Subjects, other: &Subjects| {
            (one.all, one.default, one.open, one.typed.len())
                == (other.all, other.default, other.open, other.typed.len())
                && one.typed.iter().all(|(kind, rules)| {
                    same_kind(*kind).is_some_and(|kind| other.typed.contains(&(kind, *rules)))
                })
        };
        let same_tenant = |one: &Tenant, other: &Tenant| {
            (one.users, &one.base, &one.decoys) == (other.users, &other.base, &other.decoys)
                && same_subjects(&one.subjects, &other.subjects)
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
            && (&self.decoys, self.decoy_key) == (&other.decoys, other.decoy_key)
            && same_tenant(&self.everywhere, &other.everywhere)
            && self.tenants.iter().all(|tenant| {
                other.tenant(&tenant.name).is_some_and(|other| {
                    numbers.insert(tenant.number, other.number);
                    same_tenant(tenant, other)
                })
            })
            && self.names.iter().all(|entry| {
                let place = numbers.get(&entry.tenant).zip(same_kind(entry.kind));
                place.is_some_and(|(&tenant, kind)| same_entry(entry, tenant, kind))
            })
    }
}

impl Entry {
    fn is(&self, tenant: u32, kind: SubjectKind, name: &[u8]) -> bool {
        (self.tenant, self.kind) == (tenant, kind) && *self.name == *name
    }
}

type Extras<'s> = SmallVec<[RuleRef<'s>; 16]>;

#[cfg(test)]
mod tests;

impl Snapshot {
    /// [`sent_for`] of a word as it is compared, without what merely has a dot and
    /// is no tenant's domain.
    fn sent_for(&self, word: &[u8]) -> Option<Known> {
        let known = sent_for(word)?;
        (known != Known::Domain || self.tenant(word).is_some()).then_some(known)
    }
}
