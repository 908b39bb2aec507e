//! The table of fetches, in parts that are locked one by one.
//!
//! It has three regions. In each region, each part has a number of sets of slots. A key says in which
//! set its slot is. When a set is full, its oldest slot makes room. So names that do not exist push
//! out only each other, and failures push out no successes.
//!
//! A device that sends the same again changes only a time. For that a request reads one slot and takes
//! no lock. The slot is mostly in no cache of the processor, so it is asked for as soon as the device
//! is known ([`Table::prefetch`]). Everything else of a device is in a [`Record`], behind the lock.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use prefetch_index::prefetch_index;

use super::details::Details;
use super::keys::{Asker, Keys};
use crate::core::fetch::Fetch;

/// In how many parts the table is divided at most.
const PARTS: usize = 64;
/// A part has room for about this many fetches, or more.
const PART: usize = 256;
/// How many slots a set has at least, if the table is not smaller.
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
    /// In seconds since 1970, which fit until 2106; not 0.
    pub at: u32,
    pub snapshot: Option<i64>,
    pub properties: u32,
}

/// What tells whether a request repeats an earlier one. Only `at` is changed without the lock of the
/// part. A thread that reads a slot while it is given to another device may set the `at` of that one
/// to the same second.
#[derive(Default)]
#[repr(align(32))]
struct Slot {
    key: AtomicU64,
    /// [`Keys::request`]
    request: AtomicU64,
    /// When it was noted last. 0 if it never was.
    at: AtomicU32,
    /// The `at` that was taken to be written last. 0 if none was since its details changed.
    taken: AtomicU32,
    /// The place of its record.
    record: AtomicU32,
}

const _: () = assert!(size_of::<Slot>() == 32);

/// What is kept of a device.
#[derive(Default)]
struct Record {
    account: u64,
    /// [`Keys::details`]
    hash: u64,
    snapshot: Option<i64>,
    properties: u32,
    is_by_address: bool,
    details: Details,
}

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
        Some(Fetch { at: at.into(), snapshot, properties, ..fetch })
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
    fn has_room(&self, at: u32) -> bool {
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
    /// Those must have been noted before this when they were taken last.
    pub before: i64,
}

/// What is kept of devices.
pub(super) struct Table {
    regions: [Slots; Region::ALL.len()],
    /// The records of each part.
    records: Box<[Mutex<Records>]>,
}

type Records = [Vec<Record>; Region::ALL.len()];

/// A part that no other thread has open.
pub(super) struct OpenPart<'a> {
    regions: &'a [Slots; Region::ALL.len()],
    part: usize,
    records: MutexGuard<'a, Records>,
}

impl Table {
    /// A table for at most `most` fetches, at least one of each kind.
    pub fn new(most: usize) -> Table {
        let parts = (most / PART).clamp(1, PARTS);
        let slots = |region: Region| Slots::new(parts, (most / parts * region.share() / 16).max(1));
        let records = std::iter::repeat_with(Mutex::default).take(parts).collect();
        Table { regions: Region::ALL.map(slots), records }
    }

    /// How many parts it has.
    pub fn parts(&self) -> usize {
        self.records.len()
    }

    /// The part of an account.
    pub fn part(&self, account: u64) -> usize {
        scaled(account, self.parts())
    }

    /// Makes the processor read what [`note_again`](Table::note_again) will read of a success.
    pub fn prefetch(&self, asker: Asker) {
        self.regions[Region::Answered as usize].prefetch(self.part(asker.account), success_key(asker));
    }

    /// Notes a request if its device has sent the same before, so that only the time changes, and
    /// returns whether that is so.
    pub fn note_again(&self, region: Region, keys: &Keys, at: u32) -> bool {
        let part = self.part(keys.asker.account);
        let (key, _) = key(&self.regions, part, region, keys);
        match self.regions[region as usize].find(part, key) {
            Found::Known(slot) if slot.request.load(Relaxed) == keys.request => {
                if slot.at.load(Relaxed) < at {
                    slot.at.store(at, Relaxed);
                }
                true
            }
            _ => false,
        }
    }

    /// Opens a part, unless another thread has it open.
    pub fn try_open(&self, part: usize) -> Option<OpenPart<'_>> {
        let records = match self.records[part].try_lock() {
            Ok(records) => records,
            Err(TryLockError::Poisoned(records)) => records.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(OpenPart { regions: &self.regions, part, records })
    }

    /// Opens a part as soon as no other thread has it open.
    pub fn open(&self, part: usize) -> OpenPart<'_> {
        let records = self.records[part].lock().unwrap_or_else(PoisonError::into_inner);
        OpenPart { regions: &self.regions, part, records }
    }
}

fn success_key(asker: Asker) -> u64 {
    asker.device | 1
}

/// The key of a request, and whether its device is only its address.
///
/// A stranger chooses the device of a request that fails, so such a request is kept under its
/// address, unless the device has succeeded before.
fn key(regions: &[Slots; Region::ALL.len()], part: usize, region: Region, keys: &Keys) -> (u64, bool) {
    let success = success_key(keys.asker);
    match region {
        Region::Answered => (success, false),
        _ if regions[Region::Answered as usize].has(part, success) => (keys.asker.device & !1, false),
        _ => (keys.address & !1, true),
    }
}

impl OpenPart<'_> {
    /// Notes a request. `write` writes its details.
    pub fn note(
        &mut self,
        region: Region,
        keys: &Keys,
        moment: Moment,
        write: impl FnOnce(&mut Details),
    ) -> Noted {
        let (key, is_by_address) = key(self.regions, self.part, region, keys);
        let records = &mut self.records[region as usize];
        let (slot, noted) = match self.regions[region as usize].find(self.part, key) {
            // A request that had to wait for the table may come after a newer one.
            Found::Known(slot) if moment.at < slot.at.load(Relaxed) => return Noted::Kept,
            Found::Known(slot) => (slot, Noted::Kept),
            Found::Free(slot) => {
                slot.record.store(records.len() as u32, Relaxed);
                records.push(Record::default());
                (slot, Noted::Added)
            }
            Found::Full(set) => {
                let oldest = set.iter().min_by_key(|slot| slot.at.load(Relaxed)).unwrap_or(&set[0]);
                let is_lost = region.is_recorded() && oldest.taken.load(Relaxed) == 0;
                (oldest, if is_lost { Noted::Lost } else { Noted::Kept })
            }
        };
        let record = &mut records[slot.record.load(Relaxed) as usize];
        (record.snapshot, record.properties) = (moment.snapshot, moment.properties);
        if slot.key.load(Relaxed) != key || record.hash != keys.details {
            write(&mut record.details);
            (record.account, record.hash, record.is_by_address) =
                (keys.asker.account, keys.details, is_by_address);
            slot.taken.store(0, Relaxed);
        } else {
            // So that it is written again, even if it was taken in this second.
            slot.taken.fetch_min(moment.at - 1, Relaxed);
        }
        slot.key.store(key, Relaxed);
        slot.request.store(keys.request, Relaxed);
        slot.at.store(moment.at, Relaxed);
        noted
    }

    /// Takes fetches that are not written yet.
    pub fn take(&self, wanted: &mut Wanted, into: &mut Vec<Copied>) {
        for (_, slots, records) in self.regions().filter(|(region, ..)| region.is_recorded()) {
            for slot in used(slots) {
                let (at, taken) = (slot.at.load(Relaxed), slot.taken.load(Relaxed));
                if at <= taken {
                    continue;
                }
                if wanted.most == 0 {
                    return;
                }
                if taken != 0 {
                    if wanted.repeated == 0 || i64::from(taken) >= wanted.before {
                        continue;
                    }
                    wanted.repeated -= 1;
                }
                wanted.most -= 1;
                slot.taken.store(at, Relaxed);
                into.push(slot.record(records).copy(at));
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
        for (region, slots, records) in self.regions() {
            for slot in used(slots) {
                let at = slot.at.load(Relaxed);
                let record = slot.record(records);
                if newest.has_room(at)
                    && is_wanted(region, at.into())
                    && are_wanted(record.account, &record.details)
                {
                    newest.add(record.copy(at));
                }
            }
        }
    }

    fn regions(&self) -> impl Iterator<Item = (Region, &[Slot], &[Record])> {
        let of = |region: Region| {
            (region, self.regions[region as usize].of_part(self.part), &*self.records[region as usize])
        };
        Region::ALL.into_iter().map(of)
    }

    #[cfg(test)]
    pub fn set_time(&self, account: u64, at: u32) {
        for (_, slots, records) in self.regions() {
            let of_account = used(slots).filter(|slot| slot.record(records).account == account);
            of_account.for_each(|slot| slot.at.store(at, Relaxed));
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.regions().map(|(_, slots, _)| used(slots).count()).sum()
    }
}

/// The slots of a region: those of one part after the other, in sets. All parts are in one piece of
/// memory, so that a request reads no more than its own slot.
struct Slots {
    slots: Box<[Slot]>,
    /// How many sets a part has.
    sets: usize,
    /// How many slots a set has.
    ways: usize,
}

/// Where a key is or may be.
enum Found<'a> {
    Known(&'a Slot),
    /// This slot was never used.
    Free(&'a Slot),
    /// All slots of this set are those of other keys.
    Full(&'a [Slot]),
}

impl Slots {
    /// Slots for at most `most` fetches in each part.
    fn new(parts: usize, most: usize) -> Slots {
        let sets = (most / WAYS).max(1);
        let ways = most / sets;
        let slots = std::iter::repeat_with(Slot::default).take(parts * sets * ways).collect();
        Slots { slots, sets, ways }
    }

    fn of_part(&self, part: usize) -> &[Slot] {
        let slots = self.sets * self.ways;
        &self.slots[part * slots..][..slots]
    }

    fn find(&self, part: usize, key: u64) -> Found<'_> {
        let (set, first) = self.place(part, key);
        let set = &self.slots[set..set + self.ways];
        let (before, from) = set.split_at(first);
        for slot in from.iter().chain(before) {
            if !slot.is_used() {
                return Found::Free(slot);
            }
            if slot.key.load(Relaxed) == key {
                return Found::Known(slot);
            }
        }
        Found::Full(set)
    }

    fn prefetch(&self, part: usize, key: u64) {
        let (set, first) = self.place(part, key);
        prefetch_index(&self.slots, set + first);
    }

    /// Where the set of a key begins, and where in it to begin.
    fn place(&self, part: usize, key: u64) -> (usize, usize) {
        // The upper bits of the key say the one, and lower ones the other.
        let set = part * self.sets + scaled(key, self.sets);
        (set * self.ways, scaled(key << u32::BITS, self.ways))
    }

    fn has(&self, part: usize, key: u64) -> bool {
        matches!(self.find(part, key), Found::Known(_))
    }
}

fn used(slots: &[Slot]) -> impl Iterator<Item = &Slot> {
    slots.iter().filter(|slot| slot.is_used())
}

/// A number below `most`, which depends on the upper bits of `hash`.
fn scaled(hash: u64, most: usize) -> usize {
    ((u128::from(hash) * most as u128) >> u64::BITS) as usize
}

impl Slot {
    fn is_used(&self) -> bool {
        self.at.load(Relaxed) != 0
    }

    fn record<'a>(&self, records: &'a [Record]) -> &'a Record {
        &records[self.record.load(Relaxed) as usize]
    }
}

impl Record {
    /// It was noted last at this time.
    fn copy(&self, at: u32) -> Copied {
        let moment = Moment { at, snapshot: self.snapshot, properties: self.properties };
        Copied { moment, details: self.details.clone(), is_by_address: self.is_by_address }
    }
}
