//! Keeps a parameter from being part of a `${null}` or `${system}`. The client removes a property,
//! and all whose keys begin alike, by the first, and sets a Java system property by the second. So
//! only a rule may say them.

use std::ops::Range;

use crate::core::properties::{Unit, units};

/// The texts that mean something to the client.
const COMMANDS: [&str; 2] = ["${null}", "${system}"];
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

/// Breaks the commands in `written` in which a parameter takes part. `filled` says where the
/// parameters are, in order; one that is empty can join what stands around it.
pub(super) fn apart(written: &str, filled: &[Range<usize>]) -> Vec<u8> {
    let units: Vec<Unit> = units(written).map_while(Result::ok).collect();
    let (mut safe, mut done) = (Vec::with_capacity(written.len() + APART.len()), 0);
    for at in 0..units.len() {
        let Some(command) = COMMANDS.iter().find(|command| begin_with(&units[at..], command)) else {
            continue;
        };
        let (begin, end) = (units[at].written.start, units[at + command.len() - 1].written.end);
        let first = filled.partition_point(|param| param.end <= begin);
        if filled.get(first).is_some_and(|param| param.start < end) {
            let dollar = units[at].written.end;
            safe.extend_from_slice(&written.as_bytes()[done..dollar]);
            safe.extend_from_slice(APART);
            done = dollar;
        }
    }
    safe.extend_from_slice(&written.as_bytes()[done..]);
    safe
}

fn begin_with(units: &[Unit], command: &str) -> bool {
    units.len() >= command.len()
        && units.iter().zip(command.bytes()).all(|(unit, byte)| unit.read == u16::from(byte))
}
