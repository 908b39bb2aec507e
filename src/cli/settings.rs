//! Where the values of options come from. An option on the command line outranks a variable of the
//! environment, and a variable outranks a line of the settings file. What none of them gives has
//! its default.
//!
//! clap reads only the command line. Variables and lines become the defaults of its options, so
//! that they are parsed and checked like typed values.

pub mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::cli::error::{ConfigError, usage};
use crate::cli::listing::did_you_mean;
use crate::process::background;
use file::{Line, SettingsFile};

/// What our variables begin with.
pub const PREFIX: &str = "JITSIPROVS_";
/// The variable of `--config`.
const CONFIG: &str = "JITSIPROVS_CONFIG";
/// Commands that need no settings, so they work even if the file is wrong.
const WITHOUT_FILE: [&str; 3] = ["demo", "completions", "man"];

/// Options of MySQL, by their ids.
const MYSQL: &[&str] = &[
    "db_ip",
    "db_port",
    "db_socket",
    "db_name",
    "db_user",
    "db_pwd",
    "db_pwd_file",
    "db_tls",
    "db_tls_ca",
    "db_tls_cert",
    "db_tls_key",
    "db_admin",
    "db_apwd",
    "db_apwd_file",
    "db_from",
];
/// Options of which either the first or the second are used. Who types `--db-path` does not want
/// the database of the settings file.
const ALTERNATIVES: [[&[&str]; 2]; 4] = [
    [&["db_path"], MYSQL],
    [&["db_socket"], &["db_ip", "db_port"]],
    [&["db_pwd"], &["db_pwd_file"]],
    [&["db_apwd"], &["db_apwd_file"]],
];

/// Where the value of an option comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was typed.
    CommandLine,
    /// A variable of the environment.
    Environment,
    /// A line of the settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The number of the line. The first line is 1.
        line: usize,
    },
    /// Nothing gives it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine => f.write_str("command line"),
            Origin::Environment => f.write_str("environment"),
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// Why the command line and the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// clap's own error, or what `--help` and `--version` print.
    #[error("{0}")]
    Typed(#[from] clap::Error),
    /// A variable or the settings file is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
}

/// The values of the options, and where they come from.
pub struct Settings {
    matches: ArgMatches,
    /// Where values that were not typed come from, by the ids of their options.
    origins: BTreeMap<String, Origin>,
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
}

/// A value that was not typed.
struct Given {
    variable: String,
    value: OsString,
    origin: Origin,
}

impl Given {
    fn is_of_environment(&self) -> bool {
        self.origin == Origin::Environment
    }

    fn is_of_file(&self) -> bool {
        !self.is_of_environment()
    }
}

impl Settings {
    /// Reads the command line `args`, which begins with the name of the program, the `variables`
    /// and the settings file. Also returns the options and the command.
    ///
    /// # Errors
    /// When something is wrong with one of them, or when help was asked for.
    pub fn read(
        args: &[OsString],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Cli, Settings), SettingsError> {
        let documented = Cli::command();
        let bare = each_arg(documented.clone(), &|arg| arg.env(Resettable::Reset));
        let typed = match bare.clone().try_get_matches_from(args) {
            Ok(typed) => typed,
            // The help shows the variables.
            Err(error) if !error.use_stderr() => {
                return Err(documented.try_get_matches_from(args).err().unwrap_or(error).into());
            }
            // A variable or the file may give it.
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                bare.clone().ignore_errors(true).try_get_matches_from(args)?
            }
            Err(error) => return Err(error.into()),
        };
        let known = variables_of(&documented);
        let mut given = from_environment(variables, &known)?;
        let (path, leaf) = typed_command(&typed);
        let needs_file = !path.first().is_some_and(|command| WITHOUT_FILE.contains(&&**command));
        let file = if needs_file { settings_file(&typed, &given)? } else { None };
        if let Some(SettingsFile { path, lines }) = &file {
            for Line { number, name, value } in lines {
                let origin = Origin::File { path: path.clone(), line: *number };
                if !known.contains(name) {
                    return Ok(usage(format!("{origin}: {}", unknown(name, &known)))?);
                }
                given.push(Given { variable: name.clone(), value: value.into(), origin });
            }
        }
        let chosen = choose(at(&documented, &path), leaf, &given);
        let merged = changed_at(bare, &path, &|command| command.mut_args(|arg| with_default(arg, &chosen)));
        let matches = merged.clone().try_get_matches_from(args);
        let matches = matches.map_err(|error| explained(error, at(&merged, &path).clone(), &chosen))?;
        let cli = Cli::from_arg_matches(&matches)?;
        let origins = chosen.into_iter().map(|(id, given)| (id, given.origin.clone())).collect();
        Ok((cli, Settings { matches, origins, file: file.map(|file| file.path) }))
    }

    /// The values of the command that was typed, or of the server.
    pub fn matches(&self) -> &ArgMatches {
        typed_command(&self.matches).1
    }

    /// Where the value of an option of that command comes from.
    pub fn origin(&self, id: &str) -> Origin {
        match self.matches().value_source(id) {
            Some(ValueSource::CommandLine) => Origin::CommandLine,
            _ => self.origins.get(id).cloned().unwrap_or(Origin::Default),
        }
    }
}

/// Our variables.
fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    known: &BTreeSet<String>,
) -> Result<Vec<Given>, ConfigError> {
    let mut given = Vec::new();
    for (name, value) in variables {
        let is_ours = name.as_bytes().starts_with(PREFIX.as_bytes()) && name != background::CHILD;
        if !is_ours {
            continue;
        }
        let variable = name.to_string_lossy().into_owned();
        if !known.contains(&variable) {
            return usage(format!("environment: {}", unknown(&variable, known)));
        }
        given.push(Given { variable, value, origin: Origin::Environment });
    }
    Ok(given)
}

/// The file of `--config`, or the usual one if it exists.
fn settings_file(typed: &ArgMatches, given: &[Given]) -> Result<Option<SettingsFile>, ConfigError> {
    let variable = || given.iter().find(|given| given.variable == CONFIG).map(|given| given.value.clone());
    let named = typed.get_raw("config").and_then(|mut values| values.next().map(OsStr::to_owned));
    match named.or_else(variable) {
        Some(none) if none.is_empty() => Ok(None),
        Some(path) => SettingsFile::read(path.into()).map(Some),
        None => SettingsFile::read_usual(),
    }
}

/// Picks the value of each option of `command` that was not typed: the environment's, else the
/// file's. A value is left out if something of a higher rank replaces it.
fn choose<'g>(command: &Command, typed: &ArgMatches, given: &'g [Given]) -> BTreeMap<String, &'g Given> {
    let id_of = |given: &Given| {
        let arg = command.get_arguments().find(|arg| variable_of(arg) == Some(&*given.variable))?;
        Some(arg.get_id().to_string())
    };
    let ids = command.get_arguments().map(|arg| arg.get_id().as_str());
    let mut settled = BTreeSet::new();
    for id in ids.filter(|id| is_typed(typed, id)) {
        let value = typed.get_raw(id).and_then(|mut values| values.next()).unwrap_or_default();
        settled.extend(settled_by(id, value));
    }
    let mut chosen = BTreeMap::new();
    for is_of_rank in [Given::is_of_environment, Given::is_of_file] {
        let above = settled.clone();
        // Templates of settings files have many empty values: they give nothing.
        for given in given.iter().filter(|given| is_of_rank(given) && !given.value.is_empty()) {
            if let Some(id) = id_of(given).filter(|id| !above.contains(id)) {
                settled.extend(settled_by(&id, &given.value));
                chosen.insert(id, given);
            }
        }
    }
    chosen
}

/// The options that nothing of a lower rank may give, if this one is given.
fn settled_by(id: &str, value: &OsStr) -> BTreeSet<String> {
    let mut settled = vec![id];
    match (id, value.to_str()) {
        ("db_type", Some("sqlite")) => settled.extend(MYSQL),
        ("db_type", Some("mysql")) => settled.push("db_path"),
        _ => {
            for [one, other] in ALTERNATIVES {
                settled.extend(one.iter().filter(|_| other.contains(&id)));
                settled.extend(other.iter().filter(|_| one.contains(&id)));
            }
            // The kind of database follows from this option.
            settled.extend((id == "db_path" || MYSQL.contains(&id)).then_some("db_type"));
        }
    }
    settled.into_iter().map(str::to_owned).collect()
}

fn is_typed(typed: &ArgMatches, id: &str) -> bool {
    typed.try_contains_id(id).is_ok() && typed.value_source(id) == Some(ValueSource::CommandLine)
}

fn variable_of(arg: &Arg) -> Option<&str> {
    arg.get_env()?.to_str()
}

fn with_default(arg: Arg, chosen: &BTreeMap<String, &Given>) -> Arg {
    match chosen.get(arg.get_id().as_str()) {
        Some(given) => arg.default_value(given.value.clone()).required(false),
        None => arg,
    }
}

/// The same error, or, if a value that was not typed is wrong, one that says where it comes from.
fn explained(error: clap::Error, mut command: Command, chosen: &BTreeMap<String, &Given>) -> SettingsError {
    // Only then do its options have the texts that the error has.
    command.build();
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error.into() };
    let arg = command.get_arguments().find(|arg| arg.to_string() == *shown);
    let Some(given) = arg.and_then(|arg| chosen.get(arg.get_id().as_str())) else { return error.into() };
    let text = error.to_string();
    let why = text.trim_start_matches("error: ").lines().take_while(|line| !line.is_empty());
    let why: Vec<&str> = why.map(str::trim).collect();
    ConfigError::Usage(format!("{}: {}: {}", given.origin, given.variable, why.join(" "))).into()
}

/// The names of the commands that were typed, and the values of the last one.
fn typed_command(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let (mut path, mut leaf) = (Vec::new(), matches);
    while let Some((name, below)) = leaf.subcommand() {
        path.push(name.to_owned());
        leaf = below;
    }
    (path, leaf)
}

fn at<'c>(command: &'c Command, path: &[String]) -> &'c Command {
    path.iter().fold(command, |command, name| command.find_subcommand(name).unwrap_or(command))
}

fn changed_at(command: Command, path: &[String], change: &dyn Fn(Command) -> Command) -> Command {
    match path {
        [] => change(command),
        [name, below @ ..] => command.mut_subcommand(name, |command| changed_at(command, below, change)),
    }
}

fn each_arg(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommands(|command| each_arg(command, change))
}

/// The names of all variables.
fn variables_of(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(variable_of).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(variables_of)).collect()
}

/// Says that there is no such setting, and names similar ones.
fn unknown(name: &str, known: &BTreeSet<String>) -> String {
    match did_you_mean(name, known.iter().map(String::as_str)) {
        none if none.is_empty() => format!("there is no setting {name}: `jitsiprovs config` lists all"),
        similar => format!("there is no setting {name}{similar}"),
    }
}

#[cfg(test)]
mod tests;
