//! Finds users by part of what is known of them, for operators.
//!
//! A search walks over all users, because an index of their names and attributes would cost much
//! memory. [Marks](super::marks) let it skip most of them. Most of its time, it would wait for
//! memory. So it takes the entries in batches, and first touches each part of
//! all of them: the processor fetches many parts at once if none depends on the one before.

use std::hint::black_box;

use hashbrown::HashSet;
use memchr::memmem::{self, Finder};

use super::kind::SubjectKind;
use super::marks::{KnownUser, Pairs};
use super::{Entry, Snapshot};
use crate::core::attributes::Attributes;
use crate::core::names::{Comparison, Folded};
use crate::core::secret::NameHint;

/// The most tenants in which a bare username is looked up before the walk.
const TENANTS_FIRST: usize = 20_000;

/// A user, with the names as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundUser {
    /// The tenant.
    pub domain: String,
    /// The name.
    pub username: String,
    /// The attribute of which a part was looked for, with its value, if a name did not match.
    pub attribute: Option<(String, String)>,
}

/// The result of a search.
#[derive(Debug, Default)]
pub struct FoundUsers {
    /// Users with exactly this name come first.
    pub users: Vec<FoundUser>,
    /// Whether there may be more.
    pub are_more: bool,
}

/// A word of a search. All words must match.
struct Word {
    text: Folded,
    finder: Finder<'static>,
    /// Whether values are searched in lower case before they are folded one by one.
    is_plain: bool,
    /// The two sides of an `@`.
    sides: Option<(Folded, Folded)>,
    /// The numbers of the tenants whose domains match: all of the word, or its right side.
    tenants: HashSet<u32>,
    /// The pairs that all users have who match.
    pairs: Pairs,
}

/// How many entries are looked at together.
const BATCH: usize = 64;

/// Why a word matches.
enum Match<'e> {
    Name,
    Attribute(&'e str, &'e str),
}

impl Word {
    fn new(snapshot: &Snapshot, typed: &str) -> Word {
        let text = snapshot.fold(typed);
        let fold = |side: &str| snapshot.fold(side);
        let sides = typed.rsplit_once('@').map(|(name, domain)| (fold(name), fold(domain)));
        let finder = Finder::new(&text).into_owned();
        let is_it = |domain: &[u8]| match &sides {
            Some((_, right)) => domain.starts_with(right),
            None => finder.find(domain).is_some(),
        };
        let tenants = snapshot.domains().filter(|(_, domain)| is_it(domain)).map(|(number, _)| number);
        let tenants = tenants.collect();
        let is_plain = snapshot.comparison == Comparison::Folded && text.is_ascii();
        let pairs = match &sides {
            Some((left, right)) => Pairs::of(left).union(Pairs::of(right)),
            None => Pairs::of(&text),
        };
        Word { text, finder, is_plain, sides, tenants, pairs }
    }

    /// Whether attributes may contain the word. `lower` is room for a copy of them.
    fn may_be_in(&self, attributes: &[u8], lower: &mut Vec<u8>) -> bool {
        /// The only letters outside of ASCII that fold to letters of ASCII: `K` and `s`.
        const FOLDED: [(u8, &str); 2] = [(b'k', "\u{212a}"), (b's', "\u{17f}")];
        if !self.is_plain {
            return true;
        }
        lower.clear();
        lower.extend_from_slice(attributes);
        lower.make_ascii_lowercase();
        let has = |(letter, other): (u8, &str)| {
            self.text.contains(&letter) && memmem::find(attributes, other.as_bytes()).is_some()
        };
        self.finder.find(lower).is_some() || FOLDED.into_iter().any(has)
    }

    fn matches<'e>(
        &self,
        entry: &'e Entry,
        comparison: Comparison,
        lower: &mut Vec<u8>,
    ) -> Option<Match<'e>> {
        let is_in_tenant = !self.tenants.is_empty() && self.tenants.contains(&entry.tenant);
        let is_named = match &self.sides {
            Some((left, _)) => is_in_tenant && entry.name.ends_with(left),
            None => is_in_tenant || self.finder.find(&entry.name).is_some(),
        };
        if is_named {
            return Some(Match::Name);
        }
        let has = |value: &str| self.finder.find(&comparison.fold(value)).is_some();
        if !entry.known().any(|attributes| self.may_be_in(attributes.bytes(), lower)) {
            return None;
        }
        // Otherwise a search would tell whether a secret contains a text.
        let mut open =
            known(entry).filter(|(name, value)| has(value) && !NameHint::of(name).hides_data(value));
        open.next().map(|(name, value)| Match::Attribute(name, value))
    }
}

/// The attributes of a user, by name.
fn known(entry: &Entry) -> impl Iterator<Item = (&str, &str)> {
    entry.known().flat_map(Attributes::iter).map(|known| (known.name, known.value))
}

/// Touches the parts of these entries that a search looks at.
fn fetch(entries: &[&Entry]) {
    let names = entries.iter().map(|entry| usize::from(entry.name.first().copied().unwrap_or_default()));
    black_box(names.sum::<usize>());
    let lengths = entries.iter().map(|entry| entry.attributes().map_or(0, |known| known.bytes().len()));
    black_box(lengths.sum::<usize>());
    let bytes = entries.iter().flat_map(|entry| entry.attributes()?.bytes().first());
    black_box(bytes.map(|byte| usize::from(*byte)).sum::<usize>());
}

impl Snapshot {
    /// The users with all words of `typed` in their name, domain or attributes, at most `most`.
    /// Secret attributes are not searched. `only` are the folded domains to search, `None` for all.
    pub fn search(&self, typed: &str, only: Option<&[String]>, most: usize) -> FoundUsers {
        let words: Vec<Word> = typed.split_whitespace().map(|word| Word::new(self, word)).collect();
        let only: Option<Vec<u32>> =
            only.map(|only| only.iter().filter_map(|domain| self.tenant_number(domain.as_bytes())).collect());
        let is_seen = |entry: &Entry| {
            !entry.users.is_empty() && only.as_ref().is_none_or(|only| only.contains(&entry.tenant))
        };
        let mut found: Vec<(&Entry, Option<(String, String)>)> = Vec::new();
        let exact = self.exactly(&words);
        let is_exact = |entry: &Entry| exact.iter().any(|exact| std::ptr::eq(*exact, entry));
        let pairs = words.iter().map(|word| word.pairs).fold(Pairs::default(), Pairs::union);
        let (mut rest, mut lower, mut are_more) = (self.with(pairs), Vec::new(), false);
        let mut batch: Vec<&Entry> = exact.clone();
        batch.retain(|entry| is_seen(entry));
        'all: loop {
            for entry in batch.drain(..) {
                let Some(attribute) = matched(&words, entry, self.comparison, &mut lower) else { continue };
                if found.len() == most {
                    are_more = true;
                    break 'all;
                }
                found.push((entry, attribute));
            }
            let next: Vec<&Entry> = rest.by_ref().take(BATCH).collect();
            if next.is_empty() {
                break;
            }
            let is_user = |entry: &&Entry| entry.kind == SubjectKind::WORD && is_seen(entry);
            batch.extend(next.into_iter().filter(is_user).filter(|entry| !is_exact(entry)));
            fetch(&batch);
        }
        let first = exact.len().min(found.len());
        let mut users: Vec<FoundUser> = self.named_users(found);
        users[first..]
            .sort_by(|one, other| (&one.username, &one.domain).cmp(&(&other.username, &other.domain)));
        FoundUsers { users, are_more }
    }

    /// The entries that may have all these pairs, and some that do not.
    fn with(&self, pairs: Pairs) -> impl Iterator<Item = &Entry> {
        let known = self.known.marked(pairs.first()).filter(move |(_, known)| known.has(pairs));
        let entry = |(place, known): (u32, &KnownUser)| self.names.get(place, |entry| known.is(entry));
        // Without pairs, the first of these finds all users.
        let known = known.filter_map(entry).filter(move |_| !pairs.is_empty());
        self.names.marked(pairs.narrow()).map(|(_, entry)| entry).chain(known).map(|entry| &**entry)
    }

    /// The entries that have exactly the searched name.
    fn exactly(&self, words: &[Word]) -> Vec<&Entry> {
        let [word] = words else { return Vec::new() };
        let find = |number, name: &Folded| self.entry(number, SubjectKind::WORD, name);
        let of_all = self.domains().take(TENANTS_FIRST).filter_map(|(number, _)| find(number, &word.text));
        let found = match &word.sides {
            Some((left, right)) => self.tenant_number(right).and_then(|number| find(number, left)),
            None => None,
        };
        let found = found.into_iter().chain(of_all);
        found.filter(|entry| !entry.users.is_empty()).collect()
    }

    /// Adds the stored names.
    fn named_users(&self, found: Vec<(&Entry, Option<(String, String)>)>) -> Vec<FoundUser> {
        let wanted: HashSet<u32> = found.iter().map(|(entry, _)| entry.tenant).collect();
        let domains: hashbrown::HashMap<u32, &[u8]> =
            self.domains().filter(|(number, _)| wanted.contains(number)).collect();
        let named = found.into_iter().map(|(entry, attribute)| {
            let details = entry.users.first().and_then(|user| entry.details(user.id));
            let stored = |stored: Option<&str>, folded: &[u8]| match stored {
                Some(stored) => stored.to_owned(),
                None => String::from_utf8_lossy(folded).into_owned(),
            };
            let domain = domains.get(&entry.tenant).copied().unwrap_or_default();
            FoundUser {
                domain: stored(details.and_then(|details| details.domain.as_deref()), domain),
                username: stored(details.and_then(|details| details.username.as_deref()), &entry.name),
                attribute,
            }
        });
        named.collect()
    }
}

/// `None` if a word does not match. Otherwise the attribute that the last one needed, if any.
fn matched(
    words: &[Word],
    entry: &Entry,
    comparison: Comparison,
    lower: &mut Vec<u8>,
) -> Option<Option<(String, String)>> {
    let mut attribute = None;
    for word in words {
        if let Match::Attribute(name, value) = word.matches(entry, comparison, lower)? {
            attribute = Some((name, value));
        }
    }
    Some(attribute.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection;
    use proptest::prelude::*;

    use crate::core::conventions::Conventions;
    use crate::core::model::{AttributeRow, Row, Table, UserRow};
    use crate::core::names::Comparison;
    use crate::snapshot::{Draft, Writer};

    fn found(typed: &str, only: Option<&[&str]>, most: usize) -> (Vec<String>, bool) {
        let user = |id, name: &str, domain: &str| {
            Row::User(UserRow::from_cells(id, [name.into(), domain.into(), "pw".into()]))
        };
        let attribute = |id, domain: &str, user: &str, name: &str, value: &str| {
            Row::Attribute(AttributeRow::from_cells(
                id,
                [domain.into(), user.into(), name.into(), value.into()],
            ))
        };
        let rows = [
            user(1, "Alice", "a.org"),
            user(2, "alice", "b.org"),
            user(3, "malice", "b.org"),
            user(4, "bob", "a.org"),
            user(5, "Éric", "a.org"),
            attribute(1, "a.org", "bob", "display_name", "Bob ALISON"),
            attribute(2, "a.org", "bob", "sip_password", "kanarienvogel"),
            attribute(3, "a.org", "nobody", "display_name", "alison"),
            attribute(4, "a.org", "Éric", "unit", "300 \u{212a}elvin, long \u{17f}"),
        ];
        let (snapshot, _) = Writer::build(Conventions::default(), rows);
        let only: Option<Vec<String>> = only.map(|only| only.iter().map(|one| (*one).to_owned()).collect());
        let found = snapshot.search(typed, only.as_deref(), most);
        let named = found.users.iter().map(|user| format!("{}@{}", user.username, user.domain));
        (named.collect(), found.are_more)
    }

    #[test]
    fn all_words_must_match_and_exact_names_come_first() {
        for (typed, expected) in [
            ("ALICE", vec!["Alice@a.org", "alice@b.org", "malice@b.org"]),
            ("ali b.org", vec!["alice@b.org", "malice@b.org"]),
            ("ice@b", vec!["alice@b.org", "malice@b.org"]),
            ("alice@B.org", vec!["alice@b.org", "malice@b.org"]),
            ("éRI", vec!["Éric@a.org"]),
            ("alison", vec!["bob@a.org"]),
            ("alison a.org", vec!["bob@a.org"]),
            ("alison b.org", vec![]),
            ("kanarien", vec![]),
            ("0 KELV", vec!["Éric@a.org"]),
            ("longs", vec![]),
            ("long s", vec!["Éric@a.org"]),
            ("nobody", vec![]),
        ] {
            let (mut named, are_more) = found(typed, None, 50);
            if typed == "ALICE" {
                named[..2].sort();
            }
            assert_eq!(
                (named, are_more),
                (expected.into_iter().map(String::from).collect(), false),
                "{typed}"
            );
        }
    }

    proptest! {
        /// Compares with what a search without marks would find.
        #[test]
        fn no_user_is_skipped_who_has_all_words(
            names in collection::btree_set("[a-dKé]{1,6}", 1..20),
            forms in collection::vec((any::<[bool; 3]>(), "[a-dKé ]{0,8}", "[a-d]{0,3}"), 20),
            typed in "[a-dkÉ@.]{1,4}( [a-d]{1,3})?",
        ) {
            let mut writer = Writer::new(Conventions::default());
            let mut draft = writer.draft();
            let put = |draft: &mut Draft<'_>, id: usize, name: &str, domain: &str, value: &str| {
                let user = [name.into(), domain.into(), "pw".into()];
                draft.put(&Row::User(UserRow::from_cells(id as i64, user)));
                let attribute = [domain.into(), name.into(), "unit".into(), value.into()];
                draft.put(&Row::Attribute(AttributeRow::from_cells(id as i64, attribute)));
            };
            let mut users: Vec<(String, &str, &str)> = Vec::new();
            for (id, (name, ([is_b, is_moved, is_known], value, old))) in names.into_iter().zip(&forms).enumerate() {
                let domain = if *is_b { "b.cd" } else { "ab.org" };
                // Some rows first belong to somebody else.
                let first = if *is_moved { format!("x{id}") } else { name.clone() };
                put(&mut draft, id, &first, domain, old);
                users.push((name, domain, if *is_known { value } else { "" }));
            }
            draft.commit();
            let mut draft = writer.draft();
            for (id, (name, domain, value)) in users.iter().enumerate() {
                put(&mut draft, id, name, domain, value);
                if !forms[id].0[2] {
                    draft.remove(Table::UserAttribute, id as i64);
                }
            }
            draft.commit();
            let has = |(name, domain, value): &&(String, &str, &str)| typed.split_whitespace().all(|word| {
                let [name, value, word] = [name, *value, word].map(|text| Comparison::Folded.fold_text(text));
                let is_named = match word.rsplit_once('@') {
                    Some((left, right)) => name.ends_with(left) && domain.starts_with(right),
                    None => name.contains(&word) || domain.contains(&word),
                };
                is_named || value.contains(&word)
            });
            let expected: BTreeSet<String> =
                users.iter().filter(has).map(|(name, domain, _)| format!("{name}@{domain}")).collect();
            let found = writer.current().search(&typed, None, 50).users;
            let found: Vec<_> = found.iter().map(|user| format!("{}@{}", user.username, user.domain)).collect();
            prop_assert_eq!(found.len(), expected.len(), "{:?}", found);
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn a_search_is_bounded_and_stays_within_tenants() {
        let (named, are_more) = found("", None, 2);
        assert_eq!((named.len(), are_more), (2, true));
        let (named, are_more) = found("", None, 5);
        assert_eq!((named.len(), are_more), (5, false));
        assert_eq!(found("alice", Some(&["a.org", "unknown"]), 50).0, ["Alice@a.org"]);
        assert!(found("alice", Some(&[]), 50).0.is_empty());
    }
}
