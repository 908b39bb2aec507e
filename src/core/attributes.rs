//! Attributes: what the operator knows of a user, of a tenant, or of everyone.

use std::fmt;

use serde::Serialize;

use super::params::{begins_name, continues_name};

/// One attribute. Its value may be a password, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The id of its row.
    pub id: i64,
    /// Its name in lower case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Attributes by name; those of one name by id. There may be many millions, so all of one user
/// are in one piece of memory: how many they are, then each one's name, id and value.
///
/// Values may be passwords, so `Debug` shows only the number of attributes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Attributes(Box<[u8]>);

/// An attribute in [`Attributes`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AttributeRef<'a> {
    /// The id of its row.
    pub id: i64,
    /// Its name in lower case.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
}

/// The name of an attribute in lower case. `None` if no template can use it.
pub fn attribute_name(name: &str) -> Option<String> {
    let mut bytes = name.bytes();
    let is_name = bytes.next().is_some_and(begins_name) && bytes.all(continues_name);
    is_name.then(|| name.to_ascii_lowercase())
}

impl Attributes {
    /// All of `attributes`.
    pub fn new(mut attributes: Vec<Attribute>) -> Attributes {
        if attributes.is_empty() {
            return Attributes::default();
        }
        attributes.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        let mut bytes = write(&attributes.len(), Vec::new());
        for Attribute { id, name, value } in &attributes {
            bytes = write(&(name, id, value), bytes);
        }
        // Copied, because an allocator may keep the larger piece of memory when a vector shrinks.
        Attributes(Box::from(bytes.as_slice()))
    }

    /// A copy without the attributes for which `is_gone` is true, and with `more`.
    pub fn with(&self, is_gone: impl Fn(i64) -> bool, more: Vec<Attribute>) -> Attributes {
        let kept = self.iter().filter(|known| !is_gone(known.id)).map(AttributeRef::to_owned);
        Attributes::new(kept.chain(more).collect())
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = AttributeRef<'_>> {
        let (_, mut rest) = self.parts();
        std::iter::from_fn(move || {
            let ((name, id, value), after) = postcard::take_from_bytes(rest).ok()?;
            rest = after;
            Some(AttributeRef { id, name, value })
        })
    }

    /// The values of a name, which is in lower case. That of the lowest id comes first.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let from = self.iter().skip_while(move |known| known.name < name);
        from.take_while(move |known| known.name == name).map(|known| known.value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts().0
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is from the row with this id.
    pub fn has(&self, id: i64) -> bool {
        self.iter().any(|known| known.id == id)
    }

    /// The piece of memory that they are in. A text that it does not contain is in no name and no
    /// value.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes that they use on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.0.len()
    }

    /// How many there are, and the bytes of them.
    fn parts(&self) -> (usize, &[u8]) {
        postcard::take_from_bytes(&self.0).unwrap_or_default()
    }
}

fn write(value: &impl Serialize, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, bytes).expect("texts and numbers can be written")
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({})", self.len())
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attribute({} id {})", self.name, self.id)
    }
}

impl AttributeRef<'_> {
    /// A copy of its own.
    pub fn to_owned(self) -> Attribute {
        Attribute { id: self.id, name: self.name.to_owned(), value: self.value.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute((id, name, value): (i64, String, String)) -> Attribute {
        Attribute { id, name, value }
    }

    #[test]
    fn none_is_nothing() {
        let none = Attributes::default();
        assert_eq!(
            (none.len(), none.heap_bytes(), none.iter().count(), none.values("x").count()),
            (0, 0, 0, 0)
        );
        assert_eq!(Attributes::new(Vec::new()), none);
    }

    proptest! {
        #[test]
        fn what_was_put_is_found_by_name_in_the_order_of_ids(
            rows in prop::collection::btree_map(any::<i64>(), ("[a-c]{0,2}", "\\PC{0,5}"), 0..12),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut rows: Vec<(i64, String, String)> =
                rows.into_iter().map(|(id, (name, value))| (id, name, value)).collect();
            let half = rows.len() / 2;
            let one = Attributes::new(rows[half..].iter().cloned().map(attribute).collect());
            let mut all = one.with(|_| false, rows[..half].iter().cloned().map(attribute).collect());
            let gone: Vec<i64> = match rows.is_empty() {
                true => Vec::new(),
                false => gone.into_iter().map(|at| rows[at.index(rows.len())].0).collect(),
            };
            all = all.with(|id| gone.contains(&id), Vec::new());
            rows.retain(|(id, ..)| !gone.contains(id));
            prop_assert_eq!(all.len(), rows.len());
            for (id, name, _) in &rows {
                prop_assert!(all.has(*id));
                let expected = rows.iter().filter(|row| row.1 == *name).map(|row| row.2.as_str());
                prop_assert!(all.values(name).eq(expected));
            }
            prop_assert!(gone.iter().all(|id| !all.has(*id)));
            prop_assert_eq!(all.values("other").count(), 0);
        }
    }
}
