//! The table of fetches, in parts that are locked one by one.
//!
//! A part has three regions, and each region a number of sets of slots. A key says in which set its
//! slot is. When a set is full, its oldest slot makes room. So names that do not exist push out only
//! each other, and failures push out no successes.
//!
//! A slot fills one line of memory, which mostly is in no cache of the processor. Nothing else has
//! to be read to find it.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::details::Details;
use super::keys::{Description, Keys};
use crate::core::fetch::Fetch;

/// How many slots a set has at least, if the table is not smaller.
const WAYS: usize = 8;
/// How many sets a region has at first, unless it can only have fewer.
const FIRST: usize = 8;

/// What kinds of requests have slots of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    /// Answered with properties.
    Answered,
    /// Refused, of users who exist.
    Failed,
    /// Of users or tenants that do not exist.
    Unknown,
}

impl Region {
    pub const ALL: [Region; 3] = [Region::Answered, Region::Failed, Region::Unknown];

    /// How many of sixteen slots are for it.
    const fn share(self) -> usize {
        match self {
            Region::Answered => 12,
            Region::Failed => 3,
            Region::Unknown => 1,
        }
    }

    /// Whether its requests are written to the database. Names that do not exist are not, because
    /// a stranger could fill it with them.
    pub fn is_recorded(self) -> bool {
        self != Region::Unknown
    }
}

/// What changes with each request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// In seconds since 1970.
    pub at: i64,
    pub snapshot: Option<i64>,
    pub properties: u32,
}

/// What is kept of one device.
#[derive(Default)]
#[repr(align(64))]
struct Slot {
    key: u64,
    account: u64,
    /// [`Description::hash`]
    hash: u64,
    snapshot: i64,
    details: Details,
    properties: u32,
    /// When it was noted last, in seconds since 1970, which fit until 2106. 0 if it never was.
    at: u32,
    /// When it was taken to be written, likewise. 0 if it was not since its details changed.
    taken: u32,
    has_snapshot: bool,
    is_by_address: bool,
    /// Whether it is in the list of those that are not written yet.
    is_dirty: bool,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// A slot that was copied to be read.
pub(super) struct Copied {
    moment: Moment,
    details: Details,
    is_by_address: bool,
}

impl Copied {
    /// The fetch, of the node called `node`.
    pub fn fetch(&self, node: &str) -> Option<Fetch> {
        let Moment { at, snapshot, properties } = self.moment;
        let fetch = self.details.fetch(self.is_by_address, node)?;
        Some(Fetch { at, snapshot, properties, ..fetch })
    }
}

/// The newest slots that a reader wants, in no order.
pub(super) struct Newest {
    most: usize,
    /// The oldest one is the first to go.
    copies: BinaryHeap<Reverse<ByTime>>,
}

struct ByTime(Copied);

impl Newest {
    /// At most `most` slots.
    pub fn new(most: usize) -> Newest {
        Newest { most, copies: BinaryHeap::new() }
    }

    /// The slots.
    pub fn into_copies(self) -> impl Iterator<Item = Copied> {
        self.copies.into_iter().map(|Reverse(ByTime(copied))| copied)
    }

    /// Whether a slot of this time would stay.
    fn has_room(&self, at: i64) -> bool {
        match self.copies.peek() {
            Some(Reverse(ByTime(oldest))) if self.copies.len() >= self.most => oldest.moment.at < at,
            _ => self.most > 0,
        }
    }

    fn add(&mut self, copied: Copied) {
        if self.copies.len() >= self.most {
            self.copies.pop();
        }
        self.copies.push(Reverse(ByTime(copied)));
    }
}

impl Ord for ByTime {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.moment.at.cmp(&other.0.moment.at)
    }
}

impl PartialOrd for ByTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByTime {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByTime {}

/// What a note has done to a part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is a slot more.
    Added,
    /// A slot was known, or was given to another device.
    Kept,
    /// A slot was given to another device before it was written to the database.
    Lost,
}

/// Which fetches to take.
pub(super) struct Wanted {
    /// How many.
    pub most: usize,
    /// How many of them may be those of which only the moment has changed.
    pub repeated: usize,
    /// Those must have been taken before this.
    pub before: i64,
    pub now: i64,
}

struct Slots {
    /// One set after the other.
    slots: Vec<Slot>,
    /// How many slots a set has.
    ways: usize,
    /// How often the number of sets may still be doubled.
    doublings: u32,
    /// The places of slots that are not written yet.
    dirty: Vec<u32>,
}

/// A part of the table.
pub(super) struct Part([Slots; Region::ALL.len()]);

impl Part {
    /// A part for at most `most` fetches, at least one of each kind.
    pub fn new(most: usize) -> Part {
        Part(Region::ALL.map(|region| Slots::new((most * region.share() / 16).max(1))))
    }

    /// Notes a request.
    ///
    /// A stranger chooses the device of a request that fails, so such a request is kept under its
    /// address, unless the device has succeeded before.
    pub fn note(
        &mut self,
        region: Region,
        keys: &Keys,
        moment: Moment,
        description: impl Description,
    ) -> Noted {
        let succeeded = keys.device | 1;
        let (key, is_by_address) = match region {
            Region::Answered => (succeeded, false),
            _ if self.0[Region::Answered as usize].has(succeeded) => (keys.device & !1, false),
            _ => (keys.address & !1, true),
        };
        let slots = &mut self.0[region as usize];
        let (place, added) = slots.place(key);
        let slot = &mut slots.slots[place];
        // A request that had to wait for the table may come after a newer one.
        if added.is_none() && moment.at < slot.at.into() {
            return Noted::Kept;
        }
        slot.set_moment(moment);
        let hash = description.hash();
        if added.is_some() || slot.hash != hash {
            (slot.key, slot.account, slot.hash) = (key, keys.account, hash);
            (slot.is_by_address, slot.taken) = (is_by_address, 0);
            description.write(&mut slot.details);
        }
        if region.is_recorded() && !slot.is_dirty {
            slot.is_dirty = true;
            slots.dirty.push(place as u32);
        }
        added.unwrap_or(Noted::Kept)
    }

    /// Takes fetches that are not written yet.
    pub fn take(&mut self, wanted: &mut Wanted, taken: &mut Vec<Copied>) {
        for Slots { slots, dirty, .. } in &mut self.0 {
            dirty.retain(|place| {
                if wanted.most == 0 {
                    return true;
                }
                let slot = &mut slots[*place as usize];
                if slot.taken != 0 {
                    if wanted.repeated == 0 || i64::from(slot.taken) >= wanted.before {
                        return true;
                    }
                    wanted.repeated -= 1;
                }
                wanted.most -= 1;
                (slot.is_dirty, slot.taken) = (false, wanted.now as u32);
                taken.push(slot.copy());
                false
            });
        }
    }

    /// Copies the newest fetches of which the region, the time, the account and the details are
    /// wanted.
    pub fn copy(
        &self,
        is_wanted: impl Fn(Region, i64) -> bool,
        are_wanted: impl Fn(u64, &Details) -> bool,
        newest: &mut Newest,
    ) {
        for (region, slots) in Region::ALL.into_iter().zip(&self.0) {
            for slot in slots.used() {
                let at = slot.at.into();
                if newest.has_room(at) && is_wanted(region, at) && are_wanted(slot.account, &slot.details) {
                    newest.add(slot.copy());
                }
            }
        }
    }

    #[cfg(test)]
    pub fn set_time(&mut self, account: u64, at: u32) {
        let slots = self.0.iter_mut().flat_map(|slots| &mut slots.slots);
        slots.filter(|slot| slot.is_used() && slot.account == account).for_each(|slot| slot.at = at);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.iter().map(|slots| slots.used().count()).sum()
    }
}

/// Where a key is or may be.
enum Found {
    Known(usize),
    /// This slot was never used.
    Free(usize),
    /// The set that begins here is full.
    Full(usize),
}

impl Slots {
    /// Slots for at most `most` fetches. Memory is only used for as many as are needed.
    fn new(most: usize) -> Slots {
        let sets = (most / WAYS).max(1);
        let doublings = (sets / FIRST).checked_ilog2().unwrap_or(0);
        let ways = most / sets;
        Slots { slots: empty((sets >> doublings) * ways), ways, doublings, dirty: Vec::new() }
    }

    fn find(&self, key: u64) -> Found {
        let sets = self.slots.len() / self.ways;
        // The upper bits of the key say where the set begins, and lower ones where in it to begin.
        let set = ((u128::from(key) * sets as u128) >> u64::BITS) as usize * self.ways;
        let first = ((u64::from((key >> 1) as u32) * self.ways as u64) >> u32::BITS) as usize;
        for place in (set + first..set + self.ways).chain(set..set + first) {
            match &self.slots[place] {
                slot if !slot.is_used() => return Found::Free(place),
                slot if slot.key == key => return Found::Known(place),
                _ => {}
            }
        }
        Found::Full(set)
    }

    fn has(&self, key: u64) -> bool {
        matches!(self.find(key), Found::Known(_))
    }

    /// The place for a key. If it is new, also what its slot was before; the slot may still be that of
    /// another device.
    fn place(&mut self, key: u64) -> (usize, Option<Noted>) {
        loop {
            match self.find(key) {
                Found::Known(place) => return (place, None),
                Found::Free(place) => return (place, Some(Noted::Added)),
                Found::Full(_) if self.doublings > 0 => self.double(),
                Found::Full(set) => {
                    let places = set..set + self.ways;
                    let oldest = places.min_by_key(|place| self.slots[*place].at).unwrap_or(set);
                    let old = &self.slots[oldest];
                    let noted = if old.is_dirty && old.taken == 0 { Noted::Lost } else { Noted::Kept };
                    return (oldest, Some(noted));
                }
            }
        }
    }

    /// Doubles the number of sets. The slots of each set go to two sets.
    fn double(&mut self) {
        let sparse = empty(self.slots.len() * 2);
        self.doublings -= 1;
        self.dirty.clear();
        for slot in std::mem::replace(&mut self.slots, sparse).into_iter().filter(Slot::is_used) {
            let (place, _) = self.place(slot.key);
            if slot.is_dirty {
                self.dirty.push(place as u32);
            }
            self.slots[place] = slot;
        }
    }

    fn used(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.is_used())
    }
}

fn empty(slots: usize) -> Vec<Slot> {
    std::iter::repeat_with(Slot::default).take(slots).collect()
}

impl Slot {
    fn is_used(&self) -> bool {
        self.at != 0
    }

    fn set_moment(&mut self, moment: Moment) {
        (self.at, self.properties) = (moment.at as u32, moment.properties);
        (self.has_snapshot, self.snapshot) = (moment.snapshot.is_some(), moment.snapshot.unwrap_or(0));
    }

    fn copy(&self) -> Copied {
        let moment = Moment {
            at: self.at.into(),
            snapshot: self.has_snapshot.then_some(self.snapshot),
            properties: self.properties,
        };
        Copied { moment, details: self.details.clone(), is_by_address: self.is_by_address }
    }
}
