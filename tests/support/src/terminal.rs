//! Terminals for running commands.

use std::fs::File;
use std::io::Read;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::PATIENCE;
use crate::server::Running;

/// Opens a terminal: returns the user's end and the command's end.
pub fn terminal() -> (File, File) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("ours");
    let name = ptsname(&terminal, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let end = File::options().read(true).write(true).open(&name).expect("opens");
    (terminal.into(), end)
}

/// Runs a command whose standard output and error are a terminal. Returns its exit status, and its
/// output on the terminal.
pub fn run_at_terminal(command: Command) -> (ExitStatus, Vec<u8>) {
    run_at_terminal_of(command, 0)
}

/// The same on a terminal with this number of columns. A terminal with 0 does not know it.
pub fn run_at_terminal_of(mut command: Command, columns: u16) -> (ExitStatus, Vec<u8>) {
    let (mut terminal, end) = terminal();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&end, size).expect("a terminal");
    command.stdout(end.try_clone().expect("a handle")).stderr(end);
    let mut child = Running(command.spawn().expect("starts"));
    // Closes the command's handles of the terminal, so that reading comes to an end.
    drop(command);
    let (sender, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut shown = Vec::new();
        // Reading fails once no process has the terminal open for writing.
        let _ = terminal.read_to_end(&mut shown);
        sender.send(shown)
    });
    let shown = shown.recv_timeout(PATIENCE).expect("its end");
    (child.0.wait().expect("ended"), shown)
}
