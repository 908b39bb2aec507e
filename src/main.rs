//! Starts jitsiprovs: understands the command line, runs, and is the one place
//! where an error is printed and becomes an exit code.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use jitsiprovs::cli::{Cli, Command};
use jitsiprovs::config::{self, Config, Task};
use jitsiprovs::{app, commands, process, telemetry};

/// Snapshots come and go in very many small pieces for months: memory must come
/// back, and no request may wait while it is tidied up.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::tidy();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(config::Error::Usage(message)) = error.downcast_ref() {
                Cli::command().error(ErrorKind::ValueValidation, message).exit();
            }
            // Nobody may be reading, which is no reason to panic.
            let _ = writeln!(std::io::stderr(), "jitsiprovs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = match cli.command {
        Some(Command::Demo(options)) => {
            telemetry::start(telemetry::Options::default());
            runtime.block_on(commands::demo(options))
        }
        None => {
            let Config { log, task } = Config::new(cli.serve)?;
            telemetry::start(log);
            runtime.block_on(async {
                match task {
                    Task::Setup(source) => commands::setup(&*source).await,
                    Task::Serve(serve) => app::Prepared::new(*serve)?.run(|_| {}).await,
                }
            })
        }
    };
    // Whatever still runs then, such as a load, has nobody waiting for it.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}
