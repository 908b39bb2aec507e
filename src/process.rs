//! The process as the system shows it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Options whose value everyone on the machine could read in the list of
/// processes, and the variables that take their place.
const PASSWORDS: [(&[&str], &str); 2] =
    [(&["--db-pwd", "--db_pwd"], "JITSIPROVS_DB_PWD"), (&["--db-apwd", "--db_apwd"], "JITSIPROVS_DB_APWD")];

/// Starts this program anew with passwords moved from its arguments to its
/// environment, which only the same user can read. Returns if there are none,
/// or if the system does not let it be started again.
pub fn hide_passwords() {
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

/// The arguments that may be seen, and the variables for the others.
fn split(args: Vec<OsString>) -> (Vec<OsString>, Vec<(&'static str, OsString)>) {
    let (mut kept, mut moved) = (Vec::new(), Vec::new());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            kept.push(arg);
            break;
        }
        let (option, value) = match arg.as_bytes().iter().position(|&byte| byte == b'=') {
            Some(at) => {
                (&arg.as_bytes()[..at], Some(OsStr::from_bytes(&arg.as_bytes()[at + 1..]).to_owned()))
            }
            None => (arg.as_bytes(), None),
        };
        let variable = PASSWORDS
            .iter()
            .find(|(spellings, _)| spellings.iter().any(|spelling| spelling.as_bytes() == option));
        match variable {
            // A second one is for the parser to complain about.
            Some((_, variable)) if moved.iter().all(|(known, _)| known != variable) => {
                match value.or_else(|| args.next_if(|next| !next.as_bytes().starts_with(b"-"))) {
                    Some(value) => moved.push((*variable, value)),
                    None => kept.push(arg),
                }
            }
            _ => kept.push(arg),
        }
    }
    kept.extend(args);
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
    fn what_the_parser_must_complain_about_stays() {
        for args in
            [&["--db-pwd"][..], &["--db-pwd", "-n"], &["--", "--db-pwd", "x"], &["--db-pwd-file", "x"]]
        {
            assert_eq!(texts(args), (args.iter().map(ToString::to_string).collect(), vec![]));
        }
        assert_eq!(texts(&["--db-pwd", "a", "--db-pwd", "b"]).0, ["--db-pwd", "b"]);
    }
}
