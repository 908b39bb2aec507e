//! Arguments of `compare`.

use std::path::PathBuf;

use clap::Args;

use super::shared::{AdminTrust, Listed};

/// Options of `compare`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct CompareArgs {
    /// The old server, such as http://10.0.0.1:8080/jitsiprovs/
    pub old_url: String,
    /// The new server
    #[arg(long, value_name = "URL")]
    pub with: String,
    /// File with a line of the form user:password for each user to ask for [default: standard input]
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// What clients send besides, such as osname=Linux
    #[arg(value_name = "PARAM=VALUE")]
    pub params: Vec<String>,
    /// Seconds to wait for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,
    #[command(flatten)]
    pub trust: AdminTrust,
    #[command(flatten)]
    pub listed: Listed,
}
