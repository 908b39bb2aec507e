//! `jitsiprovs export`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn export(options: cli::Export) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("export is not made yet")
}
