//! Arguments of the commands that edit attributes.

use clap::Args;

use super::shared::EditArgs;

/// Attributes to set.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Read the value of this attribute from the first line of standard input, as for passwords,
    /// which are never arguments
    #[arg(long, value_name = "NAME")]
    pub value_stdin: Option<String>,
    /// How the edit is made
    #[command(flatten)]
    pub edit: EditArgs,
}
