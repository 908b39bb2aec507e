//! Drives the public interface: the real binary over real sockets, with real
//! servers beside it.

mod allocation;
mod commands;
mod failures;
mod java;
mod mysql;
mod operators;
mod original;
mod outages;
mod protocol;
mod provisioning;
mod reload;
mod support;
mod tls;
