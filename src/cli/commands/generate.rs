//! `jitsiprovs completions` and `jitsiprovs man`: generate completion scripts and manual
//! pages for packages from the definition of the command line.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::print;
use crate::cli::{Cli, args};

/// Prints a completion script.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(options: args::CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "jitsiprovs", &mut script);
    print::exact(&script).map(|()| ExitCode::SUCCESS)
}

/// Writes a manual page for the program, and one for each command.
///
/// # Errors
/// When they cannot be written.
pub fn man(options: args::ManArgs) -> anyhow::Result<ExitCode> {
    let args::ManArgs { folder } = options;
    let cannot = || format!("cannot write to {}: is it a folder, and may you write to it?", folder.display());
    std::fs::create_dir_all(&folder).with_context(cannot)?;
    clap_mangen::generate_to(Cli::command(), &folder).with_context(cannot)?;
    let mut command = Cli::command();
    command.build();
    complete(&command, "jitsiprovs", &folder).with_context(cannot)?;
    Ok(ExitCode::SUCCESS)
}

/// Adds to the page of `command`, and of the commands below it, what its definition does not say.
#[expect(clippy::disallowed_methods, reason = "this command does nothing but write files")]
fn complete(command: &clap::Command, name: &str, folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!("{name}.1"));
    // There are no pages for commands that the help hides.
    if path.exists() {
        let is_main = name == "jitsiprovs";
        let sections = if is_main { include_str!("jitsiprovs.roff") } else { include_str!("command.roff") };
        std::fs::OpenOptions::new().append(true).open(path)?.write_all(sections.as_bytes())?;
    }
    let mut below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.try_for_each(|below| complete(below, &format!("{name}-{}", below.get_name()), folder))
}
