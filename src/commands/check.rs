//! `jitsiprovs check`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn check(options: cli::Check) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("check is not made yet")
}
