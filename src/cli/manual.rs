//! The manual pages: what clap knows of the command line, and sections about everything else.

mod examples;
mod facts;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::Cli;
use crate::process::build;
use facts::Fact;

/// Writes a page for the program, and one for each command, to this folder.
///
/// # Errors
/// When they cannot be written.
#[expect(clippy::disallowed_methods, reason = "a command may wait for a disk")]
pub fn write_to(folder: &Path) -> io::Result<()> {
    for page in pages() {
        let mut text = Vec::new();
        page.render(&mut text)?;
        std::fs::write(folder.join(page.file()), text)?;
    }
    Ok(())
}

/// A manual page.
struct Page {
    /// The names of the command, such as `user add`. Empty for the program.
    name: String,
    command: Command,
}

/// All pages: that of the program first.
fn pages() -> Vec<Page> {
    // The commit would make the pages of two builds differ.
    let mut program = Cli::command().disable_help_subcommand(true).long_version(None);
    program.build();
    let mut pages = vec![Page { name: String::new(), command: program }];
    let mut next = 0;
    while let Some(Page { name, command }) = pages.get(next) {
        let children = command.get_subcommands().filter(|child| !child.is_hide_set());
        let children: Vec<Page> = children
            .map(|child| Page {
                name: format!("{name} {}", child.get_name()).trim_start().to_owned(),
                command: child.clone(),
            })
            .collect();
        pages.extend(children);
        next += 1;
    }
    pages
}

impl Page {
    /// What clap knows first, then the other sections in the usual order of manual pages.
    fn render(&self, out: &mut Vec<u8>) -> io::Result<()> {
        // Without a version, clap adds no section about it. The footer has it.
        let command = self.command.clone().version(None);
        Man::new(command).source(format!("jitsiprovs {}", build::VERSION)).render(out)?;
        let mut roff = Roff::new();
        section(&mut roff, "EXIT STATUS", &facts::exit_status(&self.name));
        if self.is_program() {
            section(&mut roff, "SIGNALS", &facts::signals());
        }
        if self.reads_database() {
            section(&mut roff, "FILES", &facts::files(self.is_program()));
        }
        self.environment(&mut roff);
        self.examples(&mut roff);
        self.see_also(&mut roff);
        roff.to_writer(out)
    }

    fn file(&self) -> String {
        format!("{}.1", title(&self.name))
    }

    fn is_program(&self) -> bool {
        self.name.is_empty()
    }

    fn reads_database(&self) -> bool {
        self.command.get_arguments().any(|arg| arg.get_long() == Some("db-path"))
    }

    /// The variables of this page's options, and for the program those of others.
    fn environment(&self, roff: &mut Roff) {
        let variables = self.command.get_arguments().filter(|arg| !arg.is_hide_set());
        let variables: Vec<&str> =
            variables.filter_map(clap::Arg::get_env).filter_map(|name| name.to_str()).collect();
        if variables.is_empty() {
            return;
        }
        roff.control("SH", ["ENVIRONMENT"]);
        // Names are not divided at the end of a line, so that readers can search for them.
        roff.control("nh", []);
        roff.control("na", []);
        roff.text([roman(facts::VARIABLES)]);
        roff.control("PP", []);
        let names = variables
            .iter()
            .enumerate()
            .flat_map(|(number, name)| [roman(if number == 0 { "" } else { ", " }), bold(*name)]);
        roff.text(names.collect::<Vec<Inline>>());
        roff.control("ad", []);
        roff.control("hy", []);
        if self.is_program() {
            rows(roff, &facts::other_variables());
        }
    }

    fn examples(&self, roff: &mut Roff) {
        let examples = examples::of(&self.name);
        if examples.is_empty() {
            return;
        }
        roff.control("SH", ["EXAMPLES"]);
        for (what, lines) in examples {
            roff.control("PP", []);
            roff.text([roman(*what)]);
            roff.control("PP", []);
            roff.control("RS", ["4"]);
            roff.control("EX", []);
            for line in lines.lines() {
                roff.text([roman(line)]);
            }
            roff.control("EE", []);
            roff.control("RE", []);
        }
    }

    fn see_also(&self, roff: &mut Roff) {
        roff.control("SH", ["SEE ALSO"]);
        let (above, _) = self.name.rsplit_once(' ').unwrap_or_default();
        let mut pages = vec![String::new(), above.to_owned()];
        pages.dedup();
        for page in pages.into_iter().filter(|page| *page != self.name) {
            roff.text([bold(title(&page)), roman("(1),")]);
        }
        roff.text([italic(facts::MANUAL)]);
    }
}

/// The title of a command's page.
fn title(command: &str) -> String {
    format!("jitsiprovs {command}").trim_end().replace(' ', "-")
}

fn section(roff: &mut Roff, title: &str, facts: &[Fact]) {
    roff.control("SH", [title]);
    rows(roff, facts);
}

fn rows(roff: &mut Roff, facts: &[Fact]) {
    for Fact { term, text } in facts {
        roff.control("TP", []);
        roff.text([bold(term.clone())]);
        roff.text([roman(text.clone())]);
    }
}
