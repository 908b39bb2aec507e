//! The rows that were served last, on disk (`--state-file`), for a start without the
//! database.
//!
//! The file is a log. It begins with all rows of one load, the changes that polls found
//! during that load, and a mark that the rows are complete. The changes of each later
//! snapshot follow. The mark and the changes contain the position in the source's table of
//! changes. Before changes stands the time at which they were read, and the time since
//! which losses are remembered ([`Times`]): a start applies the changes since then as one,
//! so that it withholds what was withheld before. A load writes a new log under another
//! name if there is none yet, if the log has grown to twice its size, or if it lacks
//! something. The complete new log is then renamed into place.
//!
//! If a crash tears off the end of the log, only the latest changes are lost, and the rest
//! is a state that was served. After any other damage the whole file is unusable: a user
//! whose row is missing would be refused, and clients forget passwords that are refused.
//! [`format`] detects which of the two has happened.
//!
//! A separate thread does all writing. So a slow or full disk does not delay reloads; it is
//! reported.

mod disk;
mod format;
mod writer;

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::core::model::{Change, Row};
use crate::process::files;
use crate::snapshot::LOSS_WINDOW;
use format::{Bad, NextPart, Opener};

pub use writer::{Commit, StateWriter};

/// Rows are written in stretches of about this many bytes.
const STRETCH: usize = 1 << 20;
/// How many stretches may wait between the thread that reads and the one that uses them.
const AHEAD: usize = 2;

/// What a stretch contains: its first byte.
const ROWS: u8 = 0;
const COMPLETE: u8 = 1;
const CHANGES: u8 = 2;
const TIMES: u8 = 3;
const SETTINGS: u8 = 4;

/// The times of the changes that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When they were read, in seconds since 1970.
    pub at: u64,
    /// When the oldest loss began that is remembered, in seconds since 1970. `u64::MAX` if
    /// there is none.
    pub lost_since: u64,
    /// Whether a loss is withheld, so that it stays remembered however old it is.
    pub is_withheld: bool,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// It does not exist, or it cannot be read.
    #[error("cannot read the state file {} ({why}): check --state-file and the file's permissions", .path.display())]
    Unreadable {
        /// `--state-file`
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// It is not a state file, so it must not be overwritten.
    #[error(
        "{} is no state file of jitsiprovs: it is left alone; give --state-file another name, or remove \
         the file", .0.display()
    )]
    Foreign(PathBuf),
    /// Another version of this program wrote it.
    #[error(
        "the state file {} is of another version: it is ignored, and written again after the next load",
        .0.display()
    )]
    OtherVersion(PathBuf),
    /// It belongs to another database.
    #[error(
        "the state file {} is of {of}, which is not the one in use: it is ignored, and written \
         again after the next load", .path.display()
    )]
    OtherSource {
        /// `--state-file`
        path: PathBuf,
        /// The database that it belongs to.
        of: String,
    },
    /// Its contents do not agree with its checksums.
    #[error(
        "the state file {} is damaged: nothing of it is used, and it is written again after the next full \
         load; if that happens again, check the disk that it is on", .0.display()
    )]
    Damaged(PathBuf),
}

/// How a state file ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct End {
    /// Whether its end is torn off. Then only the latest changes are missing.
    pub is_torn: bool,
    /// The newest line of the source's table of changes that it contains.
    pub cursor: Option<i64>,
    /// The settings with which its rows were last served. `None` in files of older programs.
    pub settings: Option<String>,
}

/// A change in a state file.
#[derive(Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The change.
    pub change: Change,
    /// Whether it is so recent that its losses are still remembered.
    pub is_recent: bool,
}

/// Reads the file at `path`, which must belong to the source called `source`. Passes each
/// change to `take`, in the order in which they must be applied. Another thread reads the
/// file; if the disk does not answer it within [`files::BOUND`], this function returns
/// without it.
///
/// # Errors
/// [`StateFileError`]. Then the changes that were passed to `take` must not be used.
pub fn read(path: &Path, source: &str, mut take: impl FnMut(StateChange)) -> Result<End, StateFileError> {
    let unreadable = |why| StateFileError::Unreadable { path: path.to_owned(), why };
    let pieces = pieces(path.to_owned(), source.to_owned()).map_err(unreadable)?;
    loop {
        match pieces.recv_timeout(files::BOUND) {
            Ok(ReadPiece::Changes(changes)) => changes.into_iter().for_each(&mut take),
            Ok(ReadPiece::Over(read)) => return read,
            Err(RecvTimeoutError::Timeout) => return Err(unreadable(files::hangs())),
            Err(RecvTimeoutError::Disconnected) => return Err(StateFileError::Damaged(path.to_owned())),
        }
    }
}

/// A message of the thread that reads.
enum ReadPiece {
    Changes(Vec<StateChange>),
    Over(Result<End, StateFileError>),
}

fn pieces(path: PathBuf, source: String) -> io::Result<Receiver<ReadPiece>> {
    let (sender, pieces) = sync_channel(AHEAD);
    files::thread(move || {
        let take = |changes| drop(sender.send(ReadPiece::Changes(changes)));
        let open = || {
            let file = files::open(&path)?;
            let len = file.metadata()?.len();
            Ok((BufReader::with_capacity(STRETCH, file), len))
        };
        let read = parse_twice(open, &source, take);
        let _ = sender.send(ReadPiece::Over(read.map_err(|bad| bad.of(&path))));
    })?;
    Ok(pieces)
}

/// Like [`read`], on this thread. `open` opens the file, twice, and returns its length in
/// bytes. `path` is only for the error.
///
/// # Errors
/// The same as [`read`].
pub fn read_from<R: Read>(
    open: impl Fn() -> io::Result<(R, u64)>,
    path: &Path,
    source: &str,
    mut take: impl FnMut(StateChange),
) -> Result<End, StateFileError> {
    let take = |changes: Vec<StateChange>| changes.into_iter().for_each(&mut take);
    parse_twice(open, source, take).map_err(|bad| bad.of(path))
}

/// Removes the file at `path` if it is a state file.
#[allow(clippy::disallowed_methods, reason = "called on a thread of its own")]
pub fn discard(path: &Path) {
    if check(path).is_ok() {
        let _ = std::fs::remove_file(path);
    }
}

/// Checks that the file at `path` may be overwritten: it does not exist, or it is a state
/// file or the beginning of one.
///
/// # Errors
/// [`StateFileError::Foreign`] if it is something else, [`StateFileError::Unreadable`] if it
/// cannot be read.
pub fn check(path: &Path) -> Result<(), StateFileError> {
    let unreadable = |why| StateFileError::Unreadable { path: path.to_owned(), why };
    let mut begin = Vec::new();
    match files::open(path) {
        Ok(file) => file.take(format::OURS.len() as u64).read_to_end(&mut begin).map_err(unreadable)?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(unreadable(why)),
    };
    if format::is_ours(&begin) { Ok(()) } else { Err(StateFileError::Foreign(path.to_owned())) }
}

impl Bad {
    fn of(self, path: &Path) -> StateFileError {
        let path = path.to_owned();
        match self {
            Bad::Io(why) => StateFileError::Unreadable { path, why },
            Bad::Foreign => StateFileError::Foreign(path),
            Bad::Version => StateFileError::OtherVersion(path),
            Bad::Other(of) => StateFileError::OtherSource { path, of },
            Bad::Damaged => StateFileError::Damaged(path),
        }
    }
}

/// Reads the times at the end first, because they say which changes are recent.
fn parse_twice<R: Read>(
    open: impl Fn() -> io::Result<(R, u64)>,
    source: &str,
    mut take: impl FnMut(Vec<StateChange>),
) -> Result<End, Bad> {
    let (file, len) = open()?;
    let mut times = None;
    parse(file, len, source, |stretch| {
        if let StateStretch::Times(newest) = stretch {
            times = Some(newest);
        }
        Ok(())
    })?;
    let since = times.map_or(u64::MAX, |times| times.recent_since(unix_now()));
    let (file, len) = open()?;
    let mut is_recent = false;
    parse(file, len, source, |stretch| {
        let changes = match stretch {
            StateStretch::Times(times) => {
                is_recent |= times.at >= since;
                return Ok(());
            }
            StateStretch::Rows(rows) => all(rows, |change: Row| Change::Put(change)),
            StateStretch::Changes(changes) => all(changes, |change: Change| change),
        };
        let changes = changes.map_err(|_| Bad::Damaged)?;
        take(changes.into_iter().map(|change| StateChange { change, is_recent }).collect());
        Ok(())
    })
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Times {
    /// Changes since this time are recent.
    fn recent_since(self, now: u64) -> u64 {
        match self.is_withheld {
            true => self.lost_since,
            false => self.lost_since.max(now.saturating_sub(LOSS_WINDOW.as_secs())),
        }
    }
}

/// A stretch that has something to take.
enum StateStretch<'a> {
    Rows(&'a [u8]),
    Changes(&'a [u8]),
    Times(Times),
}

fn parse(
    file: impl Read,
    len: u64,
    source: &str,
    mut take: impl FnMut(StateStretch<'_>) -> Result<(), Bad>,
) -> Result<End, Bad> {
    let mut file = Opener::begin(file, len)?;
    let NextPart::Stretch(name) = file.next()? else { return Err(Bad::Damaged) };
    if name != source.as_bytes() {
        return Err(Bad::Other(String::from_utf8_lossy(&name).into_owned()));
    }
    let mut is_complete = false;
    let mut end = End::default();
    loop {
        let stretch = match file.next()? {
            NextPart::Stretch(stretch) => stretch,
            // A file without the mark that its rows are complete was never moved into place.
            NextPart::End | NextPart::Torn if !is_complete => return Err(Bad::Damaged),
            NextPart::End => return Ok(end),
            NextPart::Torn => return Ok(End { is_torn: true, ..end }),
        };
        match (stretch.split_first(), is_complete) {
            (Some((&ROWS, rows)), false) => take(StateStretch::Rows(rows))?,
            (Some((&COMPLETE, mark)), false) => {
                end.cursor = postcard::from_bytes(mark).map_err(|_| Bad::Damaged)?;
                is_complete = true;
            }
            (Some((&CHANGES, stretch)), _) => {
                let (as_of, changes) = postcard::take_from_bytes(stretch).map_err(|_| Bad::Damaged)?;
                end.cursor = as_of;
                take(StateStretch::Changes(changes))?;
            }
            (Some((&TIMES, times)), true) => {
                take(StateStretch::Times(postcard::from_bytes(times).map_err(|_| Bad::Damaged)?))?;
            }
            (Some((&SETTINGS, settings)), _) => {
                let settings = String::from_utf8(settings.to_vec()).map_err(|_| Bad::Damaged)?;
                end.settings = Some(settings);
            }
            // The checksum is right but the contents are not, so this program did not write it.
            _ => return Err(Bad::Damaged),
        }
    }
}

/// Appends a record. This cannot fail: records are plain data, and memory is not limited.
fn encode<T: serde::Serialize>(record: &T, stretch: &mut Vec<u8>) {
    let taken = std::mem::take(stretch);
    *stretch = postcard::to_extend(record, taken).expect("rows are plain data");
}

/// All changes in a stretch, each encoded as a `T`.
fn all<T: serde::de::DeserializeOwned>(
    mut bytes: &[u8],
    change: fn(T) -> Change,
) -> postcard::Result<Vec<Change>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = postcard::take_from_bytes(bytes)?;
        all.push(change(one));
        bytes = rest;
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
