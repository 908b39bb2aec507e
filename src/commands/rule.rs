//! `jitsiprovs rule`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn rule(options: cli::Rule) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("rule is not made yet")
}
