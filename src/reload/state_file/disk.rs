//! The thread that writes the file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use super::STRETCH;
use super::format::Sealer;
use crate::metrics::Gauge;

/// What the thread reports to those who send it orders.
#[derive(Debug, Default)]
pub(super) struct DiskProgress {
    /// Whether something could not be written.
    pub has_failed: AtomicBool,
    /// Whether the log is much longer than a new one would be.
    pub is_long: AtomicBool,
    /// How many orders are done.
    pub done: AtomicU64,
}

/// An order to the thread.
pub(super) enum DiskCommand {
    /// Begin a new log next to the old one.
    Begin,
    /// Write a stretch to the new log.
    Write(Vec<u8>),
    /// Replace the old log by the new one.
    Finish,
    /// Delete the new log.
    Forget,
    /// Write a stretch to the log that is in place.
    Append(Vec<u8>),
}

/// The state of the thread.
pub(super) struct Disk {
    path: PathBuf,
    source: String,
    shared: Arc<DiskProgress>,
    is_writable: Gauge,
    begun: Option<LogFile>,
    current: Option<CurrentFile>,
}

/// A log that is being written.
struct LogFile {
    file: File,
    sealer: Sealer,
}

/// The log that is in place.
struct CurrentFile {
    log: LogFile,
    /// Its length in bytes.
    len: u64,
    /// The length that it had when it was moved into place.
    rows: u64,
}

/// The path of the new log while it is being written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

impl LogFile {
    #[allow(clippy::disallowed_methods, reason = "on the thread that writes the file")]
    fn begin(path: &Path) -> io::Result<LogFile> {
        // Only the owner may read it, because it contains the rows of the database.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let sealer = Sealer::begin(&mut file)?;
        Ok(LogFile { file, sealer })
    }

    fn append(&mut self, stretch: &[u8]) -> io::Result<u64> {
        self.sealer.append(&mut self.file, stretch)
    }
}

impl Disk {
    pub fn new(path: PathBuf, source: String, shared: Arc<DiskProgress>, is_writable: Gauge) -> Disk {
        Disk { path, source, shared, is_writable, begun: None, current: None }
    }

    /// Carries out orders until nobody can send any more.
    pub fn run(&mut self, orders: &Receiver<DiskCommand>) {
        let mut is_failing = false;
        while let Ok(order) = orders.recv() {
            match self.obey(order) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    is_failing = false;
                    self.is_writable.set(1);
                    self.shared.is_long.store(false, Ordering::Relaxed);
                    tracing::debug!(bytes, "state file written");
                }
                Err(why) => {
                    self.forget();
                    self.current = None;
                    self.shared.has_failed.store(true, Ordering::Relaxed);
                    self.is_writable.set(0);
                    if !std::mem::replace(&mut is_failing, true) {
                        let path = self.path.display();
                        tracing::error!(
                            "cannot write the state file {path} ({why}): the old file stays, and the next \
                             full load tries again; check the space and the permissions of its folder"
                        );
                    }
                }
            }
            self.shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn forget(&mut self) {
        self.begun = None;
        let _ = fs::remove_file(beside(&self.path));
    }

    /// Carries out an order. Returns the length in bytes of a log that was moved into place.
    fn obey(&mut self, order: DiskCommand) -> io::Result<Option<u64>> {
        match order {
            DiskCommand::Begin => {
                // A crash may have left one behind.
                let _ = fs::remove_file(beside(&self.path));
                self.begun.insert(LogFile::begin(&beside(&self.path))?).append(self.source.as_bytes())?;
            }
            DiskCommand::Write(stretch) => {
                if let Some(begun) = &mut self.begun {
                    begun.append(&stretch)?;
                }
            }
            DiskCommand::Forget => self.forget(),
            DiskCommand::Finish => {
                if let Some(log) = self.begun.take() {
                    log.file.sync_all()?;
                    fs::rename(beside(&self.path), &self.path)?;
                    let len = log.file.metadata()?.len();
                    self.current = Some(CurrentFile { log, len, rows: len });
                    return Ok(Some(len));
                }
            }
            DiskCommand::Append(stretch) => {
                if let Some(current) = &mut self.current {
                    match current.log.append(&stretch) {
                        Ok(bytes) => current.len += bytes,
                        Err(why) => {
                            // Readers would ignore the torn end, but it takes up space.
                            let _ = current.log.file.set_len(current.len);
                            return Err(why);
                        }
                    }
                    if current.len > 2 * current.rows + STRETCH as u64 {
                        self.shared.is_long.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(None)
    }
}
