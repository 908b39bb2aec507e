//! The table of fetches, in parts that are locked one by one.
//!
//! A part has three regions, and each region a number of slots that never grows. When a region is
//! full, the oldest of eight slots that are chosen by chance makes room. So names that do not
//! exist push out only each other, and failures push out no successes.

use hashbrown::HashMap;

use super::noted::{Details, Keys};
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

struct Slot {
    key: u128,
    account: u128,
    /// [`Keys::details`]
    hash: u64,
    moment: Moment,
    details: Details,
    is_by_address: bool,
    /// Whether it is in the list of those that are not written yet.
    is_dirty: bool,
    /// When it was taken to be written, in seconds since 1970. `None` if it was not since its
    /// details changed.
    taken_at: Option<i64>,
}

/// A slot that was copied to be read.
#[derive(Clone)]
pub(super) struct Copied {
    pub moment: Moment,
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

    /// See [`Details::are_of`].
    pub fn is_of(&self, domain: Option<&str>, username: Option<&str>) -> bool {
        self.details.are_of(domain, username)
    }
}

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
    /// The place of each key.
    index: HashMap<u128, u32>,
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
            index: HashMap::new(),
            dirty: Vec::new(),
            most: (most * region.share() / 16).max(1),
        }))
    }

    /// Notes a request. `details` is called only if they are not known yet.
    ///
    /// A stranger chooses the device of a request that fails, so such a request is kept under its
    /// address, unless the device has succeeded before.
    pub fn note(
        &mut self,
        region: Region,
        keys: &Keys,
        moment: Moment,
        details: impl FnOnce() -> Details,
    ) -> Noted {
        let succeeded = keys.device | 1;
        let (key, is_by_address) = match region {
            Region::Answered => (succeeded, false),
            _ if self.0[Region::Answered as usize].index.contains_key(&succeeded) => {
                (keys.device & !1, false)
            }
            _ => (keys.address & !1, true),
        };
        let slots = &mut self.0[region as usize];
        match slots.index.get(&key) {
            Some(place) => {
                let place = *place;
                slots.slots[place as usize].update(keys.details, moment, details);
                slots.mark(place, region);
                Noted::Kept
            }
            None => {
                let (account, hash) = (keys.account, keys.details);
                let details = details();
                let slot = Slot {
                    key,
                    account,
                    hash,
                    moment,
                    details,
                    is_by_address,
                    is_dirty: false,
                    taken_at: None,
                };
                slots.add(slot, region)
            }
        }
    }

    /// Takes at most `most` fetches that are not written yet. Of those of which only the moment has
    /// changed, it takes those that were taken before `before`.
    pub fn take(&mut self, most: usize, now: i64, before: i64, taken: &mut Vec<Copied>) {
        for Slots { slots, dirty, .. } in &mut self.0 {
            dirty.retain(|place| {
                let slot = &mut slots[*place as usize];
                if taken.len() >= most || slot.taken_at.is_some_and(|taken_at| taken_at >= before) {
                    return true;
                }
                (slot.is_dirty, slot.taken_at) = (false, Some(now));
                taken.push(slot.copy());
                false
            });
        }
    }

    /// Copies the fetches of an account, or all.
    pub fn copy(
        &self,
        account: Option<u128>,
        wants: impl Fn(Region, Moment) -> bool,
        copies: &mut Vec<Copied>,
    ) {
        for (region, slots) in Region::ALL.into_iter().zip(&self.0) {
            let is_wanted = |slot: &&Slot| {
                account.is_none_or(|account| account == slot.account) && wants(region, slot.moment)
            };
            copies.extend(slots.slots.iter().filter(is_wanted).map(Slot::copy));
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.iter().map(|slots| slots.slots.len()).sum()
    }
}

impl Slots {
    fn add(&mut self, slot: Slot, region: Region) -> Noted {
        let key = slot.key;
        if self.slots.len() < self.most {
            let place = self.slots.len() as u32;
            self.slots.push(slot);
            self.index.insert(key, place);
            self.mark(place, region);
            return Noted::Added;
        }
        let sample = (0..SAMPLE).map(|_| fastrand::usize(..self.slots.len()));
        let place = sample.min_by_key(|place| self.slots[*place].moment.at).unwrap_or_default();
        let was_dirty = self.slots[place].is_dirty;
        let old = std::mem::replace(&mut self.slots[place], Slot { is_dirty: was_dirty, ..slot });
        self.index.remove(&old.key);
        self.index.insert(key, place as u32);
        self.mark(place as u32, region);
        if was_dirty && old.taken_at.is_none() { Noted::Lost } else { Noted::Kept }
    }

    fn mark(&mut self, place: u32, region: Region) {
        let slot = &mut self.slots[place as usize];
        if region.is_recorded() && !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push(place);
        }
    }
}

impl Slot {
    fn update(&mut self, hash: u64, moment: Moment, details: impl FnOnce() -> Details) {
        // A request that had to wait for the table may come after a newer one.
        if moment.at < self.moment.at {
            return;
        }
        self.moment = moment;
        if self.hash != hash {
            (self.hash, self.taken_at) = (hash, None);
            self.details = details();
        }
    }

    fn copy(&self) -> Copied {
        let Slot { moment, ref details, is_by_address, .. } = *self;
        Copied { moment, details: details.clone(), is_by_address }
    }
}
