//! Database servers that end with the test process.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// A server that ends, and whose folder is removed, when the process that started it ends for any
/// reason: a shell that ignores signals waits until our end of a pipe is closed.
pub struct Keeper {
    shell: Child,
    /// The shell's replies to orders.
    replies: Mutex<ChildStdout>,
}

/// The shell's script. Its arguments are the folder, the signal that ends the server, and the
/// server's command. Processes of the server are killed with it, because they hold locks on its
/// data.
const SCRIPT: &str = r#"
    trap '' INT HUP TERM
    exec 3<&0
    folder=$1
    signal=$2
    shift 2
    "$@" </dev/null >/dev/null &
    server=$!
    while read -r order <&3; do
        case $order in
        kill)
            read -r all </proc/$server/task/$server/children
            kill -KILL $server $all
            wait $server
            for one in $all; do
                while [ -e /proc/$one ]; do sleep 0.01; done
            done ;;
        start) "$@" </dev/null >/dev/null & server=$! ;;
        esac
        echo done
    done 2>/dev/null
    kill -$signal $server
    wait $server
    rm -rf "$folder"
"#;

impl Keeper {
    /// Starts a server whose files are in `folder`. Its errors are written to `folder/log`.
    pub fn start(folder: &Path, signal: &str, server: &Command) -> Keeper {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "keeper"]).arg(folder).args([signal.as_ref(), server.get_program()]);
        for (name, value) in server.get_envs() {
            shell.env(name, value.expect("none is removed"));
        }
        let mut shell = shell
            .args(server.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.join("log")).expect("a log"))
            .spawn()
            .expect("sh starts");
        let replies = Mutex::new(shell.stdout.take().expect("a pipe"));
        Keeper { shell, replies }
    }

    /// Gives an order, and waits until it has been carried out.
    pub fn order(&self, what: &str) {
        writeln!(self.shell.stdin.as_ref().expect("a pipe"), "{what}").expect("it listens");
        let mut reply = [0; 5];
        self.replies.lock().expect("a pipe").read_exact(&mut reply).expect("it answers");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
