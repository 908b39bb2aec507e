//! A provisioning server for the Jitsi softphone.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod credential;
pub mod model;
pub mod properties;
pub mod rules;
pub mod snapshot;
pub mod source;
pub mod template;
