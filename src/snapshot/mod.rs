//! Everything requests are answered from, immutable: tenants, their users'
//! credentials, and rules indexed by whom they are for.
//!
//! A [`Builder`] makes one from rows. A request asks it twice: who is this
//! ([`Snapshot::authenticate`]), and what do they get ([`Snapshot::answer`]).

mod build;
mod names;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

pub use build::{Builder, Problems};
pub use names::{Comparison, Folded, NameMap};

use crate::credential::{Credential, Kind, PwdFmt, Slow, Verdict};
use crate::model::{Aliases, Known, Name, Params, built_in_aliases};
use crate::rules::{self, Answer, Rule, RuleSet};

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

/// See the module.
#[derive(Debug)]
pub struct Snapshot {
    comparison: Comparison,
    tenants: NameMap<Tenant>,
    /// Rules of all tenants. Those whose subject is a user somewhere are in
    /// `user_rules` instead.
    everywhere: Subjects,
    /// Rules of all tenants for a name that is a user's in some tenant.
    user_rules: NameMap<Vec<Rule>>,
    /// What a tenant without default rules of its own starts from.
    base: Arc<RuleSet>,
    decoys: Decoys,
    counts: Counts,
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

#[derive(Debug, Default)]
struct Tenant {
    users: NameMap<User>,
    subjects: Subjects,
    /// `None`: the snapshot's, over which the tenant's few default rules are
    /// laid at each request.
    base: Option<Arc<RuleSet>>,
    decoys: Decoys,
}

/// A user, with the rules whose subject is that name: no one else reaches
/// them, whatever parameters they send.
#[derive(Debug)]
struct User {
    id: i64,
    credential: Credential,
    rules: Vec<Rule>,
}

/// Rules by subject.
#[derive(Debug, Default)]
struct Subjects {
    /// For everyone.
    default: Vec<Rule>,
    /// For whoever sends the subject as the value of any known parameter.
    named: NameMap<Vec<Rule>>,
    /// For whoever sends the subject as the value of this parameter.
    typed: Vec<(Name, NameMap<Vec<Rule>>)>,
}

/// Credentials to compare with when there is no such user, as many of each
/// kind as real users have, so that the time an answer takes does not tell
/// which names exist.
#[derive(Debug, Default)]
struct Decoys {
    kinds: Vec<(Kind, Credential, usize)>,
    total: usize,
}

impl Decoys {
    fn add(&mut self, kind: Kind, credential: &Credential, more: usize) {
        self.total += more;
        match self.kinds.iter_mut().find(|(known, ..)| *known == kind) {
            Some((.., count)) => *count += more,
            None => self.kinds.push((kind, credential.decoy(), more)),
        }
    }

    fn settle(&mut self) {
        self.kinds.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
    }

    /// The same for a name each time, and hardly another after users have come
    /// and gone, as a real user's would be.
    fn choose(&self, name: &Folded) -> Option<&Credential> {
        static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let share = u128::from(KEYED.hash_one(name)) * self.total as u128;
        let mut place = (share >> 64) as usize;
        self.kinds.iter().find_map(|(_, credential, count)| match place.checked_sub(*count) {
            Some(rest) => {
                place = rest;
                None
            }
            None => Some(credential),
        })
    }
}

/// An authenticated request's place in the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Session<'s> {
    tenant: &'s Tenant,
    /// The user's own. Looked up with the credential, which lies beside it.
    rules: &'s [Rule],
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
    /// The work to be done where it blocks nobody: compares `password`, and
    /// remembers it if it is right, even if nobody waits for that any more.
    pub fn work(&self, password: String) -> impl FnOnce() -> bool + Send + 'static {
        let (slow, is_real) = (self.slow.clone(), self.session.is_some());
        move || {
            let right = slow.verify(&password);
            if right && is_real {
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
        let tenant = self.tenants.get(&domain);
        let found = tenant.and_then(|tenant| {
            let user = tenant.users.get(&username)?;
            let session = Session { tenant, rules: &user.rules };
            user.credential.is_usable().then_some((session, &user.credential))
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
        let tenant = session.tenant;
        let mut extras: SmallVec<[&Rule; 16]> = session.rules.iter().collect();
        if !self.user_rules.is_empty() {
            let username = self.comparison.fold(params.known(Known::Username).unwrap_or_default());
            extras.extend(self.user_rules.get(&username).into_iter().flatten());
        }
        for subjects in [&tenant.subjects, &self.everywhere] {
            subjects.select(params, self.comparison, &mut extras);
        }
        if tenant.base.is_none() {
            extras.extend(&tenant.subjects.default);
        }
        // One rule may be selected by two parameters of the same value.
        extras.sort_unstable_by_key(|rule| rule.order);
        extras.dedup_by(|one, other| std::ptr::eq(*one, *other));
        let base = tenant.base.as_ref().unwrap_or(&self.base);
        rules::answer(base, &extras, params)
    }

    /// The size of it.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Subjects {
    fn select<'s>(&'s self, params: &Params, comparison: Comparison, extras: &mut SmallVec<[&'s Rule; 16]>) {
        if !self.named.is_empty() {
            // The username reaches only rules for users, which are not here.
            for known in Known::ALL.into_iter().filter(|&known| known != Known::Username) {
                if let Some(value) = params.known(known).filter(|value| !value.is_empty()) {
                    extras.extend(self.named.get(&comparison.fold(value)).into_iter().flatten());
                }
            }
        }
        for (name, subjects) in &self.typed {
            if let Some(value) = params.get(name).filter(|value| !value.is_empty()) {
                extras.extend(subjects.get(&comparison.fold(value)).into_iter().flatten());
            }
        }
    }

    fn lists_mut(&mut self) -> impl Iterator<Item = &mut Vec<Rule>> {
        std::iter::once(&mut self.default)
            .chain(self.named.values_mut())
            .chain(self.typed.iter_mut().flat_map(|(_, subjects)| subjects.values_mut()))
    }
}

#[cfg(test)]
mod tests;
