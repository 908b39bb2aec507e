//! How clients find the server: the [URL](ProvisioningUrl) of Jitsi's settings, what Jitsi would do
//! with its parameters, and the files with which other programs announce it.

pub mod announcement;
mod parameters;

use std::fmt;
use std::net::IpAddr;

pub use parameters::Parameter;

/// The longest value of a DHCP option and of a string in a TXT record.
pub const MOST_BYTES: usize = 255;

/// How clients speak with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Its name in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port of URLs that name none.
    pub fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// The URL for Jitsi's settings, with placeholders that Jitsi fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisioningUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    parameters: Vec<Parameter>,
}

impl ProvisioningUrl {
    /// A URL with the usual parameters, of which `typed` replaces those with the same name, or leaves
    /// them out if its value is empty. Others of `typed` follow.
    ///
    /// # Errors
    /// One line that says which part cannot work, and why.
    pub fn new(
        scheme: Scheme,
        host: &str,
        port: u16,
        typed: Vec<Parameter>,
    ) -> Result<ProvisioningUrl, String> {
        let host = match host.trim_matches(['[', ']']).parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host.to_owned(),
        };
        let is_host = url::Host::parse(&host).is_ok_and(|parsed| parsed.to_string() == host.to_lowercase());
        if !is_host {
            return Err(format!("{host:?} is no name of a host: give a name such as prov.example.org"));
        }
        if port == 0 {
            return Err("clients cannot use port 0: give the port that they connect to".into());
        }
        let parameters = parameters::merge(typed);
        parameters::refusal(&parameters).map_or(Ok(()), Err)?;
        Ok(ProvisioningUrl { scheme, host, port, parameters })
    }

    /// How clients speak with the server.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What is unwise about it, or works in another way than it seems to: a line for each.
    pub fn doubts(&self) -> Vec<String> {
        let plain = (self.scheme == Scheme::Http).then(|| {
            "passwords cross the network in plain text: use https (--ssl-keyfile and --ssl-certfile, or \
             --scheme https if a proxy in front of the server has the certificate)"
                .to_owned()
        });
        plain.into_iter().chain(parameters::doubts(&self.parameters)).collect()
    }

    /// The same URL, if it fits into a DHCP option.
    ///
    /// # Errors
    /// One line that says by how much it is too long.
    pub fn for_dhcp(&self) -> Result<String, String> {
        let url = self.to_string();
        if url.len() > MOST_BYTES {
            return Err(format!(
                "the URL has {} bytes, and a DHCP option has room for {MOST_BYTES}: leave out parameters, such \
                 as `osname=`, or use a shorter name of the host",
                url.len()
            ));
        }
        Ok(url)
    }

    /// The URL without its parameters.
    fn base(&self) -> String {
        let ProvisioningUrl { scheme, host, port, .. } = self;
        match *port == scheme.port() {
            true => format!("{}://{host}/jitsiprovs/", scheme.name()),
            false => format!("{}://{host}:{port}/jitsiprovs/", scheme.name()),
        }
    }
}

impl fmt::Display for ProvisioningUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base())?;
        for (at, parameter) in self.parameters.iter().enumerate() {
            write!(f, "{}{parameter}", if at == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
