use proptest::prelude::*;

use super::*;

fn glob(text: &str) -> Folded {
    match read(text.as_bytes()) {
        Written::Exact(text) | Written::Glob(text) => text,
    }
}

/// The same as [`matches`], written as the definition says.
fn matches_by_definition(pattern: &[char], value: &[char]) -> bool {
    match pattern {
        [] => value.is_empty(),
        ['\\', special @ ('*' | '?' | '\\'), rest @ ..] => {
            value.first() == Some(special) && matches_by_definition(rest, &value[1..])
        }
        ['*', rest @ ..] => (0..=value.len()).any(|at| matches_by_definition(rest, &value[at..])),
        ['?', rest @ ..] => !value.is_empty() && matches_by_definition(rest, &value[1..]),
        [c, rest @ ..] => value.first() == Some(c) && matches_by_definition(rest, &value[1..]),
    }
}

#[test]
fn wildcards_are_read_once_and_escapes_are_the_characters() {
    for (text, expected) in [
        ("windows", Written::Exact(Folded::from_slice(b"windows"))),
        (r"a\*b\?c\\d\e", Written::Exact(Folded::from_slice(br"a*b?c\d\e"))),
        ("a\\", Written::Exact(Folded::from_slice(b"a\\"))),
        ("a*", Written::Glob(Folded::from_slice(&[b'a', ANY]))),
        ("*?**?", Written::Glob(Folded::from_slice(&[ONE, ONE, ANY]))),
        (r"\\*", Written::Glob(Folded::from_slice(&[b'\\', ANY]))),
        (r"\\\*", Written::Exact(Folded::from_slice(br"\*"))),
    ] {
        assert_eq!(read(text.as_bytes()), expected, "{text}");
    }
    assert_eq!(shown(&glob(r"a\*b*c?\\")), r"a\*b*c?\\");
}

#[test]
fn long_values_take_no_longer_than_their_length_times_the_patterns() {
    let value = vec![b'a'; 16 * 1024];
    let hostile = "*a".repeat(100) + "*b";
    assert!(!matches(&glob(&hostile), &value));
    assert!(matches(&glob(&"*a?".repeat(60)), &value));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_pattern_matches_what_its_definition_says(pattern in r"[ab*?\\é]{0,9}", value in r"[ab*?\\é]{0,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let expected = !value.is_empty() && matches_by_definition(&chars(&pattern), &chars(&value));
        prop_assert_eq!(matches(&glob(&pattern), value.as_bytes()), expected);
        prop_assert_eq!(glob(&shown(&glob(&pattern))), glob(&pattern));
        if expected {
            for literal in literals(&glob(&pattern)) {
                prop_assert!(value.as_bytes().windows(literal.len()).any(|window| window == literal));
            }
        }
    }

    #[test]
    fn two_patterns_meet_if_a_value_matches_both(one in "[ab*?]{1,5}", other in "[ab?]{1,5}") {
        let (one, other) = (glob(&one), glob(&other));
        // All texts that match the other one.
        let mut texts = vec![Vec::new()];
        for byte in &other {
            let chars: &[u8] = if *byte == ONE { b"ab" } else { &[*byte] };
            texts = texts.iter().flat_map(|text| chars.iter().map(|c| [text, &[*c][..]].concat())).collect();
        }
        let meets = texts.iter().any(|text| matches(&one, text));
        prop_assert_eq!(can_both_match(&one, &other), meets);
        prop_assert_eq!(can_both_match(&other, &one), meets);
    }

    #[test]
    fn two_patterns_meet_if_both_match_some_text(
        one in "[ab*?]{1,5}", other in "[ab*?]{1,5}", text in "[ab]{1,6}",
    ) {
        let (one, other) = (glob(&one), glob(&other));
        let meets = matches(&one, text.as_bytes()) && matches(&other, text.as_bytes());
        prop_assert!(!meets || can_both_match(&one, &other));
    }
}
