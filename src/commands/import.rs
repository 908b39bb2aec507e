//! `jitsiprovs import`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn import(options: cli::Import) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("import is not made yet")
}
