//! `--setup`

use crate::cli::print::{self, Text};
use crate::source::Source;

/// Makes or upgrades the tables of `source` and says what was done.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn setup(source: &dyn Source) -> anyhow::Result<()> {
    let done = source.setup().await?;
    print::done(match done.is_empty() {
        true => Text::line(format_args!("nothing to do: {} is up to date", source.name())),
        false => Text::lines(done),
    });
    Ok(())
}
