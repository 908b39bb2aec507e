//! Going to the background.
//!
//! The program starts itself once more, and that child serves. Until it does it
//! belongs to whoever waits for it in front: it has their terminal and their
//! standard error, and Ctrl-C ends both. Then it lets go of all that, and the
//! parent ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use rustix::fs::Mode;

/// Tells the child that it is one.
const CHILD: &str = "JITSIPROVS_BACKGROUND_CHILD";

/// What the child says when it serves.
const SERVING: &[u8] = b"serving\n";

/// Starts the child and waits until it serves: then there is a code to end
/// with. In the child itself there is none.
///
/// The child leaves the working directory, so paths must be absolute by now.
///
/// # Errors
/// When the child cannot be started, or ends before it serves without saying
/// why.
pub fn enter() -> anyhow::Result<Option<ExitCode>> {
    if std::env::var_os(CHILD).is_some() {
        // No file system is to be kept busy, and what is made here is nobody
        // else's to write, nor everybody's to read.
        let _ = std::env::set_current_dir("/");
        rustix::process::umask(Mode::WGRP | Mode::RWXO);
        return Ok(None);
    }
    let mut args = std::env::args_os();
    let mut child = Command::new(std::env::current_exe().context("cannot find my own program file")?)
        .arg0(args.next().unwrap_or_else(|| "jitsiprovs".into()))
        .args(args)
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process in the background: -n stays in the foreground")?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // A child that ends has said nothing, and that is what counts.
        let _ = BufReader::new(stdout).read_until(b'\n', &mut said);
    }
    if said == SERVING {
        return Ok(Some(ExitCode::SUCCESS));
    }
    let status = child.wait().context("cannot tell how the process in the background ended")?;
    match status.code() {
        Some(code @ 1..=255) => Ok(Some(ExitCode::from(code as u8))),
        Some(_) => bail!("stopped before serving"),
        None => bail!("the process in the background ended before it served: {status}"),
    }
}

/// Lets go of the terminal and of whoever waits. They may have gone already,
/// which changes nothing.
#[expect(clippy::disallowed_methods, reason = "the parent reads it, no terminal")]
pub fn detach() {
    // Fails if somebody has done it for us.
    let _ = rustix::process::setsid();
    let nowhere = File::options().read(true).write(true).open("/dev/null");
    // Standard error goes first: once told, the parent ends, and whoever reads
    // what both wrote is to come to its end.
    if let Ok(nowhere) = &nowhere {
        let _ = rustix::stdio::dup2_stderr(nowhere);
    }
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(SERVING).and_then(|()| stdout.flush());
    if let Ok(nowhere) = &nowhere {
        let _ = rustix::stdio::dup2_stdout(nowhere);
    }
}
