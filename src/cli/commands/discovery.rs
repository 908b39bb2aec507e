//! `jitsiprovs discovery`: answers clients that look for the server by DHCP.

use std::process::ExitCode;

use crate::cli::args::DiscoveryArgs;
use crate::cli::error::usage;
use crate::cli::provisioning_url::provisioning_url;
use crate::serve::discovery::Responder;
use crate::telemetry::{self, LogOptions};

/// Answers until a signal ends it.
///
/// # Errors
/// When clients could not use the URL, or an interface cannot be used.
pub async fn discovery(options: DiscoveryArgs) -> anyhow::Result<ExitCode> {
    let DiscoveryArgs { interface, parts } = options;
    let url = provisioning_url(parts)?.for_dhcp().or_else(usage)?;
    let _log = telemetry::start(LogOptions::default())?;
    Responder::listen(interface, url)?.run().await?;
    Ok(ExitCode::SUCCESS)
}
