//! Looks at the start whether the state file can be written, because otherwise nobody would
//! notice before the first write, and the database may be down until then.

use std::path::Path;

use crate::metrics::Metrics;
use crate::process::files;

/// Warns if the folder of the state file does not allow to write there.
pub(super) async fn check(state_file: &Path, metrics: &Metrics) {
    let path = state_file.to_owned();
    let checked = files::Aside::new().run(move || files::can_replace(&path)).await.flatten();
    if let Err(why) = checked {
        metrics.state_file_writable.set(0);
        tracing::warn!(
            "--state-file {} cannot be written ({why}): the server would not start while the database is down; \
             its folder must exist and belong to the server's user",
            state_file.display()
        );
    }
}
