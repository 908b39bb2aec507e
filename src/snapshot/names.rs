//! How a snapshot stores and finds names.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use super::kind::SubjectKind;

/// A stored name. Up to 16 bytes, which is enough for most names, are stored inline, so that
/// comparing a name does not follow a pointer.
pub(super) type StoredName = SmallVec<[u8; 16]>;

/// The hash under which a [`Trie`] stores a name of a tenant, with a key that only this
/// process knows. It is never 0.
///
/// [`Trie`]: super::trie::Trie
#[inline]
pub(super) fn place(tenant: u32, kind: SubjectKind, name: &[u8]) -> u32 {
    ((hash(tenant, kind, name) >> 32) as u32).max(1)
}

/// The other half of the hash, which tells names at one [`place`] apart.
pub(super) fn rest(tenant: u32, kind: SubjectKind, name: &[u8]) -> NonZeroU32 {
    NonZeroU32::MIN | hash(tenant, kind, name) as u32
}

#[inline]
fn hash(tenant: u32, kind: SubjectKind, name: &[u8]) -> u64 {
    static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    KEYED.hash_one((tenant, kind, name))
}

/// The key of a subject in the index.
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

    /// [`place`]
    pub(super) fn hash(&self) -> u32 {
        place(self.tenant, self.kind, &self.name)
    }
}
