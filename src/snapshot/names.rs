//! Names as a snapshot stores and finds them.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use super::kind::SubjectKind;

/// A name as it is stored: beside its value where it is no longer than most,
/// so that comparing it is one step less.
pub(super) type StoredName = SmallVec<[u8; 16]>;

/// Where a name of a tenant is in a [`Trie`], under a key that only this process
/// knows. Its upper half is never 0.
///
/// [`Trie`]: super::trie::Trie
pub(super) fn place(tenant: u32, kind: SubjectKind, name: &[u8]) -> u64 {
    static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let hash = KEYED.hash_one((tenant, kind, name));
    if prefix(hash) == 0 { hash | 1 << 32 } else { hash }
}

/// The upper half of a [`place`], which is enough to find it again.
pub(super) fn prefix(place: u64) -> u32 {
    (place >> 32) as u32
}

/// Where a subject's rules are in the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct IndexKey {
    pub(super) tenant: u32,
    pub(super) kind: SubjectKind,
    pub(super) name: StoredName,
}

impl IndexKey {
    pub(super) fn new(tenant: u32, kind: SubjectKind, name: &[u8]) -> IndexKey {
        IndexKey { tenant, kind, name: StoredName::from_slice(name) }
    }

    /// See [`place`].
    pub(super) fn hash(&self) -> u64 {
        place(self.tenant, self.kind, &self.name)
    }
}
