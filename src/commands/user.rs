//! `jitsiprovs user`

use std::process::ExitCode;

use crate::cli;

/// See the module.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn user(options: cli::User) -> anyhow::Result<ExitCode> {
    drop(options);
    anyhow::bail!("user is not made yet")
}
