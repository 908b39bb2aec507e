//! The patterns of a tenant, indexed so that a request looks only at those that may match.
//!
//! Patterns are entries like all others. The index has the same entries again, by parameter.

use std::net::IpAddr;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use hashbrown::HashMap;
use ipnet::IpNet;
use smallvec::{SmallVec, smallvec};

use super::kind::SubjectKind;
use super::{Entry, SharedEntry};
use crate::core::address;
use crate::core::names::Comparison;
use crate::core::pattern::{self, ANY};
use crate::core::subject::{PatternKind, ValueKind};

/// The patterns of a tenant, by the kind of their subjects.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns(Vec<(SubjectKind, Arc<PatternIndex>)>);

/// The patterns for one parameter.
#[derive(Debug)]
pub(super) enum PatternIndex {
    Globs(GlobIndex),
    Networks(NetworkIndex),
}

impl Patterns {
    /// No patterns.
    pub const NONE: Patterns = Patterns(Vec::new());

    /// The patterns of a kind.
    pub fn get(&self, kind: SubjectKind) -> Option<&PatternIndex> {
        let at = self.0.binary_search_by_key(&kind, |(known, _)| *known).ok()?;
        Some(&self.0[at].1)
    }

    /// Replaces the patterns of a kind.
    pub fn set(&mut self, kind: SubjectKind, index: Option<PatternIndex>) {
        let at = self.0.binary_search_by_key(&kind, |(known, _)| *known);
        match (at, index) {
            (Ok(at), Some(index)) => self.0[at].1 = Arc::new(index),
            (Err(at), Some(index)) => self.0.insert(at, (kind, Arc::new(index))),
            (Ok(at), None) => drop(self.0.remove(at)),
            (Err(_), None) => {}
        }
    }

    /// All kinds and their patterns.
    pub fn iter(&self) -> impl Iterator<Item = (SubjectKind, &PatternIndex)> {
        self.0.iter().map(|(kind, index)| (*kind, &**index))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Memory in bytes.
    pub fn heap_bytes(&self) -> usize {
        let of = |index: &PatternIndex| match index {
            PatternIndex::Globs(globs) => globs.heap_bytes(),
            PatternIndex::Networks(networks) => networks.0.len() * size_of::<IndexedNetwork>(),
        };
        let own = size_of::<(SubjectKind, Arc<PatternIndex>)>() + size_of::<PatternIndex>();
        self.0.iter().map(|(_, index)| own + of(index)).sum()
    }
}

impl PatternIndex {
    /// Indexes patterns. `None` if there are none.
    pub fn new(kind: PatternKind, mut entries: Vec<SharedEntry>) -> Option<PatternIndex> {
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        (!entries.is_empty()).then(|| match kind {
            PatternKind::Glob => PatternIndex::Globs(GlobIndex::new(entries)),
            PatternKind::Network => PatternIndex::Networks(NetworkIndex::new(entries)),
        })
    }

    pub fn entries(&self) -> impl Iterator<Item = &SharedEntry> {
        let (globs, networks): (&[SharedEntry], &[IndexedNetwork]) = match self {
            PatternIndex::Globs(globs) => (&globs.entries, &[]),
            PatternIndex::Networks(networks) => (&[], &networks.0),
        };
        globs.iter().chain(networks.iter().map(|network| &network.entry))
    }

    /// Calls `take` for each pattern that matches a value, sometimes more than once.
    pub fn find<'p>(
        &'p self,
        value: &str,
        kind: ValueKind,
        comparison: Comparison,
        take: &mut impl FnMut(&'p Entry),
    ) {
        match self {
            PatternIndex::Globs(_) if value.len() > pattern::LONGEST_VALUE => {}
            PatternIndex::Globs(globs) => {
                kind.each_form(value, comparison, |form| globs.find(form, take));
            }
            PatternIndex::Networks(networks) => {
                if let Some(address) = address::ip(value.trim_end_matches(' ').as_bytes()) {
                    networks.find(address, take);
                }
            }
        }
    }
}

/// Patterns with wildcards. A search for a literal of each finds those that may match.
#[derive(Debug)]
pub(super) struct GlobIndex {
    /// First the patterns with literals, in the order in which the searcher has them.
    entries: Box<[SharedEntry]>,
    /// `None` if there are so few patterns that comparing with all of them is faster.
    searcher: Option<AhoCorasick>,
}

/// So many patterns are simply all compared.
const FEW: usize = 8;

impl GlobIndex {
    fn new(entries: Vec<SharedEntry>) -> GlobIndex {
        if entries.len() <= FEW {
            return GlobIndex { entries: entries.into(), searcher: None };
        }
        let mut patterns_with: HashMap<&[u8], usize> = HashMap::new();
        for literal in entries.iter().flat_map(|entry| pattern::literals(&entry.name)) {
            *patterns_with.entry(literal).or_default() += 1;
        }
        // The literal that tells most: few other patterns have it, and it is long.
        let best = |entry: &SharedEntry| {
            let literals = pattern::literals(&entry.name);
            let best = literals.min_by_key(|literal| (patterns_with[literal], usize::MAX - literal.len()));
            best.map(<[u8]>::to_vec)
        };
        let (mut with, mut literals, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &entries {
            match best(entry) {
                Some(literal) => {
                    with.push(entry.clone());
                    literals.push(literal);
                }
                None => without.push(entry.clone()),
            }
        }
        let kind = Some(AhoCorasickKind::ContiguousNFA);
        // It fails only beyond two billion bytes of patterns; then all are compared.
        let searcher = AhoCorasick::builder().kind(kind).prefilter(false).build(literals).ok();
        with.append(&mut without);
        GlobIndex { entries: with.into(), searcher }
    }

    fn find<'p>(&'p self, value: &[u8], take: &mut impl FnMut(&'p Entry)) {
        let searched = match &self.searcher {
            Some(searcher) => {
                self.search(searcher, value, take);
                searcher.patterns_len()
            }
            None => 0,
        };
        let rest = self.entries[searched..].iter();
        rest.filter(|entry| pattern::matches(&entry.name, value)).for_each(|entry| take(entry));
    }

    fn search<'p>(&'p self, searcher: &AhoCorasick, value: &[u8], take: &mut impl FnMut(&'p Entry)) {
        let mut left = searcher.patterns_len();
        let mut seen: SmallVec<[u64; 16]> = smallvec![0; left.div_ceil(64)];
        for hit in searcher.find_overlapping_iter(value) {
            let at = hit.pattern().as_usize();
            let (word, bit) = (&mut seen[at / 64], 1 << (at % 64));
            if *word & bit != 0 {
                continue;
            }
            *word |= bit;
            let entry = &self.entries[at];
            let glob = &*entry.name;
            let is_certain = glob.len() == hit.len() + 2 && [glob[0], glob[glob.len() - 1]] == [ANY; 2];
            if is_certain || pattern::matches(glob, value) {
                take(entry);
            }
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        self.entries.len() * size_of::<SharedEntry>()
            + self.searcher.as_ref().map_or(0, AhoCorasick::memory_usage)
    }
}

/// Networks, sorted by their first address, and those of equal first address from the widest to
/// the narrowest. Two networks are either disjoint or one is inside the other.
#[derive(Debug)]
pub(super) struct NetworkIndex(Box<[IndexedNetwork]>);

#[derive(Debug)]
struct IndexedNetwork {
    bits: AddressBits,
    len: u8,
    /// The place of the narrowest network around this one.
    around: Option<u32>,
    entry: SharedEntry,
}

/// An address: whether it is IPv6, and its bits, from the highest down.
type AddressBits = (bool, u128);

fn bits(address: IpAddr) -> AddressBits {
    match address {
        IpAddr::V4(address) => (false, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (true, address.to_bits()),
    }
}

impl IndexedNetwork {
    fn contains(&self, address: AddressBits) -> bool {
        let differing = self.bits.1 ^ address.1;
        self.bits.0 == address.0 && differing.checked_shr(128 - u32::from(self.len)).unwrap_or(0) == 0
    }
}

impl NetworkIndex {
    fn new(entries: Vec<SharedEntry>) -> NetworkIndex {
        let parse = |entry: &SharedEntry| address::network(&entry.name);
        let parsed = entries.into_iter().filter_map(|entry| Some((parse(&entry)?, entry)));
        let indexed = |(network, entry): (IpNet, SharedEntry)| IndexedNetwork {
            bits: bits(network.addr()),
            len: network.prefix_len(),
            around: None,
            entry,
        };
        let mut networks: Vec<IndexedNetwork> = parsed.map(indexed).collect();
        networks.sort_unstable_by_key(|network| (network.bits, network.len));
        for at in 1..networks.len() {
            let mut around = Some(at as u32 - 1);
            while let Some(outer) = around.map(|around| &networks[around as usize]) {
                if outer.contains(networks[at].bits) {
                    break;
                }
                around = outer.around;
            }
            networks[at].around = around;
        }
        NetworkIndex(networks.into())
    }

    fn find<'p>(&'p self, address: IpAddr, take: &mut impl FnMut(&'p Entry)) {
        let address = bits(address);
        let after = self.0.partition_point(|network| network.bits <= address);
        let mut next = after.checked_sub(1);
        while let Some(network) = next.map(|at| &self.0[at]) {
            if network.contains(address) {
                take(&network.entry);
            }
            next = network.around.map(|around| around as usize);
        }
    }
}
