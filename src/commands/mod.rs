//! What the program does besides serving: thin callers of the rest.

mod demo;
mod setup;

pub use demo::demo;
pub use setup::setup;
