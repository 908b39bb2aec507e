//! Arguments of `lock`.

use clap::{Args, Subcommand};

use super::shared::{AdminAccess, Listed};

/// `lock`
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// List the accounts and addresses that are refused now, the newest first
    List(LockListArgs),
    /// Forget the wrong passwords of an account or of an address, so that they can sign in again
    Clear(LockClearArgs),
}

/// Options of `lock list`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct LockListArgs {
    /// The nodes' admin listeners, such as http://10.0.0.1:8090
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    #[command(flatten)]
    pub access: AdminAccess,
    #[command(flatten)]
    pub listed: Listed,
}

/// Options of `lock clear`.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct LockClearArgs {
    /// The account as USER@DOMAIN, an address, or both for this account from this address; then the
    /// nodes' admin listeners, such as http://10.0.0.1:8090
    #[arg(required = true, value_name = "WHAT|URL")]
    pub words: Vec<String>,
    /// Forget all wrong passwords of all accounts
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub access: AdminAccess,
}
