//! Terminals for commands to run at.

use std::fs::File;
use std::io::Read;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::PATIENCE;
use crate::server::Running;

/// A terminal: the end of who looks at it, and the end of the command.
pub fn terminal() -> (File, File) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("ours");
    let name = ptsname(&terminal, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let end = File::options().read(true).write(true).open(&name).expect("opens");
    (terminal.into(), end)
}

/// Runs a command whose standard output and error are a terminal. Returns how it
/// ended, and what it wrote there.
pub fn run_at_terminal(mut command: Command) -> (ExitStatus, Vec<u8>) {
    let (mut terminal, end) = terminal();
    command.stdout(end.try_clone().expect("a handle")).stderr(end);
    let mut child = Running(command.spawn().expect("starts"));
    // What it holds of the terminal, so that reading comes to an end.
    drop(command);
    let (sender, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut shown = Vec::new();
        // Once nobody writes any more, reading fails.
        let _ = terminal.read_to_end(&mut shown);
        sender.send(shown)
    });
    let shown = shown.recv_timeout(PATIENCE).expect("its end");
    (child.0.wait().expect("ended"), shown)
}
