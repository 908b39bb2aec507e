//! A provisioning server for the Jitsi softphone.
//!
//! A client posts its username, its password and what it knows of its machine. It
//! gets back the Java properties with which it configures itself. Users and rules
//! are kept in a database; requests never touch it.
//!
//! The modules are layers. A module uses only what is below it:
//!
//! ```text
//! cli                 options, configuration, one file a command
//!  ├─ ops             what the operators' commands compute
//!  └─ serve           listeners, connections, requests
//!      └─ reload      when rows are read again, and who swaps the snapshot
//!          ├─ source      the databases
//!          └─ snapshot    all users and rules in memory, and how the next ones are made
//!              └─ core    values and rules: no files, no network, no clock
//!
//! telemetry, metrics, process     beside them; they use none of the others
//! ```
//!
//! **Life of a request**: [`serve::listener`] accepts a connection and reads whose it
//! is from a trusted proxy. [`serve::http`] picks the resource, reads the body and
//! turns it into parameters. The handler loads the current [`snapshot::Snapshot`]
//! once, authenticates against it ([`core::credential`]), selects the rules
//! ([`core::rules`]) and renders their templates ([`core::template`],
//! [`core::properties`]) into the answer.
//!
//! **Life of a reload**: a timer, a signal, a poll or a changed file wakes the task in
//! [`reload`]. It asks the [`source::Source`] for all rows or for the changed ones, and
//! a [`snapshot::Writer`] builds the next snapshot from the current one and these rows.
//! The task swaps it in and logs one line. If anything fails, the old snapshot stays.
//!
//! **Operators' commands** are in [`cli::commands`] and need no server: each reads the
//! tables through the same source, and some edit them. [`ops::check`] finds mistakes in
//! the tables. [`ops::explain`] shows what a request would get, and why, with the code
//! that answers requests.
//!
//! Items are public for the binary, the tests and the benchmarks; this is not an API
//! for other crates.
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
