//! The process as the system sees it.

pub mod background;
pub mod build;
pub mod files;
pub mod key_pair;
pub mod memory;
pub mod pidfile;
pub mod priority;
pub mod privileges;
pub mod service;
pub mod sockets;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Options whose value everyone on the machine could read in the list of
/// processes, and the environment variables that replace them.
const PASSWORDS: [(&[&str], &str); 2] =
    [(&["--db-pwd", "--db_pwd"], "JITSIPROVS_DB_PWD"), (&["--db-apwd", "--db_apwd"], "JITSIPROVS_DB_APWD")];

/// Commands that take none of these options.
const WITHOUT_PASSWORDS: [&str; 12] = [
    "demo",
    "lock",
    "confirm",
    "operator",
    "sql",
    "url",
    "discovery",
    "compare",
    "completions",
    "man",
    "setup",
    "serve",
];

/// The command that takes all options of the server.
const WITH_ALL: &str = "config";

/// Starts this program again with the passwords moved from its arguments to its
/// environment, which only the same user can read. Returns if there are none, or if the
/// system does not allow the program to start again.
pub fn tidy() {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "jitsiprovs".into());
    let (kept, moved) = split(args.collect());
    if moved.is_empty() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let _ = Command::new(program).arg0(name).args(kept).envs(moved).exec();
    }
}

/// The name of the person who runs this program: behind `sudo`, the user who called it. It is for
/// the history of edits, and proves nothing.
pub fn user_name() -> String {
    let uid = nix::unistd::Uid::effective();
    let name = match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    match std::env::var("SUDO_USER") {
        Ok(caller) if uid.is_root() && !caller.is_empty() && caller != name => format!("{caller} as {name}"),
        _ => name,
    }
}

/// The processor time that this thread has used.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the limit of open files to the most that the system allows, because each
/// connection takes one. Returns the limit.
pub fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

/// Returns the arguments without passwords, and the variables for the passwords. If
/// the parser will complain about the arguments, they all stay as they are.
fn split(args: Vec<OsString>) -> (Vec<OsString>, Vec<(&'static str, OsString)>) {
    let (mut kept, mut moved) = (Vec::new(), Vec::<(&str, OsString)>::new());
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            kept.push(arg.clone());
            break;
        }
        let (option, value) = match arg.as_bytes().iter().position(|&byte| byte == b'=') {
            Some(at) => (&arg.as_bytes()[..at], Some(OsStr::from_bytes(&arg.as_bytes()[at + 1..]))),
            None => (arg.as_bytes(), None),
        };
        let variable = PASSWORDS
            .iter()
            .find(|(spellings, _)| spellings.iter().any(|spelling| spelling.as_bytes() == option));
        let Some((_, variable)) = variable else {
            kept.push(arg.clone());
            continue;
        };
        let is_value = |next: &&OsStr| !next.as_bytes().starts_with(b"-");
        match value.or_else(|| rest.next().map(OsString::as_os_str).filter(is_value)) {
            Some(value) if moved.iter().all(|(known, _)| known != variable) => {
                moved.push((variable, value.to_owned()));
            }
            _ => return (args, Vec::new()),
        }
    }
    let is_option = |arg: &OsString| arg.as_bytes().starts_with(b"-");
    if let Some(command) = kept.first().filter(|first| !is_option(first)) {
        let takes_none = WITHOUT_PASSWORDS.iter().any(|other| command == other);
        // No other command takes the administrator's password.
        let takes_another =
            *command != *WITH_ALL && moved.iter().any(|(variable, _)| *variable != PASSWORDS[0].1);
        if takes_none || takes_another || is_option(&args[0]) {
            return (args, Vec::new());
        }
    }
    kept.extend(rest.cloned());
    (kept, moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(args: &[&str]) -> (Vec<String>, Vec<String>) {
        let (kept, moved) = split(args.iter().map(OsString::from).collect());
        let text = |text: OsString| text.into_string().expect("UTF-8");
        let moved = moved.into_iter().map(|(variable, value)| format!("{variable}={}", text(value)));
        (kept.into_iter().map(text).collect(), moved.collect())
    }

    #[test]
    fn passwords_move_from_arguments_to_the_environment() {
        let (kept, moved) = texts(&["-n", "--db-pwd", "a", "--db_apwd=b=c", "--db-user", "u"]);
        assert_eq!(kept, ["-n", "--db-user", "u"]);
        assert_eq!(moved, ["JITSIPROVS_DB_PWD=a", "JITSIPROVS_DB_APWD=b=c"]);
    }

    #[test]
    fn every_command_that_takes_a_password_has_it_moved() {
        fn check(command: &clap::Command, path: &[&str]) {
            for sub in command.get_subcommands() {
                let path = [path, &[sub.get_name()]].concat();
                check(sub, &path);
                let (kept, moved) = texts(&[&path[..], &["--db-pwd", "x", "y"]].concat());
                let is_moved = (kept, moved.len())
                    == ([&path[..], &["y"]].concat().iter().map(ToString::to_string).collect(), 1);
                let takes = |command: &clap::Command| {
                    command.get_arguments().any(|arg| arg.get_long() == Some("db-pwd"))
                };
                let is_one = sub.get_subcommands().next().is_none();
                assert!(!is_one || is_moved == takes(sub), "{path:?}");
            }
        }
        check(&<crate::cli::Cli as clap::CommandFactory>::command(), &[]);
    }

    #[test]
    fn what_the_parser_must_complain_about_stays() {
        for args in [
            &["--db-pwd"][..],
            &["--db-pwd", "-n"],
            &["--", "--db-pwd", "x"],
            &["--db-pwd-file", "x"],
            &["--db-pwd", "a", "--db_pwd=b"],
            &["demo", "--db-pwd", "x"],
            &["--db-pwd", "x", "demo"],
            &["--db-pwd", "x", "user", "list"],
            &["user", "list", "--db-apwd", "x"],
        ] {
            assert_eq!(texts(args), (args.iter().map(ToString::to_string).collect(), vec![]));
        }
        assert_eq!(texts(&["--db-pwd=-a"]).1, ["JITSIPROVS_DB_PWD=-a"]);
        assert_eq!(texts(&["config", "--db-apwd", "x"]).1, ["JITSIPROVS_DB_APWD=x"]);
    }
}
