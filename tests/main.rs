//! Drives the public interface: the real binary over real sockets, with real
//! servers beside it.

mod allocation;
mod commands;
mod failures;
mod java;
mod limits;
mod mysql;
mod original;
mod outages;
mod protocol;
mod provisioning;
mod reload;
mod support;
mod throttling;
