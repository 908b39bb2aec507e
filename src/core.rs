//! Values and rules. Nothing here uses files, the network or a clock.

pub mod address;
pub mod attributes;
pub mod cell;
pub mod client;
pub mod columns;
pub mod conventions;
pub mod credential;
pub mod fetch;
pub mod history;
pub mod model;
pub mod names;
pub mod params;
pub mod pattern;
pub mod problem;
pub mod properties;
pub mod request;
pub mod rules;
pub mod secret;
mod stored;
pub mod subject;
pub mod template;
pub mod utc;
