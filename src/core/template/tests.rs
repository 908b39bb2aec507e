use proptest::prelude::*;

use super::*;
use crate::core::params::Params;

fn parse(text: &str) -> (Template, Vec<Fault>) {
    let mut faults = Vec::new();
    let template = Template::parse(text, Side::Value, |fault| faults.push(fault));
    (template, faults)
}

/// The rendered text; `None` if a parameter is missing.
fn render(text: &str, params: &[(&str, &str)]) -> Option<String> {
    let (template, _) = parse(text);
    let params: Params = params.iter().copied().collect();
    let piece = template.whole();
    if piece.missing(&params).is_some() {
        return None;
    }
    let mut out = Vec::new();
    piece.render(&params, &mut out);
    assert!(piece.least_len(&params) <= out.len(), "{text:?}");
    Some(String::from_utf8(out).expect("ASCII"))
}

#[test]
fn placeholders_are_those_of_string_template() {
    let params = [("username", "alice"), ("_x9", "X"), ("env.HOME", "/home/a"), ("empty", "")];
    for (text, expected) in [
        ("$username", Some("alice")),
        ("${username}@$_x9!", Some("alice@X!")),
        ("$$username", Some("$username")),
        ("$$$username", Some("$alice")),
        ("${env.HOME}", Some("/home/a")),
        ("[${empty}]", Some("[]")),
        ("${hwaddr}", None),
        ("$username.x", Some("alice.x")),
        ("${username:-x}", Some("alice")),
        ("${empty:-x}", Some("x")),
        ("${hwaddr:-a b$c{}", Some("a b$c{")),
        ("${hwaddr:-}", Some("")),
    ] {
        assert_eq!(render(text, &params).as_deref(), expected, "{text}");
    }
}

#[test]
fn the_servers_names_render_the_same_whatever_the_client_sends() {
    let params = [("null", "n"), ("default", "d"), ("system", "s")];
    for (text, expected) in [
        ("${null}", "${null}"),
        ("$null", "${null}"),
        ("${system}.x", "${system}.x"),
        ("${default}", "default"),
        ("$default", "default"),
    ] {
        assert_eq!(render(text, &params).as_deref(), Some(expected));
        assert_eq!(render(text, &[]).as_deref(), Some(expected));
    }
}

#[test]
fn a_stray_dollar_is_literal_and_reported() {
    for text in [
        "$",
        "5$",
        "$ x",
        "${",
        "${}",
        "${a b}",
        "${a",
        "$1",
        "${é}",
        "${x:-y",
        "${x:}",
        "${x:lower",
        "${x:1}",
    ] {
        let (_, faults) = parse(text);
        assert_eq!(faults, [Fault::StrayDollar], "{text}");
        assert_eq!(render(text, &[]).unwrap().replace("\\u00E9", "é"), text);
    }
    assert_eq!(parse("$$ ${null} $username").1, []);
}

#[test]
fn a_form_changes_the_value_but_neither_the_fallback_nor_other_text() {
    let params = [("username", "John.Smith-é2"), ("x", "ß:Ä"), ("dots", "._-"), ("empty", "")];
    for (text, expected) in [
        ("acc${username:id}.x", Some("accJohnSmith\\u00E92.x")),
        ("${username:lower}", Some("john.smith-\\u00E92")),
        ("${username:upper}", Some("JOHN.SMITH-\\u00C92")),
        ("${x:upper}", Some("SS:\\u00C4")),
        ("[${dots:id}${empty:id}]", Some("[]")),
        ("${hwaddr:id}", None),
        ("${username:id:-A.b}", Some("JohnSmith\\u00E92")),
        ("${hwaddr:lower:-A.b}", Some("A.b")),
        ("${empty:upper:-a.b}", Some("a.b")),
        ("${dots:id:-A.b}", Some("A.b")),
        ("${hwaddr:id:-}", Some("")),
        ("$username:lower", Some("John.Smith-\\u00E92:lower")),
    ] {
        assert_eq!(render(text, &params).as_deref(), expected, "{text}");
        assert_eq!(parse(text).1, [], "{text}");
    }
    let key = Template::parse("${x:lower}", Side::Key, |_| ());
    let (mut written, params) = (Vec::new(), Params::from_iter([("x", "A:B")]));
    key.whole().render(&params, &mut written);
    assert_eq!(written, b"a\\:b");
}

#[test]
fn a_form_that_does_not_exist_is_reported() {
    for text in [
        "${x:y}",
        "${x:ID}",
        "${x:ids:-a}",
        "${x:lower.upper}",
        "${null:id}",
        "${default:upper}",
        "${system:id:-a}",
    ] {
        let (template, faults) = parse(text);
        assert_eq!((template.is_fixed(), faults), (true, vec![Fault::UnknownForm]), "{text}");
    }
}

#[test]
fn no_parameter_is_part_of_a_command_to_the_client() {
    let params = [
        ("a", "${null}"),
        ("b", "{null}"),
        ("c", "$"),
        ("d", "{nu"),
        ("e", "ll}"),
        ("f", "x${system}.y$"),
        ("g", "${NULL}"),
        ("h", "5$ {null}"),
        ("i", "null"),
        ("j", "${null}${null}"),
        ("empty", ""),
    ];
    for (text, expected) in [
        ("$a", "$\\ {null}"),
        ("$$$b", "$\\ {null}"),
        ("\\u0024$b", "\\u0024\\ {null}"),
        ("${c}{null}", "$\\ {null}"),
        ("$c$b", "$\\ {null}"),
        ("$c$d$e", "$\\ {null}"),
        ("$${empty}{null}", "${empty}{null}"),
        ("$$${empty}{null}", "$\\ {null}"),
        ("$$${empty}$b", "$\\ {null}"),
        ("$$$d\\u006cl}", "$\\ {nu\\u006cl}"),
        ("$${${i}}", "$\\ {null}"),
        ("$$\\{${i}}", "$\\ \\{null}"),
        ("${hwaddr:-\\$}$b", "\\$\\ {null}"),
        ("$f$b", "x${system}.y$\\ {null}"),
        ("$${system}.$f", "${system}.x${system}.y$"),
        ("${g:lower}", "$\\ {null}"),
        (" $a", " $\\ {null}"),
        ("$a$empty", "$\\ {null}"),
        ("$$$b.x", "$\\ {null}.x"),
        ("$h $i", "5$ {null} null"),
        ("${null}$i", "${null}null"),
        ("${null}$$$i", "${null}$null"),
        // The client does not act on these, which are in one parameter.
        ("<$a>", "<${null}>"),
        ("$j", "${null}${null}"),
        ("${g:lower}$g", "${null}${NULL}"),
        // The rule itself says these.
        ("$${null}$c", "${null}$"),
        ("$${nu${hwaddr:-ll}}", "${null}"),
        ("$$\\{nu${hwaddr:-ll}}", "$\\{null}"),
    ] {
        assert_eq!(render(text, &params).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn an_escape_may_reach_over_a_dollar_but_never_into_a_parameter() {
    let params = [("username", "n\\")];
    for (text, expected) in [
        ("\\$$x", "\\$x"),
        ("\\${null}", "\\${null}"),
        ("C:\\$username", "C:n\\\\"),
        ("C:\\\\$username", "C:\\\\n\\\\"),
        ("\\u00${username}41", "\\\\u00n\\\\41"),
        ("${username}\\", "n\\\\\\\\"),
        ("${x:-C:\\}y", "C:\\\\y"),
    ] {
        assert_eq!(render(text, &params).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn a_template_is_conditional_when_a_request_may_lack_a_parameter() {
    for (text, conditional) in [
        ("x", false),
        ("$username $password $domain", false),
        ("$osname", true),
        ("${osname:-x}", false),
        ("${null} ${system}", false),
    ] {
        assert_eq!(parse(text).0.whole().is_conditional(), conditional, "{text}");
    }
}

#[test]
fn joined_templates_render_as_their_parts() {
    let params: Params = [("username", "alice"), ("domain", "a.org")].into_iter().collect();
    let (first, second) = (parse("<$username>").0, parse("[$domain]").0);
    let mut joined = Template::builder();
    joined.push(first.whole());
    let middle = joined.position();
    joined.push_str("=");
    joined.push(second.whole());
    let end = joined.position();
    let joined = joined.finish();
    let mut out = Vec::new();
    joined.whole().render(&params, &mut out);
    assert_eq!(out, b"<alice>=[a.org]");
    out.clear();
    joined.piece(middle.0..end.0, middle.1..end.1).render(&params, &mut out);
    assert_eq!(out, b"=[a.org]");
}

proptest! {
    #[test]
    fn any_text_parses_and_renders_to_one_ascii_line(text in any::<String>(), value in any::<String>()) {
        if let Some(line) = render(&text, &[("username", &value), ("a", &value)]) {
            prop_assert!(line.is_ascii() && !line.contains(['\r', '\n']));
        }
    }

    #[test]
    fn only_a_rule_says_what_the_client_acts_on(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "$$", "{", "}", "null", "nu", "ll}", "{system}", "\\u0024", "\\{", "\\u006eull", "${null}",
                "${system}", ".", " ", "$a", "$b", "${a:lower}", "${b:upper}", "${c}", "${c:-$}", "${c:-\\u007bn}",
                "${a:id}", "=", "\\",
            ]),
            0..8,
        ),
        values in prop::array::uniform3(prop::option::of(prop::collection::vec(
            prop::sample::select(vec!["$", "{", "}", "null", "NULL", "nu", "ll}", "{system}", "${null}", "x", " "]),
            0..4,
        ))),
        in_key: bool,
    ) {
        let place = if in_key { Side::Key } else { Side::Value };
        let template = Template::parse(&pieces.concat(), place, |_| ());
        let values = values.map(|value| value.map(|parts| parts.concat()));
        let given = || ["a", "b", "c"].into_iter().zip(&values).filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let read = |params: &Params| {
            let mut written = Vec::new();
            template.whole().render(params, &mut written);
            properties::client_text(std::str::from_utf8(&written).expect("ASCII"))
        };
        // Neither is in a value, so each of them is made of pieces.
        let said = |text: &str| text.matches("${null}").count() + text.matches("${system}").count();
        let rendered = read(&given().map(|(name, value)| (name, value.as_str())).collect());
        // What the rule says if each parameter is a letter. Fallbacks are text of the rule.
        let mut letters = Params::new();
        for (name, value) in given() {
            let is_gone = name == "c" && value.is_empty();
            letters.offer(name, if is_gone { String::new() } else { "é".into() });
        }
        let by_rule = read(&letters);
        if given().all(|(_, value)| said(&value.to_lowercase()) == 0) {
            prop_assert_eq!(said(&rendered), said(&by_rule), "{:?}", rendered);
        }
        let acts = |text: &str| match place {
            Side::Key => text.starts_with("${system}"),
            Side::Value => text.trim_start_matches(properties::is_blank) == "${null}",
        };
        let without_ends = by_rule.trim_matches(|c| matches!(c, 'é' | 'É' | ' '));
        prop_assert!(!acts(&rendered) || acts(without_ends), "{:?}", rendered);
    }

    #[test]
    fn text_without_dollar_or_backslash_is_its_own_rendering(text in "[ -#%-\\[\\]-~]{0,40}") {
        prop_assert_eq!(render(&text, &[]), Some(text));
    }

    #[test]
    fn doubled_dollars_render_the_text_itself(text in "[ -\\[\\]-~]{0,40}") {
        let doubled = text.replace('$', "$$");
        prop_assert_eq!(render(&doubled, &[]), Some(text));
    }
}
