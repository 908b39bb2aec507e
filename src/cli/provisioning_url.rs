//! The URL of the server, from options and the certificate.

use std::path::Path;

use crate::cli::args::UrlParts;
use crate::cli::error::{ConfigError, usage};
use crate::cli::option_files::read;
use crate::cli::print;
use crate::ops::discovery::{ProvisioningUrl, Scheme};
use crate::process::key_pair::{self, HostNames};

/// The URL that clients need. What is unwise about it is printed as warnings.
///
/// # Errors
/// When clients could not use it, or the certificate cannot be read.
pub(super) fn provisioning_url(parts: UrlParts) -> Result<ProvisioningUrl, ConfigError> {
    let UrlParts { host, scheme, port, params, http_port, ssl_certfile } = parts;
    let own = if ssl_certfile.is_some() { Scheme::Https } else { Scheme::Http };
    let scheme = scheme.map_or(own, Scheme::from);
    // A server speaks one of both, so a proxy in front of it speaks the other.
    let port = port.unwrap_or(if scheme == own { http_port } else { scheme.port() });
    let names = ssl_certfile.as_deref().map(host_names).transpose()?;
    let first = names.as_ref().and_then(HostNames::first);
    let Some(host) = host.as_deref().or(first) else {
        return usage("--host is missing: give the name by which clients reach the server");
    };
    let url = ProvisioningUrl::new(scheme, host, port, params).or_else(usage)?;
    url.doubts().into_iter().for_each(print::warn);
    if let (Some(names), Some(path), Scheme::Https) = (&names, ssl_certfile, scheme) {
        certificate_doubts(host, names, &path).into_iter().for_each(print::warn);
    }
    Ok(url)
}

fn host_names(path: &Path) -> Result<HostNames, ConfigError> {
    let text = read(path, "--ssl-certfile")?;
    let names = key_pair::certificates(text.as_bytes()).and_then(|chain| HostNames::of(&chain));
    names.or_else(|fault| usage(format!("--ssl-certfile {}: {fault}", path.display())))
}

/// Why clients would not trust this certificate for this host. A user can still accept it, so the URL
/// is not refused.
fn certificate_doubts(host: &str, names: &HostNames, path: &Path) -> Option<String> {
    if names.cover(host) {
        return None;
    }
    let path = path.display();
    let has_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    let wrong = match names.all().is_empty() {
        true => format!("the certificate in {path} names no host in subjectAltName"),
        false => format!("the certificate in {path} is for {} and not for {host}", names.all().join(", ")),
    };
    let fix = match has_address {
        true => "give a name instead of the address with --host",
        false => "give one of its names with --host, or another certificate",
    };
    Some(format!("{wrong}, so Jitsi asks each user whether to trust it: {fix}"))
}
