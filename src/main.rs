//! Starts jitsiprovs: parses the command line and runs the server or a command. Only
//! this file prints an error and turns it into an exit code.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;
use jitsiprovs::cli::Cli;
use jitsiprovs::cli::args::Command;
use jitsiprovs::cli::config::{Config, Daemon, Task};
use jitsiprovs::cli::error::ConfigError;
use jitsiprovs::cli::settings::{Settings, SettingsError};
use jitsiprovs::cli::{advice, commands, print, summary};
use jitsiprovs::process::background;
use jitsiprovs::process::build;
use jitsiprovs::process::pidfile::Pidfile;
use jitsiprovs::process::priority;
use jitsiprovs::process::privileges::Identity;
use jitsiprovs::serve::app::{Prepared, Serve};
use jitsiprovs::telemetry::visible::{self, EscapeStyle};
use jitsiprovs::{process, telemetry};

/// Reloads allocate and free very many small blocks over months. mimalloc reuses this
/// memory, and requests do not wait while it is freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::tidy();
    let args: Vec<OsString> = std::env::args_os().collect();
    let done = match Settings::read(&args, std::env::vars_os()) {
        Ok((cli, settings)) => run(cli, &settings),
        Err(SettingsError::Typed(error)) => return misused(&error),
        Err(SettingsError::Config(error)) => Err(error.into()),
    };
    done.unwrap_or_else(|error| failed(&error))
}

/// Prints the error, and returns the exit code.
fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(ConfigError::Usage(message)) = error.downcast_ref() {
        let message = visible::escape(message, EscapeStyle::Braces);
        return misused(&typed_command().error(ErrorKind::ValueValidation, message));
    }
    print::failure(format_args!("{error:#}{}", advice::of(error)));
    ExitCode::FAILURE
}

/// Prints what clap says, and returns the exit code. Errors are escaped, because they repeat
/// arguments. What was asked for, such as the help, is printed as it is.
fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    print::misuse(error.render());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(u8::MAX))
}

/// The command that was typed. Error messages show its usage.
fn typed_command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    for arg in std::env::args_os().skip(1) {
        match command.find_subcommand(&arg) {
            Some(typed) => command = typed.clone(),
            None => break,
        }
    }
    command
}

/// Returns the exit code, or the error to print.
fn run(cli: Cli, settings: &Settings) -> anyhow::Result<ExitCode> {
    let Config { log, identity, warnings, task } = match cli.command {
        Some(command) => {
            let _log = match command {
                Command::Demo(_) => Some(telemetry::start(telemetry::LogOptions::default())?),
                _ => None,
            };
            return block_on(commands::run(command, settings));
        }
        None => Config::new(cli.serve)?,
    };
    if let Task::Serve(Daemon { in_background: true, .. }, _) = task
        && let Some(code) = background::enter()?
    {
        return Ok(code);
    }
    let is_elsewhere = log.syslog.is_some() || log.file.is_some();
    let _log = telemetry::start(log)?;
    let done = match task {
        Task::Setup(source) => become_user(identity).and_then(|()| block_on(commands::setup(&*source))),
        Task::Serve(place, serve) => {
            serve_at(place, identity, *serve, &summary::options_in_effect(settings), &warnings)
        }
    };
    if let Err(error) = &done
        && is_elsewhere
    {
        // `main` prints the error on standard error too, but later operators look in the log.
        tracing::error!("{error:#}{}", advice::of(error));
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// Opens first what needs privileges. Then all threads drop them; the threads that
/// serve start only after that. A start that fails says why and nothing else, so what is
/// dangerous about the options is logged when the server serves.
fn serve_at(
    place: Daemon,
    identity: Option<Identity>,
    serve: Serve,
    options: &str,
    warnings: &[String],
) -> anyhow::Result<()> {
    // Before binding the address, which a running server holds too: the error about the
    // pidfile names that server's process.
    let _pidfile = place.pidfile.map(Pidfile::new).transpose()?;
    let database = serve.source.name();
    let prepared = Prepared::new(serve)?;
    become_user(identity)?;
    let version = build::VERSION;
    tracing::info!(
        commit = build::COMMIT,
        "jitsiprovs {version} starts with {options}, and reads {database}"
    );
    let serving = prepared.run(|_| {
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        if place.in_background {
            background::detach();
        }
    });
    // This runtime's threads write snapshots and give way to the workers, which have their
    // own runtimes. A thread keeps memory that it has used once, so none waits for more to do.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    run_on(runtime.on_thread_start(priority::step_back).thread_keep_alive(Duration::ZERO), serving)
}

fn become_user(identity: Option<Identity>) -> anyhow::Result<()> {
    identity.map_or(Ok(()), |identity| identity.assume())
}

fn block_on<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    run_on(&mut tokio::runtime::Builder::new_current_thread(), task)
}

fn run_on<T>(
    runtime: &mut tokio::runtime::Builder,
    task: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let runtime = runtime.enable_all().build()?;
    let done = runtime.block_on(task);
    // Do not wait for tasks that still run, such as a load.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}
