//! A map that is cheap to change while others read the old version: a hash trie whose copies
//! share their equal parts.
//!
//! A branch has 32 children, selected by five bits of the hash, from the highest bits down. A
//! leaf has up to 96 values, sorted by hash. Changing one value among a million copies three
//! branches and a leaf. Parts that no other copy shares are changed in place, so filling an
//! empty map copies nothing.
//!
//! A hash has 32 bits, which leaves room for a mark next to each value: 32 bits by which a walk
//! over all values skips those that it does not look for, without touching them. A leaf in which no
//! value has such a bit is skipped as a whole.

use std::sync::Arc;

const BITS: u32 = 5;
const CHILDREN: usize = 1 << BITS;
const LEAF: usize = 96;
/// At this depth, too few bits of the hash are left to split a leaf by.
const DEEPEST: u32 = u32::BITS / BITS;

/// A map whose copies share their equal parts. A value is found by its hash and a test, which
/// distinguishes values of the same hash.
#[derive(Debug, Clone)]
pub struct Trie<T> {
    root: TrieNode<T>,
    len: usize,
}

#[derive(Debug, Clone)]
enum TrieNode<T> {
    Leaf(TrieLeaf<T>),
    Branch(Arc<[TrieNode<T>; CHILDREN]>),
}

#[derive(Debug, Clone)]
struct TrieLeaf<T> {
    slots: Arc<[TrieSlot<T>]>,
    /// All bits of the marks of its values, and perhaps some that they had before.
    marks: u32,
}

#[derive(Debug, Clone)]
struct TrieSlot<T> {
    hash: u32,
    mark: u32,
    /// `None` only while a leaf is being replaced.
    value: Option<T>,
}

/// The mark of a value, to be changed.
pub struct Mark<'t> {
    own: &'t mut u32,
    of_leaf: &'t mut u32,
}

impl Mark<'_> {
    /// Replaces the mark.
    pub fn set(self, mark: u32) {
        *self.own = mark;
        *self.of_leaf |= mark;
    }
}

impl<T> FromIterator<TrieSlot<T>> for TrieLeaf<T> {
    fn from_iter<I: IntoIterator<Item = TrieSlot<T>>>(slots: I) -> Self {
        let mut marks = 0;
        let slots = slots.into_iter().inspect(|slot| marks |= slot.mark).collect();
        TrieLeaf { slots, marks }
    }
}

/// Which child of a branch at `depth` a hash belongs to.
fn child(hash: u32, depth: u32) -> usize {
    ((hash << (BITS * depth)) >> (u32::BITS - BITS)) as usize
}

/// The place of the value in a leaf, or the place where it would be inserted.
fn search<T>(slots: &[TrieSlot<T>], hash: u32, is_it: &impl Fn(&T) -> bool) -> Result<usize, usize> {
    let first = slots.partition_point(|slot| slot.hash < hash);
    let same = slots[first..].iter().take_while(|slot| slot.hash == hash);
    let found = same.into_iter().position(|slot| slot.value.as_ref().is_some_and(is_it));
    found.map(|at| first + at).ok_or(first)
}

impl<T> Trie<T> {
    /// The value with this hash for which `is_it` returns true.
    pub fn get(&self, hash: u32, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        let (mut node, mut depth) = (&self.root, 0);
        loop {
            match node {
                TrieNode::Branch(children) => node = &children[child(hash, depth)],
                TrieNode::Leaf(TrieLeaf { slots, .. }) => {
                    let at = search(slots, hash, &is_it).ok()?;
                    return slots[at].value.as_ref();
                }
            }
            depth += 1;
        }
    }

    /// All values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.marked(0).map(|(_, value)| value)
    }

    /// The values whose marks have all bits of `mark`, with their hashes, in no particular order.
    pub fn marked(&self, mark: u32) -> impl Iterator<Item = (u32, &T)> {
        let mut open = vec![std::slice::from_ref(&self.root).iter()];
        let leaves = std::iter::from_fn(move || {
            loop {
                match open.last_mut()?.next() {
                    Some(TrieNode::Branch(children)) => open.push(children.iter()),
                    Some(TrieNode::Leaf(leaf)) if leaf.marks & mark == mark => return Some(&leaf.slots),
                    Some(TrieNode::Leaf(_)) => {}
                    None => drop(open.pop()),
                }
            }
        });
        let slots = leaves.flat_map(|slots| slots.iter()).filter(move |slot| slot.mark & mark == mark);
        slots.filter_map(|slot| Some((slot.hash, slot.value.as_ref()?)))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<T: Clone> Trie<T> {
    /// The value with this hash for which `is_it` returns true, and its mark, to be changed in
    /// this copy only. If there is none, `make` creates it, with the mark 0.
    pub fn get_or_insert(
        &mut self,
        hash: u32,
        is_it: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> (&mut T, Mark<'_>) {
        let (mut node, mut depth) = (&mut self.root, 0);
        loop {
            // A full leaf becomes a branch before a value is added.
            if let TrieNode::Leaf(TrieLeaf { slots, .. }) = node
                && slots.len() == LEAF
                && depth < DEEPEST
                && search(slots, hash, &is_it).is_err()
            {
                *node = split(slots, depth);
            }
            match node {
                TrieNode::Branch(children) => node = &mut Arc::make_mut(children)[child(hash, depth)],
                TrieNode::Leaf(leaf) => {
                    let at = search(&leaf.slots, hash, &is_it).unwrap_or_else(|at| {
                        self.len += 1;
                        let value = Some(make());
                        let (before, after) = take(&mut leaf.slots, at, at);
                        *leaf = before.chain([TrieSlot { hash, mark: 0, value }]).chain(after).collect();
                        at
                    });
                    let TrieSlot { mark, value, .. } = &mut Arc::make_mut(&mut leaf.slots)[at];
                    let mark = Mark { own: mark, of_leaf: &mut leaf.marks };
                    return (value.as_mut().expect("only taken slots are empty"), mark);
                }
            }
            depth += 1;
        }
    }

    /// Removes and returns the value with this hash for which `is_it` returns true.
    pub fn remove(&mut self, hash: u32, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let removed = self.get(hash, &is_it)?.clone();
        let (mut node, mut depth) = (&mut self.root, 0);
        loop {
            match node {
                TrieNode::Branch(children) => node = &mut Arc::make_mut(children)[child(hash, depth)],
                TrieNode::Leaf(leaf) => {
                    let at = search(&leaf.slots, hash, &is_it).ok()?;
                    let (before, after) = take(&mut leaf.slots, at, at + 1);
                    *leaf = before.chain(after).collect();
                    self.len -= 1;
                    return Some(removed);
                }
            }
            depth += 1;
        }
    }
}

type Slots<T> = std::vec::IntoIter<TrieSlot<T>>;

/// The slots before `to` and the slots from `from` on, for a new leaf. They are moved if no
/// other copy shares the leaf, and cloned otherwise.
fn take<T: Clone>(slots: &mut Arc<[TrieSlot<T>]>, to: usize, from: usize) -> (Slots<T>, Slots<T>) {
    let mut all: Vec<TrieSlot<T>> = match Arc::get_mut(slots) {
        Some(own) => own.iter_mut().map(|slot| TrieSlot { value: slot.value.take(), ..*slot }).collect(),
        None => slots.to_vec(),
    };
    let after = all.split_off(from);
    all.truncate(to);
    (all.into_iter(), after.into_iter())
}

fn split<T: Clone>(slots: &mut Arc<[TrieSlot<T>]>, depth: u32) -> TrieNode<T> {
    let (all, _) = take(slots, slots.len(), slots.len());
    // The slots are sorted by hash, so the slots of each child are adjacent.
    let mut all = all.peekable();
    let children = std::array::from_fn(|at| {
        TrieNode::Leaf(std::iter::from_fn(|| all.next_if(|slot| child(slot.hash, depth) == at)).collect())
    });
    TrieNode::Branch(Arc::new(children))
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Trie { root: TrieNode::Leaf(std::iter::empty().collect()), len: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Uses few bits, so that hashes collide, both high and low ones.
    fn hash(key: u16) -> u32 {
        u32::from(key & 7) << 29 | u32::from(key >> 3 & 0xff)
    }

    #[derive(Debug, Clone)]
    enum TrieStep {
        Put(u16, u32),
        Remove(u16),
        Keep,
    }

    fn steps() -> impl Strategy<Value = Vec<TrieStep>> {
        let step = prop_oneof![
            6 => (any::<u16>(), any::<u32>()).prop_map(|(key, value)| TrieStep::Put(key & 0xfff, value)),
            3 => any::<u16>().prop_map(|key| TrieStep::Remove(key & 0xfff)),
            1 => Just(TrieStep::Keep),
        ];
        proptest::collection::vec(step, 0..2000)
    }

    fn assert_same(trie: &Trie<(u16, u32)>, map: &BTreeMap<u16, u32>) {
        assert_eq!(trie.len(), map.len());
        let all: BTreeMap<u16, u32> = trie.iter().copied().collect();
        assert_eq!(&all, map);
        let marked: BTreeMap<u16, u32> = trie.marked(5).map(|(_, value)| *value).collect();
        assert_eq!(marked, all.into_iter().filter(|(_, mark)| mark & 5 == 5).collect());
        for key in 0..0x1000 {
            let found = trie.get(hash(key), |(known, _)| *known == key).map(|(_, value)| *value);
            assert_eq!(found, map.get(&key).copied());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_holds_what_a_map_would_and_copies_stay_as_they_were(steps in steps()) {
            let (mut trie, mut map) = (Trie::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for step in steps {
                match step {
                    TrieStep::Put(key, value) => {
                        let (known, mark) =
                            trie.get_or_insert(hash(key), |(known, _)| *known == key, || (key, 0));
                        known.1 = value;
                        mark.set(value);
                        map.insert(key, value);
                    }
                    TrieStep::Remove(key) => {
                        let removed = trie.remove(hash(key), |(known, _)| *known == key);
                        prop_assert_eq!(removed.map(|(_, value)| value), map.remove(&key));
                    }
                    TrieStep::Keep if kept.len() < 4 => kept.push((trie.clone(), map.clone())),
                    TrieStep::Keep => {}
                }
            }
            assert_same(&trie, &map);
            for (trie, map) in &kept {
                assert_same(trie, map);
            }
        }
    }

    #[test]
    fn more_values_of_one_hash_than_a_leaf_holds_are_told_apart() {
        let mut trie = Trie::default();
        for value in 0..200 {
            trie.get_or_insert(7, |known| *known == value, || value);
        }
        assert_eq!(trie.len(), 200);
        assert_eq!(trie.get(7, |known| *known == 150), Some(&150));
        assert_eq!(trie.get(8, |_| true), None);
    }
}
