//! What the program does besides serving: thin callers of the rest.

mod demo;
mod setup;
mod status;

pub use demo::demo;
pub use setup::setup;
pub use status::status;
