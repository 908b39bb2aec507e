//! The server: listeners, connections and the answers to requests.

pub mod app;
pub mod cold_sign_ins;
mod connection;
pub mod discovery;
pub mod fetches;
pub mod http;
pub mod listener;
mod proxy_protocol;
pub mod sign_ins;
pub mod throttle;
pub mod tls;
pub mod turns;
mod writable;
