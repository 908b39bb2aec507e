//! The file that says which process serves.
//!
//! It is locked while the process lives. So a file that was left behind never looks
//! in use, even if another process has its number by now.

use std::fs::{File, Metadata, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The file used in the background, unless `--pidfile` names another.
pub const DEFAULT: &str = "/run/jitsiprovs.pid";

/// How often to try if another process replaces the file while it is opened.
const ATTEMPTS: usize = 10;

/// The file, with our process number in it. Dropping this removes the file.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
    file: File,
}

/// Why there is no pidfile: one line that names the file and the fix.
#[derive(Debug, thiserror::Error)]
pub enum PidfileError {
    /// Another process has locked it.
    #[error("{} is running already and holds {path}: stop it, or choose another file with --pidfile", holder(.pid))]
    Held {
        /// The file.
        path: String,
        /// The number in it; `None` in the moment before it is written.
        pid: Option<u32>,
    },
    /// It is not a regular file.
    #[error("{0} is no regular file: choose another with --pidfile")]
    Irregular(String),
    /// The system does not allow it.
    #[error("cannot write {path} ({why}): choose another file with --pidfile, or check permissions")]
    Io {
        /// The file.
        path: String,
        /// The system's error.
        why: io::Error,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or("another process".into(), |pid| format!("process {pid}"))
}

impl Pidfile {
    /// Locks the file at `path`, which must be absolute, and writes our process number
    /// to it.
    ///
    /// # Errors
    /// When another process has locked it, or it cannot be written.
    pub fn new(path: PathBuf) -> Result<Pidfile, PidfileError> {
        let failed = |why| PidfileError::Io { path: path.display().to_string(), why };
        for _ in 0..ATTEMPTS {
            let mut file = match open(&path) {
                Ok(file) => file,
                Err(_) if is_irregular(&path) => {
                    return Err(PidfileError::Irregular(path.display().to_string()));
                }
                Err(why) => return Err(failed(why)),
            };
            let found = file.metadata().map_err(failed)?;
            if !found.is_file() {
                return Err(PidfileError::Irregular(path.display().to_string()));
            }
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let _ = file.read_to_string(&mut text);
                    let pid = text.trim().parse().ok();
                    return Err(PidfileError::Held { path: path.display().to_string(), pid });
                }
                Err(TryLockError::Error(why)) => return Err(failed(why)),
            }
            // The previous holder may have removed it between the opening and the lock.
            if is_at(&found, &path) {
                write(&mut file).map_err(failed)?;
                return Ok(Pidfile { path, file });
            }
        }
        Err(failed(io::Error::other("other processes keep replacing it")))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let is_ours = self.file.metadata().is_ok_and(|ours| is_at(&ours, &self.path));
        if is_ours && std::fs::remove_file(&self.path).is_err() {
            // Its folder belongs to root, and this process no longer runs as root.
            let _ = self.file.set_len(0);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "opened before anything is served")]
fn open(path: &Path) -> io::Result<File> {
    // A symbolic link in a folder that others may write to could lead anywhere.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    options.custom_flags(flags.bits().cast_signed()).open(path)
}

fn is_irregular(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file())
}

fn is_at(ours: &Metadata, path: &Path) -> bool {
    let place = |file: &Metadata| (file.dev(), file.ino());
    std::fs::symlink_metadata(path).is_ok_and(|found| place(&found) == place(ours))
}

fn write(file: &mut File) -> io::Result<()> {
    // This does not depend on the umask, nor on who created the file.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        (folder, path)
    }

    #[test]
    fn it_holds_our_number_for_everybody_to_read_and_goes_with_us() {
        let (_folder, path) = path();
        std::fs::write(&path, "4194304 left by somebody\n").expect("written");
        let pidfile = Pidfile::new(path.clone()).expect("nobody holds it");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), format!("{}\n", std::process::id()));
        assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o7777, 0o644);
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_in_use_is_refused_with_the_number_of_its_holder() {
        let (_folder, path) = path();
        let _held = Pidfile::new(path.clone()).expect("nobody holds it");
        let error = Pidfile::new(path).expect_err("it is held").to_string();
        assert!(error.contains(&format!("process {} is running", std::process::id())), "{error}");
        assert!(error.contains("--pidfile"), "{error}");
    }

    #[test]
    fn a_symbolic_link_is_not_followed_and_a_folder_not_written() {
        let (folder, path) = path();
        let target = folder.path().join("target");
        std::fs::write(&target, "precious").expect("written");
        std::os::unix::fs::symlink(&target, &path).expect("a link");
        for path in [&path, folder.path()] {
            let error = Pidfile::new(path.to_owned()).expect_err("irregular").to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&target).expect("a file"), "precious");
    }

    #[test]
    fn a_file_that_was_replaced_meanwhile_is_left_to_its_owner() {
        let (_folder, path) = path();
        let pidfile = Pidfile::new(path.clone()).expect("nobody holds it");
        std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, "1\n")).expect("replaced");
        drop(pidfile);
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "1\n");
    }
}
