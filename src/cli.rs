//! The command line: options, commands, and what they print.

pub mod advice;
pub mod args;
mod attributes;
pub mod commands;
pub mod config;
mod consent;
mod edit_report;
mod edit_session;
pub mod error;
mod listing;
mod manual;
mod moment;
mod option_files;
pub mod options;
mod password;
pub mod print;
mod progress;
mod provisioning_url;
pub mod settings;
mod source;
pub mod summary;
mod typed_names;
mod version;
mod warnings;

use std::ffi::OsString;

use clap::Parser;

use crate::process::build;
use args::Command;
use options::ServerOptions;

/// Provisioning server for the Jitsi softphone.
///
/// Users and property rules come from a database; requests are answered from
/// memory. Every option can also be given in the environment or in the settings
/// file, as JITSIPROVS_ and its name: JITSIPROVS_HTTP_PORT=8443.
#[derive(Debug, Parser)]
#[command(
    name = "jitsiprovs",
    version = build::VERSION,
    long_version = version::long(),
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
#[expect(missing_docs, reason = "groups of options, documented one by one")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// File with the values of options, as lines NAME=value with the names of their variables; ''
    /// for none [default: /etc/jitsiprovs/jitsiprovs.conf, if it exists]
    #[arg(long, env = "JITSIPROVS_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<OsString>,
    #[command(flatten)]
    pub serve: ServerOptions,
}
