//! Who fetched what, and why not: the last success and the last failure of each device.
//!
//! The table is in memory and bounded. A request never waits for it: one that repeats an earlier one
//! takes no lock, and any other goes to a queue if another thread has its part of the table open.
//! The [`recorder`] writes what has changed to the database, where other nodes and commands read it.

mod details;
mod device;
mod keys;
mod recorder;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use rustix::time::{ClockId, clock_gettime};

use crate::core::fetch::{Fetch, FetchFilter};
use crate::metrics::Metrics;
use crate::snapshot::AccountState;
use crate::source::{Source, SourceError};
use details::{Details, Whose};
use keys::{Asker, HashKeys, Keys};
use table::{Copied, Moment, Newest, Noted, Region, Table, Wanted};

pub use details::{Asking, Decided};

/// A device that sends the same again and again is written once in so many seconds.
const AGAIN: i64 = 60;
/// How many requests wait at most for a part of the table that another thread has open.
const WAITING: usize = 4096;

/// What to keep, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchSettings {
    /// `--fetches`: how many are kept in memory.
    pub most: usize,
    /// `--keep-fetches`: for how long they stay in the database. `None` for ever.
    pub keep: Option<Duration>,
}

/// The fetches that this node has seen.
pub struct Fetches {
    keys: HashKeys,
    table: Table,
    waiting: ArrayQueue<Waiting>,
    settings: FetchSettings,
    /// The host name of this machine.
    node: String,
    source: Arc<dyn Source>,
    metrics: Arc<Metrics>,
    recording: tokio::sync::Mutex<recorder::Recording>,
    /// Whether the database is not to have them. Then nothing is lost that is not written.
    is_refused: AtomicBool,
}

/// A request that will be noted: see [`Fetches::expect`].
pub struct Expected(Asker);

/// A request whose part of the table another thread had open.
struct Waiting {
    region: Region,
    keys: Keys,
    moment: Moment,
    details: Details,
}

impl Fetches {
    /// No fetches yet. They will be written to `source`.
    pub fn new(settings: FetchSettings, source: Arc<dyn Source>, metrics: Arc<Metrics>) -> Fetches {
        Fetches {
            keys: HashKeys::new(),
            table: Table::new(settings.most),
            waiting: ArrayQueue::new(WAITING),
            settings,
            node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            source,
            metrics,
            recording: tokio::sync::Mutex::default(),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Prepares for a request that will be noted: the place of its device in the table is mostly in
    /// no cache, so the processor reads it while the request is answered.
    pub fn expect(&self, asking: &Asking<'_>) -> Expected {
        let asker = self.keys.asker(asking);
        self.table.prefetch(asker);
        Expected(asker)
    }

    /// Notes a request that was decided. It waits for nothing, and allocates nothing if the device
    /// sent the same before.
    pub fn note(&self, Expected(asker): Expected, decided: &Decided<'_>) {
        let keys = self.keys.of(asker, decided);
        let region = match (decided.reason, decided.account) {
            (None, _) => Region::Answered,
            (Some(_), AccountState::NoTenant | AccountState::NoUser) => Region::Unknown,
            (Some(_), AccountState::NoPassword | AccountState::Usable) => Region::Failed,
        };
        let at = now().max(1) as u32;
        if self.table.note_again(region, &keys, at) {
            return;
        }
        let moment = Moment { at, snapshot: decided.snapshot, properties: decided.properties };
        if let Some(mut part) = self.table.try_open(self.table.part(asker.account)) {
            self.count(part.note(region, &keys, moment, |details| details.set(decided)));
            return;
        }
        let mut details = Details::default();
        details.set(decided);
        if self.waiting.push(Waiting { region, keys, moment, details }).is_err() && region.is_recorded() {
            self.count(Noted::Lost);
        }
    }

    /// What this node has seen since its start, the newest first. Takes some milliseconds for
    /// many, so it is not for threads that answer requests: see [`Fetches::find`].
    pub fn seen(&self, wanted: &FetchFilter) -> Vec<Fetch> {
        self.let_in();
        let FetchFilter { domain, username, address, since, failed, most } = wanted;
        let account = domain
            .as_ref()
            .zip(username.as_ref())
            .map(|(domain, username)| self.keys.account(domain.as_bytes(), username.as_bytes()));
        let is_wanted = |region: Region, at: i64| {
            since.is_none_or(|since| at >= since) && !(*failed && region == Region::Answered)
        };
        let selects = |whose: Whose<'_>| {
            domain.as_ref().is_none_or(|domain| domain == whose.domain)
                && username.as_ref().is_none_or(|username| username == whose.username)
                && address.as_ref().is_none_or(|begin| whose.address.to_string().starts_with(begin))
        };
        let are_all = domain.is_none() && username.is_none() && address.is_none();
        let are_wanted = |of: u64, details: &Details| {
            account.is_none_or(|account| account == of) && (are_all || details.whose().is_some_and(selects))
        };
        let mut newest = Newest::new(*most);
        let parts = match account.map(|account| self.table.part(account)) {
            Some(part) => part..part + 1,
            None => 0..self.table.parts(),
        };
        parts.for_each(|part| self.table.open(part).copy(is_wanted, are_wanted, &mut newest));
        let mut found: Vec<Fetch> =
            newest.into_copies().filter_map(|copied| copied.fetch(&self.node)).collect();
        found.sort_by_key(|fetch| std::cmp::Reverse(fetch.at));
        found
    }

    /// What this node has seen and what all nodes have written to the database, the newest first.
    /// The error says why the database could not be asked; then the fetches are only this node's.
    /// It takes some milliseconds, so it is not for threads that answer requests.
    pub async fn find(&self, wanted: FetchFilter) -> (Vec<Fetch>, Option<SourceError>) {
        let stored = self.source.fetches(wanted.clone()).await;
        let (stored, error) = match stored {
            Ok(stored) => (stored, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        (merge(self.seen(&wanted), stored, wanted.most), error)
    }

    /// Puts the requests that had to wait into the table.
    fn let_in(&self) {
        // Not more than there is room for, because new ones may come without end.
        for _ in 0..WAITING {
            let Some(Waiting { region, keys, moment, details }) = self.waiting.pop() else { return };
            let mut part = self.table.open(self.table.part(keys.asker.account));
            self.count(part.note(region, &keys, moment, |place| *place = details));
        }
    }

    /// Takes at most `most` fetches that are not written yet. At most so many are `repeated`: only
    /// their moment has changed since they were written, which was some time ago; `None` for all.
    fn take(&self, most: usize, repeated: Option<usize>) -> Vec<Fetch> {
        self.let_in();
        let (repeated, before) = match repeated {
            Some(repeated) => (repeated, now() - AGAIN),
            None => (usize::MAX, i64::MAX),
        };
        let mut wanted = Wanted { most, repeated, before };
        let mut taken: Vec<Copied> = Vec::new();
        // Not always from the same part on, so that each has its turn.
        let parts = self.table.parts();
        let first = fastrand::usize(..parts);
        for at in 0..parts {
            self.table.open((first + at) % parts).take(&mut wanted, &mut taken);
        }
        taken.iter().filter_map(|copied| copied.fetch(&self.node)).collect()
    }

    fn count(&self, noted: Noted) {
        match noted {
            Noted::Added => drop(self.metrics.fetches.inc()),
            Noted::Kept => {}
            Noted::Lost if self.is_refused.load(Relaxed) => {}
            Noted::Lost => drop(self.metrics.fetches_dropped.inc()),
        }
    }
}

/// In seconds since 1970, by the clock that is quickest to read.
fn now() -> i64 {
    clock_gettime(ClockId::RealtimeCoarse).tv_sec
}

/// Joins two lists. Of two fetches with the same key, the later one stays.
fn merge(own: Vec<Fetch>, stored: Vec<Fetch>, most: usize) -> Vec<Fetch> {
    let mut all: Vec<Fetch> = own.into_iter().chain(stored).collect();
    all.sort_by_key(|fetch| std::cmp::Reverse(fetch.at));
    let mut known = hashbrown::HashSet::new();
    let key =
        |fetch: &Fetch| (fetch.domain.clone(), fetch.username.clone(), fetch.device.clone(), fetch.is_ok);
    all.retain(|fetch| known.insert(key(fetch)));
    all.truncate(most);
    all
}
