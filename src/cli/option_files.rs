//! Reads the files and passwords that options name.

use std::path::{Path, PathBuf};

use super::error::{ConfigError, usage};
use crate::core::secret::Secret;
use crate::process::files;

/// A path that means the same after a change of the working directory.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Reads a file once. It may also be a pipe that somebody writes to, such as a shell's
/// `<(command)`.
///
/// # Errors
/// When it cannot be read within a few seconds.
#[allow(clippy::disallowed_methods, reason = "read before anything is served, with a bound")]
pub(super) fn read(path: &Path, option: &'static str) -> Result<String, ConfigError> {
    read_by(std::fs::read_to_string::<PathBuf>, path, option)
}

/// Reads a file that the server will read again while it runs. It must be a regular file.
///
/// # Errors
/// As [`read`].
pub(super) fn regular(path: &Path, option: &'static str) -> Result<Vec<u8>, ConfigError> {
    read_by(|path| files::read(&path), path, option)
}

fn read_by<T: Send + 'static>(
    read: fn(PathBuf) -> std::io::Result<T>,
    path: &Path,
    option: &'static str,
) -> Result<T, ConfigError> {
    let at = path.to_owned();
    let text = files::within_bound(move || read(at)).flatten();
    text.map_err(|why| ConfigError::File { path: path.display().to_string(), option, why })
}

/// A password that is an option's value, or the first line of another option's file.
///
/// # Errors
/// When both are given, or the file cannot be read.
pub(super) fn password(
    typed: Option<String>,
    file: Option<PathBuf>,
    option: &'static str,
    file_option: &'static str,
) -> Result<Option<Secret>, ConfigError> {
    match (typed, file) {
        (Some(_), Some(_)) => {
            usage(format!("{option} and {file_option} are both given: leave out one of them"))
        }
        (Some(typed), None) => Ok(Some(Secret::new(typed))),
        (None, Some(path)) => Ok(Some(Secret::first_line(&read(&path, file_option)?))),
        (None, None) => Ok(None),
    }
}
