//! Exit codes, signals, files and variables, as manual pages name them. Tests compare the first two
//! with `docs/reference.md`.

use crate::cli::settings::file;
use crate::cli::source::DEFAULT_PATH;
use crate::process::pidfile;
use crate::telemetry;

/// Something with a name, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its name.
    pub term: String,
    /// What it is or does.
    pub text: String,
}

fn facts<const N: usize>(rows: [(&str, &str); N]) -> Vec<Fact> {
    rows.map(|(term, text)| Fact { term: term.into(), text: text.into() }).into()
}

/// What the exit codes of all commands mean.
pub const EXIT_CODES: [(&str, &str); 3] = [("0", "success"), ("1", "failure"), ("2", "wrong usage")];

/// What else an exit code means for one command. The server's name is empty.
pub const ALSO: [(&str, &str, &str); 6] = [
    ("", "0", "it was stopped by a signal"),
    ("config", "1", "with --check, a start would fail"),
    ("check", "1", "something was found"),
    ("status", "1", "something was found"),
    ("diff", "1", "something was found"),
    ("compare", "1", "something was found"),
];

/// The exit codes of a command.
pub fn exit_status(command: &str) -> Vec<Fact> {
    let mut codes = facts(EXIT_CODES);
    for Fact { term, text } in &mut codes {
        if let Some((.., more)) = ALSO.iter().find(|(name, code, _)| (*name, *code) == (command, term)) {
            text.push_str("; also: ");
            text.push_str(more);
        }
    }
    codes
}

/// What signals do to a server.
pub fn signals() -> Vec<Fact> {
    facts([
        (
            "SIGTERM, SIGINT",
            "stop the server: it finishes the requests in progress; a second signal stops it at once",
        ),
        (
            "SIGHUP",
            "reads the rows, the certificate and the file of the database's password again; a second one \
             within 60 s also confirms the loss that is withheld",
        ),
    ])
}

/// Files that are used if no option names another one.
pub fn files(is_program: bool) -> Vec<Fact> {
    let mut files = facts([
        (file::USUAL, "The settings file: values of options, as lines JITSIPROVS_HTTP_PORT=8443."),
        (DEFAULT_PATH, "The SQLite database, if --db-path names no other."),
    ]);
    if is_program {
        files.extend(facts([
            (
                pidfile::DEFAULT,
                "The process id of a server in the background, if --pidfile names no other file.",
            ),
            (
                telemetry::SYSLOG_SOCKET,
                "The socket of syslog, which takes the log of a server in the background.",
            ),
            (telemetry::DEFAULT_FILE, "The log of a server in the background if no syslog answers."),
        ]));
    }
    files
}

/// What holds for the variables of all options.
pub const VARIABLES: &str = "Each of these variables is the value of the option with its name: \
    JITSIPROVS_DB_PATH is --db-path. An option outranks its variable, and a variable outranks the settings \
    file.";

/// Variables that are not those of options.
pub fn other_variables() -> Vec<Fact> {
    facts([
        ("LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "Listeners that a service manager passes."),
        (
            "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
            "Where and how often the server reports to a service manager.",
        ),
        ("SUDO_USER", "Who edits, for the history, if root edits by sudo."),
        ("NO_COLOR", "If it is not empty, nothing is coloured."),
    ])
}

/// Where the Debian package has the manual.
pub const MANUAL: &str = "/usr/share/doc/jitsiprovs/docs/";
