//! Keeps parameters from giving commands to the client. It removes a property, and all whose keys
//! begin alike, if the value is `${null}`; and it sets a Java system property if the key begins
//! with `${system}`. Only a rule may say that.
//!
//! Two pieces of text never make such a command, wherever it is. A parameter that has one in
//! itself is data and stays as it is, unless the client would act on it.

use std::ops::Range;

use crate::core::properties::{Side, Unit, is_blank, split_line, units};

/// The texts that mean something to the client.
const COMMANDS: [&str; 2] = [REMOVE, SYSTEM];
const REMOVE: &str = "${null}";
const SYSTEM: &str = "${system}";
/// What is put after the `$` of a command that no rule says: a blank, which Java reads as such in
/// keys and in values. The client then sees ordinary text, and a person still sees all of it.
const APART: &[u8] = b"\\ ";

/// Whether a command may begin in `text` as Java reads it and go on behind its end.
pub(super) fn begins_at_end(written: &str) -> bool {
    if !has_dollar(written) {
        return false;
    }
    let read = read(written);
    let ends = |begin: &&str| read.ends_with(&begin.encode_utf16().collect::<Vec<u16>>());
    COMMANDS
        .iter()
        .flat_map(|command| (1..command.len()).map(|len| &command[..len]))
        .any(|begin| ends(&begin))
}

/// Whether Java reads a `$` in the text.
pub(super) fn has_dollar(written: &str) -> bool {
    // Every other way to write one has a backslash.
    (written.contains('$') || written.contains('\\')) && read(written).contains(&u16::from(b'$'))
}

fn read(written: &str) -> Vec<u16> {
    units(written).map_while(|unit| Some(unit.ok()?.read)).collect()
}

/// Whether a command is in `value`, or begins in it and may go on behind its end.
pub(super) fn begins_in(value: &str) -> bool {
    value.match_indices('$').any(|(at, _)| {
        let rest = &value[at..];
        COMMANDS.iter().any(|command| rest.starts_with(command) || command.starts_with(rest))
    })
}

/// Breaks the commands in `written` that parameters give: one key or value, as `place` says, or
/// whole lines. `filled` says where the parameters are, in order; one that is empty can join what
/// stands around it.
pub(super) fn apart(written: &str, place: Side, filled: &[Range<usize>]) -> Vec<u8> {
    let (mut safe, mut done) = (Vec::with_capacity(written.len() + APART.len()), 0);
    for (place, side) in sides(written, place) {
        for dollar in commands(side, place, |within| offset(written, side, within), filled) {
            safe.extend_from_slice(&written.as_bytes()[done..dollar]);
            safe.extend_from_slice(APART);
            done = dollar;
        }
    }
    safe.extend_from_slice(&written.as_bytes()[done..]);
    safe
}

/// The keys and values as Java reads them. Only whole lines end with a line break.
fn sides(written: &str, place: Side) -> Vec<(Side, &str)> {
    match written.strip_suffix('\n') {
        None => vec![(place, written.trim_start_matches(is_blank))],
        Some(lines) => lines
            .split('\n')
            .flat_map(|line| {
                let (key, value) = split_line(line.trim_start_matches(is_blank));
                [(Side::Key, key), (Side::Value, value)]
            })
            .collect(),
    }
}

/// Where `side`, which is a part of `written`, has its byte `within`.
fn offset(written: &str, side: &str, within: usize) -> usize {
    side.as_ptr().addr() - written.as_ptr().addr() + within
}

/// The ends of the dollars of the commands that parameters give in `side`.
fn commands(side: &str, place: Side, at: impl Fn(usize) -> usize, filled: &[Range<usize>]) -> Vec<usize> {
    let units: Vec<Unit> = units(side).map_while(Result::ok).collect();
    let is_given = |first: usize| {
        let command = COMMANDS.iter().find(|command| begin_with(&units[first..], command))?;
        let (begin, end) = (at(units[first].written.start), at(units[first + command.len() - 1].written.end));
        let param = filled.get(filled.partition_point(|param| param.end <= begin))?;
        let is_in_one = param.start <= begin && end <= param.end;
        let acts = match place {
            Side::Key => first == 0 && *command == SYSTEM,
            Side::Value => units.len() == command.len() && *command == REMOVE,
        };
        let is_given = if is_in_one { acts } else { param.start < end };
        is_given.then(|| at(units[first].written.end))
    };
    (0..units.len()).filter_map(is_given).collect()
}

fn begin_with(units: &[Unit], command: &str) -> bool {
    units.len() >= command.len()
        && units.iter().zip(command.bytes()).all(|(unit, byte)| unit.read == u16::from(byte))
}
