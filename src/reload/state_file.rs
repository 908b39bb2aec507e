//! The rows that were served last, on disk (`--state-file`), for a start without the
//! database.
//!
//! The file is a log. It begins with all rows of one load, the changes that polls found
//! during that load, and a mark that the rows are complete. The changes of each later
//! snapshot follow. The mark and the changes contain the position in the source's table of
//! changes. A load writes a new log under another name if there is none yet, if the log
//! has grown to twice its size, or if it lacks something. The complete new log is then
//! renamed into place.
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

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use crate::core::model::{Change, Row};
use crate::process::files;
use format::{Bad, NextPart, Opener};

pub use writer::StateWriter;

/// Rows are written in stretches of about this many bytes.
const STRETCH: usize = 1 << 20;
/// How many stretches may wait between the thread that reads and the one that uses them.
const AHEAD: usize = 2;

/// What a stretch contains: its first byte.
const ROWS: u8 = 0;
const COMPLETE: u8 = 1;
const CHANGES: u8 = 2;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// Whether its end is torn off. Then only the latest changes are missing.
    pub is_torn: bool,
    /// The newest line of the source's table of changes that it contains.
    pub cursor: Option<i64>,
}

/// Reads the file at `path`, which must belong to the source called `source`. Passes each
/// change to `take`, in the order in which they must be applied. Another thread reads the
/// file; if the disk does not answer it within [`files::BOUND`], this function returns
/// without it.
///
/// # Errors
/// [`StateFileError`]. Then the changes that were passed to `take` must not be used.
pub fn read(path: &Path, source: &str, mut take: impl FnMut(Change)) -> Result<End, StateFileError> {
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
    Changes(Vec<Change>),
    Over(Result<End, StateFileError>),
}

fn pieces(path: PathBuf, source: String) -> io::Result<Receiver<ReadPiece>> {
    let (sender, pieces) = sync_channel(AHEAD);
    files::thread(move || {
        let take = |changes| drop(sender.send(ReadPiece::Changes(changes)));
        let opened = files::open(&path).and_then(|file: File| Ok((file.metadata()?.len(), file)));
        let read = match opened {
            Ok((len, file)) => parse(BufReader::with_capacity(STRETCH, file), len, &source, take),
            Err(why) => Err(Bad::Io(why)),
        };
        let _ = sender.send(ReadPiece::Over(read.map_err(|bad| bad.of(&path))));
    })?;
    Ok(pieces)
}

/// Like [`read`], for an open file of `len` bytes. `path` is only for the error.
///
/// # Errors
/// The same as [`read`].
pub fn read_from(
    file: impl Read,
    len: u64,
    path: &Path,
    source: &str,
    mut take: impl FnMut(Change),
) -> Result<End, StateFileError> {
    let take = |changes: Vec<Change>| changes.into_iter().for_each(&mut take);
    parse(file, len, source, take).map_err(|bad| bad.of(path))
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

fn parse(file: impl Read, len: u64, source: &str, mut take: impl FnMut(Vec<Change>)) -> Result<End, Bad> {
    let mut file = Opener::begin(file, len)?;
    let NextPart::Stretch(name) = file.next()? else { return Err(Bad::Damaged) };
    if name != source.as_bytes() {
        return Err(Bad::Other(String::from_utf8_lossy(&name).into_owned()));
    }
    let mut is_complete = false;
    let mut cursor = None;
    loop {
        let stretch = match file.next()? {
            NextPart::Stretch(stretch) => stretch,
            // A file without the mark that its rows are complete was never moved into place.
            NextPart::End | NextPart::Torn if !is_complete => return Err(Bad::Damaged),
            NextPart::End => return Ok(End { is_torn: false, cursor }),
            NextPart::Torn => return Ok(End { is_torn: true, cursor }),
        };
        match (stretch.split_first(), is_complete) {
            (Some((&ROWS, rows)), false) => {
                take(all(rows, |row: Row| Change::Put(row)).map_err(|_| Bad::Damaged)?);
            }
            (Some((&COMPLETE, mark)), false) => {
                cursor = postcard::from_bytes(mark).map_err(|_| Bad::Damaged)?;
                is_complete = true;
            }
            (Some((&CHANGES, stretch)), _) => {
                let (as_of, changes) = postcard::take_from_bytes(stretch).map_err(|_| Bad::Damaged)?;
                cursor = as_of;
                take(all(changes, |change: Change| change).map_err(|_| Bad::Damaged)?);
            }
            // The checksum is right but the contents are not, so this program did not write it.
            _ => return Err(Bad::Damaged),
        }
    }
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
