//! Servers, databases, proxies and clients that the tests and benches start and talk to.

#![allow(clippy::disallowed_methods, reason = "tests may wait for files and for each other")]
#![allow(missing_docs, reason = "only our tests use it, and most names say enough")]

pub mod browser;
pub mod chromium;
pub mod client;
pub mod cluster;
pub mod daemon;
pub mod database;
pub mod figures;
pub mod java;
pub mod keeper;
pub mod load;
pub mod mariadb;
pub mod nginx;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod server;
pub mod sqlite;
pub mod tables;
pub mod terminal;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use jitsiprovs::cli::config::{Config, Task};
use jitsiprovs::source::Source;

/// The longest time that a test may wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` returns a value.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads, and tries again if a signal or a suspended machine interrupts it.
pub fn uninterrupted<T>(mut read: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The given options, as the binary parses them.
pub fn texts(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// The source that the binary would read with these options.
pub fn source_of(args: &[String]) -> Arc<dyn Source> {
    let args = ["jitsiprovs", "-n"].into_iter().chain(texts(args));
    let typed = jitsiprovs::cli::Cli::try_parse_from(args).expect("options");
    match Config::new(typed.serve).expect("usable").task {
        Task::Serve(_, serve) => serve.source,
        Task::Setup(source) => source,
    }
}

/// Hexadecimal md5, which is how the original stores passwords.
pub fn md5_hex(password: &str) -> String {
    format!("{:x}", md5::compute(password))
}

/// Replaces a file with a pipe that nobody writes to.
pub fn put_pipe(path: &std::path::Path) {
    let pipe = path.with_extension("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    std::fs::rename(&pipe, path).expect("replaced");
}
