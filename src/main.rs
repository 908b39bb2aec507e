//! Starts jitsiprovs: understands the command line, runs, and is the one place
//! where an error is printed and becomes an exit code.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use jitsiprovs::cli::Cli;
use jitsiprovs::cli::args::Command;
use jitsiprovs::cli::config::{Config, Daemon, Task};
use jitsiprovs::cli::error::ConfigError;
use jitsiprovs::cli::{advice, commands, print};
use jitsiprovs::process::background;
use jitsiprovs::process::pidfile::Pidfile;
use jitsiprovs::process::privileges::Identity;
use jitsiprovs::serve::app::{Prepared, Serve};
use jitsiprovs::telemetry::visible::{self, EscapeStyle};
use jitsiprovs::{process, telemetry};

/// Snapshots come and go in very many small pieces for months: memory must come
/// back, and no request may wait while it is tidied up.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::tidy();
    run(Cli::parse()).unwrap_or_else(|error| {
        if let Some(ConfigError::Usage(message)) = error.downcast_ref() {
            let message = visible::escape(message, EscapeStyle::Braces);
            typed_command().error(ErrorKind::ValueValidation, message).exit();
        }
        print::failure(format_args!("{error:#}{}", advice::of(&error)));
        ExitCode::FAILURE
    })
}

/// The command that was typed, whose usage an error shows.
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

/// Returns the code to end with, or the error that is to be printed.
fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Config { log, identity, task } = match cli.command {
        Some(command) => {
            let _log = match command {
                Command::Demo(_) => Some(telemetry::start(telemetry::LogOptions::default())?),
                _ => None,
            };
            return block_on(commands::run(command));
        }
        None => Config::new(cli.serve)?,
    };
    if let Task::Serve(Daemon { in_background: true, .. }, _) = task
        && let Some(code) = background::enter()?
    {
        return Ok(code);
    }
    let _log = telemetry::start(log)?;
    let done = match task {
        Task::Setup(source) => become_user(identity).and_then(|()| block_on(commands::setup(&*source))),
        Task::Serve(place, serve) => serve_at(place, identity, *serve),
    };
    if let (Err(error), Some(_)) = (&done, log.syslog) {
        // Whoever started it may see it on standard error; whoever looks for it
        // later looks there.
        tracing::error!("{error:#}{}", advice::of(error));
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// What takes privileges comes first. Then all threads lose them, and those that
/// serve have not even begun.
fn serve_at(place: Daemon, identity: Option<Identity>, serve: Serve) -> anyhow::Result<()> {
    // Before the address, since a server that runs already has that as well.
    let _pidfile = place.pidfile.map(Pidfile::new).transpose()?;
    let prepared = Prepared::new(serve)?;
    become_user(identity)?;
    let serving = prepared.run(|_| {
        if place.in_background {
            background::detach();
        }
    });
    // Threads on which snapshots are written; workers have runtimes of their own.
    run_on(tokio::runtime::Builder::new_current_thread().on_thread_start(process::step_back), serving)
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
    // Nothing waits for what still runs then, such as a load.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}
