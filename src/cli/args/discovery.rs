//! Arguments of `url` and `discovery`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;

use crate::ops::discovery::{Parameter, Scheme};

/// What the URL depends on.
#[derive(Debug, Args)]
pub struct UrlParts {
    /// Name by which clients reach the server [default: the first one in the certificate]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// How clients reach it, if a proxy stands in front of the server [default: https if --ssl-certfile is
    /// given, else http]
    #[arg(long, value_name = "SCHEME")]
    pub scheme: Option<SchemeOption>,
    /// Port that clients connect to [default: --http-port; behind such a proxy, the usual port of the scheme]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Another parameter of the URL, another value for a usual one, or, without a value, a usual one
    /// to leave out
    #[arg(value_name = "PARAM=VALUE")]
    pub params: Vec<Parameter>,
    /// Port of the server
    #[arg(
        long,
        alias = "http_port",
        env = "JITSIPROVS_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 8080
    )]
    pub http_port: u16,
    /// File with the certificate that clients see
    #[arg(long, alias = "ssl_certfile", env = "JITSIPROVS_SSL_CERTFILE", value_name = "FILE")]
    pub ssl_certfile: Option<PathBuf>,
}

/// `--scheme`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemeOption {
    /// Without TLS
    Http,
    /// With TLS
    Https,
}

impl From<SchemeOption> for Scheme {
    fn from(option: SchemeOption) -> Scheme {
        match option {
            SchemeOption::Http => Scheme::Http,
            SchemeOption::Https => Scheme::Https,
        }
    }
}

/// Options of `url`.
#[derive(Debug, Args)]
pub struct UrlArgs {
    /// The URL
    #[command(flatten)]
    pub parts: UrlParts,
    /// What to print
    #[command(flatten)]
    pub form: UrlForm,
    /// Network of the clients, for --dnsmasq, --kea and --dhcpd
    #[arg(long, value_name = "CIDR")]
    pub network: Option<Ipv4Net>,
    /// Interface in that network
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
}

/// What `url` prints instead of the URL.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct UrlForm {
    /// Print settings of dnsmasq that announce the URL by DHCP
    #[arg(long)]
    pub dnsmasq: bool,
    /// Print settings of Kea that announce the URL by DHCP
    #[arg(long)]
    pub kea: bool,
    /// Print settings of ISC's dhcpd that announce the URL by DHCP
    #[arg(long)]
    pub dhcpd: bool,
    /// Print a service file of avahi-daemon that announces the URL by Bonjour
    #[arg(long)]
    pub avahi: bool,
    /// Print a command line that installs Jitsi on Windows with the URL
    #[arg(long)]
    pub msi: bool,
}

/// Options of `discovery`.
#[derive(Debug, Args)]
pub struct DiscoveryArgs {
    /// Interface on which clients ask; can be repeated
    #[arg(long, required = true, value_name = "NAME", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub interface: Vec<String>,
    /// The URL
    #[command(flatten)]
    pub parts: UrlParts,
}
