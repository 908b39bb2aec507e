use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command as Process, Stdio};

use clap::Parser;

use super::*;

const REFERENCE: &str = include_str!("../../../docs/reference.md");

/// The rows of the table below this heading of the reference, without links and marks of code.
fn table(heading: &str) -> Vec<(String, String)> {
    let (_, rest) = REFERENCE.split_once(&format!("\n## {heading}\n")).expect("a heading");
    let rest = rest.split("\n## ").next().expect("a section");
    let rows = rest.lines().filter(|line| line.starts_with("| ")).skip(2);
    let plain = |cell: &str| {
        let mut text = cell.trim().replace('`', "");
        while let (Some(open), Some(middle), Some(close)) = (text.find('['), text.find("]("), text.find(')'))
        {
            text.replace_range(middle..=close, "");
            text.remove(open);
        }
        text
    };
    let rows = rows.map(|row| {
        let (term, text) = row[2..].split_once('|').expect("two columns");
        (plain(term), plain(text.trim_end_matches(['|', ' '])))
    });
    rows.collect()
}

#[test]
fn exit_codes_and_signals_are_those_of_the_reference() {
    let codes = table("Exit codes");
    assert_eq!(codes.len(), facts::EXIT_CODES.len(), "{codes:?}");
    for ((code, text), (known, meaning)) in codes.iter().zip(facts::EXIT_CODES) {
        assert_eq!((code.as_str(), text.split(';').next()), (known, Some(meaning)));
        // Every command of which the reference says more has it on its page, and no other.
        let commands: BTreeSet<String> = pages().into_iter().map(|page| page.name).collect();
        let words = text.split(|sign: char| !sign.is_alphanumeric()).filter(|word| !word.is_empty());
        let words = words.map(|word| if word == "server" { "" } else { word });
        let in_reference: BTreeSet<&str> = words.filter(|word| commands.contains(*word)).collect();
        let on_pages: BTreeSet<&str> =
            facts::ALSO.iter().filter(|(_, of, _)| *of == known).map(|(name, ..)| *name).collect();
        assert_eq!(in_reference, on_pages, "{text}");
    }
    let signals = facts::signals().into_iter().map(|fact| (fact.term, fact.text));
    assert_eq!(table("Signals"), signals.collect::<Vec<_>>());
}

#[test]
fn every_example_is_a_command_line_of_its_page() {
    for (name, examples) in examples::EXAMPLES {
        assert!(pages().iter().any(|page| page.name == *name), "no page `{name}`");
        let mut is_shown = false;
        for line in examples.iter().flat_map(|(_, lines)| lines.lines()) {
            let Some(start) = line.find("jitsiprovs ").filter(|start| !line[..*start].contains("kill"))
            else {
                continue;
            };
            let typed = line[start..].split([')', '|', '>']).next().expect("a command");
            let words = words(typed);
            let parsed = Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{name}: {typed}: {}", parsed.expect_err("an error"));
            is_shown |= words[1..].join(" ").starts_with(name);
        }
        assert!(is_shown, "no example of `{name}` is about it");
    }
}

/// The words of a line, as a shell divides it.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    let words = quoted.flat_map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn groff_reads_every_page_and_each_has_its_sections() {
    for page in pages() {
        let mut source = Vec::new();
        page.render(&mut source).expect("rendered");
        // Otherwise groff may print quotes that a shell does not know.
        let text = String::from_utf8(source.clone()).expect("UTF-8");
        assert!(
            !text.lines().filter(|line| !line.starts_with(".el")).any(|line| line.contains('\'')),
            "{}",
            page.name
        );
        let mut groff = Process::new("groff")
            .args(["-man", "-Tutf8", "-P-cbou", "-ww", "-rLL=1000n"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("groff");
        let mut input = groff.stdin.take().expect("an input");
        // The longest page has 40 kB, which a pipe takes at once.
        input.write_all(&source).expect("written");
        drop(input);
        let output = groff.wait_with_output().expect("an output");
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.name);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let heads: Vec<&str> =
            text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase())).collect();
        for head in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"] {
            assert!(heads.contains(&head), "{}: {head}: {heads:?}", page.name);
        }
        for Fact { text: meaning, .. } in facts::exit_status(&page.name) {
            assert!(text.contains(&meaning), "{}: {meaning}", page.name);
        }
        let variables = page.command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
        for variable in variables {
            assert!(text.contains(variable), "{}: {variable}", page.name);
        }
        for line in examples::of(&page.name).iter().flat_map(|(_, lines)| lines.lines()) {
            assert!(text.contains(line), "{}: {line}\n{text}", page.name);
        }
        assert_eq!(heads.contains(&"SIGNALS"), page.is_program(), "{}", page.name);
        assert_eq!(heads.contains(&"FILES"), page.reads_database(), "{}", page.name);
    }
}
