//! `jitsiprovs diff`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn diff(options: cli::Diff) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("diff is not made yet")
}
