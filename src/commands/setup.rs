//! `--setup`

use std::io::Write;

use crate::source::Source;

/// Makes or upgrades the tables of `source` and says what was done.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn setup(source: &dyn Source) -> anyhow::Result<()> {
    let done = source.setup().await?;
    let said = match done.is_empty() {
        true => format!("nothing to do: {} is up to date", source.name()),
        false => done.join("\n"),
    };
    // It is done, whether or not anybody reads that it is.
    let _ = writeln!(std::io::stdout(), "{said}");
    Ok(())
}
