//! `jitsiprovs completions` and `jitsiprovs man`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub fn completions(options: cli::Completions) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("completions is not made yet")
}

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub fn man(options: cli::Man) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("man is not made yet")
}
