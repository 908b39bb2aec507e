//! How names of tenants, users and subjects are compared.

use smallvec::SmallVec;

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Comparison {
    /// Ignore case (Unicode simple folding) and trailing spaces, as MySQL's default collation
    /// does.
    #[default]
    Folded,
    /// Byte for byte (`--case-sensitive`).
    Exact,
}

/// A name in a form in which names that count as equal have equal bytes.
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

    /// The same as text, for comparisons with names in that form elsewhere.
    pub fn fold_text(self, name: &str) -> String {
        String::from_utf8_lossy(&self.fold(name)).into_owned()
    }
}

/// Whether `domain` is what other programs write for all tenants. Here it would be a tenant to
/// which nobody belongs; all tenants are written as an empty domain.
pub fn is_asterisk(domain: &str) -> bool {
    domain.trim() == "*"
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
