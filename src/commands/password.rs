//! Passwords that come from people: typed without being seen, or on standard
//! input, and never an argument.

use std::io::{self, BufRead, Read, Write};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};

use crate::model::Secret;

/// More than this is no password, in bytes.
const LONGEST: u64 = 16 * 1024;
/// Ctrl-C, as a character.
const INTERRUPT: u8 = 3;

/// The password of `whose`: from the first line of standard input, or asked for
/// twice.
///
/// # Errors
/// When there is none, or the two differ.
pub fn ask(whose: &str, from_stdin: bool) -> anyhow::Result<Secret> {
    let mut stdin = io::stdin().lock();
    if from_stdin {
        return first_line(stdin);
    }
    if !isatty(&stdin) {
        bail!(
            "there is no terminal to ask for the password at: give it on standard input, with --password-stdin"
        );
    }
    let _hidden = Hidden::new().context("cannot keep the terminal from showing the password")?;
    let mut once = |prompt: &str| {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
        typed_line(&mut stdin)
    };
    let first = once(&format!("Password of {whose}: "))?;
    if first.reveal().is_empty() {
        bail!("the password is empty: nothing was changed");
    }
    if once("The same again: ")? != first {
        bail!("the two passwords differ: nothing was changed");
    }
    Ok(first)
}

fn first_line(stdin: impl Read) -> anyhow::Result<Secret> {
    let mut line = Vec::new();
    let mut stdin = io::BufReader::new(stdin.take(LONGEST));
    stdin.read_until(b'\n', &mut line).context("cannot read the password from standard input")?;
    if line.len() as u64 == LONGEST {
        bail!("the first line of standard input is longer than any password");
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("the first line of standard input is empty: --password-stdin takes the password from there");
    }
    password(line)
}

/// What is typed at a terminal, up to the end of the line or Ctrl-C.
fn typed_line(terminal: &mut impl BufRead) -> anyhow::Result<Secret> {
    let mut line = Vec::new();
    loop {
        let typed = terminal.fill_buf().context("cannot read the password from the terminal")?;
        let end = typed.iter().position(|byte| matches!(*byte, b'\n' | INTERRUPT));
        let (taken, last) = (end.unwrap_or(typed.len()), end.map(|end| typed[end]));
        line.extend_from_slice(&typed[..taken]);
        let is_over = typed.is_empty();
        terminal.consume(taken + usize::from(last.is_some()));
        match last {
            Some(b'\n') => return password(&line),
            None if !is_over && (line.len() as u64) < LONGEST => {}
            _ => bail!("no password was typed: nothing was changed"),
        }
    }
}

fn password(line: &[u8]) -> anyhow::Result<Secret> {
    let line = std::str::from_utf8(line).ok().context("the password is not UTF-8, as clients send it")?;
    if line.contains(char::is_control) {
        bail!("the password holds a control character, which nobody can type: choose another");
    }
    Ok(Secret::new(line))
}

/// As long as it lives, standard input shows nothing of what is typed.
struct Hidden(Termios);

impl Hidden {
    fn new() -> rustix::io::Result<Hidden> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        // The end of the line is seen. Ctrl-C ends it too, and not the program,
        // which has to bring the terminal back first.
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_gives_its_first_line_without_the_end() {
        for (input, expected) in [
            (&b"secret\n"[..], Some("secret")),
            (b"secret\r\nmore\n", Some("secret")),
            (b"sec ret ", Some("sec ret ")),
            ("sécrèt\n".as_bytes(), Some("sécrèt")),
            (b"", None),
            (b"\n", None),
            (b"\r\nsecret", None),
            (b"\xff\n", None),
            (b"a\x07b\n", None),
        ] {
            let found = first_line(input).ok();
            assert_eq!(found.as_ref().map(Secret::reveal), expected, "{input:?}");
        }
    }

    #[test]
    fn a_terminal_gives_a_line_each_time_and_ctrl_c_ends_it() {
        let mut terminal = &b"one\ntwo\nthr\x03"[..];
        assert_eq!(typed_line(&mut terminal).expect("a line").reveal(), "one");
        assert_eq!(typed_line(&mut terminal).expect("a line").reveal(), "two");
        assert!(typed_line(&mut terminal).is_err());
        assert!(typed_line(&mut &b"cut off"[..]).is_err());
    }
}
