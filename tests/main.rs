//! Tests the public interface: the real binary over real sockets, with real databases and proxies.

#![allow(clippy::disallowed_methods, reason = "tests may wait for files and for each other")]

mod allocation;
mod attribute_commands;
mod attribute_files;
mod attributes;
mod balance;
mod check;
mod cluster;
mod commands;
mod daemon;
mod diff;
mod disabled;
mod edits;
mod exchange;
mod explain;
mod failures;
mod fuzz_seeds;
mod hanging;
mod isolation;
mod java;
mod layers;
mod limits;
mod log;
mod losses;
mod mistakes;
mod mysql;
mod nodes;
mod operators;
mod original;
mod outages;
mod protocol;
mod provisioning;
mod proxy_protocol;
mod reload;
mod rules;
mod service;
mod slow_hashes;
mod sources;
mod stale;
mod terminal;
mod throttling;
mod tls;
mod unchanged;
mod upgrade;
mod users;
