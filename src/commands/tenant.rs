//! `jitsiprovs tenant`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn tenant(options: cli::Tenant) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("tenant is not made yet")
}
