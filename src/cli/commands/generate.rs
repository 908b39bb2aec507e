//! `jitsiprovs completions` and `jitsiprovs man`: generate completion scripts and manual
//! pages for packages from the definition of the command line.

use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::print;
use crate::cli::{Cli, args, manual};

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
    manual::write_to(&folder).with_context(cannot)?;
    Ok(ExitCode::SUCCESS)
}
