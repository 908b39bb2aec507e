//! When and how to reload.

use std::path::PathBuf;
use std::time::Duration;

use crate::source::SourceError;

/// When and how to reload.
#[derive(Debug, Clone)]
pub struct ReloadSettings {
    /// `--reload-interval`: everything is loaded this often; `None` for never.
    pub reload_interval: Option<Duration>,
    /// `--poll-interval`: changes are looked for this often; `None` for never.
    pub poll_interval: Option<Duration>,
    /// `--max-shrink`, in percent; 100 with `--allow-shrink`.
    pub max_shrink: u8,
    /// `--state-file`
    pub state_file: Option<PathBuf>,
    /// `--stale-after`: once the source has been out of reach for this long, a
    /// sign-in that fails may be due to that.
    pub stale_after: Duration,
    /// Adds to the message of an error of the source which option to check: the source
    /// does not know the options it was made from.
    pub advice: fn(&SourceError) -> String,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        ReloadSettings {
            reload_interval: Some(Duration::from_secs(300)),
            poll_interval: Some(Duration::from_secs(1)),
            max_shrink: 50,
            state_file: None,
            stale_after: Duration::from_secs(60),
            advice: |_| String::new(),
        }
    }
}
