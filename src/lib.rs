//! A provisioning server for the Jitsi softphone.
//!
//! A client posts its username, its password and facts about its machine. The answer
//! is Java properties, with which the client configures itself. Users and rules are
//! kept in a database; requests never touch it.
//!
//! The modules are layers. A module uses only what is below it:
//!
//! ```text
//! cli                 options, configuration, one file per command
//!  ├─ ops             the computations of the operators' commands
//!  └─ serve           listeners, connections, requests
//!      └─ reload      reads the rows again and swaps the snapshot
//!          ├─ source      the databases
//!          └─ snapshot    all users and rules in memory, and how the next snapshot is built
//!              └─ core    values and rules: no files, no network, no clock
//!
//! telemetry, metrics, process     helpers for these layers; they use none of them
//! ```
//!
//! **Life of a request**: [`serve::listener`] accepts a connection; if a trusted proxy
//! sent it, the client's address comes from the proxy. [`serve::http`] picks the
//! resource, reads the body and turns it into parameters. The handler loads the current
//! [`snapshot::Snapshot`] once, authenticates against it ([`core::credential`]), selects
//! the rules ([`core::rules`]) and renders their templates ([`core::template`],
//! [`core::properties`]) into the answer.
//!
//! **Life of a reload**: a timer, a signal, a poll or a changed file wakes the task in
//! [`reload`]. The task asks the [`source::Source`] for all rows or for the changed
//! ones, and a [`snapshot::Writer`] builds the next snapshot from the current one and
//! these rows. The task swaps in the new snapshot and logs one line. If anything fails,
//! the old snapshot stays.
//!
//! **Operators' commands** are in [`cli::commands`] and need no server. Each command
//! reads the tables through the same source, and some edit them. [`ops::check`] finds
//! mistakes in the tables. [`ops::explain`] uses the code that answers requests to show
//! what a request would get, and why.
//!
//! Items are public only for the binary, the tests and the benchmarks. This crate is
//! not an API for other crates.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "unit tests may wait for files"))]

pub mod cli;
pub mod core;
pub mod metrics;
pub mod ops;
pub mod process;
pub mod reload;
pub mod serve;
pub mod snapshot;
pub mod source;
pub mod telemetry;
