//! Names as they are compared: tenants, users and subjects.

use smallvec::SmallVec;

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Comparison {
    /// Case (Unicode simple folding) and trailing spaces do not count, as on
    /// MySQL's default collation.
    #[default]
    Folded,
    /// Byte for byte (`--case-sensitive`).
    Exact,
}

/// A name in the form in which equal names are equal bytes.
pub type Folded = SmallVec<[u8; 64]>;

impl Comparison {
    /// Brings `name` into the form in which it is stored and looked up.
    pub fn fold(self, name: &str) -> Folded {
        match self {
            Comparison::Exact => SmallVec::from_slice(name.as_bytes()),
            Comparison::Folded => {
                let name = name.trim_end_matches(' ');
                let mut folded = SmallVec::from_slice(name.as_bytes());
                if name.is_ascii() {
                    folded.make_ascii_lowercase();
                    return folded;
                }
                folded.clear();
                for c in name.chars() {
                    let c = unicode_case_mapping::case_folded(c)
                        .and_then(|folded| char::from_u32(folded.get()))
                        .unwrap_or(c);
                    folded.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                folded
            }
        }
    }
}

/// A name as it is stored: beside its value where it is no longer than most,
/// so that finding it is one step less.
type Stored = SmallVec<[u8; 24]>;

/// A map by [`Folded`] name.
#[derive(Debug, Clone)]
pub struct NameMap<V>(hashbrown::HashMap<Stored, V>);

impl<V> NameMap<V> {
    /// The value of a name.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.0.get(name)
    }

    /// The value of a name, to change.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.0.get_mut(name)
    }

    /// The value of a name, made if there is none.
    pub fn get_or_default(&mut self, name: &[u8]) -> &mut V
    where
        V: Default,
    {
        // Looked up first: the entry API would allocate the name each time.
        if !self.0.contains_key(name) {
            self.insert(name, V::default());
        }
        self.get_mut(name).expect("it was just put there")
    }

    /// Puts a value, and gives back the one that was there.
    pub fn insert(&mut self, name: &[u8], value: V) -> Option<V> {
        self.0.insert(Stored::from_slice(name), value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        self.0.remove(name)
    }

    /// Every name with its value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value))
    }

    /// Every value, to change, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.values_mut()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of memory behind it, what the values point to left out.
    pub fn heap_bytes(&self) -> usize {
        let spilled = self.0.keys().filter(|name| name.spilled());
        self.0.allocation_size() + spilled.map(Stored::capacity).sum::<usize>()
    }
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        NameMap(hashbrown::HashMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_and_trailing_spaces_do_not_count_unless_told() {
        for (one, other) in [
            ("Alice", "alice"),
            ("alice  ", "alice"),
            ("ÉRIC", "éric"),
            ("ΣΑΣ", "σας"),
            ("ẞ", "ß"),
            ("LINUX ", "linux"),
        ] {
            assert_eq!(Comparison::Folded.fold(one), Comparison::Folded.fold(other));
            assert_ne!(Comparison::Exact.fold(one), Comparison::Exact.fold(other));
        }
        for (one, other) in [(" alice", "alice"), ("ss", "ß"), ("e", "é"), ("alice\t", "alice")] {
            assert_ne!(Comparison::Folded.fold(one), Comparison::Folded.fold(other));
        }
    }

    proptest! {
        #[test]
        fn folding_is_done_once_and_for_all(name in any::<String>()) {
            let folded = Comparison::Folded.fold(&name);
            let text = std::str::from_utf8(&folded).unwrap();
            prop_assert_eq!(Comparison::Folded.fold(text), folded);
        }
    }
}
