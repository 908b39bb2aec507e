//! A file that was written can be read again, and a damaged file is refused.

use std::fs;

use hashbrown::HashSet;
use proptest::prelude::*;

use super::format::Sealer;
use super::*;
use crate::core::model::{RuleRow, Table, UserRow};
use crate::metrics::Gauge;

const SOURCE: &str = "the database";

fn user(id: i64, password: &str) -> Row {
    let (username, domain, password) = ("alice".into(), "a.org".into(), password.into());
    Row::User(UserRow::from_cells(id, [username, domain, password]))
}

#[test]
fn the_format_gets_a_new_version_when_a_table_gets_a_column() {
    let columns = (UserRow::COLUMNS.len(), RuleRow::COLUMNS.len());
    assert_eq!((format::MAGIC, columns), (&b"jitsiprovs state 2\n"[..], (3, 6)), "raise the version");
}

/// A commit of long ago, after which no loss is remembered.
fn commit(cursor: i64, is_load: bool) -> Commit {
    let times = Times { at: 1, lost_since: u64::MAX, is_withheld: false };
    Commit { cursor: Some(cursor), is_load, times, lost: HashSet::new() }
}

/// Writes the rows of a load, and then the changes of two snapshots.
fn written(path: &Path) {
    let mut state_writer = StateWriter::new(path.to_owned(), SOURCE.into(), Gauge::default());
    state_writer.begin_load();
    state_writer.read(&user(1, "one"), true);
    state_writer.read(&user(2, "two"), true);
    state_writer.read(&user(3, "changed since, as others have said"), false);
    state_writer.put(&user(3, "three"));
    state_writer.commit(commit(3, false));
    state_writer.commit(commit(3, true));
    state_writer.gone(Table::UserAuth, 1);
    state_writer.commit(commit(4, false));
    state_writer.commit(commit(5, false));
    state_writer.commit(commit(5, false));
    state_writer.close();
}

fn all(path: &Path) -> (Vec<Change>, Result<End, StateFileError>) {
    let mut changes = Vec::new();
    let read = read(path, SOURCE, |StateChange { change, .. }| changes.push(change));
    (changes, read)
}

#[test]
fn what_was_written_is_read_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    written(&path);
    let (changes, read) = all(&path);
    let settings = Some(String::new());
    assert_eq!(read.expect("readable"), End { is_torn: false, cursor: Some(5), settings });
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

/// The changes in a file of these bytes, and the result of reading it.
fn outcome(bytes: &[u8]) -> (Vec<Change>, Result<End, StateFileError>) {
    let mut changes = Vec::new();
    let open = || Ok((bytes, bytes.len() as u64));
    let read = read_from(open, Path::new("state"), SOURCE, |StateChange { change, .. }| changes.push(change));
    (changes, read)
}

#[track_caller]
fn is_refused(bytes: &[u8], what: &str) {
    let (changes, read) = outcome(bytes);
    assert!(read.is_err(), "{what}: {} changes, {read:?}", changes.len());
}

#[test]
fn a_file_of_the_journal_is_refused_whichever_byte_of_it_is_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    written(&path);
    let file = fs::read(&path).expect("a file");
    for at in 0..file.len() {
        let mut altered = file.clone();
        altered[at] ^= 0x10;
        is_refused(&altered, &format!("byte {at}"));
    }
    for len in 0..file.len() {
        let (changes, read) = outcome(&file[..len]);
        // The changes during the load are part of it: no served state lacked row 3.
        let served = [(3, Some(3)), (4, Some(4)), (4, Some(5))];
        assert!(read.is_err() || read.is_ok_and(|end| served.contains(&(changes.len(), end.cursor))));
    }
}

/// A file in pieces: the beginning with the name of the source, the rows of a load in two
/// stretches, the mark, and changes that each add one row.
struct Pieces(Vec<Vec<u8>>);

/// How many pieces end with the mark, and how many rows they contain.
const LOADED: (usize, i64) = (4, 19);

fn row(id: i64) -> Row {
    user(id, &format!("{id:060}"))
}

fn rows(ids: std::ops::RangeInclusive<i64>) -> Vec<u8> {
    ids.flat_map(|id| postcard::to_allocvec(&row(id)).expect("encodes")).collect()
}

fn as_of(cursor: i64) -> Vec<u8> {
    postcard::to_allocvec(&Some(cursor)).expect("encodes")
}

impl Pieces {
    /// A file with this number of states, each with one row more than the one before.
    fn of(states: i64) -> Pieces {
        let mut first = Vec::new();
        let mut sealer = Sealer::begin(&mut first).expect("memory");
        sealer.append(&mut first, SOURCE.as_bytes()).expect("memory");
        let last = LOADED.1;
        let loaded = [
            [vec![ROWS], rows(1..=9)].concat(),
            [vec![ROWS], rows(10..=last)].concat(),
            [vec![COMPLETE], as_of(last)].concat(),
        ];
        // A change begins with its kind.
        let changes =
            (last + 1..last + states).map(|id| [vec![CHANGES], as_of(id), vec![0], rows(id..=id)].concat());
        let sealed = loaded.into_iter().chain(changes).map(|stretch| {
            let mut piece = Vec::new();
            sealer.append(&mut piece, &stretch).expect("memory");
            piece
        });
        Pieces([first].into_iter().chain(sealed).collect())
    }

    fn file(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// The offsets in bytes at which the states end.
    fn ends(&self) -> Vec<usize> {
        (LOADED.0..=self.0.len()).map(|pieces| self.0[..pieces].iter().map(Vec::len).sum()).collect()
    }
}

/// Whether `changes` are a state of [`Pieces`] that was served: all rows up to the cursor.
fn is_served(changes: &[Change], end: &End) -> bool {
    end.cursor.is_some_and(|cursor| cursor >= LOADED.1 && cursor == changes.len() as i64)
        && (1..).zip(changes).all(|(id, change)| *change == Change::Put(row(id)))
}

#[test]
fn a_file_is_refused_whichever_byte_of_it_is_another() {
    let file = Pieces::of(3).file();
    for at in 0..file.len() {
        for bits in [0x01, 0x10, 0x80, 0xff, file[at]] {
            let mut altered = file.clone();
            altered[at] ^= bits;
            if bits != 0 {
                is_refused(&altered, &format!("byte {at} with {bits:#x}"));
            }
        }
    }
}

#[test]
fn a_file_that_is_cut_off_gives_the_last_state_that_is_whole() {
    let pieces = Pieces::of(4);
    let (file, ends) = (pieces.file(), pieces.ends());
    for len in 0..=file.len() {
        let (changes, read) = outcome(&file[..len]);
        let Some(state) = ends.iter().rposition(|end| *end <= len) else {
            assert!(read.is_err(), "{len} bytes");
            continue;
        };
        let end = read.unwrap_or_else(|error| panic!("{len} bytes: {error}"));
        let cursor = Some(LOADED.1 + state as i64);
        assert_eq!(end, End { is_torn: !ends.contains(&len), cursor, settings: None }, "{len} bytes");
        assert!(is_served(&changes, &end), "{len} bytes");
    }
}

/// A file system may have stored the new length of a file, and lost the data.
#[test]
fn a_file_that_ends_in_zeros_is_refused() {
    let pieces = Pieces::of(4);
    let (file, ends) = (pieces.file(), pieces.ends());
    for len in 0..file.len() {
        let mut zeros = file.clone();
        zeros[len..].fill(0);
        if zeros != file {
            is_refused(&zeros, &format!("{len} bytes of {}", file.len()));
        }
    }
    for end in ends {
        for zeros in 1..600 {
            let (changes, read) = outcome(&[&file[..end], &vec![0; zeros]].concat());
            // Fewer than 20 zeros are shorter than the checksums of a stretch: a cut-off end.
            match read {
                Ok(end) => assert!(zeros < 20 && end.is_torn && is_served(&changes, &end), "{zeros}"),
                Err(_) => assert!(zeros >= 20, "{zeros}"),
            }
        }
    }
}

#[test]
fn a_file_is_refused_whichever_sector_of_it_is_lost() {
    const SECTOR: usize = 512;
    let file = Pieces::of(400).file();
    assert!(file.len() > 80 * SECTOR);
    for first in (0..file.len()).step_by(SECTOR) {
        for end in [first + SECTOR, first + 2 * SECTOR, first + 8 * SECTOR, file.len()] {
            let mut altered = file.clone();
            altered[first..end.min(file.len())].fill(0);
            is_refused(&altered, &format!("zeros from {first} to {end}"));
        }
        // A disk may write a sector to the wrong place.
        let mut altered = file.clone();
        let other = (first + 4 * SECTOR) % (file.len() - SECTOR);
        altered.copy_within(other..other + SECTOR.min(file.len() - first), first);
        is_refused(&altered, &format!("{other} at {first}"));
    }
}

#[test]
fn a_file_is_refused_with_stretches_left_out_repeated_or_swapped() {
    let (Pieces(whole), Pieces(older)) = (Pieces::of(6), Pieces::of(6));
    let with = |what: &str, edit: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut pieces = whole.clone();
        edit(&mut pieces);
        is_refused(&pieces.concat(), what);
    };
    for at in 1..whole.len() {
        for (other, piece) in whole.iter().enumerate().skip(1) {
            with(&format!("{other} again before {at}"), &|pieces| pieces.insert(at, piece.clone()));
            if at != other {
                with(&format!("{other} for {at}"), &|pieces| pieces[at] = piece.clone());
                with(&format!("{at} and {other} swapped"), &|pieces| pieces.swap(at, other));
            }
        }
        with(&format!("{at} of an older file"), &|pieces| pieces[at] = older[at].clone());
        // Without the last stretch, the file is a state that was served.
        if at + 1 < whole.len() {
            with(&format!("without {at}"), &|pieces| drop(pieces.remove(at)));
        }
    }
}

#[test]
fn files_of_others_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    assert!(matches!(all(&path).1, Err(StateFileError::Unreadable { .. })));
    for (text, is_foreign) in [
        ("precious", true),
        ("jitsiprovs state 9\nmore", false),
        ("jitsiprovs state 1\nand what that version wrote", false),
        ("", false),
        ("jitsi", false),
        ("jitsiprovs state", false),
    ] {
        fs::write(&path, text).expect("written");
        let read = all(&path).1;
        assert_eq!(matches!(read, Err(StateFileError::Foreign(_))), is_foreign, "{text}");
        assert!(read.is_err());
        assert_eq!(check(&path).is_ok(), !is_foreign, "{text}");
    }
    written(&path);
    let other = read(&path, "another database", |_| panic!("nothing is taken"));
    assert!(matches!(other, Err(StateFileError::OtherSource { .. })));
}

#[test]
fn a_new_log_keeps_the_rows_that_were_lost_lately_and_says_that_they_are_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    written(&path);
    let lost = user(2, "two");
    for (at, is_withheld, is_recent) in [(unix_now(), false, true), (1, false, false), (1, true, true)] {
        let mut state_writer = StateWriter::new(path.clone(), SOURCE.into(), Gauge::default());
        state_writer.begin_load();
        state_writer.read(&user(3, "three"), true);
        let times = Times { at, lost_since: at, is_withheld };
        let lost = HashSet::from([crate::snapshot::content(&lost)]);
        state_writer.commit(Commit { times, lost, ..commit(6, true) });
        state_writer.close();
        let (mut kept, mut changes) = (i64::MAX, Vec::new());
        read(&path, SOURCE, |StateChange { change, is_recent }| {
            if let Change::Put(row) = &change {
                kept = kept.min(row.id());
            }
            changes.push((change, is_recent));
        })
        .expect("readable");
        assert!(kept < -1_000_000_000, "no row of the source has this id");
        let expected = [
            (Change::Put(user(3, "three")), false),
            (Change::Put(lost_as(kept)), false),
            (Change::Gone(Table::UserAuth, kept), is_recent),
        ];
        assert!(changes == expected, "{changes:?}");
    }
}

fn lost_as(id: i64) -> Row {
    user(2, "two").with_id(id)
}

#[test]
fn a_load_that_came_to_nothing_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    written(&path);
    let before = fs::read(&path).expect("a file");
    let mut state_writer = StateWriter::new(path.clone(), SOURCE.into(), Gauge::default());
    state_writer.begin_load();
    state_writer.read(&user(9, "nine"), true);
    state_writer.put(&user(9, "nine"));
    state_writer.abandon_load();
    state_writer.close();
    assert!(fs::read(&path).expect("a file") == before);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left over");
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), is_sealed: bool) {
        let mut file = Vec::new();
        let mut sealer = Sealer::begin(&mut file).expect("memory");
        if is_sealed {
            sealer.append(&mut file, SOURCE.as_bytes()).expect("memory");
            sealer.append(&mut file, &bytes).expect("memory");
        } else {
            file.extend(&bytes);
        }
        let _ = outcome(&file);
    }
}
