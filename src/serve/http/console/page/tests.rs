//! What holds for all templates and texts.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// The texts that a template names: `section.name`.
fn named(template: &str) -> BTreeSet<String> {
    let after = template.split("{t.").skip(1);
    after.filter_map(|rest| Some(rest.split_once('}')?.0.trim().to_owned())).collect()
}

fn all_texts() -> BTreeSet<String> {
    let sections = TEXTS.as_object().expect("sections");
    let names = |(section, texts): (&String, &Value)| -> Vec<String> {
        texts.as_object().expect("texts").keys().map(|name| format!("{section}.{name}")).collect()
    };
    sections.iter().flat_map(names).collect()
}

/// The source files of the console.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/http/console");
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let code = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    code.map(|path| std::fs::read_to_string(path).expect("readable")).collect()
}

#[test]
fn templates_compile_and_all_files_are_listed() {
    let mut templates = TinyTemplate::new();
    for (name, text) in TEMPLATES {
        templates.add_template(name, text).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/http/console/pages");
    assert_eq!(std::fs::read_dir(folder).expect("a folder").count(), TEMPLATES.len());
}

#[test]
fn every_text_is_there_and_used() {
    let all = all_texts();
    for (name, template) in TEMPLATES {
        let missing: Vec<String> = named(template).difference(&all).cloned().collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
    let used: BTreeSet<String> = TEMPLATES.iter().flat_map(|(_, template)| named(template)).collect();
    let sources = sources();
    // Names that code takes from the names of reasons and counters.
    let by_name = |text: &str| {
        ["reasons.", "locks.account", "history.", "overview."].iter().any(|own| text.starts_with(own))
    };
    let unused: Vec<&String> = all
        .difference(&used)
        .filter(|text| {
            let name = text.split_once('.').expect("a name").1;
            !sources.contains(&format!("\"{name}\"")) && !by_name(text)
        })
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn templates_have_no_words_no_scripts_and_no_styles_of_their_own() {
    for (name, template) in TEMPLATES {
        let mut text = String::new();
        let (mut in_tag, mut braces) = (false, 0_usize);
        for c in template.chars() {
            match c {
                '{' => braces += 1,
                '}' => braces = braces.saturating_sub(1),
                '<' if braces == 0 => in_tag = true,
                '>' if braces == 0 => in_tag = false,
                c if braces == 0 && !in_tag => text.push(c),
                _ => {}
            }
        }
        assert!(!text.contains(char::is_alphabetic), "{name}: {text:?}");
        for bad in ["style=\"", "<style", "<script>", "javascript:"] {
            assert!(!template.contains(bad), "{name}: {bad}");
        }
        let is_handler = |word: &str| word.starts_with("on") && word.contains("=\"");
        assert!(!template.split_whitespace().any(is_handler), "{name}: a handler of events");
        for attribute in ["aria-label=\"", "title=\"", "placeholder=\"", "alt=\""] {
            for value in template.split(attribute).skip(1) {
                assert!(value.starts_with('{'), "{name}: {attribute}");
            }
        }
        let forms = template.matches("method=\"post\"").count();
        let tokens = template.matches("name=\"csrf\" value=\"{csrf}\"").count();
        assert!(forms == tokens || *name == "sign_in", "{name}: a form without a token");
        let unescaped = template.matches("unescaped").count();
        assert_eq!(unescaped, usize::from(*name == "layout"), "{name}");
    }
}
