//! The pages of the manual and their blocks of code.

use std::path::{Path, PathBuf};

/// A file in Markdown.
#[derive(Clone)]
pub struct Page {
    /// The path from the root of the repository.
    pub name: String,
    pub text: String,
}

/// Lines of code that stand together, without their indentation.
pub struct Block {
    /// The heading of level two above the block.
    pub section: String,
    /// The number of the first line in the file.
    pub line: usize,
    pub lines: Vec<String>,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Page {
    pub fn read(name: &str) -> Page {
        let text = std::fs::read_to_string(root().join(name)).expect(name);
        Page { name: name.to_owned(), text }
    }

    /// README and the chapters of the manual.
    pub fn manual() -> Vec<Page> {
        let mut names = vec!["README.md".to_owned()];
        names.extend(markdown("docs"));
        names.iter().map(|name| Page::read(name)).collect()
    }

    /// The indented blocks. A block may have blank lines inside.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut section = String::new();
        let (mut is_open, mut was_blank) = (false, true);
        for (number, line) in self.text.lines().enumerate() {
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut section);
            }
            let is_code = line.starts_with("    ");
            if is_code && !is_open && was_blank {
                let section = section.clone();
                blocks.push(Block { section, line: number + 1, lines: Vec::new() });
                is_open = true;
            } else if !is_code && !line.trim().is_empty() {
                is_open = false;
            }
            was_blank = line.trim().is_empty();
            if let Some(block) = blocks.last_mut().filter(|_| is_open) {
                block.lines.push(line.to_owned());
            }
        }
        for block in &mut blocks {
            while block.lines.last().is_some_and(|line| line.trim().is_empty()) {
                block.lines.pop();
            }
            let indents = block.lines.iter().filter(|line| !line.trim().is_empty());
            let indent = indents.map(|line| line.len() - line.trim_start().len()).min().unwrap_or_default();
            for line in &mut block.lines {
                *line = line.get(indent..).unwrap_or_default().to_owned();
            }
        }
        blocks
    }
}

/// The Markdown files directly in a folder.
pub fn markdown(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).expect(folder);
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let name = |path: PathBuf| format!("{folder}/{}", path.file_name().expect("a name").to_string_lossy());
    let mut names: Vec<String> = paths.filter(is_markdown).map(name).collect();
    names.sort();
    names
}
