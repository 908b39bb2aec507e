//! Reads files that may never answer: a pipe in a file's place, a network file
//! system, a mount that hangs.
//!
//! Each read runs on a thread of its own, and the caller gives up after [`BOUND`].
//! A thread that hangs cannot be ended, only left behind; so [`Aside`] starts no
//! second thread before the first has finished.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, OFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

/// How long to wait for a file.
pub const BOUND: Duration = Duration::from_secs(5);

/// Opens a file to read it. It must be a regular file: opening a pipe would wait
/// for a writer.
///
/// # Errors
/// The system's error, or [`io::ErrorKind::InvalidInput`] for anything but a
/// regular file.
#[allow(clippy::disallowed_methods, reason = "this function does not hang")]
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// Reads a regular file.
///
/// # Errors
/// The same as [`open`], and errors of reading.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces a file by one with this content, all at once. Only its owner may read it.
///
/// # Errors
/// The system's error. The old file stays then.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_as(path, content, |_| Ok(()))
}

/// Like [`replace`], but a file that exists keeps its owner and its group, and the group may still
/// read it if it could before.
///
/// # Errors
/// As [`replace`].
#[allow(clippy::disallowed_methods, reason = "not on a thread that must not wait")]
pub fn replace_kept(path: &Path, content: &[u8]) -> io::Result<()> {
    const KEPT: u32 = 0o640;
    let old = match std::fs::metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => None,
        old => Some(old?),
    };
    replace_as(path, content, |file| {
        let Some(old) = old else { return Ok(()) };
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & KEPT))
    })
}

#[allow(clippy::disallowed_methods, reason = "not on a thread that must not wait")]
fn replace_as(path: &Path, content: &[u8], prepare: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // A crash may have left one behind.
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    prepare(&file)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// Whether [`replace`] would be allowed for this path.
///
/// # Errors
/// The system's error, such as that of a folder that belongs to somebody else.
pub fn can_replace(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let needed = Access::WRITE_OK | Access::EXEC_OK;
    // With the rights of the user that the process has now.
    Ok(rustix::fs::accessat(rustix::fs::CWD, folder, needed, AtFlags::EACCESS)?)
}

/// Runs `work`, which reads files, and waits for it no longer than [`BOUND`]. Only for
/// files that are read once, at the start or by a command, because each call may leave
/// a thread behind.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`], or the error of starting a thread.
pub fn within_bound<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = sync_channel(1);
    thread(move || drop(done.send(work())))?;
    result.recv_timeout(BOUND).map_err(|_| hangs())
}

/// Reads files on other threads, one piece of work at a time.
#[derive(Debug, Clone)]
pub struct Aside(Arc<Semaphore>);

impl Aside {
    /// Creates one without work.
    pub fn new() -> Aside {
        Aside(Arc::new(Semaphore::new(1)))
    }

    /// Runs `work`, which reads files, and waits for it no longer than [`BOUND`].
    /// It does not begin while earlier work hangs.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`], or the error of starting a thread.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        self.run_for(BOUND, work).await
    }

    /// Like [`Aside::run`], with another bound.
    ///
    /// # Errors
    /// The same as [`Aside::run`].
    pub async fn run_for<T: Send + 'static>(
        &self,
        bound: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.start(bound, move |done| done.send(work())).await
    }

    /// Like [`Aside::run_for`], but the thread goes on with something else when it has sent the
    /// result. Only `work` before that counts as earlier work.
    ///
    /// # Errors
    /// The same as [`Aside::run`].
    pub async fn start<T: Send + 'static>(
        &self,
        bound: Duration,
        work: impl FnOnce(Done<T>) + Send + 'static,
    ) -> io::Result<T> {
        let work = async {
            let permit = self.0.clone().acquire_owned().await.map_err(|_| hangs())?;
            let (result, done) = oneshot::channel();
            thread(move || work(Done { result, _permit: permit }))?;
            done.await.map_err(|_| io::Error::other("reading it has failed; this is a defect of jitsiprovs"))
        };
        timeout(bound, work).await.unwrap_or_else(|_| Err(hangs()))
    }
}

/// How the work of [`Aside::start`] sends its result.
pub struct Done<T> {
    result: oneshot::Sender<T>,
    _permit: OwnedSemaphorePermit,
}

impl<T> Done<T> {
    /// Sends the result, and lets the next work begin.
    pub fn send(self, result: T) {
        // The one who waited may have given up.
        let _ = self.result.send(result);
    }
}

impl Default for Aside {
    fn default() -> Aside {
        Aside::new()
    }
}

/// Runs `work` on a thread that nobody waits for.
pub(crate) fn thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("files".into()).spawn(work).map(drop)
}

/// The error for a file that does not answer in time.
pub(crate) fn hangs() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn pipe(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        path
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "text").expect("written");
        assert_eq!(read(&path).expect("readable"), b"text");
        for path in [&*pipe(folder.path()), folder.path(), Path::new("/dev/null")] {
            let why = read(path).expect_err("no file");
            assert_eq!(why.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(folder.path().join("file.new"), "left behind").expect("written");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes()).expect("replaced");
            assert_eq!(read(&path).expect("readable"), text.as_bytes());
        }
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
        assert!(replace(&folder.path().join("none/file"), b"").is_err());
    }

    #[test]
    fn work_that_hangs_is_given_up_and_has_no_second_beside_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let aside = Aside::new();
            let short = Duration::from_millis(50);
            let (end, hanging) = channel::<()>();
            let hung = aside.run_for(short, move || hanging.recv().is_ok()).await;
            assert_eq!(hung.expect_err("it hangs").kind(), io::ErrorKind::TimedOut);
            let (begun, has_begun) = channel();
            let next = aside.run_for(short, move || begun.send(())).await;
            assert_eq!(next.expect_err("it waits").kind(), io::ErrorKind::TimedOut);
            assert!(has_begun.recv().is_err(), "it has begun");
            drop(end);
            assert_eq!(aside.run(|| 7).await.expect("the first has ended"), 7);
        });
    }
}
