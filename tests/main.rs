//! Drives the public interface: the real binary over real sockets, with real
//! servers beside it.

mod allocation;
mod commands;
mod failures;
mod fuzz_seeds;
mod java;
mod mysql;
mod original;
mod outages;
mod protocol;
mod provisioning;
mod reload;
mod support;
