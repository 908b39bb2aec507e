//! Classifies names of parameters: known names, and names that are probably misspelled.

use crate::core::conventions::Conventions;
use crate::core::params::Known;

/// Other parameters that clients can fill by themselves.
const OTHERS: [&str; 2] = ["home.location", "home.name"];
/// Names that the server fills.
const SERVERS: [&str; 3] = ["null", "system", "default"];

/// How a name relates to the known names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Known,
    /// It is so similar to this known name that the known one was probably intended.
    Near(String),
    /// An alias of this name, for requests and subjects, but not for templates.
    Alias(&'static str),
    /// The part before the dot of names that need braces.
    Group,
    /// The server fills it; clients cannot.
    Servers,
    /// It may be a name that the operator put into the client's URL.
    Own,
}

/// First parts of names that have a dot.
const GROUPS: [&str; 3] = ["env", "home", "system"];

fn all<'o>(options: &'o Conventions) -> impl Iterator<Item = &'o str> {
    let aliases = options.aliases.iter().map(|(alias, _)| alias.as_str());
    let known = Known::ALL.into_iter().map(|known| -> &'o str { known.name() });
    known.chain(aliases).chain(OTHERS)
}

pub(super) fn standing(name: &str, options: &Conventions) -> Standing {
    let alias = options.aliases.iter().find(|(alias, _)| alias == name);
    if let Some((_, known)) = alias.filter(|_| Known::from_name(name).is_none()) {
        return Standing::Alias(known.name());
    }
    if all(options).any(|known| known == name) || name.starts_with("env.") || name.starts_with("system.") {
        return Standing::Known;
    }
    if SERVERS.contains(&name) {
        return Standing::Servers;
    }
    if GROUPS.contains(&name) {
        return Standing::Group;
    }
    let folded = name.to_ascii_lowercase();
    let distance = |known: &str| strsim::osa_distance(&folded, known);
    // A short name with one typo is already another word; a long name may have two.
    let is_near = |known: &str, distance: usize| match known.len() {
        ..4 => distance == 0,
        4..6 => distance <= 1,
        _ => distance <= 2,
    };
    let candidates = all(options).chain(SERVERS).map(|known| (distance(known), known.to_owned()));
    match candidates.filter(|(distance, known)| is_near(known, *distance)).min() {
        Some((_, known)) => Standing::Near(known),
        None => Standing::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slip_is_told_from_a_name_of_the_operators_own() {
        let options = Conventions::default();
        let near = |name: &str| Standing::Near(name.into());
        for (name, expected) in [
            ("username", Standing::Known),
            ("user", Standing::Alias("username")),
            ("env", Standing::Group),
            ("default", Standing::Servers),
            ("env.HOME", Standing::Known),
            ("system.user.dir", Standing::Known),
            ("home.location", Standing::Known),
            ("usernmae", near("username")),
            ("Username", near("username")),
            ("passwrd", near("password")),
            ("osnam", near("osname")),
            ("hwadr", near("hwaddr")),
            ("nul", near("null")),
            ("branch", Standing::Own),
            ("custom", Standing::Own),
            ("extension", Standing::Own),
            ("hat", Standing::Own),
        ] {
            assert_eq!(standing(name, &options), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn two_neighbours_that_changed_places_are_a_slip(at in 0usize..7) {
            let mut name = b"hostname".to_vec();
            name.swap(at, at + 1);
            let name = String::from_utf8(name).unwrap();
            prop_assert_eq!(standing(&name, &Conventions::default()), Standing::Near("hostname".into()));
        }
    }
}
