//! The table of fetches, in parts that are locked one by one.
//!
//! A part has three regions, and each region a number of sets that never grows. A key says in which
//! set its slot is, so a request looks in few places. When a set is full, its oldest slot makes
//! room. So names that do not exist push out only each other, and failures push out no successes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::noted::{Description, Details, Keys};
use crate::core::fetch::Fetch;

/// How many slots a set has at most.
const WAYS: usize = 16;

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

/// How many bytes the processor reads from memory at once.
const LINE: usize = 64;

/// What is kept of one device. It fills one line of memory: mostly it is in no cache of the
/// processor, and a request would wait twice for two.
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
}

const _: () = assert!(size_of::<Slot>() == LINE);

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

/// Something for each slot of a set.
#[derive(Default)]
#[repr(align(64))]
struct Each([u32; WAYS]);

/// The slots of some keys. What is needed to find one is in its first line.
#[derive(Default)]
#[repr(C)]
struct Set {
    /// They are added as they are needed.
    slots: Vec<Slot>,
    /// Some bits of the key of each slot.
    tags: [u16; WAYS],
    /// A bit for each slot that is not written yet.
    dirty: u16,
    /// When each slot was noted last, in seconds since 1970, which fit until 2106.
    times: Each,
    /// When each slot was taken to be written, likewise. 0 if it was not since its details changed.
    taken: Each,
}

const _: () = assert!(size_of::<Set>() == 3 * LINE);

struct Slots {
    sets: Box<[Set]>,
    /// How many slots each set has at most.
    ways: usize,
}

/// A part of the table.
pub(super) struct Part([Slots; Region::ALL.len()]);

impl Part {
    /// A part for about `most` fetches, at least one of each kind.
    pub fn new(most: usize) -> Part {
        Part(Region::ALL.map(|region| {
            let most = (most * region.share() / 16).max(1);
            let sets = (most / WAYS).max(1);
            let ways = (most / sets).min(WAYS);
            Slots { sets: std::iter::repeat_with(Set::default).take(sets).collect(), ways }
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
            _ if self.0[Region::Answered as usize].has(succeeded) => (keys.device & !1, false),
            _ => (keys.address & !1, true),
        };
        let ways = self.0[region as usize].ways;
        let set = self.0[region as usize].set_mut(key);
        let found = set.find(key);
        let (way, noted) = match found {
            // A request that had to wait for the table may come after a newer one.
            Some(way) if moment.at < set.times.0[way].into() => return Noted::Kept,
            Some(way) => (way, Noted::Kept),
            None => set.make_room(ways),
        };
        let slot = &mut set.slots[way];
        (slot.snapshot, slot.properties) = (moment.snapshot, moment.properties);
        set.times.0[way] = moment.at as u32;
        // This takes a while, in which the processor gets the slot from memory.
        let hash = description.hash();
        if found.is_none() || slot.hash != hash {
            (slot.key, slot.account, slot.hash, slot.is_by_address) =
                (key, keys.account, hash, is_by_address);
            (set.tags[way], set.taken.0[way]) = (tag(key), 0);
            description.write(&mut slot.details);
        }
        if region.is_recorded() {
            set.dirty |= 1 << way;
        }
        noted
    }

    /// Takes at most `most` fetches that are not written yet. Of those of which only the moment has
    /// changed, it takes those that were taken before `before`.
    pub fn take(&mut self, most: usize, now: i64, before: i64, taken: &mut Vec<Copied>) {
        for set in self.0.iter_mut().flat_map(|slots| &mut slots.sets) {
            for way in bits(set.dirty) {
                let at = i64::from(set.taken.0[way]);
                if taken.len() >= most || at != 0 && at >= before {
                    continue;
                }
                set.dirty &= !(1 << way);
                set.taken.0[way] = now as u32;
                taken.push(set.slots[way].copy(set.times.0[way].into()));
            }
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
            for Set { slots, times, .. } in &slots.sets {
                for (at, slot) in times.0.iter().copied().map(i64::from).zip(slots) {
                    if newest.has_room(at) && is_wanted(region, at) && are_wanted(slot.account, &slot.details)
                    {
                        newest.add(slot.copy(at));
                    }
                }
            }
        }
    }

    #[cfg(test)]
    pub fn set_time(&mut self, account: u64, at: u32) {
        for Set { slots, times, .. } in self.0.iter_mut().flat_map(|slots| &mut slots.sets) {
            let own = times.0.iter_mut().zip(slots).filter(|(_, slot)| slot.account == account);
            own.for_each(|(time, _)| *time = at);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.iter().flat_map(|slots| &slots.sets).map(|set| set.slots.len()).sum()
    }
}

impl Slots {
    fn place(&self, key: u64) -> usize {
        // The upper bits say it, and the lower ones are the tag.
        ((u128::from(key) * self.sets.len() as u128) >> u64::BITS) as usize
    }

    fn set_mut(&mut self, key: u64) -> &mut Set {
        &mut self.sets[self.place(key)]
    }

    fn has(&self, key: u64) -> bool {
        self.sets[self.place(key)].find(key).is_some()
    }
}

impl Set {
    fn find(&self, key: u64) -> Option<usize> {
        let mut same = 0;
        for (way, other) in self.tags.iter().enumerate() {
            same |= u16::from(*other == tag(key)) << way;
        }
        bits(same).find(|way| self.slots.get(*way).is_some_and(|slot| slot.key == key))
    }

    /// A slot for a new key. It may still be that of another device.
    fn make_room(&mut self, ways: usize) -> (usize, Noted) {
        if self.slots.len() < ways {
            self.slots.push(Slot::default());
            return (self.slots.len() - 1, Noted::Added);
        }
        let oldest = (0..ways).min_by_key(|way| self.times.0[*way]).unwrap_or_default();
        let is_lost = self.dirty & 1 << oldest != 0 && self.taken.0[oldest] == 0;
        (oldest, if is_lost { Noted::Lost } else { Noted::Kept })
    }
}

/// The lowest bit of a key says what it is of, not whose.
fn tag(key: u64) -> u16 {
    (key >> 1) as u16
}

/// The places of the bits that are set.
fn bits(mut of: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = of.trailing_zeros();
        of &= of.checked_sub(1)?;
        Some(place as usize)
    })
}

impl Slot {
    fn copy(&self, at: i64) -> Copied {
        let Slot { snapshot, properties, ref details, is_by_address, .. } = *self;
        Copied { moment: Moment { at, snapshot, properties }, details: details.clone(), is_by_address }
    }
}
