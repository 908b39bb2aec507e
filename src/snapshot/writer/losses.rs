//! What was served and is gone from the source: users who could sign in, rules and attributes.
//!
//! A mistake in the database must not make clients forget their passwords. So everything
//! that was lost lately is remembered, and each commit looks at the sum of it. A loss that
//! is too large is withheld: what was lost is served as it was, until it comes back or an
//! operator confirms the loss. See [`LossLimits`] for what is too large.

mod decision;

use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use crate::core::credential::{Credential, Fit};
use crate::core::model::Table;
use crate::snapshot::kind::SubjectKind;
use crate::snapshot::names::{IndexKey, StoredName};
use crate::snapshot::{EVERYWHERE, Piece, UserDetails};

/// How long a loss is remembered. The limits apply to all that was lost within this time.
pub const LOSS_WINDOW: Duration = Duration::from_secs(3600);
/// How often losses are looked at that no commit touches, to forget the old ones.
const REVIEW: Duration = Duration::from_secs(60);

/// How much may be lost within [`LOSS_WINDOW`] without being withheld.
///
/// A loss is too large if it is more than `max_shrink` percent, and at least three, of the
/// users, rules or attributes of one tenant or of all; every user of a tenant; or every rule
/// for everyone. Users are lost if they could sign in and no longer can: their rows are gone or
/// have another name or domain, or their passwords cannot be used. If the passwords of that
/// many users of a tenant change to one and the same value, that is too large a loss too.
#[derive(Debug, Clone, Copy)]
pub struct LossLimits {
    /// In percent. With 100, nothing is withheld.
    pub max_shrink: u8,
    /// A load that misses rows may have read a table that is being restored. So what it
    /// misses is served until a load after this time finds the same rows.
    pub settle: Duration,
    /// Whether every loss is too large, because another state of the source seems to have
    /// taken its place: a replica that lags, or a backup.
    pub is_suspect: bool,
}

/// The share of users, rules or attributes that may be lost, in percent. With 100, all of them may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxShrink(pub u8);

/// What the source has, or had: users who can sign in, rules and attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stock {
    pub users: usize,
    pub rules: usize,
    /// Of the rules, those for everyone.
    pub defaults: usize,
    pub attributes: usize,
}

/// Whether something lost is still served, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// It is not served any more.
    Released,
    /// A load has just missed it. The next decision makes it unsettled.
    Missed,
    /// A load missed it, and no later load has confirmed that yet.
    Unsettled,
    /// The loss is too large.
    Withheld,
}

/// What the source says of an account now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// Nobody can sign in with it.
    Unable,
    /// It has another password. The number is equal for equal stored passwords.
    Changed(u64),
}

impl Stock {
    /// Counts one more rule or attribute.
    fn with(mut self, kind: SubjectKind, table: Table) -> Stock {
        let [rules, defaults, attributes] = Stock::of(kind, table);
        self.rules += rules;
        self.defaults += defaults;
        self.attributes += attributes;
        self
    }

    /// Counts one rule or attribute less.
    fn without(mut self, kind: SubjectKind, table: Table) -> Stock {
        let [rules, defaults, attributes] = Stock::of(kind, table);
        self.rules -= rules;
        self.defaults -= defaults;
        self.attributes -= attributes;
        self
    }

    fn of(kind: SubjectKind, table: Table) -> [usize; 3] {
        let is_rule = table == Table::JitsiProperty;
        [is_rule, is_rule && kind == SubjectKind::EVERYONE, !is_rule].map(usize::from)
    }
}

impl Hold {
    fn is_served(self) -> bool {
        matches!(self, Hold::Unsettled | Hold::Withheld)
    }
}

/// What is served of a user besides attributes with rows of their own.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub credential: Credential,
    pub details: UserDetails,
}

#[derive(Debug)]
struct LostAccount {
    account: Account,
    /// The [`content`](crate::snapshot::content) of the row that had it.
    content: u64,
    fate: Fate,
    /// [`LossLimits::is_suspect`] when it was lost.
    is_suspect: bool,
    /// When it was first lost.
    first: Instant,
    since: Instant,
    hold: Hold,
}

#[derive(Debug)]
struct LostPiece {
    piece: Piece,
    content: u64,
    /// [`LossLimits::is_suspect`] when it was lost.
    is_suspect: bool,
    since: Instant,
    hold: Hold,
}

/// What one tenant has lost.
#[derive(Debug, Default)]
struct TenantLosses {
    base: Base,
    accounts: HashMap<StoredName, LostAccount>,
    pieces: HashMap<(SubjectKind, StoredName, (Table, i64)), LostPiece>,
    /// How many accounts nobody can sign in with any more.
    unable: usize,
    /// Rules and attributes that are served although the source has lost them.
    kept: Stock,
    /// Whether something of it is withheld.
    is_withheld: bool,
}

/// What there was before the first loss within the window.
#[derive(Debug, Clone, Copy, Default)]
struct Base {
    stock: Stock,
    since: Option<Instant>,
    /// The users that the source had at the latest decision, with those who were lost.
    known: usize,
}

/// A change of what is served, which a draft must carry out.
#[derive(Debug)]
pub(super) enum HoldChange {
    ServeAccount(IndexKey, Account),
    DropAccount(IndexKey),
    ServePiece(IndexKey, Piece),
    DropPiece(IndexKey, (Table, i64)),
}

/// What a commit withholds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Users who could sign in and no longer can.
    pub users: usize,
    /// Rules that are gone.
    pub rules: usize,
    /// Attributes that are gone.
    pub attributes: usize,
    /// Users, rules and attributes that the latest loads missed. They are served until a load confirms
    /// that they are gone.
    pub unsettled: usize,
    /// By tenant, at most [`Withheld::NAMED`].
    pub tenants: Vec<WithheldTenant>,
    /// Some of the rows, at most [`Withheld::EXAMPLES`] of each tenant in `tenants`.
    pub examples: Vec<WithheldRow>,
}

/// A row that is gone and still served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithheldRow {
    /// The folded domain; empty for what all tenants share.
    pub domain: String,
    /// Its table.
    pub table: Table,
    /// The id of the row; `None` for a user, who may have had several.
    pub id: Option<i64>,
    /// The folded username, or the name of the rule's subject.
    pub name: String,
}

/// What a commit withholds of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WithheldTenant {
    /// The folded domain; empty for what all tenants share.
    pub domain: String,
    /// [`Withheld::users`]
    pub users: usize,
    /// [`Withheld::rules`]
    pub rules: usize,
    /// [`Withheld::attributes`]
    pub attributes: usize,
}

impl WithheldTenant {
    fn total(&self) -> usize {
        self.users + self.rules + self.attributes
    }
}

impl Withheld {
    /// How many tenants are named.
    pub const NAMED: usize = 100;
    /// How many rows of a tenant are named.
    pub const EXAMPLES: usize = 20;

    /// Whether a loss is withheld.
    pub fn is_loss(&self) -> bool {
        self.users + self.rules + self.attributes > 0
    }
}

/// How a loss was noticed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    /// Whether only another load can tell that it is no table that is being restored.
    pub is_unsettled: bool,
    /// [`LossLimits::is_suspect`]
    pub is_suspect: bool,
    pub now: Instant,
}

/// Everything that was lost lately.
#[derive(Debug, Default)]
pub(super) struct Losses {
    tenants: HashMap<u32, TenantLosses>,
    whole: Base,
    /// Tenants to look at in the next decision.
    dirty: HashSet<u32>,
    /// Tenants that have lost something since the last decision.
    noted: HashSet<u32>,
    changes: Vec<HoldChange>,
    /// Accounts about which nothing is remembered any more.
    forgotten: Vec<IndexKey>,
    /// When a load last found rows that no poll had announced.
    moved: Option<Instant>,
    reviewed: Option<Instant>,
    /// When the oldest loss that is remembered began, or earlier.
    oldest: Option<Instant>,
    /// Whether the users, the rules, and the attributes of all tenants together were too large a
    /// loss.
    is_whole: [bool; 3],
}

/// The fate of an account with another usable password than before.
fn fate_of(before: &Credential, now: &Credential) -> Fate {
    static KEYED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
    // Passwords that look like digests only now are the mistake of a program that hashes.
    let is_mistake = before.fit() == Fit::Fits && matches!(now.fit(), Fit::Misfit(_));
    Fate::Changed(if is_mistake { 0 } else { KEYED.hash_one(now.stored()) | 1 })
}

impl Base {
    /// Takes `stock` as the base if there is none, or if the base is too old. While something
    /// is withheld, the base stays, because a loss does not get smaller with time.
    fn begin(&mut self, stock: Stock, lost: usize, is_withheld: bool, now: Instant) {
        let is_old = |since| !is_withheld && now.duration_since(since) > LOSS_WINDOW;
        if self.since.is_none_or(is_old) {
            // What is still remembered was there too.
            let known = stock.users + lost;
            *self = Base { stock: Stock { users: known, ..stock }, since: Some(now), known };
        }
    }
}

impl Base {
    /// Counts what was added as a part of what may be lost. Not if something was lost at the
    /// same time, because then it may be the same under another name; and not while something
    /// is withheld, because what is added must not make that loss look smaller.
    fn grow(&mut self, has: Stock, lost: usize, is_loss: bool) {
        let known = has.users + lost;
        if !is_loss {
            self.stock.users += known.saturating_sub(self.known);
            self.stock.rules = self.stock.rules.max(has.rules);
            self.stock.defaults = self.stock.defaults.max(has.defaults);
            self.stock.attributes = self.stock.attributes.max(has.attributes);
        }
        self.known = known;
    }
}

impl TenantLosses {
    fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.pieces.is_empty()
    }

    fn count_unable(&mut self) {
        self.unable = self.accounts.values().filter(|lost| lost.fate == Fate::Unable).count();
    }
}

impl TenantLosses {
    /// Some of the rows that are withheld.
    fn examples(&self, domain: &str) -> impl Iterator<Item = WithheldRow> {
        let row = |table, id, name: &StoredName| WithheldRow {
            domain: domain.to_owned(),
            table,
            id,
            name: String::from_utf8_lossy(name).into_owned(),
        };
        let accounts = self.accounts.iter().filter(|(_, lost)| lost.hold == Hold::Withheld);
        let accounts = accounts.map(move |(name, _)| row(Table::UserAuth, None, name));
        let pieces = self.pieces.iter().filter(|(_, lost)| lost.hold == Hold::Withheld);
        let pieces = pieces.map(move |((_, name, (table, id)), _)| row(*table, Some(*id), name));
        accounts.chain(pieces).take(Withheld::EXAMPLES)
    }
}

impl Losses {
    /// Whether anything is remembered of this tenant.
    pub fn knows(&self, tenant: u32) -> bool {
        self.tenants.contains_key(&tenant)
    }

    /// Notes that the number of a tenant's users or rules has changed.
    pub fn touch(&mut self, tenant: u32) {
        if self.knows(tenant) {
            self.dirty.insert(tenant);
        }
    }

    /// The tenants of which something is remembered.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.tenants.keys().copied()
    }

    /// Whether the next note about a tenant needs to know what there was before.
    pub fn wants_base(&self, tenant: u32, now: Instant) -> bool {
        let is_old = |base: &Base| base.since.is_none_or(|since| now.duration_since(since) > LOSS_WINDOW);
        is_old(&self.whole) || self.tenants.get(&tenant).is_none_or(|losses| is_old(&losses.base))
    }

    /// `base` is what the tenant and all tenants had before.
    fn tenant(&mut self, number: u32, base: Option<[Stock; 2]>, now: Instant) -> &mut TenantLosses {
        self.dirty.insert(number);
        self.noted.insert(number);
        self.oldest.get_or_insert(now);
        if let Some([own, all]) = base {
            let lost_by_all = self.tenants.values().map(|losses| losses.unable).sum();
            let is_withheld = self.tenants.values().any(|losses| losses.is_withheld);
            self.whole.begin(all, lost_by_all, is_withheld, now);
            let losses = self.tenants.entry(number).or_default();
            losses.base.begin(own, losses.unable, losses.is_withheld, now);
        }
        self.tenants.entry(number).or_default()
    }

    /// Notes the change of an account: the usable credential that it had, with the content of
    /// its row, and what it has now. `base` is needed if [`Losses::wants_base`]. Returns
    /// whether it is in doubt now.
    pub fn note_account(
        &mut self,
        key: &IndexKey,
        had: Option<(Account, u64)>,
        has: Option<&Credential>,
        base: Option<[Stock; 2]>,
        note: Note,
    ) -> bool {
        let Note { is_unsettled, is_suspect, now } = note;
        let known = self.tenants.get(&key.tenant).and_then(|losses| losses.accounts.get(&key.name));
        let is_served = known.is_some_and(|known| known.hold.is_served());
        // What was served last: what is withheld, or else what the source had.
        let remembered = known.map(|known| (known.account.clone(), known.content));
        let served = if is_served { remembered } else { had.or(remembered) };
        let Some((served, content)) = served else { return false };
        let fate = match has {
            Some(has) if *has == served.credential => {
                self.forget_account(key);
                return false;
            }
            Some(has) => fate_of(&served.credential, has),
            None => Fate::Unable,
        };
        let mut changes = std::mem::take(&mut self.changes);
        let losses = self.tenant(key.tenant, base, now);
        let lost = losses.accounts.entry(key.name.clone()).or_insert_with(|| LostAccount {
            account: served.clone(),
            content,
            fate,
            is_suspect,
            first: now,
            since: now,
            hold: Hold::Released,
        });
        if is_served && fate != Fate::Unable && fate != lost.fate {
            // Somebody can sign in again. If too many got this password, it is withheld again.
            lost.hold = Hold::Released;
            changes.push(HoldChange::DropAccount(key.clone()));
        }
        (lost.account, lost.content, lost.fate, lost.since) = (served, content, fate, now);
        lost.is_suspect |= is_suspect;
        if is_unsettled && fate == Fate::Unable && !is_served {
            lost.hold = Hold::Missed;
        }
        self.changes = changes;
        true
    }

    fn forget_account(&mut self, key: &IndexKey) {
        let Some(losses) = self.tenants.get_mut(&key.tenant) else { return };
        if let Some(lost) = losses.accounts.remove(&key.name) {
            self.dirty.insert(key.tenant);
            self.forgotten.push(key.clone());
            if lost.hold.is_served() {
                self.changes.push(HoldChange::DropAccount(key.clone()));
            }
        }
    }

    /// Notes that a rule or an attribute is gone from its entry.
    pub fn note_piece(
        &mut self,
        key: IndexKey,
        (piece, content): (Piece, u64),
        base: Option<[Stock; 2]>,
        Note { is_unsettled, is_suspect, now }: Note,
    ) {
        let hold = if is_unsettled { Hold::Missed } else { Hold::Released };
        let IndexKey { tenant, kind, name } = key;
        let lost = LostPiece { piece, content, is_suspect, since: now, hold };
        let row = lost.piece.row();
        self.tenant(tenant, base, now).pieces.insert((kind, name, row), lost);
    }

    /// Notes that the source has a row again. It has taken the place of the piece that was
    /// served meanwhile.
    pub fn found_piece(&mut self, key: IndexKey, row: (Table, i64)) {
        let Some(losses) = self.tenants.get_mut(&key.tenant) else { return };
        let Some(lost) = losses.pieces.remove(&(key.kind, key.name, row)) else { return };
        self.dirty.insert(key.tenant);
        if lost.hold.is_served() {
            losses.kept = losses.kept.without(key.kind, row.0);
        }
    }

    /// Notes that a piece that may be served although it is lost was taken from its entry.
    pub fn put_back_piece(&mut self, key: IndexKey, row: (Table, i64)) {
        let losses = self.tenants.get(&key.tenant);
        let lost = losses.and_then(|losses| losses.pieces.get(&(key.kind, key.name.clone(), row)));
        if let Some(lost) = lost.filter(|lost| lost.hold.is_served()) {
            self.changes.push(HoldChange::ServePiece(key, lost.piece.clone()));
        }
    }

    /// The rules and attributes of a tenant that are served although they are lost.
    pub fn kept(&self, tenant: u32) -> Stock {
        self.tenants.get(&tenant).map(|losses| losses.kept).unwrap_or_default()
    }

    /// The rules and attributes of all tenants that are served although they are lost.
    pub fn kept_by_all(&self) -> Stock {
        self.tenants.values().fold(Stock::default(), |sum, losses| Stock {
            rules: sum.rules + losses.kept.rules,
            defaults: sum.defaults + losses.kept.defaults,
            attributes: sum.attributes + losses.kept.attributes,
            ..sum
        })
    }

    /// Notes that a load is over. Returns whether the rows are quiet: neither this load nor
    /// one within `settle` before it has found rows that no poll had announced.
    pub fn end_load(&mut self, has_moved: bool, settle: Duration, now: Instant) -> bool {
        let is_quiet = !has_moved && self.moved.is_none_or(|moved| now.duration_since(moved) >= settle);
        if has_moved {
            self.moved = Some(now);
        }
        is_quiet
    }

    /// Forgets losses that are older than [`LOSS_WINDOW`] and not served.
    pub fn expire(&mut self, now: Instant) {
        let is_due = self.reviewed.is_none_or(|reviewed| now.duration_since(reviewed) > REVIEW);
        if self.tenants.is_empty() || !is_due {
            return;
        }
        self.reviewed = Some(now);
        let is_kept = |hold: Hold, since| hold.is_served() || now.duration_since(since) < LOSS_WINDOW;
        for (&number, losses) in &mut self.tenants {
            losses.pieces.retain(|_, lost| is_kept(lost.hold, lost.since));
            losses.accounts.retain(|name, lost| {
                let is_kept = is_kept(lost.hold, lost.since);
                let key = || IndexKey::new(number, SubjectKind::WORD, name);
                self.forgotten.extend((!is_kept).then(key));
                is_kept
            });
            losses.count_unable();
        }
        self.tenants.retain(|_, losses| !losses.is_empty());
        let accounts = |losses: &TenantLosses| losses.accounts.values().map(|lost| lost.first).min();
        let pieces = |losses: &TenantLosses| losses.pieces.values().map(|lost| lost.since).min();
        let first = |losses: &TenantLosses| accounts(losses).into_iter().chain(pieces(losses)).min();
        self.oldest = self.tenants.values().filter_map(first).min();
    }

    /// When the oldest loss that is remembered began, or earlier. `None` if there is none.
    pub fn oldest(&self) -> Option<Instant> {
        self.oldest.filter(|_| !self.tenants.is_empty())
    }

    /// The contents of the rows that had what is lost.
    pub fn contents(&self) -> HashSet<u64> {
        let of = |losses: &TenantLosses| {
            let accounts = losses.accounts.values().map(|lost| lost.content);
            accounts.chain(losses.pieces.values().map(|lost| lost.content)).collect::<Vec<u64>>()
        };
        self.tenants.values().flat_map(of).collect()
    }

    /// Accepts every loss so far: nothing that was lost is served any more.
    pub fn confirm(&mut self) -> (Vec<HoldChange>, Vec<IndexKey>) {
        let (mut changes, mut forgotten) = (Vec::new(), Vec::new());
        for (number, losses) in self.tenants.drain() {
            for (name, lost) in losses.accounts {
                let key = IndexKey { tenant: number, kind: SubjectKind::WORD, name };
                if lost.hold.is_served() {
                    changes.push(HoldChange::DropAccount(key.clone()));
                }
                forgotten.push(key);
            }
            let served = losses.pieces.into_iter().filter(|(_, lost)| lost.hold.is_served());
            changes.extend(served.map(|((kind, name, row), _)| {
                HoldChange::DropPiece(IndexKey { tenant: number, kind, name }, row)
            }));
        }
        *self = Losses { moved: self.moved, ..Losses::default() };
        (changes, forgotten)
    }

    /// What is withheld. `name` is the folded domain of a tenant.
    pub fn withheld(&self, name: impl Fn(u32) -> String) -> Withheld {
        let mut withheld = Withheld::default();
        for (&number, losses) in &self.tenants {
            let holds = |hold| {
                let users = losses.accounts.values().filter(|lost| lost.hold == hold).count();
                let held = losses.pieces.iter().filter(|(_, lost)| lost.hold == hold);
                let held =
                    held.fold(Stock::default(), |sum, ((kind, _, (table, _)), _)| sum.with(*kind, *table));
                let (rules, attributes) = (held.rules, held.attributes);
                WithheldTenant { domain: String::new(), users, rules, attributes }
            };
            withheld.unsettled += holds(Hold::Unsettled).total();
            let of = holds(Hold::Withheld);
            if of.total() > 0 {
                withheld.users += of.users;
                withheld.rules += of.rules;
                withheld.attributes += of.attributes;
                let domain = if number == EVERYWHERE { String::new() } else { name(number) };
                withheld.examples.extend(losses.examples(&domain));
                withheld.tenants.push(WithheldTenant { domain, ..of });
            }
        }
        let key = |tenant: &WithheldTenant| (tenant.users, tenant.rules, tenant.attributes);
        withheld.tenants.sort_by(|one, other| (key(other), &one.domain).cmp(&(key(one), &other.domain)));
        withheld.tenants.truncate(Withheld::NAMED);
        let named: HashSet<String> = withheld.tenants.iter().map(|tenant| tenant.domain.clone()).collect();
        withheld.examples.retain(|row| named.contains(&row.domain));
        withheld
    }
}
