//! The thread that writes the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use hashbrown::HashSet;

use super::format::Sealer;
use super::{ROWS, STRETCH, StateChange, encode, read_from};
use crate::core::model::{Change, Row, Table};
use crate::metrics::Gauge;
use crate::process::files;
use crate::snapshot;

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
    /// Write the rows of these contents to the new log, taken from the old one. They get ids
    /// that no row of the source has.
    Keep(HashSet<u64>),
    /// Write to the new log that the rows that were kept are gone: a stretch with the times,
    /// and the beginning of a stretch of changes.
    Lose { times: Vec<u8>, lost: Vec<u8> },
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
    /// The rows that it has from the log before it.
    kept: Vec<(Table, i64)>,
}

/// The ids of rows that were kept begin here. So such a row comes before the one that the
/// source has for the same user.
const KEPT: i64 = i64::MIN + 1;

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
        Ok(LogFile { file, sealer, kept: Vec::new() })
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

    /// The rows in the log that is in place that have these contents.
    fn rows_of(&self, mut contents: HashSet<u64>) -> Vec<Row> {
        let mut rows = Vec::new();
        let open = || {
            let file = files::open(&self.path)?;
            let len = file.metadata()?.len();
            Ok((BufReader::with_capacity(STRETCH, file), len))
        };
        // Without the old log, a restart does not know what was lost.
        let _ = read_from(open, &self.path, &self.source, |StateChange { change, .. }| {
            if let Change::Put(row) = change
                && contents.remove(&snapshot::content(&row))
            {
                let id = KEPT + rows.len() as i64;
                rows.push(row.with_id(id));
            }
        });
        rows
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
            DiskCommand::Keep(contents) if contents.is_empty() => {}
            DiskCommand::Keep(contents) => {
                let rows = self.rows_of(contents);
                if let Some(begun) = &mut self.begun {
                    begun.kept = rows.iter().map(|row| (row.table(), row.id())).collect();
                    let mut stretch = vec![ROWS];
                    rows.iter().for_each(|row| encode(row, &mut stretch));
                    begun.append(&stretch)?;
                }
            }
            DiskCommand::Lose { times, mut lost } => {
                if let Some(begun) = &mut self.begun {
                    begun.append(&times)?;
                    for (table, id) in std::mem::take(&mut begun.kept) {
                        encode(&Change::Gone(table, id), &mut lost);
                    }
                    begun.append(&lost)?;
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
