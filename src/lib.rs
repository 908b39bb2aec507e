//! A provisioning server for the Jitsi softphone.
//!
//! A client posts its username, password and what it knows of its machine, and
//! gets back the Java properties it configures itself with. Users and rules
//! live in a database; requests never touch it.
//!
//! **Life of a request**: `server` accepts a connection, and lets a trusted
//! proxy say whose it is; `http` picks the resource, reads the body and makes
//! parameters of it; the handler loads the current [`snapshot::Snapshot`] once,
//! authenticates against it ([`credential`]), selects and merges the rules
//! ([`rules`]), and renders their templates ([`template`], [`properties`]) into
//! the answer.
//!
//! **Life of a reload**: a timer, a signal, a poll or a changed file reaches
//! [`reload`], which asks the [`source::Source`] for all rows or for those that
//! changed, has a [`snapshot::Writer`] make the next snapshot of the current
//! one and them, swaps it in, and logs one line. If anything fails, the old one
//! stays.
//!
//! **What operators do** is in [`commands`], and needs no server: each reads the
//! tables through the same source, and some edit them. [`check`] finds mistakes in
//! them; [`explain`] says what a request would get, by the same code that answers
//! it, and why.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod credential;
pub mod exchange;
pub mod explain;
pub mod files;
pub mod http;
pub mod metrics;
pub mod model;
pub mod process;
pub mod properties;
pub mod reload;
pub mod rules;
pub mod secret;
pub mod server;
pub mod snapshot;
pub mod source;
pub mod state_file;
pub mod telemetry;
pub mod template;
pub mod throttle;
pub mod turns;
pub mod visible;
pub mod watch;
