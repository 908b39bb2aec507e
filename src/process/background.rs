//! Going to the background.
//!
//! The program starts itself a second time, and this child serves. Until it serves,
//! the child shares the parent's terminal and standard error, and Ctrl-C ends both.
//! Then the child detaches from them, and the parent ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use rustix::fs::Mode;

/// The variable that tells the child that it is the child.
pub const CHILD: &str = "JITSIPROVS_BACKGROUND_CHILD";

/// The line that the child writes once it serves.
const SERVING: &[u8] = b"serving\n";

/// Starts the child and waits until it serves. Returns the exit code for the
/// parent, or `None` in the child.
///
/// The child leaves the working directory, so paths must be absolute by now.
///
/// # Errors
/// When the child cannot be started, or ends before it serves without saying
/// why.
pub fn enter() -> anyhow::Result<Option<ExitCode>> {
    if std::env::var_os(CHILD).is_some() {
        // The child must not keep a file system from being unmounted. Its group may
        // read but not write its new files, and others can do neither.
        let _ = std::env::set_current_dir("/");
        rustix::process::umask(Mode::WGRP | Mode::RWXO);
        return Ok(None);
    }
    let mut args = std::env::args_os();
    let mut child = Command::new(std::env::current_exe().context("cannot find the file of this program")?)
        .arg0(args.next().unwrap_or_else(|| "jitsiprovs".into()))
        .args(args)
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process in the background; use -n to stay in the foreground")?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // If this fails or the child ends, the line is missing, which is checked below.
        let _ = BufReader::new(stdout).read_until(b'\n', &mut said);
    }
    if said == SERVING {
        return Ok(Some(ExitCode::SUCCESS));
    }
    let status = child.wait().context("cannot find out how the process in the background ended")?;
    match status.code() {
        Some(code @ 1..=255) => Ok(Some(ExitCode::from(code as u8))),
        Some(_) => bail!("stopped before serving"),
        None => bail!("the process in the background ended before it served: {status}"),
    }
}

/// Detaches from the terminal, and tells the waiting parent that the server is ready.
/// Both may be gone already, which changes nothing.
#[expect(clippy::disallowed_methods, reason = "the parent reads it, not a terminal")]
pub fn detach() {
    // This fails if the process leads a session already.
    let _ = rustix::process::setsid();
    let nowhere = File::options().read(true).write(true).open("/dev/null");
    // Standard error is closed first: the parent ends once it has read the line below,
    // and a program that reads the output of both must then reach its end.
    if let Ok(nowhere) = &nowhere {
        let _ = rustix::stdio::dup2_stderr(nowhere);
    }
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(SERVING).and_then(|()| stdout.flush());
    if let Ok(nowhere) = &nowhere {
        let _ = rustix::stdio::dup2_stdout(nowhere);
    }
}
