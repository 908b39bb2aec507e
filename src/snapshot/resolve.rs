//! Finds the user of a request, and the answer to the request.

use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::decoys::Decoys;
use super::kind::{OtherParam, SubjectKind, SubjectParam};
use super::{EVERYWHERE, Entry, Session, Snapshot, Tenant, names};
use crate::core::credential::{
    Credential, Guess, SignInRecord, SignInRecords, SlowHash, Verdict, WrongPasswords,
};
use crate::core::names::Folded;
use crate::core::params::{Known, ParamName, Params, Values};
use crate::core::rules::{self, Answer, RuleRef, RuleSet};
use crate::core::subject::{TypedBy, sent_for};
use crate::snapshot::session::{DISABLED, IS_DISABLED};

/// The merged answer of no rules.
static NOTHING: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::merge([]));

/// Rules that are not in the merged answer that a request starts from.
pub(super) type Extras<'s> = SmallVec<[RuleRef<'s>; 16]>;

/// The result of authentication.
pub enum SignIn<'s> {
    /// The credentials are right.
    Granted(Session<'s>),
    /// The credentials are wrong, or the user does not exist.
    Denied,
    /// A slow hash must be computed first: run [`Pending::work`], and pass its result to
    /// [`Pending::settle`].
    Pending(Pending<'s>),
}

/// The account that a request names, whether it exists or not.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'s> {
    /// `None` if no password can match.
    session: Option<Session<'s>>,
    /// A decoy's if there is no session.
    credential: &'s Credential,
}

impl<'s> Candidate<'s> {
    /// A number that changes with the stored password, and when the user is switched off or on
    /// again; 0 if no password can match. Computing it takes the same time for accounts that do
    /// not exist, unless the tenant has switched somebody off: then it takes some nanoseconds less.
    pub fn stamp(&self, hasher: &impl BuildHasher) -> u64 {
        let stamp = hasher.hash_one(self.credential);
        self.session.map_or(0, |session| if session.is_disabled() { !stamp } else { stamp })
    }

    /// Compares the password. A missing or empty one matches nothing, and does not cost the work
    /// of a comparison, because it is not a guess.
    pub fn verify(self, password: Option<&str>) -> SignIn<'s> {
        let Some(password) = password.filter(|password| !password.is_empty()) else {
            return SignIn::Denied;
        };
        match (self.credential.verify(password), self.session) {
            (Verdict::Right, Some(session)) => SignIn::Granted(session),
            (Verdict::Right, None) | (Verdict::Wrong, _) => SignIn::Denied,
            (Verdict::Ask(slow), session) => SignIn::Pending(Pending { slow, session }),
        }
    }
}

/// What a snapshot has of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// Not even the tenant.
    NoTenant,
    /// The tenant, which has no such user.
    NoUser,
    /// A user without a password that could match.
    NoPassword,
    /// A user who can sign in.
    Usable,
}

/// A sign-in whose slow hash must still be computed.
pub struct Pending<'s> {
    slow: Arc<SlowHash>,
    /// `None` when the hash is a decoy's.
    session: Option<Session<'s>>,
}

impl<'s> Pending<'s> {
    /// The form in which a wrong password is remembered. `account` is the folded domain and
    /// username.
    pub fn guess(&self, wrong: &WrongPasswords, account: [&[u8]; 2], password: &str) -> Guess {
        wrong.guess(account, &self.slow, self.session.is_some(), password)
    }

    /// The form in which a right password is remembered beyond this process. `account` is the
    /// folded domain and username.
    pub fn record(&self, records: &SignInRecords, account: [&[u8]; 2], password: &str) -> SignInRecord {
        records.record(account, &self.slow, self.session.is_some(), password)
    }

    /// Remembers that `password` is right, as a record says.
    pub fn prove(&self, password: &str) {
        if self.session.is_some() {
            self.slow.remember(password);
        }
    }

    /// Whether another request has found in the meantime that `password` is right.
    pub fn is_proven(&self, password: &str) -> bool {
        self.slow.is_proven(password) && self.session.is_some()
    }

    /// The work for a blocking thread. It returns whether the user exists and `password` is
    /// right. It remembers a right password even if the request has been cancelled.
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
    /// Compares the request's `username`, `domain` and `password` with the tenant's users. An
    /// unknown user takes the same time as a wrong password. If the username or the password
    /// is missing or empty, the request is not a guess, and does not cost the work of one.
    pub fn authenticate<'s>(&'s self, params: &Params) -> SignIn<'s> {
        let Some(username) = params.known(Known::Username).filter(|name| !name.is_empty()) else {
            return SignIn::Denied;
        };
        let domain = self.comparison.fold(params.known(Known::Domain).unwrap_or_default());
        self.candidate(&domain, &self.comparison.fold(username)).verify(params.known(Known::Password))
    }

    /// Finds the account of a folded domain and username.
    pub fn candidate<'s>(&'s self, domain: &Folded, username: &Folded) -> Candidate<'s> {
        let tenant = self.tenant(domain);
        // Looked up for an unknown tenant too, which would otherwise take less time.
        let entry =
            self.entry(tenant.map_or(EVERYWHERE, |tenant| tenant.number), SubjectKind::WORD, username);
        let found = tenant.zip(entry).and_then(|(tenant, entry)| {
            let credential = &entry.users.first()?.credential;
            credential.is_usable().then_some((self.session(tenant, entry), credential))
        });
        let credential = match found {
            Some((_, credential)) => credential,
            None => self.decoy(tenant, [domain, username]),
        };
        Candidate { session: found.map(|(session, _)| session), credential }
    }

    /// What there is of a folded domain and username. All accounts cost the same work, so that
    /// the time does not tell which of them exist.
    pub fn account_state(&self, domain: &Folded, username: &Folded) -> AccountState {
        let tenant = self.tenant(domain);
        let entry =
            self.entry(tenant.map_or(EVERYWHERE, |tenant| tenant.number), SubjectKind::WORD, username);
        match (tenant, entry.and_then(|entry| entry.users.first())) {
            (None, _) => AccountState::NoTenant,
            (Some(_), None) => AccountState::NoUser,
            (Some(_), Some(user)) if user.credential.is_usable() => AccountState::Usable,
            (Some(_), Some(_)) => AccountState::NoPassword,
        }
    }

    /// The credential that the password of an unknown account is compared with. Not inlined,
    /// so that other sign-ins do not pay for its stack space.
    #[inline(never)]
    fn decoy<'s>(&'s self, tenant: Option<&'s Tenant>, account: [&[u8]; 2]) -> &'s Credential {
        let choose = |decoys: &'s Decoys| decoys.choose(&self.decoy_key, account);
        let own = tenant.and_then(|tenant| choose(&tenant.decoys));
        own.or_else(|| choose(&self.decoys)).unwrap_or(&Credential::NEVER)
    }

    /// The answer to an authenticated request.
    pub fn answer<'s>(&'s self, session: Session<'s>, params: &Params) -> Answer<'s> {
        let mut extras = Extras::new();
        let is_disabled = session.is_disabled();
        self.gather(session, is_disabled, params, &mut extras);
        // Two parameters of the same value may select the same rule.
        extras.sort_unstable_by_key(|rule| rule.order());
        extras.dedup_by(|one, other| one.is(*other));
        let base = match is_disabled {
            true => &*NOTHING,
            false => session.tenant.base.as_deref().unwrap_or(&self.base),
        };
        rules::answer(base, &extras, &session.values(params))
    }

    /// Collects the rules that match a request and are not in the merged answer that it
    /// starts from. The caller has asked whether the user [`is_disabled`](Session::is_disabled).
    pub(super) fn gather<'s>(
        &'s self,
        session: Session<'s>,
        is_disabled: bool,
        params: &Params,
        extras: &mut Extras<'s>,
    ) {
        let Session { tenant, user, .. } = session;
        if is_disabled {
            return self.gather_disabled(tenant, extras);
        }
        extras.extend(user.rules.iter());
        if self.everywhere.subjects.all > self.everywhere.subjects.default {
            let name = self.comparison.fold(params.known(Known::Username).unwrap_or_default());
            let of_all = self.entry(EVERYWHERE, SubjectKind::WORD, &name);
            extras.extend(of_all.into_iter().flat_map(|entry| entry.rules.iter()));
        }
        for tenant in [tenant, &*self.everywhere] {
            if tenant.subjects.are_sent() {
                self.select(tenant, session, params, extras);
            }
        }
        if tenant.base.is_none() {
            extras.extend(tenant.default.iter().flat_map(|entry| entry.rules.iter()));
        }
    }

    /// Collects the rules for users who are switched off, which get no others.
    #[inline(never)]
    fn gather_disabled<'s>(&'s self, tenant: &'s Tenant, extras: &mut Extras<'s>) {
        let is_it = |typed: &OtherParam| {
            let is_attribute = matches!(&typed.by, TypedBy::Attribute(name) if **name == *DISABLED);
            is_attribute && typed.pattern.is_none()
        };
        let Some(kind) = self.others.iter().position(is_it).and_then(SubjectKind::other) else { return };
        for tenant in [tenant, &*self.everywhere] {
            let entry = self.entry(tenant.number, kind, &self.comparison.fold(IS_DISABLED));
            extras.extend(entry.into_iter().flat_map(|entry| entry.rules.iter()));
        }
    }

    /// Collects the rules of a tenant for clients that send certain parameters. A word that is
    /// a user's name is left out. Not inlined, so that requests of tenants without such rules
    /// do not pay for its stack space.
    #[inline(never)]
    fn select<'s>(
        &'s self,
        tenant: &'s Tenant,
        session: Session<'s>,
        params: &Params,
        extras: &mut Extras<'s>,
    ) {
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
            let known;
            let (by, is_pattern) = match kind.param() {
                Some(SubjectParam::Known(param)) => {
                    known = TypedBy::Known(param);
                    (&known, false)
                }
                Some(SubjectParam::Other(number)) => {
                    let OtherParam { by, pattern } = &self.others[number];
                    (by, pattern.is_some())
                }
                None => continue,
            };
            let of = by.value_kind();
            let mut take = |entry: &'s Entry| extras.extend(entry.rules.iter());
            if is_pattern {
                let Some(index) = tenant.patterns().get(*kind) else { continue };
                self.each_value(by, session, params, |value| {
                    index.find(value, of, self.comparison, &mut take)
                });
            } else {
                self.each_value(by, session, params, |value| {
                    // No rule has an empty value, so an empty parameter finds none.
                    let entry = self.entry(tenant.number, *kind, &of.compared(value, self.comparison));
                    entry.into_iter().for_each(&mut take);
                });
            }
        }
    }

    /// Calls `take` for each value that a request has for what subjects are typed by.
    pub(super) fn each_value(
        &self,
        by: &TypedBy,
        session: Session<'_>,
        params: &Params,
        mut take: impl FnMut(&str),
    ) {
        match by {
            TypedBy::Known(known) => params.known(*known).into_iter().for_each(take),
            TypedBy::Other(wanted) => {
                let is_it = |name: &str| self.comparison.fold(name) == *wanted;
                params.others().filter(|(name, _)| is_it(name)).for_each(|(_, value)| take(value));
            }
            TypedBy::Attribute(name) => session.attribute(name).for_each(take),
            TypedBy::Client(fact) => params.get(&ParamName::Client(*fact)).into_iter().for_each(take),
        }
    }

    /// The user of a name, and the credential that the password is compared with.
    pub(super) fn user<'s>(
        &'s self,
        tenant: &'s Tenant,
        username: &[u8],
    ) -> Option<(Session<'s>, &'s Credential)> {
        let user = self.entry(tenant.number, SubjectKind::WORD, username)?;
        Some((self.session(tenant, user), &user.users.first()?.credential))
    }

    /// The tenant of a folded domain.
    pub(super) fn tenant(&self, domain: &[u8]) -> Option<&Tenant> {
        let is_it = |tenant: &Arc<Tenant>| *tenant.name == *domain;
        Some(self.tenants.get(names::place(EVERYWHERE, SubjectKind::WORD, domain), is_it)?)
    }

    /// The entry of a tenant's subject. The name is folded.
    pub(super) fn entry(&self, tenant: u32, kind: SubjectKind, name: &[u8]) -> Option<&Entry> {
        Some(self.names.get(names::place(tenant, kind, name), |entry| entry.is(tenant, kind, name))?)
    }
}
