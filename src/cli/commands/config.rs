//! `jitsiprovs config`: shows the server's settings, and checks them.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Arg, CommandFactory};
use serde::Serialize;

use crate::cli::args::{ConfigArgs, ListFormat, Listed};
use crate::cli::config::{Config, Task};
use crate::cli::error::usage;
use crate::cli::options::ServerOptions;
use crate::cli::print::{self, Text, text};
use crate::cli::settings::{PREFIX, Settings};
use crate::cli::{Cli, advice};
use crate::core::secret::HIDDEN;

/// An option of the server.
#[derive(Serialize)]
struct Setting {
    option: String,
    variable: String,
    /// `None` if nothing gives it and it has no default value.
    value: Option<String>,
    origin: String,
}

/// Prints all options of the server, or one, or checks them.
///
/// # Errors
/// When there is no such option.
pub async fn config(options: ConfigArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    let ConfigArgs { option, check, listed, server } = options;
    if check {
        return Ok(rehearse(server).await);
    }
    let command = Cli::command();
    let all = command.get_arguments().filter_map(|arg| setting(arg, settings));
    match option {
        Some(option) => print_one(all, &option)?,
        None => print_all(all.collect(), listed, settings)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn setting(arg: &Arg, settings: &Settings) -> Option<Setting> {
    let (id, option, variable) = (arg.get_id().as_str(), arg.get_long()?, arg.get_env()?.to_str()?);
    // The settings file is named below the list.
    if id == "config" {
        return None;
    }
    let values = settings.matches().get_raw(id);
    let value =
        values.map(|values| values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(","));
    // Only passwords hide their value in the help.
    let value = value.map(|value| if arg.is_hide_env_values_set() { HIDDEN.into() } else { value });
    Some(Setting {
        option: option.into(),
        variable: variable.into(),
        value,
        origin: settings.origin(id).to_string(),
    })
}

/// Prints the value alone, for scripts. Nothing is printed if there is none.
fn print_one(mut all: impl Iterator<Item = Setting>, typed: &str) -> anyhow::Result<()> {
    let spelling = |name: &str| name.trim_start_matches("--").replace('_', "-").to_lowercase();
    let wanted = spelling(typed.strip_prefix(PREFIX).unwrap_or(typed));
    match all.find(|setting| setting.option == wanted) {
        Some(setting) => print::write(Text::lines(setting.value)),
        None => Ok(usage(format!("the server has no option {typed}: `jitsiprovs config` lists all"))?),
    }
}

fn print_all(all: Vec<Setting>, listed: Listed, settings: &Settings) -> anyhow::Result<()> {
    if listed.format == ListFormat::Json {
        return print::write(Text::json(&all)?);
    }
    let columns = [text("OPTION"), text("VALUE"), text("ORIGIN")];
    let rows = all.into_iter().map(|setting| {
        vec![format!("--{}", setting.option), setting.value.unwrap_or_else(|| "-".into()), setting.origin]
    });
    let mut shown = Text::listed(&columns, rows, listed);
    shown.push(match &settings.file {
        Some(path) => format!("settings file: {}", path.display()),
        None => "settings file: none".into(),
    });
    print::write(shown)
}

/// Does what a start would do. The exit code is 1 if the start would fail.
async fn rehearse(server: ServerOptions) -> ExitCode {
    match start(server).await {
        Ok(notes) => {
            notes.into_iter().for_each(print::note);
            print::done(Text::line("a server can start with these options"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            print::failure(format_args!("{error:#}{}", advice::of(&error)));
            ExitCode::FAILURE
        }
    }
}

async fn start(server: ServerOptions) -> anyhow::Result<Vec<String>> {
    let Config { mut warnings, task, .. } = Config::new(server)?;
    let Task::Serve(_, serve) = task else { bail!("--setup does not start a server: leave it out") };
    warnings.extend(serve.rehearse().await?);
    Ok(warnings)
}
