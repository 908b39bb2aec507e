//! Bytes as a state file. Reading them must neither panic nor take unlimited memory. A valid file
//! that was damaged must be refused, or give a state that the database had at some time.
//!
//! Input: `raw`, then the file; or `frames`, then one stretch a line, which gets its right length
//! and checksums; or `damage` and the number of a history, then the changes to its file, one a
//! line: `cut 100`, `flip 57 %01%ff`, `hole 40 20`, `add junk`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use jitsiprovs::core::conventions::Conventions;
use jitsiprovs::core::credential::PwdFmt;
use jitsiprovs::core::model::{AttributeRow, Cell, Change, Row, RuleRow, Table, UserRow};
use jitsiprovs::metrics::Gauge;
use jitsiprovs::reload::state_file::{
    Commit, End, StateChange, StateFileError, StateWriter, Times, read_from,
};
use jitsiprovs::snapshot::Writer;

use twox_hash::XxHash3_64;

use crate::text;

/// The number of bytes in a stretch before its content.
const HEAD: usize = 20;
const SOURCE: &str = "sqlite:/var/lib/jitsiprovs/db";

/// Runs the target on one input; panics at a defect.
pub fn run(data: &[u8]) {
    let (kind, rest) = text::line(data);
    match kind.first() {
        Some(b'f') => {
            let stretches = rest.split(|&byte| byte == b'\n').map(text::unescape);
            drop(read(&sealed([SOURCE.as_bytes().to_vec()].into_iter().chain(stretches))));
        }
        Some(b'd') => {
            let number = kind.last().map_or(0, |&digit| usize::from(digit));
            damage(&HISTORIES[number % HISTORIES.len()], rest);
        }
        _ => drop(read(rest)),
    }
}

/// The content of the file, and how it ends.
fn read(file: &[u8]) -> Result<(Vec<Change>, End), StateFileError> {
    let mut result = None;
    let counted = allocation_counter::measure(|| {
        let mut changes = Vec::new();
        let open = || Ok((file, file.len() as u64));
        let take = |StateChange { change, .. }| changes.push(change);
        let read = read_from(open, Path::new("state"), SOURCE, take);
        result = Some(read.map(|end| (changes, end)));
    });
    // A change takes at least three bytes. It is held here and in the reader, and twice while a
    // list grows.
    let most = file.len() as u64 * 400 + (16 << 10);
    assert!(counted.bytes_max <= most, "{} bytes for {}", counted.bytes_max, file.len());
    let result = result.expect("the result is set");
    if let Ok((changes, _)) = &result {
        // At a start, everything that was read goes into a snapshot.
        let mut writer = Writer::new(Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() });
        let mut draft = writer.draft();
        changes.iter().cloned().for_each(|change| draft.apply(change));
        draft.commit();
        assert_eq!(writer.rows(), note(&State::new(), changes).len());
    }
    result
}

/// Writes a file of stretches, independently of the library.
fn sealed(stretches: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let sum = XxHash3_64::oneshot_with_seed;
    let mut file = b"jitsiprovs state 2\nany salt".to_vec();
    let mut chain = sum(0, &file);
    for stretch in stretches {
        let len = u32::try_from(stretch.len()).expect("inputs are short").to_le_bytes();
        let len_sum = sum(chain, &len);
        chain = sum(len_sum, &stretch);
        file.extend([&len[..], &len_sum.to_le_bytes(), &chain.to_le_bytes(), &stretch].concat());
    }
    file
}

type State = BTreeMap<(Table, i64), Row>;

fn note(state: &State, changes: &[Change]) -> State {
    let mut state = state.clone();
    for change in changes.iter().cloned() {
        match change {
            Change::Put(row) => drop(state.insert((row.table(), row.id()), row)),
            Change::Gone(table, id) => drop(state.remove(&(table, id))),
        }
    }
    state
}

/// A file as the library wrote it, and the states that were served while it was written, each with
/// the number of changes before it.
struct History {
    file: Vec<u8>,
    states: Vec<(State, Option<i64>)>,
}

static HISTORIES: LazyLock<Vec<History>> = LazyLock::new(|| (0..8).map(history).collect());

/// A database that is loaded, edited, edited during loads, and edited again.
fn history(number: u64) -> History {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut random = Random(number + 1);
    let (mut state, mut states) = (State::new(), vec![]);
    for _ in 0..number * 2 {
        state = note(&state, &[random.change()]);
    }
    let mut cursor = number as i64;
    let mut state_writer = StateWriter::new(path.clone(), SOURCE.into(), Gauge::default());
    for load in 0..2 {
        state_writer.begin_load();
        // The rows that the load sees, and the rows of the database after it.
        let (seen, mut touched) = (state.clone(), Vec::new());
        for _ in 0..=random.below(3) {
            let change = random.change();
            touched.push(key(&change));
            cursor += 1;
            commit(&mut state_writer, &mut state, change, cursor);
            states.push((state.clone(), Some(cursor)));
        }
        for (key, row) in &seen {
            state_writer.read(row, !touched.contains(key));
        }
        state_writer.commit(as_of(cursor, true));
        if load == 0 {
            // The first load began the file; another load does not need to.
            states.clear();
        }
        states.push((state.clone(), Some(cursor)));
        for _ in 0..random.below(4) {
            cursor += 1;
            commit(&mut state_writer, &mut state, random.change(), cursor);
            states.push((state.clone(), Some(cursor)));
        }
    }
    state_writer.close();
    let file = std::fs::read(&path).expect("it was written");
    let (changes, end) = read(&file).expect("the file is undamaged");
    assert_eq!((end.is_torn, end.cursor), (false, Some(cursor)));
    assert!(note(&State::new(), &changes) == state, "history {number} differs from the file");
    History { file, states }
}

fn as_of(cursor: i64, is_load: bool) -> Commit {
    let times = Times { at: cursor as u64, lost_since: u64::MAX, is_withheld: false };
    Commit { cursor: Some(cursor), is_load, times, lost: Default::default() }
}

fn key(change: &Change) -> (Table, i64) {
    match change {
        Change::Put(row) => (row.table(), row.id()),
        Change::Gone(table, id) => (*table, *id),
    }
}

fn commit(state_writer: &mut StateWriter, state: &mut State, change: Change, cursor: i64) {
    match &change {
        Change::Put(row) => state_writer.put(row),
        Change::Gone(table, id) => state_writer.gone(*table, *id),
    }
    state_writer.commit(as_of(cursor, false));
    *state = note(state, &[change]);
}

fn damage(history: &History, mut steps: &[u8]) {
    let mut file = history.file.clone();
    while !steps.is_empty() {
        let (step, rest) = text::line(steps);
        steps = rest;
        let (what, rest) = text::cut(step, b' ');
        let (first, second) = text::cut(rest, b' ');
        let number = |text: &[u8]| {
            str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0)
                % (file.len() + 1)
        };
        let at = number(first);
        match what {
            b"cut" => file.truncate(at),
            b"flip" => {
                let bytes = text::unescape(second);
                file[at..].iter_mut().zip(bytes).for_each(|(byte, flip)| *byte ^= flip);
            }
            b"hole" => {
                let len = number(second);
                file[at..].iter_mut().take(len).for_each(|byte| *byte = 0);
            }
            b"add" => file.extend(text::unescape(rest)),
            _ => {}
        }
    }
    let Ok((changes, end)) = read(&file) else { return };
    let state = note(&State::new(), &changes);
    let rows = state.len();
    let was_served = history.states.contains(&(state, end.cursor));
    assert!(was_served, "{rows} rows were never served together, or not as {:?}", end.cursor);
    // If the rest is no beginning of the original file, it is an incomplete stretch: at most a
    // head, or a stretch whose end is missing.
    assert!(end.is_torn || history.file.starts_with(&file));
    let same = history.file.iter().zip(&file).take_while(|(was, is)| was == is).count();
    assert!(same == file.len() || file.len() <= history.file.len() + HEAD, "the rest is too long");
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % end
    }

    fn change(&mut self) -> Change {
        let id = 1 + self.below(6) as i64;
        let table = Table::ALL[self.below(3) as usize];
        if self.below(4) == 0 {
            return Change::Gone(table, id);
        }
        let text = |number: u64| Cell::from(&*format!("text {number}"));
        let (one, other) = (text(self.below(4)), text(self.below(4)));
        Change::Put(match table {
            Table::UserAuth => Row::User(UserRow::from_cells(id, [one, "a.org".into(), other])),
            Table::JitsiProperty => Row::Rule(RuleRow::from_cells(
                id,
                [Cell::Null, "default".into(), Cell::Int(10), Cell::Int(-10), one, other],
            )),
            Table::UserAttribute => {
                Row::Attribute(AttributeRow::from_cells(id, ["a.org".into(), one, "name".into(), other]))
            }
        })
    }
}
