//! The last good rows on disk (`--state-file`), for a start without a database.
//!
//! The file is a log: all rows of one load and what changed meanwhile, a mark
//! that these are all, then what each later snapshot changed; mark and changes
//! say as of which line of the source's table of changes they are. A load writes
//! the log anew, with another name, when there is none yet, when it has grown to
//! twice its size, or when something was lost; then it is moved into place as a
//! whole.
//!
//! A crash may tear off the end of the log: that costs the latest changes, and
//! what is left is a state that was served. Any other damage makes all of it
//! useless: a user whose row is missing would be refused, and clients forget
//! passwords that are refused. [`format`] tells one from the other.
//!
//! All writing is done by a thread of its own: a slow or full disk delays no
//! reload, and is reported.

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

/// Rows are written in stretches of about so many bytes.
const STRETCH: usize = 1 << 20;
/// Stretches between the thread that reads and the one that uses them.
const AHEAD: usize = 2;

/// What a stretch is.
const ROWS: u8 = 0;
const COMPLETE: u8 = 1;
const CHANGES: u8 = 2;

/// Why a state file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// There is none, or it cannot be read.
    #[error("cannot read the state file {} ({why}): check --state-file and the file's permissions", .path.display())]
    Unreadable {
        /// `--state-file`
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// It is something else, and nobody's to overwrite.
    #[error(
        "{} is no state file of jitsiprovs: it is left alone; give --state-file another name, or remove \
         the file", .0.display()
    )]
    Foreign(PathBuf),
    /// It is of another version of this program.
    #[error(
        "the state file {} is of another version: it is ignored, and written anew after the next load",
        .0.display()
    )]
    OtherVersion(PathBuf),
    /// It belongs to another database.
    #[error(
        "the state file {} is of {of}, which is not the one in use: it is ignored, and written anew \
         after the next load", .path.display()
    )]
    OtherSource {
        /// `--state-file`
        path: PathBuf,
        /// The database it is of.
        of: String,
    },
    /// Its checksums do not agree with what is in it.
    #[error(
        "the state file {} is damaged: nothing of it is used, and it is written anew after the next full \
         load; if that happens again, check the disk that it is on", .0.display()
    )]
    Damaged(PathBuf),
}

/// How a state file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// Whether the end of it is torn off, which costs no more than the latest
    /// changes.
    pub is_torn: bool,
    /// As of which line of the source's table of changes it is.
    pub cursor: Option<i64>,
}

/// Reads the file at `path`, if it is of the source called `source`: gives each
/// change to `take`, in the order in which they are to be made. The file itself
/// is read on another thread, which is left behind if it gets no answer from the
/// disk within [`files::BOUND`].
///
/// # Errors
/// [`StateFileError`]. What `take` was given up to then must not be used.
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

/// What the thread that reads sends.
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

/// [`read`] of a file that is open already and has `len` bytes; `path` is for
/// the error only.
///
/// # Errors
/// As [`read`].
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

/// Finds out whether the file at `path` may be written anew: a state file, what
/// is left of one, or none.
///
/// # Errors
/// [`StateFileError::Foreign`] if it is something else, [`StateFileError::Unreadable`] if it
/// cannot be told.
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
            // Without the mark that these are all rows, it was never in place.
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
            // It is whole and makes no sense, so it was not written by us.
            _ => return Err(Bad::Damaged),
        }
    }
}

/// All changes of a stretch, each encoded as a `T`.
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
