//! Drives the public interface: the real binary over real sockets, with real
//! servers beside it.

mod allocation;
mod commands;
mod daemon;
mod exchange;
mod failures;
mod fuzz_seeds;
mod java;
mod limits;
mod log;
mod mysql;
mod nodes;
mod operators;
mod original;
mod outages;
mod protocol;
mod provisioning;
mod reload;
mod service;
mod support;
mod throttling;
mod tls;
