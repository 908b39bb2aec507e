//! The table of fetches, in parts that are locked one by one.
//!
//! A part has three regions, and each region a number of slots that never grows. When a region is
//! full, the oldest of eight slots that are chosen by chance makes room. So names that do not
//! exist push out only each other, and failures push out no successes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use hashbrown::HashTable;

use super::noted::{Description, Details, Keys};
use crate::core::fetch::Fetch;

/// Of how many slots the oldest makes room.
const SAMPLE: usize = 8;

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

/// One line of the processor's cache: mostly it is in none, and a request would wait twice for two.
#[derive(Default)]
#[repr(align(64))]
struct Slot {
    key: u64,
    account: u64,
    /// [`Description::hash`]
    hash: u64,
    snapshot: Option<i64>,
    details: Details,
    properties: u32,
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

struct Slots {
    slots: Vec<Slot>,
    /// When each slot was noted last, in seconds since 1970, which fit until 2106. They are apart
    /// from the slots, because who looks for old or new slots reads many times.
    times: Vec<u32>,
    /// When each slot was taken to be written, likewise. 0 if it was not since its details changed.
    taken: Vec<u32>,
    /// The places of the slots, by their keys.
    index: HashTable<u32>,
    /// The places of slots that are not written yet.
    dirty: Vec<u32>,
    most: usize,
}

/// A part of the table.
pub(super) struct Part([Slots; Region::ALL.len()]);

impl Part {
    /// A part for about `most` fetches, at least one of each kind.
    pub fn new(most: usize) -> Part {
        Part(Region::ALL.map(|region| Slots {
            slots: Vec::new(),
            times: Vec::new(),
            taken: Vec::new(),
            index: HashTable::new(),
            dirty: Vec::new(),
            most: (most * region.share() / 16).max(1),
        }))
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
            _ if self.0[Region::Answered as usize].find(succeeded).is_some() => (keys.device & !1, false),
            _ => (keys.address & !1, true),
        };
        let slots = &mut self.0[region as usize];
        let (place, noted) = match slots.find(key) {
            // A request that had to wait for the table may come after a newer one.
            Some(place) if moment.at < slots.times[place].into() => return Noted::Kept,
            Some(place) => (place, Noted::Kept),
            None => slots.make_room(key),
        };
        slots.times[place] = moment.at as u32;
        let slot = &mut slots.slots[place];
        (slot.snapshot, slot.properties) = (moment.snapshot, moment.properties);
        // This takes a while, in which the processor gets the slot from memory.
        let hash = description.hash();
        if slot.key != key || slot.hash != hash {
            (slot.key, slot.account, slot.hash) = (key, keys.account, hash);
            (slot.is_by_address, slots.taken[place]) = (is_by_address, 0);
            description.write(&mut slot.details);
        }
        if region.is_recorded() && !slot.is_dirty {
            slot.is_dirty = true;
            slots.dirty.push(place as u32);
        }
        noted
    }

    /// Takes at most `most` fetches that are not written yet. Of those of which only the moment has
    /// changed, it takes those that were taken before `before`.
    pub fn take(&mut self, most: usize, now: i64, before: i64, taken: &mut Vec<Copied>) {
        for Slots { slots, times, taken: taken_at, dirty, .. } in &mut self.0 {
            dirty.retain(|place| {
                let place = *place as usize;
                let slot = &mut slots[place];
                let (was_taken, at) = (taken_at[place] != 0, i64::from(taken_at[place]));
                if taken.len() >= most || was_taken && at >= before {
                    return true;
                }
                (slot.is_dirty, taken_at[place]) = (false, now as u32);
                taken.push(slot.copy(times[place].into()));
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
        for (region, Slots { slots, times, .. }) in Region::ALL.into_iter().zip(&self.0) {
            for (at, slot) in times.iter().copied().map(i64::from).zip(slots) {
                if newest.has_room(at) && is_wanted(region, at) && are_wanted(slot.account, &slot.details) {
                    newest.add(slot.copy(at));
                }
            }
        }
    }

    #[cfg(test)]
    pub fn set_time(&mut self, account: u64, at: u32) {
        for Slots { slots, times, .. } in &mut self.0 {
            let own = times.iter_mut().zip(slots).filter(|(_, slot)| slot.account == account);
            own.for_each(|(time, _)| *time = at);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.iter().map(|slots| slots.slots.len()).sum()
    }
}

impl Slots {
    fn find(&self, key: u64) -> Option<usize> {
        let place = self.index.find(hash(key), |place| self.slots[*place as usize].key == key);
        place.map(|place| *place as usize)
    }

    /// The place for a new key, under which it is found from now on. The slot there may still be
    /// that of another device.
    fn make_room(&mut self, key: u64) -> (usize, Noted) {
        let (place, noted) = match self.slots.len() < self.most {
            true => {
                self.slots.push(Slot::default());
                self.times.push(0);
                self.taken.push(0);
                (self.slots.len() - 1, Noted::Added)
            }
            false => {
                let sample = (0..SAMPLE).map(|_| fastrand::usize(..self.slots.len()));
                let place = sample.min_by_key(|place| self.times[*place]).unwrap_or_default();
                let old = &self.slots[place];
                if let Ok(entry) = self.index.find_entry(hash(old.key), |of| *of as usize == place) {
                    entry.remove();
                }
                (place, if old.is_dirty && self.taken[place] == 0 { Noted::Lost } else { Noted::Kept })
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash(key), place as u32, |place| hash(slots[*place as usize].key));
        (place, noted)
    }
}

/// A key is a hash already, but its lowest bit says what it is of.
fn hash(key: u64) -> u64 {
    key.rotate_left(32)
}

impl Slot {
    fn copy(&self, at: i64) -> Copied {
        let Slot { snapshot, properties, ref details, is_by_address, .. } = *self;
        Copied { moment: Moment { at, snapshot, properties }, details: details.clone(), is_by_address }
    }
}
