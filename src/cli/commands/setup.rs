//! `--setup`: creates or upgrades the tables.

use crate::cli::print::{self, Text};
use crate::source::Source;

/// Creates or upgrades the tables of `source` and prints what was done.
///
/// # Errors
/// One line that says what is wrong and how to fix it.
pub async fn setup(source: &dyn Source) -> anyhow::Result<()> {
    let done = source.setup().await?;
    print::done(match done.is_empty() {
        true => Text::line(format_args!("nothing to do: {} is up to date", source.name())),
        false => Text::lines(done),
    });
    Ok(())
}
