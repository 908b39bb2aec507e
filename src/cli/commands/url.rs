//! `jitsiprovs url`: prints the URL for Jitsi's settings, and what announces it.

use std::process::ExitCode;

use crate::cli::args::{UrlArgs, UrlForm};
use crate::cli::error::{ConfigError, usage};
use crate::cli::print;
use crate::cli::provisioning_url::provisioning_url;
use crate::ops::discovery::ProvisioningUrl;
use crate::ops::discovery::announcement::{self, Lan};

/// Makes the settings of a DHCP server, or says why they would not work.
type Make = fn(&ProvisioningUrl, &Lan) -> Result<String, String>;

/// Prints the URL, a file, or a command line.
///
/// # Errors
/// When clients could not use the URL, or it cannot be announced in this way.
pub fn url(options: UrlArgs) -> anyhow::Result<ExitCode> {
    let UrlArgs { parts, form, network, interface } = options;
    let UrlForm { dnsmasq, kea, dhcpd, avahi, msi } = form;
    let dhcp: Option<Make> = match (dnsmasq, kea, dhcpd) {
        (true, ..) => Some(announcement::dnsmasq),
        (_, true, _) => Some(announcement::kea),
        (.., true) => Some(announcement::dhcpd),
        _ => None,
    };
    let lan = dhcp.map(|make| Ok::<_, ConfigError>((make, lan(network, interface)?))).transpose()?;
    let url = provisioning_url(parts)?;
    let text = match lan {
        Some((make, lan)) => make(&url, &lan),
        None if avahi => announcement::avahi(&url),
        None if msi => Ok(announcement::msi(&url)),
        None => Ok(format!("{url}\n")),
    };
    print::exact(text.or_else(usage)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn lan(network: Option<ipnet::Ipv4Net>, interface: Option<String>) -> Result<Lan, ConfigError> {
    let (Some(network), Some(interface)) = (network, interface) else {
        return usage(
            "--dnsmasq, --kea and --dhcpd need --network and --interface: give the clients' network, such as \
             192.0.2.0/24, and the interface in it",
        );
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@:".contains(&byte);
    if interface.is_empty() || !interface.bytes().all(is_name) {
        return usage(format!("--interface {interface:?} is no name of an interface: `ip link` lists them"));
    }
    Ok(Lan { network, interface })
}
