//! Why the options cannot be used.

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// They contradict each other, or one is missing or has a wrong value: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// They name a file that cannot be read: exit code 1.
    #[error("cannot read {path} ({why}): check {option} and the file's permissions")]
    File {
        /// The file.
        path: String,
        /// The option that names it.
        option: &'static str,
        /// What the system says.
        why: std::io::Error,
    },
    /// The usual settings file exists, but not for this user: exit code 1.
    #[error(
        "cannot read {path} ({why}): run this as root or as the user of the service, name another file with \
         --config, or give --config '' for none"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        why: std::io::Error,
    },
}

/// Refuses the options with a message for the user.
pub(super) fn usage<T>(message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Usage(message.into()))
}
