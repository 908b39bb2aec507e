//! The options in effect, for the first line of the log.

use clap::{Arg, CommandFactory};

use crate::cli::Cli;
use crate::cli::settings::{Origin, Settings};
use crate::core::secret::HIDDEN;

/// The options of the server that were given and differ from their default, in their
/// documented spelling. Passwords are hidden. `--config` is left out, because the options that its
/// file gives are shown.
pub fn options_in_effect(settings: &Settings) -> String {
    let command = Cli::command();
    let shown = command.get_arguments().filter_map(|arg| shown(arg, settings));
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => "no options".into(),
        false => shown.join(" "),
    }
}

fn shown(arg: &Arg, settings: &Settings) -> Option<String> {
    let (id, long) = (arg.get_id().as_str(), arg.get_long()?);
    if id == "config" || settings.origin(id) == Origin::Default {
        return None;
    }
    let matches = settings.matches();
    if !arg.get_action().takes_values() {
        return matches.get_flag(id).then(|| format!("--{long}"));
    }
    let values: Vec<String> =
        matches.get_raw(id)?.map(|value| value.to_string_lossy().into_owned()).collect();
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    if defaults.eq(values.iter().map(String::as_str)) {
        return None;
    }
    // Only passwords hide their value in the help.
    let value = if arg.is_hide_env_values_set() { HIDDEN.into() } else { values.join(",") };
    let needs_quotes = value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"');
    Some(if needs_quotes { format!("--{long} {value:?}") } else { format!("--{long} {value}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_effect(args: &[&str]) -> String {
        let args = [&["jitsiprovs", "--config", ""], args].concat();
        let args: Vec<_> = args.into_iter().map(Into::into).collect();
        let (_, settings) = Settings::read(&args, []).unwrap_or_else(|why| panic!("{why}"));
        options_in_effect(&settings)
    }

    #[test]
    fn what_differs_from_the_default_is_shown_without_passwords() {
        for (args, expected) in [
            ("-n", "--foreground"),
            ("--http_port 8081 --idle-timeout 75", "--http-port 8081"),
            ("--db-pwd hunter2 --db-apwd=x -v", "--db-pwd *** --db-apwd *** --verbose"),
            (
                "--trusted-proxy 10.0.0.1 --trusted-proxy 10.0.0.2,::1",
                "--trusted-proxy 10.0.0.1,10.0.0.2,::1",
            ),
            ("", "no options"),
        ] {
            let args: Vec<&str> = args.split_whitespace().collect();
            assert_eq!(in_effect(&args), expected);
        }
        assert_eq!(
            in_effect(&["--auth-query", "SELECT 1", "--realm="]),
            "--auth-query \"SELECT 1\" --realm \"\""
        );
    }
}
