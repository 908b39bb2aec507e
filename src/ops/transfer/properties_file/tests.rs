use super::*;
use proptest::prelude::*;

/// The bytes as Java reads them.
fn parse(bytes: &[u8]) -> Result<(Vec<FileProperty>, Doubles), FileError> {
    super::parse(&bytes.iter().copied().map(char::from).collect::<String>())
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    let (properties, _) = parse(text).expect("properties");
    properties.into_iter().map(|property| (property.key, property.value)).collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}

fn rules(text: &[u8]) -> Vec<RuleRow> {
    let (properties, _) = parse(text).expect("properties");
    let target = Target { domain: "", subject: "default", spriority: 100 };
    let templates = properties.into_iter().map(|p| (p.line, literal(&p.key), literal(&p.value)));
    target
        .rules(templates, &Conventions::default())
        .expect("rules")
        .into_iter()
        .map(|(_, rule)| rule)
        .collect()
}

#[test]
fn lines_are_joined_and_divided_as_java_does_and_escapes_stay() {
    let text = b"# a comment \\\n! another\n\n  a = 1\r\nb:2\rc 3\nd\\ \\:e=\\u00e9\\=\n\
                 f=one\\\n   two\\\r\n\tthree\ng=\\\\\nh\ni=caf\xe9\nj = = k";
    let expected = [
        pair("a", "1"),
        pair("b", "2"),
        pair("c", "3"),
        pair("d\\ \\:e", "\\u00e9\\="),
        pair("f", "onetwothree"),
        pair("g", "\\\\"),
        pair("h", ""),
        pair("i", "café"),
        pair("j", "= k"),
    ];
    assert_eq!(pairs(text), expected);
}

#[test]
fn of_two_of_one_key_the_later_counts_in_the_place_of_the_first() {
    let (properties, doubles) = parse(b"a.b=1\nc=2\na\\u002eb=3\n").expect("properties");
    let found: Vec<_> = properties.iter().map(|p| (p.line, p.key.as_str(), p.value.as_str())).collect();
    assert_eq!(found, [(3, "a\\u002eb", "3"), (2, "c", "2")]);
    assert_eq!(doubles, [Double { key: "a\\u002eb".into(), lost: 1, kept: 3 }]);
}

#[test]
fn what_java_refuses_is_refused_with_its_line() {
    for text in [&b"a=1\n\nb=\\u12g4 secret\n"[..], b"\n\nb\\u=1", b"a=1\\\n\nb=\\u123\xe9"] {
        let error = parse(text).err().expect("refused");
        assert_eq!(error.line, 3);
        assert!(!error.to_string().contains("secret"));
    }
    assert!(parse(b"a=\\\\u12").is_ok());
}

#[test]
fn rules_with_placeholders_are_written_as_templates_or_not_at_all() {
    let mut rules = rules(b"a=costs $5\n#\n\\#b=$${null}\nc=x\n");
    let written = |rules: &[RuleRow], as_templates| {
        write(rules, as_templates).map(|(text, _)| String::from_utf8(text).expect("ASCII")).ok()
    };
    assert_eq!(written(&rules, false).as_deref(), Some("a=costs $5\n\\#b=$${null}\nc=x\n"));
    assert_eq!(written(&rules, true).as_deref(), Some("a=costs $$5\n\\#b=$$$${null}\nc=x\n"));
    rules[2].value = "${username}é".into();
    assert!(write(&rules, false).is_err_and(|rule| rule.key.shown() == "c"));
    assert!(written(&rules, true).expect("written").ends_with("c=${username}\\u00E9\n"));
    // If Java splits a key, the line is written as Java splits it.
    rules[2] = RuleRow { key: "d e".into(), value: " f".into(), ..rules[2].clone() };
    assert!(written(&rules, false).expect("written").ends_with("d=e= f\n"));
}

proptest! {
    #[test]
    fn what_a_store_writes_is_written_again_byte_for_byte(
        texts in prop::collection::btree_map(r"[a-c.]{1,4}(\\[ :=#!])?", r"(\\[ :=#!tn\\]|\\u00[0-9A-F]{2}|[a $])*", 0..6),
    ) {
        let mut written = String::new();
        for (key, value) in &texts {
            let value = value.trim_start();
            written.push_str(&format!("{key}={value}\n"));
        }
        let again = write(&rules(written.as_bytes()), false).ok().expect("no placeholders").0;
        prop_assert_eq!(String::from_utf8(again).expect("ASCII"), written);
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_what_is_written_of_them_is_canonical(
        bytes: Vec<u8>,
        text in r"[\\u0aé:=#! \t\r\n$\{\}]{0,40}",
    ) {
        for bytes in [&bytes[..], text.as_bytes()] {
            if parse(bytes).is_ok() {
                let first = write(&rules(bytes), false).ok().expect("no placeholders").0;
                prop_assert!(first.is_ascii());
                let second = write(&rules(&first), false).ok().expect("no placeholders").0;
                prop_assert_eq!(first, second);
            }
        }
    }
}

#[test]
fn of_several_rules_of_one_key_the_first_is_written() {
    let rule = |key: &str, value: &str| {
        let (subject, one) = (Cell::from("default"), Cell::Int(1));
        RuleRow::from_cells(0, [Cell::Null, subject, one.clone(), one, key.into(), value.into()])
    };
    let rules = [rule("k", "own"), rule("l", "v"), rule("\\u006b", "seed")];
    let (written, lost) = write(&rules, true).ok().expect("written");
    assert_eq!(String::from_utf8(written).expect("ASCII"), "k=own\nl=v\n");
    assert!(lost.len() == 1 && lost[0].value == Cell::from("seed"));
}
