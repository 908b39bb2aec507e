//! `--setup`

use crate::source::Source;

/// Makes or upgrades the tables of `source` and says what was done.
///
/// # Errors
/// One line that names the thing and the fix.
pub async fn setup(source: &dyn Source) -> anyhow::Result<()> {
    let done = source.setup().await?;
    for line in &done {
        println!("{line}");
    }
    if done.is_empty() {
        println!("nothing to do: {} is up to date", source.name());
    }
    Ok(())
}
