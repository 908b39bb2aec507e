//! The last good rows on disk (`--state-file`), for a start without a database.
//!
//! The file is a log: all rows of one load and what changed meanwhile, a mark
//! that these are all, then what each later snapshot changed; mark and changes
//! say as of which line of the source's table of changes they are. Every stretch
//! of it has a checksum. A load writes the log anew, beside the old one, when
//! there is none yet, when it has grown to twice its size, or when something was
//! lost; then it is moved into place as a whole. What a crash tears off the end
//! of it is but the latest changes.
//!
//! All writing is done by a thread of its own: a slow or full disk delays no
//! reload, and is reported.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::model::{Change, Row, Table};

/// The first line of the file, with the version of its format.
const MAGIC: &[u8] = b"jitsiprovs state 1\n";
/// How that line begins in every version.
const OURS: &[u8] = b"jitsiprovs state ";
/// Rows are written in stretches of about so many bytes.
const STRETCH: usize = 1 << 20;
/// Changes of more bytes than this are not kept: the next load writes anew.
const MOST: usize = 64 << 20;
/// Stretches that wait for the disk at most.
const WAITING: usize = 64;

/// What a stretch is.
const ROWS: u8 = 0;
const COMPLETE: u8 = 1;
const CHANGES: u8 = 2;

/// Why a state file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
        "{} is no state file of jitsiprovs: it is left alone and no state is kept; give --state-file \
         another name, or remove the file", .0.display()
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
    #[error("the state file {} is damaged: it is ignored, and written anew after the next load", .0.display())]
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
/// change to `take`, in the order in which they are to be made.
///
/// # Errors
/// [`Error`]. What `take` was given up to then is of no use.
pub fn read(path: &Path, source: &str, take: impl FnMut(Change)) -> Result<End, Error> {
    let unreadable = |why| Error::Unreadable { path: path.to_owned(), why };
    let file = File::open(path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    read_from(BufReader::with_capacity(STRETCH, file), len, path, source, take)
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
    take: impl FnMut(Change),
) -> Result<End, Error> {
    parse(file, len, source, take).map_err(|bad| match bad {
        Bad::Io(why) => Error::Unreadable { path: path.to_owned(), why },
        Bad::Foreign => Error::Foreign(path.to_owned()),
        Bad::Version => Error::OtherVersion(path.to_owned()),
        Bad::Other(of) => Error::OtherSource { path: path.to_owned(), of },
        Bad::Damaged => Error::Damaged(path.to_owned()),
    })
}

/// Finds out whether the file at `path` may be written anew: a state file, or
/// none.
///
/// # Errors
/// [`Error::Foreign`] if it is something else, [`Error::Unreadable`] if it
/// cannot be told.
pub fn check(path: &Path) -> Result<(), Error> {
    let unreadable = |why| Error::Unreadable { path: path.to_owned(), why };
    let mut begin = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(OURS.len() as u64).read_to_end(&mut begin).map_err(unreadable)?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(why) => return Err(unreadable(why)),
    };
    if begin.is_empty() || begin == OURS { Ok(()) } else { Err(Error::Foreign(path.to_owned())) }
}

enum Bad {
    Io(io::Error),
    Foreign,
    Version,
    Other(String),
    Damaged,
}

impl From<io::Error> for Bad {
    fn from(why: io::Error) -> Bad {
        match why.kind() {
            io::ErrorKind::UnexpectedEof => Bad::Damaged,
            _ => Bad::Io(why),
        }
    }
}

fn parse(mut file: impl Read, len: u64, source: &str, mut take: impl FnMut(Change)) -> Result<End, Bad> {
    if len == 0 {
        return Err(Bad::Damaged);
    }
    let mut magic = [0; MAGIC.len()];
    let mut left = len.saturating_sub(magic.len() as u64);
    let is_read = file.read_exact(&mut magic).is_ok();
    if !is_read || magic != *MAGIC {
        return Err(if magic.starts_with(OURS) { Bad::Version } else { Bad::Foreign });
    }
    let name = next(&mut file, &mut left)?.ok_or(Bad::Damaged)?;
    if name != source.as_bytes() {
        return Err(Bad::Other(String::from_utf8_lossy(&name).into_owned()));
    }
    let mut is_complete = false;
    let mut cursor = None;
    loop {
        let stretch = match next(&mut file, &mut left) {
            Ok(Some(stretch)) => stretch,
            Ok(None) if is_complete => return Ok(End { is_torn: false, cursor }),
            // What follows all rows is whole up to here.
            Err(Bad::Damaged) if is_complete => return Ok(End { is_torn: true, cursor }),
            Ok(None) => return Err(Bad::Damaged),
            Err(bad) => return Err(bad),
        };
        match (stretch.split_first(), is_complete) {
            (Some((&ROWS, mut rows)), false) => {
                while !rows.is_empty() {
                    let (row, rest) = postcard::take_from_bytes::<Row>(rows).map_err(|_| Bad::Damaged)?;
                    take(Change::Put(row));
                    rows = rest;
                }
            }
            (Some((&COMPLETE, mark)), false) => {
                cursor = postcard::from_bytes(mark).map_err(|_| Bad::Damaged)?;
                is_complete = true;
            }
            // All of them, or none.
            (Some((&CHANGES, stretch)), _) => match changes(stretch) {
                Ok((as_of, changes)) => {
                    cursor = as_of;
                    changes.into_iter().for_each(&mut take);
                }
                Err(_) if is_complete => return Ok(End { is_torn: true, cursor }),
                Err(_) => return Err(Bad::Damaged),
            },
            (_, true) => return Ok(End { is_torn: true, cursor }),
            (_, false) => return Err(Bad::Damaged),
        }
    }
}

/// What a stretch of changes says, and as of where.
fn changes(stretch: &[u8]) -> postcard::Result<(Option<i64>, Vec<Change>)> {
    let (cursor, mut rest) = postcard::take_from_bytes(stretch)?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let change;
        (change, rest) = postcard::take_from_bytes(rest)?;
        changes.push(change);
    }
    Ok((cursor, changes))
}

/// The next stretch; `None` at the end.
fn next(file: &mut impl Read, left: &mut u64) -> Result<Option<Vec<u8>>, Bad> {
    if *left == 0 {
        return Ok(None);
    }
    let mut head = [0; 8];
    file.read_exact(&mut head)?;
    let (len, sum) = (word(&head[..4]), word(&head[4..]));
    // Checked before memory is taken for it.
    *left = left.checked_sub(8 + u64::from(len)).ok_or(Bad::Damaged)?;
    let mut stretch = vec![0; len as usize];
    file.read_exact(&mut stretch)?;
    if crc32fast::hash(&stretch) == sum { Ok(Some(stretch)) } else { Err(Bad::Damaged) }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// A stretch with its length and checksum.
fn framed(stretch: &[u8]) -> Vec<u8> {
    let len = u32::try_from(stretch.len()).expect("a stretch is far shorter");
    [&len.to_le_bytes(), &crc32fast::hash(stretch).to_le_bytes(), stretch].concat()
}

/// Appends a record. It cannot fail: the record is plain and memory is not
/// limited.
fn encode<T: serde::Serialize>(record: &T, stretch: &mut Vec<u8>) {
    let taken = std::mem::take(stretch);
    *stretch = postcard::to_extend(record, taken).expect("rows are plain data");
}

/// A [`Change`] to be written.
#[derive(serde::Serialize)]
enum ChangeRef<'a> {
    Put(&'a Row),
    Gone(Table, i64),
}

/// The writing side.
#[derive(Debug)]
pub struct Journal {
    disk: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// Whether the log lacks something, so that nothing may follow.
    is_behind: bool,
    /// What the snapshot in the making changes.
    changes: Vec<u8>,
    /// As of which line of changes the log is.
    cursor: Option<i64>,
    /// The log that is written anew, if it is.
    anew: Option<Anew>,
}

#[derive(Debug, Default)]
struct Anew {
    rows: Vec<u8>,
    /// What others changed since the load began.
    since: Vec<u8>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether something could not be written.
    has_failed: AtomicBool,
    /// Whether it has grown much longer than it would be, written anew.
    is_long: AtomicBool,
}

enum Order {
    /// Begin a log beside the old one.
    Begin,
    /// Write to the log that was begun.
    Write(Vec<u8>),
    /// Put it in place.
    Finish,
    /// Give it up.
    Forget,
    /// Write to the log that is in place.
    Append(Vec<u8>),
}

impl Journal {
    /// Writes to `path` what the source called `source` holds. Nothing is
    /// written before the first load.
    pub fn new(path: PathBuf, source: String) -> Journal {
        let (disk, orders) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let mut writer = Disk { path, source, shared: shared.clone(), begun: None, current: None };
        let thread = std::thread::Builder::new()
            .name("state-file".into())
            .spawn(move || writer.run(&orders))
            .inspect_err(|why| tracing::error!("there will be no state file: {why}"));
        let disk = Some(disk);
        let changes = Vec::new();
        Journal { disk, thread: thread.ok(), shared, is_behind: true, changes, cursor: None, anew: None }
    }

    /// A load begins.
    pub fn begin_load(&mut self) {
        self.is_behind |= self.shared.has_failed.swap(false, Ordering::Relaxed);
        let is_wanted = self.is_behind || self.shared.is_long.load(Ordering::Relaxed);
        if is_wanted && self.send(Order::Begin) {
            self.anew = Some(Anew { rows: vec![ROWS], since: Vec::new() });
        }
    }

    /// The load under way has read a row; `is_current` unless others have
    /// changed it since.
    pub fn read(&mut self, row: &Row, is_current: bool) {
        let Some(anew) = self.anew.as_mut().filter(|_| is_current) else { return };
        encode(row, &mut anew.rows);
        if anew.rows.len() >= STRETCH {
            let full = std::mem::replace(&mut anew.rows, vec![ROWS]);
            if !self.send(Order::Write(framed(&full))) {
                self.abandon_load();
            }
        }
    }

    /// The load under way came to nothing.
    pub fn abandon_load(&mut self) {
        self.changes.clear();
        if self.anew.take().is_some() {
            self.send(Order::Forget);
        }
    }

    /// Whether the load under way is written down as a whole, so that it need
    /// not be told what it changes.
    pub fn is_anew(&self) -> bool {
        self.anew.is_some()
    }

    /// Nobody knows what there is any more: the next load writes everything.
    pub fn lose(&mut self) {
        self.abandon_load();
        self.is_behind = true;
    }

    /// The snapshot in the making includes a row, new or changed.
    pub fn put(&mut self, row: &Row) {
        self.change(&ChangeRef::Put(row));
    }

    /// The snapshot in the making no longer includes a row.
    pub fn gone(&mut self, table: Table, id: i64) {
        self.change(&ChangeRef::Gone(table, id));
    }

    fn change(&mut self, change: &ChangeRef<'_>) {
        // Also while the log is behind: one that is written anew may want it.
        if self.is_behind && self.anew.is_none() {
            return;
        }
        encode(change, &mut self.changes);
        if self.changes.len() > MOST {
            self.changes = Vec::new();
            self.lose();
        }
    }

    /// Whether only a load can bring the log up to date.
    pub fn wants_load(&self) -> bool {
        let flags = [&self.shared.has_failed, &self.shared.is_long];
        self.is_behind || flags.iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// The snapshot in the making came to nothing.
    pub fn forget_changes(&mut self) {
        self.changes.clear();
    }

    /// The snapshot in the making is in use, as of `cursor`; `is_load` if it is
    /// of the load under way.
    pub fn commit(&mut self, cursor: Option<i64>, is_load: bool) {
        let changes = std::mem::take(&mut self.changes);
        let is_news = std::mem::replace(&mut self.cursor, cursor) != cursor || !changes.is_empty();
        let stretch = |kind, changes: &[u8]| {
            let mut stretch = vec![kind];
            encode(&cursor, &mut stretch);
            stretch.extend_from_slice(changes);
            framed(&stretch)
        };
        if let Some(anew) = self.anew.as_mut().filter(|_| !is_load) {
            anew.since.extend_from_slice(&changes);
        }
        match self.anew.take_if(|_| is_load) {
            Some(Anew { rows, since }) => {
                let mut rest = framed(&rows);
                // Before the mark: the rows alone lack what changed since.
                if !since.is_empty() {
                    rest.extend(stretch(CHANGES, &since));
                }
                rest.extend(stretch(COMPLETE, &[]));
                self.is_behind = !(self.send(Order::Write(rest)) && self.send(Order::Finish));
            }
            None if !is_news || self.is_behind => {}
            None => {
                self.send(Order::Append(stretch(CHANGES, &changes)));
            }
        }
    }

    /// Waits until everything is written.
    pub fn close(mut self) {
        self.disk = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Without waiting: what the disk cannot take now is lost, and made up for
    /// by the next load.
    fn send(&mut self, order: Order) -> bool {
        let is_sent = self.disk.as_ref().is_some_and(|disk| disk.try_send(order).is_ok());
        if !is_sent && !std::mem::replace(&mut self.is_behind, true) {
            tracing::warn!(
                "the disk is too slow for the state file: it stays behind until the next full load"
            );
        }
        is_sent
    }
}

/// The thread that writes.
struct Disk {
    path: PathBuf,
    source: String,
    shared: Arc<Shared>,
    begun: Option<File>,
    current: Option<Current>,
}

/// Where a log is written anew.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

struct Current {
    file: File,
    /// Bytes of it, in all and of the rows it began with.
    len: u64,
    rows: u64,
}

impl Disk {
    fn run(&mut self, orders: &Receiver<Order>) {
        let mut is_failing = false;
        while let Ok(order) = orders.recv() {
            match self.obey(order) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    is_failing = false;
                    self.shared.is_long.store(false, Ordering::Relaxed);
                    tracing::debug!(bytes, "state file written");
                }
                Err(why) => {
                    self.forget();
                    self.current = None;
                    self.shared.has_failed.store(true, Ordering::Relaxed);
                    if !std::mem::replace(&mut is_failing, true) {
                        let path = self.path.display();
                        tracing::error!(
                            "cannot write the state file {path} ({why}): what it was stays, and the next \
                             full load tries again; check the space and the permissions of its folder"
                        );
                    }
                }
            }
        }
    }

    fn forget(&mut self) {
        self.begun = None;
        let _ = fs::remove_file(beside(&self.path));
    }

    /// Returns the bytes of a log that was put in place.
    fn obey(&mut self, order: Order) -> io::Result<Option<u64>> {
        match order {
            Order::Begin => {
                // One that a crash has left over.
                let _ = fs::remove_file(beside(&self.path));
                // Only the owner may read it: it holds what the database holds.
                let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
                let begun = self.begun.insert(options.open(beside(&self.path))?);
                begun.write_all(MAGIC)?;
                begun.write_all(&framed(self.source.as_bytes()))?;
            }
            Order::Write(bytes) => {
                if let Some(begun) = &mut self.begun {
                    begun.write_all(&bytes)?;
                }
            }
            Order::Forget => self.forget(),
            Order::Finish => {
                if let Some(file) = self.begun.take() {
                    file.sync_all()?;
                    fs::rename(beside(&self.path), &self.path)?;
                    let len = file.metadata()?.len();
                    self.current = Some(Current { file, len, rows: len });
                    return Ok(Some(len));
                }
            }
            Order::Append(bytes) => {
                if let Some(current) = &mut self.current {
                    if let Err(why) = current.file.write_all(&bytes) {
                        // A torn end would be ignored, but take up space.
                        let _ = current.file.set_len(current.len);
                        return Err(why);
                    }
                    current.len += bytes.len() as u64;
                    if current.len > 2 * current.rows + STRETCH as u64 {
                        self.shared.is_long.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserRow;
    use proptest::prelude::*;

    const SOURCE: &str = "the database";

    fn user(id: i64, password: &str) -> Row {
        let (username, domain, password) = ("alice".into(), "a.org".into(), password.into());
        Row::User(UserRow { id, username, domain, password })
    }

    /// Two rows of a load, then two snapshots' changes.
    fn written(path: &Path) {
        let mut journal = Journal::new(path.to_owned(), SOURCE.into());
        journal.begin_load();
        journal.read(&user(1, "one"), true);
        journal.read(&user(2, "two"), true);
        journal.read(&user(3, "changed since, as others have said"), false);
        journal.put(&user(3, "three"));
        journal.commit(Some(3), false);
        journal.commit(Some(3), true);
        journal.gone(Table::UserAuth, 1);
        journal.commit(Some(4), false);
        journal.commit(Some(5), false);
        journal.commit(Some(5), false);
        journal.close();
    }

    fn all(path: &Path) -> (Vec<Change>, Result<End, Error>) {
        let mut changes = Vec::new();
        let read = read(path, SOURCE, |change| changes.push(change));
        (changes, read)
    }

    #[test]
    fn what_was_written_is_read_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        written(&path);
        let (changes, read) = all(&path);
        assert_eq!(read.expect("readable"), End { is_torn: false, cursor: Some(5) });
        let expected = [
            Change::Put(user(1, "one")),
            Change::Put(user(2, "two")),
            Change::Put(user(3, "three")),
            Change::Gone(Table::UserAuth, 1),
        ];
        assert!(changes == expected, "{changes:?}");
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).expect("a file"));
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left over");
    }

    #[test]
    fn a_file_that_is_cut_short_or_altered_anywhere_gives_whole_snapshots_or_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        written(&path);
        let whole = fs::read(&path).expect("a file");
        let check = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("written");
            let (changes, read) = all(&path);
            // What changed during the load is part of it: without, row 3 was never served.
            assert!(read.is_err() || [3, 4].contains(&changes.len()), "{} changes", changes.len());
            if let Ok(End { is_torn, cursor }) = read {
                let expected = if changes.len() == 3 { &[Some(3)][..] } else { &[Some(4), Some(5)] };
                assert!(
                    expected.contains(&cursor) && (is_torn || bytes.len() < whole.len() || cursor == Some(5))
                );
                assert!(changes[..2] == [Change::Put(user(1, "one")), Change::Put(user(2, "two"))]);
            }
        };
        for at in 0..whole.len() {
            check(&whole[..at]);
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            check(&altered);
        }
    }

    #[test]
    fn files_of_others_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        assert!(matches!(all(&path).1, Err(Error::Unreadable { .. })));
        for (text, is_foreign) in [
            ("precious", true),
            (
                "jitsiprovs state 9
more",
                false,
            ),
            ("", false),
        ] {
            fs::write(&path, text).expect("written");
            let read = all(&path).1;
            assert_eq!(matches!(read, Err(Error::Foreign(_))), is_foreign, "{text}");
            assert!(read.is_err());
        }
        written(&path);
        let other = read(&path, "another database", |_| panic!("nothing is taken"));
        assert!(matches!(other, Err(Error::OtherSource { .. })));
    }

    #[test]
    fn a_load_that_came_to_nothing_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        written(&path);
        let before = fs::read(&path).expect("a file");
        let mut journal = Journal::new(path.clone(), SOURCE.into());
        journal.begin_load();
        journal.read(&user(9, "nine"), true);
        journal.put(&user(9, "nine"));
        journal.abandon_load();
        journal.close();
        assert!(fs::read(&path).expect("a file") == before);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left over");
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), framed_too: bool) {
            let mut file = MAGIC.to_vec();
            if framed_too {
                file.extend(framed(SOURCE.as_bytes()));
                file.extend(framed(&bytes));
            } else {
                file.extend(&bytes);
            }
            let _ = parse(&*file, file.len() as u64, SOURCE, |_| {});
        }
    }
}
