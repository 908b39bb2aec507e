//! The open connections of clients, and which of them end to make room for new ones.
//!
//! A request takes no lock here: its connection only notes in an atomic of its own whether
//! it is busy. So a connection may be filed under a time at which it was idle before. When
//! one has to end, those that come first are looked at, and filed again if the time is
//! wrong. A connection takes the lock when it opens, after its first answer, and when it
//! closes.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::serve::throttle::owner;

/// A connection with a request under way. Other states are the time since when there is
/// none.
const BUSY: u64 = 0;
/// A busy connection that is not filed: it files itself when it is idle again.
const BUSY_UNFILED: u64 = 1;
/// How long a new connection is left alone before it has sent anything. Its request may be
/// on its way.
const FIRST_BYTE: Duration = Duration::from_millis(500);
/// How long a warning about an address is not repeated.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// All open connections of clients.
#[derive(Debug)]
pub(in crate::serve) struct Roster {
    clock: Instant,
    /// How many connections an address may have.
    most: usize,
    /// How many new connections wait for room.
    waiting: AtomicUsize,
    seats: Mutex<Seats>,
    metrics: Arc<Metrics>,
    /// When it was logged last that an address has too many connections.
    logged: AtomicU64,
}

/// A new connection that waits for room.
#[derive(Debug)]
pub(in crate::serve) struct Crowd<'a>(&'a Roster);

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection in the roster, which it leaves when it is dropped.
#[derive(Debug)]
pub(in crate::serve) struct Seat {
    roster: Arc<Roster>,
    id: u64,
    state: Arc<SeatState>,
    kind: Cell<Kind>,
    is_busy: Cell<bool>,
}

/// Whether a connection is busy. It has a line of the processor's cache of its own: connections
/// of other workers are changed at the same time.
#[derive(Debug)]
#[repr(align(64))]
struct SeatState(AtomicU64);

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Another request.
    Idle,
    /// Its first request.
    New,
}

/// Where a connection is filed. Those that come first end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: Kind,
    /// A time in nanoseconds of the roster's clock.
    since: u64,
    id: u64,
}

#[derive(Debug, Default)]
struct Seats {
    last: u64,
    open: HashMap<u64, Filed>,
    order: BTreeSet<Place>,
    addresses: HashMap<u128, Address>,
}

#[derive(Debug)]
struct Filed {
    state: Arc<SeatState>,
    /// `None` while it is busy or about to end.
    place: Option<Place>,
    /// The address that it counts for.
    owner: Option<u128>,
    /// Asks the connection to end; `None` once it was asked.
    leave: Option<oneshot::Sender<()>>,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Address {
    count: usize,
    order: BTreeSet<Place>,
}

impl Roster {
    /// With `most`, a limit of connections for each address.
    pub fn new(most: usize, metrics: Arc<Metrics>) -> Roster {
        let (waiting, seats, logged) = (AtomicUsize::new(0), Mutex::default(), AtomicU64::new(0));
        Roster { clock: Instant::now(), most, waiting, seats, metrics, logged }
    }

    /// Adds a connection, which counts as busy. It should end when the other end of the
    /// channel is used; it may finish a request before.
    pub fn enter(self: &Arc<Self>) -> (Seat, oneshot::Receiver<()>) {
        let (leave, asked) = oneshot::channel();
        let state = Arc::new(SeatState(AtomicU64::new(BUSY_UNFILED)));
        let mut seats = self.lock();
        seats.last += 1;
        let id = seats.last;
        let filed = Filed { state: state.clone(), place: None, owner: None, leave: Some(leave) };
        seats.open.insert(id, filed);
        drop(seats);
        let (kind, is_busy) = (Cell::new(Kind::New), Cell::new(true));
        (Seat { roster: self.clone(), id, state, kind, is_busy }, asked)
    }

    /// Asks the connection that is idle for longest to end. If none is idle, this is one
    /// that has not sent anything for a while. Returns whether there was one.
    pub fn make_room(&self) -> bool {
        let mut seats = self.lock();
        let oldest = seats.oldest(None, self.now());
        let leave = oldest.and_then(|id| seats.take_leave(id));
        drop(seats);
        let Some(leave) = leave else { return false };
        self.metrics.connections_closed("max_connections");
        // If it has ended already, there is room too.
        let _ = leave.send(());
        true
    }

    /// Notes, until the result is dropped, that a new connection waits for room.
    pub fn crowd(&self) -> Crowd<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Crowd(self)
    }

    /// Counts and logs that an address has too many connections.
    fn count(&self, address: IpAddr) {
        self.metrics.connections_closed("max_connections_per_address");
        let (now, last) = (self.now(), self.logged.load(Ordering::Relaxed));
        if last == 0 || now - last >= LOG_PAUSE.as_nanos() as u64 {
            self.logged.store(now, Ordering::Relaxed);
            let most = self.most;
            tracing::warn!(
                %address,
                "an address has {most} connections (--max-connections-per-address): one of them is closed \
                 for each new one"
            );
        }
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, time: Instant) -> u64 {
        // The lowest numbers have other meanings.
        2 + time.saturating_duration_since(self.clock).as_nanos() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Counts the connection for an address. If that has too many connections, its own that
    /// is idle for longest is asked to end. Returns `false` if all are busy: then the
    /// connection must not stay.
    pub fn claim(&self, address: IpAddr) -> bool {
        let owner = owner(address);
        let mut seats = self.roster.lock();
        if seats.addresses.get(&owner).is_none_or(|known| known.count < self.roster.most) {
            seats.assign(self.id, owner);
            return true;
        }
        let oldest = seats.oldest(Some(owner), self.roster.now());
        let leave = oldest.and_then(|id| seats.take_leave(id));
        if leave.is_some() {
            seats.assign(self.id, owner);
        }
        drop(seats);
        self.roster.count(address);
        leave.map(|leave| leave.send(())).is_some()
    }

    /// Notes that a request, or a part of one, has arrived.
    pub fn busy(&self) {
        if !self.is_busy.replace(true) {
            self.state.0.store(BUSY, Ordering::Relaxed);
        }
    }

    /// Notes that the connection has waited for its first request since `since`.
    pub fn new_since(&self, since: Instant) {
        self.wait(Kind::New, since);
    }

    /// Notes that the connection has been idle since `since`.
    pub fn idle_since(&self, since: Instant) {
        self.wait(Kind::Idle, since);
    }

    /// Whether a new connection waits for room, so that others should end after their
    /// answers.
    pub fn is_crowded(&self) -> bool {
        self.roster.waiting.load(Ordering::Relaxed) > 0
    }

    fn wait(&self, kind: Kind, since: Instant) {
        let since = self.roster.at(since);
        self.is_busy.set(false);
        let is_unfiled = self.state.0.swap(since, Ordering::Relaxed) == BUSY_UNFILED;
        let is_other = self.kind.replace(kind) != kind;
        if is_unfiled || is_other || kind == Kind::New {
            self.roster.lock().file(Place { kind, since, id: self.id });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.roster.lock();
        seats.unfile(self.id);
        seats.unassign(self.id);
        seats.open.remove(&self.id);
    }
}

impl Seats {
    /// Files a connection at `place`, unless it was asked to end.
    fn file(&mut self, place: Place) {
        self.unfile(place.id);
        let Some(filed) = self.open.get_mut(&place.id).filter(|filed| filed.leave.is_some()) else { return };
        filed.place = Some(place);
        self.order.insert(place);
        if let Some(address) = filed.owner.and_then(|owner| self.addresses.get_mut(&owner)) {
            address.order.insert(place);
        }
    }

    fn unfile(&mut self, id: u64) {
        let Some(filed) = self.open.get_mut(&id) else { return };
        let Some(place) = filed.place.take() else { return };
        self.order.remove(&place);
        if let Some(address) = filed.owner.and_then(|owner| self.addresses.get_mut(&owner)) {
            address.order.remove(&place);
        }
    }

    fn assign(&mut self, id: u64, owner: u128) {
        let Some(filed) = self.open.get_mut(&id) else { return };
        filed.owner = Some(owner);
        let address = self.addresses.entry(owner).or_default();
        address.count += 1;
        address.order.extend(filed.place);
    }

    fn unassign(&mut self, id: u64) {
        let Some(owner) = self.open.get_mut(&id).and_then(|filed| filed.owner.take()) else { return };
        if let Some(address) = self.addresses.get_mut(&owner) {
            address.count -= 1;
            if address.count == 0 {
                self.addresses.remove(&owner);
            }
        }
    }

    /// The connection that has to end first, of one address or of all.
    fn oldest(&mut self, owner: Option<u128>, now: u64) -> Option<u64> {
        loop {
            let order = match owner {
                Some(owner) => &self.addresses.get(&owner)?.order,
                None => &self.order,
            };
            let place = *order.first()?;
            let state = &self.open.get(&place.id)?.state;
            let busy = state.0.compare_exchange(BUSY, BUSY_UNFILED, Ordering::Relaxed, Ordering::Relaxed);
            match busy.map_or_else(|since| since, |_| BUSY_UNFILED) {
                BUSY_UNFILED => self.unfile(place.id),
                since if since != place.since => self.file(Place { kind: Kind::Idle, since, ..place }),
                since => {
                    let is_left_alone =
                        place.kind == Kind::New && now.saturating_sub(since) < FIRST_BYTE.as_nanos() as u64;
                    return (!is_left_alone).then_some(place.id);
                }
            }
        }
    }

    /// Takes what asks a connection to end. It counts for no address from now on.
    fn take_leave(&mut self, id: u64) -> Option<oneshot::Sender<()>> {
        self.unfile(id);
        self.unassign(id);
        self.open.get_mut(&id)?.leave.take()
    }
}

#[cfg(test)]
mod tests;
