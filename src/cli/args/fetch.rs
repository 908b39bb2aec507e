//! Arguments of `fetch`.

use clap::{Args, Subcommand};

use super::shared::{AdminAccess, Listed, TableArgs};
use crate::cli::moment::moment;
use crate::cli::typed_names::{account, tenant};
use crate::core::fetch::address_beginning;

/// `fetch`
#[derive(Debug, Subcommand)]
pub enum FetchCommand {
    /// List the last success and the last failure of each device, the newest first
    List(Box<FetchListArgs>),
}

/// Options of `fetch list`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct FetchListArgs {
    /// Admin listeners of nodes, such as http://10.0.0.1:8090, to ask for what they have in memory;
    /// without one, the database is read, which all nodes write to
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// Only those of this tenant
    #[arg(long, value_name = "DOMAIN", value_parser = tenant)]
    pub domain: Option<String>,
    /// Only those of this user, as user@domain; without a domain in every tenant
    #[arg(long = "user", value_name = "USER", value_parser = account)]
    pub who: Option<String>,
    /// Only those from this address, or from all that begin so, such as 192.0.2.
    #[arg(long, value_name = "BEGINNING", value_parser = beginning)]
    pub address: Option<String>,
    /// Only those since then: how long ago, such as 2h or 3d, or a date, such as 2026-11-27
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<i64>,
    /// Only those that failed
    #[arg(long)]
    pub failed: bool,
    /// How many to list at most
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub most: u32,
    #[command(flatten)]
    pub access: AdminAccess,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: TableArgs,
}

fn beginning(typed: &str) -> Result<String, &'static str> {
    address_beginning(typed).ok_or("give an address, or its beginning, such as 192.0.2. or 2001:db8:")
}
