//! Every link inside the repository leads to a file, and to a heading of it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::pages::{Page, markdown, root};

/// All files in Markdown that people read.
fn all() -> Vec<Page> {
    let mut names: Vec<String> = ["README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "CHANGELOG"]
        .map(|name| format!("{name}.md"))
        .into();
    for folder in ["docs", "docs/decisions", "contrib", "benches", "fuzz"] {
        names.extend(markdown(folder));
    }
    names.iter().map(|name| Page::read(name)).collect()
}

/// The names of the headings in links, as GitHub and mdBook make them.
fn anchors(page: &Page) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = page.text.lines().filter(|line| line.starts_with('#'));
    let titles = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    titles
        .map(|title| {
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let before = seen.entry(name.clone()).and_modify(|count| *count += 1).or_default();
            if *before == 0 { name } else { format!("{name}-{before}") }
        })
        .collect()
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// The targets of `[text](target)` and `![text](target)`.
fn targets(page: &Page) -> impl Iterator<Item = &str> {
    page.text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

#[test]
fn every_link_inside_leads_to_a_file_and_to_a_heading() {
    let pages = all();
    let headings: BTreeMap<PathBuf, Vec<String>> =
        pages.iter().map(|page| (PathBuf::from(&page.name), anchors(page))).collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for page in &pages {
        for target in targets(page).filter(|target| !target.contains("://")) {
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let here = Path::new(&page.name);
            let file = match file {
                "" => here.to_owned(),
                file => plain(&here.parent().expect("a folder").join(file)),
            };
            let known = headings.get(&file);
            let has_anchor =
                anchor.is_empty() || known.is_some_and(|all| all.iter().any(|one| one == anchor));
            if !root().join(&file).exists() || !has_anchor {
                wrong.push(format!("{}: {target}", page.name));
            }
        }
    }
    println!("{count} links in {} files", pages.len());
    assert!(wrong.is_empty() && count > 100, "these links lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn every_path_that_is_named_in_the_manual_exists() {
    let (mut count, mut wrong) = (0, Vec::new());
    let folders = ["contrib/", "docs/", "tests/", "src/", "sql/", "benches/"];
    for page in Page::manual().iter().chain([&Page::read("contrib/README.md")]) {
        let code = page.text.split('`').skip(1).step_by(2);
        for path in code.filter(|code| folders.iter().any(|folder| code.starts_with(folder))) {
            let path = path.split_whitespace().next().unwrap_or_default();
            if path.contains(['*', '<', '…']) {
                continue;
            }
            count += 1;
            if !root().join(path).exists() {
                wrong.push(format!("{}: {path}", page.name));
            }
        }
    }
    println!("{count} paths");
    assert!(wrong.is_empty() && count > 10, "these do not exist:\n{}", wrong.join("\n"));
}

#[test]
fn every_chapter_and_every_picture_is_reached_from_another_page() {
    let pages = all();
    let linked: Vec<PathBuf> = pages
        .iter()
        .flat_map(|page| targets(page).map(move |target| (page, target)))
        .map(|(page, target)| {
            let file = target.split('#').next().unwrap_or_default();
            plain(&Path::new(&page.name).parent().expect("a folder").join(file))
        })
        .collect();
    let summary = Page::read("docs/SUMMARY.md");
    let chapters: Vec<PathBuf> = targets(&summary).map(|target| Path::new("docs").join(target)).collect();
    for name in markdown("docs").into_iter().chain(markdown("docs/decisions")) {
        let is_summary = name == "docs/SUMMARY.md";
        assert!(is_summary || chapters.contains(&PathBuf::from(&name)), "{name} is not in docs/SUMMARY.md");
    }
    for picture in std::fs::read_dir(root().join("docs/images")).expect("pictures") {
        let picture = picture.expect("an entry").path();
        let name = picture.strip_prefix(root()).expect("inside").to_owned();
        assert!(linked.contains(&name), "no page shows {}", name.display());
    }
}
