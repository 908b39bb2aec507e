//! The layers of `src`, read from the paths in the source files.
//!
//! Three rules, for all code but unit tests:
//!
//! - A layer uses only the layers that [`MAY_USE`] names.
//! - Modules with the same parent do not use each other in a circle. A module includes its
//!   children. A parent and its own children may use each other: a child is a part of its parent in
//!   a separate file.
//! - `core`, `snapshot` and `source` name no command-line option in a string. They say what is
//!   wrong; `cli` says which option changes it.
//!
//! Sources are read as tokens. If children use an item that their parent imports, this counts as a
//! use of the module that defines the item.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Each layer, and the layers that it may use.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("cli", &["ops", "serve", "reload", "snapshot", "source", "core", "telemetry", "metrics", "process"]),
    ("ops", &["reload", "snapshot", "source", "core"]),
    ("serve", &["ops", "reload", "snapshot", "source", "core", "telemetry", "metrics", "process"]),
    ("reload", &["snapshot", "source", "core", "telemetry", "metrics", "process"]),
    ("snapshot", &["core"]),
    ("source", &["core", "telemetry", "process"]),
    ("core", &[]),
    ("telemetry", &[]),
    ("metrics", &[]),
    ("process", &[]),
];

/// Layers that name no option.
const WITHOUT_OPTIONS: [&str; 3] = ["core", "snapshot", "source"];

#[test]
fn layers_use_only_allowed_layers_and_modules_do_not_use_each_other_in_circles() {
    let tree = Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let found = [tree.wrong_arrows(), tree.circles(), tree.options()].concat();
    let found: BTreeSet<String> = found.into_iter().collect();
    assert!(found.is_empty(), "against the layers: {found:#?}");
}

/// `Cargo.toml` builds no tests of the program itself, and runs no examples in comments.
#[test]
fn nothing_in_the_sources_looks_like_a_test_that_would_not_run() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let main = std::fs::read_to_string(src.join("main.rs")).expect("readable");
    assert!(!main.contains("test]") && !main.contains("cfg(test)"), "main.rs has tests");
    let mut folders = vec![src];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("readable");
            let mut comments = text.lines().filter_map(|line| {
                let line = line.trim_start();
                line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim)
            });
            while let Some(kind) = comments.find_map(|line| line.strip_prefix("```")) {
                assert_eq!(kind, "text", "an example in {}", path.display());
                comments.find(|line| *line == "```").expect("its end");
            }
        }
    }
}

/// The names that lead to a module or an item, from the root of the crate.
type Names = Vec<String>;

/// The relevant content of one file.
#[derive(Default)]
struct Module {
    /// Paths in its code.
    uses: BTreeSet<Names>,
    /// Names that it imports, and their paths.
    imports: BTreeMap<String, Names>,
    names_option: bool,
}

/// All modules.
struct Tree(BTreeMap<Names, Module>);

impl Tree {
    fn read(src: &Path) -> Tree {
        let mut modules = BTreeMap::new();
        let mut folders = vec![(src.to_owned(), Names::new())];
        while let Some((folder, names)) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8").to_owned();
                let inner = [names.clone(), vec![stem.clone()]].concat();
                if path.is_dir() {
                    folders.push((path, inner));
                } else if path.extension().is_some_and(|extension| extension == "rs")
                    && !["main", "tests"].contains(&&*stem)
                {
                    let names = if inner == ["lib"] { Names::new() } else { inner };
                    let text = std::fs::read_to_string(&path).expect("readable");
                    let tokens = text.parse().unwrap_or_else(|why| panic!("{}: {why}", path.display()));
                    let mut module = Module::default();
                    module.scan(tokens, &names);
                    modules.insert(names, module);
                }
            }
        }
        assert!(modules.len() > 50, "{} has no sources", src.display());
        Tree(modules)
    }

    /// Each module with a module that it uses, both as names.
    fn arrows(&self) -> impl Iterator<Item = (&Names, Names)> {
        self.0.iter().flat_map(move |(from, module)| module.uses.iter().map(move |to| (from, self.home(to))))
    }

    /// The module that defines the item at the end of a path.
    fn home(&self, path: &[String]) -> Names {
        let is_module = |len: &usize| self.0.contains_key(&path[..*len]);
        let len = (0..=path.len()).rev().find(is_module).expect("the root is a module");
        let imported = path.get(len).and_then(|name| self.0[&path[..len]].imports.get(name));
        match imported {
            Some(from) if from.as_slice() != path => self.home(&[from, &path[len + 1..]].concat()),
            _ => path[..len].to_vec(),
        }
    }

    fn wrong_arrows(&self) -> Vec<String> {
        let allowed = BTreeMap::from(MAY_USE);
        let is_wrong = |from: &str, to: &str| from != to && !allowed[from].contains(&to);
        self.arrows()
            .filter_map(|(from, to)| {
                let (layer, other) = (from.first()?, to.first()?);
                is_wrong(layer, other).then(|| format!("{} uses {other}", from.join("::")))
            })
            .collect()
    }

    /// Circles between modules of one parent.
    fn circles(&self) -> Vec<String> {
        let mut siblings: BTreeMap<Names, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, to) in self.arrows() {
            let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            if let (Some(one), Some(other)) = (from.get(shared), to.get(shared)) {
                let arrows = siblings.entry(from[..shared].to_vec()).or_default();
                arrows.entry(one.clone()).or_default().insert(other.clone());
            }
        }
        // `wrong_arrows` checks the layers themselves.
        siblings.remove(&Names::new());
        let circles = siblings.iter().map(|(parent, arrows)| (parent, in_circles(arrows)));
        let circles = circles.filter(|(_, modules)| !modules.is_empty());
        circles.map(|(parent, modules)| format!("{}: circle of {modules:?}", parent.join("::"))).collect()
    }

    fn options(&self) -> Vec<String> {
        let counts = |names: &Names| names.first().is_some_and(|layer| WITHOUT_OPTIONS.contains(&&**layer));
        let naming = self.0.iter().filter(|(names, module)| module.names_option && counts(names));
        naming.map(|(names, _)| format!("{} names an option", names.join("::"))).collect()
    }
}

/// The modules from which a path of arrows leads back to them.
fn in_circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<&String> {
    let leads_back = |start: &&String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![*start]);
        while let Some(at) = open.pop() {
            open.extend(arrows.get(at).into_iter().flatten().filter(|&next| seen.insert(next)));
        }
        seen.contains(*start)
    };
    arrows.keys().filter(leads_back).collect()
}

impl Module {
    fn scan(&mut self, tokens: TokenStream, own: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    at += self.scan_attribute(&tokens[at..], own);
                }
                // In `impl Trait + use<'a>`, `use` imports nothing.
                TokenTree::Ident(ident) if ident == "use" && !is(&tokens[at + 1], '<') => {
                    let end = tokens[at..].iter().position(|token| is(token, ';')).expect("`use` ends");
                    self.scan_use(&tokens[at + 1..at + end], &[], own);
                    at += end;
                }
                TokenTree::Ident(ident) if ident == "crate" || ident == "super" => {
                    let (path, len) = path_at(&tokens[at..]);
                    self.uses.extend(absolute(&path, own));
                    at += len;
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    // A module without a file of its own.
                    if let Some(inner) = tokens.get(at + 2).and_then(body) {
                        self.scan(inner, &[own, &[tokens[at + 1].to_string()]].concat());
                        at += 2;
                    }
                    at += 1;
                }
                TokenTree::Group(group) => {
                    self.scan(group.stream(), own);
                    at += 1;
                }
                TokenTree::Literal(literal) => {
                    self.names_option |= has_option(&literal.to_string());
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// Returns how many tokens are done. For a unit test these are all its tokens.
    fn scan_attribute(&mut self, tokens: &[TokenTree], own: &[String]) -> usize {
        let Some(TokenTree::Group(attribute)) = tokens.get(1) else { return 1 };
        let text = attribute.stream().to_string().replace(' ', "");
        if text == "cfg(test)" {
            let end = tokens.iter().skip(2).position(|token| is(token, ';') || body(token).is_some());
            return end.map_or(tokens.len(), |end| end + 3);
        }
        if !text.starts_with("doc=") {
            self.scan(attribute.stream(), own);
        }
        2
    }

    /// Reads a tree of imports that follows `prefix`.
    fn scan_use(&mut self, tokens: &[TokenTree], prefix: &[String], own: &[String]) {
        for tree in tokens.split(|token| is(token, ',')).filter(|tree| !tree.is_empty()) {
            let (names, len) = path_at(tree);
            let path = [prefix, &names].concat();
            if let Some(inner) = tree.get(len).and_then(body) {
                let inner: Vec<TokenTree> = inner.into_iter().collect();
                self.scan_use(&inner, &path, own);
                continue;
            }
            let path: Names = path.iter().filter(|name| *name != "self").cloned().collect();
            let renamed = tree.get(len + 1).filter(|_| tree.get(len).is_some_and(|as_| !is(as_, '*')));
            let name = renamed.map(ToString::to_string).or_else(|| path.last().cloned());
            let target = absolute(&path, own);
            self.uses.extend(target.clone());
            // Without `crate` or `super` the path leads to a child module or another crate.
            let target = target.unwrap_or_else(|| [own, &path].concat());
            self.imports.extend(name.map(|name| (name, target)));
        }
    }
}

/// The names of a path at the beginning of `tokens`, and how many tokens it has.
fn path_at(tokens: &[TokenTree]) -> (Names, usize) {
    let (mut names, mut at) = (Names::new(), 0);
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        names.push(ident.to_string());
        at += 1;
        if !tokens.get(at..at + 2).is_some_and(|next| next.iter().all(|token| is(token, ':'))) {
            break;
        }
        at += 2;
    }
    (names, at)
}

/// A path from the root, if it begins at the root or goes up from `own`.
fn absolute(path: &[String], own: &[String]) -> Option<Names> {
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            Some([&own[..own.len() - up], &path[up..]].concat())
        }
        _ => None,
    }
}

fn is(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn body(token: &TokenTree) -> Option<TokenStream> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    }
}

fn has_option(literal: &str) -> bool {
    let is_string = literal.trim_start_matches(['b', 'c', 'r', '#']).starts_with('"');
    is_string && literal.split("--").skip(1).any(|rest| rest.starts_with(|next: char| next.is_alphabetic()))
}
