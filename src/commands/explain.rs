//! `jitsiprovs explain`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn explain(options: cli::Explain) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("explain is not made yet")
}
