//! Values and rules: no files, no network, no clock.

pub mod credential;
pub mod model;
pub mod properties;
pub mod rules;
pub mod secret;
pub mod template;
