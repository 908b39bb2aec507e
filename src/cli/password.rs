//! Reads passwords: typed at a terminal that does not show them, or from standard input.
//! A password is never an argument.

use std::future::poll_fn;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::kill_current_process_group;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print;
use crate::core::secret::Secret;

/// Input of this many bytes or more is not accepted as a password.
const LONGEST: u64 = 16 * 1024;
/// Ctrl-C, as a character.
const INTERRUPT: u8 = 3;
const UNTYPED: &str = "no password was typed: nothing was changed";
/// How long to wait for a signal to end the program.
const PATIENCE: Duration = Duration::from_secs(2);

/// A new password for `whose`, from the first line of standard input or typed twice.
///
/// # Errors
/// When there is no password, or the two that were typed differ.
pub fn ask(whose: &str, from_stdin: bool) -> anyhow::Result<Secret> {
    if from_stdin {
        let password = read()?;
        if password.reveal().is_empty() {
            bail!(
                "the first line of standard input is empty: --password-stdin takes the password from there"
            );
        }
        return typeable(password);
    }
    let mut stdin = io::stdin().lock();
    if !isatty(&stdin) {
        bail!(
            "there is no terminal at which to ask for the password: give it on standard input, with --password-stdin"
        );
    }
    let hidden = Hidden::new().context("cannot keep the terminal from showing the password")?;
    let mut once = |prompt: &str| {
        print::prompt(prompt);
        typed_line(&mut stdin)
    };
    let both = once(&format!("Password of {whose}:")).and_then(|first| {
        let Some(first) = first else { return Ok(None) };
        if first.reveal().is_empty() {
            bail!("the password is empty: nothing was changed");
        }
        Ok(once("The same again:")?.map(|second| (first, second)))
    });
    drop(hidden);
    match both? {
        Some((first, second)) if first == second => Ok(first),
        Some(_) => bail!("the two passwords differ: nothing was changed"),
        None => {
            print::note(UNTYPED);
            interrupt();
            bail!(UNTYPED)
        }
    }
}

/// Ends this program and the script or loop that runs it, as Ctrl-C usually does.
/// [`Hidden`] turns that off while the password is typed.
#[allow(clippy::disallowed_methods, reason = "a thread of its own")]
fn interrupt() {
    if kill_current_process_group(rustix::process::Signal::INT).is_ok() {
        // Normally the thread for signals ends the program during this sleep.
        thread::sleep(PATIENCE);
    }
}

/// An existing password: the first line of standard input, even if it is empty or has
/// control characters.
///
/// # Errors
/// When it cannot be read, is too long or is not UTF-8.
pub fn read() -> anyhow::Result<Secret> {
    first_line(io::stdin().lock())
}

/// The value of the attribute `name`, which may be a password: the first line of standard
/// input.
///
/// # Errors
/// As [`read`], and when the line is empty.
pub fn value(name: &str) -> anyhow::Result<Secret> {
    let value = read()?;
    if value.reveal().is_empty() {
        bail!(
            "the first line of standard input is empty: --value-stdin takes the value of {name:?} from there"
        );
    }
    Ok(value)
}

fn first_line(stdin: impl Read) -> anyhow::Result<Secret> {
    let mut line = Vec::new();
    let mut stdin = io::BufReader::new(stdin.take(LONGEST));
    stdin.read_until(b'\n', &mut line).context("cannot read standard input")?;
    if line.len() as u64 == LONGEST {
        bail!("the first line of standard input is longer than any password");
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    password(line.strip_suffix(b"\r").unwrap_or(line))
}

/// One line that is typed at a terminal; `None` after Ctrl-C.
fn typed_line(terminal: &mut impl BufRead) -> anyhow::Result<Option<Secret>> {
    let mut line = Vec::new();
    loop {
        let typed = terminal.fill_buf().context("cannot read the password from the terminal")?;
        let end = typed.iter().position(|byte| matches!(*byte, b'\n' | INTERRUPT));
        let (taken, last) = (end.unwrap_or(typed.len()), end.map(|end| typed[end]));
        line.extend_from_slice(&typed[..taken]);
        let is_over = typed.is_empty();
        terminal.consume(taken + usize::from(last.is_some()));
        match last {
            Some(b'\n') => return typeable(password(&line)?).map(Some),
            Some(_) => return Ok(None),
            None if !is_over && (line.len() as u64) < LONGEST => {}
            None => bail!(UNTYPED),
        }
    }
}

fn password(line: &[u8]) -> anyhow::Result<Secret> {
    let line = std::str::from_utf8(line).ok().context("the password is not UTF-8, but clients send UTF-8")?;
    Ok(Secret::new(line))
}

fn typeable(password: Secret) -> anyhow::Result<Secret> {
    if password.reveal().contains(char::is_control) {
        bail!("the password contains a control character, which users cannot type: choose another password");
    }
    Ok(password)
}

/// While this value exists, the terminal does not show what is typed. A signal that ends
/// the program restores the terminal first.
struct Hidden(Arc<Terminal>);

/// The terminal's settings before they were changed; `None` if they are not changed.
type Terminal = Mutex<Option<Termios>>;

impl Hidden {
    fn new() -> io::Result<Hidden> {
        let terminal = Arc::<Terminal>::default();
        catch_signals(terminal.clone())?;
        let mut known = lock(&terminal);
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        // The line break is still shown. Ctrl-C ends the line instead of the program, so
        // that the program can print a message first.
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        *known = Some(before);
        drop(known);
        Ok(Hidden(terminal))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        bring_back(&mut lock(&self.0));
    }
}

fn lock(terminal: &Terminal) -> MutexGuard<'_, Option<Termios>> {
    terminal.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bring_back(terminal: &mut Option<Termios>) {
    if let Some(before) = terminal.take() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Handles the signals that end a program, on a separate thread, because the caller's
/// thread waits for input. A handler cannot be removed again, so the thread stays after
/// the prompt, and the signals still end the program.
fn catch_signals(terminal: Arc<Terminal>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (ready, is_ready) = mpsc::channel();
    let wait = async move {
        let mut signals = match signals() {
            Ok(signals) => signals,
            Err(why) => return ready.send(Err(why)),
        };
        ready.send(Ok(()))?;
        let number = poll_fn(|context| {
            let came = |(number, signal): &mut (i32, Signal)| {
                signal.poll_recv(context).is_ready().then_some(*number)
            };
            signals.iter_mut().find_map(came).map_or(Poll::Pending, Poll::Ready)
        });
        let number = number.await;
        // The lock is held to the end, so that input is not hidden again.
        let mut terminal = lock(&terminal);
        bring_back(&mut terminal);
        // Ends as if the signal had not been caught, so that a shell sees which signal it
        // was. SIGQUIT is an exception: it would dump core, with the typed password in it.
        if number != SignalKind::quit().as_raw_value() {
            let _ = emulate_default_handler(number);
        }
        std::process::exit(128 + number)
    };
    thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(wait))?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the thread for signals has ended")))
}

/// The signals that end a program, with their numbers.
fn signals() -> io::Result<Vec<(i32, Signal)>> {
    let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];
    kinds.into_iter().map(|kind| Ok((kind.as_raw_value(), signal(kind)?))).collect()
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
            (b"", Some("")),
            (b"\r\nsecret", Some("")),
            (b"a\x07b\n", Some("a\x07b")),
            (b"\xff\n", None),
            (&[b'a'; LONGEST as usize], None),
        ] {
            let found = first_line(input).ok();
            assert_eq!(found.as_ref().map(Secret::reveal), expected, "{input:?}");
        }
    }

    #[test]
    fn a_new_password_can_be_typed() {
        for (password, expected) in [("sec ret", true), ("sécrèt", true), ("a\x07b", false)] {
            assert_eq!(typeable(Secret::new(password)).is_ok(), expected, "{password:?}");
        }
    }

    #[test]
    fn a_terminal_gives_a_line_each_time_and_ctrl_c_ends_it() {
        let mut terminal = &b"one\ntwo\nthr\x03"[..];
        let mut line = || typed_line(&mut terminal).expect("a line").map(|line| line.reveal().to_owned());
        assert_eq!([line(), line(), line()], [Some("one".into()), Some("two".into()), None]);
        assert!(typed_line(&mut &b"cut off"[..]).is_err());
    }
}
