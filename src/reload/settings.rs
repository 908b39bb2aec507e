//! When and how to reload.

use std::path::PathBuf;
use std::time::Duration;

use crate::source::SourceError;

/// When and how to reload.
#[derive(Debug, Clone)]
pub struct ReloadSettings {
    /// `--reload-interval`: how often everything is loaded. `None` for never.
    pub reload_interval: Option<Duration>,
    /// `--poll-interval`: how often the source is asked for changes. `None` for never.
    pub poll_interval: Option<Duration>,
    /// `--max-shrink`, in percent; 100 with `--allow-shrink`.
    pub max_shrink: u8,
    /// `--settle`: how long a user whose row was lost or changed may be about to come back.
    pub settle: Duration,
    /// `--state-file`
    pub state_file: Option<PathBuf>,
    /// What decides whether a right password is accepted, besides the rows: options that say
    /// how rows and requests are read, for the state file and for people.
    pub meaning: String,
    /// `--stale-after`: if the source cannot be read for longer than this, a sign-in may
    /// fail only because the snapshot is out of date.
    pub stale_after: Duration,
    /// `--default-domain`. The first load checks whether it names the only tenant.
    pub default_domain: Option<String>,
    /// `--accept-rows`: start even if stored passwords look like another format.
    pub accept_rows: bool,
    /// `--keep-history`: for how many days the history keeps edits; 0 for ever.
    pub keep_history: u32,
    /// Returns which option to check, to be added to an error of the source. The source
    /// does not know the options that it was created from.
    pub advice: fn(&SourceError) -> String,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        ReloadSettings {
            reload_interval: Some(Duration::from_secs(300)),
            poll_interval: Some(Duration::from_secs(1)),
            max_shrink: 50,
            settle: Duration::from_secs(10),
            state_file: None,
            meaning: String::new(),
            stale_after: Duration::from_secs(60),
            default_domain: None,
            accept_rows: false,
            keep_history: 365,
            advice: |_| String::new(),
        }
    }
}
